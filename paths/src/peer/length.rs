//! How long packets may be on the way in use.

use proto::probe::{PingId, Probe};

use super::{Peer, World};
use crate::agents::Action;
use crate::mtu;
use crate::route::{Route, SocketId, Via};

/// What an interface sends of which nothing else is said.
const USUAL_MTU: u16 = 1500;

impl Peer {
    /// The way in use is another, or leads through another network.
    pub(super) fn begin_mtu(&mut self, world: &mut World<'_>) {
        // A spare socket is not worth it, and what relays carry is known.
        let worth = |route: &Route| route.socket == SocketId::MAIN && !route.is_relayed();
        match self.choice.route().filter(worth) {
            Some(_) => self.mtu.begin(world.now),
            None => self.mtu.stop(),
        }
        self.tell_fits(world);
    }

    /// Asks how much the way carries, if that is due.
    pub(super) fn look_at_mtu(&mut self, world: &mut World<'_>) {
        let Some(route) = self.choice.route().filter(|_| self.mtu.is_due(world.now)) else {
            return;
        };
        let evidence = self.candidates.get(&route).map(|known| known.evidence);
        let rtt = evidence.and_then(|evidence| evidence.rtt).unwrap_or_default();
        let (id, most) = (world.ping_id(), world.own.mtu.unwrap_or(USUAL_MTU));
        if let Some(size) = self.mtu.due(id, most, rtt, world.now) {
            world.counters.pings += 1;
            let probe = Probe::Ping { id, room: mtu::room(size, route.to) };
            let via = Via::Direct(route);
            world.actions.push_back(Action::Send { peer: self.id, via, probe, whole: true });
        }
        self.tell_fits(world);
    }

    /// Takes the answer to a padded ping; whether it is one.
    pub(super) fn take_length(&mut self, id: PingId, via: Via, world: &mut World<'_>) -> bool {
        let most = world.own.mtu.unwrap_or(USUAL_MTU);
        let is_used = self.choice.route().is_some_and(|route| via == Via::Direct(route));
        let taken = is_used && self.mtu.answered(id, most, world.now);
        if taken {
            self.tell_fits(world);
        }
        taken
    }

    /// Tells how long packets may be, if that is news.
    pub(super) fn tell_fits(&mut self, world: &mut World<'_>) {
        let probed = self.choice.route().filter(|_| self.mtu.at().is_some());
        let bytes = probed.map_or_else(mtu::usual, |route| self.mtu.fits(route.to));
        if bytes != self.fits {
            self.fits = bytes;
            world.actions.push_back(Action::Fits { peer: self.id, bytes });
        }
    }
}
