//! One client's connection: its requests one after the other, each answered before the next is looked at.

use super::peer;
use super::request::{self, End, Incoming};
use super::response::{self, Refusal};
use crate::agent::Agent;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Read from the client at once.
const READ_BYTES: usize = 16 << 10;

/// What a refused client may still send before the connection is cut.
const LINGER_BYTES_MAX: usize = 16 << 20;

/// A connection with what was read and not yet used.
pub(super) struct Connection {
    stream: TcpStream,
    pub(super) buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(super) fn is_from_this_sandbox(&self) -> bool {
        match (self.stream.peer_addr(), self.stream.local_addr()) {
            (Ok(client), Ok(server)) => peer::is_from_this_sandbox(client, server),
            _ => false,
        }
    }

    /// Serves until one side has enough.
    pub(super) fn serve(mut self, agent: &Agent) {
        loop {
            let incoming = match request::read(&mut self) {
                Ok(incoming) => incoming,
                Err(End::Closed) => return,
                Err(End::Refused(refusal)) => return self.refuse(&refusal),
            };
            let Incoming {
                request,
                keep_alive,
                head_only,
                old,
            } = incoming;
            let Some(answer) = agent.calls.ask(&agent.outbox, request) else {
                return;
            };
            let bytes = response::render(&answer, keep_alive, head_only, old);
            // A client that went away meanwhile is not interested in the answer.
            if self.write(&bytes).is_err() || !keep_alive {
                return;
            }
        }
    }

    /// Reads more into the buffer. Closed: at the end or at any error, which for a request are the same.
    pub(super) fn fill(&mut self) -> Result<(), End> {
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES, 0);
        let count = loop {
            match self.stream.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break 0,
                Ok(count) => break count,
            }
        };
        self.buffer.truncate(filled + count);
        if count == 0 { Err(End::Closed) } else { Ok(()) }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Answers with an error of the relay's own and ends the connection.
    pub(super) fn refuse(mut self, refusal: &Refusal) {
        let bytes = response::render(&refusal.answer(), false, false, false);
        if self.write(&bytes).is_err() {
            return;
        }
        // Closing with unread input would reset the connection, and the client might never see the answer.
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(1)));
        let mut left = LINGER_BYTES_MAX;
        let mut waste = [0; 4096];
        while left > 0 {
            match self.stream.read(&mut waste) {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    }
}
