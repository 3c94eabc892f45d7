//! The listener on the network: plain only where nobody else can listen in, or where that was asked for by name.

use crate::tls::Tls;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A bound address.
#[derive(Debug)]
pub struct Tcp {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Arc<Tls>>,
}

impl Tcp {
    /// Binds an address. Without `tls` it has to be one of this machine alone, or `insecure` says that the network is trusted.
    ///
    /// # Errors
    /// `PermissionDenied` for a plain address that others reach; those of binding.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
        insecure: bool,
    ) -> io::Result<Self> {
        if tls.is_none() && !insecure && !address.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "tokens would cross the network in the clear; add --tls-self-signed, or --tls-cert and --tls-key, or --insecure where the network is your own",
            ));
        }
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            tls,
        })
    }

    /// Where it can be reached, as clients write it.
    ///
    /// # Errors
    /// Of asking the kernel for the port.
    pub fn address(&self) -> io::Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}", self.listener.local_addr()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plain_address_that_others_reach_is_refused_unless_asked_for() {
        let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let refused = Tcp::bind(everywhere, None, false).await.unwrap_err();
        assert!(
            refused.to_string().contains("--tls-self-signed"),
            "{refused}"
        );
        assert!(Tcp::bind(everywhere, None, true).await.is_ok());
        let own: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let bound = Tcp::bind(own, None, false).await.unwrap();
        assert!(bound.address().unwrap().starts_with("http://127.0.0.1:"));
    }
}
