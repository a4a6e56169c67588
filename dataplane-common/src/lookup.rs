//! How the tables of a policy are looked up.

use crate::{
    Address, Class, ExactKey, FlowKey, Generation, Identity, Opener, Ports, RuleKey, Ruling,
    SIGNPOST, TablePrefix,
};

/// The tables of a policy in force. All that one value answers is of one policy.
pub trait PolicyTable {
    /// The number of the policy.
    fn generation(&self) -> Generation;
    /// The value under just this key.
    fn exact(&self, key: &ExactKey) -> Option<u64>;
    /// The value of the longest prefix of this one.
    fn longest(&self, prefix: &TablePrefix) -> Option<u32>;
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
    let identity = identity(policy, source);
    if identity == Identity::NONE {
        return Answer { identity, class: Class::NONE, ruling: None };
    }
    let class = class(policy, destination);
    if class == Class::NONE {
        return Answer { identity, class, ruling: None };
    }
    let key = RuleKey { identity, class, protocol: key.protocol(), port };
    Answer { identity, class, ruling: ruling(policy, &key) }
}

/// The identity of a source.
#[inline(always)]
fn identity<P: PolicyTable>(policy: &P, source: &Address) -> Identity {
    match policy.exact(&ExactKey::identity(source)) {
        Some(identity) => Identity((identity & 0xffff_ffff) as u32),
        None => match policy.longest(&TablePrefix::identity(*source, 128)) {
            Some(identity) => Identity(identity),
            None => Identity::NONE,
        },
    }
}

/// The class of a destination.
#[inline(always)]
fn class<P: PolicyTable>(policy: &P, destination: &Address) -> Class {
    match policy.exact(&ExactKey::class(destination)) {
        Some(class) => Class((class & 0xffff_ffff) as u32),
        None => match policy.longest(&TablePrefix::class(*destination, 128)) {
            Some(class) => Class(class),
            None => Class::NONE,
        },
    }
}

/// What the rules say of this.
#[inline(always)]
fn ruling<P: PolicyTable>(policy: &P, key: &RuleKey) -> Option<Ruling> {
    let ports = Ports(policy.exact(&ExactKey::ports(key))?);
    let Some(mut span) = ports.span() else {
        return ports.ruling(key.port);
    };
    let mut found = None;
    let mut step = || -> Option<()> {
        let length = span.middle()?;
        match policy.exact(&ExactKey::port(key, length)) {
            Some(SIGNPOST) => span.go_longer(length),
            Some(ruling) => {
                found = Some(ruling);
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
