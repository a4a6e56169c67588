//! The filters that nodes have, and how they become others: a set that thousands share is worked
//! out once, and each hears of what has changed in it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use policy::{AddressSet, Filter, Prefix, RuleId};
use proto::control::{FilterEdit, SetDifference, SetEdit};
use serde_json::value::{RawValue, to_raw_value};

/// Differences that are kept: one change makes few, which many nodes hear of.
const MOST: usize = 16;

/// What a node enforces, as far as it has been told.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// This.
    Here(Filter),
    /// This, whose sets are not kept for its sake.
    Away {
        /// All but the sets.
        rest: Filter,
        /// The sets, as long as somebody else has them.
        sets: Vec<Weak<AddressSet>>,
    },
}

/// What a node has to hear.
pub(super) enum FilterNews {
    /// All of it.
    Whole(Box<RawValue>),
    /// What has changed.
    Edit(Box<RawValue>),
}

/// How sets became others.
#[derive(Default)]
pub(super) struct Differences(Mutex<VecDeque<Difference>>);

struct Difference {
    before: Arc<AddressSet>,
    now: Arc<AddressSet>,
    /// Nothing if it would be no shorter than the set.
    written: Option<Arc<RawValue>>,
}

type Result<T> = std::result::Result<T, serde_json::Error>;

impl Known {
    /// Lets go of the sets: nodes that are away hold nothing large.
    pub(super) fn rest(&mut self) {
        if let Self::Here(filter) = self {
            let sets = filter.sets().iter().map(Arc::downgrade).collect();
            *self = Self::Away { rest: filter.without_sets(), sets };
        }
    }

    /// The rules of the filter.
    pub(super) fn rules(&self) -> &[RuleId] {
        match self {
            Self::Here(filter) | Self::Away { rest: filter, .. } => filter.rules(),
        }
    }

    /// Takes over the filter as it is now. Gives what the node has to hear.
    pub(super) fn become_filter(
        &mut self,
        now: Filter,
        differences: &Differences,
    ) -> Result<Option<FilterNews>> {
        let before = std::mem::replace(self, Self::Here(now));
        let Self::Here(now) = &*self else { return Ok(None) };
        match before {
            Self::Here(before) => edit(&before, now, differences),
            Self::Away { rest, sets } => {
                let same = rest.is_like(now)
                    && sets.len() == now.sets().len()
                    && sets
                        .iter()
                        .zip(now.sets())
                        .all(|(old, now)| old.upgrade().is_some_and(|old| Arc::ptr_eq(&old, now)));
                if same { Ok(None) } else { whole(now).map(Some) }
            }
        }
    }
}

impl Differences {
    /// In what a set differs from another.
    fn between(
        &self,
        before: &Arc<AddressSet>,
        now: &Arc<AddressSet>,
    ) -> Result<Option<Arc<RawValue>>> {
        let is_it =
            |kept: &&Difference| Arc::ptr_eq(&kept.before, before) && Arc::ptr_eq(&kept.now, now);
        // Held while it is worked out: the others want the same.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.iter().find(is_it) {
            return Ok(known.written.clone());
        }
        let (gone, new) = now.changes(before);
        let written: Option<Arc<RawValue>> = match gone.len() + new.len() < now.prefixes().len() {
            true => Some(write(&gone, &new)?.into()),
            false => None,
        };
        let (before, now) = (before.clone(), now.clone());
        kept.truncate(MOST - 1);
        kept.push_front(Difference { before, now, written: written.clone() });
        Ok(written)
    }

    /// Forgets them, with the sets that they hold.
    pub(super) fn clear(&mut self) {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn edit(before: &Filter, now: &Filter, differences: &Differences) -> Result<Option<FilterNews>> {
    let (old, new) = (before.sets(), now.sets());
    let same_rest = now.is_like(before);
    if same_rest && old.len() == new.len() && old.iter().zip(new).all(|(a, b)| Arc::ptr_eq(a, b)) {
        return Ok(None);
    }
    let mut places: HashMap<*const AddressSet, u32> =
        (0u32..).zip(old).map(|(place, set)| (Arc::as_ptr(set), place)).collect();
    let stayed: Vec<Option<u32>> = new.iter().map(|set| places.remove(&Arc::as_ptr(set))).collect();
    let mut sets: Vec<SetEdit<Arc<RawValue>>> = Vec::with_capacity(new.len());
    for ((place, set), stayed) in (0u32..).zip(new).zip(stayed) {
        // What is left of `places` became another set; most often that of the same place.
        let changed = old.get(place as usize).filter(|old| places.contains_key(&Arc::as_ptr(old)));
        let difference = match (stayed, changed) {
            (None, Some(changed)) => differences.between(changed, set)?,
            _ => None,
        };
        sets.push(match (stayed, difference) {
            (Some(from), _) => SetEdit { from: Some(from), difference: None },
            (None, Some(difference)) => SetEdit { from: Some(place), difference: Some(difference) },
            (None, None) => {
                let all = write(&[], set.prefixes())?.into();
                SetEdit { from: None, difference: Some(all) }
            }
        });
    }
    let rest = if same_rest { None } else { Some(to_raw_value(&now.without_sets())?) };
    let sets = sets.iter().map(|SetEdit { from, difference }| SetEdit {
        from: *from,
        difference: difference.as_deref(),
    });
    let edit: FilterEdit<&RawValue> = FilterEdit { sets: sets.collect(), rest };
    to_raw_value(&edit).map(FilterNews::Edit).map(Some)
}

/// A filter as text.
pub(super) fn whole(filter: &Filter) -> Result<FilterNews> {
    to_raw_value(filter).map(FilterNews::Whole)
}

fn write(gone: &[Prefix], new: &[Prefix]) -> Result<Box<RawValue>> {
    let texts = |prefixes: &[Prefix]| prefixes.iter().map(Prefix::to_string).collect();
    to_raw_value(&SetDifference { remove: texts(gone), insert: texts(new) })
}
