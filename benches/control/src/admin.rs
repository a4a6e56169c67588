//! What an operator does.

use anyhow::{Context as _, Result, ensure};
use control_client::{Trust, http_client};
use reqwest::Method;
use serde_json::{Value, json};

pub(crate) struct Admin {
    http: reqwest::Client,
    url: String,
    token: String,
    network: String,
}

impl Admin {
    /// With a network of its own.
    pub(crate) async fn new(
        url: &str,
        trust: &Trust,
        token: String,
        network: &str,
    ) -> Result<Self> {
        let http = http_client(trust)?;
        let admin = Self { http, url: url.to_owned(), token, network: network.to_owned() };
        admin.ask(Method::POST, "/networks", json!({ "name": network })).await?;
        Ok(admin)
    }

    pub(crate) async fn policy(&self, text: &str) -> Result<()> {
        let path = format!("/networks/{}/policy", self.network);
        self.ask(Method::PUT, &path, json!({ "text": text })).await.map(drop)
    }

    /// The secret of a key for nodes with a tag.
    pub(crate) async fn key(&self, tag: &str) -> Result<String> {
        let path = format!("/networks/{}/keys", self.network);
        let body = json!({ "tags": [tag], "reusable": true });
        let made = self.ask(Method::POST, &path, body).await?;
        made["secret"].as_str().map(str::to_owned).context("a key without a secret")
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.url));
        let response = request.bearer_auth(&self.token).json(&body).send().await?;
        let status = response.status();
        let answer = response.text().await?;
        ensure!(status.is_success(), "{path}: {status}: {answer}");
        Ok(serde_json::from_str(&answer).unwrap_or(Value::Null))
    }
}
