//! Who calls, by API token, and what they may do.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::agents::bearer_text;
use crate::app::App;
use crate::clock::now;
use crate::core::audit::Act;
use crate::core::bearer::Kind;
use crate::core::scope::Scope;
use crate::peer::PeerAddress;
use crate::problem::Problem;
use crate::store::{KeptNetwork, KeptToken};

/// Who calls.
pub(crate) struct Caller(pub(crate) KeptToken);

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let PeerAddress(source) = PeerAddress::from_request_parts(parts, app).await?;
        app.admit(source)?;
        let Some(text) = bearer_text(parts) else { return Err(Problem::unauthorized()) };
        let found = match Kind::ApiToken.read(text) {
            Some(presented) => app.store().find_token(&presented).await?,
            None => None,
        };
        match found.filter(|kept| kept.token.is_live(now())) {
            Some(kept) => {
                app.admit_token(kept.id)?;
                Ok(Self(kept))
            }
            None => {
                app.failed(source);
                Err(Problem::unauthorized())
            }
        }
    }
}

impl Caller {
    /// What the audit log calls them.
    pub(super) fn actor(&self) -> String {
        format!("token:{}", self.0.id)
    }

    /// Something that they did.
    pub(super) fn act(
        &self,
        action: &'static str,
        subject: impl ToString,
        detail: serde_json::Value,
    ) -> Act {
        Act { actor: self.actor(), action, subject: subject.to_string(), detail }
    }

    /// Refuses who lacks the right.
    pub(crate) fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.0.token.may(scope) { Ok(()) } else { Err(Problem::forbidden(scope.as_str())) }
    }

    /// Refuses who lacks the right above all networks.
    pub(super) fn may_above(&self, scope: Scope) -> Result<(), Problem> {
        self.may(scope)?;
        if self.0.token.opens(None) {
            Ok(())
        } else {
            Err(Problem::forbidden(&format!("{scope} of a token of no network")))
        }
    }

    /// A network, if they have the right there. To who may not open it, it is not there.
    pub(super) async fn network(
        &self,
        app: &App,
        name: &str,
        scope: Scope,
    ) -> Result<KeptNetwork, Problem> {
        let network = app.store().network(name).await?;
        if !self.0.token.opens(Some(network.id)) {
            return Err(Problem::not_found("such network"));
        }
        self.may(scope)?;
        Ok(network)
    }
}
