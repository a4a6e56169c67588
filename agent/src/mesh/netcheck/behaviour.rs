//! What a NAT does to a port (RFC 5780), as one server with two addresses shows it: whom it lets in
//! (4.4), and for whom it has another port outside (4.3).

use std::net::SocketAddr;

use proto::stun::{Answer, Change};
use tokio::net::UdpSocket;

use super::ask::{ask, fresh_socket};
use crate::mesh::reflexive::may_be_asked;

/// On what it depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dependence {
    /// Nothing: all the world is one.
    Nothing,
    Address,
    AddressAndPort,
}

/// What was found out; nothing where no answer has come that tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Behaviour {
    pub(super) filtering: Option<Dependence>,
    pub(super) mapping: Option<Dependence>,
}

impl Dependence {
    /// As the RFC names it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "endpoint-independent",
            Self::Address => "address-dependent",
            Self::AddressAndPort => "address-and-port-dependent",
        }
    }
}

/// Finds it out by this server.
pub(super) async fn find(server: SocketAddr) -> Behaviour {
    // A host that has no way there finds out nothing.
    look(server).await.unwrap_or_default()
}

async fn look(server: SocketAddr) -> std::io::Result<Behaviour> {
    let socket = fresh_socket().await?;
    let Some(first) = ask(&socket, server, server, None).await? else {
        return Ok(Behaviour::default());
    };
    let Some(other) = first.other.filter(|other| is_second(*other, server)) else {
        return Ok(Behaviour::default());
    };
    // Before the other addresses are sent to: then they would be let in.
    let filtering = filtering(&socket, server, other).await?;
    let mapping = mapping(&socket, &first, SocketAddr::new(other.ip(), server.port()), other);
    Ok(Behaviour { filtering, mapping: mapping.await? })
}

/// Whether it shows what this check is to show.
fn is_second(other: SocketAddr, first: SocketAddr) -> bool {
    may_be_asked(other, first) && other.ip() != first.ip() && other.port() != first.port()
}

async fn filtering(
    socket: &UdpSocket,
    server: SocketAddr,
    other: SocketAddr,
) -> std::io::Result<Option<Dependence>> {
    let both = Change { ip: true, port: true };
    if ask(socket, server, other, Some(both)).await?.is_some() {
        return Ok(Some(Dependence::Nothing));
    }
    let from = SocketAddr::new(server.ip(), other.port());
    let port = Change { ip: false, port: true };
    let came = ask(socket, server, from, Some(port)).await?.is_some();
    // Silence tells something only of those who answer when they are sent to.
    let speak = ask(socket, other, other, None).await?.is_some()
        && (came || ask(socket, from, from, None).await?.is_some());
    Ok(speak.then_some(if came { Dependence::Address } else { Dependence::AddressAndPort }))
}

async fn mapping(
    socket: &UdpSocket,
    first: &Answer,
    other_ip: SocketAddr,
    other: SocketAddr,
) -> std::io::Result<Option<Dependence>> {
    let Some(second) = ask(socket, other_ip, other_ip, None).await? else { return Ok(None) };
    if second.seen == first.seen {
        return Ok(Some(Dependence::Nothing));
    }
    let Some(third) = ask(socket, other, other, None).await? else { return Ok(None) };
    let alike = third.seen == second.seen;
    Ok(Some(if alike { Dependence::Address } else { Dependence::AddressAndPort }))
}
