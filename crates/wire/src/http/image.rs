//! Images of a node: pulled, imported, looked at, removed.

use super::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /v1/images:pull`. Answer: [`PullEvent`]s, one a line, of which the last is `done` or `failed`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PullImage {
    /// A name, such as `debian:12` or `registry.example.com/team/tool@sha256:…`.
    pub image: String,
    /// `linux/amd64`; that of the node where absent.
    pub platform: Option<String>,
    /// Ask the registry over plain HTTP. One on the node's own loopback is asked that way anyhow.
    pub insecure: bool,
    /// Nothing is asked of the registry where the image is here.
    pub only_missing: bool,
    /// Who asks the registry. Never kept.
    pub user: Option<String>,
    /// Their password; or, without `user`, a token.
    pub password: Option<String>,
}

impl std::fmt::Debug for PullImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullImage")
            .field("image", &self.image)
            .field("platform", &self.platform)
            .finish_non_exhaustive()
    }
}

/// How far a pull is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PullEvent {
    /// The registry has it.
    Found {
        /// Of the image.
        digest: String,
        /// What will come, as large as it is there.
        layers: Vec<ImageLayerView>,
    },
    /// So much of a layer has come.
    Came {
        /// Its digest in the registry.
        layer: String,
        /// So far.
        bytes: u64,
    },
    /// All of it has come and is being unpacked.
    Unpacking {
        /// Its digest in the registry.
        layer: String,
    },
    /// It is unpacked, or was here before.
    Ready {
        /// Its digest in the registry.
        layer: String,
        /// It was here before.
        present: bool,
    },
    /// The image is here.
    Done {
        /// The image.
        image: Box<ImageView>,
    },
    /// It is not, and why.
    Failed {
        /// Why.
        problem: Box<Problem>,
    },
}

/// An image of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct ImageView {
    /// Of its manifest: what jobs keep.
    pub digest: String,
    /// As people write them.
    pub names: Vec<String>,
    /// `linux/amd64`.
    pub platform: String,
    /// Of the files in its layers. Layers that other images have too are on disk once.
    pub unpacked_bytes: u64,
    /// The lowest first, by the digest of their tar.
    pub layers: Vec<ImageLayerView>,
    /// How programs start on it.
    pub config: ImageConfigView,
    /// When it was made, as its maker says.
    pub created: Option<String>,
    /// When it came to the node.
    pub added_at: i64,
}

/// A layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct ImageLayerView {
    /// What it is called.
    pub digest: String,
    /// How large it is.
    pub bytes: u64,
}

/// The defaults of an image, which become part of a job that does not say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct ImageConfigView {
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// What every command begins with.
    pub entrypoint: Vec<String>,
    /// The command of jobs that have none.
    pub cmd: Vec<String>,
    /// Where programs start.
    pub workdir: String,
    /// Who they run as.
    pub user: String,
    /// What its maker wants known of it.
    pub labels: BTreeMap<String, String>,
}

/// `GET /v1/images`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageList {
    /// The newest first.
    pub images: Vec<ImageView>,
}

/// `DELETE /v1/images/{image}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct RemovedImage {
    /// Names that stand for nothing any more.
    pub untagged: Vec<String>,
    /// The image itself, where it is gone.
    pub removed: Option<String>,
}

/// `POST /v1/images:prune`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PruneImages {
    /// Also those that have names.
    pub all: bool,
}

/// What that removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct PrunedImages {
    /// Digests.
    pub removed: Vec<String>,
    /// How much room that made.
    pub freed_bytes: u64,
}

/// `POST /v1/images/{image}/disk`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct MakeDisk {
    /// `ext4` (default) or `erofs`.
    pub kind: Option<String>,
}

/// An image as one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct DiskView {
    /// On the node.
    pub path: String,
    /// `ext4` or `erofs`.
    pub kind: String,
}
