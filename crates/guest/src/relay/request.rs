//! Reads one HTTP request: head, body by length or in chunks, with limits on both.

use super::connection::Connection;
use super::response::Refusal;
use dauer_wire::guest::ApiRequest;
use httparse::Status;
use std::collections::BTreeMap;

const HEAD_BYTES_MAX: usize = 64 << 10;

const BODY_BYTES_MAX: usize = 2 << 20;

const HEADERS_MAX: usize = 100;

/// About the connection, not the request; and what might be taken for an identity, which here is the channel alone.
const NOT_PASSED_ON: [&str; 13] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request and how its client wants the answer.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) request: ApiRequest,
    pub(super) keep_alive: bool,
    /// HEAD: the answer has no body.
    pub(super) head_only: bool,
    /// HTTP/1.0.
    pub(super) old: bool,
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum End {
    Closed,
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(usize),
    Chunked,
}

struct Head {
    incoming: Incoming,
    body: Body,
    expects_continue: bool,
    bytes: usize,
}

/// Takes the next request off the connection.
pub(super) fn read(connection: &mut Connection) -> Result<Incoming, End> {
    let Head {
        mut incoming,
        body,
        expects_continue,
        bytes,
    } = loop {
        if let Some(head) = parse_head(&connection.buffer).map_err(End::Refused)? {
            break head;
        }
        if connection.buffer.len() > HEAD_BYTES_MAX {
            return Err(End::Refused(Refusal::head_too_long()));
        }
        connection.fill()?;
    };
    connection.buffer.drain(..bytes);
    if matches!(body, Body::Length(length) if length > BODY_BYTES_MAX) {
        return Err(End::Refused(Refusal::body_too_long()));
    }
    let nothing_came_yet = body != Body::Length(0) && connection.buffer.is_empty();
    if expects_continue
        && nothing_came_yet
        && connection.write(b"HTTP/1.1 100 Continue\r\n\r\n").is_err()
    {
        return Err(End::Closed);
    }
    incoming.request.body = match body {
        Body::Length(length) => read_length(connection, length)?,
        Body::Chunked => read_chunks(connection)?,
    };
    Ok(incoming)
}

/// None: incomplete.
fn parse_head(buffer: &[u8]) -> Result<Option<Head>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let bytes = match parsed.parse(buffer) {
        Ok(Status::Complete(bytes)) if bytes > HEAD_BYTES_MAX => {
            return Err(Refusal::head_too_long());
        }
        Ok(Status::Complete(bytes)) => bytes,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::head_too_long()),
        Err(error) => return Err(Refusal::malformed(error.to_string())),
    };
    let headers = collect_headers(parsed.headers)?;
    let method = parsed.method.unwrap_or_default().to_owned();
    let old = parsed.version == Some(0);
    let asks = |word: &str| has_word(&headers, "connection", word);
    let keep_alive = if old {
        asks("keep-alive")
    } else {
        !asks("close")
    };
    let expects_continue = !old && has_word(&headers, "expect", "100-continue");
    let body = body_of(&headers)?;
    let request = ApiRequest {
        path: path_of(parsed.path.unwrap_or_default())?,
        headers: headers
            .into_iter()
            .filter(|(name, _)| !NOT_PASSED_ON.contains(&&**name))
            .collect(),
        body: Vec::new(),
        method,
    };
    let head_only = request.method == "HEAD";
    Ok(Some(Head {
        incoming: Incoming {
            request,
            keep_alive,
            head_only,
            old,
        },
        body,
        expects_continue,
        bytes,
    }))
}

/// Names in lower case; a repeated header is one list.
fn collect_headers(parsed: &[httparse::Header<'_>]) -> Result<BTreeMap<String, String>, Refusal> {
    let mut headers = BTreeMap::<String, String>::new();
    for header in parsed {
        let name = header.name.to_ascii_lowercase();
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        match headers.get_mut(&name) {
            Some(earlier) if name == "content-length" && *earlier != value => {
                return Err(Refusal::malformed("two different lengths".into()));
            }
            Some(_) if name == "content-length" => {}
            Some(earlier) => *earlier = format!("{earlier}, {value}"),
            None => drop(headers.insert(name, value)),
        }
    }
    Ok(headers)
}

fn has_word(headers: &BTreeMap<String, String>, name: &str, word: &str) -> bool {
    headers.get(name).is_some_and(|value| {
        value
            .split(',')
            .any(|part| part.trim().eq_ignore_ascii_case(word))
    })
}

fn body_of(headers: &BTreeMap<String, String>) -> Result<Body, Refusal> {
    match (
        headers.get("transfer-encoding"),
        headers.get("content-length"),
    ) {
        (None, None) => Ok(Body::Length(0)),
        (None, Some(length))
            if length.bytes().all(|byte| byte.is_ascii_digit()) && !length.is_empty() =>
        {
            // Digits that do not fit are a length beyond any limit.
            Ok(Body::Length(length.parse().unwrap_or(usize::MAX)))
        }
        (None, Some(_)) => Err(Refusal::malformed("the length is no number".into())),
        (Some(encoding), None) if encoding.eq_ignore_ascii_case("chunked") => Ok(Body::Chunked),
        (Some(_), None) => Err(Refusal::encoding()),
        // Two readers could disagree about where the next request begins.
        (Some(_), Some(_)) => Err(Refusal::malformed("both a length and an encoding".into())),
    }
}

/// Path and query; clients that take us for a proxy send the whole address.
fn path_of(target: &str) -> Result<String, Refusal> {
    if target.starts_with('/') {
        return Ok(target.to_owned());
    }
    let rest = target
        .split_once("://")
        .map(|(_, rest)| rest)
        .ok_or(Refusal::malformed("no path".into()))?;
    Ok(rest
        .find('/')
        .map_or("/", |start| &rest[start..])
        .to_owned())
}

fn read_length(connection: &mut Connection, length: usize) -> Result<Vec<u8>, End> {
    while connection.buffer.len() < length {
        connection.fill()?;
    }
    let rest = connection.buffer.split_off(length);
    Ok(std::mem::replace(&mut connection.buffer, rest))
}

fn read_chunks(connection: &mut Connection) -> Result<Vec<u8>, End> {
    let mut body = Vec::new();
    loop {
        let length = read_chunk_length(connection)?;
        if length == 0 {
            break;
        }
        if length > BODY_BYTES_MAX - body.len() {
            return Err(End::Refused(Refusal::body_too_long()));
        }
        body.extend(read_length(connection, length)?);
        if read_line(connection)? != b"\r\n" {
            return Err(End::Refused(Refusal::malformed(
                "a chunk is longer than it says".into(),
            )));
        }
    }
    // Trailers say nothing that matters here.
    while read_line(connection)? != b"\r\n" {}
    Ok(body)
}

fn read_chunk_length(connection: &mut Connection) -> Result<usize, End> {
    let line = read_line(connection)?;
    match httparse::parse_chunk_size(&line) {
        Ok(Status::Complete((_, length))) => Ok(usize::try_from(length).unwrap_or(usize::MAX)),
        Ok(Status::Partial) | Err(_) => Err(End::Refused(Refusal::malformed(
            "the length of a chunk is no number".into(),
        ))),
    }
}

/// A line with its end.
fn read_line(connection: &mut Connection) -> Result<Vec<u8>, End> {
    loop {
        if let Some(end) = connection.buffer.iter().position(|byte| *byte == b'\n') {
            let rest = connection.buffer.split_off(end + 1);
            return Ok(std::mem::replace(&mut connection.buffer, rest));
        }
        if connection.buffer.len() > HEAD_BYTES_MAX {
            return Err(End::Refused(Refusal::head_too_long()));
        }
        connection.fill()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<Head, u16> {
        parse_head(head.as_bytes())
            .map(|head| head.expect("complete"))
            .map_err(|refusal| refusal.status())
    }

    #[test]
    fn the_connection_stays_as_the_version_and_the_client_say() {
        for (head, keep_alive) in [
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nConnection: te, close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ] {
            assert_eq!(
                parse(head).unwrap().incoming.keep_alive,
                keep_alive,
                "{head}"
            );
        }
    }

    #[test]
    fn an_ambiguous_body_is_refused() {
        for (headers, status) in [
            ("content-length: 1\r\ncontent-length: 2", 400),
            ("content-length: 1\r\ntransfer-encoding: chunked", 400),
            ("content-length: +1", 400),
            ("transfer-encoding: gzip, chunked", 501),
        ] {
            assert_eq!(
                parse(&format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n")).err(),
                Some(status),
                "{headers}"
            );
        }
        let same_twice =
            parse("POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\n").unwrap();
        assert_eq!(same_twice.body, Body::Length(3));
    }

    #[test]
    fn only_what_concerns_the_server_is_passed_on() {
        let head = parse("GET http://h:1/v1/self?a=b HTTP/1.1\r\nHost: h\r\nCookie: c\r\nACCEPT: x\r\naccept: y\r\n\r\n").unwrap();
        assert_eq!(head.incoming.request.path, "/v1/self?a=b");
        assert_eq!(
            head.incoming.request.headers,
            BTreeMap::from([("accept".into(), "x, y".into())])
        );
    }
}
