//! Where a daemon listens, and what it has to be shown there.

use crate::Error;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The address of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A unix socket on this machine.
    Unix(PathBuf),
    /// An address on the network.
    Remote(Remote),
}

/// An address on the network.
#[derive(Clone)]
pub struct Remote {
    /// Host and port, as in a request's `host`.
    pub(crate) authority: String,
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) https: bool,
    pub(crate) token: Option<String>,
    /// Who is trusted, where not those whom this machine trusts.
    pub(crate) trust: Option<Arc<ClientConfig>>,
}

impl Host {
    /// Reads `unix:///path/dauer.sock`, an absolute path, or `https://host:port`, `http://host:port`.
    ///
    /// # Errors
    /// [`Error::Host`] with the accepted forms.
    pub fn parse(text: &str) -> Result<Self, Error> {
        for (scheme, https) in [("https://", true), ("http://", false)] {
            if let Some(rest) = text.strip_prefix(scheme) {
                return Remote::parse(rest.trim_end_matches('/'), https)
                    .map(Self::Remote)
                    .ok_or_else(|| {
                        Error::Host(format!("not a host: {text:?}; use {scheme}host:port"))
                    });
            }
        }
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') {
            Ok(Self::Unix(PathBuf::from(path)))
        } else {
            Err(Error::Host(format!(
                "not a host: {text:?}; use https://host:port, unix:///path/dauer.sock or an absolute path"
            )))
        }
    }

    /// The same with a token to show; a unix socket needs none.
    #[must_use]
    pub fn with_token(self, token: impl Into<String>) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(path),
            Self::Remote(remote) => Self::Remote(Remote {
                token: Some(token.into()),
                ..remote
            }),
        }
    }

    /// The same, trusting only the certificates in this PEM file.
    ///
    /// # Errors
    /// [`Error::Host`] where the file has none.
    pub fn with_ca(self, file: &Path) -> Result<Self, Error> {
        let wrong = |why: String| {
            Error::Host(format!(
                "cannot use the certificates in {}: {why}",
                file.display()
            ))
        };
        match self {
            Self::Unix(path) => Ok(Self::Unix(path)),
            Self::Remote(remote) => {
                let certificates = CertificateDer::pem_file_iter(file)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|error| wrong(error.to_string()))?;
                let mut roots = RootCertStore::empty();
                if roots.add_parsable_certificates(certificates).0 == 0 {
                    return Err(wrong("there is none".into()));
                }
                Ok(Self::Remote(Remote {
                    trust: Some(config(roots)?),
                    ..remote
                }))
            }
        }
    }

    /// What a request to it says in its `host` header.
    pub(crate) fn authority(&self) -> &str {
        match self {
            Self::Unix(_) => "dauer",
            Self::Remote(remote) => &remote.authority,
        }
    }

    pub(crate) fn token(&self) -> Option<&str> {
        match self {
            Self::Unix(_) => None,
            Self::Remote(remote) => remote.token.as_deref(),
        }
    }
}

impl Remote {
    /// The machine: a name or an address.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn parse(text: &str, https: bool) -> Option<Self> {
        let authority: http::uri::Authority = text.parse().ok()?;
        if authority.host().is_empty() || text.contains('@') {
            return None;
        }
        Some(Self {
            name: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }),
            authority: authority.to_string(),
            https,
            token: None,
            trust: None,
        })
    }
}

/// TLS that trusts these.
pub(crate) fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Host(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        (&self.authority, self.https, &self.token) == (&other.authority, other.https, &other.token)
    }
}

impl Eq for Remote {}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token, which must not get into logs.
        write!(f, "{self}")
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Remote(remote) => write!(f, "{remote}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_socket_mean_the_same() {
        let expected = Host::Unix("/run/x/dauer.sock".into());
        assert_eq!(Host::parse("unix:///run/x/dauer.sock").unwrap(), expected);
        assert_eq!(Host::parse("/run/x/dauer.sock").unwrap(), expected);
    }

    #[test]
    fn an_address_on_the_network_has_a_port_and_hides_its_token() {
        let host = Host::parse("https://build.example/")
            .unwrap()
            .with_token("secret");
        assert_eq!(
            (host.authority(), host.token()),
            ("build.example", Some("secret"))
        );
        assert_eq!(host.to_string(), "https://build.example");
        assert!(!format!("{host:?}").contains("secret"));
        let Host::Remote(remote) = Host::parse("http://[::1]:4711").unwrap() else {
            panic!("no remote")
        };
        assert_eq!(
            (remote.name.as_str(), remote.port, remote.https),
            ("::1", 4711, false)
        );
    }

    #[test]
    fn what_is_no_host_says_the_accepted_forms() {
        for text in ["", "dauer.sock", "unix://dauer.sock", "tcp://1.2.3.4"] {
            assert!(
                Host::parse(text)
                    .unwrap_err()
                    .to_string()
                    .contains("unix:///path"),
                "{text}"
            );
        }
        for text in ["https://", "http://a b", "https://user:secret@host:1"] {
            let said = Host::parse(text).unwrap_err().to_string();
            assert!(said.contains("host:port"), "{text}: {said}");
        }
    }
}
