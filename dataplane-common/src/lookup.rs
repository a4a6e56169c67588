//! How the tables of a policy are looked up.

use crate::{
    Address, Class, ExactKey, FlowKey, Found, Generation, Identity, Opener, Ports, RuleIndex,
    RuleKey, Ruling, SIGNPOST, TablePrefix, Traffic,
};

/// The tables of a policy in force. All that one value answers is of one policy.
pub trait PolicyTable {
    /// The number of the policy.
    fn generation(&self) -> Generation;
    /// What the hash has under a key.
    fn exact(&self, key: &ExactKey) -> Option<Found>;
    /// Has the memory fetched in which a key may be, for a look-up that comes soon.
    fn fetch(&self, _key: &ExactKey) {}
    /// The value of the longest prefix of this one.
    fn longest(&self, prefix: &TablePrefix) -> Option<u32>;
    /// Counts what a rule decided; who only asks has nothing to count.
    fn count(&self, _rule: RuleIndex, _traffic: Traffic) {}
}

/// What the tables say of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the source.
    pub identity: Identity,
    /// Of the destination; looked up only for a source with an identity.
    pub class: Class,
    /// What the rules say, if one speaks of it.
    pub ruling: Option<Ruling>,
}

/// Looks up a flow that one side opens.
#[inline(always)]
pub fn consult<P: PolicyTable>(policy: &P, key: &FlowKey, opener: Opener) -> Answer {
    let (source, destination, port) = match opener {
        Opener::Host => (&key.host, &key.peer, key.peer_port()),
        Opener::Peer => (&key.peer, &key.host, key.host_port()),
    };
    let source = known(policy, source);
    let identity = source.identity();
    if identity == Identity::NONE {
        return Answer { identity, class: Class::NONE, ruling: None };
    }
    let class = class(policy, destination);
    if class == Class::NONE {
        return Answer { identity, class, ruling: None };
    }
    let key = RuleKey { identity, class, protocol: key.protocol(), port };
    Answer { identity, class, ruling: ruling(policy, &key, &source) }
}

/// Who opens a flow with this key, as the hash knows hosts.
#[inline(always)]
pub(crate) fn source_key(key: &FlowKey, opener: Opener) -> ExactKey {
    match opener {
        Opener::Host => ExactKey::identity(&key.host),
        Opener::Peer => ExactKey::identity(&key.peer),
    }
}

/// What is known of a source.
#[inline(always)]
fn known<P: PolicyTable>(policy: &P, source: &Address) -> Found {
    match policy.exact(&ExactKey::identity(source)) {
        Some(found) => found,
        None => match policy.longest(&TablePrefix::identity(*source, 128)) {
            Some(identity) => Found::source(Identity(identity)),
            None => Found::NOTHING,
        },
    }
}

/// The class of a destination.
#[inline(always)]
fn class<P: PolicyTable>(policy: &P, destination: &Address) -> Class {
    match policy.exact(&ExactKey::class(destination)) {
        Some(Found { value, .. }) => Class((value & 0xffff_ffff) as u32),
        None => match policy.longest(&TablePrefix::class(*destination, 128)) {
            Some(class) => Class(class),
            None => Class::NONE,
        },
    }
}

/// What the rules say of this, for a source of which this is known.
#[inline(always)]
fn ruling<P: PolicyTable>(policy: &P, key: &RuleKey, source: &Found) -> Option<Ruling> {
    let ports = match source.beside(key.class, key.protocol) {
        Some(ports) => ports,
        None => Ports(policy.exact(&ExactKey::ports(key))?.value),
    };
    let Some(mut span) = ports.span() else {
        return ports.ruling(key.port);
    };
    let mut found = None;
    let mut step = || -> Option<()> {
        let length = span.middle()?;
        match policy.exact(&ExactKey::port(key, length)) {
            Some(Found { value: SIGNPOST, .. }) => span.go_longer(length),
            Some(ruling) => {
                found = Some(ruling.value);
                return None;
            }
            None => span.go_shorter(length),
        }
        Some(())
    };
    // Sixteen lengths take five steps. Spelled out: Linux 6.1 refuses a loop whose head follows a
    // call.
    let _ = step()
        .and_then(|()| step())
        .and_then(|()| step())
        .and_then(|()| step())
        .and_then(|()| step());
    found.map(Ruling::from_number)
}
