//! Terminals over WebSocket: `GET /v1/jobs/{job}/attach` and `GET /v1/jobs/{job}/exec/ws`.
//!
//! ```text
//! client → server   binary   input
//!                   text     {"resize":{"rows":24,"columns":80}}   {"signal":2}   "eof"
//!                            before all else on exec/ws: an ExecCall
//! server → client   binary   one byte, the stream (1 stdout, 2 stderr, 3 terminal), and its bytes
//!                   text     {"error":"…"}: a message was not understood, or could not be obeyed
//!                            {"exit":{"code":0,"signal":null,"message":null}}, the last
//! ```

use crate::error::{Code, Refusal};
use crate::exec;
use crate::extract::{self, Params};
use crate::routes::Shared;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use dauer_core::JobId;
use dauer_engine::{
    Engine, ExecSession, JobStream, Place, Position, StdinSink, StreamPart, Streamed, still_asked,
};
use dauer_wire::frame::Frame;
use dauer_wire::guest::{ExitStatus, StartFailure};
use dauer_wire::http::{ExecCall, ResizeCall, exec_kind};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::IntoParams;

/// The command of exec/ws has to come within this.
const CALL_MAX: Duration = Duration::from_secs(30);

/// Past the end of every log and journal.
const END: u64 = i64::MAX as u64;

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// What a client tells beside input.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Resize(ResizeCall),
    Signal(i32),
    Eof,
}

/// What the server tells beside output.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Tell {
    Error(String),
    Exit {
        code: Option<i32>,
        signal: Option<i32>,
        message: Option<String>,
    },
}

impl Tell {
    fn message(&self) -> Message {
        let text = serde_json::to_string(self).expect("plain data serializes");
        Message::Text(text.into())
    }
}

/// The query of `GET /v1/jobs/{job}/attach`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AttachParams {
    /// Output from this offset of the log on; only what comes from now on where absent.
    since: Option<u64>,
}

/// The job's terminal, or its output and input, over WebSocket
///
/// Binary messages are input, and output with one byte before it: the stream (1 stdout, 2 stderr, 3 terminal). Texts are JSON:
/// `{"resize":{"rows":24,"columns":80}}`, `{"signal":2}` and `"eof"` to the job; `{"error":"…"}` and, last, `{"exit":{…}}` from it. Closing
/// the connection leaves the job as it is.
#[utoipa::path(get, path = "/v1/jobs/{job}/attach", tag = "exec",
    params(("job" = String, Path, description = "Its id, its name, or the beginning of its id."), AttachParams),
    responses((status = 101, description = "Messages follow, both ways.")))]
pub(crate) async fn attach(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Params(params): Params<AttachParams>,
    upgrade: Upgrade,
) -> Result<Response, Refusal> {
    let upgrade = upgrade.map_err(|_| no_upgrade())?;
    let id = shared.engine.find(&job).await?;
    let offset = params.since.unwrap_or(END).min(END);
    let from = Position {
        place: Place { offset, inside: 0 },
        seq: END,
    };
    let stream = shared.engine.job_stream(&id, from).await?;
    let input = shared
        .engine
        .stdin(&id)
        .await
        .map_err(|error| error.to_string());
    let relayed = move |socket: WebSocket| async move {
        let (mut writer, reader) = socket.split();
        let (errors, mut told) = tokio::sync::mpsc::channel(4);
        let to_job = pass_to_job(&shared.engine, &id, input, reader, errors);
        let to_client = pass_to_client(stream, &mut writer, &mut told);
        tokio::select! {
            () = to_job => {}
            () = to_client => {}
        }
        // The client may be gone, which is as good.
        let _ = writer.close().await;
    };
    Ok(upgrade.on_upgrade(still_asked(relayed)))
}

fn no_upgrade() -> Refusal {
    let detail = "this path is for WebSocket: send the headers of RFC 6455";
    Refusal::new(Code::UpgradeRequired, detail)
        .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
}

/// Until the client goes.
async fn pass_to_job(
    engine: &Engine,
    id: &JobId,
    mut input: Result<StdinSink, String>,
    mut reader: SplitStream<WebSocket>,
    errors: tokio::sync::mpsc::Sender<String>,
) {
    while let Some(Ok(message)) = reader.next().await {
        let done = match message {
            Message::Binary(bytes) if bytes.is_empty() => Ok(()),
            Message::Binary(bytes) => feed(&mut input, bytes).await,
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(Told::Resize(size)) => {
                    let resized = engine.resize(id, size.rows, size.columns).await;
                    resized.map_err(|error| error.to_string())
                }
                Ok(Told::Signal(signal)) if (1..=64).contains(&signal) => {
                    let killed = engine.kill(id, signal).await;
                    killed.map(drop).map_err(|error| error.to_string())
                }
                Ok(Told::Signal(signal)) => {
                    Err(format!("{signal} is not a signal: they go from 1 to 64"))
                }
                Ok(Told::Eof) => {
                    match std::mem::replace(&mut input, Err("the input has ended".into())) {
                        Ok(sink) => sink.close().await.map_err(|error| error.to_string()),
                        Err(why) => Err(why),
                    }
                }
                Err(error) => Err(format!("the message is not as expected: {error}")),
            },
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        };
        if let Err(why) = done
            && errors.send(why).await.is_err()
        {
            return;
        }
    }
}

async fn feed(input: &mut Result<StdinSink, String>, bytes: Bytes) -> Result<(), String> {
    match input {
        Ok(sink) => sink.write(bytes).await.map_err(|error| error.to_string()),
        Err(why) => Err(why.clone()),
    }
}

/// Until the job has ended or the client does not take any more.
async fn pass_to_client(
    mut stream: JobStream,
    writer: &mut SplitSink<WebSocket, Message>,
    errors: &mut tokio::sync::mpsc::Receiver<String>,
) {
    loop {
        let part = tokio::select! {
            part = stream.next() => part,
            Some(why) = errors.recv() => {
                if writer.send(Tell::Error(why).message()).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let last = match part {
            Ok(StreamPart::Items(items)) => {
                for item in items {
                    let Streamed::Output { stream, bytes, .. } = item.what else {
                        continue;
                    };
                    if writer.send(output(stream, &bytes)).await.is_err() {
                        return;
                    }
                }
                continue;
            }
            Ok(StreamPart::Ended(Some(job))) => {
                let outcome = job.outcome.as_ref();
                Tell::Exit {
                    code: job.exit_code(),
                    signal: outcome.and_then(|outcome| outcome.signal),
                    message: outcome.and_then(|outcome| outcome.message.clone()),
                }
            }
            Ok(StreamPart::Ended(None)) => Tell::Error("the job was removed".to_owned()),
            Err(error) => Tell::Error(error.to_string()),
        };
        // As above.
        let _ = writer.send(last.message()).await;
        return;
    }
}

fn output(stream: u8, bytes: &[u8]) -> Message {
    let mut message = Vec::with_capacity(1 + bytes.len());
    message.push(stream);
    message.extend_from_slice(bytes);
    Message::Binary(message.into())
}

/// Runs another program in the sandbox, over WebSocket
///
/// The first message is an `ExecCall` as text; then as on `attach`. Closing the connection ends the program.
#[utoipa::path(get, path = "/v1/jobs/{job}/exec/ws", tag = "exec",
    params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    responses((status = 101, description = "Messages follow, both ways.")))]
pub(crate) async fn exec_ws(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    upgrade: Upgrade,
) -> Result<Response, Refusal> {
    let upgrade = upgrade.map_err(|_| no_upgrade())?;
    let id = shared.engine.find(&job).await?;
    Ok(upgrade.on_upgrade(move |mut socket| async move {
        let session = match first_call(&mut socket).await {
            Ok(call) => shared
                .engine
                .exec(&id, exec::command(call))
                .await
                .map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        };
        match session {
            Ok(session) => relay(session, socket).await,
            Err(refusal) => {
                // As above.
                let _ = socket.send(Tell::Error(refusal.detail).message()).await;
                let _ = socket.send(Message::Close(None)).await;
            }
        }
    }))
}

async fn first_call(socket: &mut WebSocket) -> Result<ExecCall, Refusal> {
    let first = tokio::time::timeout(CALL_MAX, socket.recv()).await;
    let Ok(Some(Ok(Message::Text(text)))) = first else {
        return Err(Refusal::malformed(
            "the first message has to be an ExecCall as text",
        ));
    };
    let call: ExecCall = extract::parse(text.as_bytes())?;
    exec::check(&call)?;
    Ok(call)
}

async fn relay(session: ExecSession, socket: WebSocket) {
    let (mut input, mut frames) = session.split();
    let (mut writer, mut reader) = socket.split();
    let to_program = async {
        while let Some(Ok(message)) = reader.next().await {
            let frame = match message {
                Message::Binary(bytes) if bytes.is_empty() => continue,
                Message::Binary(bytes) => Frame::new(exec_kind::INPUT, 0, bytes.to_vec()),
                Message::Text(text) => match serde_json::from_str(&text) {
                    Ok(Told::Resize(size)) => Frame::json(exec_kind::RESIZE, 0, &size),
                    Ok(Told::Signal(signal)) => Frame::json(exec_kind::SIGNAL, 0, &signal),
                    Ok(Told::Eof) => Frame::new(exec_kind::INPUT, 0, Vec::new()),
                    // A word of a later version means nothing here.
                    Err(_) => continue,
                },
                Message::Close(_) => return,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            if input.send(frame).await.is_err() {
                // The program has ended: its end is on the way to the client.
                std::future::pending::<()>().await;
            }
        }
    };
    let to_client = async {
        while let Some(frame) = frames.recv().await {
            let message = match frame.kind {
                exec_kind::OUTPUT => output(u8::try_from(frame.id).unwrap_or(1), &frame.payload),
                _ => ending(&frame).message(),
            };
            if writer.send(message).await.is_err() {
                return;
            }
        }
        // As above.
        let _ = writer.close().await;
    };
    tokio::select! {
        () = to_program => {}
        () = to_client => {}
    }
}

fn ending(frame: &Frame) -> Tell {
    if frame.kind == exec_kind::EXITED {
        if let Ok(ExitStatus { code, signal, .. }) = frame.parse() {
            return Tell::Exit {
                code,
                signal,
                message: None,
            };
        }
    } else if let Ok(StartFailure { code, message, .. }) = frame.parse() {
        return Tell::Exit {
            code: Some(code),
            signal: None,
            message: Some(message),
        };
    }
    Tell::Error("the program's end was not understood".to_owned())
}
