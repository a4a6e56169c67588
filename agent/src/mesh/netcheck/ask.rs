//! A question of STUN from a socket of its own, past the tunnel.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use proto::stun::{self, Answer, Change};
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::io::divert::MARK;
use crate::mesh::whereabouts::random_transaction;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// How often it is asked for in that time.
const TIMES: u32 = 3;

/// A socket that no NAT has seen yet.
pub(super) async fn fresh_socket() -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    SockRef::from(&socket).set_mark(MARK)?;
    Ok(socket)
}

/// The answer of the server at `to`, if it comes from `from`, where it is asked to come from.
pub(super) async fn ask(
    socket: &UdpSocket,
    to: SocketAddr,
    from: SocketAddr,
    change: Option<Change>,
) -> std::io::Result<Option<Answer>> {
    let transaction = random_transaction();
    let question = change.map_or_else(
        || stun::request(&transaction),
        |change| stun::request_from(&transaction, change),
    );
    let mut buffer = [0; 256];
    for _ in 0..TIMES {
        socket.send_to(&question, to).await?;
        let answered = async {
            loop {
                let (len, source) = socket.recv_from(&mut buffer).await?;
                let answer = stun::answer(&buffer[..len], &transaction);
                if source == from && answer.is_some() {
                    return Ok::<_, std::io::Error>(answer);
                }
            }
        };
        if let Ok(answer) = timeout(ANSWER / TIMES, answered).await {
            return answer;
        }
    }
    Ok(None)
}
