//! Claims about tokens for callers.

use super::sample::audit;
use crate::{Error, Store};
use dauer_core::{AccessToken, Scope, Timestamp};
use std::sync::Arc;

pub(super) fn token(id: &str, scope: Scope) -> AccessToken {
    AccessToken {
        id: id.to_owned(),
        name: (scope == Scope::Admin).then(|| "for the build".to_owned()),
        scope,
        digest: format!("digest of {id}"),
        created_at: Timestamp(1000),
        expires_at: (scope != Scope::Read).then_some(Timestamp(i64::MAX)),
        last_used_at: None,
    }
}

pub(super) async fn tokens_for_callers_come_back_as_they_were_in_the_order_of_their_ids(
    store: Arc<dyn Store>,
) {
    let mut tokens = vec![
        token("c", Scope::Admin),
        token("a", Scope::Read),
        token("b", Scope::Submit),
    ];
    for token in &tokens {
        store
            .add_access_token(token.clone(), audit("token_added"))
            .await
            .unwrap();
    }
    tokens.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(store.access_tokens().await.unwrap(), tokens);
    assert!(matches!(
        store
            .add_access_token(token("a", Scope::Admin), audit("token_added"))
            .await,
        Err(Error::Backend(_))
    ));
    store.access_token_used("b", Timestamp(2000)).await.unwrap();
    tokens[1].last_used_at = Some(Timestamp(2000));
    assert_eq!(store.access_tokens().await.unwrap(), tokens);
}

pub(super) async fn a_removed_token_for_callers_is_gone_also_when_it_was_just_used(
    store: Arc<dyn Store>,
) {
    store
        .add_access_token(token("a", Scope::Read), audit("token_added"))
        .await
        .unwrap();
    store
        .remove_access_token("a", audit("token_removed"))
        .await
        .unwrap();
    store.access_token_used("a", Timestamp(1)).await.unwrap();
    assert_eq!(store.access_tokens().await.unwrap(), []);
    assert!(
        matches!(store.remove_access_token("a", audit("token_removed")).await, Err(Error::NotFound(id)) if id == "a")
    );
}
