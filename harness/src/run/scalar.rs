//! Values in a suite file, read by the same functions as the flags: `records = 1_000_000`, `records = "1M"` and `--records 1M` are one.

use std::fmt;

use clap::ValueEnum;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};

use crate::failure::nearest;

/// Reads a value from its text, or says what was expected.
pub(crate) type Parser<T> = fn(&str) -> Result<T, String>;

/// One value, a number or a text.
pub(crate) fn one<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parser: Parser<T>,
) -> Result<T, D::Error> {
    Scalar(parser).deserialize(deserializer)
}

/// One value, or a list of at least one.
pub(crate) fn many<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parser: Parser<T>,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_any(List(Scalar(parser)))
}

/// One of the words of a flag with choices.
pub(crate) fn word<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let words: Vec<_> = values.map(|value| value.get_name().to_owned()).collect();
        let hint = nearest(text, words.iter().map(String::as_str));
        format!("expected one of {}{hint}", words.join(", "))
    })
}

struct Scalar<T>(Parser<T>);

impl<T> Clone for Scalar<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Scalar<T> {}

impl<T> Scalar<T> {
    fn read<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(|reason| E::custom(format!("'{text}': {reason}")))
    }
}

impl<'de, T> DeserializeSeed<'de> for Scalar<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T> Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a text")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        self.read(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        self.read(&value.to_string())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        self.read(value)
    }
}

struct List<T>(Scalar<T>);

impl<'de, T> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text, or a list of them")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Vec<T>, E> {
        Ok(vec![self.0.visit_i64(value)?])
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Vec<T>, E> {
        Ok(vec![self.0.visit_f64(value)?])
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Vec<T>, E> {
        Ok(vec![self.0.visit_str(value)?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self.0)? {
            values.push(value);
        }
        if values.is_empty() {
            return Err(A::Error::custom("the list is empty, so that nothing would run"));
        }
        Ok(values)
    }
}
