//! The runtime API as the job sees it: HTTP on the sandbox's loopback, carried over the channel to the shim.
//!
//! Loopback survives a freeze whole, the channel does not: a request that was under way is sent again under its number.

mod calls;
mod connection;
mod peer;
mod request;
mod response;

pub(crate) use calls::Calls;

use crate::agent::{Agent, spawn_thread};
use connection::Connection;
use dauer_wire::guest::API_PORT;
use response::Refusal;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Each costs a thread.
const CONNECTIONS_MAX: usize = 256;

/// The listener.
pub(crate) struct Relay {
    listener: TcpListener,
    port: u16,
    /// Others can reach this port, too.
    shared_network: bool,
}

impl Relay {
    /// A free port where the network is shared with the host.
    pub(crate) fn bind(shared_network: bool) -> io::Result<Self> {
        let listener = TcpListener::bind((
            Ipv4Addr::LOCALHOST,
            if shared_network { 0 } else { API_PORT },
        ))?;
        let port = listener.local_addr()?.port();
        Ok(Self {
            listener,
            port,
            shared_network,
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Never returns.
    pub(crate) fn serve(&self, agent: &'static Agent) {
        let open = Arc::new(AtomicUsize::new(0));
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.welcome(agent, stream, &open),
                // Out of file descriptors or memory: passes when a connection ends.
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn welcome(&self, agent: &'static Agent, stream: TcpStream, open: &Arc<AtomicUsize>) {
        // A failing option costs some milliseconds an answer, nothing else.
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(stream);
        if self.shared_network && !connection.is_from_this_sandbox() {
            return connection.refuse(&Refusal::stranger());
        }
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::Relaxed);
            return connection.refuse(&Refusal::busy());
        }
        let count = open.clone();
        let serve = move || {
            connection.serve(agent);
            count.fetch_sub(1, Ordering::Relaxed);
        };
        // Without a thread the connection is dropped with the closure; its client sees it closed and tries again.
        if spawn_thread("relay connection", serve).is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
