//! Claims about finding and listing jobs.

use super::sample::{audit, become_state, create, edit, entry, id, job, named};
use crate::{Error, Filter, Store};
use dauer_core::{Job, JobId, SandboxId, State};
use std::sync::Arc;

pub(super) async fn names_are_unique_among_kept_jobs_and_free_after(store: Arc<dyn Store>) {
    let mut first = named(1, Some("web"));
    store.create(first.clone(), entry("created")).await.unwrap();
    // Ended jobs are kept too.
    become_state(&*store, &mut first, State::Completed).await;
    match store.create(named(2, Some("web")), entry("created")).await {
        Err(Error::NameInUse { name, job }) => {
            assert_eq!((name.as_str(), job), ("web", first.id.clone()))
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.job(&id(2)).await, Err(Error::NotFound(_))));
    store
        .create(named(3, Some("Web")), entry("created"))
        .await
        .unwrap();
    store
        .remove(&first.id, first.version, audit("job_removed"))
        .await
        .unwrap();
    assert!(matches!(store.find("web").await, Err(Error::NotFound(_))));
    store
        .create(named(4, Some("web")), entry("created"))
        .await
        .unwrap();
    assert_eq!(store.find("web").await.unwrap(), id(4));
}

pub(super) async fn one_of_many_gets_the_name(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (1..=16)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store
                    .create(named(n, Some("db")), entry("created"))
                    .await
                    .map(|()| id(n))
            })
        })
        .collect();
    let (mut winners, mut told) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Ok(id) => winners.push(id),
            Err(Error::NameInUse { job, .. }) => told.push(job),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(told, vec![winners[0].clone(); 15]);
}

pub(super) async fn an_id_beats_a_name_beats_a_beginning(store: Arc<dyn Store>) {
    // 1 and 2 share a beginning; 5000 has one of its own.
    create(&*store, 1).await;
    create(&*store, 2).await;
    create(&*store, 5000).await;
    let own_beginning = &id(5000).0[..8];
    assert_eq!(store.find(&id(1).0).await.unwrap(), id(1));
    assert_eq!(store.find(own_beginning).await.unwrap(), id(5000));
    for shared in [&id(1).0[..4], &id(1).0[..8]] {
        assert!(matches!(store.find(shared).await, Err(Error::Ambiguous(text)) if text == shared));
    }
    for nothing in [
        "",
        "0",
        &id(1).0[..3],
        "ffff",
        "0190x",
        &format!("{}0", id(1)),
    ] {
        assert!(
            matches!(store.find(nothing).await, Err(Error::NotFound(text)) if text == nothing),
            "{nothing:?}"
        );
    }
    // Only three characters, but unique: still too short.
    let result = store.find(&own_beginning[..3]).await;
    assert!(matches!(result, Err(Error::NotFound(_))), "{result:?}");
    // A name that is also a beginning, and one that is also an id.
    store
        .create(named(7, Some(own_beginning)), entry("created"))
        .await
        .unwrap();
    assert_eq!(store.find(own_beginning).await.unwrap(), id(7));
    store
        .create(named(8, Some(&id(1).0)), entry("created"))
        .await
        .unwrap();
    assert_eq!(store.find(&id(1).0).await.unwrap(), id(1));
}

pub(super) async fn a_text_with_wildcards_finds_nothing(store: Arc<dyn Store>) {
    create(&*store, 1).await;
    for text in [
        "%%%%",
        "____",
        "0190%",
        "*****",
        "0190*",
        "' OR 1=1 --",
        "\u{10FFFF}\u{10FFFF}\u{10FFFF}\u{10FFFF}",
        "0190\u{10FFFF}",
    ] {
        let result = store.find(text).await;
        assert!(
            matches!(result, Err(Error::NotFound(_))),
            "{text:?}: {result:?}"
        );
    }
}

async fn pages(
    store: &dyn Store,
    states: &[State],
    limit: usize,
    mut between: impl AsyncFnMut(),
) -> Vec<Job> {
    let (mut seen, mut before) = (Vec::new(), None::<JobId>);
    loop {
        let page = store
            .list(Filter {
                states: states.to_vec(),
                before: before.clone(),
                limit,
                ..Filter::default()
            })
            .await
            .unwrap();
        assert!(page.len() <= limit);
        let Some(last) = page.last() else { return seen };
        assert!(
            before.as_ref().is_none_or(|before| last.id < *before),
            "a page goes on below the one before"
        );
        before = Some(last.id.clone());
        seen.extend(page);
        between().await;
    }
}

pub(super) async fn pages_lose_and_repeat_nothing_while_jobs_are_added(store: Arc<dyn Store>) {
    for n in 1..=50 {
        create(&*store, n).await;
    }
    let mut added = 50;
    let seen = pages(&*store, &[], 7, async || {
        added += 1;
        create(&*store, added).await;
    })
    .await;
    let seen: Vec<JobId> = seen.into_iter().map(|job| job.id).collect();
    assert_eq!(seen, (1..=50).rev().map(id).collect::<Vec<_>>());
    assert!(added > 50);
    // The same with a writer that does not wait for the reader.
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for n in 1000..1100 {
                create(&*store, n).await;
            }
        }
    });
    let seen = pages(&*store, &[], 3, async || tokio::task::yield_now().await).await;
    writer.await.unwrap();
    assert!(seen.is_sorted_by(|a, b| a.id > b.id));
    let old: Vec<JobId> = seen
        .into_iter()
        .map(|job| job.id)
        .filter(|job| *job <= id(added))
        .collect();
    assert_eq!(old, (1..=added).rev().map(id).collect::<Vec<_>>());
}

pub(super) async fn pages_of_some_states_are_in_order(store: Arc<dyn Store>) {
    let states = [
        State::Running,
        State::Failed,
        State::Suspended,
        State::Pending,
    ];
    for n in 0..40_u64 {
        let mut job = create(&*store, n).await;
        become_state(&*store, &mut job, states[usize::try_from(n % 4).unwrap()]).await;
    }
    let wanted = [
        State::Suspended,
        State::Running,
        State::Running,
        State::Stopped,
    ];
    let seen: Vec<JobId> = pages(&*store, &wanted, 4, async || {})
        .await
        .into_iter()
        .map(|job| job.id)
        .collect();
    assert_eq!(
        seen,
        (0..40)
            .rev()
            .filter(|n| n % 2 == 0)
            .map(id)
            .collect::<Vec<_>>()
    );
    assert!(
        store
            .list(Filter {
                states: vec![State::Error],
                before: None,
                limit: 9,
                ..Filter::default()
            })
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        store.list(Filter::default()).await.unwrap().is_empty(),
        "a limit of 0"
    );
    let all = store
        .list(Filter {
            states: State::ALL.to_vec(),
            before: None,
            limit: usize::MAX,
            ..Filter::default()
        })
        .await
        .unwrap();
    assert_eq!(all.len(), 40);
}

pub(super) async fn a_sandbox_has_one_owner(store: Arc<dyn Store>) {
    let (old, new) = (
        SandboxId::from("aaaaaaaaaaaaaaaa"),
        SandboxId::from("bbbbbbbbbbbbbbbb"),
    );
    let mut owner = create(&*store, 1).await;
    create(&*store, 2).await;
    assert_eq!(store.owner(&old).await.unwrap(), None);
    edit(&*store, &mut owner, |job| job.sandbox = Some(old.clone())).await;
    assert_eq!(store.owner(&old).await.unwrap(), Some(owner.id.clone()));
    edit(&*store, &mut owner, |job| job.sandbox = Some(new.clone())).await;
    assert_eq!(store.owner(&old).await.unwrap(), None);
    assert_eq!(store.owner(&new).await.unwrap(), Some(owner.id.clone()));
    // Nobody else gets it, and who tried is left as it was.
    let mut thief = job(2);
    let result = store
        .commit(super::sample::change(&mut thief, |job| {
            job.sandbox = Some(new.clone())
        }))
        .await;
    assert!(matches!(result, Err(Error::Backend(_))), "{result:?}");
    assert_eq!(store.job(&id(2)).await.unwrap().version, 1);
    assert_eq!(store.owner(&new).await.unwrap(), Some(owner.id));
}

pub(super) async fn jobs_are_found_by_their_tags_and_by_their_name(store: Arc<dyn Store>) {
    for n in 1..=12 {
        let mut new = named(n, (n == 5).then_some("five"));
        new.spec_mut().tags = [("even".into(), (n % 2 == 0).to_string())].into();
        if n % 3 == 0 {
            new.spec_mut().tags.insert("third".into(), "a:b ü".into());
        }
        store.create(new.clone(), entry("created")).await.unwrap();
        if n > 8 {
            become_state(&*store, &mut new, State::Failed).await;
        }
    }
    let found =
        async |tags: &[(&str, &str)], states: &[State], before: Option<u64>| -> Vec<JobId> {
            let filter = Filter {
                states: states.to_vec(),
                tags: tags
                    .iter()
                    .map(|(key, value)| ((*key).into(), (*value).into()))
                    .collect(),
                before: before.map(id),
                limit: 3,
                ..Filter::default()
            };
            let jobs = store.list(filter).await.unwrap();
            jobs.into_iter().map(|job| job.id).collect()
        };
    let (even, third) = (("even", "true"), ("third", "a:b ü"));
    assert_eq!(found(&[even], &[], None).await, [12, 10, 8].map(id));
    assert_eq!(found(&[even], &[], Some(8)).await, [6, 4, 2].map(id));
    assert_eq!(found(&[third, even], &[], None).await, [12, 6].map(id));
    assert_eq!(
        found(&[even], &[State::Pending], None).await,
        [8, 6, 4].map(id)
    );
    assert_eq!(
        found(&[even, third], &[State::Failed], None).await,
        [id(12)]
    );
    assert_eq!(found(&[("even", "maybe")], &[], None).await, []);
    let named = async |name: &str, states: &[State]| -> Vec<JobId> {
        let filter = Filter {
            name: Some(name.into()),
            states: states.to_vec(),
            limit: 9,
            ..Filter::default()
        };
        let jobs = store.list(filter).await.unwrap();
        jobs.into_iter().map(|job| job.id).collect()
    };
    assert_eq!(named("five", &[]).await, [id(5)]);
    assert_eq!(named("five", &[State::Failed]).await, []);
    assert_eq!(named("fiv", &[]).await, []);
    // What goes with its job is found no more.
    store
        .remove(&id(12), 2, audit("job_removed"))
        .await
        .unwrap();
    assert_eq!(found(&[third, even], &[], None).await, [id(6)]);
}
