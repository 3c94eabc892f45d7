//! Durations and moments as people and programs write them.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// A duration: a number of milliseconds, or a text such as `30s` or `1h30m`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Span {
    /// Milliseconds.
    Ms(u64),
    /// With its unit.
    Text(String),
}

/// A moment: milliseconds since the epoch, or a text such as `2027-01-31T09:00:00Z`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Moment {
    /// Milliseconds since the Unix epoch.
    Ms(i64),
    /// In the form of RFC 3339.
    Text(String),
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |ms| u64::try_from(ms).map(Self::Ms).ok();
        let expected = "a duration such as \"30s\", or a number of milliseconds";
        deserializer.deserialize_any(Either {
            expected,
            number,
            text: Self::Text,
        })
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = |ms| i64::try_from(ms).map(Self::Ms).ok();
        let expected =
            "a moment such as \"2027-01-31T09:00:00Z\", or milliseconds since the Unix epoch";
        deserializer.deserialize_any(Either {
            expected,
            number,
            text: Self::Text,
        })
    }
}

/// Takes a whole number or a text.
struct Either<N, T> {
    expected: &'static str,
    number: N,
    text: T,
}

impl<'de, V, N: Fn(i128) -> Option<V>, T: Fn(String) -> V> Visitor<'de> for Either<N, T> {
    type Value = V;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<V, E> {
        (self.number)(number.into())
            .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<V, E> {
        (self.number)(number.into())
            .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<V, E> {
        Ok((self.text)(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_milliseconds_and_texts_stay_texts() {
        let span = |json: &str| serde_json::from_str::<Span>(json);
        assert_eq!(span("1500").unwrap(), Span::Ms(1500));
        assert_eq!(span("\"30s\"").unwrap(), Span::Text("30s".into()));
        for wrong in ["-1", "1.5", "true", "{}"] {
            assert!(
                span(wrong).unwrap_err().to_string().contains("30s"),
                "{wrong}"
            );
        }
        assert_eq!(serde_json::to_string(&Span::Ms(7)).unwrap(), "7");
        let moment = |json: &str| serde_json::from_str::<Moment>(json);
        assert_eq!(moment("-1").unwrap(), Moment::Ms(-1));
        assert!(moment("18446744073709551615").is_err());
    }
}
