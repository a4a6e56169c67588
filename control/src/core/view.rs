//! What one node is told: everything at first, then what it does not know yet.

mod peers;

use std::collections::BTreeMap;

use proto::control::{
    Delta, End, EndReason, Frame, Me, NodeId, PathKinds, RelayTicket, Relaying, Snapshot,
};
use proto::ticket::{ControlKeyId, SigningKey, Ticket, UnixSeconds, VerifyingKey};
use serde_json::value::RawValue;

use super::filters::{FilterNews, Known};
use super::node::Node;
use super::peer_set::PeerSet;
use super::rule_book::KnownBook;
use super::tenant::{Due, Tenant, Unwritable};
use super::ticket_keys::TicketKeys;
use peers::{paths, peers, relaying};

/// How long a relay ticket is good, in seconds.
pub const TICKET_LASTS: u64 = 3600;
/// How long before its end another one is sent.
const TICKET_AHEAD: u64 = 1800;

/// No ticket outlives the node key for which it is.
fn ticket_end(node: &Node, now: UnixSeconds) -> UnixSeconds {
    let end = UnixSeconds(now.0.saturating_add(TICKET_LASTS));
    node.expires.map_or(end, |expires| expires.min(end))
}

/// Signs relay tickets.
pub struct TicketKey {
    /// Its number, by which relays know it.
    pub id: ControlKeyId,
    /// The key.
    pub key: SigningKey,
}

/// What a node has been told.
#[derive(Clone, Debug)]
pub struct Told {
    revision: u64,
    peers: PeerSet,
    me: Me,
    relaying: BTreeMap<NodeId, Relaying>,
    /// Of the peers with which not every kind of path is allowed.
    paths: BTreeMap<NodeId, PathKinds>,
    filter: Known,
    book: KnownBook,
    ticket_until: UnixSeconds,
    /// By which key the node proves itself, as its ticket has it.
    identity: VerifyingKey,
}

impl Told {
    /// The state that it has been told of.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The node is away: what is kept for it shall be small.
    pub fn rest(&mut self) {
        self.filter.rest();
        self.book.rest();
    }

    /// Whether it needs another ticket by now, and that would be good for longer.
    fn wants_ticket(&self, node: &Node, now: UnixSeconds) -> bool {
        let ends_soon = self.ticket_until.0 < now.0.saturating_add(TICKET_AHEAD);
        ends_soon && self.ticket_until < ticket_end(node, now)
    }
}

impl TicketKey {
    /// The right of a node to be served by relays.
    #[must_use]
    pub fn issue(&self, tenant: &Tenant, node: &Node, now: UnixSeconds) -> RelayTicket {
        let ticket = |key| Ticket {
            network: tenant.network().id,
            node: key,
            identity: node.node_key,
            not_after: ticket_end(node, now),
            node_rate: 0,
            network_rate: 0,
            lanes: 0,
        };
        let sign = |key| ticket(key).sign(self.id, &self.key);
        RelayTicket { ticket: sign(node.key), next: node.next_key.map(sign) }
    }
}

/// The next line for a node, without its end; nothing if it knows everything. `told` is what it
/// knows, and becomes what it will.
pub fn next_line(
    tenant: &Tenant,
    id: NodeId,
    told: &mut Option<Told>,
    due: &Due,
    tickets: &TicketKeys,
    now: UnixSeconds,
) -> Result<Option<Vec<u8>>, Unwritable> {
    let Some(seat) = tenant.seat_of(id) else {
        return tenant_line(tenant, &Frame::end(EndReason::Revoked)).map(Some);
    };
    if seat.node.is_expired(now) {
        return tenant_line(tenant, &Frame::end(EndReason::Expired)).map(Some);
    }
    match told {
        None => {
            let (line, now_told) = snapshot(tenant, &seat.node, tickets, now)?;
            *told = Some(now_told);
            Ok(Some(line))
        }
        Some(told) => delta(tenant, &seat.node, told, due, tickets, now),
    }
}

fn snapshot(
    tenant: &Tenant,
    node: &Node,
    tickets: &TicketKeys,
    now: UnixSeconds,
) -> Result<(Vec<u8>, Told), Unwritable> {
    let mut peers = PeerSet::default();
    let neighbours = tenant.neighbours(node.id);
    let seats: Vec<_> = neighbours.iter().filter_map(|id| tenant.seat_of(*id)).collect();
    for seat in &seats {
        peers.insert(seat.slot);
    }
    let filter = tenant.filter(node.id).unwrap_or_default();
    let written = tenant.written(&filter)?;
    let me = node.as_me(tenant.plan(), tenant.key_lifetime(), || tickets.public());
    let ticket = node.is_served().then(|| tickets.at(now).issue(tenant, node, now));
    let heard = seats.iter().map(|seat| tenant.heard(seat, tenant.hides(node.id, seat.node.id)));
    let heard = heard.collect::<Result<_, _>>()?;
    let mut told = Told {
        revision: tenant.revision(),
        peers,
        me: me.clone(),
        relaying: BTreeMap::new(),
        paths: BTreeMap::new(),
        filter: Known::Here(filter),
        book: KnownBook::of(tenant.rules()),
        ticket_until: ticket_end(node, now),
        identity: node.node_key,
    };
    let due = Due::everything();
    let relaying = relaying(tenant, node.id, &mut told.relaying, &due);
    let paths = paths(tenant, node.id, &mut told, &due);
    let snapshot = Snapshot {
        revision: tenant.revision(),
        network: tenant.network().clone(),
        me,
        peers: heard,
        regions: tenant.regions().to_vec(),
        relaying,
        paths,
        ticket,
        filter: &*written,
        rules: tenant.rules().whole(told.filter.rules()),
        dns: tenant.dns(),
    };
    let frame = Frame { snapshot: Some(snapshot), delta: None, end: None };
    Ok((tenant_line(tenant, &frame)?, told))
}

fn delta(
    tenant: &Tenant,
    node: &Node,
    told: &mut Told,
    due: &Due,
    tickets: &TicketKeys,
    now: UnixSeconds,
) -> Result<Option<Vec<u8>>, Unwritable> {
    let (peers, gone) = peers(tenant, node.id, told, due)?;
    let relaying = relaying(tenant, node.id, &mut told.relaying, due);
    let paths = paths(tenant, node.id, told, due);
    let me = node.as_me(tenant.plan(), tenant.key_lifetime(), || tickets.public());
    let me_changed = me != told.me;
    let rules_before = told.filter.rules().to_vec();
    let (filter, filter_edit) = match due.all || due.filter {
        true => filter(tenant, node.id, &mut told.filter)?,
        false => (None, None),
    };
    let rules = told.book.become_book(tenant.rules(), told.filter.rules(), &rules_before);
    let regions = tenant.regions_since() > told.revision;
    let network = tenant.network_since() > told.revision;
    let keys = |me: &Me| (me.key, me.next_key, me.standing);
    let wants_ticket = told.wants_ticket(node, now)
        || keys(&me) != keys(&told.me)
        || node.node_key != told.identity;
    let ticket =
        (wants_ticket && node.is_served()).then(|| tickets.at(now).issue(tenant, node, now));
    let base = told.revision;
    told.revision = tenant.revision();
    let nothing = peers.is_empty()
        && gone.is_empty()
        && !me_changed
        && filter.is_none()
        && filter_edit.is_none()
        && rules.is_none()
        && !regions
        && relaying.is_empty()
        && paths.is_empty()
        && !network
        && ticket.is_none();
    if nothing {
        // The node's own revision stays, so the next delta has to begin there.
        told.revision = base;
        return Ok(None);
    }
    if ticket.is_some() {
        told.ticket_until = ticket_end(node, now);
    }
    let delta = Delta {
        base,
        revision: tenant.revision(),
        peers,
        gone,
        network: network.then(|| tenant.network().clone()),
        me: me_changed.then(|| me.clone()),
        regions: regions.then(|| tenant.regions().to_vec()),
        relaying,
        paths,
        ticket,
        filter: filter.as_deref(),
        filter_edit: filter_edit.as_deref(),
        rules,
        dns: None,
    };
    (told.me, told.identity) = (me, node.node_key);
    let frame = Frame { snapshot: None, delta: Some(delta), end: None::<End> };
    tenant_line(tenant, &frame).map(Some)
}

/// The filter or what has changed of it, if anything has.
fn filter(tenant: &Tenant, id: NodeId, known: &mut Known) -> Result<Parts, Unwritable> {
    let now = tenant.filter(id).unwrap_or_default();
    let news = known.become_filter(now, tenant.differences());
    Ok(match news.map_err(|error| tenant.unwritable(&error))? {
        None => (None, None),
        Some(FilterNews::Whole(whole)) => (Some(whole), None),
        Some(FilterNews::Edit(edit)) => (None, Some(edit)),
    })
}

type Parts = (Option<Box<RawValue>>, Option<Box<RawValue>>);

fn tenant_line(
    tenant: &Tenant,
    frame: &Frame<&RawValue, &RawValue, &RawValue>,
) -> Result<Vec<u8>, Unwritable> {
    tenant.written(frame).map(|text| Box::<str>::from(text).into_string().into_bytes())
}

#[cfg(test)]
pub(super) mod tests;
