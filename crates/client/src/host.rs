//! Where a daemon listens.

use crate::Error;
use std::fmt;
use std::path::PathBuf;

/// The address of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A unix socket on this machine.
    Unix(PathBuf),
}

impl Host {
    /// Reads `unix:///path/dauer.sock` or an absolute path.
    ///
    /// # Errors
    /// [`Error::Host`] with the accepted forms.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Err(Error::Host(format!(
                "cannot use {text}: remote hosts come with access tokens, which this version does not have yet; use unix:///path/dauer.sock"
            )));
        }
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') {
            Ok(Self::Unix(PathBuf::from(path)))
        } else {
            Err(Error::Host(format!(
                "not a host: {text:?}; use unix:///path/dauer.sock or an absolute path"
            )))
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
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
        let remote = Host::parse("https://build.example:4711")
            .unwrap_err()
            .to_string();
        assert!(remote.contains("access tokens"), "{remote}");
    }
}
