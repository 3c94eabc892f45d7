//! Tokens for callers over a network.

use super::Span;
use serde::{Deserialize, Serialize};

/// `POST /v1/tokens`. Answer: 201 with a [`CreatedToken`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it is for.
    #[serde(default)]
    pub name: Option<String>,
    /// `read`, `submit` or `admin`.
    pub scope: String,
    /// It is worth nothing after so long; for ever where absent.
    #[serde(default)]
    pub ttl: Option<Span>,
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenView {
    /// Names it.
    pub id: String,
    /// What it is for.
    pub name: Option<String>,
    /// `read`, `submit` or `admin`.
    pub scope: String,
    /// When it was made.
    pub created_at: i64,
    /// It is worth nothing from then on.
    pub expires_at: Option<i64>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<i64>,
}

/// A token that was just made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedToken {
    /// What its bearer sends; told only now.
    pub token: String,
    /// What is known of it.
    #[serde(flatten)]
    pub view: TokenView,
}

/// `GET /v1/tokens`: oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenList {
    /// Also those that expired.
    pub tokens: Vec<TokenView>,
}
