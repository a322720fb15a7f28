//! What a store can be told when it is opened.

use super::budget::memtables_bytes_max;
pub use super::compaction::style::{Choice, Fifo, Levelled, Style, Tiered};
use super::rate::PIECE_BYTES;
use crate::{Capabilities, Clock, Durability, Error, OperationKind, Result};

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Longest value in bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Greatest length at which a data block can be ended.
pub(crate) const BLOCK_BYTES_MAX: usize = 1 << 20;

/// Where flushes and compactions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// On threads of the store's own, one for flushes and some for compactions, so that a flush never waits for a compaction.
    Threads,
    /// On the thread whose write made them due, before that write returns: slow, and the same each time, which is what crash tests need.
    Inline,
}

/// How tables and files of values are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// Where the page cache has them, through mappings: the fastest as long as they fit into memory. Once they are more than [`Options::mapped_bytes_max`], they are read as with `Calls`.
    #[default]
    Mapped,
    /// By calls, a block at a time, into a cache of the store's own.
    Calls,
}

/// How data blocks are stored. Tables that were written otherwise stay as they are until they are compacted, and all can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are, so that they can be used where the mapped file has them.
    #[default]
    None,
    /// LZ4: unpacked in about a microsecond for 4 KiB.
    Lz4,
    /// Zstandard, at its default level: smaller, and several times as long to pack and unpack.
    Zstd,
}

/// Options of a store. All may differ from one open to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What an acknowledged write survives. Appending to the mapped log costs no more than copying into a buffer of one's own, so `Buffered` is
    /// served by the path of `Os`, and survives a kill of the process as well.
    pub durability: Durability,
    /// Bytes of memory that the store takes at most: for memtables with their logs, for the filters and indexes of tables, and for cached blocks; at least what memtables may come to, which is
    /// `memtable_bytes` and a quarter for the index over it (512 KiB at least) for each that may wait and for the one that is written to. What tables take in the page cache is not in it, nor is what flushes and
    /// compactions take while they are under way, some MiB each. The counters `memory_bytes` and its parts of [`super::Lsm::metrics`] tell what there is.
    pub memory_bytes: u64,
    /// Length of a log segment, and so the size of a memtable: when the segment is full, or the index over it has come to a quarter of that, a new one begins. At most 2 GiB.
    pub memtable_bytes: u64,
    /// Memtables that may wait to be flushed. Writers are slowed down as far as they outrun the flush, and wait where there would be more.
    pub memtables_waiting_max: usize,
    /// How the tables are kept in order.
    pub style: Style,
    /// Tables in level 0 that make it due for compaction in the levelled style.
    pub l0_tables_compact: usize,
    /// Tables in level 0 from which on writers are slowed down, the more the nearer it is to `l0_tables_stop`. Not in the style [`Fifo`].
    pub l0_tables_slow: usize,
    /// Tables in level 0 at which writers wait. Not in the style [`Fifo`].
    pub l0_tables_stop: usize,
    /// Bytes that compactions are behind by, about, from which on writers are slowed down, the more the nearer it is to `debt_bytes_max`: what levels have beyond their targets,
    /// and what that is merged with. For the levelled style.
    pub debt_bytes_slow: u64,
    /// Bytes that compactions are behind by at which writers are slowed down the most.
    pub debt_bytes_max: u64,
    /// Bytes that the first level below 0 holds before it is due for compaction in the levelled style; with dynamic sizes it may hold up to `level_ratio` times as many.
    pub level_base_bytes: u64,
    /// How many times the bytes of its predecessor each further level holds in the levelled style.
    pub level_ratio: u64,
    /// Length at which a table that a compaction writes is ended and the next one begins.
    pub table_bytes: u64,
    /// A table is compacted early if so many per cent of its entries are deletions or, about, values that have expired, so that scans do not stumble over them; 0: never. One in which everything has expired, and that
    /// hides nothing older, is dropped in any case. Looked at whenever a memtable is flushed or a compaction ends, and once a minute.
    pub deletions_percent: u64,
    /// Whether the youngest runs are merged when scans have paid as much for them as that costs, though nothing is due, in the levelled style: scans get up to three times as fast, and more is written.
    pub compact_for_scans: bool,
    /// Compactions that may be under way at a time, each on a thread of its own. 1 to 64. In the levelled style one of several is kept for level 0, which writers wait for.
    pub compaction_threads: usize,
    /// Ranges of keys that one compaction is cut into at most, each on a thread of its own. 1 to 64.
    pub subcompactions_max: usize,
    /// Length at which a data block is ended. At most 1 MiB.
    pub block_bytes: usize,
    /// Bits of a table's Bloom filter per key; 0 for no filter. In the levelled style, small levels, which hold a tenth of the data, have five more.
    pub filter_bits_per_key: usize,
    /// How the data blocks of tables are stored that are flushed, or lie above others of the same keys.
    pub compression: Compression,
    /// How those of tables are stored that a compaction writes where nothing older lies below, which is most of the data.
    pub compression_last: Compression,
    /// How tables and the value log are read; the module's documentation compares the ways.
    pub io: Io,
    /// With [`Io::Mapped`], bytes of the store's files from which on they are read as with [`Io::Calls`] all the same; `None`: half of the memory that the process may use, limits of control groups included.
    pub mapped_bytes_max: Option<u64>,
    /// Bytes of data blocks that are kept in memory where they are read with [`Io::Calls`], or compressed, what it costs to keep them included; 0 for none. There are fewer where memtables and tables need so much of `memory_bytes`.
    pub cache_bytes: u64,
    /// Bytes that flushes and compactions write per second at most, to tables and to the value log; 0 for as many as they can, else at least 64 KiB. Flushes come first, and compactions get what they leave. Where writers write more than that for long,
    /// they are slowed down to it.
    pub background_bytes_per_s: u64,
    /// Values of so many bytes or more are kept apart from the tables, in the value log, and moved seldom; `None`: none are. At least 32. What compactions meet they put
    /// where it belongs by now.
    pub value_log_min_bytes: Option<usize>,
    /// When more than so many per cent of the value log is dead, its deadest files are emptied, until three quarters of that are. 1 to 100; 100: only files in which all is dead are
    /// removed. The more, the more room is taken, and the fewer values are moved.
    pub value_log_dead_percent: u64,
    /// Whether values in the value log are compressed (LZ4) where that makes them shorter. Applies to what is written from now on.
    pub value_log_lz4: bool,
    /// Where flushes and compactions run.
    pub background: Background,
    /// What time it is: when tables are written, and which values have expired.
    pub clock: Clock,
}

/// How a write is done, where that is not what the store's [`Options`] say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// What the write survives once it is acknowledged; `None`: what [`Options::durability`] says. As writes become durable in their order, a write in class `Sync` takes all before it with it, of whichever class,
    /// and one in a lower class is durable with the next one in class `Sync`, or with [`Lsm::sync`](super::Lsm::sync). In a store whose own class is lower, logs lie in large pages, of which each sync stores a whole one:
    /// where most writes are to be in class `Sync`, let the store be.
    pub durability: Option<Durability>,
}

impl WriteOptions {
    /// A write in this class.
    pub fn durable(durability: Durability) -> Self {
        Self { durability: Some(durability) }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Os,
            memory_bytes: 320 << 20,
            memtable_bytes: 64 << 20,
            memtables_waiting_max: 2,
            style: Style::default(),
            l0_tables_compact: 4,
            l0_tables_slow: 20,
            l0_tables_stop: 36,
            debt_bytes_slow: 8 << 30,
            debt_bytes_max: 64 << 30,
            level_base_bytes: 256 << 20,
            level_ratio: 10,
            table_bytes: 64 << 20,
            deletions_percent: 50,
            compact_for_scans: true,
            compaction_threads: 2,
            subcompactions_max: 1,
            block_bytes: 4 << 10,
            filter_bits_per_key: 10,
            compression: Compression::None,
            compression_last: Compression::None,
            io: Io::default(),
            mapped_bytes_max: None,
            cache_bytes: 64 << 20,
            background_bytes_per_s: 0,
            value_log_min_bytes: None,
            value_log_dead_percent: 35,
            value_log_lz4: false,
            background: Background::Threads,
            clock: Clock::System,
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<()> {
        let invalid =
            |name, value: String, expected| Err(Error::InvalidOption { name, value, expected });
        if !(4 << 10..=2 << 30).contains(&self.memtable_bytes) {
            let value = self.memtable_bytes.to_string();
            return invalid("memtable_bytes", value, "4 KiB to 2 GiB");
        }
        if self.memtables_waiting_max == 0 {
            return invalid("memtables_waiting_max", "0".to_owned(), "at least 1");
        }
        if self.memory_bytes < memtables_bytes_max(self) {
            let expected = "at least memtables_waiting_max + 1 times memtable_bytes, and for each a quarter or 512 KiB more for its index: raise memory_bytes, or lower one of these";
            return invalid("memory_bytes", self.memory_bytes.to_string(), expected);
        }
        if !(1..=BLOCK_BYTES_MAX).contains(&self.block_bytes) {
            return invalid("block_bytes", self.block_bytes.to_string(), "1 to 1 MiB");
        }
        if self.filter_bits_per_key > 64 {
            let value = self.filter_bits_per_key.to_string();
            return invalid("filter_bits_per_key", value, "0 to 64");
        }
        if (1..PIECE_BYTES).contains(&self.background_bytes_per_s) {
            let value = self.background_bytes_per_s.to_string();
            return invalid("background_bytes_per_s", value, "0, or at least 64 KiB");
        }
        if self.value_log_min_bytes.is_some_and(|bytes| bytes < 32) {
            let value = self.value_log_min_bytes.unwrap_or(0).to_string();
            return invalid("value_log_min_bytes", value, "at least 32");
        }
        if !(1..=100).contains(&self.value_log_dead_percent) {
            let value = self.value_log_dead_percent.to_string();
            return invalid("value_log_dead_percent", value, "1 to 100");
        }
        self.check_compaction()
    }

    fn check_compaction(&self) -> Result<()> {
        let invalid =
            |name, value: String, expected| Err(Error::InvalidOption { name, value, expected });
        if self.l0_tables_compact == 0 {
            return invalid("l0_tables_compact", "0".to_owned(), "at least 1");
        }
        if self.l0_tables_slow < self.l0_tables_compact {
            let value = self.l0_tables_slow.to_string();
            return invalid("l0_tables_slow", value, "at least l0_tables_compact");
        }
        if self.l0_tables_stop <= self.l0_tables_slow {
            let value = self.l0_tables_stop.to_string();
            return invalid("l0_tables_stop", value, "more than l0_tables_slow");
        }
        if self.debt_bytes_max <= self.debt_bytes_slow {
            let value = self.debt_bytes_max.to_string();
            return invalid("debt_bytes_max", value, "more than debt_bytes_slow");
        }
        if self.level_base_bytes == 0 {
            return invalid("level_base_bytes", "0".to_owned(), "at least 1");
        }
        if self.level_ratio < 2 {
            return invalid("level_ratio", self.level_ratio.to_string(), "at least 2");
        }
        if !(1..=2 << 30).contains(&self.table_bytes) {
            return invalid("table_bytes", self.table_bytes.to_string(), "1 to 2 GiB");
        }
        if self.deletions_percent > 100 {
            return invalid("deletions_percent", self.deletions_percent.to_string(), "0 to 100");
        }
        let threads = [
            ("compaction_threads", self.compaction_threads),
            ("subcompactions_max", self.subcompactions_max),
        ];
        for (name, threads) in threads {
            if !(1..=64).contains(&threads) {
                return invalid(name, threads.to_string(), "1 to 64");
            }
        }
        self.style.check(self.l0_tables_slow)
    }

    /// Tables in level 0 from which on writers are slowed down, and at which they wait. Where nothing is merged, waiting would not help.
    pub(crate) fn l0_bounds(&self) -> (usize, usize) {
        match self.style {
            Style::Fifo(_) => (usize::MAX - 1, usize::MAX),
            Style::Levelled(_) | Style::Tiered(_) => (self.l0_tables_slow, self.l0_tables_stop),
        }
    }
}

/// What the engine can do, however it is opened.
pub fn capabilities() -> Capabilities {
    let more = [OperationKind::MultiGet, OperationKind::PutExpiring, OperationKind::DeleteRange];
    Capabilities::ordered_store(&more, &Durability::ALL, KEY_BYTES_MAX, VALUE_BYTES_MAX)
}
