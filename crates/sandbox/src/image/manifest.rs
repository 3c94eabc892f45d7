//! The documents of an image: indexes, manifests and configurations, as the OCI and Docker write them.

use super::digest::Digest;
use crate::Error;
use dauer_core::ImageConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// No document of an image is larger; registries refuse more than 4 MiB.
pub(super) const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// More layers than any builder makes; the kernel stacks some hundred.
const LAYERS_MAX: usize = 128;

/// An index may hold indexes, but who nests them deeper wants us to go round in circles.
pub(super) const INDEX_DEPTH_MAX: usize = 3;

/// Which document is taken where there is one for each kind of machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// `linux/amd64`, `linux/arm/v7`; this machine's own where nothing is said. Errors: `Invalid`.
    pub(super) fn of(text: Option<&str>) -> Result<Self, Error> {
        let Some(text) = text else {
            let architecture = match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            };
            return Ok(Self {
                os: "linux".into(),
                architecture: architecture.into(),
                variant: None,
            });
        };
        let parts: Vec<_> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => ("", "", None),
        };
        if os.is_empty() || architecture.is_empty() {
            return Err(Error::Invalid(format!(
                "{text:?} is not a platform: write for example linux/amd64"
            )));
        }
        Ok(Self {
            os: os.into(),
            architecture: architecture.into(),
            variant,
        })
    }

    /// The system and the processor.
    pub(super) fn pair(&self) -> (&str, &str) {
        (&self.os, &self.architecture)
    }

    fn takes(&self, other: &PlatformSaid) -> bool {
        self.os == other.os
            && self.architecture == other.architecture
            && self
                .variant
                .as_ref()
                .is_none_or(|variant| other.variant.as_ref() == Some(variant))
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
struct PlatformSaid {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

/// What refers to a blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    digest: String,
    pub(super) size: u64,
    #[serde(default, skip_serializing)]
    platform: Option<PlatformSaid>,
    #[serde(default, skip_serializing)]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(super) fn digest(&self) -> Result<Digest, Error> {
        self.digest.parse()
    }

    /// Of a tar as it is.
    pub(super) fn new(media_type: &str, digest: &Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest: digest.to_string(),
            size,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// A document that a registry or an archive has under the name of an image.
pub(super) enum Document {
    Image(Manifest),
    Index(Vec<Descriptor>),
}

/// One image.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    schema_version: u8,
    #[serde(default)]
    media_type: String,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

impl Manifest {
    pub(super) fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: MANIFEST.into(),
            config,
            layers,
        }
    }
}

/// What is not JSON of the kind that it should be is named in words.
pub(super) fn read<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Invalid(format!("{what} is not as it has to be: {error}")))
}

impl Document {
    /// Errors: `Invalid`.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Either {
            manifests: Option<Vec<Descriptor>>,
        }
        if let Some(manifests) = read::<Either>(bytes, "the image's manifest")?.manifests {
            return Ok(Self::Index(manifests));
        }
        let manifest: Manifest = read(bytes, "the image's manifest")?;
        if manifest.layers.len() > LAYERS_MAX {
            let layers = manifest.layers.len();
            return Err(Error::Invalid(format!(
                "the image has {layers} layers: at most {LAYERS_MAX}"
            )));
        }
        Ok(Self::Image(manifest))
    }
}

/// Those of an index that are for this platform, the one that says so first. Errors: `Invalid` where there is none.
pub(super) fn choose(index: &[Descriptor], platform: &Platform) -> Result<Descriptor, Error> {
    let fits = |descriptor: &&Descriptor| {
        descriptor
            .platform
            .as_ref()
            .is_some_and(|said| platform.takes(said))
    };
    let unsaid = |descriptor: &&Descriptor| descriptor.platform.is_none();
    let found = index
        .iter()
        .find(fits)
        .or_else(|| index.iter().find(unsaid));
    found.cloned().ok_or_else(|| {
        let there: Vec<_> = index
            .iter()
            .filter_map(|descriptor| descriptor.platform.as_ref())
            .map(|said| format!("{}/{}", said.os, said.architecture))
            .collect();
        Error::Invalid(format!(
            "the image is not for {platform}; it is for {}: choose one with --platform",
            if there.is_empty() {
                "nothing".into()
            } else {
                there.join(", ")
            }
        ))
    })
}

/// The configuration of an image: how programs start, and what its layers are when they are not packed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ConfigFile {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) created: Option<String>,
    #[serde(default)]
    config: Option<ConfigSaid>,
    #[serde(default)]
    rootfs: RootSaid,
}

#[derive(Debug, Default, Deserialize)]
struct RootSaid {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// Its fields may be there and null.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigSaid {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

impl ConfigFile {
    /// What the layers are when they are not packed, the lowest first. Errors: `Invalid` where there are not so many.
    pub(super) fn layers(&self, expected: usize) -> Result<Vec<Digest>, Error> {
        let ids = &self.rootfs.diff_ids;
        if ids.len() != expected {
            return Err(Error::Invalid(format!(
                "the image's configuration names {} layers and its manifest {expected}",
                ids.len()
            )));
        }
        ids.iter().map(|id| id.parse()).collect()
    }

    pub(super) fn config(self) -> ImageConfig {
        let said = self.config.unwrap_or_default();
        ImageConfig {
            env: said.env.unwrap_or_default(),
            entrypoint: said.entrypoint.unwrap_or_default(),
            cmd: said.cmd.unwrap_or_default(),
            workdir: said.working_dir.unwrap_or_default(),
            user: said.user.unwrap_or_default(),
            labels: said.labels.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let digest = Digest::of(b"x");
        let entries = platforms.iter().map(|text| {
            let (os, architecture) = text.split_once('/').unwrap_or(("", ""));
            let mut entry =
                serde_json::json!({"digest": digest.to_string(), "size": 1, "mediaType": text});
            if !text.is_empty() {
                entry["platform"] = serde_json::json!({"os": os, "architecture": architecture});
            }
            serde_json::from_value(entry).unwrap()
        });
        entries.collect()
    }

    #[test]
    fn the_document_for_the_platform_is_chosen_or_those_there_are_named() {
        let platform = Platform::of(Some("linux/arm64")).unwrap();
        let chosen = choose(&index(&["linux/amd64", "linux/arm64"]), &platform).unwrap();
        assert_eq!(chosen.media_type, "linux/arm64");
        assert_eq!(
            choose(&index(&["linux/amd64", ""]), &platform)
                .unwrap()
                .media_type,
            ""
        );
        let error = choose(&index(&["linux/amd64", "windows/amd64"]), &platform).unwrap_err();
        assert!(
            error.to_string().contains("linux/amd64, windows/amd64"),
            "{error}"
        );
        assert!(Platform::of(Some("linux")).is_err());
    }

    #[test]
    fn a_configuration_with_nulls_is_one_without() {
        let text = br#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["sh"],"Entrypoint":null},"rootfs":{"diff_ids":[]}}"#;
        let file: ConfigFile = read(text, "x").unwrap();
        assert!(file.layers(1).is_err());
        let config = file.config();
        assert_eq!((config.cmd, config.env.len()), (vec!["sh".to_owned()], 0));
    }

    #[test]
    fn what_is_no_manifest_is_refused_in_words() {
        for bytes in [&b"["[..], b"{}", br#"{"manifests": 3}"#] {
            assert!(matches!(Document::read(bytes), Err(Error::Invalid(_))));
        }
        let layers = vec![serde_json::json!({"digest": "x", "size": 1}); 200];
        let many = serde_json::json!({"schemaVersion": 2, "config": layers[0], "layers": layers});
        let error = Document::read(many.to_string().as_bytes()).err().unwrap();
        assert!(error.to_string().contains("200 layers"), "{error}");
    }
}
