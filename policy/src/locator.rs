//! Places in a text: from bytes to lines and columns.

use crate::{Diagnostic, reader::Fault};

/// Lines are counted from the beginning of the block.
const BLOCK: usize = 1024;

pub(crate) struct Locator<'a> {
    text: &'a str,
    /// How many lines end before each block.
    ended: Vec<u32>,
}

impl<'a> Locator<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let blocks = text.as_bytes().chunks(BLOCK);
        let counted = blocks.scan(0, |ended: &mut u32, block| {
            *ended = ended.saturating_add(line_ends(block));
            Some(*ended)
        });
        Self { text, ended: std::iter::once(0).chain(counted).collect() }
    }

    pub(crate) const fn text(&self) -> &'a str {
        self.text
    }

    pub(crate) fn line(&self, offset: usize) -> u32 {
        let offset = offset.min(self.text.len());
        let block = offset / BLOCK;
        let before = self.ended.get(block).copied().unwrap_or_default();
        before + line_ends(&self.text.as_bytes()[block * BLOCK..offset]) + 1
    }

    /// Faults in the text's order with their lines and columns. A line with many of them is gone
    /// through once.
    pub(crate) fn diagnostics(&self, faults: Vec<Fault>) -> Vec<Diagnostic> {
        let mut last: Option<(u32, usize, usize)> = None;
        let mut place = |Fault { at, reason }: Fault| {
            let line = self.line(at);
            let characters = |from| self.text.get(from..at).unwrap_or_default().chars().count();
            let column = match last {
                Some((same, counted, column)) if same == line => column + characters(counted),
                _ => {
                    let before = self.text.get(..at).unwrap_or_default();
                    1 + characters(before.rfind('\n').map_or(0, |end| end + 1))
                }
            };
            last = Some((line, at, column));
            Diagnostic { line, column: u32::try_from(column).unwrap_or(u32::MAX), reason, at }
        };
        faults.into_iter().map(&mut place).collect()
    }
}

fn line_ends(bytes: &[u8]) -> u32 {
    // A block has few.
    u32::try_from(bytes.iter().filter(|&&byte| byte == b'\n').count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_splitting_at_line_ends() {
        let text: String = (0..900).map(|n| "é".repeat(n % 7) + "\n").collect();
        let locator = Locator::new(&text);
        let offsets: Vec<usize> =
            text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let faults = offsets.iter().map(|&at| Fault { at, reason: String::new() }).collect();
        for (found, at) in locator.diagnostics(faults).iter().zip(offsets) {
            let lines: Vec<&str> = text[..at].split('\n').collect();
            let column = lines[lines.len() - 1].chars().count() + 1;
            assert_eq!((found.line as usize, found.column as usize), (lines.len(), column));
        }
    }
}
