//! Images out of registries: layers side by side, digests checked as the bytes come, a broken transfer taken up where it broke.

use super::digest::{Digest, Sum};
use super::library::{Images, Record};
use super::manifest::{self, ConfigFile, Descriptor, Manifest, Platform};
use super::registry::{Registry, broken};
use super::staging::{Documents, Expected, Ready, Staging};
use super::unpack::Limits;
use crate::Error;
use crate::host::root::make_folder;
use dauer_core::Timestamp;
use futures_util::StreamExt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Layers of one image that come at once.
const TRANSFERS: usize = 4;

/// A transfer that breaks so often is given up; one that got on starts counting anew.
const TRIES: u32 = 5;

const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Progress is told in steps of this.
const STEP_BYTES: u64 = 256 << 10;

/// Who asks a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    None,
    /// A user.
    Password {
        /// Who.
        user: String,
        /// Their secret.
        password: String,
    },
    /// Whoever holds this token.
    Token(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password { .. } => "Password",
            Self::Token(_) => "Token",
        })
    }
}

/// What to pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pull {
    /// A name, as users write it.
    pub name: String,
    /// `linux/amd64`; this machine's own where absent.
    pub platform: Option<String>,
    /// Over plain HTTP. A registry of this machine is asked that way anyhow.
    pub insecure: bool,
    /// Who asks.
    pub credentials: Credentials,
    /// What it may unpack to.
    pub limits: Limits,
    /// When.
    pub now: Timestamp,
}

/// How far a pull is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The name stands for this image, whose layers are so large in the registry.
    Found {
        /// Of the image.
        digest: String,
        /// Digest and bytes of each layer.
        layers: Vec<(String, u64)>,
    },
    /// So much of a layer has come.
    Came {
        /// Its digest.
        layer: String,
        /// So far.
        bytes: u64,
    },
    /// It is being unpacked.
    Unpacking {
        /// Its digest.
        layer: String,
    },
    /// It lies ready, or was there before.
    Ready {
        /// Its digest.
        layer: String,
        /// It was there before.
        present: bool,
    },
}

type Tell = Arc<dyn Fn(Progress) + Send + Sync>;

impl Images {
    /// Pulls an image; `tell` hears of its progress and must not block. Dropping the future ends it; what came so far is kept for the next.
    ///
    /// # Errors
    /// `Invalid` for a name that is none, and for what is not as it has to be; `Registry`; `NoSpace`; `Io`.
    pub async fn pull(
        &self,
        pull: Pull,
        tell: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Record, Error> {
        let tell: Tell = Arc::new(tell);
        let platform = Platform::of(pull.platform.as_deref())?;
        let registry = Arc::new(Registry::new(&pull)?);
        let (digest, manifest_bytes, manifest) = registry.manifest(&platform).await?;
        let config_digest = manifest.config.digest()?;
        let config = registry.document(&manifest.config, &config_digest).await?;
        let file: ConfigFile = manifest::read(&config, "the image's configuration")?;
        let plain = file.layers(manifest.layers.len())?;
        let total: u64 = manifest
            .layers
            .iter()
            .map(|layer| layer.size)
            .fold(0, u64::saturating_add);
        if total > pull.limits.bytes_max {
            return Err(Error::Invalid(format!(
                "the image has {total} bytes, which no image may"
            )));
        }
        tell(Progress::Found {
            digest: digest.to_string(),
            layers: manifest
                .layers
                .iter()
                .map(|layer| Ok((layer.digest()?.to_string(), layer.size)))
                .collect::<Result<_, Error>>()?,
        });
        make_folder(&self.folder.partial())?;
        let (images, limits) = (self.clone(), pull.limits);
        let staging = Arc::new(blocking(move || Staging::new(&images, limits)).await?);
        let layers = self
            .layers(&registry, &manifest, &plain, &staging, &tell)
            .await?;
        let documents = Documents {
            manifest: manifest_bytes,
            config,
        };
        let names: Vec<_> = registry
            .reference
            .tag()
            .map(|_| registry.reference.whole())
            .into_iter()
            .collect();
        // A digest beside the tag is what it stood for then; the tag may go on.
        let names = names
            .into_iter()
            .filter(|name| !name.contains('@'))
            .collect::<Vec<_>>();
        let now = pull.now;
        let (partial, packed) = (self.folder.partial(), manifest.layers);
        blocking(move || {
            let record = staging.publish(&documents, &layers, &names, now)?;
            // Only now is nothing of what came needed any more, whatever happens.
            for layer in packed {
                crate::files::remove_file(&partial.join(layer.digest()?.hex()))?;
            }
            Ok(record)
        })
        .await
    }

    async fn layers(
        &self,
        registry: &Arc<Registry>,
        manifest: &Manifest,
        plain: &[Digest],
        staging: &Arc<Staging>,
        tell: &Tell,
    ) -> Result<Vec<Ready>, Error> {
        let room = Arc::new(Semaphore::new(TRANSFERS));
        let mut work = JoinSet::new();
        let mut begun = std::collections::BTreeMap::new();
        let mut ready: Vec<Option<Ready>> = vec![None; plain.len()];
        for (number, (descriptor, plain)) in manifest.layers.iter().zip(plain).enumerate() {
            // The same layer twice is made once.
            if let Some(first) = begun.insert(plain.clone(), number) {
                begun.insert(plain.clone(), first);
                continue;
            }
            let transfer = Transfer {
                registry: Arc::clone(registry),
                descriptor: descriptor.clone(),
                digest: descriptor.digest()?,
                path: self.folder.partial().join(descriptor.digest()?.hex()),
                tell: Arc::clone(tell),
            };
            let (room, staging, plain) = (Arc::clone(&room), Arc::clone(staging), plain.clone());
            work.spawn(async move {
                let _turn = room
                    .acquire_owned()
                    .await
                    .map_err(|e| Error::io("pull")(io::Error::other(e)))?;
                Ok::<_, Error>((number, transfer.layer(staging, plain).await?))
            });
        }
        // The first that fails ends the others, which are dropped with the set.
        while let Some(done) = work.join_next().await {
            let (number, layer) = match done {
                Ok(done) => done?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(error) => return Err(Error::io("pull")(io::Error::other(error))),
            };
            ready[number] = Some(layer);
        }
        let of = |plain: &Digest| begun.get(plain).and_then(|first| ready[*first].clone());
        Ok(plain.iter().filter_map(of).collect())
    }
}

/// One layer on its way.
struct Transfer {
    registry: Arc<Registry>,
    descriptor: Descriptor,
    digest: Digest,
    /// Where it lies until the image is published.
    path: PathBuf,
    tell: Tell,
}

impl Transfer {
    async fn layer(self, staging: Arc<Staging>, plain: Digest) -> Result<Ready, Error> {
        let layer = self.digest.to_string();
        let (there, asked) = (Arc::clone(&staging), plain.clone());
        if let Some(ready) = blocking(move || there.present(&asked)).await? {
            (self.tell)(Progress::Ready {
                layer,
                present: true,
            });
            return Ok(ready);
        }
        self.fetch().await?;
        (self.tell)(Progress::Unpacking {
            layer: layer.clone(),
        });
        let path = self.path.clone();
        let expected = Expected {
            plain,
            packed: Some(self.digest.clone()),
        };
        let unpacked = blocking(move || {
            let file = std::fs::File::open(&path)
                .map_err(Error::io(format!("open {}", path.display())))?;
            staging.layer(file, &expected)
        })
        .await;
        if unpacked.is_err() {
            // It is of no use to the next pull either.
            crate::files::remove_file(&self.path)?;
        }
        (self.tell)(Progress::Ready {
            layer,
            present: false,
        });
        unpacked
    }

    /// Has the whole blob at its path, with the right digest.
    async fn fetch(&self) -> Result<(), Error> {
        let path = self.path.clone();
        let (mut sum, mut bytes) = blocking(move || so_far(&path)).await?;
        let mut failures = 0;
        while bytes < self.descriptor.size {
            let before = bytes;
            match self.fetch_on(&mut sum, &mut bytes).await {
                Ok(()) => {}
                Err(error @ Error::Registry(_)) => {
                    failures = if bytes > before { 1 } else { failures + 1 };
                    if failures >= TRIES {
                        return Err(error);
                    }
                    tokio::time::sleep(FIRST_WAIT * 2_u32.pow(failures - 1)).await;
                }
                Err(error) => return Err(error),
            }
        }
        let found = sum.finish();
        if found != self.digest || bytes != self.descriptor.size {
            crate::files::remove_file(&self.path)?;
        }
        if bytes != self.descriptor.size {
            return Err(Error::Invalid(format!(
                "a layer has more bytes than the {} it should have",
                self.descriptor.size
            )));
        }
        self.digest.check(&found, "a layer")
    }

    async fn fetch_on(&self, sum: &mut Sum, bytes: &mut u64) -> Result<(), Error> {
        let what = || format!("write {}", self.path.display());
        let (goes_on, mut stream) = self
            .registry
            .open(&self.descriptor, &self.digest, *bytes)
            .await?;
        let mut options = tokio::fs::OpenOptions::new();
        options.create(true).append(true);
        let mut file = options.open(&self.path).await.map_err(Error::io(what()))?;
        if !goes_on {
            file.set_len(0).await.map_err(Error::io(what()))?;
            (*sum, *bytes) = (Sum::new(), 0);
        }
        let mut told = *bytes;
        let came = loop {
            match stream.next().await {
                None => break Ok(()),
                Some(Err(error)) => break Err(broken(&self.digest, &error)),
                Some(Ok(piece)) => {
                    sum.update(&piece);
                    *bytes += piece.len() as u64;
                    if *bytes > self.descriptor.size {
                        break Ok(());
                    }
                    file.write_all(&piece)
                        .await
                        .map_err(|error| full_or(error, &self.path))?;
                    if *bytes - told >= STEP_BYTES || *bytes == self.descriptor.size {
                        told = *bytes;
                        (self.tell)(Progress::Came {
                            layer: self.digest.to_string(),
                            bytes: told,
                        });
                    }
                }
            }
        };
        file.flush()
            .await
            .map_err(|error| full_or(error, &self.path))?;
        if came.is_ok() && *bytes < self.descriptor.size {
            return Err(Error::Registry(format!(
                "the transfer of {} ended too early",
                self.digest.short()
            )));
        }
        came
    }
}

fn full_or(error: io::Error, path: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull => crate::disk::no_space(path, 0),
        _ => Error::io(format!("write {}", path.display()))(error),
    }
}

/// What an earlier pull left.
fn so_far(path: &Path) -> Result<(Sum, u64), Error> {
    let what = || format!("read {}", path.display());
    let (mut sum, mut bytes) = (Sum::new(), 0);
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((sum, bytes)),
        Err(error) => return Err(Error::io(what())(error)),
    };
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).map_err(Error::io(what()))? {
            0 => return Ok((sum, bytes)),
            length => {
                sum.update(&buffer[..length]);
                bytes += length as u64;
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Error::io("run file work")(io::Error::other(error))),
    }
}
