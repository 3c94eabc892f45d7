//! What is kept under which key, in the store; and what of it goes to make room.
//!
//! ```text
//! put     row of the new entry, and the rows of those that go are marked, in one transaction
//! evict   row marked ─► row of the snapshot gone ─► its files gone ─► row gone
//! ```
//!
//! Wherever that stops, the next start goes on: a marked row is nobody's answer, and files without a row are found by their names.

use super::backend::Taken;
use super::held::{Held, Hold};
use super::{Backend, KEY_LABEL, Owner};
use crate::{Error, asker};
use dauer_core::plan::eviction::{self, Capacity, Room};
use dauer_core::{CacheEntry, CacheState, CacheTotals, CheckpointId, Snapshot, Timestamp};
use dauer_store::{Folder, Store};
use std::sync::Arc;
use tokio::sync::{Mutex, RwLock};

/// Entries of one read.
const PAGE: usize = 500;

/// The entries of this node.
pub(crate) struct Registry {
    store: Arc<dyn Store>,
    backend: Arc<dyn Backend>,
    held: Arc<Held>,
    owner: Owner,
    capacity: Capacity,
    /// Read: an entry is looked up and its snapshot held. Written: it is decided who goes. So nothing goes that was just looked up.
    order: RwLock<()>,
    /// Whoever puts or removes; what goes is gone when the next one begins.
    changing: Mutex<()>,
}

impl Registry {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        backend: Arc<dyn Backend>,
        held: Arc<Held>,
        owner: Owner,
        capacity: Capacity,
    ) -> Self {
        Self {
            store,
            backend,
            held,
            owner,
            capacity,
            order: RwLock::default(),
            changing: Mutex::default(),
        }
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(crate) fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// The entry of this key whose snapshot is there, and holds that. An entry without its snapshot goes.
    pub(crate) async fn hit(
        &self,
        key: &str,
        at: Timestamp,
    ) -> Result<Option<(CacheEntry, Hold)>, Error> {
        let stored = self.owner.stored(key);
        let (entry, hold) = {
            let _looks = self.order.read().await;
            match self.ready(&stored).await? {
                Some(entry) => {
                    let hold = self.held.hold(&entry.snapshot);
                    (entry, hold)
                }
                None => return Ok(None),
            }
        };
        if self.backend.has(&entry.snapshot).await? {
            let store = Arc::clone(&self.store);
            // Nobody waits for the disk to know that it was used: a crash leaves an order that is a little older.
            tokio::spawn(async move {
                match store.cache_hit(&stored, at).await {
                    Ok(()) | Err(dauer_store::Error::NotCached(_)) => {}
                    Err(error) => {
                        tracing::warn!(key = stored, %error, "noting that a cache entry was used")
                    }
                }
            });
            return Ok(Some((entry, hold)));
        }
        drop(hold);
        tracing::info!(key, snapshot = %entry.snapshot, "a cache entry without its snapshot goes");
        let _one = self.changing.lock().await;
        // Somebody may have put it anew meanwhile.
        if let Some(again) = self.ready(&stored).await?
            && again.snapshot == entry.snapshot
        {
            self.store.mark_evicting(vec![stored.clone()]).await?;
            self.finish(&again).await?;
        }
        Ok(None)
    }

    async fn ready(&self, stored: &str) -> Result<Option<CacheEntry>, Error> {
        let entry = self.store.cache_entry(stored).await?;
        Ok(entry.filter(|entry| entry.state == CacheState::Ready))
    }

    /// Writes the row of a snapshot before there is anything of it, so that nothing is ever there without a row.
    pub(crate) async fn reserve(&self, snapshot: Snapshot) -> Result<(), Error> {
        let subject = format!("snapshot {}", snapshot.id);
        let audit = asker::audit("snapshot_added", subject, Some("of a step".into()));
        Ok(self
            .store
            .add_snapshot(snapshot, Folder::New, audit)
            .await?)
    }

    /// Its files are there.
    pub(crate) async fn taken(&self, id: &CheckpointId, taken: Taken) -> Result<(), Error> {
        self.change(id, |snapshot| {
            snapshot.blocks_bytes = taken.bytes;
            snapshot.disk_bytes = taken.disk_bytes;
            snapshot.driver = taken.driver;
            snapshot.image = taken.image;
            snapshot.job = taken.job;
            snapshot.spec = taken.spec;
        })
        .await
    }

    async fn change(
        &self,
        id: &CheckpointId,
        change: impl FnOnce(&mut Snapshot),
    ) -> Result<(), Error> {
        let missing = || Error::NoSnapshot(id.0.clone());
        let mut snapshot = self.store.snapshot(id).await?.ok_or_else(missing)?;
        change(&mut snapshot);
        snapshot.version += 1;
        let audit = asker::audit("snapshot_changed", format!("snapshot {id}"), None);
        Ok(self.store.change_snapshot(snapshot, audit).await?)
    }

    /// Nothing is left of a snapshot that no entry leads to: first its row goes, then its files.
    pub(crate) async fn discard(&self, id: &CheckpointId) -> Result<(), Error> {
        let audit = asker::audit("snapshot_removed", format!("snapshot {id}"), None);
        match self.store.remove_snapshot(id, audit).await {
            Ok(()) | Err(dauer_store::Error::NoSnapshot(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if self.store.referenced(id).await? {
            return Ok(());
        }
        self.backend.delete(id).await
    }

    /// Puts a snapshot under a key; false where there is no room for it. What had to go is gone when this returns, or goes later.
    pub(crate) async fn put(
        &self,
        key: &str,
        snapshot: &CheckpointId,
        bytes: u64,
        at: Timestamp,
    ) -> Result<bool, Error> {
        let stored = self.owner.stored(key);
        let _one = self.changing.lock().await;
        if let Some(before) = self.store.cache_entry(&stored).await? {
            // On its way out since before a crash, or without its snapshot.
            self.store.mark_evicting(vec![stored.clone()]).await?;
            self.finish(&before).await?;
        }
        let entry = CacheEntry {
            key: stored,
            snapshot: snapshot.clone(),
            exit_code: 0,
            created_at: at,
            last_used_at: at,
            hits: 0,
            bytes,
            pinned: false,
            state: CacheState::Ready,
        };
        let going = {
            let _decides = self.order.write().await;
            let entries = self.all().await?;
            let there = entries
                .iter()
                .filter(|entry| entry.state == CacheState::Ready)
                .map(|entry| eviction::Entry {
                    key: entry.key.clone(),
                    bytes: entry.bytes,
                    last_used_at: entry.last_used_at,
                    stays: entry.pinned || self.held.is_held(&entry.snapshot),
                });
            let Room::Without(keys) = eviction::make_room(there.collect(), bytes, self.capacity)
            else {
                return Ok(false);
            };
            self.store.put_cache(entry, keys.clone()).await?;
            entries
                .into_iter()
                .filter(|entry| keys.contains(&entry.key))
                .collect::<Vec<_>>()
        };
        let owned = self.change(snapshot, |snapshot| {
            snapshot.ephemeral_of = None;
            snapshot.labels.insert(KEY_LABEL.to_owned(), key.to_owned());
        });
        if let Err(error) = owned.await {
            // It is the entry's already; the row says so after the next start.
            tracing::warn!(%snapshot, %error, "noting that the cache has a snapshot");
        }
        for entry in going {
            if let Err(error) = self.finish(&entry).await {
                tracing::warn!(key = entry.key, %error, "a cache entry that is evicted goes at the next start");
            }
        }
        Ok(true)
    }

    /// Finishes the eviction of a marked entry. Safe to repeat.
    pub(crate) async fn finish(&self, entry: &CacheEntry) -> Result<(), Error> {
        let snapshot = self.store.snapshot(&entry.snapshot).await?;
        // What a person named or pinned is that person's.
        if !snapshot.is_some_and(|snapshot| snapshot.name.is_some() || snapshot.pinned) {
            self.discard(&entry.snapshot).await?;
        }
        Ok(self.store.remove_cache(&entry.key).await?)
    }

    /// The entries of this node in whatever state, by their keys as the store has them.
    pub(crate) async fn all(&self) -> Result<Vec<CacheEntry>, Error> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.cache_entries(after.as_deref(), PAGE).await?;
            let whole = page.len() < PAGE;
            after = page.last().map(|entry| entry.key.clone());
            all.extend(
                page.into_iter()
                    .filter(|entry| self.owner.shown(&entry.key).is_some()),
            );
            if whole {
                return Ok(all);
            }
        }
    }

    /// What may be used, with keys as callers have them.
    pub(crate) async fn entries(&self) -> Result<Vec<CacheEntry>, Error> {
        let ready = self.all().await?.into_iter();
        let ready = ready.filter(|entry| entry.state == CacheState::Ready);
        Ok(ready.filter_map(|entry| self.shown(entry)).collect())
    }

    fn shown(&self, mut entry: CacheEntry) -> Option<CacheEntry> {
        entry.key = self.owner.shown(&entry.key)?;
        Some(entry)
    }

    /// How much there is of what may be used.
    pub(crate) async fn totals(&self) -> Result<CacheTotals, Error> {
        if self.owner.scope.is_none() {
            return Ok(self.store.cache_totals().await?);
        }
        let entries = self.entries().await?;
        Ok(CacheTotals {
            count: entries.len() as u64,
            bytes: entries.iter().map(|entry| entry.bytes).sum(),
        })
    }

    /// An entry that may be used.
    pub(crate) async fn show(&self, key: &str) -> Result<CacheEntry, Error> {
        let entry = self.ready(&self.owner.stored(key)).await?;
        let entry = entry.and_then(|entry| self.shown(entry));
        entry.ok_or_else(|| Error::NotCached(key.to_owned()))
    }

    /// Whether an entry may be evicted to make room.
    pub(crate) async fn pin(&self, key: &str, pinned: bool) -> Result<CacheEntry, Error> {
        {
            let _decides = self.order.write().await;
            let stored = self.owner.stored(key);
            match self.store.pin_cache(&stored, pinned).await {
                Err(dauer_store::Error::NotCached(_)) => {
                    return Err(Error::NotCached(key.to_owned()));
                }
                done => done?,
            }
        }
        self.show(key).await
    }

    /// Removes an entry with its snapshot, also a pinned one. Errors: `NotCached`; `Conflict` where a step works with it.
    pub(crate) async fn remove(&self, key: &str) -> Result<CacheEntry, Error> {
        let _one = self.changing.lock().await;
        let entry = {
            let _decides = self.order.write().await;
            let entry = self.show(key).await?;
            if self.held.is_held(&entry.snapshot) {
                return Err(Error::Conflict(format!(
                    "a step works with the cache entry {key:?}: remove it when that has ended"
                )));
            }
            self.store
                .mark_evicting(vec![self.owner.stored(key)])
                .await?;
            entry
        };
        let marked = CacheEntry {
            key: self.owner.stored(key),
            ..entry.clone()
        };
        self.finish(&marked).await?;
        Ok(entry)
    }

    /// Removes all entries that are neither pinned nor in use.
    pub(crate) async fn clean(&self) -> Result<Vec<CacheEntry>, Error> {
        let _one = self.changing.lock().await;
        let going = {
            let _decides = self.order.write().await;
            let mut going = self.all().await?;
            going.retain(|entry| !entry.pinned && !self.held.is_held(&entry.snapshot));
            let keys = going.iter().map(|entry| entry.key.clone()).collect();
            self.store.mark_evicting(keys).await?;
            going
        };
        for entry in &going {
            self.finish(entry).await?;
        }
        Ok(going
            .into_iter()
            .filter_map(|entry| self.shown(entry))
            .collect())
    }

    /// What an earlier process of this node left half done.
    pub(crate) async fn recover(&self) -> Result<(), Error> {
        let _one = self.changing.lock().await;
        let mut leads_to = std::collections::HashSet::new();
        for entry in self.all().await? {
            match entry.state {
                CacheState::Evicting => self.finish(&entry).await?,
                CacheState::Ready => {
                    leads_to.insert(entry.snapshot);
                }
            }
        }
        let mut after: Option<CheckpointId> = None;
        loop {
            let page = self.store.snapshots(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.id.clone());
            for snapshot in page {
                let is_over = snapshot
                    .ephemeral_of
                    .as_deref()
                    .is_some_and(|run| self.owner.is_over(run));
                if !is_over {
                    continue;
                }
                if leads_to.contains(&snapshot.id) {
                    self.change(&snapshot.id, |snapshot| snapshot.ephemeral_of = None)
                        .await?;
                } else {
                    self.discard(&snapshot.id).await?;
                }
            }
        }
    }
}
