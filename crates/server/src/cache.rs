//! Calls about the cache of steps.

use crate::error::Refusal;
use crate::extract::Params;
use crate::routes::Shared;
use axum::Json;
use axum::extract::{Path, State};
use dauer_core::CacheEntry;
use dauer_wire::http::{CacheEntryView, CacheView, CleanedCache};
use serde::Deserialize;
use utoipa::IntoParams;

type Answer<T> = Result<Json<T>, Refusal>;

/// The query of `GET /v1/cache`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CacheParams {
    /// Only how much there is, with `false`.
    #[param(required = false)]
    entries: bool,
}

impl Default for CacheParams {
    fn default() -> Self {
        Self { entries: true }
    }
}

/// What is kept under which key, and how much there may be
#[utoipa::path(get, path = "/v1/cache", tag = "steps", params(CacheParams),
    responses((status = 200, description = "The cache of this daemon.", body = CacheView)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    Params(params): Params<CacheParams>,
) -> Answer<CacheView> {
    let state = shared.engine.cache_state().await?;
    let entries = match params.entries {
        true => shared.engine.cache_entries().await?,
        false => Vec::new(),
    };
    Ok(Json(CacheView {
        entries: entries.into_iter().map(view).collect(),
        count: state.totals.count,
        bytes: state.totals.bytes,
        entries_max: state.capacity.entries_max,
        bytes_max: state.capacity.bytes_max,
    }))
}

/// What is kept under a key
#[utoipa::path(get, path = "/v1/cache/{key}", tag = "steps", params(("key" = String, Path, description = "The key, percent-encoded.")),
    responses((status = 200, description = "The entry.", body = CacheEntryView)))]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(key): Path<String>,
) -> Answer<CacheEntryView> {
    Ok(Json(view(shared.engine.cache_entry(&key).await?)))
}

/// Removes what is kept under a key
///
/// Also where it is pinned; not while a step works with it. Its snapshot goes with it, unless that has a name or is pinned.
#[utoipa::path(delete, path = "/v1/cache/{key}", tag = "steps", params(("key" = String, Path, description = "The key, percent-encoded.")),
    responses((status = 200, description = "What it was.", body = CacheEntryView)))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    Path(key): Path<String>,
) -> Answer<CacheEntryView> {
    Ok(Json(view(shared.engine.remove_cache_entry(&key).await?)))
}

/// Empties the cache
///
/// But for what is pinned or worked with.
#[utoipa::path(delete, path = "/v1/cache", tag = "steps", responses((status = 200, description = "What was removed.", body = CleanedCache)))]
pub(crate) async fn clean(State(shared): State<Shared>) -> Answer<CleanedCache> {
    let removed = shared.engine.clean_cache().await?;
    Ok(Json(CleanedCache {
        bytes: removed.iter().map(|entry| entry.bytes).sum(),
        removed: removed.into_iter().map(view).collect(),
    }))
}

/// Keeps what is under a key, whatever else wants its room
#[utoipa::path(post, path = "/v1/cache/{key}/pin", tag = "steps", params(("key" = String, Path, description = "The key, percent-encoded.")),
    responses((status = 200, description = "It is pinned.", body = CacheEntryView)))]
pub(crate) async fn pin(
    State(shared): State<Shared>,
    Path(key): Path<String>,
) -> Answer<CacheEntryView> {
    let entry = shared.engine.pin_cache_entry(&key, true).await?;
    Ok(Json(view(entry)))
}

/// Lets what is under a key go when others want its room
#[utoipa::path(post, path = "/v1/cache/{key}/unpin", tag = "steps", params(("key" = String, Path, description = "The key, percent-encoded.")),
    responses((status = 200, description = "It is not pinned.", body = CacheEntryView)))]
pub(crate) async fn unpin(
    State(shared): State<Shared>,
    Path(key): Path<String>,
) -> Answer<CacheEntryView> {
    let entry = shared.engine.pin_cache_entry(&key, false).await?;
    Ok(Json(view(entry)))
}

fn view(entry: CacheEntry) -> CacheEntryView {
    CacheEntryView {
        key: entry.key,
        snapshot: entry.snapshot.0,
        created_at: entry.created_at.0,
        last_used_at: entry.last_used_at.0,
        hits: entry.hits,
        bytes: entry.bytes,
        pinned: entry.pinned,
    }
}
