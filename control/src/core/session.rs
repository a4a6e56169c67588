//! Challenges and the bearer tokens of nodes. Both are checked by a MAC alone, so every instance
//! knows those of every other; what they open is then looked up.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use proto::control::NodeId;
use proto::ticket::{NetworkId, UnixSeconds};
use ring::hmac;

/// How long a challenge is good, in seconds.
pub const CHALLENGE_LASTS: u64 = 60;
/// How long a session is good, in seconds.
pub const SESSION_LASTS: u64 = 3600;

const MAC_LEN: usize = 32;

/// Makes and checks them.
pub struct SessionKey(hmac::Key);

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

impl SessionKey {
    /// The key of these secret bytes.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Something for a node to sign. The random bytes keep two of one second apart.
    #[must_use]
    pub fn challenge(&self, node: NodeId, now: UnixSeconds, random: [u8; 16]) -> String {
        let until = now.0.saturating_add(CHALLENGE_LASTS);
        self.protect(&[&b"C"[..], &node.0, &until.to_be_bytes(), &random].concat())
    }

    /// Whether this was made for the node, a short while ago.
    #[must_use]
    pub fn is_challenge(&self, text: &str, node: NodeId, now: UnixSeconds) -> bool {
        let Some(body) = self.open::<41>(text) else { return false };
        let until = u64::from_be_bytes(part(&body, 17));
        body[0] == b'C' && body[1..17] == node.0 && now.0 < until
    }

    /// The token of a session that begins now.
    #[must_use]
    pub fn session(&self, network: NetworkId, node: NodeId, now: UnixSeconds) -> String {
        let until = now.0.saturating_add(SESSION_LASTS);
        self.protect(&[&b"S"[..], &network.0, &node.0, &until.to_be_bytes()].concat())
    }

    /// The session of a token, if it has not ended.
    #[must_use]
    pub fn find(&self, text: &str, now: UnixSeconds) -> Option<Session> {
        let body = self.open::<41>(text)?;
        let until = UnixSeconds(u64::from_be_bytes(part(&body, 33)));
        let session =
            Session { network: NetworkId(part(&body, 1)), node: NodeId(part(&body, 17)), until };
        (body[0] == b'S' && now < until).then_some(session)
    }

    fn protect(&self, body: &[u8]) -> String {
        let mac = hmac::sign(&self.0, body);
        BASE64_URL_SAFE_NO_PAD.encode([body, mac.as_ref()].concat())
    }

    fn open<const LEN: usize>(&self, text: &str) -> Option<[u8; LEN]> {
        if text.len() > (LEN + MAC_LEN).div_ceil(3) * 4 {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, mac) = bytes.split_first_chunk::<LEN>()?;
        hmac::verify(&self.0, body, mac).ok()?;
        Some(*body)
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

    #[test]
    fn a_session_is_good_until_it_ends_and_with_its_key() {
        let key = SessionKey::new(b"one");
        let token = key.session(NETWORK, NODE, UnixSeconds(100));
        let until = UnixSeconds(100 + SESSION_LASTS);
        let session = Session { network: NETWORK, node: NODE, until };
        assert_eq!(key.find(&token, UnixSeconds(until.0 - 1)), Some(session));
        assert_eq!(key.find(&token, until), None);
        assert_eq!(SessionKey::new(b"two").find(&token, UnixSeconds(100)), None);
        assert!(!key.is_challenge(&token, NODE, UnixSeconds(100)));
    }

    #[test]
    fn a_challenge_is_for_one_node_for_a_minute() {
        let key = SessionKey::new(b"one");
        let challenge = key.challenge(NODE, UnixSeconds(100), [7; 16]);
        assert!(key.is_challenge(&challenge, NODE, UnixSeconds(159)));
        assert!(!key.is_challenge(&challenge, NODE, UnixSeconds(160)));
        assert!(!key.is_challenge(&challenge, NodeId([3; 16]), UnixSeconds(100)));
        assert_eq!(key.find(&challenge, UnixSeconds(100)), None);
    }

    proptest! {
        #[test]
        fn nothing_else_opens(text in ".{0,120}", at in 0usize..90, flip in 1u8..=255) {
            let key = SessionKey::new(b"one");
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
