//! Claims about what belongs to a job: checkpoints, tokens, and that all goes with it.

use super::sample::{audit, become_state, change, checkpoint, create, edit, id, listed};
use crate::{Error, Filter, Store};
use dauer_core::{Checkpoint, CheckpointId, Forget, Job, State, Token, TokenStatus};
use std::sync::Arc;

/// Commits the n-th checkpoint of a job as its resume point.
async fn commit_checkpoint(store: &dyn Store, job: &mut Job, n: u64) -> Checkpoint {
    let image = checkpoint(job, n);
    let mut change = change(job, |job| job.checkpoint = Some(image.id.clone()));
    change.checkpoint = Some(image.clone());
    store.commit(change).await.unwrap();
    image
}

async fn commit_token(
    store: &dyn Store,
    job: &mut Job,
    token: &str,
    generation: u32,
    status: TokenStatus,
) {
    let mut change = change(job, |_| {});
    change.token = Some(Token {
        job: job.id.clone(),
        token: token.into(),
        generation,
        status,
    });
    store.commit(change).await.unwrap();
}

pub(super) async fn checkpoints_come_oldest_first(store: Arc<dyn Store>) {
    let (mut job, mut other) = (create(&*store, 1).await, create(&*store, 2).await);
    let mut committed = Vec::new();
    for n in [5, 3, 9, 1] {
        committed.push(commit_checkpoint(&*store, &mut job, n).await);
        commit_checkpoint(&*store, &mut other, 100 + n).await;
    }
    assert_eq!(store.checkpoints(&job.id).await.unwrap(), committed);
    assert_eq!(
        store.job(&job.id).await.unwrap().checkpoint,
        Some(committed[3].id.clone())
    );
}

pub(super) async fn the_resume_point_is_never_dropped(store: Arc<dyn Store>) {
    let mut job = create(&*store, 1).await;
    let old = commit_checkpoint(&*store, &mut job, 1).await;
    let new = commit_checkpoint(&*store, &mut job, 2).await;
    match store.drop_checkpoint(&job.id, &new.id).await {
        Err(Error::Conflict {
            job: whose, found, ..
        }) => assert_eq!((whose, found), (job.id.clone(), job.version)),
        other => panic!("{other:?}"),
    }
    assert!(store.referenced(&new.id).await.unwrap());
    store.drop_checkpoint(&job.id, &old.id).await.unwrap();
    assert!(!store.referenced(&old.id).await.unwrap());
    assert_eq!(
        store.checkpoints(&job.id).await.unwrap(),
        std::slice::from_ref(&new)
    );
    // Again, and what never was.
    store.drop_checkpoint(&job.id, &old.id).await.unwrap();
    store
        .drop_checkpoint(&job.id, &CheckpointId::from("ffffffffffffffff"))
        .await
        .unwrap();
    edit(&*store, &mut job, |job| job.checkpoint = None).await;
    store.drop_checkpoint(&job.id, &new.id).await.unwrap();
    assert!(store.checkpoints(&job.id).await.unwrap().is_empty());
    assert_eq!(store.job(&job.id).await.unwrap(), job);
}

pub(super) async fn a_record_points_only_to_what_is_there(store: Arc<dyn Store>) {
    let mut job = create(&*store, 1).await;
    // What comes with it is not written either.
    let mut bad = change(&mut job.clone(), |job| {
        job.checkpoint = Some(CheckpointId::from("00000000000000aa"))
    });
    bad.checkpoint = Some(checkpoint(&job, 7));
    bad.token = Some(Token {
        job: job.id.clone(),
        token: "t".into(),
        generation: 1,
        status: TokenStatus::Requested,
    });
    let result = store.commit(bad).await;
    assert!(matches!(result, Err(Error::Backend(_))), "{result:?}");
    assert_eq!(store.job(&job.id).await.unwrap(), job);
    assert_eq!(store.journal(None, 0, 9).await.unwrap().len(), 1);
    assert!(store.checkpoints(&job.id).await.unwrap().is_empty());
    assert_eq!(store.token(&job.id, "t").await.unwrap(), None);
    // The same checkpoint again is the same checkpoint; of another job it is none.
    let image = commit_checkpoint(&*store, &mut job, 1).await;
    assert_eq!(commit_checkpoint(&*store, &mut job, 1).await, image);
    assert_eq!(
        store.checkpoints(&job.id).await.unwrap(),
        std::slice::from_ref(&image)
    );
    let mut thief = create(&*store, 2).await;
    let mut theft = change(&mut thief, |_| {});
    theft.checkpoint = Some(Checkpoint {
        job: id(2),
        ..image.clone()
    });
    let result = store.commit(theft).await;
    assert!(matches!(result, Err(Error::Backend(_))), "{result:?}");
    assert_eq!(store.checkpoints(&job.id).await.unwrap(), [image]);
}

pub(super) async fn a_token_keeps_its_newest_status(store: Arc<dyn Store>) {
    let (mut job, other) = (create(&*store, 1).await, create(&*store, 2).await);
    let done = TokenStatus::Done {
        checkpoint: CheckpointId::from("00000000000000aa"),
    };
    let failed = TokenStatus::Failed {
        message: "disk full: \"x\"".into(),
    };
    for (generation, status) in [
        (1, TokenStatus::Requested),
        (2, failed),
        (2, TokenStatus::Requested),
        (3, done),
    ] {
        commit_token(&*store, &mut job, "tökén /?", generation, status.clone()).await;
        let token = store.token(&job.id, "tökén /?").await.unwrap();
        assert_eq!(
            token,
            Some(Token {
                job: job.id.clone(),
                token: "tökén /?".into(),
                generation,
                status
            })
        );
    }
    assert_eq!(store.token(&other.id, "tökén /?").await.unwrap(), None);
    assert_eq!(store.token(&job.id, "token").await.unwrap(), None);
}

pub(super) async fn only_the_tokens_that_a_change_names_are_forgotten(store: Arc<dyn Store>) {
    let (mut job, mut other) = (create(&*store, 1).await, create(&*store, 2).await);
    let done = TokenStatus::Done {
        checkpoint: CheckpointId::from("00000000000000aa"),
    };
    commit_token(&*store, &mut job, "asked", 1, TokenStatus::Requested).await;
    commit_token(&*store, &mut job, "asked too", 1, TokenStatus::Requested).await;
    commit_token(&*store, &mut job, "done", 1, done).await;
    commit_token(
        &*store,
        &mut job,
        "failed",
        1,
        TokenStatus::Failed {
            message: "m".into(),
        },
    )
    .await;
    commit_token(&*store, &mut other, "asked", 1, TokenStatus::Requested).await;
    let mut forget = change(&mut job, |_| {});
    forget.forget_tokens = Forget::Requested;
    // One that is asked for in the very change stays.
    forget.token = Some(Token {
        job: job.id.clone(),
        token: "now".into(),
        generation: 2,
        status: TokenStatus::Requested,
    });
    store.commit(forget).await.unwrap();
    let known = async |job: &Job, token: &str| store.token(&job.id, token).await.unwrap().is_some();
    assert!(!known(&job, "asked").await && !known(&job, "asked too").await);
    assert!(known(&job, "done").await && known(&job, "failed").await && known(&job, "now").await);
    assert!(known(&other, "asked").await);
    let mut forget = change(&mut job, |_| {});
    forget.forget_tokens = Forget::All;
    store.commit(forget).await.unwrap();
    for token in ["done", "failed", "now"] {
        assert!(!known(&job, token).await);
    }
    assert!(known(&other, "asked").await);
}

pub(super) async fn only_a_terminal_job_of_this_version_is_removed(store: Arc<dyn Store>) {
    for (n, state) in (1..).zip(State::ALL) {
        let mut job = create(&*store, n).await;
        become_state(&*store, &mut job, state).await;
        for version in [0, 1, 3] {
            match store.remove(&job.id, version, audit("job_removed")).await {
                Err(Error::Conflict {
                    expected, found: 2, ..
                }) => assert_eq!(expected, version),
                other => panic!("{state}, version {version}: {other:?}"),
            }
        }
        let result = store.remove(&job.id, 2, audit("job_removed")).await;
        if state.is_terminal() {
            result.unwrap();
            assert!(matches!(store.job(&job.id).await, Err(Error::NotFound(_))));
            assert!(matches!(
                store.remove(&job.id, 2, audit("job_removed")).await,
                Err(Error::NotFound(_))
            ));
        } else {
            assert!(
                matches!(result, Err(Error::Conflict { .. })),
                "{state}: {result:?}"
            );
            assert_eq!(store.job(&job.id).await.unwrap(), job);
        }
    }
}

pub(super) async fn everything_of_a_removed_job_goes(store: Arc<dyn Store>) {
    let (mut job, mut kept) = (create(&*store, 1).await, create(&*store, 2).await);
    for (n, job) in [(10, &mut job), (20, &mut kept)] {
        commit_checkpoint(&*store, job, n).await;
        commit_checkpoint(&*store, job, n + 1).await;
        commit_token(&*store, job, "t", 1, TokenStatus::Requested).await;
    }
    // The resume point of a failed job goes too.
    become_state(&*store, &mut job, State::Failed).await;
    store
        .remove(&job.id, job.version, audit("job_removed"))
        .await
        .unwrap();
    assert!(store.checkpoints(&job.id).await.unwrap().is_empty());
    assert!(
        !store
            .referenced(&CheckpointId(format!("{:016x}", 11)))
            .await
            .unwrap()
    );
    assert_eq!(store.token(&job.id, "t").await.unwrap(), None);
    assert!(store.journal(Some(&job.id), 0, 9).await.unwrap().is_empty());
    assert_eq!(
        store
            .list(Filter {
                limit: 9,
                ..Filter::default()
            })
            .await
            .unwrap(),
        [listed(&kept)]
    );
    assert_eq!(store.checkpoints(&kept.id).await.unwrap().len(), 2);
    assert!(store.token(&kept.id, "t").await.unwrap().is_some());
    assert_eq!(store.journal(None, 0, 99).await.unwrap().len(), 4);
    // A new job under the old id inherits nothing.
    let again = create(&*store, 1).await;
    assert_eq!(again.id, job.id);
    assert!(store.checkpoints(&again.id).await.unwrap().is_empty());
    assert_eq!(store.journal(Some(&again.id), 0, 9).await.unwrap().len(), 1);
}
