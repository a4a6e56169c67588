//! How a node's filter becomes another: a filter is a JSON object whose `sets` are lists of texts,
//! of which a change concerns few.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// A filter, by what there was before.
///
/// `D` and `F` are differences and filters: who sends has them as text already.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FilterEdit<D = SetDifference, F = Box<RawValue>> {
    /// Its sets, in order.
    pub sets: Vec<SetEdit<D>>,
    /// All else of it, as a filter without sets; left out if it stays.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub rest: Option<F>,
}

/// One set, by what there was before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetEdit<D = SetDifference> {
    /// Which of the sets before it was; each is used once. A new one if it was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// In what it differs.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub difference: Option<D>,
}

/// What goes from a set, and what comes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDifference {
    /// What goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// What comes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub insert: Vec<String>,
}

/// It was made for another filter, or one of both is none.
pub(super) struct Misfit;

impl FilterEdit {
    /// The filter that it makes of this one.
    pub(super) fn apply(self, filter: &RawValue) -> Result<Box<RawValue>, Misfit> {
        let object = |text: &RawValue| {
            serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text.get()).map_err(|_| Misfit)
        };
        let mut whole = object(filter)?;
        let sets = whole.remove("sets").ok_or(Misfit)?;
        let sets: Vec<Vec<String>> = serde_json::from_str(sets.get()).map_err(|_| Misfit)?;
        let mut sets: Vec<Option<Vec<String>>> = sets.into_iter().map(Some).collect();
        let mut edited = Vec::with_capacity(self.sets.len());
        for SetEdit { from, difference } in self.sets {
            let before = match from {
                // Once: so nothing grows beyond what was sent.
                Some(from) => sets.get_mut(from as usize).and_then(Option::take).ok_or(Misfit)?,
                None => Vec::new(),
            };
            edited.push(difference.unwrap_or_default().apply(before));
        }
        if let Some(rest) = &self.rest {
            whole = object(rest)?;
        }
        let edited = to_raw_value(&edited).map_err(|_| Misfit)?;
        whole.insert("sets".to_owned(), edited);
        to_raw_value(&whole).map_err(|_| Misfit)
    }
}

impl SetDifference {
    fn apply(self, mut set: Vec<String>) -> Vec<String> {
        if !self.remove.is_empty() {
            let gone: HashSet<String> = self.remove.into_iter().collect();
            set.retain(|member| !gone.contains(member));
        }
        set.extend(self.insert);
        set
    }
}
