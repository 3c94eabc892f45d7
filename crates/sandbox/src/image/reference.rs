//! Names of images, as registries and their users have them: `debian:12` is `docker.io/library/debian:12`.

use crate::Error;
use oci_client::Reference;

/// What a user's text names. Errors: `Invalid`.
pub(super) fn parse(text: &str) -> Result<Reference, Error> {
    text.parse().map_err(|error| {
        Error::Invalid(format!(
            "{text:?} is not the name of an image ({error}): write for example debian:12 or registry.example.com/team/tool:1.4"
        ))
    })
}

/// The name with everything that is left away mostly: the registry, the tag. Errors: `Invalid`.
pub fn full_name(text: &str) -> Result<String, Error> {
    Ok(parse(text)?.whole())
}

/// A full name as people write it.
#[must_use]
pub fn familiar(full: &str) -> &str {
    let short = full.strip_prefix("docker.io/").unwrap_or(full);
    short.strip_prefix("library/").unwrap_or(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_away_is_added_and_taken_away_again() {
        for (text, full, short) in [
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("team/tool:1", "docker.io/team/tool:1", "team/tool:1"),
            (
                "localhost:5000/a/b:c",
                "localhost:5000/a/b:c",
                "localhost:5000/a/b:c",
            ),
        ] {
            assert_eq!(full_name(text).unwrap(), full);
            assert_eq!(familiar(full), short);
        }
        for wrong in ["", "A b", "x:y:z", "../x"] {
            assert!(full_name(wrong).is_err(), "{wrong:?}");
        }
    }
}
