//! Definitions: named, versioned templates of jobs.

use crate::{RetryPolicy, Timestamp, Warm};
use semver::Version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The word that stands for the highest version there is.
pub const LATEST: &str = "latest";

/// A template as it was registered; it never changes. A job made from it has its own copy of everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name, which all its versions share.
    pub name: String,
    /// A version in the form of semver.org.
    pub version: String,
    /// The driver of its jobs; `auto` is resolved when one is submitted.
    pub runtime_type: String,
    /// The fields of its jobs, as in a request for one.
    pub config: serde_json::Value,
    /// How its jobs are retried, where they do not say so themselves.
    pub retry_policy: RetryPolicy,
    /// Goes into its jobs' metadata.
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// How its jobs begin; with their program where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<Warm>,
    /// When it was registered.
    pub created_at: Timestamp,
}

impl Definition {
    /// Whether registering this again would change nothing: everything but the time is equal.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let at = other.created_at;
        Self {
            created_at: at,
            ..self.clone()
        } == *other
    }
}

/// What a job was made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DefinitionRef {
    /// The definition's name.
    pub name: String,
    /// The version, never `latest`.
    pub version: String,
}

impl std::fmt::Display for DefinitionRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// Checks the form of a version.
///
/// # Errors
/// One line that says what is wrong.
pub fn version(text: &str) -> Result<(), String> {
    Version::parse(text)
        .map(drop)
        .map_err(|error| format!("{text:?} is not a version such as 1.2.0 or 2.0.0-rc.1 ({error})"))
}

/// The highest of these versions by the order of semver.org, in which 1.10.0 is above 1.9.0 and 2.0.0 above 2.0.0-rc.1.
/// One that has not the form of a version counts for nothing.
#[must_use]
pub fn latest<'a>(versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    versions
        .into_iter()
        .filter_map(|text| Some((Version::parse(text).ok()?, text)))
        .max_by(|(one, _), (other, _)| one.cmp(other))
        .map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_the_highest_number_not_the_last_text() {
        assert_eq!(latest(["1.9.0", "1.10.0", "1.2.30"]), Some("1.10.0"));
        assert_eq!(latest(["2.0.0-rc.1", "1.9.0"]), Some("2.0.0-rc.1"));
        assert_eq!(
            latest(["2.0.0-rc.2", "2.0.0", "2.0.0-rc.11"]),
            Some("2.0.0")
        );
        assert_eq!(
            latest([
                "1.0.0-alpha.beta",
                "1.0.0-beta.2",
                "1.0.0-beta.11",
                "1.0.0-alpha.1"
            ]),
            Some("1.0.0-beta.11")
        );
        assert_eq!(latest([]), None);
    }

    #[test]
    fn a_version_has_three_numbers() {
        assert!(version("1.2.3-rc.1+build.5").is_ok());
        for wrong in ["", "1", "1.2", "v1.2.3", "01.2.3", "latest"] {
            assert!(version(wrong).unwrap_err().contains("1.2.0"), "{wrong}");
        }
    }
}
