//! Nodes of two kinds: clients, and hubs that every client may reach.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use control_client::Trust;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::admin::Admin;
use crate::board::{Board, News};
use crate::node::Node;

/// Nodes that come at one time.
const AT_ONCE: usize = 32;
/// How long a change may take to be heard, at the very most.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Crowd {
    urls: Vec<String>,
    trust: Trust,
    client_key: String,
    hub_key: String,
    pub(crate) board: Arc<Board>,
    /// Numbers count hubs first.
    pub(crate) hubs: Vec<Node>,
    pub(crate) clients: Vec<Node>,
    port: u16,
}

/// Clients may reach hubs, here at one of two ports.
pub(crate) fn policy(port: u16) -> String {
    format!(
        r#"{{ "tagOwners": {{ "tag:client": [], "tag:hub": [] }}, "acls": [
            {{ "action": "accept", "src": ["tag:client"], "dst": ["tag:hub:{port}"], "proto": "tcp" }}
        ] }}"#
    )
}

impl Crowd {
    pub(crate) async fn new(urls: Vec<String>, trust: Trust, admin: &Admin) -> Result<Self> {
        admin.policy(&policy(443)).await?;
        let (client_key, hub_key) = (admin.key("tag:client").await?, admin.key("tag:hub").await?);
        let (hubs, clients) = (Vec::new(), Vec::new());
        let board = Arc::new(Board::default());
        Ok(Self { urls, trust, client_key, hub_key, board, hubs, clients, port: 1024 })
    }

    pub(crate) async fn add_hubs(&mut self, count: usize) -> Result<()> {
        let hubs = self.join(0..count, &self.hub_key).await?;
        self.hubs.extend(hubs);
        Ok(())
    }

    /// Adds clients until there are so many nodes. Gives how long it took.
    pub(crate) async fn grow_to(&mut self, count: usize) -> Result<(usize, Duration)> {
        let have = self.hubs.len() + self.clients.len();
        let start = Instant::now();
        let clients = self.join(have..count, &self.client_key).await?;
        let (added, took) = (clients.len(), start.elapsed());
        self.clients.extend(clients);
        Ok((added, took))
    }

    /// By turns at each instance.
    async fn join(&self, numbers: std::ops::Range<usize>, key: &str) -> Result<Vec<Node>> {
        let joins = numbers.map(|number| {
            let url = &self.urls[number % self.urls.len()];
            Node::join(number, url, &self.trust, key, self.board.clone())
        });
        stream::iter(joins).buffered(AT_ONCE).try_collect().await
    }

    /// A hub moves, and every client hears of it.
    pub(crate) async fn move_hub(&mut self) -> Result<Vec<Duration>> {
        let port = self.next_port();
        let clients = self.hubs.len()..self.hubs.len() + self.clients.len();
        let heard = self.board.look_for(News::Endpoint(port), clients);
        self.hubs[0].report_port(port).await?;
        self.board.all(heard, PATIENCE).await
    }

    /// A client moves, and every hub hears of it.
    pub(crate) async fn move_client(&mut self, number: usize) -> Result<Vec<Duration>> {
        let port = self.next_port();
        let heard = self.board.look_for(News::Endpoint(port), 0..self.hubs.len());
        self.clients[number].report_port(port).await?;
        self.board.all(heard, PATIENCE).await
    }

    /// The policy changes, and everybody hears of it.
    pub(crate) async fn change_policy(&self, admin: &Admin, port: u16) -> Result<Vec<Duration>> {
        let everybody = 0..self.hubs.len() + self.clients.len();
        let heard = self.board.look_for(News::Filter, everybody);
        admin.policy(&policy(port)).await?;
        self.board.all(heard, PATIENCE).await
    }

    fn next_port(&mut self) -> u16 {
        self.port += 1;
        self.port
    }
}
