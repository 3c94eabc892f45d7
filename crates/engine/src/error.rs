//! What a caller is told, by what it can do next. The text is one line for people.

use dauer_core::{DefinitionRef, Refusal};

/// An error of the engine.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such job.
    #[error("no job {0}")]
    NotFound(String),
    /// Several jobs match.
    #[error("{0:?} matches several jobs: give more of the id")]
    Ambiguous(String),
    /// A kept job has this name.
    #[error(
        "the name {name:?} is in use by job {job}: choose another, or remove that job with: dauer rm {name}"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Who has it.
        job: String,
    },
    /// A request with this key made another job.
    #[error("the key {key:?} was used for another request, which made job {job}: use a new key")]
    KeyInUse {
        /// The key.
        key: String,
        /// What was made with it.
        job: String,
    },
    /// Another job stands for this one, and the request does not want that.
    #[error(
        "job {job} has the unique key {key:?} and has not ended: wait for it, or choose another key"
    )]
    NotUnique {
        /// The key.
        key: String,
        /// Who has it.
        job: String,
    },
    /// There is no such queue.
    #[error("nothing is set for a queue {0:?}: `dauer queue ls` lists those there are")]
    NoQueue(String),
    /// There is no such batch.
    #[error("no batch {0:?}, or nothing is left of its jobs")]
    NoBatch(String),
    /// There is no such definition.
    #[error("no definition {0}: `dauer def ls` lists those there are")]
    NoDefinition(String),
    /// The node has no such image.
    #[error("no image {0} on this node: get it with: dauer image pull {0}")]
    NoImage(String),
    /// A registry does not give what was asked of it.
    #[error("{0}")]
    Registry(String),
    /// Another definition has this name and version.
    #[error(
        "there is another definition {0}: what is registered never changes; give yours a new version"
    )]
    DefinitionExists(DefinitionRef),
    /// There is no such schedule.
    #[error("no schedule {0}: `dauer schedule ls` lists those there are")]
    NoSchedule(String),
    /// A schedule has this name.
    #[error(
        "there is a schedule {0} already: choose another name, or remove that one with: dauer schedule rm {0}"
    )]
    ScheduleExists(String),
    /// There is no such snapshot.
    #[error("no snapshot {0}: `dauer snapshot ls` lists those there are")]
    NoSnapshot(String),
    /// The cache has nothing under this key.
    #[error("the cache has nothing under {0:?}: `dauer cache ls` lists what there is")]
    NotCached(String),
    /// A step took longer than its timeout; nothing of it is kept.
    #[error("the step took longer than {}: nothing of it is kept", brief(*after))]
    StepTimedOut {
        /// Its timeout.
        after: std::time::Duration,
    },
    /// Another node holds the job, or has its image.
    #[error("job {job} is on node {node}: {}", ask_there(address.as_deref()))]
    HeldElsewhere {
        /// Which.
        job: String,
        /// Where it is.
        node: String,
        /// Where the daemon there can be asked.
        address: Option<String>,
    },
    /// Another daemon took over from this one, which ends: nothing is written any more.
    #[error("this daemon was taken over and ends: nothing was done; ask another one")]
    Fenced,
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// A field of the request is wrong.
    #[error("{message}")]
    InvalidField {
        /// Its path, such as `mounts[0].source`.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// It cannot be done here, or by this driver.
    #[error("{0}")]
    Unsupported(String),
    /// A kept state is gone: nothing referred to it any more.
    #[error("checkpoint {0} is gone")]
    Vanished(String),
    /// The job is not in the state for it.
    #[error("{0}")]
    Conflict(String),
    /// It cannot be done while something else is being done to the job.
    #[error("{0}")]
    Busy(String),
    /// A disk is full; nothing was lost.
    #[error("{0}")]
    NoSpace(String),
    /// A checkpoint's image is damaged or made elsewhere.
    #[error("{0}")]
    BadImage(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// The store.
    #[error(transparent)]
    Store(dauer_store::Error),
}

/// A duration in the largest unit that says it whole.
fn brief(duration: std::time::Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        ms if ms % 1000 != 0 => format!("{ms} ms"),
        ms if ms % 60_000 != 0 => format!("{} s", ms / 1000),
        ms => format!("{} min", ms / 60_000),
    }
}

fn ask_there(address: Option<&str>) -> String {
    match address {
        Some(address) => format!("ask its daemon, for example with --host {address}"),
        None => "ask its daemon (`dauer node ls` lists the nodes)".to_owned(),
    }
}

impl Error {
    /// A field of the request is wrong.
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidField {
            field: field.into(),
            message: message.into(),
        }
    }

    /// The same, seen from outside: its field is one of `outer`.
    pub(crate) fn within(self, outer: &str) -> Self {
        match self {
            Self::InvalidField { field, message } => Self::InvalidField {
                field: format!("{outer}.{field}"),
                message,
            },
            Self::Invalid(message) => Self::invalid(outer, message),
            other => other,
        }
    }
}

impl From<dauer_store::Error> for Error {
    fn from(error: dauer_store::Error) -> Self {
        match error {
            dauer_store::Error::NotFound(what) => Self::NotFound(what),
            dauer_store::Error::Ambiguous(what) => Self::Ambiguous(what),
            dauer_store::Error::NameInUse { name, job } => Self::NameInUse { name, job: job.0 },
            dauer_store::Error::NoSpace(what) => {
                Self::NoSpace(format!("no space left for the store: {what}"))
            }
            dauer_store::Error::KeyInUse { key, used } => Self::KeyInUse {
                key,
                job: used.job.0,
            },
            dauer_store::Error::ParentEnding(parent) => Self::Conflict(format!(
                "job {parent} is cancelled with its children: it gets no further ones"
            )),
            dauer_store::Error::TooManyGroups => Self::Invalid(
                "there are too many rows: narrow the range, or group by something else".into(),
            ),
            dauer_store::Error::NotUnique { key, job } => Self::NotUnique { key, job: job.0 },
            dauer_store::Error::Defined(id) => Self::DefinitionExists(id),
            dauer_store::Error::ScheduleExists(name) => Self::ScheduleExists(name),
            dauer_store::Error::Unreferenced(id) => Self::Vanished(id.0),
            dauer_store::Error::NoSnapshot(text) => Self::NoSnapshot(text),
            dauer_store::Error::AmbiguousSnapshot(text) => Self::Ambiguous(text),
            changed @ (dauer_store::Error::ScheduleChanged(_)
            | dauer_store::Error::SnapshotNameInUse { .. }
            | dauer_store::Error::SnapshotChanged(_)
            | dauer_store::Error::SnapshotCached { .. }
            | dauer_store::Error::NotCached(_)
            | dauer_store::Error::CacheKeyInUse(_)
            | dauer_store::Error::CacheChanged(_)) => Self::Conflict(changed.to_string()),
            dauer_store::Error::Held { job, node } => Self::HeldElsewhere {
                job: job.0,
                node: node.0,
                address: None,
            },
            dauer_store::Error::Fenced { .. } => Self::Fenced,
            other @ (dauer_store::Error::Conflict { .. }
            | dauer_store::Error::LeaseChanged(_)
            | dauer_store::Error::Moving(_)
            | dauer_store::Error::Backend(_)) => Self::Store(other),
        }
    }
}

impl From<dauer_sandbox::Error> for Error {
    fn from(error: dauer_sandbox::Error) -> Self {
        use dauer_sandbox::Error as Sandbox;
        let text = error.to_string();
        match error {
            Sandbox::Invalid(_) => Self::Invalid(text),
            Sandbox::Unsupported(_) => Self::Unsupported(text),
            Sandbox::NoSpace { .. } => Self::NoSpace(text),
            Sandbox::BadImage(_) => Self::BadImage(text),
            Sandbox::Registry(_) => Self::Registry(text),
            Sandbox::Gone | Sandbox::Refused(_) => Self::Conflict(text),
            Sandbox::StartFailed { .. } | Sandbox::Tool { .. } | Sandbox::Io { .. } => {
                Self::Failed(text)
            }
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Busy(_) => Self::Busy(text),
            Refusal::HasEnded(_)
            | Refusal::WrongState { .. }
            | Refusal::Locked
            | Refusal::ChildrenEnding
            | Refusal::NothingToGoBackTo
            | Refusal::TooManyLocks => Self::Conflict(text),
        }
    }
}
