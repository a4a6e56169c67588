//! What is done on the database itself, by who may read its seal key.

use std::path::Path;

use anyhow::{Context, Result};
use proto::ticket::UnixSeconds;
use serde_json::json;
use zeroize::Zeroizing;

use crate::clock::{self, now};
use crate::core::audit::Act;
use crate::core::bearer::Kind;
use crate::core::scope::{Scope, Token};
use crate::core::seal::SealKey;
use crate::server::Config;
use crate::store::{Store, random};

#[derive(clap::Args)]
pub(super) struct NewToken {
    /// Only for this network, by id or name
    #[arg(long)]
    network: Option<String>,
    /// What it may do (default: everything)
    #[arg(long, value_delimiter = ',')]
    scope: Vec<Scope>,
    /// For how long (default: for ever), as `30d`
    #[arg(long, value_parser = humantime::parse_duration)]
    lasts: Option<std::time::Duration>,
    /// For people
    #[arg(long, default_value = "made on the server")]
    description: String,
}

/// The database, to whoever holds its key.
async fn open(config: &Config) -> Result<(Store, SealKey)> {
    let store = Store::open(&config.database)
        .await
        .with_context(|| format!("opening the database {}", config.shown_database()))?;
    let seal = config.seal.key(&store).await?;
    clock::follow(&store).await.context("asking the database for the time")?;
    store.secrets(&seal, now()).await.context("opening the secrets of the database")?;
    Ok((store, seal))
}

/// A token that was made.
pub(super) struct MadeToken {
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
}

pub(super) async fn token(config: &Config, new: NewToken) -> Result<MadeToken> {
    let (store, _) = open(config).await?;
    let network = match &new.network {
        Some(name) => Some(store.network(name).await.with_context(|| name.clone())?.id),
        None => None,
    };
    let scopes = if new.scope.is_empty() { Scope::ALL.to_vec() } else { new.scope };
    let ends = |lasts: std::time::Duration| UnixSeconds(now().0.saturating_add(lasts.as_secs()));
    let token = Token {
        description: new.description,
        network,
        scopes,
        expires: new.lasts.map(ends),
        revoked: None,
    };
    let (secret, kept) = Kind::ApiToken.mint(random()?, &Zeroizing::new(random()?));
    let act = Act {
        actor: "local".to_owned(),
        action: "token.create",
        subject: kept.id.to_string(),
        detail: json!({
            "network": token.network, "scopes": token.scopes, "expires": token.expires,
        }),
    };
    store.add_token(&kept, &token, now(), act).await?;
    store.close().await;
    Ok(MadeToken { id: kept.id.to_string(), secret })
}

/// Gives how many secrets there are.
pub(super) async fn rekey(config: &Config, new: &Path) -> Result<u64> {
    let (store, old) = open(config).await?;
    let text = std::fs::read_to_string(new)
        .map(Zeroizing::new)
        .with_context(|| format!("reading the new seal key {}", new.display()))?;
    let new_key =
        SealKey::parse(&text).with_context(|| format!("in the file {}", new.display()))?;
    let count = store.rekey(&old, &new_key, now()).await?;
    store.close().await;
    Ok(count)
}
