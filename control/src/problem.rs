//! Errors as RFC 9457 has them.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::StoreError;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct Problem {
    /// Which kind of problem: `urn:nearwire:problem:` and a word.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This one, and what to do about it.
    pub detail: String,
    /// Each thing that is wrong, if there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// Seconds after which to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:nearwire:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request is not understood", detail)
    }

    pub(crate) fn refused(detail: impl Into<String>, errors: Vec<String>) -> Self {
        let title = "The request is understood and cannot be done";
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", title, detail) }
    }

    /// A stranger does not hear why.
    pub(crate) fn unauthorized() -> Self {
        let detail = "the credential is missing, wrong, used, expired or revoked";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not admitted", detail)
    }

    pub(crate) fn forbidden(scope: &str) -> Self {
        let detail = format!("the token lacks the scope `{scope}`");
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        let detail = format!("there is no {what}");
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not there", detail)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "In conflict with what is there", detail)
    }

    pub(crate) fn too_many(seconds: u64) -> Self {
        let detail = format!("too many failures from this address: try again in {seconds} s");
        Self {
            retry_after: Some(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "locked-out", "Too many tries", detail)
        }
    }

    pub(crate) fn too_fast() -> Self {
        let detail = "more requests than one caller may send: go on slower";
        Self {
            retry_after: Some(1),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too-fast", "Too many requests", detail)
        }
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        let title = "Not at the moment";
        Self {
            retry_after: Some(2),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title, detail)
        }
    }

    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %error, "a request failed");
        let detail = "the server's log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of the server", detail)
    }

    pub(crate) fn of_status(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem");
        let kind = title.to_ascii_lowercase().replace(' ', "-");
        Self::new(status, &kind, title, detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Missing(what) => Self::not_found(what),
            StoreError::Taken(what) => Self::conflict(format!("{what} is taken: take another")),
            StoreError::Full(full) => Self::conflict(full.to_string()),
            // PostgreSQL's texts have no NUL.
            StoreError::Database(sqlx::Error::Database(text))
                if text.code().as_deref() == Some("22021") =>
            {
                Self::bad("a text holds a character that no text here may hold")
            }
            StoreError::Database(database) if is_away(database) => {
                tracing::warn!(%error, "the database does not answer");
                Self::unavailable("the database does not answer: it may be restarting")
            }
            _ => Self::internal(&error),
        }
    }
}

/// Whether it may be back in a moment, and nothing is wrong with what was asked.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Io(_)
        | sqlx::Error::WorkerCrashed => true,
        // PostgreSQL's connection exceptions, its shutdown and start, and too many connections;
        // SQLite's lock that somebody else holds.
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            code.starts_with("08")
                || code.starts_with("57P")
                || matches!(&*code, "53300" | "5" | "SQLITE_BUSY")
        }),
        _ => false,
    }
}

impl From<proto::control::Malformed> for Problem {
    fn from(error: proto::control::Malformed) -> Self {
        Self::bad(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        headers.insert(
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        );
        response
    }
}
