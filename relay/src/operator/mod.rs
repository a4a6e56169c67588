//! What an operator asks of a running relay, by its admin address.

mod http;
mod show;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

/// Where the relay answers.
#[derive(clap::Args)]
pub(crate) struct Admin {
    /// The relay's `admin` address, as http://ADDRESS:PORT or ADDRESS:PORT
    #[arg(
        long,
        env = "NEARWIRE_RELAY_ADMIN_URL",
        default_value = "http://127.0.0.1:9443",
        value_name = "URL"
    )]
    admin: String,
}

/// Prints how the relay is.
pub(crate) fn status(admin: &Admin, json: bool) -> Result<()> {
    let answer = http::ask(&admin.admin, "GET", "/status")?;
    ensure!(answer.code == 200, "{} answered {}: {}", admin.admin, answer.code, answer.body.trim());
    if json {
        print!("{}", answer.body);
        return Ok(());
    }
    let status = serde_json::from_str(&answer.body)
        .with_context(|| format!("{} did not answer with JSON", admin.admin))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    print!("{}", show::status(&status, now.as_secs()));
    Ok(())
}

/// Tells the relay to go.
pub(crate) fn drain(admin: &Admin) -> Result<()> {
    let answer = http::ask(&admin.admin, "POST", "/drain")?;
    ensure!(answer.code == 202, "{} answered {}: {}", admin.admin, answer.code, answer.body.trim());
    let within = answer.body.trim();
    println!("the relay tells its clients, and ends when they have gone, within {within} ms");
    Ok(())
}
