//! A `resolv.conf`: what it says, and how it is taken over so that all of it can be given back.
//!
//! The file itself holds all that it takes to give it back. What we put in stands between two
//! markers; what would compete with it stays where it is, as a comment. So whatever else is written
//! into the file in the meantime is kept, and nothing depends on how we ended.

use std::net::{IpAddr, SocketAddr};

/// Opens what we put in, and names it: a line between the markers that is not named is somebody
/// else's.
const BEGIN: &str = "# nearwire put in: ";
const BETWEEN: &str = "; ";
const END: &str = "# nearwire takes the lines above out again when it ends";
/// In front of lines that are set aside.
const ASIDE: &str = "#nearwire# ";
/// In place of a file that was not there.
const ABSENT: &str = "# nearwire made this file";
/// Where resolvers are asked.
const PORT: u16 = 53;
/// The search list's length in older resolvers; newer ones have no limit.
const LONGEST_SEARCH: usize = 6;

/// What we want a host to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    /// The address of our resolver.
    pub nameserver: IpAddr,
    /// The domain in which short names are looked for first.
    pub search: Option<String>,
}

/// What a `resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Whom to ask, in order.
    pub nameservers: Vec<SocketAddr>,
    /// Where short names are looked for.
    pub search: Vec<String>,
}

impl ResolvConf {
    /// Reads it as the C library does: unknown lines are passed over, the last list of domains counts.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut read = Self::default();
        for line in lines(text) {
            read.line(&String::from_utf8_lossy(line));
        }
        read
    }

    fn line(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let address = words.next().and_then(address);
                let new = address.filter(|address| !self.nameservers.contains(address));
                self.nameservers.extend(new);
            }
            Some("search" | "domain") => {
                self.search = words.map(|word| word.trim_end_matches('.').to_owned()).collect();
                self.search.retain(|domain| !domain.is_empty());
            }
            Some(_) | None => {}
        }
    }
}

/// An address as a `nameserver` line has it. One with a zone is of a link, which we are not told:
/// its resolver can be asked by the C library only.
fn address(word: &str) -> Option<SocketAddr> {
    let word = word.split([';', '#']).next()?;
    word.parse().ok().map(|address| SocketAddr::new(address, PORT))
}

/// Whether it is taken over, by us or one of us that was killed.
#[must_use]
pub fn is_taken(text: &[u8]) -> bool {
    let marks = [BEGIN, END, ABSENT, ASIDE];
    lines(text).any(|line| marks.iter().any(|mark| line.starts_with(mark.as_bytes())))
}

/// The text by which the host asks us. `None` is a file that is not there. One that is taken over
/// already is given back first.
#[must_use]
pub fn take_over(text: Option<&[u8]>, ours: &Ours) -> Vec<u8> {
    let given = text.map(give_back);
    let Some(before) = given.flatten() else {
        return block(ours, &[], true);
    };
    let mut out = block(ours, &ResolvConf::parse(&before).search, false);
    for line in before.split_inclusive(|byte| *byte == b'\n') {
        if competes(line) {
            out.extend(ASIDE.as_bytes());
        }
        out.extend(line);
    }
    out
}

/// The text as it would be without us, with all that others have written meanwhile; `None` if there
/// would be no file.
#[must_use]
pub fn give_back(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut absent = false;
    let mut put_in: Vec<&[u8]> = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let plain = trimmed(line);
        if let Some(named) = plain.strip_prefix(BEGIN.as_bytes()) {
            put_in = split(named);
        } else if plain == END.as_bytes() {
            put_in.clear();
        } else if plain == ABSENT.as_bytes() {
            absent = true;
        } else if let Some(before) = line.strip_prefix(ASIDE.as_bytes()) {
            out.extend(before);
        } else if let Some(place) = put_in.iter().position(|ours| *ours == plain) {
            put_in.remove(place);
        } else {
            out.extend(line);
        }
    }
    (!(absent && out.is_empty())).then_some(out)
}

fn block(ours: &Ours, search: &[String], absent: bool) -> Vec<u8> {
    let mut domains: Vec<&str> = ours.search.iter().map(String::as_str).collect();
    let others = search.iter().map(String::as_str);
    domains.extend(others.filter(|domain| Some(*domain) != ours.search.as_deref()));
    domains.truncate(LONGEST_SEARCH);
    let mut lines = vec![format!("nameserver {}", ours.nameserver)];
    if !domains.is_empty() {
        lines.push(format!("search {}", domains.join(" ")));
    }
    let absent = if absent { format!("{ABSENT}\n") } else { String::new() };
    let named = lines.join(BETWEEN);
    format!("{BEGIN}{named}\n{absent}{}\n{END}\n", lines.join("\n")).into_bytes()
}

/// The lines that a marker names.
fn split(named: &[u8]) -> Vec<&[u8]> {
    let mut rest = named;
    let mut parts = Vec::new();
    while let Some(at) = rest.windows(BETWEEN.len()).position(|part| part == BETWEEN.as_bytes()) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

/// Whether a line says what one of ours says.
fn competes(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    matches!(line.split_whitespace().next(), Some("nameserver" | "search" | "domain"))
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.trim_ascii_end()
}

#[cfg(test)]
#[path = "resolv_conf/tests.rs"]
mod tests;
