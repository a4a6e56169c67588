//! The line to the control plane, by which the relay hears of nodes that have lost their right before
//! their tickets have ended. While it is broken, tickets count until their end.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use control_client::{Client, ClientError, Trust};
use proto::control::RevocationFrame;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::hub::{Ended, HubHandle, ToHub};

/// How long to wait before the control plane is asked again, at first and at most.
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(15)];

/// Where the control plane is, and by what right it is asked.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// Its address.
    pub url: String,
    /// The file with the token; read at each attempt, so that it may be changed.
    pub token: PathBuf,
    /// The certificates to believe, if not the host's.
    pub ca: Option<PathBuf>,
}

/// How the line is, for operators.
#[derive(Clone, Debug, Default)]
pub(super) struct ControlLine(Arc<Mutex<Option<String>>>);

impl ControlLine {
    /// Why it is broken; nothing if it is not.
    pub(super) fn trouble(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// The control plane, if what is said of it can be used.
pub(super) fn client(config: &ControlConfig) -> Result<Client> {
    let trust = config.ca.clone().map_or(Trust::Host, Trust::File);
    let client = Client::new(&config.url, &trust).context("`control` cannot be used")?;
    token(config)?;
    Ok(client)
}

/// Passes on what the control plane says, for ever.
pub(super) async fn follow(
    client: Client,
    config: ControlConfig,
    line: ControlLine,
    hub: HubHandle,
) {
    let mut wait = AGAIN[0];
    line.set(Some("not heard yet".to_owned()));
    loop {
        let ended = listen(&client, &config, &line, &hub, &mut wait).await;
        let trouble = match ended {
            Err(error) => format!("{error:#}"),
            // It ends now and then, so that the token is looked at.
            Ok(Heard::Whole) => continue,
            Ok(Heard::HubEnded) => return,
        };
        if line.trouble().is_none() {
            tracing::warn!(
                "the control plane is not heard, tickets count until their end: {trouble}"
            );
        }
        line.set(Some(trouble));
        sleep(wait).await;
        wait = AGAIN[1].min(wait * 2);
    }
}

enum Heard {
    /// All of a stream.
    Whole,
    HubEnded,
}

async fn listen(
    client: &Client,
    config: &ControlConfig,
    line: &ControlLine,
    hub: &HubHandle,
    wait: &mut Duration,
) -> Result<Heard> {
    let mut frames = client.revocations(&token(config)?).await.map_err(explained)?;
    let mut heard = false;
    while let Some(frame) = frames.next().await? {
        let frame: RevocationFrame = frame;
        if let Err(Ended) = hub.tell(ToHub::Revoke(Box::new(frame))).await {
            return Ok(Heard::HubEnded);
        }
        if !heard {
            if line.trouble().is_some() {
                tracing::info!(control = config.url, "the control plane says who is revoked");
            }
            line.set(None);
            (heard, *wait) = (true, AGAIN[0]);
        }
    }
    if heard { Ok(Heard::Whole) } else { bail!("the stream ended before it said anything") }
}

fn token(config: &ControlConfig) -> Result<Zeroizing<String>> {
    let file = config.token.display();
    let text = fs::read_to_string(&config.token).map(Zeroizing::new);
    let text = text.with_context(|| format!("reading the token {file} (`control-token`)"))?;
    let token = Zeroizing::new(text.trim().to_owned());
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!(
            "the file {file} (`control-token`) holds no token: make one with nearwire-control admin \
             tokens create --scope relays:follow"
        );
    }
    Ok(token)
}

fn explained(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Refused { status: 401 | 403, .. } => anyhow::Error::new(error)
            .context("`control-token` has to be a live token with the scope relays:follow"),
        error => error.into(),
    }
}
