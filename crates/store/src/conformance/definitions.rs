//! Claims about definitions.

use super::sample::audit;
use crate::{DefinitionFilter, Error, Store};
use dauer_core::{Definition, DefinitionRef, RetryPolicy, SnapshotAfter, Timestamp, Warm};
use std::sync::Arc;

pub(super) fn reference(name: &str, version: &str) -> DefinitionRef {
    DefinitionRef {
        name: name.into(),
        version: version.into(),
    }
}

pub(super) fn definition(name: &str, version: &str) -> Definition {
    Definition {
        name: name.into(),
        version: version.into(),
        runtime_type: "gvisor".into(),
        config: serde_json::json!({"argv": ["sh", "-c", "echo \"ü\""], "env": {"A": ""}}),
        retry_policy: RetryPolicy {
            max_retries: 3,
            factor: 1.5,
            ..RetryPolicy::default()
        },
        metadata: [("owner".into(), serde_json::json!({"team": ["a", null]}))].into(),
        // Some begin warm.
        warm: version.starts_with("1.1").then_some(Warm {
            snapshot_after: SnapshotAfter::Ready,
            pool: 3,
        }),
        created_at: Timestamp(1_700_000_000_000),
    }
}

pub(super) async fn a_definition_is_read_as_it_was_registered_and_never_written_over(
    store: Arc<dyn Store>,
) {
    let first = definition("resize", "1.10.0");
    store
        .define(first.clone(), audit("definition_added"))
        .await
        .unwrap();
    let mut other = first.clone();
    other.runtime_type = "runc".into();
    for again in [first.clone(), other] {
        match store.define(again, audit("definition_added")).await {
            Err(Error::Defined(id)) => assert_eq!(id, reference("resize", "1.10.0")),
            result => panic!("{result:?}"),
        }
    }
    let read = async |name, version| store.definition(&reference(name, version)).await.unwrap();
    assert_eq!(read("resize", "1.10.0").await, Some(first));
    assert_eq!(read("resize", "1.10").await, None);
    assert_eq!(read("Resize", "1.10.0").await, None);
}

pub(super) async fn definitions_come_in_pages_by_name_and_version(store: Arc<dyn Store>) {
    let all: Vec<Definition> = [
        ("a", "1.0.0"),
        ("b", "1.0.0"),
        ("b", "1.10.0"),
        ("b", "1.9.0"),
        ("c", "0.1.0"),
    ]
    .map(|(name, version)| definition(name, version))
    .into();
    for one in all.iter().rev() {
        store
            .define(one.clone(), audit("definition_added"))
            .await
            .unwrap();
    }
    let mut versions = store.versions("b").await.unwrap();
    versions.sort();
    assert_eq!(versions, ["1.0.0", "1.10.0", "1.9.0"]);
    assert!(store.versions("d").await.unwrap().is_empty());
    for only in [None, Some("b"), Some("a"), Some("d")] {
        let wanted = |one: &&Definition| only.is_none_or(|only| one.name == only);
        let expected: Vec<Definition> = all.iter().filter(wanted).cloned().collect();
        for limit in 1..4 {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let filter = DefinitionFilter {
                    name: only.map(str::to_owned),
                    after,
                    limit,
                };
                let page = store.definitions(filter).await.unwrap();
                let Some(last) = page.last() else { break };
                after = Some(reference(&last.name, &last.version));
                found.extend(page);
            }
            assert_eq!(found, expected, "{only:?} in pages of {limit}");
        }
    }
}

pub(super) async fn a_removed_definition_is_gone_and_may_come_again(store: Arc<dyn Store>) {
    let id = reference("a", "1.0.0");
    store
        .define(definition("a", "1.0.0"), audit("definition_added"))
        .await
        .unwrap();
    store
        .define(definition("a", "2.0.0"), audit("definition_added"))
        .await
        .unwrap();
    store
        .undefine(&id, audit("definition_removed"))
        .await
        .unwrap();
    assert!(matches!(
        store.undefine(&id, audit("definition_removed")).await,
        Err(Error::NotFound(_))
    ));
    assert_eq!(store.definition(&id).await.unwrap(), None);
    assert_eq!(store.versions("a").await.unwrap(), ["2.0.0"]);
    let mut other = definition("a", "1.0.0");
    other.runtime_type = "native".into();
    store
        .define(other.clone(), audit("definition_added"))
        .await
        .unwrap();
    assert_eq!(store.definition(&id).await.unwrap(), Some(other));
}
