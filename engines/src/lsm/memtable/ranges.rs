//! The ranges of keys that a memtable deletes.
//!
//! 1. Ranges that overlap are cut into fragments that do not. A fragment keeps the offset in the log of the newest deletion that covers it: a version of a key that was written before that is
//!    deleted, one behind it is not.
//! 2. Fragments stand in order, in chunks that are never changed: a deletion makes new chunks where it cuts, and a new list of chunks. So a reader keeps the fragments of its moment by
//!    keeping one list, and a key is looked up by two binary searches.
//! 3. The list is published with the length that the log has then, beside the one before it: whoever sees the log a little shorter takes that.

use std::sync::Arc;

use super::super::range_set::RangeSet;
use super::Moment;

/// Fragments in a chunk at most.
const CHUNK_MAX: usize = 64;

/// Keys from `start` up to, but without `end`, whose versions before `offset` are deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) start: Arc<[u8]>,
    pub(crate) end: Arc<[u8]>,
    pub(crate) offset: u32,
}

/// All fragments at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fragments {
    /// None is empty.
    chunks: Vec<Arc<[Fragment]>>,
}

/// Where a chunk begins and ends.
fn bounds(chunk: &[Fragment]) -> (&[u8], &[u8]) {
    let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { return (&[], &[]) };
    (&first.start, &last.end)
}

impl Fragments {
    /// Adds a deletion that is younger than all others. Costs a copy of the chunks in which it lies, and of the list of chunks.
    pub(crate) fn add(&mut self, start: &[u8], end: &[u8], offset: u32) {
        let mut first = self.chunks.partition_point(|chunk| bounds(chunk).1 <= start);
        let mut behind = self.chunks.partition_point(|chunk| bounds(chunk).0 < end);
        if first >= behind {
            // Between two chunks: it goes to the one before it.
            first = first.saturating_sub(1);
            behind = (first + 1).min(self.chunks.len());
        }
        let added = Fragment { start: start.into(), end: end.into(), offset };
        let (start, end) = (Arc::clone(&added.start), Arc::clone(&added.end));
        let mut added = Some(added);
        let mut fragments = Vec::new();
        for old in self.chunks[first..behind].iter().flat_map(|chunk| chunk.iter()) {
            if old.end <= start {
                fragments.push(old.clone());
                continue;
            }
            if old.start < start {
                fragments.push(Fragment { end: Arc::clone(&start), ..old.clone() });
            }
            fragments.extend(added.take());
            if old.start >= end {
                fragments.push(old.clone());
            } else if old.end > end {
                fragments.push(Fragment { start: Arc::clone(&end), ..old.clone() });
            }
        }
        fragments.extend(added);
        let pieces = fragments.len().div_ceil(CHUNK_MAX);
        let chunks = fragments.chunks(fragments.len().div_ceil(pieces)).map(Arc::from);
        self.chunks.splice(first..behind, chunks);
    }

    /// The fragment that holds `key`.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<&Fragment> {
        let chunk = self.chunks.partition_point(|chunk| bounds(chunk).1 <= key);
        let chunk = self.chunks.get(chunk)?;
        let at = chunk.partition_point(|fragment| &*fragment.end <= key);
        chunk.get(at).filter(|fragment| &*fragment.start <= key)
    }

    /// Whether any key from `low` to `high`, both included, is in a fragment.
    pub(super) fn overlap(&self, low: &[u8], high: &[u8]) -> bool {
        let chunk = self.chunks.partition_point(|chunk| bounds(chunk).1 <= low);
        let Some(chunk) = self.chunks.get(chunk) else { return false };
        let at = chunk.partition_point(|fragment| &*fragment.end <= low);
        chunk.get(at).is_some_and(|fragment| &*fragment.start <= high)
    }

    /// Whether a version of `key` that lies at `offset` of the log is deleted.
    #[inline]
    pub(crate) fn delete(&self, key: &[u8], offset: u32) -> bool {
        self.find(key).is_some_and(|fragment| fragment.offset > offset)
    }

    /// The keys of all fragments.
    pub(crate) fn set(&self) -> RangeSet {
        let mut set = RangeSet::default();
        for fragment in self.chunks.iter().flat_map(|chunk| chunk.iter()) {
            set.push(&fragment.start, &fragment.end);
        }
        set
    }

    /// Memory in use, about.
    pub(super) fn memory_bytes(&self) -> usize {
        let bytes =
            |fragment: &Fragment| size_of::<Fragment>() + fragment.start.len() + fragment.end.len();
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(bytes).sum()
    }
}

/// The newest fragments, and those before them.
#[derive(Debug)]
pub(super) struct Published {
    /// Length of the log from which on they count.
    from: u32,
    pub(super) newest: Arc<Fragments>,
    /// What counted before, and from which length on.
    before: Option<Arc<Fragments>>,
    before_from: u32,
}

impl Published {
    /// The `newest` fragments, which count from the length `from` of the log on, after `old`.
    pub(super) fn after(old: Option<&Self>, newest: Fragments, from: u32) -> Self {
        Self {
            from,
            newest: Arc::new(newest),
            before: old.map(|old| Arc::clone(&old.newest)),
            before_from: old.map_or(0, |old| old.from),
        }
    }

    /// What counted while the log had the length `visible`; `None` if that was too long ago.
    pub(super) fn at(&self, visible: u32) -> Option<Moment> {
        if self.from <= visible {
            Some(Moment { visible, ranges: Some(Arc::clone(&self.newest)) })
        } else if self.before_from <= visible {
            Some(Moment { visible, ranges: self.before.clone() })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn the_newest_deletion_of_each_key_is_found_at_every_moment() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        for keys in [20_u16, 400, 3_000] {
            let (mut fragments, mut model) = (Fragments::default(), vec![None; usize::from(keys)]);
            let mut moments = Vec::new();
            for offset in 1..2_000 {
                let longest = if random.random_range(0..50) == 0 { keys } else { 9.min(keys) };
                let start = random.random_range(0..keys - 1);
                let end = (start + random.random_range(1..=longest)).min(keys);
                fragments.add(&start.to_be_bytes(), &end.to_be_bytes(), offset);
                model[usize::from(start)..usize::from(end)].fill(Some(offset));
                if offset % 100 == 1 {
                    moments.push((fragments.clone(), model.clone()));
                }
            }
            for (fragments, model) in &moments {
                for (key, newest) in model.iter().enumerate() {
                    let found = fragments.find(&(key as u16).to_be_bytes());
                    assert_eq!(found.map(|fragment| fragment.offset), *newest, "key {key}");
                }
                let all: Vec<&Fragment> = fragments.chunks.iter().flat_map(|c| c.iter()).collect();
                assert!(all.iter().all(|fragment| fragment.start < fragment.end));
                assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].start));
                assert!(fragments.chunks.iter().all(|c| (1..=CHUNK_MAX).contains(&c.len())));
            }
        }
    }

    #[test]
    fn what_is_published_counts_from_its_length_of_the_log_on() {
        let fragments = |offset| {
            let mut fragments = Fragments::default();
            fragments.add(b"a", b"b", offset);
            fragments
        };
        let offset_at = |published: &Published, visible| {
            let moment = published.at(visible)?;
            Some(moment.ranges.map(|ranges| ranges.find(b"a").unwrap().offset))
        };
        let first = Published::after(None, fragments(50), 100);
        assert_eq!(offset_at(&first, 99), Some(None));
        assert_eq!(offset_at(&first, 100), Some(Some(50)));
        let second = Published::after(Some(&first), fragments(150), 200);
        assert_eq!(offset_at(&second, 99), None);
        assert_eq!(offset_at(&second, 199), Some(Some(50)));
        assert_eq!(offset_at(&second, 200), Some(Some(150)));
    }
}
