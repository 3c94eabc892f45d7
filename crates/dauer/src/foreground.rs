//! A job shown in the foreground: output, input, signals and the terminal, over every loss of the daemon.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::input::Input;
use crate::output::{Sink, Target};
use crate::render;
use crate::signals::{Came, Signals};
use crate::{terminal, waiting};
use dauer_client::{Client, Error, LogItem};
use dauer_wire::guest::Stream;
use dauer_wire::http::JobView;

/// What is shown.
#[derive(Debug)]
pub(crate) struct Foreground<'a> {
    pub(crate) context: &'a Context,
    pub(crate) client: Client,
    pub(crate) job: String,
    /// Our standard input goes to the job.
    pub(crate) stdin: bool,
    /// The job has a terminal, ours.
    pub(crate) tty: bool,
    /// Output from this offset of the log on.
    pub(crate) from: u64,
    /// ctrl-p ctrl-q leaves the job alone.
    pub(crate) detachable: bool,
    /// Print the job as JSON on standard error when it has ended.
    pub(crate) json: bool,
}

impl Foreground<'_> {
    /// Shows the job until it has ended. Returns its exit code.
    pub(crate) async fn show(self, mut signals: Signals) -> Outcome {
        let raw = if self.tty {
            Some(terminal::Raw::enter()?)
        } else {
            None
        };
        let sink = Sink::start();
        let result = self.follow(&sink, &mut signals).await;
        // Whoever closed our output decides our exit code only where the job has none.
        let written = sink.finish();
        drop(raw);
        let Some(ended) = result? else {
            eprintln!("detached: `dauer attach {}` shows it again", self.job);
            return Ok(0);
        };
        if let Err(error) = written
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(Failure::output(error));
        }
        self.report(&ended)
    }

    /// The job as it ended, or nothing where the user left it.
    async fn follow(&self, sink: &Sink, signals: &mut Signals) -> Result<Option<JobView>, Failure> {
        let mut log = self.client.logs(&self.job, self.from, true);
        let input = Input::start_if(self.stdin || self.detachable, self.detachable);
        let left = input.left();
        let feeding = self.feed(sink, &input);
        let closed = sink.closed();
        tokio::pin!(feeding);
        let mut fed = false;
        // Answered once the job runs.
        let sizing = self.resize();
        tokio::pin!(sizing);
        let mut sized = !self.tty;
        let explaining = self.explain(sink);
        tokio::pin!(explaining);
        let mut explained = false;
        let mut pending = None;
        loop {
            tokio::select! {
                // While our own reader is slow nothing more is taken, but signals go on.
                () = sink.room(), if pending.is_some() => {
                    if let Some((target, bytes)) = pending.take() {
                        sink.send(target, bytes).await;
                    }
                }
                item = log.next(), if pending.is_none() => match item {
                    Ok(Some(LogItem::Output(output))) => {
                        pending = Some((target(output.stream), output.bytes));
                    }
                    Ok(Some(LogItem::Marker { marker, .. })) => {
                        if let Some(line) = render::marker(&marker) {
                            sink.note(&line, self.tty).await;
                        }
                    }
                    Ok(Some(LogItem::End { job, .. })) => return Ok(Some(*job)),
                    Ok(None) => return Err(Failure::new("the log ended before the job did")),
                    Err(lost) if lost.is_disconnect() => self.context.reconnect(&lost).await?,
                    Err(error) => return Err(error.into()),
                },
                () = left.notified() => return Ok(None),
                () = &mut sizing, if !sized => sized = true,
                // A program that asks for the size of its terminal because of what was typed is to be told the right one.
                () = &mut feeding, if sized && !fed => fed = true,
                () = &mut explaining, if !explained => explained = true,
                came = signals.next() => match came {
                    Came::Resized if self.tty => self.resize().await,
                    Came::Resized => {}
                    Came::Signal(number) => self.pass_on(number, sink).await?,
                },
                // As in a pipeline without Dauer: the program learns that nobody reads.
                () = closed.notified() => self.pass_on(nix::libc::SIGPIPE, sink).await?,
            }
        }
    }

    /// Says what a job waits for that does not begin soon.
    async fn explain(&self, sink: &Sink) {
        if let Some(line) = waiting::for_what(&self.client, &self.job).await {
            sink.note(&line, self.tty).await;
        }
    }

    /// Feeds our input to the job.
    async fn feed(&self, sink: &Sink, input: &Input) {
        if !self.stdin {
            // Read all the same: the keys that leave may come.
            while self.detachable && input.next().await.is_some() {}
            return;
        }
        loop {
            match self.client.stdin(&self.job, input.stream()).await {
                Err(lost) if lost.is_disconnect() => {
                    if input.was_taken() {
                        let line =
                            "the daemon died: of the input, what it had not passed on is lost";
                        sink.note(line, self.tty).await;
                    }
                    if self.context.reconnect(&lost).await.is_err() {
                        // The log's own reconnecting says why.
                        return;
                    }
                }
                Err(Error::Input(error)) => {
                    return sink
                        .note(&format!("cannot read standard input: {error}"), self.tty)
                        .await;
                }
                // All is fed; or the job has ended, or was never started, which the end of its log says.
                Ok(()) | Err(_) => return,
            }
        }
    }

    async fn pass_on(&self, signal: i32, sink: &Sink) -> Result<(), Failure> {
        match self.client.kill(&self.job, signal).await {
            Ok(_) => Ok(()),
            Err(Error::Refused(problem)) if problem.code == "conflict" => {
                self.cannot_pass_on(signal, sink).await
            }
            // It has ended and is gone: the end of the log follows.
            Err(Error::Refused(_)) => Ok(()),
            Err(lost) if lost.is_disconnect() => {
                self.context.reconnect(&lost).await?;
                // The user can repeat a signal; sending it twice by ourselves could do harm.
                sink.note(
                    "the daemon was away and may have missed that signal",
                    self.tty,
                )
                .await;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A job that does not run takes no signal: a suspended one is left alone, any other is being started or has ended.
    async fn cannot_pass_on(&self, signal: i32, sink: &Sink) -> Result<(), Failure> {
        let job = self.client.job(&self.job).await?;
        match job.state.as_str() {
            "suspended" => Err(Failure::Coded(
                format!(
                    "job {} is suspended and stays so; end it with `dauer stop {0}`, see it again with `dauer logs -f {0}`",
                    job.id
                ),
                128 + signal,
            )),
            "pending" | "running" | "pending_retry" if signal != nix::libc::SIGPIPE => {
                sink.note("the job is not running yet: stopping it", self.tty)
                    .await;
                self.client.stop(&self.job, None).await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn resize(&self) {
        if let Some((rows, columns)) = terminal::size() {
            // A job that has ended has no terminal any more, and a lost daemon's is told with the next change.
            let _ = self.client.resize(&self.job, rows, columns).await;
        }
    }

    fn report(&self, job: &JobView) -> Outcome {
        if let Some(line) = render::ending(job) {
            crate::failure::report(&line);
        }
        if self.json {
            let json =
                serde_json::to_string(job).map_err(Failure::because("cannot print the job"))?;
            eprintln!("{json}");
        }
        Ok(job.exit_code.unwrap_or(125))
    }
}

/// A terminal has one stream, which is our standard output.
pub(crate) fn target(stream: Stream) -> Target {
    match stream {
        Stream::Stdout | Stream::Tty => Target::Stdout,
        Stream::Stderr => Target::Stderr,
    }
}
