//! One question to the API of a server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use control_client::{Trust, http_client};
use reqwest::Method;
use serde_json::Value;

use crate::problem::Problem;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);

/// Where the server is, and by what right it is asked.
#[derive(clap::Args)]
pub(super) struct Server {
    /// The server's address
    #[arg(long, env = "NEARWIRE_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The API token
    #[arg(long, env = "NEARWIRE_TOKEN", hide_env_values = true)]
    token: String,
    /// Certificates to believe (PEM), in place of the host's
    #[arg(long, env = "NEARWIRE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// What is asked of the API.
pub(super) struct Question {
    pub(super) method: Method,
    /// The parts of the path behind `/api/v1`.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

impl Question {
    pub(super) fn new(
        method: Method,
        path: &[&str],
        query: &[(&'static str, String)],
        body: Option<Value>,
    ) -> Self {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        Self { method, path, query: query.to_vec(), body }
    }
}

impl Server {
    /// The answer's body; nothing if it has none.
    pub(super) async fn ask(&self, question: Question) -> Result<Value> {
        let Question { method, path, query, body } = question;
        let trust = self.ca.clone().map_or(Trust::Host, Trust::File);
        let mut url = reqwest::Url::parse(&self.url)
            .with_context(|| format!("{:?} is no address of a server", self.url))?;
        // Each part is escaped, whatever somebody typed.
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("{} is no address of a server", self.url))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        let mut request = http_client(&trust)?
            .request(method, url)
            .bearer_auth(&self.token)
            .timeout(ANSWER)
            .query(&query);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.with_context(|| format!("asking {}", self.url))?;
        let status = response.status();
        let bytes = response.bytes().await.context("reading the answer")?;
        if status.is_success() {
            let empty = bytes.is_empty();
            return if empty { Ok(Value::Null) } else { Ok(serde_json::from_slice(&bytes)?) };
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) if problem.errors.is_empty() => bail!("{problem}"),
            Ok(problem) => bail!("{problem}\n{}", problem.errors.join("\n")),
            Err(_) => bail!("{} answers {status}", self.url),
        }
    }
}
