//! How often, and after how long, a job that failed is tried again.

use serde::{Deserialize, Serialize};

/// When a failed attempt is followed by another one. The default never retries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 0,
            retry_delay_ms: 1_000,
            factor: 2.0,
            max_delay_ms: 3_600_000,
        }
    }
}

impl RetryPolicy {
    /// Milliseconds to wait before the next attempt of a job that was retried so often already.
    #[must_use]
    pub fn delay_ms(&self, retries: u32) -> u64 {
        let exponent = i32::try_from(retries).unwrap_or(i32::MAX);
        let delay = self.retry_delay_ms as f64 * self.factor.powi(exponent);
        // Infinity and whatever is above the limit become the limit.
        if delay < self.max_delay_ms as f64 {
            delay.round() as u64
        } else {
            self.max_delay_ms
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
        };
        let delays: Vec<u64> = (0..5).map(|retries| policy.delay_ms(retries)).collect();
        assert_eq!(delays, [100, 300, 900, 1_000, 1_000]);
        assert_eq!(policy.delay_ms(u32::MAX), 1_000);
    }

    #[test]
    fn no_delay_stays_none_and_a_factor_of_one_stays_the_same() {
        let policy = |retry_delay_ms| RetryPolicy {
            retry_delay_ms,
            factor: 1.0,
            ..RetryPolicy::default()
        };
        assert_eq!(policy(0).delay_ms(3), 0);
        assert_eq!(policy(70).delay_ms(40), 70);
    }
}
