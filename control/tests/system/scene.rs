//! A server to ask.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use control::clock::now;
use control::core::audit::Act;
use control::core::bearer::Kind;
use control::core::scope::{Scope, Token};
use control::hub::Sweep;
use control::server::{Config, Listen, Patience, SealSource, Server};
use control::store::{Store, random};
use control_client::{Client, Trust, http_client};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::postgres;
use throwaway_postgres::Cluster;

/// A seal key.
pub(crate) const SEAL: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// Everybody may reach everybody.
pub(crate) const OPEN: &str =
    r#"{ "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }] }"#;

/// A directory that goes with its owner.
pub(crate) struct Directory(pub(crate) PathBuf);

/// A database of a test's own.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) url: String,
    _directory: Option<Arc<Directory>>,
    _cluster: Option<Arc<Cluster>>,
}

/// An instance, and the right to do everything there.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) root: String,
    /// It goes with its last instance.
    _database: Database,
}

impl Directory {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("nearwire-control-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        let directory = Directory::new();
        let url = Store::sqlite_url(&directory.0.join("control.db"));
        Self { url, _directory: Some(Arc::new(directory)), _cluster: None }
    }

    pub(crate) async fn postgres() -> Self {
        Self::postgres_of(postgres::shared()).await
    }

    pub(crate) async fn postgres_of(cluster: Arc<Cluster>) -> Self {
        let of = cluster.clone();
        let url = tokio::task::spawn_blocking(move || of.database()).await.unwrap().unwrap();
        Self { url, _directory: None, _cluster: Some(cluster) }
    }

    /// One of each kind.
    pub(crate) async fn each() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            listen: Listen { address: "127.0.0.1:0".parse().unwrap(), behind_proxy: false },
            admin: Some("127.0.0.1:0".parse().unwrap()),
            database: self.url.clone(),
            seal: SealSource::Text(Zeroizing::new(SEAL.to_owned())),
            tls: None,
            patience: Patience::default(),
        }
    }
}

impl Scene {
    pub(crate) async fn start(database: &Database) -> Self {
        let sweep =
            Sweep { every: Duration::from_millis(200), dead_after: 40, ephemeral_after: 600 };
        Self::start_with(database, sweep, database.config()).await
    }

    pub(crate) async fn start_with(database: &Database, sweep: Sweep, config: Config) -> Self {
        let server = Server::start_with(config, sweep).await.unwrap();
        let root = mint(server.app().store(), Scope::ALL.to_vec()).await;
        let url = format!("http://{}", server.addresses().api);
        let http = http_client(&Trust::Host).unwrap();
        Self { server, url, http, root, _database: database.clone() }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url, &Trust::Host).unwrap()
    }

    /// Asks by some token; the status and the body.
    pub(crate) async fn ask_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.url));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let bytes = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Asks by every right; it has to work.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.ask_as(&self.root, method.clone(), path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        answer
    }

    pub(crate) async fn network(&self, name: &str) {
        self.ask(Method::POST, "/networks", Some(json!({ "name": name }))).await;
    }

    pub(crate) async fn policy(&self, network: &str, text: &str) {
        let path = format!("/networks/{network}/policy");
        self.ask(Method::PUT, &path, Some(json!({ "text": text }))).await;
    }

    /// The secret of a new enrolment key.
    pub(crate) async fn key(&self, network: &str, body: Value) -> String {
        let path = format!("/networks/{network}/keys");
        let made = self.ask(Method::POST, &path, Some(body)).await;
        made["secret"].as_str().unwrap().to_owned()
    }
}

/// The secret of a new token, made in the database.
pub(crate) async fn mint(store: &Store, scopes: Vec<Scope>) -> String {
    let token = Token {
        description: "a test's".to_owned(),
        network: None,
        scopes,
        expires: None,
        revoked: None,
    };
    let (secret, kept) = Kind::ApiToken.mint(random().unwrap(), &Zeroizing::new(random().unwrap()));
    let act = Act {
        actor: "local".to_owned(),
        action: "token.create",
        subject: kept.id.to_string(),
        detail: json!({}),
    };
    store.add_token(&kept, &token, now(), act).await.unwrap();
    secret.to_string()
}
