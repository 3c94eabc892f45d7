//! Calls about tokens.

use crate::error::{Code, Refusal};
use crate::extract::Input;
use crate::routes::Shared;
use axum::Json;
use axum::extract::{Path, State};
use dauer_core::{AccessToken, Scope, parse};
use dauer_engine::Error;
use dauer_wire::http::{CreateToken, CreatedToken, Span, TokenList, TokenView};
use http::StatusCode;

/// Longer names are a mistake.
const NAME_CHARS_MAX: usize = 100;

/// Makes a token
///
/// Its text is told only in this answer; the daemon keeps a digest of it.
#[utoipa::path(post, path = "/v1/tokens", operation_id = "create_token", tag = "tokens", request_body = CreateToken,
    responses((status = 201, description = "The token.", body = CreatedToken)))]
pub(crate) async fn create(
    State(shared): State<Shared>,
    Input(call): Input<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Refusal> {
    let scope = Scope::from_name(&call.scope).ok_or_else(|| {
        Refusal::malformed(format!(
            "there is no scope {:?}: use read, submit or admin",
            call.scope
        ))
    })?;
    if call
        .name
        .as_ref()
        .is_some_and(|name| name.chars().count() > NAME_CHARS_MAX)
    {
        return Err(Refusal::malformed(format!(
            "a name has at most {NAME_CHARS_MAX} characters"
        )));
    }
    let ttl_ms = match call.ttl {
        None => None,
        Some(Span::Ms(ms)) => Some(ms),
        Some(Span::Text(text)) => Some(parse::duration_ms(&text).map_err(Refusal::malformed)?),
    };
    let (token, text) = shared
        .engine
        .create_access_token(call.name, scope, ttl_ms)
        .await?;
    let created = CreatedToken {
        token: text,
        view: view(&token),
    };
    Ok((StatusCode::CREATED, Json(created)))
}

/// The tokens there are, oldest first
#[utoipa::path(get, path = "/v1/tokens", operation_id = "list_tokens", tag = "tokens",
    responses((status = 200, description = "Without their secrets.", body = TokenList)))]
pub(crate) async fn list(State(shared): State<Shared>) -> Json<TokenList> {
    let tokens = shared.engine.access_tokens();
    Json(TokenList {
        tokens: tokens.iter().map(view).collect(),
    })
}

/// Makes a token worth nothing
#[utoipa::path(delete, path = "/v1/tokens/{id}", operation_id = "remove_token", tag = "tokens",
    params(("id" = String, Path, description = "Its id.")), responses((status = 204, description = "It is gone.")))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    Path(token): Path<String>,
) -> Result<StatusCode, Refusal> {
    match shared.engine.remove_access_token(&token).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(Error::NotFound(_)) => {
            let detail = format!("no token has the id {token}: see dauer token ls");
            Err(Refusal::new(Code::NotFound, detail))
        }
        Err(error) => Err(error.into()),
    }
}

fn view(token: &AccessToken) -> TokenView {
    TokenView {
        id: token.id.clone(),
        name: token.name.clone(),
        scope: token.scope.name().to_owned(),
        created_at: token.created_at.0,
        expires_at: token.expires_at.map(|at| at.0),
        last_used_at: token.last_used_at.map(|at| at.0),
    }
}
