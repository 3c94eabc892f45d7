//! Waits for signals, each with a key that stays the same over a rollback.

use super::api;
use super::freeze::text;
use super::lock::check_none_held;
use crate::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// How to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// No longer; then [`Error::SignalTimeout`].
    pub timeout: Option<Duration>,
    /// Suspended meanwhile, where the job can be frozen.
    pub suspend: bool,
}

impl Default for Wait {
    fn default() -> Self {
        Self {
            timeout: None,
            suspend: true,
        }
    }
}

#[derive(Deserialize)]
struct Waited {
    status: String,
    #[serde(default)]
    payload: Value,
}

/// Waits for `dauer signal JOB NAME [JSON]` and returns its payload. One that was sent before is there at once. A signal is
/// handed out once; after a rollback to an earlier checkpoint the same wait gets the same signal again. A wait whose future is dropped is
/// taken up by the next one for the name.
///
/// # Errors
/// [`Error::SignalTimeout`]; [`Error::NotManaged`] outside of Dauer, for there nobody can send one; [`Error::LockHeld`];
/// [`Error::Protocol`] for a payload that is no `T`; [`Error::Refused`].
pub async fn wait_signal<T: DeserializeOwned>(name: &str, wait: Wait) -> Result<T, Error> {
    let address = api::needed_address()?;
    if wait.suspend {
        check_none_held()?;
    }
    wait_signal_at(&address, name, wait).await
}

pub(super) async fn wait_signal_at<T: DeserializeOwned>(
    address: &str,
    name: &str,
    wait: Wait,
) -> Result<T, Error> {
    let mut turn = Turn::take(name);
    let mut body = json!({ "name": name, "token": turn.token(), "suspend": wait.suspend });
    if let Some(timeout) = wait.timeout {
        body["timeout"] = text(timeout).into();
    }
    loop {
        let reply = api::post(address, "/v1/self/signals/wait", &body).await?;
        let waited: Waited = match reply.json() {
            Ok(waited) => waited,
            // Waiting is what was asked for; to sleep meanwhile only saves memory.
            Err(Error::Refused(problem))
                if body["suspend"] == true
                    && matches!(problem.code.as_str(), "unsupported" | "failed") =>
            {
                body["suspend"] = false.into();
                continue;
            }
            Err(error) => return Err(error),
        };
        match waited.status.as_str() {
            "pending" => {}
            "signalled" => {
                turn.answered = true;
                return serde_json::from_value(waited.payload).map_err(|error| {
                    Error::Protocol(format!("the payload of signal {name:?}: {error}"))
                });
            }
            "timeout" => {
                turn.answered = true;
                return Err(Error::SignalTimeout(name.to_owned()));
            }
            other => return Err(Error::Protocol(format!("the signal status {other:?}"))),
        }
    }
}

/// Which waits were begun. It lies in memory, so it goes back in time with a restore: the n-th wait of a process for a name has the
/// same key again, and gets the signal that it got the first time.
struct Turns {
    process: Uuid,
    of_names: HashMap<String, Names>,
}

#[derive(Default)]
struct Names {
    begun: u64,
    given_back: BTreeSet<u64>,
}

static TURNS: LazyLock<Mutex<Turns>> = LazyLock::new(|| {
    Mutex::new(Turns {
        process: Uuid::new_v4(),
        of_names: HashMap::new(),
    })
});

fn turns() -> MutexGuard<'static, Turns> {
    // What is under it is whole at every moment.
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wait that has begun. Without an answer it is given back for the next one: its signal may already be bound to it.
struct Turn<'a> {
    name: &'a str,
    number: u64,
    answered: bool,
}

impl<'a> Turn<'a> {
    fn take(name: &'a str) -> Self {
        let mut turns = turns();
        let names = turns.of_names.entry(name.to_owned()).or_default();
        let number = names.given_back.pop_first().unwrap_or_else(|| {
            names.begun += 1;
            names.begun
        });
        Self {
            name,
            number,
            answered: false,
        }
    }

    /// Names differ, so that tasks may take turns for them in another order.
    fn token(&self) -> String {
        let of_name = Uuid::new_v5(&turns().process, self.name.as_bytes());
        format!("{of_name}.{}", self.number)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let mut turns = turns();
            let names = turns.of_names.entry(self.name.to_owned()).or_default();
            names.given_back.insert(self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_without_an_answer_is_the_next_one() {
        let first = Turn::take("a").token();
        let mut again = Turn::take("a");
        assert_eq!(again.token(), first);
        let other = Turn::take("a");
        assert_ne!(other.token(), first);
        again.answered = true;
        drop((again, other));
        let next = Turn::take("a").token();
        assert_ne!(next, first);
        assert_ne!(Turn::take("b").token(), first);
    }
}
