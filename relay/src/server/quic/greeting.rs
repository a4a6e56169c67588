//! A connection before it is a client's: TLS, a stream, and its admission, in time.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use proto::relay::{EXPORTER_LABEL, Refusal, RelayFrame};
use quinn_proto::{Connection, Dir, Event, StreamEvent, StreamId};

use super::client::Client;
use super::connection::Round;
use super::streams::{Read, Stopped, read, write};
use crate::core::Way;
use crate::server::admission::{self, Binding, Joining, Step, Turn, joining};
use crate::server::sources::Place;
use crate::server::stream::framed_into;

/// See the module.
pub(super) struct Greeting {
    _place: Place,
    /// When it is over.
    pub(super) until: Instant,
    is_connected: bool,
    control: Option<StreamId>,
    admission: Option<admission::Greeting>,
    /// It has proven itself, and the hub has not answered yet.
    joining: Option<(Binding, Joining)>,
    out: Vec<u8>,
}

/// What has become of it.
pub(super) enum Outcome {
    Waits,
    Client(Box<Client>),
    /// Refused, with a word on this stream.
    Refused(StreamId),
    Failed,
}

impl Greeting {
    pub(super) const fn new(place: Place, until: Instant) -> Self {
        Self {
            _place: place,
            until,
            is_connected: false,
            control: None,
            admission: None,
            joining: None,
            out: Vec::new(),
        }
    }

    /// Notes what has happened.
    pub(super) fn note(&mut self, event: &Event, quic: &mut Connection) {
        match event {
            Event::Connected => self.is_connected = true,
            Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                self.control = self.control.or_else(|| quic.streams().accept(Dir::Bi));
            }
            _ => {}
        }
    }

    /// Goes on, after something has happened.
    pub(super) fn go_on(&mut self, quic: &mut Connection, round: &mut Round<'_>) -> Outcome {
        if round.now >= self.until {
            return Outcome::Failed;
        }
        let Some(control) = self.control.filter(|_| self.is_connected) else {
            return Outcome::Waits;
        };
        match self.admit(control, quic, round) {
            Ok(Some(client)) => Outcome::Client(client),
            Ok(None) => Outcome::Waits,
            Err(Turn::Failed) => Outcome::Failed,
            Err(Turn::Refused(why)) => {
                round.door.refused(why);
                self.refuse(why);
                match self.write(control, quic) {
                    Ok(()) => Outcome::Refused(control),
                    Err(Stopped) => Outcome::Failed,
                }
            }
        }
    }

    fn admit(
        &mut self,
        control: StreamId,
        quic: &mut Connection,
        round: &mut Round<'_>,
    ) -> Result<Option<Box<Client>>, Turn> {
        let admission = match &mut self.admission {
            Some(admission) => admission,
            none => none.insert(admission::Greeting::new(exporter(quic).ok_or(Turn::Failed)?)),
        };
        if self.joining.is_none() {
            let read = read(quic, control, |chunk| admission.held.extend_from_slice(chunk));
            loop {
                match admission.step(round.door)? {
                    Step::More if read == Read::Open => break,
                    Step::More => return Err(Turn::Failed),
                    Step::Say(frame) => framed_into(&mut self.out, |bytes| frame.write(bytes)),
                    Step::Proven(binding, admitted) => {
                        let (join, joining) = joining(*admitted, Way::Quic);
                        round.door.hub.tell_all(&mut vec![join]).map_err(|_| Turn::Failed)?;
                        self.joining = Some((binding, joining));
                        break;
                    }
                }
            }
            self.write(control, quic).map_err(|Stopped| Turn::Failed)?;
        }
        self.join(control, round)
    }

    /// Is a client, if the hub has answered.
    fn join(&mut self, control: StreamId, round: &Round<'_>) -> Result<Option<Box<Client>>, Turn> {
        let Some((_, joining)) = &mut self.joining else { return Ok(None) };
        let waker = round.waker();
        let joined = Pin::new(&mut joining.joined).poll(&mut Context::from_waker(&waker));
        let Poll::Ready(joined) = joined else { return Ok(None) };
        let id = joined.map_err(|_| Turn::Failed)?.map_err(Turn::Refused)?;
        let admission = self.admission.take().zip(self.joining.take());
        let (admission, (binding, Joining { line, .. })) = admission.ok_or(Turn::Failed)?;
        let client = admission::Client { id, binding, line, rest: admission.held };
        Ok(Some(Box::new(Client::new(client, control, waker))))
    }

    fn refuse(&mut self, why: Refusal) {
        framed_into(&mut self.out, |bytes| RelayFrame::Refused(why).write(bytes));
    }

    fn write(&mut self, control: StreamId, quic: &mut Connection) -> Result<(), Stopped> {
        let written = write(quic, control, &self.out)?;
        self.out.drain(..written);
        Ok(())
    }
}

fn exporter(quic: &Connection) -> Option<[u8; 32]> {
    let mut exporter = [0; 32];
    let exported = quic.crypto_session().export_keying_material(&mut exporter, EXPORTER_LABEL, &[]);
    exported.ok().map(|()| exporter)
}
