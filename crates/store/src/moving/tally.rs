//! How many values there are and a digest of all of them, whatever the order in which they come.
//!
//! The digest is the sum of the BLAKE3 hashes of the values. It tells stores apart that differ by accident, which is what it is
//! for; one who may write to a store could make up values that add up to the same.

use super::Portable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// How many, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    sum: [u64; 4],
}

impl Tally {
    fn add(&mut self, value: &impl Serialize) {
        let text = serde_json::to_vec(value)
            .expect("invariant: a value of a store is plain data and can be written as JSON");
        let hash = blake3::hash(&text);
        for (sum, part) in self.sum.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            let part = part.try_into().expect("invariant: a chunk of 8 bytes");
            *sum = sum.wrapping_add(u64::from_le_bytes(part));
        }
        self.count += 1;
    }

    /// The digest in 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        self.sum.iter().map(|part| format!("{part:016x}")).collect()
    }

    /// Enough of the digest for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.digest()[..12].to_owned()
    }
}

/// A tally as it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    count: u64,
    digest: String,
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (count, digest) = (self.count, self.digest());
        Written { count, digest }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tally {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let Written { count, digest } = Written::deserialize(deserializer)?;
        let mut sum = [0; 4];
        for (index, part) in sum.iter_mut().enumerate() {
            *part = digest
                .get(16 * index..16 * (index + 1))
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(|| D::Error::custom("a digest has 64 hexadecimal digits"))?;
        }
        Ok(Self { count, sum })
    }
}

/// The tallies of a store by section, and of what belongs to its jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tallies(pub BTreeMap<String, Tally>);

impl Tallies {
    /// Counts this value.
    pub fn add(&mut self, value: &Portable) {
        self.of(value.section().name()).add(value);
        let Portable::Job(job) = value else { return };
        // They are in the job's own hash. Apart, they say what is missing where that differs.
        for checkpoint in &job.checkpoints {
            self.of("checkpoints").add(checkpoint);
        }
        for token in &job.tokens {
            self.of("tokens").add(token);
        }
        if let Some(output) = &job.output {
            self.of("outputs").add(output);
        }
        for signal in &job.signals {
            self.of("signals").add(signal);
        }
        for wait in &job.waits {
            self.of("waits").add(wait);
        }
    }

    fn of(&mut self, part: &str) -> &mut Tally {
        if !self.0.contains_key(part) {
            self.0.insert(part.to_owned(), Tally::default());
        }
        self.0
            .get_mut(part)
            .expect("invariant: it was just put there")
    }

    /// The first part that is not the same, as it is here and there.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<(String, Tally, Tally)> {
        let parts = self.0.keys().chain(other.0.keys());
        parts
            .map(|part| {
                let of = |tallies: &Self| tallies.0.get(part).copied().unwrap_or_default();
                (part.clone(), of(self), of(other))
            })
            .find(|(_, here, there)| here != there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_does_not_matter_and_everything_else_does() {
        let tally = |values: &[&str]| {
            let mut tally = Tally::default();
            values.iter().for_each(|value| tally.add(value));
            tally
        };
        let both = tally(&["a", "b"]);
        assert_eq!(both, tally(&["b", "a"]));
        for other in [&["a"] as &[&str], &["a", "c"], &["a", "b", "b"], &["ab"]] {
            assert_ne!(both.digest(), tally(other).digest());
        }
        let written = serde_json::to_string(&both).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&written).unwrap(), both);
    }
}
