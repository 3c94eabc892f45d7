//! Digests of images: SHA-256, as registries have them.

use crate::Error;
use ring::digest::{Context, SHA256};
use std::fmt::{self, Display, Write as _};
use std::str::FromStr;

/// `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    hex: String,
}

impl Digest {
    /// The digits alone: a name for a file.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }

    /// Of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut sum = Sum::new();
        sum.update(bytes);
        sum.finish()
    }

    /// Refuses what has another one.
    pub(super) fn check(&self, found: &Self, what: &str) -> Result<(), Error> {
        if self == found {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "{what} is not what its digest says: {self} is written, {found} it is"
        )))
    }
}

impl Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = |hex: &&str| {
            hex.len() == 64
                && hex
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let hex = text.strip_prefix("sha256:").filter(digits);
        let hex = hex.ok_or_else(|| {
            Error::Invalid(format!(
                "{text:?} is not a digest: write sha256: and 64 digits"
            ))
        })?;
        Ok(Self {
            hex: hex.to_owned(),
        })
    }
}

/// A digest in the making.
pub(super) struct Sum(Context);

impl Sum {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Digest {
        let mut hex = String::with_capacity(64);
        for byte in self.0.finish().as_ref() {
            write!(hex, "{byte:02x}").expect("writing to memory");
        }
        Digest { hex }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_are_digests() {
        let digest = Digest::of(b"");
        assert_eq!(
            digest.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        for wrong in [
            "",
            "sha256:",
            "sha512:00",
            "sha256:../../etc",
            &"0".repeat(64),
        ] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
        assert!(Digest::of(b"a").check(&digest, "the blob").is_err());
    }
}
