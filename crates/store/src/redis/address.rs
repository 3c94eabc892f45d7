//! The address of a store: a server's, with what is ours in the query taken out.

use super::fault::Fault;
use redis::{Client, ConnectionAddr, IntoConnectionInfo, TlsCertificates};

/// What all keys begin with, where the address does not say.
const PREFIX: &str = "dauer:";

/// Where a store is, and how it is to be used.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) client: Client,
    /// For people: without a password.
    pub(super) shown: String,
    /// What all keys begin with, with a hash tag: on a cluster all lie in one slot.
    pub(super) prefix: String,
    /// Whoever wrote it accepts that a crash of the server takes everything back.
    pub(super) volatile_accepted: bool,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, Fault> {
        let bad = |why: String| Fault::Address(format!("the address of a redis store: {why}"));
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut prefix, mut volatile_accepted, mut rest) = (PREFIX, false, Vec::new());
        let mut roots = None;
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("prefix", "")) => return Err(bad("`prefix` is empty".into())),
                Some(("prefix", text)) => prefix = text,
                // As PostgreSQL's own library calls it, so that the two addresses read alike.
                Some(("sslrootcert", file)) => roots = Some(file),
                Some(("volatile", "accept")) => volatile_accepted = true,
                Some(("volatile", other)) => {
                    return Err(bad(format!(
                        "`volatile={other}` means nothing, `volatile=accept` does"
                    )));
                }
                _ => rest.push(part),
            }
        }
        let own = if rest.is_empty() {
            place.to_owned()
        } else {
            format!("{place}?{}", rest.join("&"))
        };
        let info = own
            .as_str()
            .into_connection_info()
            .map_err(|error| bad(error.to_string()))?;
        // Otherwise a connection begins with a question of its own, and one more message can be lost before it is of use.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let info = info.set_redis_settings(settings);
        let database = info.redis_settings().db();
        let shown = match info.addr() {
            ConnectionAddr::Tcp(host, port) => format!("{host}:{port}/{database}"),
            ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}/{database} (TLS)"),
            ConnectionAddr::Unix(path) => format!("{}, database {database}", path.display()),
            // The enum may grow.
            other => other.to_string(),
        };
        let is_encrypted = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let client = match roots {
            None => Client::open(info),
            Some(_) if !is_encrypted => {
                return Err(bad(
                    "`sslrootcert` is for `rediss://`, which is encrypted".into()
                ));
            }
            Some(file) => {
                let unreadable = |error| bad(format!("sslrootcert={file} cannot be read: {error}"));
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(std::fs::read(file).map_err(unreadable)?),
                };
                Client::build_with_tls(info, certificates)
            }
        };
        Ok(Self {
            client: client.map_err(|error| bad(error.to_string()))?,
            shown,
            prefix: tagged(prefix),
            volatile_accepted,
        })
    }
}

/// `dauer:` becomes `{dauer}:`; a prefix with a hash tag of its own stays.
fn tagged(prefix: &str) -> String {
    if prefix.contains('{') && prefix.contains('}') {
        return prefix.to_owned();
    }
    format!("{{{}}}:", prefix.trim_end_matches(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_taken_out_and_a_password_is_never_shown() {
        let address =
            Address::parse("redis://me:secret@db.example:7000/3?prefix=ci:&volatile=accept")
                .unwrap();
        assert_eq!(address.shown, "db.example:7000/3");
        assert_eq!(address.prefix, "{ci}:");
        assert!(address.volatile_accepted);
        let plain = Address::parse("redis://localhost").unwrap();
        assert_eq!(
            (plain.prefix.as_str(), plain.volatile_accepted),
            ("{dauer}:", false)
        );
        assert_eq!(plain.shown, "localhost:6379/0");
        let tagged = Address::parse("redis://localhost?prefix={a}b").unwrap();
        assert_eq!(tagged.prefix, "{a}b");
        let socket = Address::parse("redis+unix:///run/redis.sock").unwrap();
        assert_eq!(socket.shown, "/run/redis.sock, database 0");
        for bad in [
            "redis://",
            "redis://h?volatile=yes",
            "redis://h?prefix=",
            "redis://h?sslrootcert=/etc/ssl/certs/ca-certificates.crt",
            "rediss://h?sslrootcert=/nowhere.pem",
            "http://h",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
