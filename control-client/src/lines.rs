//! From pieces of bytes to lines.

use proto::control::MAX_FRAME;

/// A line without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the stream is longer than {MAX_FRAME} bytes")]
pub struct TooLong;

/// What has come of a stream and is not a line yet.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Up to here there is no line's end.
    looked: usize,
}

impl Lines {
    /// Takes a piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// The next whole line, without its end.
    pub fn take_line(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let end = self.bytes[self.looked..].iter().position(|byte| *byte == b'\n');
        match end.map(|end| self.looked + end) {
            Some(end) => {
                let rest = self.bytes.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.bytes, rest);
                line.truncate(end);
                self.looked = 0;
                Ok(Some(line))
            }
            None if self.bytes.len() > MAX_FRAME => Err(TooLong),
            None => {
                self.looked = self.bytes.len();
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_are_cut(
            text in "[ab\n]{0,60}",
            cuts in prop::collection::vec(1usize..9, 0..60),
        ) {
            let (mut lines, mut found, mut rest) = (Lines::default(), Vec::new(), text.as_bytes());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                rest = after;
                lines.push(piece);
                while let Some(line) = lines.take_line().unwrap() {
                    found.push(String::from_utf8(line).unwrap());
                }
            }
            let mut expected: Vec<&str> = text.split('\n').collect();
            expected.pop();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::default();
        lines.push(&vec![b'a'; MAX_FRAME]);
        assert_eq!(lines.take_line(), Ok(None));
        lines.push(b"aa");
        assert_eq!(lines.take_line(), Err(TooLong));
    }
}
