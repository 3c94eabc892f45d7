//! Warm starts: the first run of a definition is frozen when it reports ready, and later jobs of it begin there.

use crate::{CheckpointId, DefinitionRef, Fork, Image, Job, JobSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The key under which a program that is ready asks for the state that others begin from.
pub const READY_TOKEN: &str = "dauer:ready";

/// So many sandboxes one definition keeps waiting at most.
pub const POOL_MAX: u32 = 256;

/// How jobs of a definition begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    /// When the first run is frozen.
    pub snapshot_after: SnapshotAfter,
    /// So many sandboxes are kept restored and waiting for a job.
    #[serde(default)]
    pub pool: u32,
}

/// When the first run of a definition is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotAfter {
    /// When its program says that it is ready.
    Ready,
}

/// How a job of such a definition begins. It is warm where nothing stands against it and it has a state to begin from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmStart {
    /// So many sandboxes its definition keeps waiting.
    #[serde(default)]
    pub pool: u32,
    /// What it adds to the environment of its definition. Its program may have begun before: it asks for this once it is ready.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// It asks for another sandbox than its definition: it never begins from the template, and makes none. Says what differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<String>,
    /// Why it begins cold, where that is not because there is no template yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<String>,
}

/// That a snapshot is what jobs of a definition begin from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Of which.
    pub definition: DefinitionRef,
    /// So many sandboxes of it are kept waiting.
    #[serde(default)]
    pub pool: u32,
}

/// The name of the snapshot that jobs of this definition begin from; on a store that several nodes share, each has its own. Nobody
/// else can give a snapshot this name.
#[must_use]
pub fn template_name(definition: &DefinitionRef, node: Option<&str>) -> String {
    match node {
        Some(node) => format!("{definition}@{node}"),
        None => definition.to_string(),
    }
}

/// The first thing in which the sandbox of a job is another one than its definition asks for, by the name of the field. What a
/// program reads once it is ready may differ, and so may everything outside of the sandbox.
#[must_use]
pub fn differs(definition: &JobSpec, job: &JobSpec) -> Option<&'static str> {
    let fields = [
        ("argv", definition.argv == job.argv),
        ("driver", definition.driver == job.driver),
        ("image", is_same_image(&definition.image, &job.image)),
        ("workdir", definition.workdir == job.workdir),
        ("user", definition.user == job.user),
        ("mounts", definition.mounts == job.mounts),
        ("inject", definition.inject == job.inject),
        ("network", definition.network == job.network),
        ("publish", definition.publish == job.publish),
        ("tty", definition.tty == job.tty),
        ("stdin", definition.stdin == job.stdin),
        ("cpu_millis", definition.cpu_millis == job.cpu_millis),
        ("memory_bytes", definition.memory_bytes == job.memory_bytes),
        ("from", job.from.is_none() || job.fork.is_some()),
    ];
    let other = fields.into_iter().find(|(_, same)| !same);
    // A variable that is there for the program from its start cannot be taken from it.
    let lacks = || {
        let lacks = |name: &String| !job.env.contains_key(name);
        definition.env.keys().any(lacks).then_some("env")
    };
    other.map(|(field, _)| field).or_else(lacks)
}

/// Names may be looked up again in between; what they mean is compared where both are known.
fn is_same_image(one: &Image, other: &Image) -> bool {
    match (one, other) {
        (
            Image::Oci {
                reference,
                digest,
                entrypoint,
            },
            Image::Oci {
                reference: other_reference,
                digest: other_digest,
                entrypoint: other_entrypoint,
            },
        ) => {
            let is_known = !digest.is_empty() && !other_digest.is_empty();
            entrypoint == other_entrypoint
                && if is_known {
                    digest == other_digest
                } else {
                    reference == other_reference
                }
        }
        (Image::Host | Image::Directory(_) | Image::Tar(_) | Image::Oci { .. }, _) => one == other,
    }
}

impl JobSpec {
    /// The same as a job of a definition that begins warm: what it adds to the environment of its definition waits until its
    /// program is ready, unless it asks for another sandbox anyway.
    #[must_use]
    pub fn warmed(mut self, definition: &Self, pool: u32) -> Self {
        let differs = differs(definition, &self).map(str::to_owned);
        let mut env = BTreeMap::new();
        if differs.is_none() {
            env = std::mem::replace(&mut self.env, definition.env.clone());
            env.retain(|name, value| definition.env.get(name) != Some(value));
        }
        self.warm = Some(WarmStart {
            pool,
            env,
            differs,
            cold: None,
        });
        self
    }

    /// Whether it may begin from the template of its definition, and make that where there is none.
    #[must_use]
    pub fn may_be_warm(&self) -> bool {
        self.warm
            .as_ref()
            .is_some_and(|warm| warm.differs.is_none())
    }

    /// Whether it was accepted to begin from the template of its definition.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.fork.as_ref().is_some_and(|fork| fork.template)
    }

    /// Its environment with what waits until its program is ready.
    #[must_use]
    pub fn whole_env(&self) -> BTreeMap<String, String> {
        let mut env = self.env.clone();
        env.extend(self.warm.iter().flat_map(|warm| warm.env.clone()));
        env
    }

    /// What is kept of it with the template that it leaves: nothing that belongs to that one job alone.
    #[must_use]
    pub fn of_template(&self) -> Self {
        let mut spec = Self {
            name: None,
            params: None,
            remove_on_exit: false,
            run_at: None,
            schedule: None,
            scheduled_at: None,
            parent: None,
            unique: None,
            after: Vec::new(),
            batch: None,
            ..self.clone()
        };
        // Where it was to begin from a template before, that could not be restored.
        spec.begin_cold(None);
        if let Some(warm) = &mut spec.warm {
            warm.env.clear();
        }
        spec
    }

    /// It begins with its program, whatever was decided before.
    pub fn begin_cold(&mut self, because: Option<String>) {
        if self.is_warm() {
            (self.from, self.fork) = (None, None);
        }
        if let Some(warm) = &mut self.warm {
            warm.cold = because;
        }
    }
}

impl Job {
    /// Whether it begins from the template of its definition.
    #[must_use]
    pub fn is_warm(&self) -> bool {
        self.spec.is_warm() && self.cold.is_none()
    }

    /// The same job, not begun yet, which begins from the template of its definition.
    #[must_use]
    pub fn begun_warm(mut self, template: CheckpointId, fork: Fork) -> Self {
        self.generation = fork.generation;
        let spec = self.spec_mut();
        spec.from = Some(template);
        spec.from_disk = false;
        spec.fork = Some(Fork {
            template: true,
            ..fork
        });
        if let Some(warm) = &mut spec.warm {
            warm.cold = None;
        }
        self
    }

    /// The same job, not begun yet, which begins with its program.
    #[must_use]
    pub fn begun_cold(mut self, because: Option<String>) -> Self {
        self.generation = 0;
        self.spec_mut().begin_cold(because);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork::Taken;
    use crate::{JobId, Network, SandboxId, Timestamp, spec};

    fn changed(change: impl FnOnce(&mut JobSpec)) -> Option<&'static str> {
        let (definition, mut job) = (spec::sample(), spec::sample());
        change(&mut job);
        differs(&definition, &job)
    }

    #[test]
    fn another_sandbox_is_named_by_its_field_and_what_is_outside_may_differ() {
        assert_eq!(changed(|_| {}), None);
        assert_eq!(changed(|job| job.argv.push("-v".into())), Some("argv"));
        assert_eq!(changed(|job| job.network = Network::Nat), Some("network"));
        assert_eq!(
            changed(|job| job.memory_bytes = Some(1)),
            Some("memory_bytes")
        );
        let outside = changed(|job| {
            job.params = Some(1.into());
            job.name = Some("n".into());
            job.timeout_ms = Some(1);
            job.env.insert("A".into(), "1".into());
            job.tags.insert("a".into(), "b".into());
        });
        assert_eq!(outside, None);
    }

    #[test]
    fn the_same_name_of_an_image_may_mean_another_one() {
        let image = |reference: &str, digest: &str| Image::Oci {
            reference: reference.into(),
            digest: digest.into(),
            entrypoint: None,
        };
        let same = |one, other| is_same_image(&one, &other);
        assert!(same(image("a", ""), image("a", "sha256:1")));
        assert!(!same(image("a", "sha256:1"), image("a", "sha256:2")));
        assert!(same(image("a", "sha256:1"), image("b", "sha256:1")));
        assert!(!same(image("a", ""), Image::Host));
    }

    #[test]
    fn what_a_job_adds_to_the_environment_waits() {
        let mut definition = spec::sample();
        definition.env = [("A".into(), "1".into()), ("B".into(), "1".into())].into();
        let mut job = definition.clone();
        job.env.insert("B".into(), "2".into());
        job.env.insert("C".into(), "3".into());
        let whole = job.env.clone();
        let warmed = job.clone().warmed(&definition, 2);
        assert_eq!(warmed.env, definition.env);
        assert_eq!(warmed.whole_env(), whole);
        let warm = warmed.warm.unwrap();
        assert_eq!(
            warm.env,
            [("B".into(), "2".into()), ("C".into(), "3".into())].into()
        );
        assert_eq!((warm.pool, warm.differs), (2, None));
        // Another program: it begins with all of it.
        job.argv.push("-v".into());
        let cold = job.warmed(&definition, 2);
        assert_eq!(cold.env, whole);
        assert!(!cold.may_be_warm());
        // One that lacks a variable of its definition.
        let mut lacks = definition.clone();
        lacks.env.remove("A");
        assert_eq!(differs(&definition, &lacks), Some("env"));
    }

    #[test]
    fn a_warm_job_that_begins_cold_after_all_is_as_if_it_had_never_been_warm() {
        let spec = spec::sample().warmed(&spec::sample(), 0);
        let cold = Job::new("j".into(), spec, Timestamp(0));
        let (source, sandbox) = (JobId::from("s"), SandboxId::from("5a"));
        let taken = Taken {
            job: &source,
            sandbox: &sandbox,
            generation: 3,
            token: Some(READY_TOKEN),
        };
        let fork = Fork::of(&spec::sample(), taken, (0, 1));
        let warm = cold.clone().begun_warm("c0".into(), fork);
        assert_eq!((warm.generation, warm.spec.is_warm()), (3, true));
        assert_eq!(warm.forked_from(), Some(&"c0".into()));
        assert_eq!(warm.begun_cold(None), cold);
    }
}
