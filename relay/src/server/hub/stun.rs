//! Questions of STUN, at the port of lanes and at the second addresses.

use std::net::SocketAddr;

use dataplane_common::DropReason;

use super::Hub;
use crate::core::StunAnswer;
use crate::server::udp::{Arrival, Departure, Received};

impl Hub {
    /// Answers one that came to the port of lanes.
    pub(super) fn stun(&mut self, datagram: &[u8], arrival: &Arrival) {
        let at = arrival.local.map(|ip| SocketAddr::new(ip, self.lane_port));
        self.answer_stun(datagram, arrival, at);
    }

    /// Takes what came to the second addresses: nothing else is for them.
    pub(super) fn receive_stun(&mut self, received: &mut Received) {
        for socket in 0..self.stun_sockets.all().len() {
            let Some((at, udp)) = self.stun_sockets.all().get(socket) else { return };
            let (at, count) = (*at, udp.receive(received));
            let count = count.unwrap_or_else(|error| {
                tracing::debug!(%error, %at, "receiving datagrams of STUN failed");
                0
            });
            for run in received.runs(count) {
                for datagram in run.bytes.chunks(run.stride) {
                    self.answer_stun(datagram, &run.arrival, Some(at));
                }
            }
        }
    }

    fn answer_stun(&mut self, datagram: &[u8], arrival: &Arrival, at: Option<SocketAddr>) {
        let Arrival { from: to, local, .. } = *arrival;
        let StunAnswer { bytes, from } = match self.stun.answer(datagram, to, at, self.now.at) {
            Ok(answer) => answer,
            Err(reason) => return self.lanes.drop(reason, 1),
        };
        self.lanes.stun_answers += 1;
        let via = from.map_or(local, |from| Some(from.ip()));
        let departure = Departure { to, via, ecn: None, segment: bytes.len(), bytes: &bytes };
        match from.and_then(|from| self.stun_sockets.at(from)) {
            Some(socket) => {
                let refused = socket.send(&departure);
                self.lanes.drop(DropReason::LaneSend, refused);
            }
            None => self.depart(&departure),
        }
    }
}
