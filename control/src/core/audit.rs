//! The audit log: each entry holds the hash of the one before, so that none can be changed, taken
//! out or put in without all that follow.

use proto::ticket::UnixSeconds;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

const CONTEXT: &[u8] = b"nearwire audit v1\0";

/// The hash of an entry and, by it, of all before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Link(pub [u8; 32]);

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// By whom: `token:ID`, `node:ID`, `key:ID`, `local`, `server`.
    pub actor: String,
    /// What: `node.approve`.
    pub action: &'static str,
    /// To what.
    pub subject: String,
    /// How, as JSON. Never a secret.
    pub detail: serde_json::Value,
}

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which log: a network's id, or `server`.
    pub chain: String,
    /// Its number there, from one.
    pub number: u64,
    /// When.
    pub at: UnixSeconds,
    /// By whom.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub subject: String,
    /// How, as JSON text: hashed as it stands.
    pub detail: String,
    /// The entry before.
    pub previous: Link,
    /// This one.
    pub hash: Link,
}

/// Where a log is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A number is missing or there twice.
    #[error("log {chain}: entry {found} stands where entry {expected} should: some are missing")]
    Number {
        /// Which log.
        chain: String,
        /// What should be there.
        expected: u64,
        /// What is.
        found: u64,
    },
    /// An entry is not what was written.
    #[error("log {chain}: entry {number} was changed, or one before it")]
    Hash {
        /// Which log.
        chain: String,
        /// Which entry.
        number: u64,
    },
    /// The end is missing.
    #[error("log {chain}: it ends at entry {found}, but {expected} were written")]
    Short {
        /// Which log.
        chain: String,
        /// How many were written.
        expected: u64,
        /// How many there are.
        found: u64,
    },
}

impl Entry {
    /// The entry after `previous`, the last of the log.
    #[must_use]
    pub fn after(chain: &str, number: u64, previous: Link, at: UnixSeconds, act: Act) -> Self {
        let mut entry = Self {
            chain: chain.to_owned(),
            number,
            at,
            actor: act.actor,
            action: act.action.to_owned(),
            subject: act.subject,
            detail: act.detail.to_string(),
            previous,
            hash: Link::default(),
        };
        entry.hash = entry.link();
        entry
    }

    fn link(&self) -> Link {
        let mut context = Context::new(&SHA256);
        context.update(CONTEXT);
        context.update(&self.previous.0);
        context.update(&self.number.to_be_bytes());
        context.update(&self.at.0.to_be_bytes());
        for text in [&self.chain, &self.actor, &self.action, &self.subject, &self.detail] {
            // The length keeps two fields from being read as others.
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        let mut link = [0; 32];
        link.copy_from_slice(context.finish().as_ref());
        Link(link)
    }
}

/// Goes through one log, from its first entry.
#[derive(Default)]
pub struct Walk {
    number: u64,
    last: Link,
}

impl Walk {
    /// The next entry.
    pub fn step(&mut self, entry: &Entry) -> Result<(), Broken> {
        let (chain, expected) = (entry.chain.clone(), self.number + 1);
        if entry.number != expected {
            return Err(Broken::Number { chain, expected, found: entry.number });
        }
        if entry.previous != self.last || entry.hash != entry.link() {
            return Err(Broken::Hash { chain, number: entry.number });
        }
        (self.number, self.last) = (entry.number, entry.hash);
        Ok(())
    }

    /// The end, where `number` and `last` are what the log's head says.
    pub fn end(&self, chain: &str, number: u64, last: Link) -> Result<u64, Broken> {
        let chain = chain.to_owned();
        if self.number != number {
            return Err(Broken::Short { chain, expected: number, found: self.number });
        }
        if self.last != last {
            return Err(Broken::Hash { chain, number });
        }
        Ok(number)
    }
}

impl From<Link> for String {
    fn from(link: Link) -> Self {
        hex::encode(link.0)
    }
}

impl TryFrom<String> for Link {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut link = [0; 32];
        hex::decode_to_slice(text, &mut link)?;
        Ok(Self(link))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(length: u64) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for number in 1..=length {
            let previous = entries.last().map_or_else(Link::default, |entry| entry.hash);
            let act = Act {
                actor: "token:1".to_owned(),
                action: "node.approve",
                subject: format!("n{number}"),
                detail: json!({ "number": number }),
            };
            entries.push(Entry::after("home", number, previous, UnixSeconds(number), act));
        }
        entries
    }

    fn verify(entries: &[Entry], written: &[Entry]) -> Result<u64, Broken> {
        let mut walk = Walk::default();
        entries.iter().try_for_each(|entry| walk.step(entry))?;
        let head = written.last().unwrap();
        walk.end("home", head.number, head.hash)
    }

    #[test]
    fn every_change_is_found() {
        let written = log(5);
        assert_eq!(verify(&written, &written), Ok(5));
        let changes: [fn(&mut Entry); 6] = [
            |entry| entry.actor.push('x'),
            |entry| entry.action.push('x'),
            |entry| entry.subject.push('x'),
            |entry| entry.detail.push(' '),
            |entry| entry.at.0 += 1,
            |entry| entry.previous.0[0] ^= 1,
        ];
        for change in changes {
            let mut entries = written.clone();
            change(&mut entries[2]);
            let hash = Broken::Hash { chain: "home".to_owned(), number: 3 };
            assert_eq!(verify(&entries, &written), Err(hash.clone()));
            // Also if its own hash was made anew, by who follows.
            entries[2].hash = entries[2].link();
            assert!(verify(&entries, &written).is_err());
        }
    }

    #[test]
    fn what_is_missing_is_found() {
        let written = log(5);
        let mut hole = written.clone();
        hole.remove(1);
        assert!(matches!(verify(&hole, &written), Err(Broken::Number { expected: 2, .. })));
        assert!(matches!(verify(&written[..4], &written), Err(Broken::Short { found: 4, .. })));
    }
}
