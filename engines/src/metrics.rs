//! What an engine tells about itself: cumulative counters since open, and a feed of background events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Cumulative figures of an open store. `None` means that the engine cannot tell, never zero.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Bytes handed to the operating system or written through a mapping, by source.
    pub bytes_written: Option<BytesWritten>,
    /// Bytes read by calls; reads through a mapping are not visible and make this `None`.
    pub bytes_read: Option<u64>,
    /// Calls in which those bytes were read.
    pub read_calls: Option<u64>,
    /// fsync, fdatasync and msync calls, of files and folders.
    pub fsyncs: Option<u64>,
    /// Block cache hits.
    pub cache_hits: Option<u64>,
    /// Block cache misses.
    pub cache_misses: Option<u64>,
    /// Questions put to filters.
    pub filter_probes: Option<u64>,
    /// Filters that said "maybe" for a key that was not there.
    pub filter_false_positives: Option<u64>,
    /// Levels, youngest first.
    pub levels: Vec<Level>,
    /// Times that writers were made to wait.
    pub stalls: Option<Stalls>,
    /// Memory of a hash index.
    pub keydir_bytes: Option<u64>,
    /// Keys in a hash index: as many as a scan would visit, and those whose values have expired but are still in it. Exact when settled; an engine may still be looking into a few seconds' writes before.
    pub keydir_entries: Option<u64>,
    /// Counters that have no field of their own, by name with unit (`memtable_bytes`).
    pub counters: BTreeMap<String, f64>,
    /// Background work since open, oldest first; a bounded number of the newest is kept.
    pub events: Vec<Event>,
}

/// Bytes written, by what they were written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BytesWritten {
    /// Write-ahead log, or the data log of a log-structured hash table.
    pub log: u64,
    /// Memtables to tables.
    pub flush: u64,
    /// Tables to tables.
    pub compaction: u64,
    /// Data files to data files.
    pub merge: u64,
    /// Manifests and other metadata.
    pub manifest: u64,
    /// Hint files and checkpoints of an index.
    pub hint: u64,
    /// Values that are kept apart.
    pub value_log: u64,
}

impl BytesWritten {
    /// The sources with their names, in the order of the data path.
    pub fn by_source(&self) -> [(&'static str, u64); 7] {
        [
            ("log", self.log),
            ("flush", self.flush),
            ("compaction", self.compaction),
            ("merge", self.merge),
            ("manifest", self.manifest),
            ("hint", self.hint),
            ("value_log", self.value_log),
        ]
    }

    /// Bytes of all sources.
    pub fn total(&self) -> u64 {
        self.by_source().iter().map(|(_, bytes)| bytes).sum()
    }
}

/// One level of a tree of tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Tables in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Times that writers were made to wait by the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls {
    /// How often.
    pub count: u64,
    /// How long in all.
    pub time: Duration,
}

/// What a background event was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A memtable became a table.
    Flush,
    /// Tables became other tables.
    Compaction,
    /// Data files became other data files.
    Merge,
    /// Writers were made to wait.
    Stall,
}

impl EventKind {
    /// The name used in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Compaction => "compaction",
            Self::Merge => "merge",
            Self::Stall => "stall",
        }
    }
}

/// Background work, or a stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it was.
    pub kind: EventKind,
    /// When it began.
    pub start: Instant,
    /// When it ended.
    pub end: Instant,
    /// Bytes that it wrote.
    pub bytes_written: u64,
}
