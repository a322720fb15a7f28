//! What is in an open store: its data files one by one, and all together.

use std::fmt;

use super::files::Listed;
use super::merge_policy::{Cause, FileUsage};
use super::record::PREFACE_FRAME_BYTES;
use super::segment::{FileId, NEVER};
use super::store::Store;
use crate::Error;
use crate::storage::Storage;

/// A data file of an open store.
#[derive(Clone, Debug, PartialEq)]
pub struct FileInfo {
    /// Its number: [`merge_files`](super::Bitcask::merge_files) takes those of sealed files.
    pub id: u32,
    /// What happens with it.
    pub state: FileState,
    /// Bytes that were written to it.
    pub bytes: u64,
    /// Values that are needed. Those that have expired count until a merge has dropped them.
    pub live_records: u64,
    /// Bytes of their frames.
    pub live_bytes: u64,
    /// Bytes of frames of tombstones.
    pub tombstone_bytes: u64,
    /// Bytes of frames that a merge can drop wherever the file stands in the order of age; all, if everything in it has expired.
    pub dead_bytes: u64,
    /// Dead bytes as a fraction of all records' bytes, from 0 to 1.
    pub fragmentation: f64,
    /// When all its values are gone, in milliseconds since the Unix epoch; None: never, or there are none.
    pub gone_by_ms: Option<u64>,
    /// Whether it has a valid hint, or one that was found and not looked at yet.
    pub has_hint: bool,
}

/// What happens with a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileState {
    /// It is being written.
    Active,
    /// It is prepared, and becomes active next.
    Spare,
    /// It is written no more, and waits to be sealed.
    Full,
    /// It is safely stored and does not change any more.
    Sealed,
}

impl FileState {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Spare => "spare",
            Self::Full => "full",
            Self::Sealed => "sealed",
        }
    }
}

/// An open store at a glance.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Keys. Those whose values have expired count until a merge has dropped them.
    pub keys: u64,
    /// Data files.
    pub files: u64,
    /// Bytes that were written to them.
    pub bytes: u64,
    /// Bytes of values that are needed.
    pub live_bytes: u64,
    /// Bytes of tombstones.
    pub tombstone_bytes: u64,
    /// Bytes that a merge can drop once their files are sealed.
    pub dead_bytes: u64,
    /// Memory of the keydir.
    pub keydir_bytes: u64,
    /// Whether a merge is due.
    pub merge: MergeState,
    /// What first went wrong in the background, in a merge for instance, since [`Bitcask::settle`](super::Bitcask::settle) last told of it.
    pub background_error: Option<String>,
}

/// Whether a merge is due, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeState {
    /// No file is dead enough.
    NotDue,
    /// These files are to be merged.
    Due {
        /// Numbers of the files, oldest records first.
        files: Vec<u32>,
        /// What makes it due, for people.
        reason: String,
        /// It starts by itself at this time of day.
        starts_by_itself: bool,
    },
}

impl fmt::Display for MergeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDue => f.write_str("no merge is due"),
            Self::Due { files, reason, starts_by_itself } => {
                write!(f, "a merge of {} files is due: {reason}", files.len())?;
                if *starts_by_itself {
                    Ok(())
                } else {
                    f.write_str("; it waits to be asked for, or for its window")
                }
            }
        }
    }
}

/// Figures of all data files together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) live_bytes: u64,
    pub(crate) tombstone_bytes: u64,
    pub(crate) dead_bytes: u64,
    pub(crate) sealed_dead_bytes: u64,
}

impl Sums {
    pub(crate) fn of(files: &[FileInfo]) -> Self {
        files.iter().fold(Self::default(), |sums, file| Self {
            files: sums.files + 1,
            bytes: sums.bytes + file.bytes,
            live_bytes: sums.live_bytes + file.live_bytes,
            tombstone_bytes: sums.tombstone_bytes + file.tombstone_bytes,
            dead_bytes: sums.dead_bytes + file.dead_bytes,
            sealed_dead_bytes: sums.sealed_dead_bytes
                + if file.state == FileState::Sealed { file.dead_bytes } else { 0 },
        })
    }
}

impl<S: Storage> Store<S> {
    /// The data files, oldest records first.
    pub(crate) fn files(&self) -> Vec<FileInfo> {
        let _verified = self.verified_for_figures();
        self.files_as_counted()
    }

    /// The same; what is still to be verified of them counts as needed.
    pub(crate) fn files_as_counted(&self) -> Vec<FileInfo> {
        let now_ms = self.view.clock.now_ms();
        // A file that becomes active before the list is looked at is taken for one that is prepared.
        let (active, full) = {
            let writer = self.writer.lock();
            let active = (writer.active.segment.id, writer.active.log.len());
            let full: Vec<(FileId, u64)> =
                writer.full.iter().map(|full| (full.segment.id, full.len)).collect();
            (active, full)
        };
        let info = |file: &Listed<S::File>| {
            let id = file.segment.id;
            let full = full.iter().find(|full| full.0 == id);
            let (state, bytes) = match (file.sealed, full) {
                (Some(len), _) => (FileState::Sealed, len),
                (None, Some((_, len))) => (FileState::Full, *len),
                (None, None) if id == active.0 => (FileState::Active, active.1),
                (None, None) => (FileState::Spare, 0),
            };
            let usage = FileUsage::of(&file.segment, bytes, now_ms);
            let has_records = bytes > PREFACE_FRAME_BYTES;
            let gone_by_ms = file.segment.usage.gone_by_ms();
            FileInfo {
                id: id.0,
                state,
                bytes,
                live_records: file.segment.usage.live_records(),
                live_bytes: usage.live,
                tombstone_bytes: usage.tombstones,
                dead_bytes: usage.dead(),
                fragmentation: if has_records { usage.fragmentation(usage.dead()) } else { 0.0 },
                gone_by_ms: Some(gone_by_ms).filter(|ms| *ms != NEVER && *ms > 0),
                has_hint: file.segment.has_hint(),
            }
        };
        self.view.files.listed().iter().map(info).collect()
    }

    /// The store at a glance.
    pub(crate) fn status(&self) -> Status {
        let _verified = self.verified_for_figures();
        let Sums { files, bytes, live_bytes, tombstone_bytes, dead_bytes, .. } =
            Sums::of(&self.files_as_counted());
        Status {
            keys: self.view.keydir.len() as u64,
            files,
            bytes,
            live_bytes,
            tombstone_bytes,
            dead_bytes,
            keydir_bytes: self.view.keydir.bytes() as u64,
            merge: self.merge_state(),
            background_error: self.background_error.lock().as_ref().map(Error::to_string),
        }
    }

    fn merge_state(&self) -> MergeState {
        let now_ms = self.view.clock.now_ms();
        let (files, choice) = self.due(now_ms);
        let policy = &self.options.merge;
        let Some(cause) = choice.cause else { return MergeState::NotDue };
        let id = |at: usize| files[at].0.id;
        let reason = match cause {
            Cause::Tombstones => {
                format!(
                    "{:.0} % of all bytes or more are tombstones",
                    policy.tombstones_trigger * 100.0
                )
            }
            Cause::Expired(at) => format!("all values of file {} have expired", id(at)),
            Cause::Fragmentation(at) => {
                let trigger = policy.fragmentation_trigger * 100.0;
                format!("{trigger:.0} % of file {} or more are dead", id(at))
            }
            Cause::Store => {
                let trigger = policy.store_dead_trigger * 100.0;
                format!("{trigger:.0} % of all sealed files together or more are dead")
            }
            Cause::DeadBytes(at) => {
                format!("{} bytes of file {} or more are dead", policy.dead_bytes_trigger, id(at))
            }
        };
        let ids = choice.runs.into_iter().flatten().map(|at| id(at).0).collect();
        MergeState::Due { files: ids, reason, starts_by_itself: policy.is_open(now_ms) }
    }
}
