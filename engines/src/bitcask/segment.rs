//! Segments: the data files of an open store, and the table that finds them by slot.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::entry::Slot;
use crate::storage::File;

/// Number of a data file: never used twice in the life of a store, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(pub(crate) u32);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The files of a store that belong to a [`FileId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FileKind {
    Data,
    Hint,
}

impl FileKind {
    fn extension(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Hint => "hint",
        }
    }

    /// The path of such a file.
    pub(crate) fn path(self, dir: &Path, id: FileId) -> PathBuf {
        dir.join(format!("{:010}.{}", id.0, self.extension()))
    }

    /// Whether a name is one that [`FileKind::path`] makes, and which.
    pub(crate) fn parse(name: &str) -> Option<(Self, FileId)> {
        let (digits, extension) = name.split_once('.')?;
        let kind =
            [Self::Data, Self::Hint].into_iter().find(|kind| kind.extension() == extension)?;
        if digits.len() != 10 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok().map(|id| (kind, FileId(id)))
    }
}

/// A data file of an open store.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) id: FileId,
    pub(crate) slot: Slot,
    pub(crate) file: F,
    pub(crate) usage: Usage,
    /// Everything in it is known to be synced.
    pub(crate) synced: AtomicBool,
}

impl<F: File> Segment<F> {
    pub(crate) fn new(id: FileId, slot: Slot, file: F) -> Self {
        Self { id, slot, file, usage: Usage::default(), synced: AtomicBool::new(false) }
    }
}

/// A segment that is written no more, and its length in bytes.
pub(crate) type Ended<F> = (Arc<Segment<F>>, u64);

/// How much of a data file is still needed.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    live_bytes: AtomicU64,
    tombstone_bytes: AtomicU64,
}

impl Usage {
    /// A value was stored whose frame has `bytes`.
    #[inline]
    pub(crate) fn add(&self, bytes: u64) {
        self.live_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A value that was stored is needed no more.
    #[inline]
    pub(crate) fn remove(&self, bytes: u64) {
        self.live_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A tombstone was stored.
    pub(crate) fn add_tombstone(&self, bytes: u64) {
        self.tombstone_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn tombstone_bytes(&self) -> u64 {
        self.tombstone_bytes.load(Ordering::Relaxed)
    }
}

/// The open segments by slot.
#[derive(Clone, Debug)]
pub(crate) struct Table<F>(Vec<Option<Arc<Segment<F>>>>);

impl<F> Default for Table<F> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<F> Table<F> {
    /// The segment that an entry of the keydir points into.
    ///
    /// # Panics
    /// If there is none, which the keydir's invariant excludes.
    #[inline]
    pub(crate) fn segment(&self, slot: Slot) -> &Arc<Segment<F>> {
        match self.0.get(slot as usize) {
            Some(Some(segment)) => segment,
            _ => {
                unreachable!("an entry's segment is in the table while the entry is in the keydir")
            }
        }
    }

    /// The lowest slot that is free.
    pub(crate) fn free_slot(&self) -> Slot {
        self.0.iter().position(Option::is_none).unwrap_or(self.0.len()) as Slot
    }

    pub(crate) fn insert(&mut self, segment: Arc<Segment<F>>) {
        let slot = segment.slot as usize;
        if slot >= self.0.len() {
            self.0.resize(slot + 1, None);
        }
        debug_assert!(self.0[slot].is_none(), "a slot is given to one segment at a time");
        self.0[slot] = Some(segment);
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        self.0[slot as usize] = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_make_are_ours() {
        let path = FileKind::Data.path(Path::new("dir"), FileId(42));
        assert_eq!(path, Path::new("dir/0000000042.data"));
        assert_eq!(FileKind::parse("0000000042.data"), Some((FileKind::Data, FileId(42))));
        assert_eq!(FileKind::parse("4294967295.hint"), Some((FileKind::Hint, FileId(u32::MAX))));
        for name in [
            "42.data",
            "0000000042.dat",
            "4294967296.data",
            "+000000042.data",
            "MANIFEST",
            "a.hint",
        ] {
            assert_eq!(FileKind::parse(name), None, "{name}");
        }
    }

    #[test]
    fn free_slots_are_used_again() {
        let mut table = Table::<()>::default();
        let segment = |slot| {
            let (usage, synced) = (Usage::default(), AtomicBool::new(true));
            Arc::new(Segment { id: FileId(9), slot, file: (), usage, synced })
        };
        for slot in 0..3 {
            assert_eq!(table.free_slot(), slot);
            table.insert(segment(slot));
        }
        table.remove(1);
        assert_eq!(table.free_slot(), 1);
    }
}
