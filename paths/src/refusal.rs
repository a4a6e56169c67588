//! Why a probe came to nothing. Each is counted.

/// Why a probe was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no probe.
    Malformed,
    /// No peer has this probe key.
    Stranger,
    /// It is not sealed by whom it says.
    Seal,
    /// It came before.
    Replayed,
    /// A pong that answers nothing that is out.
    Unasked,
    /// A pong on another way than its ping.
    Elsewhere,
    /// A call that came directly, or a ping that came by a relay.
    WrongWay,
    /// More than a peer may send.
    TooMany,
    /// Ways of this kind are forbidden with that peer.
    Forbidden,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::Stranger,
        Self::Seal,
        Self::Replayed,
        Self::Unasked,
        Self::Elsewhere,
        Self::WrongWay,
        Self::TooMany,
        Self::Forbidden,
    ];

    /// For counters.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Stranger => "stranger",
            Self::Seal => "seal",
            Self::Replayed => "replayed",
            Self::Unasked => "unasked",
            Self::Elsewhere => "elsewhere",
            Self::WrongWay => "wrong_way",
            Self::TooMany => "too_many",
            Self::Forbidden => "forbidden",
        }
    }
}

/// How many probes were refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u64; Refusal::ALL.len()]);

impl Refusals {
    /// One more.
    pub const fn count(&mut self, refusal: Refusal) {
        self.0[refusal as usize] += 1;
    }

    /// How many, of each.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.into_iter().zip(self.0)
    }
}
