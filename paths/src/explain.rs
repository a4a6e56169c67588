//! Why a peer is reached as it is.

use std::fmt;
use std::time::Duration;

use engine::Timestamp;
use proto::control::PathKinds;

use crate::candidates::{Candidate, Origin};
use crate::evidence::Fault;
use crate::peer::Peer;
use crate::route::{Choice, Route, Rule};
use crate::select::{FRESH, is_usable};

/// How it stands with one peer.
#[derive(Clone, Debug)]
pub struct Explained {
    /// What is used.
    pub choice: Choice,
    /// For how long.
    pub since: Duration,
    /// How often it was another.
    pub changes: u32,
    /// Of a thousand packets on the way in use, those that are lost; nothing without much traffic.
    pub lost: Option<u32>,
    /// The longest packet of the host that fits the way, in bytes, as far as is known.
    pub fits: usize,
    /// How often the direct way in use is pinged while it is quiet, as was learnt.
    pub pause: Option<Duration>,
    /// The shortest silence after which a NAT on it had forgotten it.
    pub lapsed: Option<Duration>,
    /// Whether there is traffic.
    pub active: bool,
    /// What kinds of path may be used.
    pub allowed: Allowed,
    /// Packets of the host that were dropped, since there was no way for them.
    pub stuck: u64,
    /// All direct ways.
    pub candidates: Vec<ExplainedCandidate>,
}

/// By which kinds of path packets may go, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// By the network's policy.
    pub policy: PathKinds,
    /// By this node's own settings.
    pub own: Rule,
}

impl Allowed {
    /// By both.
    #[must_use]
    pub fn kinds(&self) -> PathKinds {
        self.policy.and(self.own.kinds())
    }
}

impl fmt::Display for Allowed {
    /// As `relay only, by the network's policy`; nothing if every kind is allowed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kinds, own) = (self.kinds(), self.own.kinds());
        let who = match (self.policy.is_all(), own.is_all()) {
            (true, true) => return Ok(()),
            (false, true) => "by the network's policy",
            (true, false) => "by this node's settings (nearwire up --path)",
            (false, false) => {
                "by the network's policy and this node's settings (nearwire up --path)"
            }
        };
        let only = if kinds.is_none() { "" } else { " only" };
        write!(f, "{kinds}{only}, {who}")
    }
}

/// How it stands with one direct way.
#[derive(Clone, Copy, Debug)]
pub struct ExplainedCandidate {
    /// The way.
    pub route: Route,
    /// How it became known.
    pub origin: Origin,
    /// Its round trip.
    pub rtt: Option<Duration>,
    /// Pings and pongs.
    pub pings: u32,
    /// Pongs.
    pub pongs: u32,
    /// Why it is used, or not.
    pub why: Why,
}

/// Why a way is used, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is in use.
    Used,
    /// Such ways are forbidden.
    Forbidden(Limit),
    /// It was not asked yet.
    Untried,
    /// It has never answered.
    NoAnswer,
    /// It has answered, but not for so long.
    Silent(Duration),
    /// It was in use and left, and is not used for so long.
    Barred(Fault, Duration),
    /// It had to be left, and has not proven enough yet.
    Unproven,
    /// Another way is as good or better.
    Spare,
}

/// Who forbids a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The network's policy.
    Policy,
    /// This node's settings.
    Own,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used => f.write_str("in use"),
            Self::Forbidden(Limit::Policy) => f.write_str("forbidden by the network's policy"),
            Self::Forbidden(Limit::Own) => {
                f.write_str("forbidden by this node's settings (nearwire up --path)")
            }
            Self::Untried => f.write_str("not tried yet"),
            Self::NoAnswer => f.write_str("does not answer"),
            Self::Silent(time) => write!(f, "last answered {} s ago", time.as_secs()),
            Self::Barred(fault, left) => {
                let why = match fault {
                    Fault::Died => "stopped answering",
                    Fault::Lapsed => "did not answer after it was quiet",
                    Fault::Lossy => "lost packets",
                    Fault::Moved => "is where the peer, or this host, was",
                    Fault::Blocked => "passed pings but not the tunnel",
                };
                write!(f, "{why}: not used for another {} s", left.as_secs())
            }
            Self::Unproven => f.write_str("answers again, but not for long enough"),
            Self::Spare => f.write_str("works, and is no better than the one in use"),
        }
    }
}

impl Peer {
    pub(crate) fn explain(&self, own: Rule, now: Timestamp) -> Explained {
        let allowed = Allowed { policy: self.policy(), own };
        let candidates = self.candidates.iter().map(|(route, candidate)| ExplainedCandidate {
            route,
            origin: candidate.origin,
            rtt: candidate.evidence.rtt,
            pings: candidate.evidence.asked,
            pongs: candidate.evidence.answered,
            why: self.why(route, candidate, allowed, now),
        });
        Explained {
            choice: self.choice,
            since: now - self.since,
            changes: self.changes,
            lost: self.loss.lost,
            fits: self.fits,
            pause: self.choice.is_direct().then(|| self.keepalive.pause()),
            lapsed: self.keepalive.lapsed().filter(|_| self.choice.is_direct()),
            active: self.is_active(now),
            allowed,
            stuck: self.stuck(),
            candidates: candidates.collect(),
        }
    }

    fn why(&self, route: Route, candidate: &Candidate, allowed: Allowed, now: Timestamp) -> Why {
        let evidence = &candidate.evidence;
        let barred = evidence.barred.max(self.barred);
        if self.choice == Choice::Direct(route) {
            return Why::Used;
        }
        if !allowed.policy.has(route.kind()) {
            return Why::Forbidden(Limit::Policy);
        }
        if !allowed.own.kinds().has(route.kind()) {
            return Why::Forbidden(Limit::Own);
        }
        if barred > now {
            let fault = evidence.fault.map_or(Fault::Died, |(fault, _)| fault);
            return Why::Barred(fault, barred - now);
        }
        match evidence.heard {
            _ if is_usable(evidence, self.barred, now) => Why::Spare,
            None if evidence.asked == 0 => Why::Untried,
            None => Why::NoAnswer,
            Some(at) if now - at > FRESH => Why::Silent(now - at),
            Some(_) => Why::Unproven,
        }
    }
}
