//! The end of a relay that has clients: they are waited for, and nobody else is.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use relay_client::Event;
use rustix::process::{Pid, Signal, kill_process};

use super::client::{Client, Way};
use super::memory::Process;
use super::scene::holder;

/// Far less than its `drain-time`.
const SOON: Duration = Duration::from_secs(60);

fn tell(process: &Process, signal: Signal) {
    kill_process(Pid::from_child(&process.child), signal).expect("is told");
}

async fn ended(process: &mut Process) -> ExitStatus {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(status) = process.child.try_wait().expect("waits") {
            return status;
        }
        assert!(Instant::now() < deadline, "it waits on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_when_the_last_client_has_gone() {
    let mut process = Process::start();
    let mut clients = Vec::new();
    for node in [1, 2] {
        clients.push(Client::new(&process.relay, Way::Quic, holder(1, node)).await);
    }
    tell(&process, Signal::TERM);
    for client in &mut clients {
        assert!(matches!(client.event().await, Event::Drain(_)));
    }
    clients.pop();
    process.relay.until("/totals/clients", 1).await;
    assert!(process.child.try_wait().expect("waits").is_none(), "one is there");
    drop(clients);
    assert!(ended(&mut process).await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_twice_it_waits_for_nobody() {
    for [first, second] in [[Signal::TERM, Signal::TERM], [Signal::INT, Signal::INT]] {
        let mut process = Process::start();
        let mut client = Client::new(&process.relay, Way::Tls, holder(1, 1)).await;
        tell(&process, first);
        assert!(matches!(client.event().await, Event::Drain(_)));
        tell(&process, second);
        assert!(ended(&mut process).await.success());
    }
}
