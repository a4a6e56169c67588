//! Challenges and the bearer tokens of nodes. Both are checked by a MAC alone, so every instance
//! knows those of every other; what they open is then looked up.
//!
//! The key of the MAC is another every day. Keys of before tell an old token from a forged one, but who
//! got hold of one can make no token that is good for longer than its own tokens were.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use proto::control::NodeId;
use proto::ticket::{NetworkId, UnixSeconds};
use ring::hmac;
use zeroize::Zeroizing;

/// How long a challenge is good, in seconds.
pub const CHALLENGE_LASTS: u64 = 60;
/// How long a session is good, in seconds.
pub const SESSION_LASTS: u64 = 3600;

const MAC_LEN: usize = 32;

/// How long a key makes tokens, in seconds.
const KEY_LASTS: u64 = 24 * 3600;
/// How long before its time a key is there, so that all instances have it, in seconds.
const KEY_LEAD: u64 = 300;
/// Keys that are kept.
const KEYS: usize = 31;
/// The length of a key's secret, in bytes.
pub const SECRET_LEN: usize = 32;

/// The keys, by which they are made and checked. There is always one.
pub struct SessionKeys {
    first: SessionKey,
    /// By their time.
    later: Vec<SessionKey>,
}

struct SessionKey {
    /// Since when it makes tokens.
    from: UnixSeconds,
    key: hmac::Key,
}

/// Whose session it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The network.
    pub network: NetworkId,
    /// The node.
    pub node: NodeId,
    /// When it ends.
    pub until: UnixSeconds,
}

/// A key as it lies in the database: since when, and the secret. One that was always there is the secret
/// alone.
fn entries(bytes: &[u8]) -> Option<Vec<(UnixSeconds, &[u8])>> {
    if bytes.len() == SECRET_LEN {
        return Some(vec![(UnixSeconds(0), bytes)]);
    }
    let (entries, rest) = bytes.as_chunks::<{ 8 + SECRET_LEN }>();
    let entry = |entry: &[u8; 8 + SECRET_LEN]| UnixSeconds(u64::from_be_bytes(part(entry, 0)));
    rest.is_empty().then(|| entries.iter().map(|bytes| (entry(bytes), &bytes[8..])).collect())
}

/// What is kept in place of these keys when the time for another one has come, with its secret; nothing
/// before.
#[must_use]
pub fn with_next_key(
    kept: &[u8],
    now: UnixSeconds,
    secret: &[u8; SECRET_LEN],
) -> Option<Zeroizing<Vec<u8>>> {
    let entries = entries(kept)?;
    let (last, _) = entries.last()?;
    if now.0 < last.0.saturating_add(KEY_LASTS) {
        return None;
    }
    let next = UnixSeconds(now.0.saturating_add(KEY_LEAD));
    let fresh = entries.iter().copied().skip((entries.len() + 1).saturating_sub(KEYS));
    let mut bytes = Zeroizing::new(Vec::new());
    for (from, secret) in fresh.chain([(next, &secret[..])]) {
        bytes.extend_from_slice(&from.0.to_be_bytes());
        bytes.extend_from_slice(secret);
    }
    Some(bytes)
}

impl SessionKeys {
    /// The keys as they are kept; nothing of what are none.
    #[must_use]
    pub fn read(kept: &[u8]) -> Option<Self> {
        let key =
            |(from, secret)| SessionKey { from, key: hmac::Key::new(hmac::HMAC_SHA256, secret) };
        let mut keys = entries(kept)?.into_iter().map(key);
        Some(Self { first: keys.next()?, later: keys.collect() })
    }

    /// Something for a node to sign. The random bytes keep two of one second apart.
    #[must_use]
    pub fn challenge(&self, node: NodeId, now: UnixSeconds, random: [u8; 16]) -> String {
        let until = now.0.saturating_add(CHALLENGE_LASTS);
        self.protect(now, &[&b"C"[..], &node.0, &until.to_be_bytes(), &random].concat())
    }

    /// Whether this was made for the node, a short while ago.
    #[must_use]
    pub fn is_challenge(&self, text: &str, node: NodeId, now: UnixSeconds) -> bool {
        let Some((body, end)) = self.open::<41>(text) else { return false };
        let until = u64::from_be_bytes(part(&body, 17));
        let is_live = now.0 < until && until <= end.0.saturating_add(CHALLENGE_LASTS);
        body[0] == b'C' && body[1..17] == node.0 && is_live
    }

    /// The token of a session that begins now.
    #[must_use]
    pub fn session(&self, network: NetworkId, node: NodeId, now: UnixSeconds) -> String {
        let until = now.0.saturating_add(SESSION_LASTS);
        self.protect(now, &[&b"S"[..], &network.0, &node.0, &until.to_be_bytes()].concat())
    }

    /// The session of a token, if it has not ended.
    #[must_use]
    pub fn find(&self, text: &str, now: UnixSeconds) -> Option<Session> {
        let (body, end) = self.open::<41>(text)?;
        let until = UnixSeconds(u64::from_be_bytes(part(&body, 33)));
        let session =
            Session { network: NetworkId(part(&body, 1)), node: NodeId(part(&body, 17)), until };
        let is_live = now < until && until.0 <= end.0.saturating_add(SESSION_LASTS);
        (body[0] == b'S' && is_live).then_some(session)
    }

    fn protect(&self, now: UnixSeconds, body: &[u8]) -> String {
        let begun = self.later.iter().rev().find(|key| key.from <= now).unwrap_or(&self.first);
        let mac = hmac::sign(&begun.key, body);
        BASE64_URL_SAFE_NO_PAD.encode([body, mac.as_ref()].concat())
    }

    /// What is protected, and when the key ended that did it.
    fn open<const LEN: usize>(&self, text: &str) -> Option<([u8; LEN], UnixSeconds)> {
        if text.len() > (LEN + MAC_LEN).div_ceil(3) * 4 {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, mac) = bytes.split_first_chunk::<LEN>()?;
        let mut end = UnixSeconds(u64::MAX);
        for SessionKey { from, key } in self.later.iter().rev().chain([&self.first]) {
            if hmac::verify(key, body, mac).is_ok() {
                return Some((*body, end));
            }
            end = *from;
        }
        None
    }
}

/// `at` is a place in a layout above, so that many bytes are there.
fn part<const LEN: usize>(body: &[u8], at: usize) -> [u8; LEN] {
    let mut part = [0; LEN];
    part.copy_from_slice(&body[at..at + LEN]);
    part
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NETWORK: NetworkId = NetworkId([1; 16]);
    const NODE: NodeId = NodeId([2; 16]);

    fn keys(seed: u8) -> SessionKeys {
        SessionKeys::read(&[seed; SECRET_LEN]).unwrap()
    }

    #[test]
    fn each_day_has_its_key_and_what_the_one_before_made_is_good_until_its_end() {
        let day = |number: u64| UnixSeconds(number * KEY_LASTS);
        let first = [1; SECRET_LEN];
        assert!(with_next_key(&first, UnixSeconds(KEY_LASTS - 1), &[2; 32]).is_none());
        let two = with_next_key(&first, day(1), &[2; 32]).unwrap();
        assert!(with_next_key(&two, day(2), &[3; 32]).is_none(), "it has been used for less");
        let (old, both) = (keys(1), SessionKeys::read(&two).unwrap());
        // Until its time comes, what is made is known to who has not heard of the new key.
        let early = UnixSeconds(day(1).0 + KEY_LEAD - 1);
        let token = both.session(NETWORK, NODE, early);
        assert!(old.find(&token, early).is_some());
        let late = UnixSeconds(early.0 + 1);
        assert!(old.find(&both.session(NETWORK, NODE, late), late).is_none());
        assert!(both.find(&both.session(NETWORK, NODE, late), late).is_some());
        assert!(both.find(&token, UnixSeconds(early.0 + SESSION_LASTS - 1)).is_some());
        let challenge = old.challenge(NODE, early, [7; 16]);
        assert!(both.is_challenge(&challenge, NODE, late));
        // Who has got hold of the old key makes nothing that is good after that.
        let forged = old.session(NETWORK, NODE, UnixSeconds(late.0 + 1));
        assert_eq!(both.find(&forged, UnixSeconds(late.0 + 1)), None);
        assert!(!both.is_challenge(
            &old.challenge(NODE, UnixSeconds(late.0 + 1), [7; 16]),
            NODE,
            late
        ));
    }

    #[test]
    fn so_many_keys_are_kept_and_no_more() {
        let mut kept = Zeroizing::new(vec![0; SECRET_LEN]);
        for number in 1..100_u8 {
            let now = UnixSeconds(u64::from(number) * 2 * KEY_LASTS);
            kept = with_next_key(&kept, now, &[number; SECRET_LEN]).unwrap();
            assert!(kept.len() <= KEYS * (8 + SECRET_LEN));
        }
        let read = SessionKeys::read(&kept).unwrap();
        assert_eq!(read.later.len() + 1, KEYS);
        for none in [0, 1, SECRET_LEN - 1, SECRET_LEN + 1, 8 + SECRET_LEN + 1] {
            assert!(SessionKeys::read(&vec![0; none]).is_none(), "{none} bytes");
        }
    }

    #[test]
    fn a_session_is_good_until_it_ends_and_with_its_key() {
        let key = keys(1);
        let token = key.session(NETWORK, NODE, UnixSeconds(100));
        let until = UnixSeconds(100 + SESSION_LASTS);
        let session = Session { network: NETWORK, node: NODE, until };
        assert_eq!(key.find(&token, UnixSeconds(until.0 - 1)), Some(session));
        assert_eq!(key.find(&token, until), None);
        assert_eq!(keys(2).find(&token, UnixSeconds(100)), None);
        assert!(!key.is_challenge(&token, NODE, UnixSeconds(100)));
    }

    #[test]
    fn a_challenge_is_for_one_node_for_a_minute() {
        let key = keys(1);
        let challenge = key.challenge(NODE, UnixSeconds(100), [7; 16]);
        assert!(key.is_challenge(&challenge, NODE, UnixSeconds(159)));
        assert!(!key.is_challenge(&challenge, NODE, UnixSeconds(160)));
        assert!(!key.is_challenge(&challenge, NodeId([3; 16]), UnixSeconds(100)));
        assert_eq!(key.find(&challenge, UnixSeconds(100)), None);
    }

    proptest! {
        #[test]
        fn nothing_else_opens(text in ".{0,120}", at in 0usize..90, flip in 1u8..=255) {
            let key = keys(1);
            prop_assert_eq!(key.find(&text, UnixSeconds(0)), None);
            let mut token = key.session(NETWORK, NODE, UnixSeconds(0)).into_bytes();
            let at = at % token.len();
            token[at] ^= flip;
            if let Ok(token) = String::from_utf8(token) {
                prop_assert_eq!(key.find(&token, UnixSeconds(0)), None);
            }
        }
    }
}
