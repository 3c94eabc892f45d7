//! Claims about kept states and who refers to their folders.

use super::sample::{audit, become_state, change, checkpoint, create, edit, entry, job};
use crate::{Error, Folder, NewJob, Store};
use dauer_core::{
    CacheEntry, CacheState, Checkpoint, CheckpointId, Image, Job, Json, Snapshot, SnapshotKind,
    State, Template, Timestamp,
};
use std::sync::Arc;

/// The folder of this number.
fn folder(n: u64) -> CheckpointId {
    CheckpointId(format!("{n:016x}"))
}

/// A snapshot of this number with everything in it.
pub(super) fn snapshot(n: u64, name: Option<&str>) -> Snapshot {
    Snapshot {
        name: name.map(str::to_owned),
        job: Some(super::sample::id(n)),
        parent: Some(folder(n + 1000)),
        image: Image::Directory("/srv/root".into()),
        spec: Some(Json("{\"argv\": [\"\u{fc}\"], \"n\": 1.0}".into())),
        memory_bytes: 1 << 40,
        disk_bytes: 7,
        blocks_bytes: 4096,
        labels: [("team".into(), "a".into())].into(),
        template: Some(Template {
            definition: super::definitions::reference("resize", "1.10.0"),
            pool: 2,
        }),
        ..Snapshot::new(folder(n), SnapshotKind::Memory, "runc", Timestamp(5))
    }
}

/// An entry that leads to the snapshot of this number.
pub(super) fn cached(key: &str, n: u64) -> CacheEntry {
    CacheEntry {
        key: key.into(),
        snapshot: folder(n),
        exit_code: -7,
        created_at: Timestamp(10),
        last_used_at: Timestamp(10),
        hits: 0,
        bytes: 100,
        pinned: false,
        state: CacheState::Ready,
    }
}

/// A job of this number that begins from this folder.
pub(super) fn share(n: u64, from: &CheckpointId) -> NewJob {
    let mut fork = job(n);
    fork.spec_mut().from = Some(from.clone());
    fork.checkpoint = Some(from.clone());
    let shares = Checkpoint {
        id: from.clone(),
        ..checkpoint(&fork, 0)
    };
    NewJob {
        job: fork,
        entry: entry("forked"),
        key: None,
        shares: Some(shares),
    }
}

async fn add(store: &dyn Store, snapshot: Snapshot) -> Result<(), Error> {
    store
        .add_snapshot(snapshot, Folder::New, audit("snapshot_added"))
        .await
}

/// A job of this number that took the checkpoint of this one.
async fn frozen(store: &dyn Store, n: u64, image: u64) -> Job {
    let mut job = create(store, n).await;
    let taken = checkpoint(&job, image);
    let mut frozen = change(&mut job, |job| job.checkpoint = Some(taken.id.clone()));
    frozen.checkpoint = Some(taken);
    store.commit(frozen).await.unwrap();
    job
}

async fn remove(store: &dyn Store, mut job: Job) {
    if !job.state.is_terminal() {
        become_state(store, &mut job, State::Completed).await;
    }
    let removed = store.remove(&job.id, job.version, audit("job_removed"));
    removed.await.unwrap();
}

pub(super) async fn a_snapshot_is_read_as_it_was_added_and_found_by_name_or_beginning(
    store: Arc<dyn Store>,
) {
    let (one, two) = (snapshot(0x1_0000, Some("base")), snapshot(0x1_0001, None));
    add(&*store, one.clone()).await.unwrap();
    add(&*store, two.clone()).await.unwrap();
    assert_eq!(store.snapshot(&one.id).await.unwrap(), Some(one.clone()));
    assert_eq!(store.snapshot(&folder(3)).await.unwrap(), None);
    for text in [one.id.as_str(), "base"] {
        assert_eq!(store.find_snapshot(text).await.unwrap(), one);
    }
    // The whole name counts, and of an id at least four characters.
    for text in ["bas", "base2", "", "000", "%", "ffff"] {
        match store.find_snapshot(text).await {
            Err(Error::NoSnapshot(asked)) => assert_eq!(asked, text),
            other => panic!("{text}: {other:?}"),
        }
    }
    let result = store.find_snapshot("00000000").await;
    assert!(
        matches!(result, Err(Error::AmbiguousSnapshot(_))),
        "{result:?}"
    );
    assert_eq!(store.find_snapshot(&two.id.0[..]).await.unwrap(), two);
    // The name is another's, and the id.
    match add(&*store, snapshot(9, Some("base"))).await {
        Err(Error::SnapshotNameInUse { name, snapshot }) => {
            assert_eq!((name.as_str(), snapshot), ("base", one.id.clone()));
        }
        other => panic!("{other:?}"),
    }
    let result = add(&*store, snapshot(0x1_0001, None)).await;
    assert!(
        matches!(result, Err(Error::SnapshotChanged(_))),
        "{result:?}"
    );
    let removed = store.remove_snapshot(&one.id, audit("snapshot_removed"));
    removed.await.unwrap();
    assert_eq!(store.snapshot(&one.id).await.unwrap(), None);
    assert_eq!(store.find_snapshot("00000000").await.unwrap(), two);
    let again = store.remove_snapshot(&one.id, audit("snapshot_removed"));
    assert!(matches!(again.await, Err(Error::NoSnapshot(_))));
    add(&*store, snapshot(9, Some("base"))).await.unwrap();
}

pub(super) async fn snapshots_come_in_pages_by_their_ids(store: Arc<dyn Store>) {
    let mut all: Vec<Snapshot> = (1..=7).map(|n| snapshot(n, None)).collect();
    for n in [3, 7, 1, 5, 2, 6, 4] {
        add(&*store, snapshot(n, None)).await.unwrap();
    }
    let (mut found, mut after): (Vec<Snapshot>, Option<CheckpointId>) = (Vec::new(), None);
    loop {
        let page = store.snapshots(after.as_ref(), 3).await.unwrap();
        assert!(page.len() <= 3, "a page is no longer than asked for");
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        found.extend(page);
    }
    assert_eq!(found, all);
    // One that is gone leaves the place behind it.
    let gone = folder(3);
    let removed = store.remove_snapshot(&gone, audit("snapshot_removed"));
    removed.await.unwrap();
    all.remove(2);
    assert_eq!(store.snapshots(Some(&gone), 9).await.unwrap(), all[2..]);
}

pub(super) async fn a_snapshot_is_changed_over_the_version_before_only(store: Arc<dyn Store>) {
    add(&*store, snapshot(1, Some("one"))).await.unwrap();
    add(&*store, snapshot(2, Some("two"))).await.unwrap();
    let renamed = |version, name: &str| Snapshot {
        version,
        pinned: true,
        ..snapshot(1, Some(name))
    };
    for version in [1, 3] {
        let result = store.change_snapshot(renamed(version, "uno"), audit("changed"));
        let result = result.await;
        assert!(
            matches!(result, Err(Error::SnapshotChanged(_))),
            "{result:?}"
        );
    }
    let result = store.change_snapshot(renamed(2, "two"), audit("changed"));
    let result = result.await;
    assert!(
        matches!(result, Err(Error::SnapshotNameInUse { .. })),
        "{result:?}"
    );
    let result = store.change_snapshot(
        Snapshot {
            version: 2,
            ..snapshot(9, None)
        },
        audit("changed"),
    );
    assert!(matches!(result.await, Err(Error::NoSnapshot(_))));
    assert_eq!(
        store.find_snapshot("one").await.unwrap(),
        snapshot(1, Some("one"))
    );
    let changed = store.change_snapshot(renamed(2, "uno"), audit("changed"));
    changed.await.unwrap();
    assert_eq!(store.find_snapshot("uno").await.unwrap(), renamed(2, "uno"));
    // Its old name is free, and its own name is no hindrance.
    assert!(store.find_snapshot("one").await.is_err());
    let changed = store.change_snapshot(renamed(3, "uno"), audit("changed"));
    changed.await.unwrap();
    add(&*store, snapshot(3, Some("one"))).await.unwrap();
}

pub(super) async fn a_folder_is_kept_as_long_as_anything_refers_to_it(store: Arc<dyn Store>) {
    let mut source = frozen(&*store, 1, 7).await;
    let image = folder(7);
    let kept = async || store.referenced(&image).await.unwrap();
    assert!(kept().await && !store.referenced(&folder(8)).await.unwrap());
    store
        .create_all(vec![share(2, &image), share(3, &image)])
        .await
        .unwrap();
    for n in [2, 3] {
        let fork = share(n, &image);
        assert_eq!(store.job(&fork.job.id).await.unwrap(), fork.job);
        let rows = store.checkpoints(&fork.job.id).await.unwrap();
        assert_eq!(rows, fork.shares.into_iter().collect::<Vec<_>>());
    }
    store
        .add_snapshot(snapshot(7, None), Folder::Shared, audit("snapshot_added"))
        .await
        .unwrap();
    // The one who took it is the first to go, then the forks in any order, then the snapshot.
    edit(&*store, &mut source, |job| job.checkpoint = None).await;
    store.drop_checkpoint(&source.id, &image).await.unwrap();
    assert!(store.checkpoints(&source.id).await.unwrap().is_empty() && kept().await);
    for n in [2, 3] {
        let fork = share(n, &image).job;
        assert_eq!(store.checkpoints(&fork.id).await.unwrap().len(), 1);
        remove(&*store, fork).await;
        assert!(kept().await);
    }
    let removed = store.remove_snapshot(&image, audit("snapshot_removed"));
    removed.await.unwrap();
    assert!(!kept().await);
}

pub(super) async fn a_fork_that_begins_goes_on_with_its_own_row(store: Arc<dyn Store>) {
    let source = frozen(&*store, 1, 7).await;
    let image = folder(7);
    let fork = share(2, &image);
    let mut job = fork.job.clone();
    let begun = change(&mut job, |job| job.state = State::Running);
    store.create_begun(vec![fork], vec![begun]).await.unwrap();
    assert_eq!(store.job(&job.id).await.unwrap(), job);
    // What it points to it does not lose; what another has of the same folder is not its to drop.
    let result = store.drop_checkpoint(&job.id, &image).await;
    assert!(matches!(result, Err(Error::Conflict { .. })), "{result:?}");
    let third = super::sample::id(9);
    store.drop_checkpoint(&third, &image).await.unwrap();
    remove(&*store, source.clone()).await;
    assert!(store.checkpoints(&source.id).await.unwrap().is_empty());
    assert_eq!(store.job(&job.id).await.unwrap(), job);
    // A checkpoint of its own is one that others may share.
    let own = checkpoint(&job, 8);
    let mut taken = change(&mut job, |job| job.checkpoint = Some(own.id.clone()));
    taken.checkpoint = Some(own.clone());
    store.commit(taken).await.unwrap();
    assert_eq!(store.checkpoints(&job.id).await.unwrap().len(), 2);
    store.create_all(vec![share(3, &own.id)]).await.unwrap();
    // Back to where it came from, and away from there.
    edit(&*store, &mut job, |job| {
        job.checkpoint = Some(image.clone())
    })
    .await;
    let result = store.drop_checkpoint(&job.id, &image).await;
    assert!(matches!(result, Err(Error::Conflict { .. })), "{result:?}");
    edit(&*store, &mut job, |job| job.checkpoint = None).await;
    store.drop_checkpoint(&job.id, &image).await.unwrap();
    assert_eq!(
        store.checkpoints(&job.id).await.unwrap(),
        std::slice::from_ref(&own)
    );
    assert!(!store.referenced(&image).await.unwrap());
    assert!(store.referenced(&own.id).await.unwrap());
}

pub(super) async fn what_nothing_keeps_any_more_is_never_shared_again(store: Arc<dyn Store>) {
    let source = frozen(&*store, 1, 7).await;
    let image = folder(7);
    remove(&*store, source).await;
    for lost in [image, folder(99)] {
        match store.create_all(vec![share(2, &lost)]).await {
            Err(Error::Unreferenced(id)) => assert_eq!(id, lost),
            other => panic!("{other:?}"),
        }
        let shared = Snapshot {
            id: lost.clone(),
            ..snapshot(0, None)
        };
        let added = store.add_snapshot(shared, Folder::Shared, audit("snapshot_added"));
        match added.await {
            Err(Error::Unreferenced(id)) => assert_eq!(id, lost),
            other => panic!("{other:?}"),
        }
        assert!(!store.referenced(&lost).await.unwrap());
    }
    // Nothing of it was written, and one that is refused leaves those before it in the same request out.
    let result = store.job(&super::sample::id(2)).await;
    assert!(matches!(result, Err(Error::NotFound(_))), "{result:?}");
    frozen(&*store, 4, 8).await;
    let both = vec![share(5, &folder(8)), share(6, &folder(9))];
    assert!(store.create_all(both).await.is_err());
    let result = store.job(&super::sample::id(5)).await;
    assert!(matches!(result, Err(Error::NotFound(_))), "{result:?}");
}

/// So often a fork and the removal of what it begins from are tried at once.
const TRIES: u64 = 12;

pub(super) async fn forks_and_removals_at_once_leave_no_fork_without_its_folder(
    store: Arc<dyn Store>,
) {
    let (mut shared, mut refused) = (0, 0);
    for n in 0..TRIES {
        let image = folder(100 + n);
        add(&*store, snapshot(100 + n, None)).await.unwrap();
        let (removing, forking) = (Arc::clone(&store), Arc::clone(&store));
        let (gone, from) = (image.clone(), image.clone());
        let remove = tokio::spawn(async move {
            let removed = removing.remove_snapshot(&gone, audit("snapshot_removed"));
            removed.await.unwrap();
            removing.referenced(&gone).await.unwrap()
        });
        let fork =
            tokio::spawn(async move { forking.create_all(vec![share(200 + n, &from)]).await });
        let (seen, forked) = (remove.await.unwrap(), fork.await.unwrap());
        match forked {
            Ok(()) => {
                // Whoever removed asks behind its removal, and keeps the folder.
                assert!(seen, "the folder of a fork would be deleted");
                shared += 1;
            }
            Err(Error::Unreferenced(id)) => {
                assert_eq!(id, image);
                assert!(!seen);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(shared + refused, TRIES);
}

/// Adds the snapshots of these numbers.
pub(super) async fn with_snapshots(store: &dyn Store, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        add(store, snapshot(n, None)).await.unwrap();
    }
}
