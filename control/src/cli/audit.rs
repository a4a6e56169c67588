//! `audit verify` and `audit export`

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::server::{Config, Options};
use crate::store::{AuditPage, MAX_PAGE, Store};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Go through every entry: has any been changed, put in or taken out?
    Verify {
        #[command(flatten)]
        options: Options,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print every entry as JSON, one a line
    Export {
        #[command(flatten)]
        options: Options,
    },
}

pub(super) async fn run(command: Command, whole: impl Fn(Options) -> Result<Config>) -> Result<()> {
    match command {
        Command::Verify { options, json } => verify(&open(&whole(options)?).await?, json).await,
        Command::Export { options } => export(&open(&whole(options)?).await?).await,
    }
}

async fn open(config: &Config) -> Result<Store> {
    Store::open(&config.database)
        .await
        .with_context(|| format!("opening the database {}", config.shown_database()))
}

async fn verify(store: &Store, json: bool) -> Result<()> {
    let mut broken = 0;
    for (chain, last, hash) in store.chains().await? {
        let found = store.verify_chain(&chain, last, hash).await?;
        broken += u32::from(found.is_err());
        match (&found, json) {
            (Ok(entries), false) => println!("log {chain}: {entries} entries, all in place"),
            (Err(reason), false) => println!("{reason}"),
            (found, true) => {
                let reason = found.as_ref().err().map(ToString::to_string);
                let head = String::from(hash);
                let line = serde_json::json!({
                    "log": chain, "entries": last, "head": head, "broken": reason,
                });
                println!("{line}");
            }
        }
    }
    if broken > 0 {
        bail!("{broken} logs are not what was written");
    }
    Ok(())
}

async fn export(store: &Store) -> Result<()> {
    for (chain, _, _) in store.chains().await? {
        let mut after = 0;
        loop {
            let entries = store.audit(&chain, AuditPage { after, limit: MAX_PAGE }).await?;
            let Some(last) = entries.last() else { break };
            after = last.number;
            for entry in &entries {
                println!("{}", serde_json::to_string(entry)?);
            }
        }
    }
    Ok(())
}
