//! Values from their texts.

use super::answer::{self, list, text, texts, tuple};
use super::fault::Fault;
use crate::Error;
use crate::record::{self, DefinitionRow};
use dauer_core::{AccessToken, Definition, DefinitionRef, JobId, Schedule, Timestamp, Token};
use redis::Value;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

pub(super) fn read<T: DeserializeOwned>(json: &str, what: &str) -> Result<T, Error> {
    let read = serde_json::from_str(json);
    Ok(read.map_err(|source| Fault::Unreadable {
        what: what.into(),
        source,
    })?)
}

pub(super) fn definition(json: &str) -> Result<Definition, Error> {
    type Text = (String, String, String, String, String, String, Timestamp);
    let (name, version, runtime_type, config, retry_policy, metadata, created_at): Text =
        read(json, "a definition")?;
    let row = DefinitionRow {
        id: DefinitionRef { name, version },
        runtime_type,
        config,
        retry_policy,
        metadata,
        created_at,
    };
    Ok(row.read()?)
}

/// A token from its text.
pub(super) fn token(job: &JobId, token: &str, text: &str) -> Result<Token, Error> {
    type Text = (String, u32, Option<String>, Option<String>);
    let (word, generation, checkpoint, message): Text = read(text, "a token")?;
    let status = record::token_status((job, token), (word, checkpoint, message))?;
    Ok(Token {
        job: job.clone(),
        token: token.to_owned(),
        generation,
        status,
    })
}

pub(super) fn schedules(answer: Value) -> Result<Vec<Schedule>, Error> {
    let found: Result<_, record::Broken> = texts(answer)?
        .iter()
        .map(|text| record::schedule(text))
        .collect();
    Ok(found?)
}

/// Tokens for callers, in the order of their ids.
pub(super) fn access_tokens(answer: Value) -> Result<Vec<AccessToken>, Error> {
    type Text = (
        String,
        Option<String>,
        String,
        String,
        Timestamp,
        Option<Timestamp>,
        Option<Timestamp>,
    );
    let [tokens, used] = tuple(answer)?;
    let mut used_at = BTreeMap::new();
    let mut pairs = list(used)?.into_iter();
    while let (Some(id), Some(at)) = (pairs.next(), pairs.next()) {
        used_at.insert(text(id)?, Timestamp(answer::number(at)?));
    }
    let mut found = Vec::new();
    for token in texts(tokens)? {
        let (id, name, scope, digest, created_at, expires_at, last_used_at): Text =
            read(&token, "a token for callers")?;
        found.push(AccessToken {
            last_used_at: used_at.remove(&id).or(last_used_at),
            scope: record::scope(&scope)?,
            id,
            name,
            digest,
            created_at,
            expires_at,
        });
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(found)
}
