//! The names of a netmap on this host, until a signal ends it: for trying it out, and for tests.
//!
//! `names SNAPSHOT.json IFNAME STATE [RESOLVCONF]`; the snapshot is what a control plane sends, read
//! again at SIGHUP. `names restore STATE [RESOLVCONF]` undoes what one that was killed has left.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use proto::control::{Netmap, Snapshot};
use resolver::{ADDRESS, Interface, Names, Paths, Settings, restore};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let paths = |state: &str, resolvconf: Option<&String>| {
        let mut paths = Paths::of_host(Path::new(state));
        paths.resolvconf = resolvconf.map_or(paths.resolvconf, PathBuf::from);
        paths
    };
    match words.as_slice() {
        [restoring, state, rest @ ..] if restoring == "restore" => {
            println!("restored {:?}", restore(&paths(state, rest.first())).await?);
            Ok(())
        }
        [snapshot, interface, state, rest @ ..] => {
            run(Path::new(snapshot), interface, paths(state, rest.first())).await
        }
        _ => bail!(
            "names SNAPSHOT.json IFNAME STATE [RESOLVCONF] | names restore STATE [RESOLVCONF]"
        ),
    }
}

async fn run(snapshot: &Path, interface: &str, paths: Paths) -> Result<()> {
    // Any socket can be asked.
    let socket = UdpSocket::bind("[::]:0")?;
    let index = rustix::net::netdevice::name_to_index(&socket, interface)
        .with_context(|| format!("there is no interface {interface}"))?;
    let interface = Interface { name: interface.to_owned(), index };
    let settings = Settings { address: ADDRESS, interface, paths, also: Vec::new() };
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let names = Names::start(settings).await?;
    loop {
        let text = std::fs::read(snapshot)?;
        let netmap = Netmap::from(serde_json::from_slice::<Snapshot>(&text)?);
        let updated = names.update(&netmap).await;
        let (revision, status) = (netmap.revision, names.status());
        println!("revision {revision} {updated:?} {status:?} {:?}", names.counts());
        tokio::select! {
            _ = hangup.recv() => {}
            _ = terminate.recv() => break,
        }
    }
    names.stop().await
}
