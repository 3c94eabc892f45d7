//! How a function fails.

use std::fmt::Display;

/// What a function returns where it fails. Any error becomes one with `?`, and the job is tried again as its policy says; one of
/// [`fatal`] fails the job at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerError {
    pub(crate) message: String,
    pub(crate) fatal: bool,
}

impl HandlerError {
    /// One that may pass: the job is tried again, as far as its policy allows.
    pub fn retryable(message: impl Display) -> Self {
        Self {
            message: message.to_string(),
            fatal: false,
        }
    }
}

/// An error for which trying again is useless.
///
/// ```
/// # fn parse(text: &str) -> Result<u32, dauer::HandlerError> {
/// text.parse().map_err(dauer::fatal)
/// # }
/// # assert!(parse("x").is_err());
/// ```
pub fn fatal(message: impl Display) -> HandlerError {
    HandlerError {
        message: message.to_string(),
        fatal: true,
    }
}

// Not an error itself: else it could not be made from every other one.
impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self {
            message,
            fatal: false,
        }
    }
}
