//! Where the rules of a policy are written, as nodes are told of those that concern them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use policy::{Diagnostics, Document, NodeName, Nodes, Plan, RuleId};
use proto::control::RuleLine;

/// The most bytes of rules' texts that one node is told; of rules after those, it is told the lines.
const MOST_TEXT: usize = 64 << 10;

/// A document, with what each of its rules says.
#[derive(Clone, Debug)]
pub struct Written {
    document: Document,
    excerpts: Vec<Excerpt>,
}

/// A rule, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    line: u32,
    text: Box<str>,
}

/// The rules in force, by the numbers that filters have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RuleBook(HashMap<RuleId, Excerpt>);

/// The book that a node was told of.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownBook {
    book: Weak<RuleBook>,
    /// Kept for the sake of the node, while that listens.
    held: Option<Arc<RuleBook>>,
}

impl Written {
    /// Reads a document.
    pub fn read(text: &str) -> Result<Self, Diagnostics> {
        let document = Document::parse(text)?;
        let excerpt =
            |rule: &policy::Rule| Excerpt { line: rule.line, text: rule.span.excerpt(text).into() };
        let excerpts = document.rules().iter().map(excerpt).collect();
        Ok(Self { document, excerpts })
    }

    /// The plan of this document.
    pub(super) fn plan(self, nodes: &Nodes) -> (Plan, RuleBook) {
        let plan = Plan::new(self.document, nodes);
        let book = RuleBook::of(&plan, self.excerpts);
        (plan, book)
    }

    /// Puts it in force in place of another. Gives the nodes that have to do with that, beside the book.
    pub(super) fn replace(self, plan: &mut Plan) -> (BTreeSet<NodeName>, RuleBook) {
        let concerned = plan.set_document(self.document);
        (concerned, RuleBook::of(plan, self.excerpts))
    }
}

impl RuleBook {
    /// `excerpts` are those of the plan's document.
    fn of(plan: &Plan, excerpts: Vec<Excerpt>) -> Self {
        Self(plan.rules().iter().copied().zip(excerpts).collect())
    }

    /// What a node with these rules is told at first.
    pub(super) fn whole(&self, rules: &[RuleId]) -> Vec<RuleLine> {
        let line =
            |(id, line, text): Told<'_>| RuleLine { id: id.0, line, text: Some(text.into()) };
        self.told(rules).map(line).collect()
    }

    /// What it is told that knew these rules by that book; nothing if nothing is new.
    fn news(&self, rules: &[RuleId], known: (&Self, &[RuleId])) -> Option<Vec<RuleLine>> {
        let (book, before) = known;
        let known: HashMap<RuleId, (u32, &str)> =
            book.told(before).map(|(id, line, text)| (id, (line, text))).collect();
        let mut differs = known.len() != rules.len();
        let line = |(id, line, text): Told<'_>| {
            let before = known.get(&id);
            differs |= before != Some(&(line, text));
            let same = before.is_some_and(|(_, before)| *before == text);
            RuleLine { id: id.0, line, text: (!same).then(|| text.to_owned()) }
        };
        let lines = self.told(rules).map(line).collect();
        differs.then_some(lines)
    }

    fn told<'a>(&'a self, rules: &'a [RuleId]) -> impl Iterator<Item = Told<'a>> {
        let mut left = MOST_TEXT;
        rules.iter().filter_map(move |id| {
            let Excerpt { line, text } = self.0.get(id)?;
            // After the first that is too much there are no more: the same ones each time.
            left = left.saturating_sub(text.len());
            Some((*id, *line, if left == 0 { "" } else { text }))
        })
    }
}

type Told<'a> = (RuleId, u32, &'a str);

impl KnownBook {
    pub(super) fn of(book: &Arc<RuleBook>) -> Self {
        Self { book: Arc::downgrade(book), held: Some(Arc::clone(book)) }
    }

    /// The node is away: old books are not kept for its sake.
    pub(super) fn rest(&mut self) {
        self.held = None;
    }

    /// Takes over the book in force for a node that had rules and has these now. Gives what it has to
    /// hear.
    pub(super) fn become_book(
        &mut self,
        now: &Arc<RuleBook>,
        rules: &[RuleId],
        before: &[RuleId],
    ) -> Option<Vec<RuleLine>> {
        match std::mem::replace(self, Self::of(now)).book.upgrade() {
            Some(known) if Arc::ptr_eq(&known, now) && rules == before => None,
            Some(known) => now.news(rules, (&known, before)),
            None => Some(now.whole(rules)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(rules: &[(u32, u32, &str)]) -> RuleBook {
        let excerpt = |&(id, line, text): &(u32, u32, &str)| {
            (RuleId(id), Excerpt { line, text: text.into() })
        };
        RuleBook(rules.iter().map(excerpt).collect())
    }

    fn line(id: u32, line: u32, text: Option<&str>) -> RuleLine {
        RuleLine { id, line, text: text.map(str::to_owned) }
    }

    #[test]
    fn of_rules_that_moved_the_lines_are_told_and_no_texts() {
        let before = book(&[(0, 2, "a"), (1, 3, "b"), (2, 4, "c")]);
        let after = book(&[(0, 2, "a"), (1, 4, "b"), (2, 5, "c, another way"), (3, 6, "d")]);
        let ids = [0, 1, 2, 3].map(RuleId);
        assert_eq!(before.news(&ids[..3], (&before, &ids[..3])), None);
        assert_eq!(after.news(&ids[..1], (&before, &ids[..1])), None);
        let news = after.news(&ids, (&before, &ids[..3])).unwrap();
        let texts = [Some("c, another way"), Some("d")];
        let told = [line(0, 2, None), line(1, 4, None), line(2, 5, texts[0]), line(3, 6, texts[1])];
        assert_eq!(news, told);
        // One that goes is not named.
        assert_eq!(after.news(&ids[1..2], (&after, &ids[..2])), Some(vec![line(1, 4, None)]));
    }

    #[test]
    fn texts_have_a_limit_and_lines_have_none() {
        let long = "x".repeat(MOST_TEXT / 4);
        let rules: Vec<_> = (0..9).map(|id| (id, id + 1, long.as_str())).collect();
        let (book, ids) = (book(&rules), (0..9).map(RuleId).collect::<Vec<_>>());
        let told = book.whole(&ids);
        let texts = told.iter().filter_map(|rule| rule.text.as_deref()).map(str::len);
        assert_eq!((told.len(), texts.sum::<usize>() < MOST_TEXT), (9, true));
        // What comes within the limit later is told then.
        let later = book.news(&ids[6..], (&book, &ids)).unwrap();
        assert!(later.iter().all(|rule| rule.text.as_deref() == Some(&long)));
    }

    #[test]
    fn who_was_away_hears_all_if_the_book_is_another() {
        let (ids, old) = ([RuleId(0)], Arc::new(book(&[(0, 2, "a")])));
        let mut known = KnownBook::of(&old);
        known.rest();
        assert_eq!(known.become_book(&old, &ids, &ids), None);
        known.rest();
        drop(old);
        let new = Arc::new(book(&[(0, 3, "a")]));
        assert_eq!(known.become_book(&new, &ids, &ids), Some(vec![line(0, 3, Some("a"))]));
    }
}
