//! The id of a request: taken from the caller or made here, and in every answer, problem and log line about it.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::future::Future;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where it travels, both ways.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ones are not taken.
const BYTES_MAX: usize = 128;

tokio::task_local! {
    static CURRENT: HeaderValue;
}

/// Different for every daemon, so that a number of its own is enough for each request.
static DAEMON: LazyLock<u64> = LazyLock::new(|| uuid::Uuid::new_v4().as_u64_pair().0);

static COUNT: AtomicU64 = AtomicU64::new(0);

/// The caller's own id where it is short and plain, else a new one.
pub(crate) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(HEADER) {
        Some(given) if is_plain(given.as_bytes()) => given.clone(),
        Some(_) | None => fresh(),
    }
}

/// Nothing that could forge a log line or a document.
fn is_plain(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=BYTES_MAX).contains(&id.len()) && id.iter().all(plain)
}

fn fresh() -> HeaderValue {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{:016x}-{number:x}", *DAEMON);
    HeaderValue::from_str(&text).expect("hexadecimal digits are a header value")
}

/// Runs `work` as the answering of this request.
pub(crate) fn scope<F: Future>(id: &HeaderValue, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(id.clone(), work)
}

/// The id of the request that is being answered here.
pub(crate) fn current() -> Option<String> {
    let read = CURRENT.try_with(|id| id.to_str().map(str::to_owned).ok());
    read.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(id: &str) -> HeaderValue {
        of(&HeaderMap::from_iter([(
            HEADER,
            HeaderValue::from_str(id).unwrap(),
        )]))
    }

    #[test]
    fn a_sane_id_is_kept_and_any_other_is_replaced() {
        assert_eq!(given("build-7/step.2"), "build-7/step.2");
        for id in ["", "two words", "{\"x\":1}", "a\tb", &"x".repeat(129)] {
            assert_ne!(given(id), id, "{id:?}");
        }
        assert_ne!(given(""), given(""));
    }
}
