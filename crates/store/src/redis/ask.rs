//! A question to the read script, put together piece by piece.

use super::link::Link;
use super::scripts;
use crate::Error;
use redis::Value;

/// The name of a question, and what it is about.
#[derive(Debug)]
pub(super) struct Ask(Vec<Vec<u8>>);

impl Ask {
    pub(super) fn of(question: &str) -> Self {
        Self(vec![question.into()])
    }

    pub(super) fn about(mut self, what: impl AsRef<[u8]>) -> Self {
        self.0.push(what.as_ref().into());
        self
    }

    pub(super) fn number(self, number: impl ToString) -> Self {
        self.about(number.to_string())
    }

    /// No more than so many, and no more than Lua counts exactly.
    pub(super) fn limit(self, limit: usize) -> Self {
        self.number(u32::try_from(limit).unwrap_or(u32::MAX))
    }

    pub(super) fn each<T: AsRef<[u8]>>(self, all: impl IntoIterator<Item = T>) -> Self {
        all.into_iter().fold(self, Self::about)
    }

    pub(super) async fn on(self, link: &Link) -> Result<Value, Error> {
        link.run(&scripts::READ, &self.0).await
    }
}
