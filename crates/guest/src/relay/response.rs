//! Answers in HTTP: those of the runtime API, and the relay's own errors.

use dauer_wire::guest::ApiResponse;
use dauer_wire::http::Problem;
use std::collections::BTreeMap;

/// The relay's business, whatever the server said.
const OURS: [&str; 4] = [
    "connection",
    "content-length",
    "keep-alive",
    "transfer-encoding",
];

/// An error that the relay answers itself.
#[derive(Debug)]
pub(super) struct Refusal(Box<Problem>);

impl Refusal {
    fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            status,
            code: code.into(),
            detail: detail.into(),
            ..Problem::default()
        }))
    }

    pub(super) fn malformed(why: String) -> Self {
        Self::new(400, "invalid", format!("this is no HTTP request: {why}"))
    }

    pub(super) fn stranger() -> Self {
        Self::new(
            403,
            "forbidden",
            "only the processes of the job itself may use its runtime API",
        )
    }

    pub(super) fn body_too_long() -> Self {
        Self::new(413, "too_large", "a request body may have 2 MiB")
    }

    pub(super) fn head_too_long() -> Self {
        Self::new(
            431,
            "too_large",
            "a request may have 100 headers and 64 KiB before its body",
        )
    }

    pub(super) fn encoding() -> Self {
        Self::new(
            501,
            "unsupported",
            "the only transfer encoding understood is chunked",
        )
    }

    pub(super) fn busy() -> Self {
        Self::new(
            503,
            "busy",
            "too many connections to the runtime API are open; close some",
        )
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> u16 {
        self.0.status
    }

    pub(super) fn answer(&self) -> ApiResponse {
        ApiResponse {
            status: self.0.status,
            headers: BTreeMap::from([("content-type".into(), "application/problem+json".into())]),
            body: serde_json::to_vec(&self.0).expect("message types serialize"),
        }
    }
}

/// The whole answer as bytes. `old`: to an HTTP/1.0 client.
pub(super) fn render(
    answer: &ApiResponse,
    keep_alive: bool,
    head_only: bool,
    old: bool,
) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    for (name, value) in &answer.headers {
        let is_ours = OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours));
        let is_one_line = !name.contains(['\r', '\n']) && !value.contains(['\r', '\n']);
        if !is_ours && is_one_line {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let has_no_body = answer.status == 204 || answer.status == 304;
    if !has_no_body {
        head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    match (keep_alive, old) {
        (false, _) => head.push_str("connection: close\r\n"),
        (true, true) => head.push_str("connection: keep-alive\r\n"),
        (true, false) => {}
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if !has_no_body && !head_only {
        bytes.extend_from_slice(&answer.body);
    }
    bytes
}

/// For people who look at the wire; programs go by the number.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
