//! Numbers of the configuration, with errors in an operator's words.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, Visitor};

/// A key's number, for `deserialize_with`.
pub(super) fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    from.deserialize_u64(Whole(PhantomData)).map(Some)
}

struct Whole<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for Whole<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, without quotes or a unit")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        let end = if number == 0 { "small" } else { "large" };
        T::try_from(number).map_err(|_| E::custom(format!("{number} is too {end}")))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let number =
            u64::try_from(number).map_err(|_| E::custom(format!("{number} is too small")))?;
        self.visit_u64(number)
    }
}
