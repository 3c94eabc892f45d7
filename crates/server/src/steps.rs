//! Calls about steps.

use crate::error::Refusal;
use crate::extract::Input;
use crate::gate::Caller;
use crate::routes::Shared;
use crate::spec;
use async_trait::async_trait;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use dauer_core::JobSpec;
use dauer_engine::executor::{Action, Sink, Source, Surroundings};
use dauer_engine::{Error, Step, StepKey, StepResult, still_asked};
use dauer_wire::guest::Stream;
use dauer_wire::http::{CreateJob, StepCall, StepEvent, StepView};
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::{StatusCode, header};
use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;

/// The media type of the answer: a JSON document a line.
const LINES: &str = "application/x-ndjson";

/// Lines that are made and not yet written to the connection: a slow reader slows the step down.
const LINES_MAX: usize = 16;

/// A connection says something at least this often.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Runs a step, or answers with what an earlier one of its key left
///
/// The answer comes while the step runs, a JSON document a line; the last one is the result. What is refused before it runs is a problem
/// document as everywhere. Closing the connection ends the step, and nothing of it stays.
#[utoipa::path(post, path = "/v1/steps", tag = "steps", request_body = StepCall,
    responses((status = 200, description = "Lines, the last of which is the result.", content_type = "application/x-ndjson", body = StepEvent)))]
pub(crate) async fn run(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Input(call): Input<StepCall>,
) -> Result<Response, Refusal> {
    let step = step(call, caller)?;
    let (lines, receiver) = mpsc::channel(LINES_MAX);
    let engine = shared.engine;
    // The body outlives this request's handler.
    let work = still_asked(|mut sink: Lines| async move { engine.step(step, &mut sink).await });
    let mut answer = Answer {
        work: Some(Box::pin(work(Lines(lines)))),
        lines: receiver,
    };
    // What is wrong with it is usually known before its program has said anything.
    let first = match answer.next().await {
        Said::Ended(Err(error)) => return Err(error.into()),
        said => answer.line(said),
    };
    let rest = stream::unfold((Some(first), answer), |(first, mut answer)| async move {
        let line = match first {
            Some(line) => line,
            None if answer.work.is_none() => return None,
            None => {
                let said = answer.next().await;
                answer.line(said)
            }
        };
        Some((Ok::<_, Infallible>(line), (None, answer)))
    });
    Ok(([(header::CONTENT_TYPE, LINES)], Body::from_stream(rest)).into_response())
}

/// Ends a run
///
/// What its steps left and no key has is gone when this is answered.
#[utoipa::path(delete, path = "/v1/steps/{run}", tag = "steps", params(("run" = String, Path, description = "The name that its steps gave it.")),
    responses((status = 204, description = "It is over.")))]
pub(crate) async fn end_run(
    State(shared): State<Shared>,
    Path(run): Path<String>,
) -> Result<StatusCode, Refusal> {
    shared.engine.end_run(&run).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a step says and how it ends. Dropping it ends the step.
struct Answer {
    work: Option<BoxFuture<'static, Result<StepResult, Error>>>,
    lines: mpsc::Receiver<Bytes>,
}

enum Said {
    Line(Bytes),
    Nothing,
    Ended(Result<StepResult, Error>),
}

impl Answer {
    async fn next(&mut self) -> Said {
        let Some(work) = &mut self.work else {
            return Said::Nothing;
        };
        tokio::select! {
            biased;
            // All of them come before the end: the sender goes with the work.
            Some(line) = self.lines.recv() => Said::Line(line),
            result = work => Said::Ended(result),
            () = tokio::time::sleep(KEEPALIVE) => Said::Nothing,
        }
    }

    fn line(&mut self, said: Said) -> Bytes {
        match said {
            Said::Line(line) => line,
            Said::Nothing => line(&StepEvent::Waiting),
            Said::Ended(result) => {
                self.work = None;
                let mut bytes = Vec::new();
                while let Ok(line) = self.lines.try_recv() {
                    bytes.extend_from_slice(&line);
                }
                bytes.extend_from_slice(&line(&ended(result)));
                bytes.into()
            }
        }
    }
}

fn ended(result: Result<StepResult, Error>) -> StepEvent {
    match result {
        Ok(StepResult { executed, key }) => StepEvent::Result(StepView {
            exit_code: executed.exit_code,
            snapshot: executed.snapshot.map(|id| id.0),
            cached: executed.cached,
            kept: executed.kept,
            key,
        }),
        Err(error) => {
            let refusal = Refusal::from(error);
            StepEvent::Failed {
                code: refusal.code.name().to_owned(),
                detail: refusal.detail,
            }
        }
    }
}

fn line(event: &StepEvent) -> Bytes {
    let mut line = serde_json::to_vec(event).expect("invariant: an event is plain data");
    line.push(b'\n');
    line.into()
}

/// The output of a step as lines of the answer.
struct Lines(mpsc::Sender<Bytes>);

#[async_trait]
impl Sink for Lines {
    async fn output(&mut self, stream: Stream, bytes: Bytes) {
        let stream = match stream {
            Stream::Stdout | Stream::Tty => "stdout",
            Stream::Stderr => "stderr",
        };
        let event = StepEvent::Output {
            stream: stream.to_owned(),
            base64: BASE64_STANDARD.encode(&bytes),
        };
        // Whoever read them went away, and the step ends with that.
        let _ = self.0.send(line(&event)).await;
    }
}

fn step(call: StepCall, caller: Caller) -> Result<Step, Refusal> {
    check(&call)?;
    let spec = spec::from_request(call.job).map_err(|refusal| refusal.within("job"))?;
    caller.check_spec(&spec)?;
    let key = match (call.key, call.derive_key) {
        (Some(key), false) => StepKey::Named(key),
        (None, true) => StepKey::Derived,
        (None, false) => StepKey::None,
        (Some(_), true) => {
            let text = "a key is either named or derived: leave key or derive_key away";
            return Err(Refusal::malformed(text).at("key"));
        }
    };
    Ok(Step {
        action: action(spec),
        from: call.from,
        key,
        run: call.run,
    })
}

/// Refuses what a step would leave out.
fn check(call: &StepCall) -> Result<(), Refusal> {
    let job = &call.job;
    if call.from.is_some() && job.image.is_some() {
        let text = "a step begins from a snapshot or from an image: leave from or image away";
        return Err(Refusal::malformed(text).at("from"));
    }
    let plain = CreateJob {
        argv: job.argv.clone(),
        env: job.env.clone(),
        workdir: job.workdir.clone(),
        driver: job.driver.clone(),
        image: job.image.clone(),
        mounts: job.mounts.clone(),
        inject: job.inject.clone(),
        cpu_millis: job.cpu_millis,
        memory_bytes: job.memory_bytes,
        timeout_ms: job.timeout_ms,
        timeout: job.timeout.clone(),
        network: job.network.clone(),
        user: job.user.clone(),
        ..CreateJob::default()
    };
    if *job == plain {
        return Ok(());
    }
    Err(Refusal::malformed(
        "a step has argv, env, workdir, driver, image, mounts, inject, cpu_millis, memory_bytes, timeout, network and user, and nothing else of a job",
    )
    .at("job"))
}

fn action(spec: JobSpec) -> Action {
    Action {
        source: Source::Image(spec.image),
        cmd: spec.argv,
        env: spec.env,
        working_dir: spec.workdir,
        timeout: spec.timeout_ms.map(Duration::from_millis),
        inject: spec.inject.map(PathBuf::from),
        around: Surroundings {
            driver: (spec.driver != "auto").then_some(spec.driver),
            user: spec.user,
            network: spec.network,
            mounts: spec.mounts,
            cpu_millis: spec.cpu_millis,
            memory_bytes: spec.memory_bytes,
        },
    }
}
