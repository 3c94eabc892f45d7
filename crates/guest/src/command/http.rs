//! As much of an HTTP client as the runtime API needs: a connection a request, over which nothing else comes.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Where the runtime API is.
pub(super) struct Api {
    /// `host:port`.
    address: String,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Api {
    /// From `DAUER_API`; none outside of Dauer.
    pub(super) fn from_environment() -> Result<Option<Self>, String> {
        match std::env::var("DAUER_API") {
            Ok(api) if !api.is_empty() => Self::parse(&api).map(Some),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    fn parse(api: &str) -> Result<Self, String> {
        let address = api
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'));
        match address {
            Some(address) if address.contains(':') && !address.contains('/') => Ok(Self {
                address: address.into(),
            }),
            _ => Err(format!("DAUER_API is {api}, which is not http://host:port")),
        }
    }

    pub(super) fn get(&self, path: &str) -> Result<Reply, String> {
        self.call("GET", path, &[])
    }

    /// A body in JSON.
    pub(super) fn post(&self, path: &str, body: &[u8]) -> Result<Reply, String> {
        self.call("POST", path, body)
    }

    pub(super) fn delete(&self, path: &str) -> Result<Reply, String> {
        self.call("DELETE", path, &[])
    }

    fn call(&self, method: &str, path: &str, body: &[u8]) -> Result<Reply, String> {
        let failed = |error| {
            format!(
                "no answer from the runtime API at {}: {error}",
                self.address
            )
        };
        let mut stream = TcpStream::connect(&self.address).map_err(failed)?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n",
            self.address
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        stream.write_all(&bytes).map_err(failed)?;
        // No time-out: a long poll is answered when there is something to say, and a freeze may last for days.
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(failed)?;
        parse_reply(&answer).ok_or(format!(
            "no answer from the runtime API at {}: the connection was cut",
            self.address
        ))
    }
}

/// The relay always says how long a body is.
fn parse_reply(answer: &[u8]) -> Option<Reply> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(bytes) = parsed.parse(answer).ok()? else {
        return None;
    };
    let length = parsed
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.map_or(Some(0), |header| {
        std::str::from_utf8(header.value).ok()?.trim().parse().ok()
    })?;
    let body = answer[bytes..].get(..length)?.to_vec();
    Some(Reply {
        status: parsed.code?,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_answer_is_no_answer() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(
            parse_reply(whole),
            Some(Reply {
                status: 202,
                body: b"{}".to_vec()
            })
        );
        for end in 0..whole.len() {
            assert_eq!(parse_reply(&whole[..end]), None, "{end}");
        }
    }

    #[test]
    fn only_an_address_with_a_port_is_taken() {
        assert_eq!(
            Api::parse("http://127.0.0.1:4717/").unwrap().address,
            "127.0.0.1:4717"
        );
        for bad in [
            "127.0.0.1:4717",
            "http://h",
            "http://h:1/path",
            "https://h:1",
        ] {
            assert!(Api::parse(bad).is_err(), "{bad}");
        }
    }
}
