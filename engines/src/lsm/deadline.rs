//! Values that expire: the deadline that stands before such a value, or before the pointer to it.
//!
//! 1. A put for a time writes down when the value is gone, not how long it stays: wherever the record goes, it says the same.
//! 2. From its deadline on, a record says what a deletion says: there is no such key, wherever older records have one. So nothing older comes back.
//! 3. What a flush or a compaction meets behind its deadline it treats as a deletion: it is dropped where nothing older is left, and else a deletion takes its place.
//! 4. A read looks at the clock only where it meets such a record, once, and after it has taken the tree: what a compaction has dropped by then would be gone anyway. A snapshot looks at the clock when it is taken, if anything in it
//!    can expire, and stays with that time.
//!
//! A clock that is set back brings back what no flush or compaction has met meanwhile, and nothing older than that.

use super::wal::Kind;

/// Bytes before a value that expires: when, in milliseconds since the Unix epoch.
pub(crate) const DEADLINE_BYTES: usize = 8;

/// The deadline, and what it stands before; `None` if there is none, which no record of a kind that expires has.
#[inline]
pub(crate) fn split(value: &[u8]) -> Option<(u64, &[u8])> {
    let (deadline, value) = value.split_first_chunk::<DEADLINE_BYTES>()?;
    Some((u64::from_le_bytes(*deadline), value))
}

/// A value with its deadline before it.
pub(crate) fn join(expires_ms: u64, value: &[u8]) -> Vec<u8> {
    [&expires_ms.to_le_bytes(), value].concat()
}

/// Whether an entry says at `now_ms` that there is no such key.
#[inline]
pub(crate) fn is_gone(kind: Kind, value: &[u8], now_ms: u64) -> bool {
    match kind {
        Kind::Put | Kind::Pointer | Kind::DeleteRange => false,
        Kind::Delete => true,
        Kind::PutExpiring | Kind::PointerExpiring => {
            split(value).is_some_and(|(expires_ms, _)| expires_ms <= now_ms)
        }
    }
}

/// What of a table's entries expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expiring {
    /// Entries that do.
    pub(crate) entries: u64,
    /// When the first of them does, in milliseconds since the Unix epoch; 0 if there are none.
    pub(crate) first_ms: u64,
    /// When the last of them does; 0 if there are none.
    pub(crate) last_ms: u64,
}

impl Expiring {
    /// Counts an entry with this deadline.
    pub(crate) fn add(&mut self, expires_ms: u64) {
        let is_first = self.entries == 0;
        self.first_ms = if is_first { expires_ms } else { self.first_ms.min(expires_ms) };
        self.last_ms = self.last_ms.max(expires_ms);
        self.entries += 1;
    }

    /// Whether its fields agree with each other.
    pub(crate) fn is_possible(&self) -> bool {
        let Self { entries, first_ms, last_ms } = *self;
        first_ms <= last_ms && (entries > 0 || last_ms == 0)
    }

    /// Whether any of them has expired.
    pub(crate) fn any_by(&self, now_ms: u64) -> bool {
        self.entries > 0 && self.first_ms <= now_ms
    }

    /// Whether all of them have.
    pub(crate) fn all_by(&self, now_ms: u64) -> bool {
        self.last_ms <= now_ms
    }

    /// About how many have, as if deadlines were spread evenly between the first and the last. At least one, if any has.
    pub(crate) fn about_by(&self, now_ms: u64) -> u64 {
        if !self.any_by(now_ms) {
            0
        } else if self.all_by(now_ms) {
            self.entries
        } else {
            let (past, all) = (now_ms - self.first_ms, self.last_ms - self.first_ms);
            let share = u128::from(self.entries) * u128::from(past) / u128::from(all);
            (share as u64).max(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_back_and_what_is_too_short_has_none() {
        let joined = join(0x0102, b"value");
        assert_eq!(joined, b"\x02\x01\0\0\0\0\0\0value");
        assert_eq!(split(&joined), Some((0x0102, &b"value"[..])));
        assert_eq!(split(&joined[..8]), Some((0x0102, &b""[..])));
        assert_eq!(split(&joined[..7]), None);
    }

    #[test]
    fn what_expires_does_so_at_its_time() {
        for kind in [Kind::PutExpiring, Kind::PointerExpiring] {
            assert!(!is_gone(kind, &join(10, b"value"), 9));
            assert!(is_gone(kind, &join(10, b"value"), 10));
        }
        assert!(!is_gone(Kind::Put, &join(10, b"value"), 10));
        assert!(is_gone(Kind::Delete, b"", 0));
    }

    #[test]
    fn how_many_have_expired_is_told_from_the_first_and_the_last() {
        let mut expiring = Expiring::default();
        assert!(expiring.is_possible() && !expiring.any_by(u64::MAX));
        assert_eq!(expiring.about_by(u64::MAX), 0);
        for expires_ms in [200, 100, 300, 300] {
            expiring.add(expires_ms);
        }
        assert_eq!(expiring, Expiring { entries: 4, first_ms: 100, last_ms: 300 });
        let about = [99, 100, 150, 200, 299, 300, u64::MAX].map(|now_ms| expiring.about_by(now_ms));
        assert_eq!(about, [0, 1, 1, 2, 3, 4, 4]);
        let all = Expiring { entries: u64::MAX, first_ms: 0, last_ms: u64::MAX };
        assert_eq!(all.about_by(u64::MAX / 2), u64::MAX / 2);
    }

    #[test]
    fn fields_that_contradict_each_other_are_impossible() {
        for (entries, first_ms, last_ms) in [(0, 0, 1), (0, 1, 1), (1, 2, 1)] {
            assert!(!Expiring { entries, first_ms, last_ms }.is_possible());
        }
        assert!(Expiring { entries: 1, first_ms: 0, last_ms: 0 }.is_possible());
    }
}
