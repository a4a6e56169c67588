//! The streams of lines.

use std::marker::PhantomData;
use std::time::Duration;

use proto::control::{ALIVE_EVERY, Frame, Malformed, RevocationFrame};
use reqwest::Response;

use crate::{ClientError, Lines};

/// How long it may be silent: the control plane writes more often than twice in it.
const SILENCE: Duration = Duration::from_secs(ALIVE_EVERY.as_secs() * 5 / 2);

/// A line of a stream.
pub trait Line: Sized {
    /// Reads one.
    fn parse(line: &[u8]) -> Result<Self, Malformed>;
    /// Whether it says nothing.
    fn is_alive(&self) -> bool;
}

/// A stream: of netmaps, if nothing else is said.
#[derive(Debug)]
pub struct Frames<L = Frame> {
    response: Response,
    lines: Lines,
    of: PhantomData<fn() -> L>,
}

impl Line for Frame {
    fn parse(line: &[u8]) -> Result<Self, Malformed> {
        Self::parse(line)
    }

    fn is_alive(&self) -> bool {
        self.is_alive()
    }
}

impl Line for RevocationFrame {
    fn parse(line: &[u8]) -> Result<Self, Malformed> {
        Self::parse(line)
    }

    fn is_alive(&self) -> bool {
        self.is_alive()
    }
}

impl<L: Line> Frames<L> {
    pub(crate) fn new(response: Response) -> Self {
        Self { response, lines: Lines::default(), of: PhantomData }
    }

    /// The next frame that says something; nothing at the stream's end.
    pub async fn next(&mut self) -> Result<Option<L>, ClientError> {
        loop {
            while let Some(line) = self.lines.take_line()? {
                let frame = L::parse(&line)?;
                if !frame.is_alive() {
                    return Ok(Some(frame));
                }
            }
            let piece = tokio::time::timeout(SILENCE, self.response.chunk())
                .await
                .map_err(|_| ClientError::Silent(SILENCE.as_secs()))??;
            match piece {
                Some(piece) => self.lines.push(&piece),
                None => return Ok(None),
            }
        }
    }
}
