//! A store's folder as it is found, without opening the store: no lock is taken and nothing changes, whatever state it is in.
//!
//! The store may be open elsewhere meanwhile. Files that are being written are copied into memory, the newest first, so that what a file says about the one before it was
//! true when that one was copied; all others are written no more. A copy takes time, and its end may be newer than its middle: where frames seem to be missing in the
//! middle, the file is copied again and looked at as far as the first copy went, for all of that had been written by then.
//!
//! A device that cannot read a page of a mapped file ends the process (SIGBUS): copy the folder of a dying device elsewhere first, with a tool that skips what it cannot read.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::entry::{Layout, Slot};
use super::fingerprint::Hasher;
use super::hint::{Hint, HintKey};
use super::keydir_file::{self, KEYDIR_NAME};
use super::manifest::{MANIFEST_NAME, Manifest};
use super::record::Preface;
use super::scan::{End, written};
use super::segment::{FileId, FileKind, Segment};
use crate::log::frame;
use crate::storage::{DirEntry, File, Storage};
use crate::{Error, Result};

/// See the module's header.
pub(crate) struct Survey<F> {
    pub(crate) manifest: Result<Manifest, Unreadable>,
    /// As hints and the written keydir have it.
    pub(crate) hasher: Hasher,
    /// Oldest records first; without a manifest, by number.
    pub(crate) sources: Vec<Source<F>>,
    /// Files that should be there, and why they are not to be read.
    pub(crate) missing: Vec<(FileId, String)>,
    pub(crate) keydir: Option<WrittenKeydir<F>>,
    /// The folder, sorted by name.
    pub(crate) entries: Vec<DirEntry>,
}

/// Why there is no manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) offset: u64,
    pub(crate) reason: String,
}

/// A data file.
pub(crate) struct Source<F> {
    pub(crate) id: FileId,
    pub(crate) file: F,
    /// Its length by the manifest, if it is written no more; without a manifest, by its hint.
    pub(crate) sealed: Option<u64>,
    /// As far as it is to be read, if it is not sealed.
    pub(crate) open_end: u64,
    /// Its length as the file says that was written after it.
    pub(crate) chained: Option<u64>,
    pub(crate) preface: Option<Preface>,
    pub(crate) hint: FoundHint<F>,
}

/// What there is beside a data file.
pub(crate) enum FoundHint<F> {
    Missing,
    Damaged(String),
    /// Whole, but that of another life of the file.
    Stale,
    Valid(Hint<F>),
}

impl<F> Source<F> {
    /// How far the file goes, as far as that is known.
    pub(crate) fn until(&self) -> End {
        self.sealed.or(self.chained).map_or(End::Open(self.open_end), End::Known)
    }
}

impl<F> FoundHint<F> {
    pub(crate) fn valid(&self) -> Option<&Hint<F>> {
        match self {
            Self::Valid(hint) => Some(hint),
            _ => None,
        }
    }
}

/// The keydir as a close wrote it down, or what is in its place.
pub(crate) struct WrittenKeydir<F> {
    pub(crate) file: F,
    /// Of the manifest that it belongs to; None if it is damaged.
    pub(crate) manifest_checksum: Option<u32>,
}

/// A hint file that was read.
struct HintFile<F> {
    file: F,
    key: Option<HintKey>,
}

impl<F: File> Survey<F> {
    /// Looks at the folder `dir`.
    ///
    /// # Errors
    /// [`Error::NotAStore`] if there is neither a manifest nor a data file, or the manifest is of another version.
    pub(crate) fn of<S: Storage<File = F>>(storage: &S, dir: &Path) -> Result<Self> {
        let entries = storage.list(dir)?;
        let is_there = |name: &str| entries.iter().any(|entry| entry.is_file && entry.name == name);
        let manifest = if is_there(MANIFEST_NAME) {
            match Manifest::load(storage, dir) {
                Ok(manifest) => Ok(manifest),
                Err(Error::Corrupt { offset, reason, .. }) => Err(Unreadable { offset, reason }),
                Err(other) => return Err(other),
            }
        } else {
            Err(Unreadable { offset: 0, reason: "the file is missing".to_owned() })
        };
        let named = named(dir, &manifest, &entries)?;
        // An aid; who opens the store at this moment has removed it.
        let keydir = match storage.open(&dir.join(KEYDIR_NAME)) {
            Ok(file) if is_there(KEYDIR_NAME) => Some(file),
            Err(error @ Error::PowerLost) => return Err(error),
            _ => None,
        };
        let identity = match &keydir {
            Some(file) => keydir_file::identify(&file.read(0, file.len() as usize)?),
            None => None,
        };
        let mut hints = hints(storage, dir, &entries)?;
        let hasher = hasher(&manifest, identity.map(|(_, mask)| mask), &named, &hints);
        let mut missing = Vec::new();
        let mut sources = Vec::new();
        for (id, sealed) in named.iter().rev().copied() {
            let is_open = manifest.is_ok() && sealed.is_none();
            let path = FileKind::Data.path(dir, id);
            let opened = if is_open { copy(storage, &path, id) } else { whole(storage, &path) };
            let (file, open_end) = match opened {
                Ok(opened) => opened,
                Err(error @ Error::PowerLost) => return Err(error),
                Err(error) => {
                    let is_there = entries.iter().any(|entry| path.ends_with(&entry.name));
                    let reason = if is_there {
                        error.to_string()
                    } else {
                        "the manifest names this file, but it is missing".to_owned()
                    };
                    missing.push((id, reason));
                    continue;
                }
            };
            let hint = hints.remove(&id);
            let own_length = hint.as_ref().and_then(|hint| hint.key).map(|key| key.data_bytes);
            let sealed = if manifest.is_ok() { sealed } else { own_length };
            let preface = frame::read(&file, id.0, 0).ok();
            let preface = preface.and_then(|frame| Preface::decode(frame.payload(), id).ok());
            let hint = found_hint(hint, id, sealed, hasher)?;
            sources.push(Source { id, file, sealed, open_end, chained: None, preface, hint });
        }
        sources.reverse();
        missing.reverse();
        chain(&mut sources);
        let keydir = keydir.map(|file| WrittenKeydir {
            file,
            manifest_checksum: identity.map(|(manifest_checksum, _)| manifest_checksum),
        });
        Ok(Self { manifest, hasher, sources, missing, keydir, entries })
    }

    /// Whether the folder has changed since: then somebody has the store open, and what seemed wrong may have been a file on its way.
    pub(crate) fn is_outdated<S: Storage>(&self, storage: &S, dir: &Path) -> Result<bool> {
        let manifest = Manifest::load(storage, dir);
        let same_manifest = match (&manifest, &self.manifest) {
            (Ok(now), Ok(then)) => now == then,
            (Err(_), Err(_)) => true,
            _ => false,
        };
        Ok(!same_manifest || storage.list(dir)? != self.entries)
    }
}

/// A file that is written no more, and its length.
fn whole<S: Storage>(storage: &S, path: &Path) -> Result<(S::File, u64)> {
    storage.open(path).map(|file| {
        let len = file.len();
        (file, len)
    })
}

/// A copy of a file that may be being written, and as far as it goes.
fn copy<S: Storage>(storage: &S, path: &Path, id: FileId) -> Result<(S::File, u64)> {
    let file = storage.open_copy(path)?;
    let mut offset = 0;
    while let Ok(frame) = frame::read(&file, id.0, offset) {
        offset = frame.end;
    }
    let written = written(&file, 0, file.len())?;
    if offset >= written {
        let len = file.len();
        return Ok((file, len));
    }
    let again = storage.open_copy(path)?;
    let end = written.min(again.len());
    Ok((again, end))
}

/// The data files that make up the store, oldest first, with their lengths if the manifest knows them.
fn named(
    dir: &Path,
    manifest: &Result<Manifest, Unreadable>,
    entries: &[DirEntry],
) -> Result<Vec<(FileId, Option<u64>)>> {
    if let Ok(manifest) = manifest {
        return Ok(manifest.files.iter().map(|file| (file.id, file.sealed)).collect());
    }
    let data = |entry: &DirEntry| match FileKind::parse(&entry.name) {
        Some((FileKind::Data, id)) if entry.is_file => Some((id, None)),
        _ => None,
    };
    let named: Vec<_> = entries.iter().filter_map(data).collect();
    if named.is_empty()
        && let Err(unreadable) = manifest
    {
        let reason = format!(
            "it holds no data files, and no {MANIFEST_NAME:?} of one ({})",
            unreadable.reason
        );
        return Err(Error::NotAStore { path: dir.to_owned(), reason });
    }
    Ok(named)
}

fn hints<S: Storage>(
    storage: &S,
    dir: &Path,
    entries: &[DirEntry],
) -> Result<HashMap<FileId, HintFile<S::File>>> {
    let mut hints = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.is_file) {
        if let Some((FileKind::Hint, id)) = FileKind::parse(&entry.name) {
            // One that a merge has removed since, or that is not to be read, is as good as none.
            let file = match storage.open(&dir.join(&entry.name)) {
                Err(error @ Error::PowerLost) => return Err(error),
                Err(_) => continue,
                Ok(file) => file,
            };
            let key = HintKey::of(&file.read(0, file.len() as usize)?);
            hints.insert(id, HintFile { file, key: key.filter(|key| key.id == id) });
        }
    }
    Ok(hints)
}

/// The store's hash functions. Without a manifest, that of the first hint is taken; if there is none either, any will do.
fn hasher<F>(
    manifest: &Result<Manifest, Unreadable>,
    mask: Option<u64>,
    named: &[(FileId, Option<u64>)],
    hints: &HashMap<FileId, HintFile<F>>,
) -> Hasher {
    let seed = manifest.as_ref().ok().map(|manifest| manifest.seed);
    let key = |(id, _): &(FileId, Option<u64>)| hints.get(id)?.key.map(|key| key.hasher);
    let ours = |hasher: &Hasher| seed.is_none_or(|seed| seed == hasher.seed);
    let hint = named.iter().filter_map(key).find(ours);
    let of_hint = hint.unwrap_or(Hasher { seed: seed.unwrap_or(0), mask: u64::MAX });
    Hasher { mask: mask.unwrap_or(of_hint.mask), ..of_hint }
}

fn found_hint<F: File>(
    hint: Option<HintFile<F>>,
    id: FileId,
    sealed: Option<u64>,
    hasher: Hasher,
) -> Result<FoundHint<F>> {
    let Some(HintFile { file, key }) = hint else { return Ok(FoundHint::Missing) };
    let damaged = |reason: &str| FoundHint::Damaged(reason.to_owned());
    let Some(key) = key else {
        return Ok(damaged(
            "this is no whole hint of its data file, by its magic, version, number or checksum",
        ));
    };
    if Some(key.data_bytes) != sealed || key.hasher != hasher {
        return Ok(FoundHint::Stale);
    }
    debug_assert_eq!(key.id, id);
    Ok(match Hint::verify(file, key)? {
        Some(hint) => FoundHint::Valid(hint),
        None => damaged("records of this hint overlap, or go past the end of the data file"),
    })
}

/// Notes what prefaces say about the lengths of other files.
fn chain<F>(sources: &mut [Source<F>]) {
    let said: HashMap<FileId, u64> =
        sources.iter().filter_map(|source| source.preface?.previous).collect();
    for source in sources {
        source.chained = said.get(&source.id).copied();
    }
}

/// How a keydir over these files is laid out.
pub(crate) fn layout<F: File>(sources: &[Source<F>]) -> Result<Layout> {
    // Of a file that was cut off its hint tells records behind the end.
    let len = |source: &Source<F>| source.file.len().max(source.sealed.unwrap_or(0));
    let longest = sources.iter().map(len).max().unwrap_or(0);
    let layout = Layout::new(longest);
    if sources.len() > layout.slots() as usize {
        return Err(Error::InvalidOption {
            name: "the number of data files",
            value: sources.len().to_string(),
            expected: "less: together with the length of the longest they exceed 8 TiB",
        });
    }
    Ok(layout)
}

/// The files as segments of a keydir, in the same order.
pub(crate) fn segments<F: File>(sources: &[Source<F>]) -> Vec<Arc<Segment<F>>> {
    let segment = |(slot, source): (usize, &Source<F>)| {
        Arc::new(Segment::new(source.id, slot as Slot, source.file.clone()))
    };
    sources.iter().enumerate().map(segment).collect()
}

/// What a file in a store's folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileRole {
    /// The list of data files.
    Manifest,
    /// Records; the file is written no more.
    Sealed,
    /// Records; the file was being written, or not yet synced, when the manifest was.
    Open,
    /// What the keydir needs to know about a data file.
    Hint,
    /// The keydir, written down at the last close.
    Keydir,
    /// Keeps a second process out.
    Lock,
    /// A hint or keydir of an earlier life of the store, which is passed over.
    Stale,
    /// One of ours that the manifest does not name; it is removed when the store is next opened.
    Orphan,
    /// None of ours.
    Foreign,
    /// Records; the manifest names the file, but it is not there.
    Missing,
}

impl FileRole {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Sealed => "sealed",
            Self::Open => "open",
            Self::Hint => "hint",
            Self::Keydir => "keydir",
            Self::Lock => "lock",
            Self::Stale => "stale",
            Self::Orphan => "orphan",
            Self::Foreign => "foreign",
            Self::Missing => "missing",
        }
    }
}

impl<F> Survey<F> {
    /// What each file of the folder is, in the order of the folder.
    pub(crate) fn roles(&self) -> Vec<FileRole> {
        let used: HashSet<FileId> = self.sources.iter().map(|source| source.id).collect();
        self.entries.iter().map(|entry| self.role(entry, &used)).collect()
    }

    fn role(&self, entry: &DirEntry, used: &HashSet<FileId>) -> FileRole {
        use super::manifest::MANIFEST_TEMPORARY_NAME;
        use super::recovery::LOCK_NAME;
        let source = |id: FileId| self.sources.iter().find(|source| source.id == id);
        match (FileKind::parse(&entry.name), entry.name.as_str()) {
            _ if !entry.is_file => FileRole::Foreign,
            (Some((_, id)), _) if !used.contains(&id) => FileRole::Orphan,
            (Some((FileKind::Data, id)), _) => match source(id).and_then(|source| source.sealed) {
                Some(_) => FileRole::Sealed,
                None => FileRole::Open,
            },
            (Some((FileKind::Hint, id)), _) => match source(id).map(|source| &source.hint) {
                Some(FoundHint::Stale) => FileRole::Stale,
                _ => FileRole::Hint,
            },
            (None, MANIFEST_NAME) => FileRole::Manifest,
            (None, MANIFEST_TEMPORARY_NAME) => FileRole::Orphan,
            (None, LOCK_NAME) => FileRole::Lock,
            (None, KEYDIR_NAME) => {
                let ours = self.manifest.as_ref().ok().map(Manifest::checksum);
                let its = self.keydir.as_ref().and_then(|keydir| keydir.manifest_checksum);
                if its.is_none() || its == ours { FileRole::Keydir } else { FileRole::Stale }
            }
            (None, _) => FileRole::Foreign,
        }
    }
}
