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
use tokio::process::{Child, Command};

/// What one read takes.
const READ_BYTES: usize = 256 << 10;

/// A running `sandbox-files`; its scratch folder goes with it.
struct Reader {
    child: Child,
    scratch: Option<PathBuf>,
}

impl Drop for Reader {
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
        let mut reader = self.read_at_rest(job, ["tar-out", path])?;
        drop(reader.child.stdin.take());
        let mut stdout = reader
            .child
            .stdout
            .take()
            .ok_or_else(|| Error::Failed("no output of the copy".into()))?;
        let mut first = vec![0; READ_BYTES];
        let length = stdout
            .read(&mut first)
            .await
            .map_err(|e| Error::Failed(format!("copying: {e}")))?;
        if length == 0 {
            return Err(why_not(&mut reader.child).await);
        }
        first.truncate(length);
        let rest = futures_util::stream::unfold(Some((reader, stdout)), |state| async move {
            let (mut reader, mut stdout) = state?;
            let mut bytes = vec![0; READ_BYTES];
            match stdout.read(&mut bytes).await {
                Ok(0) => match reader.child.wait().await {
                    Ok(status) if status.success() => None,
                    Ok(_) => Some((
                        Err(io::Error::other(
                            why_not(&mut reader.child).await.to_string(),
                        )),
                        None,
                    )),
                    Err(error) => Some((Err(error), None)),
                },
                Ok(length) => {
                    bytes.truncate(length);
                    Some((Ok(Bytes::from(bytes)), Some((reader, stdout))))
                }
                Err(error) => Some((Err(error), None)),
            }
        });
        let first = futures_util::stream::iter([Ok(Bytes::from(first))]);
        Ok(Box::pin(first.chain(rest)))
    }

    /// Unpacks a tar into a folder of a job that has ended.
    pub(crate) async fn copy_in_at_rest(
        &self,
        job: &Job,
        path: &str,
        mut tar: ByteStream,
    ) -> Result<(), Error> {
        if !job.state.is_terminal() {
            return Err(Error::Conflict(format!(
                "the job is {}: its files are part of its checkpoint and cannot be changed; resume it first",
                job.state
            )));
        }
        let mut reader = self.read_at_rest(job, ["tar-in", path])?;
        let mut stdin = reader
            .child
            .stdin
            .take()
            .ok_or_else(|| Error::Failed("no input of the copy".into()))?;
        while let Some(bytes) = tar.next().await {
            let bytes = bytes.map_err(|e| Error::Failed(format!("reading the upload: {e}")))?;
            if stdin.write_all(&bytes).await.is_err() {
                // It ended early; its exit says why.
                break;
            }
        }
        drop(stdin);
        let status = reader
            .child
            .wait()
            .await
            .map_err(|e| Error::Failed(format!("copying: {e}")))?;
        if status.success() {
            Ok(())
        } else {
            Err(why_not(&mut reader.child).await)
        }
    }

    fn read_at_rest(&self, job: &Job, words: [&str; 2]) -> Result<Reader, Error> {
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
        let child = Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Error::Failed(format!("starting the copy: {e}")))?;
        Ok(Reader { child, scratch })
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

/// The one line that the process said.
async fn why_not(child: &mut Child) -> Error {
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take()
        && let Err(error) = stderr.read_to_string(&mut text).await
    {
        return Error::Failed(format!("copying: {error}"));
    }
    match text.lines().next() {
        Some(line) => Error::Invalid(line.trim_start_matches("dauer: ").to_owned()),
        None => Error::Failed("copying failed without a reason".into()),
    }
}
