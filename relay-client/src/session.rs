//! A connection to a relay.

use std::time::Duration;

use proto::key::PublicKey;
use proto::lane::LaneId;
use proto::relay::{
    Batch, ClientFrame, DATA_HEADER_LEN, FrameError, LaneOpened, LaneRefused, Proof, Refusal,
    RelayFrame, VERSION, Welcome, finish_frame, proof_message, start_frame,
};
use proto::ticket::{SignedTicket, SigningKey};

/// A session: made when the connection's TLS handshake is over, ended with the connection.
///
/// What it wants written to the stream is taken by [`take_output`](Self::take_output), after each
/// call that may have added to it.
pub struct Session {
    identity: SigningKey,
    ticket: SignedTicket,
    exporter: [u8; 32],
    /// What the relay has us sign: known from its challenge on.
    nonce: Option<[u8; 32]>,
    admitted: bool,
    output: Vec<u8>,
}

/// What a relay has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The relay serves us, anew after a new ticket.
    Admitted(Welcome),
    /// Packets from a peer.
    Received(PublicKey, Batch<'a>),
    /// A peer to which a packet was sent is not there.
    PeerGone(PublicKey),
    /// A lane, asked for or offered: bind it with a [`LaneEnd`](crate::LaneEnd).
    LaneOpened(LaneOpened),
    /// There is no lane to this peer.
    LaneRefused(PublicKey, LaneRefused),
    /// The lane is no more.
    LaneClosed(LaneId),
    /// The relay ends after this time: connect to another one first.
    Drain(Duration),
    /// The answer to our ping.
    Pong(u64),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The relay does not serve us.
    #[error("{0}")]
    Refused(Refusal),
    /// The relay speaks another version.
    #[error("the relay speaks version {0} of the protocol, not {VERSION}: update the older")]
    Version(u16),
    /// What came is no frame.
    #[error("the relay sent what is no frame: {0}")]
    Frame(#[from] FrameError),
    /// A frame that has no place there.
    #[error("the relay sent a frame out of its place")]
    OutOfPlace,
}

impl Session {
    /// A session on a connection that exported these bytes
    /// ([`EXPORTER_LABEL`](proto::relay::EXPORTER_LABEL)).
    #[must_use]
    pub fn new(identity: SigningKey, ticket: SignedTicket, exporter: [u8; 32]) -> Self {
        let mut session =
            Self { identity, ticket, exporter, nonce: None, admitted: false, output: Vec::new() };
        session.write(&ClientFrame::Hello(VERSION));
        session
    }

    /// Takes a frame of the stream: type and body.
    pub fn receive<'a>(&mut self, frame: &'a [u8]) -> Result<Option<Event<'a>>, SessionError> {
        match (RelayFrame::parse(frame)?, self.admitted) {
            (RelayFrame::Refused(why), _) => Err(SessionError::Refused(why)),
            (RelayFrame::Challenge(VERSION, nonce), false) if self.nonce.is_none() => {
                self.nonce = Some(nonce);
                self.prove(nonce);
                Ok(None)
            }
            (RelayFrame::Challenge(version, _), false) if version != VERSION => {
                Err(SessionError::Version(version))
            }
            (RelayFrame::Welcome(welcome), _) if self.nonce.is_some() => {
                self.admitted = true;
                Ok(Some(Event::Admitted(welcome)))
            }
            (RelayFrame::Ping(number), true) => {
                self.write(&ClientFrame::Pong(number));
                Ok(None)
            }
            (frame, true) => Self::event(frame).map(Some),
            (_, false) => Err(SessionError::OutOfPlace),
        }
    }

    /// Takes a QUIC datagram, in which only packets have their place.
    pub fn receive_datagram<'a>(
        &mut self,
        datagram: &'a [u8],
    ) -> Result<(PublicKey, Batch<'a>), SessionError> {
        match RelayFrame::parse(datagram)? {
            RelayFrame::Received(from, batch) if self.admitted => Ok((from, batch)),
            _ => Err(SessionError::OutOfPlace),
        }
    }

    /// What is to be written to the stream.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Packets for a peer, by the stream.
    pub fn send(&mut self, to: PublicKey, batch: Batch<'_>) {
        self.write(&ClientFrame::Send(to, batch));
    }

    /// Packets for a peer as QUIC datagrams of at most `limit` bytes; `None` if one packet does not fit:
    /// then they go [by a stream of their own](Self::long).
    #[must_use]
    pub fn datagrams(to: PublicKey, batch: &Batch<'_>, limit: usize) -> Option<Vec<Vec<u8>>> {
        let batches = batch.within(limit.checked_sub(DATA_HEADER_LEN)?)?;
        let datagram = |batch: Batch<'_>| {
            let mut bytes = Vec::with_capacity(DATA_HEADER_LEN + batch.bytes().len());
            ClientFrame::Send(to, batch).write(&mut bytes);
            bytes
        };
        Some(batches.map(datagram).collect())
    }

    /// Packets for a peer as all that a QUIC stream of their own carries: those that fit no datagram, which
    /// neither wait for others there nor hold them up.
    #[must_use]
    pub fn long(to: PublicKey, batch: Batch<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + DATA_HEADER_LEN + batch.bytes().len());
        let start = start_frame(&mut bytes);
        ClientFrame::Send(to, batch).write(&mut bytes);
        finish_frame(&mut bytes, start);
        bytes
    }

    /// Says whether the relay is our home.
    pub fn home(&mut self, home: bool) {
        self.write(&ClientFrame::Home(home));
    }

    /// Asks for a lane to a peer.
    pub fn open_lane(&mut self, peer: PublicKey) {
        self.write(&ClientFrame::OpenLane(peer));
    }

    /// Gives a lane back.
    pub fn close_lane(&mut self, lane: LaneId) {
        self.write(&ClientFrame::CloseLane(lane));
    }

    /// Asks whether the relay is there.
    pub fn ping(&mut self, number: u64) {
        self.write(&ClientFrame::Ping(number));
    }

    /// The node key is another: it signs from the next ticket on.
    pub fn identify(&mut self, identity: SigningKey) {
        self.identity = identity;
    }

    /// Goes on by a new ticket.
    pub fn renew(&mut self, ticket: SignedTicket) {
        self.ticket = ticket;
        // Without a challenge so far, the new ticket is what answers it.
        if let Some(nonce) = self.nonce {
            self.prove(nonce);
        }
    }

    fn prove(&mut self, nonce: [u8; 32]) {
        let signature = self.identity.sign(&proof_message(&nonce, &self.exporter));
        self.write(&ClientFrame::Proof(Box::new(Proof { ticket: self.ticket, signature })));
    }

    fn write(&mut self, frame: &ClientFrame<'_>) {
        let start = start_frame(&mut self.output);
        frame.write(&mut self.output);
        finish_frame(&mut self.output, start);
    }

    fn event(frame: RelayFrame<'_>) -> Result<Event<'_>, SessionError> {
        match frame {
            RelayFrame::Received(from, batch) => Ok(Event::Received(from, batch)),
            RelayFrame::PeerGone(peer) => Ok(Event::PeerGone(peer)),
            RelayFrame::LaneOpened(opened) => Ok(Event::LaneOpened(opened)),
            RelayFrame::LaneRefused(peer, why) => Ok(Event::LaneRefused(peer, why)),
            RelayFrame::LaneClosed(lane) => Ok(Event::LaneClosed(lane)),
            RelayFrame::Drain(milliseconds) => {
                Ok(Event::Drain(Duration::from_millis(milliseconds.into())))
            }
            RelayFrame::Pong(number) => Ok(Event::Pong(number)),
            RelayFrame::Challenge(..)
            | RelayFrame::Welcome(_)
            | RelayFrame::Ping(_)
            | RelayFrame::Refused(_) => Err(SessionError::OutOfPlace),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::relay::{Framing, split_frame};
    use proto::ticket::{ControlKeyId, NetworkId, Ticket, UnixSeconds};

    use super::*;

    fn session() -> Session {
        let identity = SigningKey::from_seed(&[1; 32].into()).unwrap();
        let ticket = Ticket {
            network: NetworkId([1; 16]),
            node: PublicKey::from([2; 32]),
            identity: identity.verifying_key(),
            not_after: UnixSeconds(9),
            node_rate: 0,
            network_rate: 0,
            lanes: 0,
        };
        let ticket = ticket.sign(ControlKeyId(1), &identity);
        Session::new(identity, ticket, [3; 32])
    }

    fn say(session: &mut Session, frame: &RelayFrame<'_>) -> Result<bool, SessionError> {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        session.receive(&bytes).map(|event| event.is_some())
    }

    /// The frames that the session wants written.
    fn written(session: &mut Session) -> Vec<u8> {
        let output = session.take_output();
        let mut kinds = Vec::new();
        let mut rest = &output[..];
        while let Some((frame, taken)) = split_frame(rest, Framing::Admitted).unwrap() {
            kinds.push(frame[0]);
            rest = &rest[taken..];
        }
        assert!(rest.is_empty());
        kinds
    }

    #[test]
    fn admission_is_hello_then_proof() {
        let mut session = session();
        assert_eq!(written(&mut session), [1]);
        assert_eq!(say(&mut session, &RelayFrame::Challenge(VERSION, [5; 32])), Ok(false));
        assert_eq!(written(&mut session), [2]);
        let welcome = Welcome { until: UnixSeconds(9), rate: 1, lanes: 1, idle: 45 };
        assert_eq!(say(&mut session, &RelayFrame::Welcome(welcome)), Ok(true));
        assert_eq!(say(&mut session, &RelayFrame::Ping(7)), Ok(false));
        assert_eq!(written(&mut session), [8]);
        session.renew(session.ticket);
        assert_eq!(written(&mut session), [2]);
    }

    #[test]
    fn what_comes_out_of_place_ends_the_session() {
        let gone = RelayFrame::PeerGone(PublicKey::from([4; 32]));
        assert_eq!(say(&mut session(), &gone), Err(SessionError::OutOfPlace));
        let welcome = Welcome { until: UnixSeconds(9), rate: 1, lanes: 1, idle: 45 };
        let early = say(&mut session(), &RelayFrame::Welcome(welcome));
        assert_eq!(early, Err(SessionError::OutOfPlace));
        let newer = say(&mut session(), &RelayFrame::Challenge(VERSION + 1, [5; 32]));
        assert_eq!(newer, Err(SessionError::Version(VERSION + 1)));
        let refused = say(&mut session(), &RelayFrame::Refused(Refusal::Full));
        assert_eq!(refused, Err(SessionError::Refused(Refusal::Full)));
        // A second challenge would have us sign for somebody else's connection.
        let mut session = session();
        assert_eq!(say(&mut session, &RelayFrame::Challenge(VERSION, [5; 32])), Ok(false));
        let again = say(&mut session, &RelayFrame::Challenge(VERSION, [6; 32]));
        assert_eq!(again, Err(SessionError::OutOfPlace));
    }

    #[test]
    fn datagrams_hold_as_many_packets_as_fit() {
        let bytes = vec![7; 1000];
        let batch = Batch::new(&bytes, 100).unwrap();
        let to = PublicKey::from([4; 32]);
        let datagrams = Session::datagrams(to, &batch, 35 + 350).unwrap();
        let lens: Vec<_> = datagrams.iter().map(Vec::len).collect();
        assert_eq!(lens, [335, 335, 335, 135]);
        assert_eq!(Session::datagrams(to, &batch, 35 + 99), None);
        assert_eq!(Session::datagrams(to, &batch, 10), None);
    }
}
