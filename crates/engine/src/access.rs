//! Tokens of callers: made here, checked out of memory, kept in the store as digests.
//!
//! A token is `dauer_ID_SECRET`. The id finds the record, the secret's SHA-256 is compared with the one kept. The secret has 244 random
//! bits, so that a fast digest is enough: nobody can try them all.

use crate::{Engine, Error, asker, clock};
use dauer_core::{AccessToken, Scope, Timestamp};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use subtle::ConstantTimeEq as _;

/// What a token begins with, so that those that were lost can be searched for.
const PREFIX: &str = "dauer_";

/// The last use is written down at most this often.
const USE_WRITTEN_MS: i64 = 60_000;

/// Digits of an id.
const ID_CHARS: usize = 12;

/// The tokens there are. What is here is committed; what is committed is here before anybody is told.
#[derive(Default)]
pub(crate) struct Access {
    /// One at a time makes, removes or reads them: what is kept and what is here agree.
    changing: tokio::sync::Mutex<()>,
    tokens: RwLock<HashMap<String, Arc<Known>>>,
}

struct Known {
    token: AccessToken,
    /// The last use that was written down, in milliseconds; 0 for none.
    used_at: AtomicI64,
}

impl Known {
    fn of(token: AccessToken) -> Arc<Self> {
        let used_at = AtomicI64::new(token.last_used_at.map_or(0, |at| at.0));
        Arc::new(Self { token, used_at })
    }

    fn now(&self) -> AccessToken {
        let used_at = self.used_at.load(Ordering::Relaxed);
        AccessToken {
            last_used_at: (used_at > 0).then_some(Timestamp(used_at)),
            ..self.token.clone()
        }
    }
}

impl Access {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Known>>> {
        // Single inserts and removals leave the map whole.
        self.tokens.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Arc<Known>>> {
        self.tokens.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who a valid token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The token's id.
    pub token: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What it allows.
    pub scope: Scope,
}

impl Engine {
    /// The tokens that are kept, by whichever daemon they were made.
    pub(crate) async fn load_access(&self) -> Result<(), Error> {
        let _alone = self.access().changing.lock().await;
        let tokens = self.store().access_tokens().await?;
        let mut known = self.access().write();
        let mut before = std::mem::take(&mut *known);
        known.extend(tokens.into_iter().map(|token| {
            let id = token.id.clone();
            // Its last use may not be written down yet.
            let kept = before.remove(&id).unwrap_or_else(|| Known::of(token));
            (id, kept)
        }));
        Ok(())
    }

    /// Makes a token, for so long or for ever. The text is what its bearer shows; it is nowhere else.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn create_access_token(
        &self,
        name: Option<String>,
        scope: Scope,
        ttl_ms: Option<u64>,
    ) -> Result<(AccessToken, String), Error> {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let (id, secret) = (random()[..ID_CHARS].to_owned(), random() + &random());
        let now = clock::now();
        let token = AccessToken {
            digest: digest(&secret),
            name,
            scope,
            created_at: now,
            expires_at: ttl_ms.map(|ms| now.plus_ms(ms)),
            last_used_at: None,
            id,
        };
        let named = token.name.as_ref().map(|name| format!("named {name}, "));
        let detail = format!("{}of scope {scope}", named.unwrap_or_default());
        let audit = asker::audit("token_added", format!("token {}", token.id), Some(detail));
        let _alone = self.access().changing.lock().await;
        self.store().add_access_token(token.clone(), audit).await?;
        self.access()
            .write()
            .insert(token.id.clone(), Known::of(token.clone()));
        let text = format!("{PREFIX}{}_{secret}", token.id);
        Ok((token, text))
    }

    /// The tokens there are, also those that expired, oldest first.
    #[must_use]
    pub fn access_tokens(&self) -> Vec<AccessToken> {
        let mut tokens: Vec<_> = self
            .access()
            .read()
            .values()
            .map(|known| known.now())
            .collect();
        tokens.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        tokens
    }

    /// Makes a token worth nothing.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_access_token(&self, id: &str) -> Result<(), Error> {
        let audit = asker::audit("token_removed", format!("token {id}"), None);
        let _alone = self.access().changing.lock().await;
        self.store().remove_access_token(id, audit).await?;
        self.access().write().remove(id);
        Ok(())
    }

    /// Who bears this token; `None` for one that is none, expired or was removed.
    #[must_use]
    pub fn bearer(&self, text: &str) -> Option<Bearer> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let known = self.access().read().get(id).cloned()?;
        let same = digest(secret)
            .as_bytes()
            .ct_eq(known.token.digest.as_bytes());
        let now = clock::now();
        if !bool::from(same) || !known.token.is_valid_at(now) {
            return None;
        }
        self.note_use(&known, now);
        Some(Bearer {
            token: id.to_owned(),
            name: known.token.name.clone(),
            scope: known.token.scope,
        })
    }

    fn note_use(&self, known: &Arc<Known>, now: Timestamp) {
        let last = known.used_at.load(Ordering::Relaxed);
        let is_news = now.0 - last >= USE_WRITTEN_MS;
        if is_news
            && known
                .used_at
                .compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let (engine, id) = (self.clone(), known.token.id.clone());
            tokio::spawn(async move {
                if let Err(error) = engine.store().access_token_used(&id, now).await {
                    tracing::warn!(token = id, %error, "the last use of a token was not written down");
                }
            });
        }
    }
}

fn digest(secret: &str) -> String {
    let digest = Sha256::digest(secret.as_bytes());
    digest
        .iter()
        .fold(String::with_capacity(64), |mut out, byte| {
            // Writing to a string cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha256_in_hexadecimal_digits() {
        assert_eq!(
            digest("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
