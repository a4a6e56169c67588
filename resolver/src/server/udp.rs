//! Queries in datagrams.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::{LONGEST_QUERY, Said, Shared, Way};

/// After an error of the socket, which may last.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn serve(socket: UdpSocket, shared: Arc<Shared>) {
    let socket = Arc::new(socket);
    let mut waiting = JoinSet::new();
    let mut buffer = vec![0; LONGEST_QUERY + 1];
    loop {
        while waiting.try_join_next().is_some() {}
        let (length, source) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "receiving queries");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(query) = buffer.get(..length).filter(|_| shared.serves(source.ip())) else {
            continue;
        };
        match shared.judge(query, Way::Udp) {
            Said::Nothing => {}
            // An answer that cannot be sent is asked for again.
            Said::Now(answer) => drop(socket.send_to(&answer, source).await),
            Said::Later(answer) => {
                let socket = Arc::clone(&socket);
                waiting.spawn(async move {
                    drop(socket.send_to(&answer.await, source).await);
                });
            }
        }
    }
}
