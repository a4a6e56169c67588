//! Which way a packet goes.

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the tunnel to this host.
    In,
    /// From this host to the tunnel.
    Out,
}

impl Direction {
    /// The other way.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}
