//! The stream of netmaps.

use std::time::Duration;

use proto::control::{ALIVE_EVERY, Frame};
use reqwest::Response;

use crate::{ClientError, Lines};

/// How long it may be silent: the control plane writes more often than twice in it.
const SILENCE: Duration = Duration::from_secs(ALIVE_EVERY.as_secs() * 5 / 2);

/// See the module.
#[derive(Debug)]
pub struct Frames {
    response: Response,
    lines: Lines,
}

impl Frames {
    pub(crate) fn new(response: Response) -> Self {
        Self { response, lines: Lines::default() }
    }

    /// The next frame that says something; nothing at the stream's end.
    pub async fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            while let Some(line) = self.lines.take_line()? {
                let frame = Frame::parse(&line)?;
                if frame.snapshot.is_some() || frame.delta.is_some() || frame.end.is_some() {
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
