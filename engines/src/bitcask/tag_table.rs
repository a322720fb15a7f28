//! The hash table of one shard of the keydir: entries in cache lines, found by their tags.
//!
//! 1. The table is an array of lines of eight entries. A tag has a home line and a control byte, which depend on the tag alone, so growing needs no keys.
//! 2. An entry is in the first free place from the start of its home line on (linear probing), so a lookup ends at the first line with a free place. At most four fifths of
//!    the places are taken: nearly every lookup ends in the home line.
//! 3. A lookup asks the control bytes, and looks into a line only where one of them is that of the tag: for an absent key, once in forty times. The home line is
//!    fetched meanwhile, so that what is there costs one miss of the cache, and what is not mostly none.
//! 4. Removing an entry moves later ones back into the gap, as far as their home lines permit; nothing marks what was removed (Knuth, TAOCP 3, 6.4, Algorithm R).
//! 5. A full table grows by a quarter: between 11.3 and 14.1 bytes an entry, and 25.3 while all tables grow at once.

use super::control::ControlByte;
use super::entry::Entry;
use super::lines::{LINE, Lines};
use crate::prefetch::prefetch;

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
        self.lines.bytes()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        let (lines, _) = self.lines.parts();
        lines.iter().flat_map(|line| line.0).filter(|entry| *entry != Entry::NONE)
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
        let (home, _) = self.home(Entry::new(hash, 0));
        let (lines, controls) = self.lines.parts();
        lines.get(home).map_or(0, |line| line.0[0].to_bits() ^ controls[home].to_bits())
    }

    /// Calls `visit` with every entry that has the tag of `hash`.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut visit: impl FnMut(Entry)) {
        let (lines, controls) = self.lines.parts();
        let (home, byte) = self.home(Entry::new(hash, 0));
        let Some(line) = lines.get(home) else { return };
        prefetch(std::slice::from_ref(line));
        for line in (home..lines.len()).chain(0..home) {
            let control = controls[line];
            for place in control.places_of(byte) {
                let entry = lines[line].0[place];
                if entry.has_tag_of(hash) && entry != Entry::NONE {
                    visit(entry);
                }
            }
            if control.has_free() {
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
        debug_assert_eq!(old.tag(), new.tag());
        match self.position(old) {
            Some(at) => {
                self.lines.parts_mut().0[at / LINE].0[at % LINE] = new;
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
            let (lines, _) = self.lines.parts();
            let next = lines[at / LINE].0[at % LINE];
            if next == Entry::NONE {
                break;
            }
            let (home, byte) = self.home(next);
            if distance(home * LINE, gap) < distance(home * LINE, at) {
                self.set(gap, next, Some(byte));
                gap = at;
            }
        }
        self.set(gap, Entry::NONE, None);
        self.len -= 1;
        true
    }

    #[inline]
    fn set(&mut self, place: usize, entry: Entry, byte: Option<ControlByte>) {
        let (lines, controls) = self.lines.parts_mut();
        lines[place / LINE].0[place % LINE] = entry;
        controls[place / LINE].set(place % LINE, byte);
    }

    /// Where an entry is, this very one.
    #[inline]
    fn position(&self, entry: Entry) -> Option<usize> {
        let (lines, controls) = self.lines.parts();
        let (home, byte) = self.home(entry);
        for line in (home..lines.len()).chain(0..home) {
            let mut places = controls[line].places_of(byte);
            if let Some(place) = places.find(|place| lines[line].0[*place] == entry) {
                return Some(line * LINE + place);
            }
            if controls[line].has_free() {
                break;
            }
        }
        None
    }

    #[inline]
    fn place(&mut self, entry: Entry) {
        let (home, byte) = self.home(entry);
        let (lines, controls) = self.lines.parts_mut();
        for line in (home..lines.len()).chain(0..home) {
            if let Some(place) = controls[line].free() {
                lines[line].0[place] = entry;
                controls[line].set(place, Some(byte));
                return;
            }
        }
        unreachable!("a fifth of the places is free");
    }

    #[cold]
    fn grow(&mut self) {
        let lines = (self.lines.len() * 5).div_ceil(4).max(1);
        let old = std::mem::replace(&mut self.lines, Lines::free(lines));
        let (lines, _) = old.parts();
        for entry in lines.iter().flat_map(|line| line.0).filter(|entry| *entry != Entry::NONE) {
            self.place(entry);
        }
    }

    /// The home line of an entry's tag, and its control byte: the tag, multiplied until its bits are everywhere, as a fraction of the number of lines, and what is left of it
    /// within the line.
    #[inline]
    fn home(&self, entry: Entry) -> (usize, ControlByte) {
        let mixed = entry.tag().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let position = mixed * self.lines.len() as u64;
        ((position >> 32) as usize, ControlByte::new((position >> 24) as u8))
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

    /// Each place has the control byte that belongs to it.
    fn check(table: &TagTable) {
        let (lines, controls) = table.lines.parts();
        for (line, control) in lines.iter().zip(controls) {
            for (place, entry) in line.0.into_iter().enumerate() {
                let (_, byte) = table.home(entry);
                let mut expected = *control;
                expected.set(place, (entry != Entry::NONE).then_some(byte));
                assert_eq!(*control, expected);
            }
        }
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
                check(&table);
            }
            assert_eq!(table.iter().count(), model.len());
        }
    }
}
