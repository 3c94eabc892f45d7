//! Files of a job: what it changed, and copies in and out.

use crate::{Engine, Error};
use bytes::Bytes;
use dauer_core::{JobId, State};
use dauer_sandbox::disk::Changed;
use dauer_wire::frame::Frame;
use dauer_wire::guest::{Command, GUEST_BINARY, WINDOW_BYTES};
use dauer_wire::http::exec_kind;
use futures_util::{Stream, StreamExt};
use std::io;
use std::pin::Pin;

/// Bytes as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

impl Engine {
    /// What a job changed in its file systems, running, suspended or ended.
    ///
    /// # Errors
    /// `Conflict` where it never had a sandbox.
    pub async fn diff(&self, id: &JobId) -> Result<Vec<Changed>, Error> {
        let job = self.job_here(id).await?;
        match (&job.sandbox, &job.checkpoint, job.state) {
            (_, Some(checkpoint), State::Suspended) => {
                Ok(self.node().snapshot_changes(checkpoint).await?)
            }
            (Some(sandbox), _, _) => Ok(self.node().changes(sandbox, job.generation).await?),
            (None, _, _) => Err(Error::Conflict("the job never had a sandbox".into())),
        }
    }

    /// A tar of a file or folder of a job, running, suspended or ended; its top entry has the last name of the path.
    ///
    /// # Errors
    /// `Conflict` where the job never had files; `Invalid` where the path is not there.
    pub async fn copy_out(&self, id: &JobId, path: &str) -> Result<ByteStream, Error> {
        let job = self.job_here(id).await?;
        if job.state.is_terminal() || (job.state == State::Suspended && job.operation.is_none()) {
            return self.copy_out_at_rest(&job, path).await;
        }
        let mut session = self.agent_command(id, &["tar-out", path], false).await?;
        // The first output or the exit tells whether the path is there, before a client is told that all is well.
        let mut message = Vec::new();
        let first = loop {
            match session.recv().await {
                Some(frame) if frame.kind == exec_kind::OUTPUT && frame.id == 2 => {
                    message.extend(frame.payload)
                }
                Some(frame) => break frame,
                None => {
                    return Err(Error::Conflict(
                        "the job ended while it was being read".into(),
                    ));
                }
            }
        };
        if first.kind != exec_kind::OUTPUT && !exited_well(&first) {
            return Err(Error::Invalid(one_line(&message, &first)));
        }
        let rest = futures_util::stream::unfold(Some((session, Some(first))), |state| async {
            let (mut session, first) = state?;
            loop {
                let frame = match first.clone() {
                    Some(first) => Some(first),
                    None => session.recv().await,
                };
                match frame {
                    Some(frame) if frame.kind == exec_kind::OUTPUT && frame.id == 1 => {
                        return Some((Ok(Bytes::from(frame.payload)), Some((session, None))));
                    }
                    Some(frame) if frame.kind == exec_kind::OUTPUT => {}
                    Some(frame) if exited_well(&frame) => return None,
                    Some(frame) => {
                        return Some((Err(io::Error::other(one_line(&[], &frame))), None));
                    }
                    None => {
                        return Some((
                            Err(io::Error::other("the job ended while it was being read")),
                            None,
                        ));
                    }
                }
            }
        });
        Ok(Box::pin(rest))
    }

    /// Unpacks a tar into a folder of a job that runs or has ended.
    ///
    /// # Errors
    /// `Conflict` where the job is suspended; `Invalid` where the folder is not there.
    pub async fn copy_in(&self, id: &JobId, path: &str, mut tar: ByteStream) -> Result<(), Error> {
        let job = self.job_here(id).await?;
        if job.state.is_terminal() || job.state == State::Suspended {
            return self.copy_in_at_rest(&job, path, tar).await;
        }
        let session = self.agent_command(id, &["tar-in", path], true).await?;
        let (mut input, mut output) = session.split();
        let feed = async move {
            while let Some(bytes) = tar.next().await {
                let bytes = bytes.map_err(|e| Error::Failed(format!("reading the upload: {e}")))?;
                for piece in bytes.chunks(WINDOW_BYTES / 4) {
                    if input
                        .send(Frame::new(exec_kind::INPUT, 0, piece.to_vec()))
                        .await
                        .is_err()
                    {
                        // It ended early; its exit says why.
                        return Ok::<_, Error>((input, false));
                    }
                }
            }
            Ok((input, true))
        };
        let watch = async {
            let mut message = Vec::new();
            while let Some(frame) = output.recv().await {
                if frame.kind == exec_kind::OUTPUT {
                    message.extend(frame.payload);
                } else if exited_well(&frame) {
                    return Ok(());
                } else {
                    return Err(Error::Invalid(one_line(&message, &frame)));
                }
            }
            Err(Error::Conflict(
                "the job ended while it was being written to".into(),
            ))
        };
        let feed = async {
            let (mut input, whole) = feed.await?;
            if whole
                && input
                    .send(Frame::new(exec_kind::INPUT, 0, Vec::new()))
                    .await
                    .is_err()
            {
                tracing::debug!("the unpacking ended before the end of its input");
            }
            Ok::<_, Error>(input)
        };
        let (_input, ()) = futures_util::future::try_join(feed, watch).await?;
        Ok(())
    }

    /// Runs the agent's own binary inside, as root.
    async fn agent_command(
        &self,
        id: &JobId,
        words: &[&str],
        stdin: bool,
    ) -> Result<dauer_sandbox::ExecSession, Error> {
        let argv = std::iter::once(GUEST_BINARY)
            .chain(words.iter().copied())
            .map(str::to_owned)
            .collect();
        let command = Command {
            argv,
            stdin,
            ..Command::default()
        };
        Ok(self.link(id).await?.exec(command).await?)
    }
}

fn exited_well(frame: &Frame) -> bool {
    frame.kind == exec_kind::EXITED
        && frame
            .parse::<dauer_wire::guest::ExitStatus>()
            .is_ok_and(|status| status.code == Some(0))
}

fn one_line(stderr: &[u8], end: &Frame) -> String {
    let text = String::from_utf8_lossy(stderr);
    match text.lines().next() {
        Some(line) if !line.is_empty() => line.trim_start_matches("dauer: ").to_owned(),
        _ => format!("copying failed: {}", String::from_utf8_lossy(&end.payload)),
    }
}
