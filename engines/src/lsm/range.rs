//! Ranges of keys.

use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};

use super::options::KEY_BYTES_MAX;
use crate::Direction;

/// A range of keys: what lies between two bounds, each of which is included, excluded or not there.
///
/// Made of Rust's own ranges, of a pair of [`Bound`]s, or of a prefix. A range whose lower bound lies above its upper one holds nothing; that is no error.
///
/// ```
/// use kvdyno_engines::lsm::KeyRange;
///
/// assert!(KeyRange::from("b".."d").contains(b"c"));
/// assert!(KeyRange::prefix("user/").contains(b"user/7"));
/// assert!(KeyRange::from(..).contains(b"anything"));
/// assert!(!KeyRange::from("d".."b").contains(b"c"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
}

impl KeyRange {
    /// All keys that begin with `prefix`, which may be empty: then these are all keys.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let prefix = prefix.as_ref();
        let upper = prefix_end(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Self { lower: Bound::Included(prefix.to_vec()), upper }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        !self.is_behind(key, Direction::Forward) && !self.is_behind(key, Direction::Reverse)
    }

    /// Where it begins.
    pub fn lower(&self) -> Bound<&[u8]> {
        self.lower.as_ref().map(Vec::as_slice)
    }

    /// Where it ends.
    pub fn upper(&self) -> Bound<&[u8]> {
        self.upper.as_ref().map(Vec::as_slice)
    }

    /// The bound at which a walk in `direction` begins.
    pub(crate) fn near(&self, direction: Direction) -> Bound<&[u8]> {
        match direction {
            Direction::Forward => self.lower(),
            Direction::Reverse => self.upper(),
        }
    }

    /// The bound at which a walk in `direction` ends.
    pub(crate) fn far(&self, direction: Direction) -> Bound<&[u8]> {
        match direction {
            Direction::Forward => self.upper(),
            Direction::Reverse => self.lower(),
        }
    }

    /// Whether a walk in `direction` that has come to `key` has left the range.
    #[inline]
    pub(crate) fn is_behind(&self, key: &[u8], direction: Direction) -> bool {
        match (direction, self.far(direction)) {
            (_, Bound::Unbounded) => false,
            (Direction::Forward, Bound::Included(upper)) => key > upper,
            (Direction::Forward, Bound::Excluded(upper)) => key >= upper,
            (Direction::Reverse, Bound::Included(lower)) => key < lower,
            (Direction::Reverse, Bound::Excluded(lower)) => key <= lower,
        }
    }

    /// Where a walk in `direction` begins that is to begin at `key`: there, or at the bound if `key` lies before it.
    pub(crate) fn start<'k>(&'k self, key: &'k [u8], direction: Direction) -> Bound<&'k [u8]> {
        let opposite = match direction {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
        };
        if self.is_behind(key, opposite) { self.near(direction) } else { Bound::Included(key) }
    }

    /// Whether it can be told from the bounds alone that no key lies between them.
    pub(crate) fn is_empty(&self) -> bool {
        match (self.lower(), self.upper()) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
            (
                Bound::Included(lower) | Bound::Excluded(lower),
                Bound::Included(upper) | Bound::Excluded(upper),
            ) => lower >= upper,
        }
    }

    /// Whether keys from `least` to `greatest`, both included, may be in the range.
    pub(crate) fn overlaps(&self, least: &[u8], greatest: &[u8]) -> bool {
        !self.is_behind(least, Direction::Forward) && !self.is_behind(greatest, Direction::Reverse)
    }
}

/// The first key behind all that begin with `prefix`, if any is.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    // The last byte is counted up, where those that cannot be are left out.
    let at = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=at].to_vec();
    end[at] += 1;
    Some(end)
}

/// The first key behind `key` that is not too long for one, if there is any.
pub(crate) fn key_after(key: &[u8]) -> Option<Vec<u8>> {
    if key.len() < KEY_BYTES_MAX { Some([key, &[0]].concat()) } else { prefix_end(key) }
}

/// The key of a bound, if it has one.
pub(crate) fn bound_key(bound: Bound<&[u8]>) -> Option<&[u8]> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    }
}

/// All keys.
impl Default for KeyRange {
    fn default() -> Self {
        Self { lower: Bound::Unbounded, upper: Bound::Unbounded }
    }
}

impl From<RangeFull> for KeyRange {
    fn from(_: RangeFull) -> Self {
        Self::default()
    }
}

/// A conversion from each kind of range that has bounds.
macro_rules! from_range {
    ($($range:ty),*) => {$(
        impl<K: AsRef<[u8]>> From<$range> for KeyRange {
            fn from(range: $range) -> Self {
                fn owned<K: AsRef<[u8]>>(bound: Bound<&K>) -> Bound<Vec<u8>> {
                    bound.map(|key| key.as_ref().to_vec())
                }
                Self {
                    lower: owned(RangeBounds::<K>::start_bound(&range)),
                    upper: owned(RangeBounds::<K>::end_bound(&range)),
                }
            }
        }
    )*};
}

from_range!(
    Range<K>,
    RangeInclusive<K>,
    RangeFrom<K>,
    RangeTo<K>,
    RangeToInclusive<K>,
    (Bound<K>, Bound<K>)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_no_key_has_it_any_more() {
        for (prefix, upper) in [
            (&b"a"[..], Bound::Excluded(&b"b"[..])),
            (b"a\xff", Bound::Excluded(b"b")),
            (b"a\xffb", Bound::Excluded(b"a\xffc")),
            (b"", Bound::Unbounded),
            (b"\xff", Bound::Unbounded),
            (b"\xff\xff", Bound::Unbounded),
            (b"\xff\0", Bound::Excluded(b"\xff\x01")),
        ] {
            let range = KeyRange::prefix(prefix);
            assert_eq!((range.lower(), range.upper()), (Bound::Included(prefix), upper));
        }
    }

    /// All keys of at most three bytes, of which there are three.
    fn keys() -> Vec<Vec<u8>> {
        let mut keys = vec![Vec::new()];
        for len in 0..3 {
            let longer = |key: &Vec<u8>| [0, 0xfe, 0xff].map(|byte| [&key[..], &[byte]].concat());
            let longest: Vec<_> = keys.iter().filter(|key| key.len() == len).cloned().collect();
            keys.extend(longest.iter().flat_map(longer));
        }
        keys.sort();
        keys
    }

    #[test]
    fn every_prefix_holds_the_keys_that_begin_with_it() {
        let keys = keys();
        assert_eq!(keys.len(), 1 + 3 + 9 + 27);
        for prefix in &keys {
            let range = KeyRange::prefix(prefix);
            assert!(keys.iter().all(|key| range.contains(key) == key.starts_with(prefix)));
        }
    }

    #[test]
    fn every_range_holds_the_keys_between_its_bounds() {
        let keys = keys();
        let bounds = |key: &Vec<u8>| [Bound::Included(key.clone()), Bound::Excluded(key.clone())];
        let mut bounds: Vec<_> = keys.iter().flat_map(bounds).collect();
        bounds.push(Bound::Unbounded);
        for lower in &bounds {
            for upper in &bounds {
                let bounds = (lower.clone(), upper.clone());
                let range = KeyRange::from(bounds.clone());
                let expected = |key| RangeBounds::<Vec<u8>>::contains(&bounds, key);
                let inside: Vec<_> = keys.iter().filter(|key| range.contains(key)).collect();
                assert!(inside.iter().copied().eq(keys.iter().filter(|key| expected(*key))));
                if let (Some(least), Some(greatest)) = (inside.first(), inside.last()) {
                    assert!(!range.is_empty() && range.overlaps(least, greatest), "{range:?}");
                    assert!(range.overlaps(&[], least) && range.overlaps(greatest, &[0xff; 4]));
                }
            }
        }
    }

    #[test]
    fn every_kind_of_range_has_its_bounds() {
        let bounds = |range: KeyRange| {
            let shown = |bound| match bound {
                Bound::Included(key) => format!("[{}", String::from_utf8_lossy(key)),
                Bound::Excluded(key) => format!("({}", String::from_utf8_lossy(key)),
                Bound::Unbounded => "-".to_owned(),
            };
            format!("{} {}", shown(range.lower()), shown(range.upper()))
        };
        assert_eq!(bounds((..).into()), "- -");
        assert_eq!(bounds(("a".."b").into()), "[a (b");
        assert_eq!(bounds((b"a"..=b"b").into()), "[a [b");
        assert_eq!(bounds((vec![b'a']..).into()), "[a -");
        assert_eq!(bounds((..String::from("b")).into()), "- (b");
        assert_eq!(bounds((..=[b'b']).into()), "- [b");
        assert_eq!(bounds((Bound::Excluded("a"), Bound::Unbounded).into()), "(a -");
    }

    #[test]
    fn ranges_that_hold_nothing_say_so() {
        for empty in [("b".."a").into(), ("a".."a").into(), KeyRange::from("b"..="a")] {
            assert!(empty.is_empty(), "{empty:?}");
        }
        for range in [("a"..="a").into(), KeyRange::prefix("a"), (.."a").into()] {
            assert!(!range.is_empty(), "{range:?}");
        }
        assert!(KeyRange::from((Bound::Excluded("a"), Bound::Excluded("a"))).is_empty());
        assert!(KeyRange::from((Bound::Excluded("a"), Bound::Included("a"))).is_empty());
    }

    #[test]
    fn a_walk_that_is_to_begin_before_the_range_begins_at_its_bound() {
        let range = KeyRange::from((Bound::Excluded("b"), Bound::Included("d")));
        for (key, direction, start) in [
            (&b"a"[..], Direction::Forward, Bound::Excluded(&b"b"[..])),
            (b"b", Direction::Forward, Bound::Excluded(b"b")),
            (b"c", Direction::Forward, Bound::Included(b"c")),
            (b"e", Direction::Forward, Bound::Included(b"e")),
            (b"e", Direction::Reverse, Bound::Included(b"d")),
            (b"d", Direction::Reverse, Bound::Included(b"d")),
            (b"a", Direction::Reverse, Bound::Included(b"a")),
        ] {
            assert_eq!(range.start(key, direction), start, "{key:?} {direction:?}");
        }
    }
}
