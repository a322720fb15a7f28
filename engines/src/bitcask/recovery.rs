//! Opening a store: what is there is found out, and made ready to go on.
//!
//! 1. The manifest names the data files, oldest records first. One that is missing is an error; files of ours that it does not name are orphans.
//! 2. A sealed file has a known, synced length. Its hint is loaded; without a valid one it is read, and any damage is corruption.
//! 3. An open file is read until its frames end; by the watermark rule of [`crate::log::replay`] that is a torn tail or corruption.
//! 4. What survives must be a prefix of what was written. Each open file says in its preface how long the one before it was; if less than that was
//!    found there, the file and all after it are given up. If one of them knew that it had been synced itself, the missing end had been synced as well: corruption.
//! 5. What was found stays where it is, and writing goes on in a new file, whose preface says where the last one ended. Torn tails are thus never
//!    written behind, and are cut off once their files are sealed and opened again. Nothing changes before the new manifest is in place: a
//!    recovery that crashes is repeated from the same state.
//!    Open files that were found are not yet vouched for. They may hold what is in the cache alone, and would count as stored after a sync that failed in the process before:
//!    the first sync or sealing writes them again (`store.rs`).
//! 6. A store that was closed has its keydir written down (`keydir_file.rs`); then steps 2 and 3 are left out, and hints are verified when they are first needed.
//!
//! An atomic batch whose last frame is missing at the end of an open file is a torn tail from its first frame on.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use super::entry::{Layout, Slot};
use super::files::{Files, Listed, Structure};
use super::fingerprint::Hasher;
use super::hint::{Hint, HintEntry, HintKey, Summary};
use super::index::{Index, Records, join, processors, spawn};
use super::keydir::Keydir;
use super::keydir_file::{self, KEYDIR_NAME, Written, WrittenUsage};
use super::manifest::{MANIFEST_NAME, MANIFEST_TEMPORARY_NAME, Manifest};
use super::metrics::Counters;
use super::options::Options;
use super::record::{self, FRAME_BYTES_MAX, PREFACE_FRAME_BYTES, Preface, Record};
use super::report::Recovery;
use super::rotation::write_preface;
use super::segment::{Ended, FileId, FileKind, Segment};
use super::store::{Full, Store};
use super::view::View;
use crate::log::frame::{ALIGNMENT, LOG_BYTES_MAX};
use crate::log::{Expected, Tail, frame, replay};
use crate::storage::{DirEntry, File, Storage};
use crate::{Durability, Error, Result};

/// Name of the lock file in the store's folder.
pub(crate) const LOCK_NAME: &str = "LOCK";

/// Opens the store in `dir`, or makes one there.
pub(crate) fn open<S: Storage>(storage: S, dir: &Path, options: Options) -> Result<Store<S>> {
    let start = Instant::now();
    options.validate()?;
    storage.create_dir(dir)?;
    refuse_foreign(dir, &storage.list(dir)?)?;
    let lock = storage.lock(&dir.join(LOCK_NAME))?;
    let entries = storage.list(dir)?;
    refuse_foreign(dir, &entries)?;
    let counters = Counters::default();
    let is_new = !has_manifest(&entries);
    let manifest =
        if is_new { Manifest::new(storage.entropy()) } else { Manifest::load(&storage, dir)? };
    let hasher = Hasher { seed: manifest.seed, mask: options.hash_mask };
    let mut recovery = Recovery::default();
    let sources = open_files(&storage, dir, &manifest, &entries, Mode::Write)?;
    let written = entries.iter().any(|entry| entry.name == KEYDIR_NAME);
    let written = written.then(|| storage.open(&dir.join(KEYDIR_NAME))).transpose()?;
    recovery.orphans_removed = remove_orphans(&storage, dir, &manifest, &entries, &counters)?;
    if manifest.files.is_empty() {
        create(&storage, dir, &manifest, &counters)?;
    }
    let (layout, loaded) =
        take_in(sources, written.as_ref(), &manifest, hasher, &options, &mut recovery)?;
    let Loaded { keydir, kept, dropped, hintless } = loaded;

    let open = |file: &&(Listed<S::File>, u64)| file.0.sealed.is_none();
    let full: VecDeque<_> = kept
        .iter()
        .filter(open)
        .map(|(file, len)| {
            let segment = Arc::clone(&file.segment);
            Full { segment, log: None, len: *len, found: true }
        })
        .collect();
    let previous = full.back().map(|full| (full.segment.id, full.len));
    let files = kept.into_iter().map(|(file, _)| file).collect();
    let structure = Structure { next_id: manifest.next_id, seed: manifest.seed, files };
    let checksums = options.checksums;
    let files = Files::new(storage, dir.to_owned(), layout, counters, checksums, structure);
    if options.durability == Durability::Sync || options.sync_interval.is_some() {
        files.note_sync();
    }
    let mut active = files.create(options.segment_bytes)?;
    files.activate(active.segment.id);
    write_preface(&mut active, previous)?;
    for id in dropped {
        files.remove(id);
    }
    if written.is_some() {
        // It is out of date from now on. If it stays, its checksum of the manifest says so.
        let _ = files.storage.remove(&dir.join(KEYDIR_NAME));
    }
    recovery.records = keydir.len() as u64;
    recovery.duration = start.elapsed();
    let view = View { keydir, files, hasher, clock: options.clock.clone() };
    let mut store = Store::new(options, view, active, full, recovery, lock);
    *store.hintless.get_mut() = hintless;
    Ok(store)
}

/// Builds the keydir, or takes it over as it was written down.
fn take_in<F: File>(
    sources: Vec<Source<F>>,
    written: Option<&F>,
    manifest: &Manifest,
    hasher: Hasher,
    options: &Options,
    recovery: &mut Recovery,
) -> Result<(Layout, Loaded<F>)> {
    let layout = layout(&sources, options)?;
    let written = match written {
        Some(file) => keydir_file::load(file, manifest, hasher, layout)?,
        None => None,
    };
    let loaded = match written {
        Some(written) => restore(sources, written, hasher, recovery),
        None => load(&sources, layout, hasher, recovery)?,
    };
    Ok((layout, loaded))
}

/// Takes in a store as it is at this moment, for reading only. Nothing is changed, and no lock is taken: another process may be writing.
///
/// # Errors
/// As for [`open`]. What the other process changes at the same time can look like an error: then the manifest has changed, or will have when this is tried again.
pub(crate) fn open_for_reading<S: Storage>(
    storage: S,
    dir: &Path,
    options: &Options,
) -> Result<(View<S>, Recovery)> {
    let start = Instant::now();
    options.validate()?;
    let entries = storage.list(dir)?;
    if !has_manifest(&entries) {
        let reason = format!("it holds no file {MANIFEST_NAME:?}");
        return Err(Error::NotAStore { path: dir.to_owned(), reason });
    }
    let manifest = Manifest::load(&storage, dir)?;
    let hasher = Hasher { seed: manifest.seed, mask: options.hash_mask };
    let mut recovery = Recovery::default();
    let sources = open_files(&storage, dir, &manifest, &entries, Mode::Read)?;
    let written = entries.iter().any(|entry| entry.name == KEYDIR_NAME);
    let written = written.then(|| storage.open(&dir.join(KEYDIR_NAME)).ok()).flatten();
    let (layout, loaded) =
        take_in(sources, written.as_ref(), &manifest, hasher, options, &mut recovery)?;
    let files = loaded.kept.into_iter().map(|(file, _)| file).collect();
    let structure = Structure { next_id: manifest.next_id, seed: manifest.seed, files };
    let (dir, counters) = (dir.to_owned(), Counters::default());
    let files = Files::new(storage, dir, layout, counters, options.checksums, structure);
    recovery.records = loaded.keydir.len() as u64;
    recovery.duration = start.elapsed();
    Ok((View { keydir: loaded.keydir, files, hasher, clock: options.clock.clone() }, recovery))
}

fn has_manifest(entries: &[DirEntry]) -> bool {
    entries.iter().any(|entry| entry.name == MANIFEST_NAME)
}

/// A folder without a manifest must be empty, but for what a creation that was cut short leaves behind.
fn refuse_foreign(dir: &Path, entries: &[DirEntry]) -> Result<()> {
    let foreign = |entry: &&DirEntry| {
        !entry.is_file || ![LOCK_NAME, MANIFEST_TEMPORARY_NAME].contains(&entry.name.as_str())
    };
    match entries.iter().find(foreign) {
        Some(entry) if !has_manifest(entries) => Err(Error::NotAStore {
            path: dir.to_owned(),
            reason: format!("it holds {:?}, but no file {MANIFEST_NAME:?}", entry.name),
        }),
        _ => Ok(()),
    }
}

/// Makes an empty store: its folder's name comes before its manifest, and its manifest before all data, so that data without a manifest is never ours to remove. Where there is a manifest of
/// an empty store, its making may not have come to its end.
fn create<S: Storage>(
    storage: &S,
    dir: &Path,
    manifest: &Manifest,
    counters: &Counters,
) -> Result<()> {
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        counters.sync(|| storage.sync_dir(parent))?;
    }
    manifest.write(storage, dir, counters)?.commit(counters)
}

/// Removes files of ours that the manifest does not name.
fn remove_orphans<S: Storage>(
    storage: &S,
    dir: &Path,
    manifest: &Manifest,
    entries: &[DirEntry],
    counters: &Counters,
) -> Result<u64> {
    let named: HashSet<FileId> = manifest.files.iter().map(|file| file.id).collect();
    let is_orphan = |entry: &&DirEntry| match FileKind::parse(&entry.name) {
        Some((_, id)) => entry.is_file && !named.contains(&id),
        None => entry.is_file && entry.name == MANIFEST_TEMPORARY_NAME,
    };
    let is_manifest = |entry: &&DirEntry| entry.name == MANIFEST_TEMPORARY_NAME;
    let (manifests, orphans): (Vec<_>, Vec<_>) =
        entries.iter().filter(is_orphan).partition(is_manifest);
    for unfinished in &manifests {
        storage.remove(&dir.join(&unfinished.name))?;
    }
    if !orphans.is_empty() {
        // The manifest that we see need not be durable: its writer may have been killed before it had synced the folder, or that sync may have failed. The one that is
        // durable may name them. A sync of ours would prove nothing after one that failed, so it is written again.
        manifest.write(storage, dir, counters)?.commit(counters)?;
    }
    for orphan in &orphans {
        storage.remove(&dir.join(&orphan.name))?;
    }
    Ok((manifests.len() + orphans.len()) as u64)
}

/// A data file that the manifest names, and its hint if there is one.
struct Source<F> {
    id: FileId,
    sealed: Option<u64>,
    file: F,
    hint: Option<F>,
}

/// What a store is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Write,
    /// Nothing may be changed, and somebody else may be writing.
    Read,
}

fn open_files<S: Storage>(
    storage: &S,
    dir: &Path,
    manifest: &Manifest,
    entries: &[DirEntry],
    mode: Mode,
) -> Result<Vec<Source<S::File>>> {
    let there: HashSet<_> = entries
        .iter()
        .filter(|entry| entry.is_file)
        .filter_map(|entry| FileKind::parse(&entry.name))
        .collect();
    let mut sources = Vec::with_capacity(manifest.files.len());
    for named in &manifest.files {
        let path = FileKind::Data.path(dir, named.id);
        if !there.contains(&(FileKind::Data, named.id)) {
            return Err(Error::corrupt(
                &path,
                0,
                "the manifest names this file, but it is missing",
            ));
        }
        // A file that another process is writing changes under our eyes; of what it holds now a copy is taken.
        let mut file = match named.sealed {
            None if mode == Mode::Read => storage.open_copy(&path)?,
            _ => storage.open(&path)?,
        };
        if named.sealed.is_none() && file.len() > LOG_BYTES_MAX {
            let reason = "the file is longer than a data file can be";
            return Err(Error::corrupt(&path, LOG_BYTES_MAX, reason));
        }
        if let Some(len) = named.sealed {
            // The last frame is whole without its padding.
            if file.len().next_multiple_of(ALIGNMENT) < len {
                let reason = format!("{len} bytes were sealed, but the file ends here");
                return Err(Error::corrupt(&path, file.len(), reason));
            }
            if file.len() > len && mode == Mode::Write {
                drop(file);
                storage.truncate(&path, len)?;
                file = storage.open(&path)?;
            }
        }
        let hint = (named.sealed.is_some() && there.contains(&(FileKind::Hint, named.id)))
            .then(|| storage.open(&FileKind::Hint.path(dir, named.id)))
            .transpose()?;
        sources.push(Source { id: named.id, sealed: named.sealed, file, hint });
    }
    Ok(sources)
}

/// What the data files hold.
struct Loaded<F> {
    keydir: Keydir,
    /// Files that make up the store, with their lengths.
    kept: Vec<(Listed<F>, u64)>,
    /// Files that are not needed: never used, or given up.
    dropped: Vec<FileId>,
    /// Sealed files without a valid hint, with their lengths.
    hintless: Vec<Ended<F>>,
}

/// How entries of the keydir are laid out, so that there is room for the longest of the files, and for those to come.
fn layout<F: File>(sources: &[Source<F>], options: &Options) -> Result<Layout> {
    let len = |source: &Source<F>| source.sealed.unwrap_or(source.file.len());
    let longest = sources.iter().map(len).max().unwrap_or(0);
    let needed = PREFACE_FRAME_BYTES + FRAME_BYTES_MAX;
    let layout = Layout::new(options.segment_bytes.max(needed).max(longest));
    if sources.len() >= layout.slots() as usize {
        return Err(Error::InvalidOption {
            name: "segment_bytes",
            value: options.segment_bytes.to_string(),
            expected: "less: the number of data files times the length of the longest is at most 8 TiB",
        });
    }
    Ok(layout)
}

/// Takes over what was written down when the store was closed.
fn restore<F: File>(
    sources: Vec<Source<F>>,
    written: Written,
    hasher: Hasher,
    recovery: &mut Recovery,
) -> Loaded<F> {
    let mut kept = Vec::with_capacity(sources.len());
    let mut hintless = Vec::new();
    for (slot, (source, usage)) in sources.into_iter().zip(written.usages).enumerate() {
        let len = source.sealed.unwrap_or_default();
        let key = HintKey { id: source.id, data_bytes: len, hasher };
        let segment = Segment::new(source.id, slot as Slot, source.file);
        let segment = Arc::new(segment.with_hint(source.hint, key));
        let WrittenUsage { live_records, live_bytes, tombstone_bytes, gone_by_ms } = usage;
        segment.usage.restore(live_records, live_bytes, tombstone_bytes, gone_by_ms);
        segment.synced.store(true, Ordering::Relaxed);
        if !segment.has_unverified_hint() {
            hintless.push((Arc::clone(&segment), len));
        }
        kept.push((Listed { segment, sealed: source.sealed }, len));
    }
    recovery.files = kept.len() as u64;
    recovery.keydir_used = true;
    Loaded { keydir: written.keydir, kept, dropped: Vec::new(), hintless }
}

fn load<F: File>(
    sources: &[Source<F>],
    layout: Layout,
    hasher: Hasher,
    recovery: &mut Recovery,
) -> Result<Loaded<F>> {
    let segment = |(slot, source): (usize, &Source<F>)| {
        Arc::new(Segment::new(source.id, slot as Slot, source.file.clone()))
    };
    let segments: Vec<_> = sources.iter().enumerate().map(segment).collect();
    let mut index = Index { layout, keydir: Keydir::new(), segments: &segments, hasher };
    let mut kept: Vec<(Listed<F>, u64)> = Vec::new();
    let mut given_up = sources.len();
    let mut hintless = Vec::new();
    let mut ahead = VecDeque::new();
    for (slot, (source, segment)) in sources.iter().zip(&segments).enumerate() {
        if ahead.is_empty() {
            ahead = read_ahead(&sources[slot..], hasher);
        }
        let len = if let (Some(len), Some(records)) = (source.sealed, ahead.pop_front()) {
            if !index.load_sealed(source, slot as Slot, &records?, recovery)? {
                hintless.push((Arc::clone(segment), len));
            }
            Some(len)
        } else {
            index.load_open(source, slot as Slot, kept.last(), recovery)?
        };
        let Some(len) = len else {
            given_up = slot;
            break;
        };
        segment.synced.store(source.sealed.is_some(), Ordering::Relaxed);
        kept.push((Listed { segment: Arc::clone(segment), sealed: source.sealed }, len));
    }
    for source in &sources[given_up..] {
        give_up(source, kept.last(), recovery)?;
    }
    let without_records =
        |(file, len): &mut (Listed<F>, u64)| file.sealed.is_none() && *len <= PREFACE_FRAME_BYTES;
    while kept.pop_if(without_records).is_some() {
        given_up -= 1;
    }
    recovery.files = kept.len() as u64;
    let dropped = sources[given_up..].iter().map(|source| source.id).collect();
    let keydir = index.keydir;
    Ok(Loaded { keydir, kept, dropped, hintless })
}

/// What the next few files hold, as far as they are sealed. Long ones are read by a thread each.
fn read_ahead<'a, F: File>(
    sources: &'a [Source<F>],
    hasher: Hasher,
) -> VecDeque<Result<Records<F>>> {
    /// Bytes that are worth a thread.
    const BYTES_PER_THREAD_MIN: u64 = 1 << 20;
    let sealed = sources.iter().map_while(|source| Some((source, source.sealed?)));
    let long = sealed.clone().take_while(|(_, len)| *len >= BYTES_PER_THREAD_MIN);
    let count = long.take(processors()).count().max(1);
    let mut next = sealed.take(count);
    let first = next.next();
    thread::scope(|scope| {
        let read = |(source, len): (&'a Source<F>, u64)| {
            spawn(scope, source.file.path(), move || read_sealed(source, len, hasher))
        };
        let others: Vec<_> = next.map(read).collect();
        let first = first.map(|(source, len)| read_sealed(source, len, hasher));
        first.into_iter().chain(others.into_iter().map(|other| other.and_then(join))).collect()
    })
}

/// What a sealed file of `len` bytes holds: its hint, or without a valid one what is found by reading the file.
fn read_sealed<F: File>(source: &Source<F>, len: u64, hasher: Hasher) -> Result<Records<F>> {
    let key = HintKey { id: source.id, data_bytes: len, hasher };
    if let Some(file) = &source.hint
        && let Some(hint) = Hint::verify(file.clone(), key)?
    {
        return Ok(Records::Hint(hint));
    }
    // What looks like a batch without an end was one before its file was merged or cut.
    Summary::gather(&source.file, key).map(Records::Summary)
}

/// Takes account of an open file that is not part of the store any more, or never was.
fn give_up<F: File>(
    source: &Source<F>,
    last: Option<&(Listed<F>, u64)>,
    recovery: &mut Recovery,
) -> Result<()> {
    let tail = replay(&source.file, source.id.0, 0, Expected::Torn, |_, _| Ok(()))?;
    if tail.watermark > 0
        && let Some((last, len)) = last
    {
        let reason = format!(
            "records are missing from here on, which had been synced when file {} was written",
            source.id
        );
        return Err(Error::corrupt(last.segment.file.path(), *len, reason));
    }
    recovery.torn_bytes += tail.len + tail.torn_bytes;
    recovery.files_dropped += u64::from(tail.len > 0);
    Ok(())
}

impl<F: File> Index<'_, F> {
    /// Takes in a sealed file. Tells whether it had a hint.
    fn load_sealed(
        &mut self,
        source: &Source<F>,
        slot: Slot,
        records: &Records<F>,
        recovery: &mut Recovery,
    ) -> Result<bool> {
        let segment = &self.segments[slot as usize];
        segment.usage.lasts_until(Some(records.gone_by_ms()));
        let hint = match records {
            Records::Hint(hint) => Some(hint.clone()),
            Records::Summary(_) => None,
        };
        recovery.hints_used += u64::from(hint.is_some());
        recovery.hints_rejected += u64::from(source.hint.is_some() && hint.is_none());
        let has_hint = hint.is_some();
        if let Some(hint) = hint {
            segment.set_hint(hint);
        }
        self.apply_all(slot, records)?;
        Ok(has_hint)
    }

    /// Takes in an open file and returns its length; None if it does not continue what has been taken in before.
    fn load_open(
        &mut self,
        source: &Source<F>,
        slot: Slot,
        last: Option<&(Listed<F>, u64)>,
        recovery: &mut Recovery,
    ) -> Result<Option<u64>> {
        let Ok(frame) = frame::read(&source.file, source.id.0, 0) else { return Ok(None) };
        let preface = match Preface::of(&source.file, source.id, frame.payload()) {
            Ok(preface) => preface,
            // No checksum covers it, and none says that it was ever stored.
            Err(_) if !frame.checked => return Ok(None),
            Err(damage) => return Err(damage),
        };
        if let Some((last, len)) = last.filter(|(last, _)| last.sealed.is_none())
            && preface.previous != Some((last.segment.id, *len))
        {
            return Ok(None);
        }
        // The part of a batch that has been seen, until its end has.
        let mut batch: Vec<HintEntry> = Vec::new();
        let tail = self.scan(source, slot, |index, entry, continues| {
            batch.push(entry);
            if continues {
                return Ok(());
            }
            batch.drain(..).try_for_each(|entry| index.apply(slot, entry))
        })?;
        let len = batch.first().map_or(tail.len, |first| first.offset);
        if len < tail.watermark {
            let reason = "a batch begins here that had been synced, but its end is missing";
            return Err(Error::corrupt(source.file.path(), len, reason));
        }
        recovery.torn_bytes += tail.torn_bytes + (tail.len - len);
        Ok(Some(len))
    }

    /// Reads an open data file, and calls `visit` with each record's entry, and whether its batch goes on.
    fn scan(
        &mut self,
        source: &Source<F>,
        slot: Slot,
        mut visit: impl FnMut(&mut Self, HintEntry, bool) -> Result<()>,
    ) -> Result<Tail> {
        replay(&source.file, source.id.0, 0, Expected::Torn, |offset, payload| {
            if offset == 0 {
                return Preface::of(&source.file, source.id, payload).map(|_| ());
            }
            let record = Record::decode(payload)
                .ok_or_else(|| record::not_a_record(&source.file, offset))?;
            if let Some(value) = &record.value {
                self.segments[slot as usize].usage.lasts_until(value.expires_ms);
            }
            let entry = HintEntry::of(&record, self.hasher.fingerprint(record.key), offset);
            visit(self, entry, record.continues)
        })
    }
}
