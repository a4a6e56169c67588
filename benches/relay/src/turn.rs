//! A TURN client (RFC 8656), as far as channels over UDP need it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use anyhow::{Context as _, Result, bail, ensure};
use md5::{Digest as _, Md5};
use ring::hmac;

/// As `cargo xtask bench relay` starts coturn.
const USER: &str = "u";
const REALM: &str = "test";
const PASSWORD: &str = "p";

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER_LEN: usize = 20;
const INTEGRITY_LEN: usize = 24;

const ALLOCATE: u16 = 0x0003;
const CREATE_PERMISSION: u16 = 0x0008;
const CHANNEL_BIND: u16 = 0x0009;
const SUCCESS: u16 = 0x0100;
const FAILURE: u16 = 0x0110;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const CHANNEL_NUMBER: u16 = 0x000c;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const REALM_NAME: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const XOR_RELAYED_ADDRESS: u16 = 0x0016;
const REQUESTED_TRANSPORT: u16 = 0x0019;

/// The first number that a channel may have.
pub(crate) const CHANNEL: u16 = 0x4000;

/// What stands before each packet of our channel.
pub(crate) fn channel_header(len: usize) -> [u8; 4] {
    let [a, b] = CHANNEL.to_be_bytes();
    let [c, d] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    [a, b, c, d]
}

/// An allocation: an address of the relay that is ours.
pub(crate) struct Allocation {
    pub(crate) relayed: SocketAddr,
    nonce: Vec<u8>,
    key: hmac::Key,
}

impl Allocation {
    /// Asks the server to which the socket is connected.
    pub(crate) fn new(socket: &UdpSocket) -> Result<Self> {
        const UDP: [u8; 4] = [17, 0, 0, 0];
        let transport = Message::new(ALLOCATE).with(REQUESTED_TRANSPORT, &UDP);
        let refused = transport.clone().ask(socket)?;
        ensure!(refused.kind == ALLOCATE | FAILURE, "no 401: {:#06x}", refused.kind);
        let nonce = refused.attribute(NONCE).context("a 401 without a nonce")?.to_vec();
        let digest = Md5::digest(format!("{USER}:{REALM}:{PASSWORD}"));
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &digest);
        let mut allocation = Self { relayed: SocketAddr::from(([0; 4], 0)), nonce, key };
        let answer = allocation.ask(socket, transport)?;
        let relayed = answer.attribute(XOR_RELAYED_ADDRESS).context("no relayed address")?;
        allocation.relayed = address(relayed).context("a relayed address that is not IPv4")?;
        Ok(allocation)
    }

    /// Lets a peer send to us, and us to it by [`CHANNEL`].
    pub(crate) fn bind_channel(&self, socket: &UdpSocket, peer: SocketAddr) -> Result<()> {
        let SocketAddr::V4(peer) = peer else { bail!("{peer} is not IPv4") };
        let peer = xor_address(peer);
        let permission = Message::new(CREATE_PERMISSION).with(XOR_PEER_ADDRESS, &peer);
        self.ask(socket, permission)?;
        let [a, b] = CHANNEL.to_be_bytes();
        let bind = Message::new(CHANNEL_BIND).with(CHANNEL_NUMBER, &[a, b, 0, 0]);
        self.ask(socket, bind.with(XOR_PEER_ADDRESS, &peer)).map(drop)
    }

    /// Asks with our credentials.
    fn ask(&self, socket: &UdpSocket, message: Message) -> Result<Message> {
        let kind = message.kind;
        let answer = message
            .with(USERNAME, USER.as_bytes())
            .with(REALM_NAME, REALM.as_bytes())
            .with(NONCE, &self.nonce)
            .signed(&self.key)
            .ask(socket)?;
        ensure!(
            answer.kind == kind | SUCCESS,
            "coturn answers {kind:#06x} by {:#06x}",
            answer.kind
        );
        Ok(answer)
    }
}

#[derive(Clone)]
struct Message {
    kind: u16,
    attributes: Vec<u8>,
}

impl Message {
    fn new(kind: u16) -> Self {
        Self { kind, attributes: Vec::new() }
    }

    fn with(mut self, name: u16, value: &[u8]) -> Self {
        let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.attributes.extend(name.to_be_bytes());
        self.attributes.extend(len.to_be_bytes());
        self.attributes.extend(value);
        let padded = self.attributes.len().next_multiple_of(4);
        self.attributes.resize(padded, 0);
        self
    }

    fn signed(self, key: &hmac::Key) -> Self {
        // The length counts what follows it, the signature too.
        let signed = self.bytes(INTEGRITY_LEN);
        let signature = hmac::sign(key, &signed);
        self.with(MESSAGE_INTEGRITY, signature.as_ref())
    }

    fn bytes(&self, more: usize) -> Vec<u8> {
        let len = u16::try_from(self.attributes.len() + more).unwrap_or(u16::MAX);
        let mut bytes = self.kind.to_be_bytes().to_vec();
        bytes.extend(len.to_be_bytes());
        bytes.extend(COOKIE);
        // One question at a time, so one number will do for all.
        bytes.extend(b"nearwire-one");
        bytes.extend(&self.attributes);
        bytes
    }

    fn ask(self, socket: &UdpSocket) -> Result<Self> {
        let mut answer = [0; 2048];
        for _ in 0..5 {
            socket.send(&self.bytes(0))?;
            match socket.recv(&mut answer) {
                Ok(len) if len >= HEADER_LEN => {
                    let kind = u16::from_be_bytes([answer[0], answer[1]]);
                    return Ok(Self { kind, attributes: answer[HEADER_LEN..len].to_vec() });
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("asking coturn"),
            }
        }
        bail!("coturn does not answer {:#06x}", self.kind)
    }

    fn attribute(&self, wanted: u16) -> Option<&[u8]> {
        let mut rest = &self.attributes[..];
        while let Some(([a, b, c, d], after)) = rest.split_first_chunk() {
            let len = usize::from(u16::from_be_bytes([*c, *d]));
            let value = after.get(..len)?;
            if u16::from_be_bytes([*a, *b]) == wanted {
                return Some(value);
            }
            rest = after.get(len.next_multiple_of(4)..)?;
        }
        None
    }
}

fn xor_address(address: SocketAddrV4) -> [u8; 8] {
    let [a, b] = (address.port() ^ 0x2112).to_be_bytes();
    let ip = u32::from(*address.ip()) ^ u32::from_be_bytes(COOKIE);
    let [c, d, e, f] = ip.to_be_bytes();
    [0, 1, a, b, c, d, e, f]
}

fn address(value: &[u8]) -> Option<SocketAddr> {
    let &[_, 1, a, b, c, d, e, f] = value else { return None };
    let ip = u32::from_be_bytes([c, d, e, f]) ^ u32::from_be_bytes(COOKIE);
    Some((Ipv4Addr::from(ip), u16::from_be_bytes([a, b]) ^ 0x2112).into())
}
