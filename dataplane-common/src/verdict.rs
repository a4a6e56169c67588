//! The verdict over one packet.

use crate::{
    Class, DropReason, FLOW_REFRESH, FRAGMENT_LIFETIME, Flow, FlowKey, Fragment, FragmentKey,
    Generation, Headers, Identity, Nanos, Opener, PacketBytes, PolicyTable, RuleIndex, RuleKey,
    Ruling, Transport, class, identity, in_own_frame, lifetime, parse, ruling,
};

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the tunnel to this host.
    In,
    /// From this host to the tunnel.
    Out,
}

/// What is remembered of earlier packets. It may forget at any time.
pub trait StateTable {
    /// The flow under `key`.
    fn flow(&self, key: &FlowKey) -> Option<Flow>;
    /// Remembers a flow in place of what was under `key`.
    fn store_flow(&mut self, key: &FlowKey, flow: Flow);
    /// The datagram under `key`.
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment>;
    /// Remembers that the first fragment of a datagram was allowed.
    fn store_fragment(&mut self, key: &FragmentKey, fragment: Fragment);
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Allow {
        /// The rule to count it for: none for what the host sends and for answers to it.
        rule: Option<RuleIndex>,
        /// Whether a remembered flow decided, without a look at the rules.
        flow_hit: bool,
    },
    /// It goes no further.
    Drop {
        /// Why.
        reason: DropReason,
        /// The rule that denies it.
        rule: Option<RuleIndex>,
    },
}

/// Judges one packet and remembers what later packets depend on.
///
/// Out: everything passes, and opens a flow of the host's or renews the flow that it belongs to.
///
/// In: an answer passes while the host's flow lives. A flow that a peer opened passes while the
/// policy that allowed it is in force; after a change the rules are asked again. A host that goes
/// on sending into a flow that a peer opened does not make it its own, so a revoked grant stays
/// revoked.
#[inline(always)]
pub fn verdict<B, P, S>(
    packet: &B,
    direction: Direction,
    now: Nanos,
    policy: &P,
    state: &mut S,
) -> Verdict
where
    B: PacketBytes + ?Sized,
    P: PolicyTable,
    S: StateTable,
{
    match (parse(packet, 0), direction) {
        (Ok(headers), Direction::In) => inbound(packet, &headers, now, policy, state),
        (Err(reason), Direction::In) => Verdict::Drop { reason, rule: None },
        (Ok(headers), Direction::Out) => outbound(&headers, now, policy, state),
        (Err(_), Direction::Out) => PASS_OUT,
    }
}

const PASS_OUT: Verdict = Verdict::Allow { rule: None, flow_hit: false };

#[inline(always)]
fn outbound<P, S>(headers: &Headers, now: Nanos, policy: &P, state: &mut S) -> Verdict
where
    P: PolicyTable,
    S: StateTable,
{
    let Some(key) = flow_key(headers, Direction::Out) else {
        return PASS_OUT;
    };
    let known =
        state.flow(&key).filter(|flow| !flow.seen.older_than(lifetime(headers.protocol), now));
    match known {
        Some(flow) => renew(&key, flow, now, state),
        None => {
            let flow = Flow::new(policy.generation(), Opener::Host, now);
            state.store_flow(&key, flow);
        }
    }
    Verdict::Allow { rule: None, flow_hit: known.is_some() }
}

#[inline(always)]
fn inbound<B, P, S>(packet: &B, headers: &Headers, now: Nanos, policy: &P, state: &mut S) -> Verdict
where
    B: PacketBytes + ?Sized,
    P: PolicyTable,
    S: StateTable,
{
    // Before any look at the tables: see `PolicyTable::generation`.
    let generation = policy.generation();
    let known = match headers.transport {
        Transport::Ports => in_own_frame(|| known_flow(headers, generation, now, state)),
        Transport::Error => in_own_frame(|| quoted_flow(packet, headers, generation, now, state)),
        Transport::LaterFragment => {
            return match in_own_frame(|| first_fragment(headers, generation, now, state)) {
                Some(opener) => Verdict::Allow { rule: rule_of(opener), flow_hit: true },
                None => Verdict::Drop { reason: DropReason::PolicyFragment, rule: None },
            };
        }
    };
    let opener = match known {
        Some(opener) => opener,
        None => {
            let rule =
                match in_own_frame(|| matching_rule(headers, policy)).map(Ruling::from_number) {
                    Some(ruling) if ruling.allows() => ruling.rule(),
                    Some(ruling) => {
                        let reason = DropReason::PolicyDenied;
                        return Verdict::Drop { reason, rule: Some(ruling.rule()) };
                    }
                    None => return Verdict::Drop { reason: DropReason::PolicyNoRule, rule: None },
                };
            in_own_frame(|| open_flow(headers, generation, rule, now, state));
            Opener::Peer(rule).to_number()
        }
    };
    if headers.fragmented {
        in_own_frame(|| remember_fragment(headers, generation, opener, now, state));
    }
    Verdict::Allow { rule: rule_of(opener), flow_hit: known.is_some() }
}

// What follows answers with numbers of openers and rules, for `in_own_frame`.

/// The opener of the flow that the packet belongs to, if that decides for it.
#[inline(always)]
fn known_flow<S: StateTable>(
    headers: &Headers,
    generation: Generation,
    now: Nanos,
    state: &mut S,
) -> Option<u64> {
    let key = flow_key(headers, Direction::In)?;
    let flow = state.flow(&key)?;
    if !passes(&flow, headers.protocol, generation, now) {
        return None;
    }
    // Only the host's own packets keep its flows alive: a peer cannot hold one open.
    if matches!(flow.opener(), Opener::Peer(_)) {
        renew(&key, flow, now, state);
    }
    Some(flow.opener().to_number())
}

#[inline(always)]
fn open_flow<S: StateTable>(
    headers: &Headers,
    generation: Generation,
    rule: RuleIndex,
    now: Nanos,
    state: &mut S,
) -> Option<u64> {
    let key = flow_key(headers, Direction::In)?;
    state.store_flow(&key, Flow::new(generation, Opener::Peer(rule), now));
    None
}

#[inline(always)]
fn matching_rule<P: PolicyTable>(headers: &Headers, policy: &P) -> Option<u64> {
    let identity = identity(policy, &headers.source);
    if identity == Identity::NONE {
        return None;
    }
    let class = class(policy, &headers.destination);
    if class == Class::NONE {
        return None;
    }
    let key =
        RuleKey { identity, class, protocol: headers.protocol, port: headers.destination_port };
    ruling(policy, &key).map(Ruling::to_number)
}

/// Whether a remembered flow decides for a packet from the tunnel.
#[inline(always)]
fn passes(flow: &Flow, protocol: u8, generation: Generation, now: Nanos) -> bool {
    match flow.opener() {
        Opener::Host => !flow.seen.older_than(lifetime(protocol), now),
        Opener::Peer(_) => flow.generation == generation,
    }
}

#[inline(always)]
fn renew<S: StateTable>(key: &FlowKey, flow: Flow, now: Nanos, state: &mut S) {
    if flow.seen.older_than(FLOW_REFRESH, now) {
        state.store_flow(key, flow.renewed(now));
    }
}

/// The opener of the flow that an ICMP error is about: of a packet that the host sent, so it passes
/// without a rule. Path MTU discovery depends on it.
#[inline(always)]
fn quoted_flow<B, S>(
    packet: &B,
    headers: &Headers,
    generation: Generation,
    now: Nanos,
    state: &S,
) -> Option<u64>
where
    B: PacketBytes + ?Sized,
    S: StateTable,
{
    let quoted = parse(packet, headers.quoted).ok()?;
    if quoted.source != headers.destination {
        return None;
    }
    let flow = state.flow(&flow_key(&quoted, Direction::Out)?)?;
    passes(&flow, quoted.protocol, generation, now).then(|| flow.opener().to_number())
}

/// The opener of the datagram that a later fragment belongs to.
#[inline(always)]
fn first_fragment<S: StateTable>(
    headers: &Headers,
    generation: Generation,
    now: Nanos,
    state: &S,
) -> Option<u64> {
    let first = state.fragment(&fragment_key(headers))?;
    let current = first.generation == generation && !first.seen.older_than(FRAGMENT_LIFETIME, now);
    current.then(|| first.opener().to_number())
}

#[inline(always)]
fn remember_fragment<S: StateTable>(
    headers: &Headers,
    generation: Generation,
    opener: u64,
    now: Nanos,
    state: &mut S,
) -> Option<u64> {
    let fragment = Fragment::new(generation, Opener::from_number(opener), now);
    state.store_fragment(&fragment_key(headers), fragment);
    None
}

#[inline(always)]
fn flow_key(headers: &Headers, direction: Direction) -> Option<FlowKey> {
    if !matches!(headers.transport, Transport::Ports) {
        return None;
    }
    let (source, destination) = (headers.source_port, headers.destination_port);
    let (host, peer, host_port, peer_port) = match direction {
        Direction::In => (headers.destination, headers.source, destination, source),
        Direction::Out => (headers.source, headers.destination, source, destination),
    };
    Some(FlowKey { host, peer, host_port, peer_port, protocol: headers.protocol, zero: [0; 3] })
}

#[inline(always)]
fn fragment_key(headers: &Headers) -> FragmentKey {
    let protocol = if headers.source.is_v4() { u32::from(headers.protocol) } else { 0 };
    FragmentKey {
        source: headers.source,
        destination: headers.destination,
        id: headers.fragment_id,
        protocol,
    }
}

#[inline(always)]
const fn rule_of(opener: u64) -> Option<RuleIndex> {
    match Opener::from_number(opener) {
        Opener::Host => None,
        Opener::Peer(rule) => Some(rule),
    }
}
