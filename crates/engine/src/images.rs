//! The images of this node: what jobs are told of them, and what keeps them.

use crate::{ByteStream, Engine, Error, clock};
use bytes::Bytes;
use dauer_core::{Image, Job, JobSpec, Timestamp};
use dauer_sandbox::image::{
    Credentials, DiskKind, Images, Limits, Name, Progress, Pruned, Pull, Record, Removed, Wish,
    familiar,
};
use dauer_store::Filter;
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::PathBuf;
use tokio::sync::{RwLock, RwLockReadGuard, mpsc};

/// Records of one read.
const PAGE: usize = 1000;

/// Users that are named to whoever wants to remove what they use.
const NAMED_MAX: usize = 5;

/// Pieces of an import that wait for the disk.
const PIECES_AHEAD: usize = 16;

/// No request takes longer from the moment its jobs got their ids until they are committed.
const SUBMISSION_MAX_MS: i64 = 10 * 60_000;

/// What an engine has of images.
pub(crate) struct Keeper {
    pub(crate) images: Images,
    /// Shared by those who accept jobs that name an image, whole for who removes one.
    removing: RwLock<()>,
}

impl Keeper {
    pub(crate) fn new(images: Images) -> Self {
        Self {
            images,
            removing: RwLock::default(),
        }
    }
}

/// An image with its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageState {
    /// What there is to know of it.
    pub record: Record,
    /// As people write them.
    pub names: Vec<String>,
}

/// A request for a pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImagePull {
    /// A name.
    pub name: String,
    /// That of this node where absent.
    pub platform: Option<String>,
    /// Over plain HTTP.
    pub insecure: bool,
    /// The registry is not asked where the image is here.
    pub only_missing: bool,
    /// Who asks the registry.
    pub credentials: Credentials,
}

impl Engine {
    /// While this lives, no image is removed: from when jobs are told what their image is until they are committed.
    pub(crate) async fn keep_images(&self, specs: &[&JobSpec]) -> Option<RwLockReadGuard<'_, ()>> {
        let named = specs
            .iter()
            .any(|spec| matches!(spec.image, Image::Oci { .. }));
        if named {
            Some(self.keeper().removing.read().await)
        } else {
            None
        }
    }

    /// Has an image pulled; `tell` hears of its progress and must not block.
    ///
    /// # Errors
    /// `Invalid`; `Registry`; `NoSpace`; `Failed`.
    pub async fn pull_image(
        &self,
        pull: ImagePull,
        tell: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<ImageState, Error> {
        if pull.only_missing
            && let Some(record) = self
                .with_images({
                    let name = pull.name.clone();
                    move |images| images.find(&name)
                })
                .await?
        {
            return self.image_state(record).await;
        }
        let images = self.keeper().images.clone();
        let pull = Pull {
            name: pull.name,
            platform: pull.platform,
            insecure: pull.insecure,
            credentials: pull.credentials,
            limits: Limits::default(),
            now: clock::now(),
        };
        let record = images.pull(pull, tell).await?;
        self.settle_images();
        self.image_state(record).await
    }

    /// Takes images out of a tar, plain or packed: a root file system, or an archive of images.
    ///
    /// # Errors
    /// `Invalid` saying what is wrong with it; `NoSpace`; `Failed`.
    pub async fn import_images(
        &self,
        mut source: ByteStream,
        wish: Wish,
    ) -> Result<Vec<ImageState>, Error> {
        let (pieces, receiver) = mpsc::channel(PIECES_AHEAD);
        let importing = self.with_images(move |images| {
            let wish = Wish {
                now: clock::now(),
                ..wish
            };
            images.import(
                Pieces {
                    receiver,
                    present: Bytes::new(),
                },
                &wish,
            )
        });
        let feeding = async {
            while let Some(piece) = source.next().await {
                // Nobody reads on what was refused.
                if pieces.send(piece).await.is_err() {
                    break;
                }
            }
            drop(pieces);
        };
        let (records, ()) = tokio::join!(importing, feeding);
        self.settle_images();
        let mut states = Vec::new();
        for record in records? {
            states.push(self.image_state(record).await?);
        }
        Ok(states)
    }

    /// Has what was just published made durable, while nobody waits for it.
    fn settle_images(&self) {
        let engine = self.clone();
        tokio::spawn(async move {
            // The next one, or the next daemon, does it again.
            if let Err(error) = engine.with_images(|images| images.settle()).await {
                tracing::warn!(%error, "syncing images");
            }
        });
    }

    /// All images, the newest first.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn images(&self) -> Result<Vec<ImageState>, Error> {
        let (records, names) = self
            .with_images(|images| Ok((images.list()?, images.names()?)))
            .await?;
        Ok(records
            .into_iter()
            .map(|record| ImageState {
                names: of(&names, &record),
                record,
            })
            .collect())
    }

    /// One image: by name, by digest, or by the beginning of that.
    ///
    /// # Errors
    /// `NoImage`; `Invalid`.
    pub async fn image(&self, text: &str) -> Result<ImageState, Error> {
        let record = self.image_record(text).await?;
        self.image_state(record).await
    }

    /// Removes a name, and the image with it where that was its last; all of it with `force`, or where a digest says which.
    ///
    /// # Errors
    /// `NoImage`; `Conflict` naming the jobs that have it.
    pub async fn remove_image(&self, text: &str, force: bool) -> Result<Removed, Error> {
        let record = self.image_record(text).await?;
        let asked = (text.to_owned(), record.clone());
        if self
            .with_images(move |images| images.removes_image(&asked.0, &asked.1, force))
            .await?
        {
            self.check_unused(&record, None).await?;
        }
        let since = Timestamp(clock::now().0 - SUBMISSION_MAX_MS);
        let _alone = self.keeper().removing.write().await;
        let asked = (text.to_owned(), record.clone());
        // Again, for the names may have changed; of jobs only those that came meanwhile.
        if self
            .with_images(move |images| images.removes_image(&asked.0, &asked.1, force))
            .await?
        {
            self.check_unused(&record, Some(since)).await?;
        }
        let text = text.to_owned();
        self.with_images(move |images| images.remove(&text, &record, force))
            .await
    }

    /// Removes images without a name that nothing uses; with `all` also those that have names.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn prune_images(&self, all: bool) -> Result<Pruned, Error> {
        let _alone = self.keeper().removing.write().await;
        let users = self.image_users(None).await?;
        let used: BTreeSet<String> = users.into_iter().map(|(digest, _)| digest).collect();
        self.with_images(move |images| images.prune(&used, all))
            .await
    }

    /// The image as one read-only file for virtual machines, made where it is not there yet.
    ///
    /// # Errors
    /// `NoImage`; `Unsupported` where the tool is missing.
    pub async fn image_disk(&self, text: &str, kind: DiskKind) -> Result<PathBuf, Error> {
        let record = self.image_record(text).await?;
        self.with_images(move |images| images.disk(&record, kind))
            .await
    }

    /// Removes what an earlier daemon left half made.
    pub(crate) async fn recover_images(&self) {
        if let Err(error) = self.with_images(|images| images.recover()).await {
            tracing::warn!(%error, "looking for images that were not finished");
        }
    }

    async fn image_record(&self, text: &str) -> Result<Record, Error> {
        let asked = text.to_owned();
        let found = self.with_images(move |images| images.find(&asked)).await?;
        found.ok_or_else(|| Error::NoImage(text.to_owned()))
    }

    async fn image_state(&self, record: Record) -> Result<ImageState, Error> {
        let names = self.with_images(|images| images.names()).await?;
        Ok(ImageState {
            names: of(&names, &record),
            record,
        })
    }

    async fn check_unused(&self, record: &Record, since: Option<Timestamp>) -> Result<(), Error> {
        let users = self.image_users(since).await?;
        let users: Vec<String> = users
            .into_iter()
            .filter_map(|(digest, user)| (digest == record.digest).then_some(user))
            .collect();
        if users.is_empty() {
            return Ok(());
        }
        let more = users.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        Err(Error::Conflict(format!(
            "the image is used by {}{more}: remove those first",
            users[..users.len().min(NAMED_MAX)].join(", ")
        )))
    }

    /// Digests of images, each with what keeps it: all jobs that are kept, or only those that came since.
    async fn image_users(&self, since: Option<Timestamp>) -> Result<Vec<(String, String)>, Error> {
        let mut users = Vec::new();
        let mut filter = Filter {
            limit: PAGE,
            ..Filter::default()
        };
        'all: loop {
            let page = self.store().list(filter.clone()).await?;
            let Some(last) = page.last() else { break };
            filter.before = Some(last.id.clone());
            for job in &page {
                if since.is_some_and(|since| job.created_at < since) {
                    break 'all;
                }
                users.extend(
                    digest_of(&job.spec).map(|digest| (digest, format!("job {}", called(job)))),
                );
            }
        }
        let mut after = None;
        loop {
            let page = self.store().snapshots(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            users.extend(page.iter().filter_map(|snapshot| {
                let called = snapshot.name.as_deref().unwrap_or(snapshot.id.as_str());
                Some((digest_in(&snapshot.image)?, format!("snapshot {called}")))
            }));
        }
        let mut after: Option<String> = None;
        loop {
            let page = self.store().schedules(after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            users.extend(page.iter().filter_map(|schedule| {
                Some((
                    digest_of(&schedule.spec)?,
                    format!("schedule {}", schedule.name),
                ))
            }));
        }
        Ok(users)
    }

    /// Runs work on images where it may block.
    async fn with_images<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Images) -> Result<T, dauer_sandbox::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let images = self.keeper().images.clone();
        match tokio::task::spawn_blocking(move || work(&images)).await {
            Ok(done) => Ok(done?),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(Error::Failed(format!("working on images: {error}"))),
        }
    }
}

/// Tells a job what its image is and says of it. Blocks. Errors: `NoImage`; `Invalid`.
pub(crate) fn resolve(images: &Images, spec: &mut JobSpec) -> Result<(), Error> {
    let Image::Oci {
        reference, digest, ..
    } = &spec.image
    else {
        return Ok(());
    };
    if !digest.is_empty() {
        return Ok(());
    }
    let invalid = |error: dauer_sandbox::Error| match Error::from(error) {
        Error::Invalid(text) => Error::invalid("image", text),
        other => other,
    };
    let record = images.find(reference).map_err(invalid)?;
    let record = record.ok_or_else(|| Error::NoImage(reference.clone()))?;
    record.config.apply(&record.digest, spec);
    Ok(())
}

fn of(names: &[Name], record: &Record) -> Vec<String> {
    let own = names.iter().filter(|name| name.digest == record.digest);
    own.map(|name| familiar(&name.name).to_owned()).collect()
}

fn digest_of(spec: &JobSpec) -> Option<String> {
    digest_in(&spec.image)
}

fn digest_in(image: &Image) -> Option<String> {
    match image {
        Image::Oci { digest, .. } => Some(digest.clone()),
        Image::Host | Image::Directory(_) | Image::Tar(_) => None,
    }
}

fn called(job: &Job) -> &str {
    job.spec.name.as_deref().unwrap_or(&job.id.0)
}

/// Pieces of a body as a file that is read.
struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    present: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.present.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.present = piece?,
                None => return Ok(0),
            }
        }
        let length = self.present.len().min(into.len());
        into[..length].copy_from_slice(&self.present.split_to(length));
        Ok(length)
    }
}
