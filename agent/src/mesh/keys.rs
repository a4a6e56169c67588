//! The node's keys and settings, as they are kept: when keys change, and what is to be done then.

use anyhow::Context as _;
use engine::Timestamp;
use proto::control::{Netmap, Report};
use proto::key::{PrivateKey, PublicKey};
use proto::ticket::{SignedTicket, UnixSeconds};

use super::rotation::{self, Keys, Step};
use super::secret::Secret;
use super::state::{Identity, NextKey, Settings, State};
use super::store::Store;

/// How long the relay serves the key before, for packets that are under way to it.
const FORMER_KEY: std::time::Duration = std::time::Duration::from_secs(60);
/// How long after a renewal of the node key that failed it is tried again.
const RENEW_AGAIN: std::time::Duration = std::time::Duration::from_secs(60);
/// How long a key stays, unless a person asks: by a clock that is far ahead each new one is old.
const STAYS: std::time::Duration = std::time::Duration::from_secs(3600);

/// See the module.
pub(super) struct KeyRing {
    store: Store,
    state: State,
    /// A person wants another WireGuard key.
    asked: bool,
    former: Option<Former>,
    /// When the next WireGuard key may be made unasked.
    turn_at: Timestamp,
    /// When a renewal may be asked for.
    renew_at: Timestamp,
}

/// The WireGuard key before, while the relay still serves it.
struct Former {
    key: PublicKey,
    ticket: SignedTicket,
    until: Timestamp,
}

/// What a change of keys has others do.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) report: Report,
    /// The key that the interface uses from now on.
    pub(super) own: Option<PrivateKey>,
}

impl KeyRing {
    pub(super) const fn new(store: Store, state: State, now: Timestamp) -> Self {
        Self { store, state, asked: false, former: None, turn_at: now, renew_at: now }
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.state.settings
    }

    pub(super) const fn identity(&self) -> Option<&Identity> {
        self.state.identity.as_ref()
    }

    /// Whatever port it got, it asks for again: peers and NATs know it.
    pub(super) fn keep_port(&mut self, port: u16) {
        self.state.settings.port = port;
        self.keep();
    }

    /// The probe key; a node that is older than probes gets one.
    pub(super) fn probe_key(&mut self) -> anyhow::Result<Secret> {
        let identity = self.state.identity.as_mut().context("this node has no keys yet")?;
        if let Some(key) = &identity.probe_key {
            return Ok(key.clone());
        }
        let key = identity.probe_key.insert(Secret::generate()?).clone();
        self.keep();
        Ok(key)
    }

    /// A person wants another WireGuard key.
    pub(super) const fn ask(&mut self) {
        self.asked = true;
    }

    /// The next step towards another WireGuard key, if one is due.
    pub(super) fn turn(
        &mut self,
        netmap: &Netmap,
        wall: UnixSeconds,
        now: Timestamp,
    ) -> Option<Turn> {
        let identity = self.state.identity.as_mut()?;
        let next = identity.next_key.as_ref();
        let keys = Keys {
            key: identity.key.public_key(),
            next: next.map(|next| next.key.public_key()),
            named: next.and_then(|next| next.named),
        };
        let mut turn = Turn::default();
        match rotation::next_step(keys, &netmap.me, self.asked, wall) {
            Step::Nothing => return None,
            Step::Make if !self.asked && now < self.turn_at => return None,
            Step::Make => {
                (self.asked, self.turn_at) = (false, now + STAYS);
                let key = Secret::generate().ok()?;
                turn.report.next_key = Some(key.public_key());
                identity.next_key = Some(NextKey { key, named: None });
            }
            Step::Name => turn.report.next_key = keys.next,
            Step::Named => identity.next_key.as_mut()?.named = Some(wall),
            Step::Use => {
                identity.key = identity.next_key.take()?.key;
                let ticket = netmap.ticket.as_ref().map(|ticket| ticket.ticket);
                self.former = ticket
                    .filter(|ticket| ticket.claims().node == keys.key)
                    .map(|ticket| Former { key: keys.key, ticket, until: now + FORMER_KEY });
                turn.own = Some(identity.key.private_key().clone());
                turn.report.key = Some(identity.key.public_key());
                tracing::info!(key = %identity.key.public_key(), "another WireGuard key is used");
            }
            Step::Say => turn.report.key = Some(keys.key),
        }
        // On disk before it is used: after a crash, peers expect it already.
        self.keep();
        Some(turn)
    }

    /// Whether the key before is served no longer from now on.
    pub(super) fn drops_former(&mut self, now: Timestamp) -> bool {
        let ends = self.former.as_ref().is_some_and(|former| former.until <= now);
        if ends {
            self.former = None;
        }
        ends
    }

    /// The rights to be served by relays, with the keys that they are for; that of the key in use first.
    pub(super) fn tickets(&self, netmap: &Netmap) -> Vec<(PublicKey, SignedTicket)> {
        let relay = netmap.ticket.iter();
        let all = relay.flat_map(|relay| [Some(relay.ticket), relay.next]).flatten();
        let mut tickets: Vec<_> = all.map(|ticket| (ticket.claims().node, ticket)).collect();
        let own = self.identity().map(|identity| identity.key.public_key());
        tickets.sort_by_key(|(key, _)| Some(*key) != own);
        tickets.extend(self.former.as_ref().map(|former| (former.key, former.ticket)));
        tickets
    }

    /// The node key to ask for, if it is time. It is on disk before anybody hears of it.
    pub(super) fn renewal(
        &mut self,
        netmap: &Netmap,
        wall: UnixSeconds,
        now: Timestamp,
    ) -> Option<Secret> {
        if now < self.renew_at || !rotation::wants_node_key(&netmap.me, wall) {
            return None;
        }
        self.renew_at = now + RENEW_AGAIN;
        let identity = self.state.identity.as_mut()?;
        // One whose answer was lost may be known already: it is asked for again, not replaced.
        if identity.next_node_key.is_none() {
            identity.next_node_key = Some(Secret::generate().ok()?);
        }
        let key = identity.next_node_key.clone();
        self.keep();
        key
    }

    /// The control plane knows the node by this node key.
    pub(super) fn renewed(&mut self, key: Secret) {
        let Some(identity) = &mut self.state.identity else { return };
        identity.node_key = key;
        identity.next_node_key = None;
        self.renew_at = self.renew_at + STAYS;
        self.keep();
        tracing::info!("the node key is renewed");
    }

    fn keep(&self) {
        if let Err(error) = self.store.keep_state(&self.state) {
            tracing::error!("keys and settings are not kept: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::store::tests::Directory;
    use crate::mesh::wanted::tests::netmap;

    const NOW: Timestamp = Timestamp::from_epoch(std::time::Duration::from_secs(1000));

    fn ring(store: &Store) -> KeyRing {
        let state = store.state().unwrap();
        let identity = state.identity.clone().or_else(|| Identity::generate().ok());
        KeyRing::new(store.clone(), State { identity, ..state }, NOW)
    }

    fn node_key(ring: &KeyRing) -> &Secret {
        &ring.identity().unwrap().node_key
    }

    #[test]
    fn a_clock_that_is_far_ahead_changes_keys_seldom() {
        const AHEAD: UnixSeconds = UnixSeconds(1 << 40);
        let directory = Directory::new("clock");
        let mut ring = ring(&Store::open(&directory.0).unwrap());
        let mut netmap = netmap(&[]);
        netmap.me.key = ring.identity().unwrap().key.public_key();
        (netmap.me.rotate, netmap.me.expires) = (Some(UnixSeconds(10)), Some(UnixSeconds(10)));
        let next = ring.turn(&netmap, AHEAD, NOW).unwrap().report.next_key;
        netmap.me.next_key = next;
        assert!(ring.turn(&netmap, AHEAD, NOW).unwrap().own.is_none(), "it is named");
        let later = UnixSeconds(AHEAD.0 + 10);
        assert!(ring.turn(&netmap, later, NOW).unwrap().own.is_some());
        (netmap.me.key, netmap.me.next_key) = (next.unwrap(), None);
        assert!(ring.turn(&netmap, later, NOW + STAYS / 2).is_none());
        assert!(ring.turn(&netmap, later, NOW + STAYS).is_some());

        let key = ring.renewal(&netmap, AHEAD, NOW).unwrap();
        ring.renewed(key);
        assert_eq!(ring.renewal(&netmap, AHEAD, NOW + STAYS / 2), None);
        assert!(ring.renewal(&netmap, AHEAD, NOW + STAYS + RENEW_AGAIN).is_some());
    }

    #[test]
    fn a_node_key_that_was_asked_for_is_kept_until_it_is_known_to_be_used() {
        let directory = Directory::new("keys");
        let store = Store::open(&directory.0).unwrap();
        let mut ring = ring(&store);
        let mut netmap = netmap(&[]);
        assert_eq!(ring.renewal(&netmap, UnixSeconds(0), NOW), None);
        netmap.me.expires = Some(UnixSeconds(10));
        let first = ring.renewal(&netmap, UnixSeconds(0), NOW).unwrap();
        assert_ne!(&first, node_key(&ring));
        assert_eq!(ring.renewal(&netmap, UnixSeconds(0), NOW), None, "it is asked for already");
        // A crash: the next daemon has both keys, and asks for the same again.
        let mut again = self::ring(&store);
        assert_eq!(again.identity().unwrap().next_node_key.as_ref(), Some(&first));
        assert_eq!(node_key(&again), node_key(&ring));
        assert_eq!(again.renewal(&netmap, UnixSeconds(0), NOW + RENEW_AGAIN).unwrap(), first);
        again.renewed(first.clone());
        let last = self::ring(&store);
        assert_eq!((node_key(&last), &last.identity().unwrap().next_node_key), (&first, &None));
    }

    #[test]
    fn a_wireguard_key_is_on_disk_before_it_is_used() {
        let directory = Directory::new("turns");
        let store = Store::open(&directory.0).unwrap();
        let mut ring = ring(&store);
        let mut netmap = netmap(&[]);
        netmap.me.key = ring.identity().unwrap().key.public_key();
        ring.ask();
        let next = ring.turn(&netmap, UnixSeconds(0), NOW).unwrap().report.next_key;
        netmap.me.next_key = next;
        assert!(ring.turn(&netmap, UnixSeconds(0), NOW).unwrap().own.is_none());
        let turn = ring.turn(&netmap, UnixSeconds(9), NOW).unwrap();
        assert_eq!(turn.report.key, next);
        let kept = store.state().unwrap().identity.unwrap();
        assert_eq!(Some(kept.key.public_key()), next);
        assert_eq!(turn.own.as_ref(), Some(kept.key.private_key()));
    }
}
