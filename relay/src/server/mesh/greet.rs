//! Two relays prove themselves to each other, on this very connection.

use bytes::BytesMut;
use proto::mesh::{Hello, MESH_EXPORTER_LABEL, MESH_VERSION, MeshFrame, RelayId};
use proto::relay::{Framing, finish_frame, split_frame, start_frame};
use quinn::{Connection, RecvStream, SendStream};
use tokio::io::AsyncReadExt as _;

use super::Shared;
use super::region::Members;

/// A connection to a relay that has proven itself.
pub(super) struct Greeted {
    pub(super) relay: RelayId,
    pub(super) connection: Connection,
    pub(super) writer: SendStream,
    pub(super) reader: RecvStream,
    /// What came after its hello.
    pub(super) rest: BytesMut,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLink {
    #[error("the connection failed: {0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("the connection cannot be made: {0}")]
    Connect(#[from] quinn::ConnectError),
    #[error("the stream ended: {0}")]
    Stream(#[from] std::io::Error),
    #[error("what came is no hello")]
    NoHello,
    #[error("it speaks version {0} of the mesh, not {MESH_VERSION}: update the older")]
    Version(u16),
    #[error("relay {0} is not of the region, by the file here")]
    Unknown(RelayId),
    #[error("it says to be relay {0}, but has not signed with the key of the region's file")]
    Unproven(RelayId),
    #[error("it took us for relay {0}: the files of the region differ")]
    Mistaken(RelayId),
    #[error("this relay is not of the region any more")]
    Outside,
}

/// Greets first: the one that dials.
pub(super) async fn greet(
    shared: &Shared,
    connection: Connection,
    relay: RelayId,
) -> Result<Greeted, NoLink> {
    let members = shared.members.borrow().clone();
    let exporter = exporter(&connection)?;
    let (mut writer, mut reader) = connection.open_bi().await?;
    say_hello(shared, &members, &mut writer, relay, &exporter).await?;
    let mut rest = BytesMut::with_capacity(512);
    let hello = read_hello(&mut reader, &mut rest).await?;
    if hello.from != relay {
        return Err(NoLink::Unknown(hello.from));
    }
    check(&members, &hello, &exporter)?;
    Ok(Greeted { relay, connection, writer, reader, rest })
}

/// Answers a greeting: the one that takes.
pub(super) async fn answer(shared: &Shared, connection: Connection) -> Result<Greeted, NoLink> {
    let exporter = exporter(&connection)?;
    let (mut writer, mut reader) = connection.accept_bi().await?;
    let mut rest = BytesMut::with_capacity(512);
    let hello = read_hello(&mut reader, &mut rest).await?;
    let members = shared.members.borrow().clone();
    check(&members, &hello, &exporter)?;
    say_hello(shared, &members, &mut writer, hello.from, &exporter).await?;
    Ok(Greeted { relay: hello.from, connection, writer, reader, rest })
}

fn check(members: &Members, hello: &Hello, exporter: &[u8; 32]) -> Result<(), NoLink> {
    if hello.version != MESH_VERSION {
        return Err(NoLink::Version(hello.version));
    }
    let member = members.others.get(&hello.from).ok_or(NoLink::Unknown(hello.from))?;
    if !hello.is_by(&member.key, &members.name, exporter) {
        return Err(NoLink::Unproven(hello.from));
    }
    if members.own != Some(hello.to) {
        return Err(NoLink::Mistaken(hello.to));
    }
    Ok(())
}

async fn say_hello(
    shared: &Shared,
    members: &Members,
    writer: &mut SendStream,
    to: RelayId,
    exporter: &[u8; 32],
) -> Result<(), NoLink> {
    let own = members.own.ok_or(NoLink::Outside)?;
    let hello = Hello::new(&members.name, own, to, exporter, &shared.key);
    let mut bytes = Vec::new();
    let start = start_frame(&mut bytes);
    MeshFrame::Hello(Box::new(hello)).write(&mut bytes);
    finish_frame(&mut bytes, start);
    writer.write_all(&bytes).await.map_err(std::io::Error::from)?;
    Ok(())
}

async fn read_hello(reader: &mut RecvStream, held: &mut BytesMut) -> Result<Hello, NoLink> {
    loop {
        // Nobody yet: only so much is kept.
        if let Some((frame, taken)) =
            split_frame(held, Framing::Admission).map_err(|_| NoLink::NoHello)?
        {
            let Ok(MeshFrame::Hello(hello)) = MeshFrame::parse(frame) else {
                return Err(NoLink::NoHello);
            };
            let _ = held.split_to(taken);
            return Ok(*hello);
        }
        if reader.read_buf(held).await? == 0 {
            return Err(NoLink::NoHello);
        }
    }
}

fn exporter(connection: &Connection) -> Result<[u8; 32], NoLink> {
    let mut exporter = [0; 32];
    connection
        .export_keying_material(&mut exporter, MESH_EXPORTER_LABEL, &[])
        .map_err(|_| NoLink::NoHello)?;
    Ok(exporter)
}
