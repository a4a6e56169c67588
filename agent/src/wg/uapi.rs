//! The configuration protocol's socket: any number of clients, each with any number of requests.

use std::sync::Arc;
use std::time::Duration;

use proto::uapi::{REQUEST_LIMIT, Request};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::node::SharedNode;
use super::socket::Socket;
use crate::io::tun::interface_index;

/// Where `wg` looks for it.
pub(super) const DIRECTORY: &str = "/var/run/wireguard";
/// A client that sends nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves clients for ever.
pub(super) async fn serve(socket: &Socket, node: &SharedNode) -> std::io::Result<()> {
    loop {
        let (client, _) = socket.listener.accept().await?;
        let node = Arc::clone(node);
        tokio::spawn(async move {
            if let Err(error) = talk(client, &node).await {
                tracing::debug!(%error, "a configuration client was let go");
            }
        });
    }
}

async fn talk(client: UnixStream, node: &SharedNode) -> anyhow::Result<()> {
    let (reader, mut writer) = client.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(text) = tokio::time::timeout(PATIENCE, request(&mut reader)).await?? {
        let answer = match text {
            Text::Whole(text) => answer(&text, node).await?,
            Text::TooLong => errno(libc::E2BIG),
        };
        writer.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

enum Text {
    Whole(String),
    TooLong,
}

/// Reads up to the empty line that ends a request; nothing if the client has gone.
async fn request(
    reader: &mut BufReader<tokio::net::unix::OwnedReadHalf>,
) -> std::io::Result<Option<Text>> {
    let mut text = String::new();
    let mut line = String::new();
    loop {
        line.clear();
        let room = (REQUEST_LIMIT - text.len()) as u64;
        let len = (&mut *reader).take(room).read_line(&mut line).await?;
        match line.as_str() {
            "" => return Ok(None),
            // Some clients send empty lines between requests.
            "\n" if text.is_empty() => {}
            "\n" => return Ok(Some(Text::Whole(text))),
            _ if len as u64 == room => return Ok(Some(Text::TooLong)),
            _ => text.push_str(&line),
        }
    }
}

async fn answer(text: &str, node: &SharedNode) -> anyhow::Result<String> {
    match Request::parse(text, &interface_index) {
        Ok(Request::Get) => {
            let device = node.lock().await.report().await?;
            Ok(device.to_text() + &errno(0))
        }
        Ok(Request::Set(set)) => match node.lock().await.set(set).await? {
            Ok(()) => Ok(errno(0)),
            Err(error) => {
                tracing::error!("configuration refused: {error}");
                Ok(errno(error.errno()))
            }
        },
        Err(error) => {
            tracing::error!("configuration refused: {error}");
            Ok(errno(libc::EINVAL))
        }
    }
}

/// The end of an answer. As in wireguard-go the number is negative: `wg` takes it for a result of
/// its own and says the right thing.
fn errno(number: i32) -> String {
    format!("errno={}\n\n", -number)
}
