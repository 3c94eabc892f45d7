//! Names of things, and the one unit of time: milliseconds since the Unix epoch, UTC.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

id! {
    /// A job: a UUID of version 7 in its hyphenated form, so that ids sort by creation.
    JobId
}
id! {
    /// A sandbox: 16 random hexadecimal digits. Always this length, because some runtimes match ids by prefix.
    /// Everything the kernel holds for a sandbox is named from it: see [`SandboxId::instance`].
    SandboxId
}
id! {
    /// A checkpoint and the folder that holds it: 16 random hexadecimal digits.
    CheckpointId
}
id! {
    /// A node: one daemon and what it looks after, made up once and kept beside its sandboxes.
    NodeId
}

impl SandboxId {
    /// The name of one incarnation: `dauer-<id>-<generation>`, of fixed length. A thawed sandbox is a new
    /// incarnation and must not share a cgroup or container name with the one that was frozen.
    #[must_use]
    pub fn instance(&self, generation: u32) -> String {
        format!("dauer-{}-{generation:06}", self.0)
    }
}

/// Milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment plus so many milliseconds; saturates.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// This moment less so many milliseconds; saturates.
    #[must_use]
    pub fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to this moment; zero when the clock went back.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}
