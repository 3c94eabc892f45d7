//! How often, after how long, and from where a job that failed is tried again.

use crate::{Outcome, Reason};
use serde::{Deserialize, Serialize};

/// When a failed attempt is followed by another one. The default never retries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// At most so many attempts after the first one.
    pub max_retries: u32,
    /// From the end of the first attempt to the beginning of the second.
    pub retry_delay_ms: u64,
    /// Each further delay is that of the one before times this; at least 1.
    pub factor: f64,
    /// No delay is longer.
    pub max_delay_ms: u64,
    /// What chance does to the delays.
    pub jitter: Jitter,
    /// Which failures are followed by another attempt.
    pub retry_on: RetryOn,
    /// Where the next attempt begins.
    pub from: RetryFrom,
}

/// What chance does to a delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Nothing: it is as computed.
    #[default]
    None,
    /// It is any, from none to what was computed: jobs that failed together do not come back together.
    Full,
}

/// Which failures are followed by another attempt: those with one of these reasons, and those with one of these exit codes.
/// With neither, all that another attempt may help.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryOn {
    /// Of the failure.
    pub reasons: Vec<Reason>,
    /// Of a program that ended by itself, or could not be started.
    pub exit_codes: Vec<i32>,
}

/// Where the next attempt begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryFrom {
    /// At the start of the program: what it did before is forgotten.
    #[default]
    Start,
    /// In the newest committed checkpoint; at the start where there is none.
    Checkpoint,
}

impl Jitter {
    /// The jitter of this serialized name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "full" => Some(Self::Full),
            _ => None,
        }
    }

    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Full => "full",
        }
    }
}

impl RetryFrom {
    /// The place of this serialized name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "start" => Some(Self::Start),
            "checkpoint" => Some(Self::Checkpoint),
            _ => None,
        }
    }

    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Checkpoint => "checkpoint",
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 0,
            retry_delay_ms: 1_000,
            factor: 2.0,
            max_delay_ms: 3_600_000,
            jitter: Jitter::None,
            retry_on: RetryOn::default(),
            from: RetryFrom::Start,
        }
    }
}

impl RetryPolicy {
    /// Milliseconds to wait before the next attempt of a job that was retried so often already. `chance` is any number, all
    /// alike.
    #[must_use]
    pub fn delay_ms(&self, retries: u32, chance: u64) -> u64 {
        let exponent = i32::try_from(retries).unwrap_or(i32::MAX);
        let delay = self.retry_delay_ms as f64 * self.factor.powi(exponent);
        // Infinity and whatever is above the limit become the limit.
        let longest = if delay < self.max_delay_ms as f64 {
            delay.round() as u64
        } else {
            self.max_delay_ms
        };
        match self.jitter {
            Jitter::None => longest,
            // The number is a fraction of 2^64, which falls into one of `longest + 1` equal parts.
            Jitter::Full => {
                let part = ((u128::from(longest) + 1) * u128::from(chance)) >> 64;
                u64::try_from(part).unwrap_or(longest)
            }
        }
    }

    /// Whether a failure like this is one that is followed by another attempt, as far as there is one left.
    #[must_use]
    pub fn covers(&self, outcome: &Outcome) -> bool {
        let Some(reason) = outcome.reason else {
            return false;
        };
        if !self.may_help(reason) {
            return false;
        }
        let RetryOn {
            reasons,
            exit_codes,
        } = &self.retry_on;
        if reasons.is_empty() && exit_codes.is_empty() {
            return true;
        }
        let by_itself = matches!(reason, Reason::ExitCode | Reason::StartFailed);
        let code = outcome.exit_code.filter(|_| by_itself);
        reasons.contains(&reason) || code.is_some_and(|code| exit_codes.contains(&code))
    }

    /// Whether another attempt may end better than one that failed for this reason.
    #[must_use]
    pub fn may_help(&self, reason: Reason) -> bool {
        match reason {
            Reason::ExitCode
            | Reason::Signal
            | Reason::Timeout
            | Reason::OutOfMemory
            | Reason::StartFailed
            | Reason::Error
            | Reason::Panic
            | Reason::Lost => true,
            // What its checkpoint holds is not given up without being asked.
            Reason::RestoreFailed => self.from == RetryFrom::Checkpoint,
            // What was killed is wanted dead; what takes its node down would do so again.
            // What a job waited for will not end another way.
            Reason::Killed | Reason::CrashLoop | Reason::DependencyFailed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_by_the_factor_up_to_the_limit() {
        let policy = RetryPolicy {
            max_retries: 9,
            retry_delay_ms: 100,
            factor: 3.0,
            max_delay_ms: 1_000,
            ..RetryPolicy::default()
        };
        let delays: Vec<u64> = (0..5).map(|retries| policy.delay_ms(retries, 7)).collect();
        assert_eq!(delays, [100, 300, 900, 1_000, 1_000]);
        assert_eq!(policy.delay_ms(u32::MAX, u64::MAX), 1_000);
    }

    #[test]
    fn no_delay_stays_none_and_a_factor_of_one_stays_the_same() {
        let policy = |retry_delay_ms| RetryPolicy {
            retry_delay_ms,
            factor: 1.0,
            ..RetryPolicy::default()
        };
        assert_eq!(policy(0).delay_ms(3, 0), 0);
        assert_eq!(policy(70).delay_ms(40, 0), 70);
    }

    #[test]
    fn a_policy_of_an_earlier_build_is_read() {
        let old = r#"{"max_retries":2,"retry_delay_ms":5,"factor":1.5,"max_delay_ms":9}"#;
        let policy: RetryPolicy = serde_json::from_str(old).unwrap();
        assert_eq!((policy.max_retries, policy.jitter), (2, Jitter::None));
        assert_eq!(policy.from, RetryFrom::Start);
        assert_eq!(policy.retry_on, RetryOn::default());
    }
}
