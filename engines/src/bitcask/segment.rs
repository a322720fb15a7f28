//! Segments: the data files of an open store, and the table that finds them by slot.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::entry::Slot;
use super::hint::{Hint, HintKey};
use crate::log::frame::ALIGNMENT;
use crate::storage::{Access, File};

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

/// A time that does not come, in milliseconds since the Unix epoch.
pub(crate) const NEVER: u64 = u64::MAX;

/// A data file of an open store.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) id: FileId,
    pub(crate) slot: Slot,
    pub(crate) file: F,
    pub(crate) usage: Usage,
    /// Everything in it is known to be synced.
    pub(crate) synced: AtomicBool,
    /// A merge has found it to be damaged.
    pub(crate) damaged: AtomicBool,
    /// A hint that was found and not verified yet.
    unverified: Option<(F, HintKey)>,
    /// None: there is no valid one.
    hint: OnceLock<Option<Hint<F>>>,
    /// Stands for one that was damaged.
    renewed: OnceLock<Hint<F>>,
}

impl<F: File> Segment<F> {
    pub(crate) fn new(id: FileId, slot: Slot, file: F) -> Self {
        // Records are read here and there; whoever reads them in a row says so before.
        file.advise(Access::Random);
        Self {
            id,
            slot,
            file,
            usage: Usage::default(),
            synced: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
            unverified: None,
            hint: OnceLock::new(),
            renewed: OnceLock::new(),
        }
    }

    /// Gives the segment a hint that was found beside it.
    #[must_use]
    pub(crate) fn with_hint(self, file: Option<F>, key: HintKey) -> Self {
        Self { unverified: file.map(|file| (file, key)), ..self }
    }

    /// Gives the segment a hint that is known to be right.
    pub(crate) fn set_hint(&self, hint: Hint<F>) {
        // If there is a valid one already, it says the same.
        if let Err(Some(hint)) = self.hint.set(Some(hint)) {
            let _ = self.renewed.set(hint);
        }
    }

    /// The hint, if there is one. The first call verifies it, at the cost of reading it; one that cannot be read is as good as none.
    #[inline]
    pub(crate) fn hint(&self) -> Option<&Hint<F>> {
        match self.hint.get() {
            Some(Some(hint)) => Some(hint),
            Some(None) => self.renewed.get(),
            None => self.verified(),
        }
    }

    #[cold]
    fn verified(&self) -> Option<&Hint<F>> {
        let (file, key) = self.unverified.as_ref()?;
        let verify = || Hint::verify(file.clone(), *key).ok().flatten();
        self.hint.get_or_init(verify).as_ref()
    }

    /// Whether there is a hint that is known to be valid.
    #[inline]
    pub(crate) fn has_verified_hint(&self) -> bool {
        matches!(self.hint.get(), Some(Some(_))) || self.renewed.get().is_some()
    }

    /// Whether there is a hint, as far as that is known without reading it.
    pub(crate) fn has_hint(&self) -> bool {
        let found = self.hint.get().map_or(self.unverified.is_some(), Option::is_some);
        found || self.renewed.get().is_some()
    }

    /// Whether the hint that was found has turned out to be damaged, and no other stands for it.
    pub(crate) fn has_damaged_hint(&self) -> bool {
        matches!(self.hint.get(), Some(None)) && self.renewed.get().is_none()
    }

    /// Whether a hint was found, valid or not.
    pub(crate) fn has_unverified_hint(&self) -> bool {
        self.unverified.is_some()
    }
}

/// A segment that is written no more, and its length in bytes.
pub(crate) type Ended<F> = (Arc<Segment<F>>, u64);

/// How much of a data file is still needed.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Values that are needed: their number in the low half, their bytes in units of the alignment in the high half, so that a write counts both at once. What a damaged record
    /// says of its length may make their bytes wrong, but never their number.
    live: AtomicU64,
    tombstone_bytes: AtomicU64,
    /// When all values that were ever in the file are gone, or [`NEVER`].
    gone_by_ms: AtomicU64,
}

/// So many values, whose frames have `bytes` together, in [`Usage::live`].
const fn live(records: u64, bytes: u64) -> u64 {
    ((bytes / ALIGNMENT) << 32) | records
}

/// One value of `bytes` in [`Usage::live`].
const fn one(bytes: u64) -> u64 {
    live(1, bytes)
}

impl Usage {
    /// What was written down of an earlier life.
    pub(crate) fn restore(
        &self,
        live_records: u64,
        live_bytes: u64,
        tombstone_bytes: u64,
        gone_by_ms: u64,
    ) {
        self.live.store(live(live_records, live_bytes), Ordering::Relaxed);
        self.tombstone_bytes.store(tombstone_bytes, Ordering::Relaxed);
        self.gone_by_ms.store(gone_by_ms, Ordering::Relaxed);
    }

    /// A value was stored whose frame has `bytes`.
    #[inline]
    pub(crate) fn add(&self, bytes: u64) {
        self.live.fetch_add(one(bytes), Ordering::Relaxed);
    }

    /// So many values were stored, whose frames have `bytes` together.
    pub(crate) fn add_all(&self, records: u64, bytes: u64) {
        self.live.fetch_add(live(records, bytes), Ordering::Relaxed);
    }

    /// A value that was stored is needed no more.
    #[inline]
    pub(crate) fn remove(&self, bytes: u64) {
        self.live.fetch_sub(one(bytes), Ordering::Relaxed);
    }

    /// A tombstone was stored.
    pub(crate) fn add_tombstone(&self, bytes: u64) {
        self.tombstone_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A value in the file lasts until then; None: for ever.
    #[inline]
    pub(crate) fn lasts_until(&self, expires_ms: Option<u64>) {
        let expires_ms = expires_ms.unwrap_or(NEVER);
        // Nearly always a read of a line that the write has in its cache anyway.
        if self.gone_by_ms.load(Ordering::Relaxed) < expires_ms {
            self.gone_by_ms.fetch_max(expires_ms, Ordering::Relaxed);
        }
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        (self.live.load(Ordering::Relaxed) >> 32) * ALIGNMENT
    }

    pub(crate) fn live_records(&self) -> u64 {
        self.live.load(Ordering::Relaxed) & u64::from(u32::MAX)
    }

    pub(crate) fn tombstone_bytes(&self) -> u64 {
        self.tombstone_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn gone_by_ms(&self) -> u64 {
        self.gone_by_ms.load(Ordering::Relaxed)
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
    use crate::storage::{SimulatedDisk, Storage};

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
    fn usage_counts_values_and_their_bytes_together() {
        let usage = Usage::default();
        for bytes in [16, 8 << 30, 24] {
            usage.add(bytes);
        }
        assert_eq!((usage.live_records(), usage.live_bytes()), (3, (8 << 30) + 40));
        usage.remove(8 << 30);
        assert_eq!((usage.live_records(), usage.live_bytes()), (2, 40));
        usage.lasts_until(Some(5));
        usage.lasts_until(Some(3));
        assert_eq!(usage.gone_by_ms(), 5);
        usage.lasts_until(None);
        assert_eq!(usage.gone_by_ms(), NEVER);
    }

    #[test]
    fn free_slots_are_used_again() {
        let mut table = Table::default();
        let disk = SimulatedDisk::new();
        disk.write_all(Path::new("/file"), b"");
        let file = disk.open(Path::new("/file")).unwrap();
        let segment = |slot| Arc::new(Segment::new(FileId(9), slot, file.clone()));
        for slot in 0..3 {
            assert_eq!(table.free_slot(), slot);
            table.insert(segment(slot));
        }
        table.remove(1);
        assert_eq!(table.free_slot(), 1);
    }
}
