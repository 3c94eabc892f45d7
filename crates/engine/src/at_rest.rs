//! Copies from and to the files of a job that does not run: a process of its own puts them together and takes them apart again.

use crate::files::ByteStream;
use crate::{Engine, Error};
use bytes::Bytes;
use dauer_core::{CheckpointId, Job, SandboxId, State};
use dauer_sandbox::view::{self, Source};
use futures_util::StreamExt;
use std::io;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdout, Command};

/// What one read takes.
const READ_BYTES: usize = 256 << 10;

/// A process that carries files for the daemon; its scratch folder goes with it.
pub(crate) struct Helper {
    child: Child,
    scratch: Option<PathBuf>,
}

impl Drop for Helper {
    fn drop(&mut self) {
        let Some(scratch) = self.scratch.take() else {
            return;
        };
        // Outside of that process the folder holds links only, never what it had mounted there.
        std::thread::spawn(move || {
            if let Err(error) = std::fs::remove_dir_all(&scratch)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %scratch.display(), %error, "a scratch folder stays until its job is removed");
            }
        });
    }
}

impl Engine {
    /// A tar of a path of a job that is suspended or has ended.
    pub(crate) async fn copy_out_at_rest(
        &self,
        job: &Job,
        path: &str,
    ) -> Result<ByteStream, Error> {
        self.read_at_rest(job, ["tar-out", path])?.output(&[]).await
    }

    /// Unpacks a tar into a folder of a job that has ended.
    pub(crate) async fn copy_in_at_rest(
        &self,
        job: &Job,
        path: &str,
        tar: ByteStream,
    ) -> Result<(), Error> {
        if !job.state.is_terminal() {
            return Err(Error::Conflict(format!(
                "the job is {}: its files are part of its checkpoint and cannot be changed; resume it first",
                job.state
            )));
        }
        let helper = self.read_at_rest(job, ["tar-in", path])?;
        helper.input(tar).await.map(drop)
    }

    fn read_at_rest(&self, job: &Job, words: [&str; 2]) -> Result<Helper, Error> {
        let Some(sandbox) = &job.sandbox else {
            return Err(Error::Conflict("the job never had a sandbox".into()));
        };
        let (source, scratch) = self.source_at_rest(job, sandbox)?;
        let config = self.config();
        let command = view::command(
            &config.shim_binary,
            &config.layout,
            (sandbox, job.generation),
            &source,
            words,
        );
        let mut helper = Helper::start(command)?;
        helper.scratch = scratch;
        Ok(helper)
    }

    fn source_at_rest(
        &self,
        job: &Job,
        sandbox: &SandboxId,
    ) -> Result<(Source, Option<PathBuf>), Error> {
        match (job.state, &job.checkpoint) {
            (State::Suspended, Some(checkpoint)) => {
                let scratch = self.scratch_of(sandbox);
                self.storage().rests(checkpoint);
                let checkpoint = CheckpointId(checkpoint.0.clone());
                Ok((
                    Source::Checkpoint {
                        checkpoint,
                        scratch: scratch.clone(),
                    },
                    Some(scratch),
                ))
            }
            (state, _) if state.is_terminal() => Ok((Source::Ended, None)),
            (state, _) => Err(Error::Conflict(format!(
                "the job is {state}: its files cannot be reached now"
            ))),
        }
    }

    fn scratch_of(&self, sandbox: &SandboxId) -> PathBuf {
        let folder = self.node().layout().sandbox(sandbox);
        folder
            .path()
            .join(format!("view.{}", crate::submit::random_id()))
    }
}

impl Helper {
    pub(crate) fn start(command: std::process::Command) -> Result<Self, Error> {
        let child = Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Error::Failed(format!("starting the copy: {e}")))?;
        Ok(Self {
            child,
            scratch: None,
        })
    }

    /// What it says, given this. The first bytes have come when this returns: what cannot be read is an error here.
    pub(crate) async fn output(mut self, given: &[u8]) -> Result<ByteStream, Error> {
        if let Some(mut stdin) = self.child.stdin.take()
            && stdin.write_all(given).await.is_err()
        {
            tracing::debug!("a copy ended before it was told everything; its exit says why");
        }
        let mut stdout = self.stdout()?;
        let mut first = vec![0; READ_BYTES];
        let length = stdout.read(&mut first).await.map_err(copying)?;
        if length == 0 {
            return Err(self.why_not().await);
        }
        first.truncate(length);
        let rest = futures_util::stream::unfold(Some((self, stdout)), |state| async move {
            let (mut helper, mut stdout) = state?;
            let mut bytes = vec![0; READ_BYTES];
            match stdout.read(&mut bytes).await {
                Ok(0) => match helper.child.wait().await {
                    Ok(status) if status.success() => None,
                    Ok(_) => {
                        let why = helper.why_not().await.to_string();
                        Some((Err(io::Error::other(why)), None))
                    }
                    Err(error) => Some((Err(error), None)),
                },
                Ok(length) => {
                    bytes.truncate(length);
                    Some((Ok(Bytes::from(bytes)), Some((helper, stdout))))
                }
                Err(error) => Some((Err(error), None)),
            }
        });
        let first = futures_util::stream::iter([Ok(Bytes::from(first))]);
        Ok(Box::pin(first.chain(rest)))
    }

    /// Gives it all of this, and returns what it said when it had ended well.
    pub(crate) async fn input(mut self, mut given: ByteStream) -> Result<Vec<u8>, Error> {
        let stdin = self.child.stdin.take();
        let mut stdin = stdin.ok_or_else(|| Error::Failed("no input of the copy".into()))?;
        while let Some(bytes) = given.next().await {
            let bytes = bytes.map_err(|e| Error::Failed(format!("reading the upload: {e}")))?;
            if stdin.write_all(&bytes).await.is_err() {
                // It ended early; its exit says why.
                break;
            }
        }
        drop(stdin);
        let mut said = Vec::new();
        let mut stdout = self.stdout()?;
        stdout.read_to_end(&mut said).await.map_err(copying)?;
        if self.child.wait().await.map_err(copying)?.success() {
            Ok(said)
        } else {
            Err(self.why_not().await)
        }
    }

    fn stdout(&mut self) -> Result<ChildStdout, Error> {
        let stdout = self.child.stdout.take();
        stdout.ok_or_else(|| Error::Failed("no output of the copy".into()))
    }

    /// The one line that the process said.
    async fn why_not(&mut self) -> Error {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take()
            && let Err(error) = stderr.read_to_string(&mut text).await
        {
            return copying(error);
        }
        match text.lines().next() {
            Some(line) => Error::Invalid(line.trim_start_matches("dauer: ").to_owned()),
            None => Error::Failed("copying failed without a reason".into()),
        }
    }
}

fn copying(error: io::Error) -> Error {
    Error::Failed(format!("copying: {error}"))
}
