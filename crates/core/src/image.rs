//! What an image says of the programs that run on it, and how that becomes part of a job.

use crate::{Image, JobSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The defaults of an image, as its maker wrote them down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// What every command begins with.
    pub entrypoint: Vec<String>,
    /// The command, where a job has none.
    pub cmd: Vec<String>,
    /// Where programs start.
    pub workdir: String,
    /// Who they run as.
    pub user: String,
    /// What its maker wants known of it.
    pub labels: BTreeMap<String, String>,
}

impl ImageConfig {
    /// Makes the defaults of the image of this digest part of a job that was asked for with it: what the job says itself wins. The
    /// command is the entry point followed by what the job says, or by the image's own command where it says nothing. An image that was
    /// applied before changes nothing.
    pub fn apply(&self, digest: &str, spec: &mut JobSpec) {
        let Image::Oci {
            digest: applied,
            entrypoint,
            ..
        } = &mut spec.image
        else {
            return;
        };
        if !applied.is_empty() {
            return;
        }
        digest.clone_into(applied);
        let own = entrypoint.take();
        // The image's command is made for its entry point, and means nothing to another one.
        if spec.argv.is_empty() && own.is_none() {
            spec.argv.clone_from(&self.cmd);
        }
        let first = own.unwrap_or_else(|| self.entrypoint.clone());
        spec.argv.splice(0..0, first);
        for pair in &self.env {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !name.is_empty() && !name.starts_with("DAUER_") && !spec.env.contains_key(name) {
                spec.env.insert(name.to_owned(), value.to_owned());
            }
        }
        if spec.workdir.is_none() && self.workdir.starts_with('/') {
            spec.workdir = Some(self.workdir.clone());
        }
        if spec.user.is_none() && !self.user.is_empty() {
            spec.user = Some(self.user.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn asked(argv: &str, entrypoint: Option<&str>) -> JobSpec {
        JobSpec {
            argv: words(argv),
            image: Image::Oci {
                reference: "x".into(),
                digest: String::new(),
                entrypoint: entrypoint.map(words),
            },
            ..crate::spec::sample()
        }
    }

    fn config() -> ImageConfig {
        ImageConfig {
            env: words("PATH=/x A=image DAUER_API=theirs"),
            entrypoint: words("enter"),
            cmd: words("serve all"),
            workdir: "/srv".into(),
            user: "web".into(),
            ..ImageConfig::default()
        }
    }

    #[test]
    fn the_command_is_made_of_both_as_everywhere() {
        for (argv, entrypoint, expected) in [
            ("", None, "enter serve all"),
            ("look", None, "enter look"),
            ("", Some("sh -c"), "sh -c"),
            ("look", Some("sh -c"), "sh -c look"),
            ("look", Some(""), "look"),
        ] {
            let mut spec = asked(argv, entrypoint);
            config().apply("sha256:d", &mut spec);
            assert_eq!(spec.argv, words(expected), "{argv:?} {entrypoint:?}");
            let once = spec.clone();
            config().apply("sha256:e", &mut spec);
            assert_eq!(spec, once, "it was applied twice");
        }
    }

    #[test]
    fn what_the_job_says_wins() {
        let mut spec = asked("x", None);
        spec.env.insert("A".into(), "job".into());
        config().apply("sha256:d", &mut spec);
        assert_eq!(spec.env["A"], "job");
        assert_eq!(spec.env["PATH"], "/x");
        assert!(!spec.env.contains_key("DAUER_API"));
        assert_eq!(
            (spec.workdir.as_deref(), spec.user.as_deref()),
            (Some("/srv"), Some("web"))
        );
        let mut spec = asked("x", None);
        (spec.workdir, spec.user) = (Some("/w".into()), Some("0".into()));
        config().apply("sha256:d", &mut spec);
        assert_eq!(
            (spec.workdir.as_deref(), spec.user.as_deref()),
            (Some("/w"), Some("0"))
        );
        let mut host = crate::spec::sample();
        let before = host.clone();
        config().apply("sha256:d", &mut host);
        assert_eq!(host, before);
    }
}
