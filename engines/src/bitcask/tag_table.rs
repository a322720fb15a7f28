//! The hash table of one shard of the keydir: entries in cache lines, found by their tags.
//!
//! 1. The table is an array of lines of eight entries. A tag has a home line, which depends on the tag alone, so growing needs no keys.
//! 2. An entry is in the first free place from the start of its home line on (linear probing), so a lookup ends at the first free place. At most four fifths of the
//!    places are taken: nearly every lookup, and every second miss of the cache that tables with separate tags suffer, ends in the home line.
//! 3. Removing an entry moves later ones back into the gap, as far as their home lines permit; nothing marks what was removed (Knuth, TAOCP 3, 6.4, Algorithm R).
//! 4. A full table grows by a third: between 10 and 13.4 bytes an entry, and 24 while all tables grow at once.

use super::entry::Entry;
use super::lines::{LINE, Lines};

/// See the module's header.
#[derive(Debug, Default)]
pub(crate) struct TagTable {
    lines: Lines,
    len: usize,
}

impl TagTable {
    /// An empty table with room for `entries`, and as many lines as asked for if that is not absurd.
    pub(crate) fn with_lines(lines: usize, entries: usize) -> Self {
        let needed = (entries * 5).div_ceil(4 * LINE);
        let lines = lines.min(4 * needed).max(needed);
        Self { lines: Lines::free(lines), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        self.lines.iter().flat_map(|line| line.0).filter(|entry| *entry != Entry::NONE)
    }

    /// A copy of all entries.
    pub(crate) fn to_vec(&self) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.len);
        entries.extend(self.iter());
        entries
    }

    /// Brings the home line of a hash into the cache. What it returns means nothing, and is there to be used, so that the access is not left out.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) -> u64 {
        let home = self.home(Entry::new(hash, 0));
        self.lines.get(home).map_or(0, |line| line.0[0].to_bits())
    }

    /// Calls `visit` with every entry that has the tag of `hash`.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut visit: impl FnMut(Entry)) {
        let (after, from) = self.lines.split_at(self.home(Entry::new(hash, 0)));
        for line in from.iter().chain(after) {
            let mut ends = false;
            for entry in line.0 {
                if entry.has_tag_of(hash) && entry != Entry::NONE {
                    visit(entry);
                }
                ends |= entry == Entry::NONE;
            }
            if ends {
                return;
            }
        }
    }

    /// Adds an entry.
    pub(crate) fn insert(&mut self, entry: Entry) {
        debug_assert!(entry != Entry::NONE);
        if (self.len + 1) * 5 > self.lines.len() * LINE * 4 {
            self.grow();
        }
        self.place(entry);
        self.len += 1;
    }

    /// Puts `new`, which has the same tag, in the place of `old`; false if that is not there.
    #[inline]
    pub(crate) fn replace(&mut self, old: Entry, new: Entry) -> bool {
        match self.position(old) {
            Some(at) => {
                *self.at(at) = new;
                true
            }
            None => false,
        }
    }

    /// Removes an entry; false if it is not there.
    pub(crate) fn remove(&mut self, entry: Entry) -> bool {
        let Some(mut gap) = self.position(entry) else { return false };
        let places = self.lines.len() * LINE;
        let distance = |from: usize, to: usize| (to + places - from) % places;
        let mut at = gap;
        loop {
            at = (at + 1) % places;
            let next = *self.at(at);
            if next == Entry::NONE {
                break;
            }
            let home = self.home(next) * LINE;
            if distance(home, gap) < distance(home, at) {
                *self.at(gap) = next;
                gap = at;
            }
        }
        *self.at(gap) = Entry::NONE;
        self.len -= 1;
        true
    }

    #[inline]
    fn at(&mut self, place: usize) -> &mut Entry {
        &mut self.lines[place / LINE].0[place % LINE]
    }

    /// Where an entry is, this very one.
    #[inline]
    fn position(&self, entry: Entry) -> Option<usize> {
        let home = self.home(entry);
        let lines = self.lines.len();
        for line in (home..lines).chain(0..home) {
            let entries = &self.lines[line].0;
            if let Some(place) = entries.iter().position(|other| *other == entry) {
                return Some(line * LINE + place);
            }
            if entries.contains(&Entry::NONE) {
                break;
            }
        }
        None
    }

    fn place(&mut self, entry: Entry) {
        let home = self.home(entry);
        let (after, from) = self.lines.split_at_mut(home);
        for line in from.iter_mut().chain(after) {
            if let Some(free) = line.0.iter_mut().find(|other| **other == Entry::NONE) {
                *free = entry;
                return;
            }
        }
        unreachable!("a fifth of the places is free");
    }

    #[cold]
    fn grow(&mut self) {
        let lines = (self.lines.len() * 4).div_ceil(3).max(1);
        let old = std::mem::replace(&mut self.lines, Lines::free(lines));
        for entry in old.iter().flat_map(|line| line.0).filter(|entry| *entry != Entry::NONE) {
            self.place(entry);
        }
    }

    /// The home line of an entry's tag: the tag, multiplied until its bits are everywhere, as a fraction of the number of lines.
    #[inline]
    fn home(&self, entry: Entry) -> usize {
        let mixed = entry.tag().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((mixed * self.lines.len() as u64) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn found(table: &TagTable, hash: u64) -> HashSet<u64> {
        let mut found = HashSet::new();
        table.find(hash, |entry| assert!(found.insert(entry.location())));
        found
    }

    #[test]
    fn a_table_of_a_known_size_does_not_grow() {
        for (lines, entries) in [(0, 0), (0, 1), (10, 64), (3, 64), (usize::MAX, 7)] {
            let mut table = TagTable::with_lines(lines, entries);
            let before = table.lines();
            for location in 1..=entries as u64 {
                table.insert(Entry::new(location, location));
            }
            assert_eq!((table.len(), table.lines()), (entries, before));
            assert!(before <= 40);
        }
    }

    #[test]
    fn an_empty_table_has_nothing() {
        let mut table = TagTable::default();
        assert!(found(&table, 0).is_empty());
        assert!(
            !table.remove(Entry::new(0, 1)) && !table.replace(Entry::new(0, 1), Entry::new(0, 2))
        );
    }

    /// Many tags, few tags, one tag: whatever is inserted, replaced and removed in whatever order, the table holds what a set would.
    #[test]
    fn a_table_is_a_set() {
        for tags in [1, 3, 50, 1 << 24] {
            let mut table = TagTable::default();
            let mut model = HashSet::new();
            let mut random = 1_u64;
            for step in 1..6_000_u64 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step);
                let (hash, location) = ((random >> 33) % tags, 1 + (random >> 20) % 400);
                let entry = Entry::new(hash, location);
                match random >> 61 {
                    0..4 if model.insert((hash, location)) => table.insert(entry),
                    4 => {
                        let new = Entry::new(hash, location + 400);
                        let there = model.contains(&(hash, location))
                            && !model.contains(&(hash, location + 400));
                        if there {
                            model.remove(&(hash, location));
                            model.insert((hash, location + 400));
                            assert!(table.replace(entry, new));
                        }
                    }
                    _ => assert_eq!(table.remove(entry), model.remove(&(hash, location))),
                }
                assert_eq!(table.len(), model.len());
                let expected =
                    model.iter().filter(|(other, _)| *other == hash).map(|(_, l)| *l).collect();
                assert_eq!(found(&table, hash), expected);
            }
            assert_eq!(table.iter().count(), model.len());
        }
    }
}
