//! One question, put to several until one answers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep, timeout};

use super::forward::locked;
use super::tcp::{read_message, write_message};
use crate::core::{Expected, Reply, Silence, Way, with_id};

/// After this long without an answer the next is asked as well.
const PATIENCE: Duration = Duration::from_millis(800);
/// How long one is waited for.
const TIMEOUT: Duration = Duration::from_secs(2);
/// When it is over: resolvers of hosts give up after five seconds.
const DEADLINE: Duration = Duration::from_millis(4500);
/// Datagrams get lost: each is asked so often.
const ROUNDS: usize = 2;
/// Questions for one query, whatever is configured.
const MOST: usize = 6;
/// The longest message there is.
const LONGEST: usize = 65535;

/// Asks in this order; the answer has another id than the query.
pub(super) async fn ask(
    query: &[u8],
    way: Way,
    upstreams: &[SocketAddr],
    expected: &Expected,
    silence: &Mutex<Silence>,
) -> Option<Vec<u8>> {
    let mut next = std::iter::repeat_n(upstreams, ROUNDS).flatten().take(MOST).copied();
    let mut asked = FuturesUnordered::new();
    // What those said that could not or would not: better than nothing.
    let mut poor = None;
    let mut gave_up = Vec::new();
    let mut waited_for = upstreams.first().copied().into_iter().collect::<Vec<_>>();
    let all = async {
        asked.push(one(next.next()?, query, way, expected));
        loop {
            tokio::select! {
                Some((upstream, reply)) = asked.next() => match reply {
                    Ok(Reply::Whole(answer) | Reply::Cut(answer)) => {
                        locked(silence).answered(upstream);
                        return Some(answer);
                    }
                    Ok(Reply::Failed(answer)) => {
                        waited_for.retain(|late| *late != upstream);
                        poor = Some(answer);
                        gave_up.push(upstream);
                    }
                    Err(error) => {
                        tracing::debug!(%upstream, %error, "no answer");
                        locked(silence).silent(upstream, Instant::now().into_std());
                    }
                },
                () = sleep(PATIENCE) => {
                    let now = Instant::now().into_std();
                    waited_for.drain(..).for_each(|late| locked(silence).silent(late, now));
                }
            }
            match next.find(|upstream| !gave_up.contains(upstream)) {
                Some(upstream) => {
                    waited_for.push(upstream);
                    asked.push(one(upstream, query, way, expected));
                }
                None if asked.is_empty() => return None,
                None => {}
            }
        }
    };
    let answer = timeout(DEADLINE, all).await.ok().flatten();
    answer.or(poor)
}

async fn one(
    upstream: SocketAddr,
    query: &[u8],
    way: Way,
    expected: &Expected,
) -> (SocketAddr, io::Result<Reply>) {
    let asked = async {
        let reply = by_udp(upstream, query, expected).await?;
        match (reply, way) {
            // Who asked us by UDP asks again by TCP, and then so do we.
            (Reply::Cut(_), Way::Tcp) => by_tcp(upstream, query, expected).await,
            (reply, _) => Ok(reply),
        }
    };
    let reply = timeout(TIMEOUT, asked).await.unwrap_or_else(|late| Err(late.into()));
    (upstream, reply)
}

/// Asks from a port and under an id of its own, neither of which a stranger can guess.
async fn by_udp(upstream: SocketAddr, query: &[u8], expected: &Expected) -> io::Result<Reply> {
    let any = match upstream {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    let id = random_id()?;
    socket.send(&with_id(query.to_vec(), id)).await?;
    let mut buffer = vec![0; expected.longest().max(512) + 1];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or_default().to_vec();
        if let Some(reply) = expected.read(u16::from_be_bytes(id), answer) {
            return Ok(reply);
        }
    }
}

async fn by_tcp(upstream: SocketAddr, query: &[u8], expected: &Expected) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(upstream).await?;
    let id = random_id()?;
    write_message(&mut stream, &with_id(query.to_vec(), id)).await?;
    let answer = read_message(&mut stream, LONGEST).await?;
    expected
        .read(u16::from_be_bytes(id), answer)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it answered something else"))
}

fn random_id() -> io::Result<[u8; 2]> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    Ok(id)
}
