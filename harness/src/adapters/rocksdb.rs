//! `rocksdb`: an LSM tree in C++, through the crate rocksdb.
//!
//! | class | call |
//! |---|---|
//! | `buffered` | `manual_wal_flush`: the write-ahead log stays in a user-space buffer until it is full |
//! | `os` | the default: write(2) of the log at each write |
//! | `sync` | `WriteOptions::sync`: fdatasync of the log at each write, shared by waiting writers |
//!
//! - Tuned as RocksDB's own guide advises (wiki: "Setup Options and Basic Tuning"): Bloom filters of 10 bits a key, LZ4, as many background
//!   threads as processors, `bytes_per_sync` of 1 MiB, and the defaults of today for the rest (dynamic level sizes, 64 MiB tables).
//! - The variant `mmap` is the guide's advice for data that fits into memory: no compression, tables read through a mapping, no block cache,
//!   as it would hold the same bytes twice, a hash index in each block, and checksums verified by compactions alone, as LMDB's are by nobody.
//! - Settling flushes the memtables and waits by `WaitForCompact`, which returns when no flush or compaction runs or is due.
//! - Figures are RocksDB's tickers, without histograms and timers, which cost a few nanoseconds each; `statistics=off` leaves them out.
//!   Bytes of the manifest and fsyncs of tables are not told by RocksDB.

use std::time::Duration;

use kvdyno_engines::{
    BytesWritten, Capabilities, Direction, Durability, Engine, Error, Level, Metrics,
    OperationKind, Result, Session, Stalls, Visit, WriteBatch, WriteOperation,
};
use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DEFAULT_COLUMN_FAMILY_NAME,
    DataBlockIndexType, ReadOptions, WaitForCompactOptions, WriteOptions,
};

use super::threads;
use crate::options::{CACHE, OptionInfo, Options, WRITE_BUFFER};
use crate::registry::{OpenRequest, Variant};

const KEY_BYTES_MAX: usize = 64 << 10;
const VALUE_BYTES_MAX: usize = 16 << 20;
/// Dirty bytes of a table under way that are written out at once, so that the log's fdatasync does not queue behind them.
const BYTES_PER_SYNC: u64 = 1 << 20;
/// RocksDB's default: keys of a block to slots of its hash index.
const HASH_INDEX_RATIO: f64 = 0.75;

/// The adapter.
pub(crate) struct Adapter;

fn capabilities() -> Capabilities {
    Capabilities::ordered_store(
        &[OperationKind::MultiGet, OperationKind::DeleteRange],
        &Durability::ALL,
        KEY_BYTES_MAX,
        VALUE_BYTES_MAX,
    )
}

impl crate::registry::Adapter for Adapter {
    fn name(&self) -> &'static str {
        "rocksdb"
    }

    fn version(&self) -> &'static str {
        concat!(
            env!("KVDYNO_VERSION_INSIDE_LIBROCKSDB_SYS"),
            ", crate rocksdb ",
            env!("KVDYNO_VERSION_ROCKSDB")
        )
    }

    fn description(&self) -> &'static str {
        "LSM tree in C++"
    }

    fn options(&self) -> &'static [OptionInfo] {
        const {
            &[
                OptionInfo::write_buffer("memtables: half is filled while the other is flushed"),
                OptionInfo::cache("block cache"),
                OptionInfo::word("compression", &["none", "lz4"], 1, "of data blocks"),
                OptionInfo::number("filter_bits_per_key", 10, 0, 64, "Bloom filter; 0: none"),
                OptionInfo::number("block_kib", 4, 1, 1_024, "data block"),
                OptionInfo::word("block_index", &["binary", "hash"], 0, "search within a block"),
                OptionInfo::switch(
                    "mapped_reads",
                    false,
                    "read tables mapped, without block cache",
                ),
                OptionInfo::switch("verify_checksums", true, "of each block that is read"),
                OptionInfo::number("level_base_mib", 256, 1, 1_048_576, "bytes of level 1"),
                OptionInfo::switch("statistics", true, "count bytes, cache hits and filters"),
                threads::OPTION,
            ]
        }
    }

    fn variants(&self) -> &'static [Variant] {
        &[Variant {
            name: "mmap",
            help: "for data that fits into memory: nothing compressed, tables mapped, hash index in blocks",
            set: &[
                ("compression", "none"),
                ("mapped_reads", "on"),
                ("block_index", "hash"),
                ("verify_checksums", "off"),
            ],
        }]
    }

    fn durability_call(&self, durability: Durability) -> Option<&'static str> {
        Some(match durability {
            Durability::Buffered => "manual_wal_flush: the log stays in a user-space buffer",
            Durability::Os => "default: write(2) of the log at each write",
            Durability::Sync => "WriteOptions::sync: fdatasync of the log at each write",
        })
    }

    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        let options = database_options(request);
        // Opened by name, the family can be named in a multi-get.
        let families = [(DEFAULT_COLUMN_FAMILY_NAME, options.clone())];
        let database = DB::open_cf_with_opts(&options, request.dir, families).map_err(other)?;
        Ok(Box::new(RocksDb {
            database,
            statistics: request.options.is_on("statistics").then_some(options),
            mapped: request.options.is_on("mapped_reads"),
            verify_checksums: request.options.is_on("verify_checksums"),
            sync_each_write: request.durability == Durability::Sync,
            capabilities: capabilities(),
        }))
    }
}

fn database_options(request: &OpenRequest<'_>) -> rocksdb::Options {
    let wanted = request.options;
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.set_manual_wal_flush(request.durability == Durability::Buffered);
    options.increase_parallelism(threads::wanted(wanted) as i32);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options.set_write_buffer_size(wanted.mib(WRITE_BUFFER) as usize / 2);
    options.set_max_write_buffer_number(2);
    options.set_max_bytes_for_level_base(wanted.mib("level_base_mib"));
    options.set_allow_mmap_reads(wanted.is_on("mapped_reads"));
    options.set_compression_type(match wanted.get("compression") {
        0 => DBCompressionType::None,
        _ => DBCompressionType::Lz4,
    });
    options.set_block_based_table_factory(&table_options(wanted));
    if wanted.is_on("statistics") {
        options.enable_statistics();
        options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    }
    options
}

fn table_options(wanted: &Options) -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_size((wanted.get("block_kib") << 10) as usize);
    match wanted.get("filter_bits_per_key") {
        0 => {}
        bits => tables.set_bloom_filter(bits as f64, false),
    }
    if wanted.get("block_index") == 1 {
        tables.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        tables.set_data_block_hash_ratio(HASH_INDEX_RATIO);
    }
    if wanted.is_on("mapped_reads") {
        tables.disable_cache();
    } else {
        tables.set_block_cache(&Cache::new_lru_cache(wanted.mib(CACHE) as usize));
    }
    tables
}

struct RocksDb {
    database: DB,
    /// What the database was opened with, which holds its counters; none if nothing is counted.
    statistics: Option<rocksdb::Options>,
    mapped: bool,
    verify_checksums: bool,
    sync_each_write: bool,
    capabilities: Capabilities,
}

fn other(error: rocksdb::Error) -> Error {
    Error::Other(Box::new(error))
}

impl RocksDb {
    fn read_options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(self.verify_checksums);
        options
    }

    fn levels(&self) -> Vec<Level> {
        let mut levels = Vec::new();
        for file in self.database.live_files().unwrap_or_default() {
            let level = usize::try_from(file.level).unwrap_or_default();
            if levels.len() <= level {
                levels.resize(level + 1, Level::default());
            }
            levels[level].files += 1;
            levels[level].bytes += file.size as u64;
        }
        levels
    }

    /// How often writers were slowed down or stopped.
    fn stalls(&self) -> u64 {
        let text = self.database.property_value("rocksdb.cf-write-stall-stats").ok().flatten();
        let text = text.unwrap_or_default();
        ["total-delays: ", "total-stops: "].into_iter().map(|name| number_after(&text, name)).sum()
    }
}

/// The number behind a name in one of RocksDB's texts; 0 if it is not there.
fn number_after(text: &str, name: &str) -> u64 {
    let digits = text.split_once(name).map_or("", |(_, rest)| rest);
    let end = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or_default()
}

impl Engine for RocksDb {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        let mut write_options = WriteOptions::default();
        write_options.set_sync(self.sync_each_write);
        let read_options = self.read_options();
        Ok(Box::new(RocksDbSession { engine: self, read_options, write_options }))
    }

    fn sync(&self) -> Result<()> {
        self.database.flush_wal(true).map_err(other)
    }

    fn settle(&self) -> Result<()> {
        let mut options = WaitForCompactOptions::default();
        options.set_flush(true);
        self.database.wait_for_compact(&options).map_err(other)
    }

    fn metrics(&self) -> Metrics {
        let memory = [
            ("memtable_bytes", "rocksdb.cur-size-all-mem-tables"),
            ("table_reader_bytes", "rocksdb.estimate-table-readers-mem"),
            ("block_cache_bytes", "rocksdb.block-cache-usage"),
            ("pending_compaction_bytes", "rocksdb.estimate-pending-compaction-bytes"),
        ];
        let properties = memory.into_iter().filter_map(|(name, property)| {
            let value = self.database.property_int_value(property).ok().flatten()?;
            Some((name.to_owned(), value as f64))
        });
        let mut metrics =
            Metrics { levels: self.levels(), counters: properties.collect(), ..Metrics::default() };
        let Some(statistics) = &self.statistics else { return metrics };
        let count = |ticker| statistics.get_ticker_count(ticker);
        metrics.bytes_written = Some(BytesWritten {
            log: count(Ticker::WalFileBytes),
            flush: count(Ticker::FlushWriteBytes),
            compaction: count(Ticker::CompactWriteBytes),
            ..BytesWritten::default()
        });
        if !self.mapped {
            let of_tables = |last, others| Some(count(last) + count(others));
            metrics.bytes_read =
                of_tables(Ticker::LastLevelReadBytes, Ticker::NonLastLevelReadBytes);
            metrics.read_calls =
                of_tables(Ticker::LastLevelReadCount, Ticker::NonLastLevelReadCount);
            metrics.cache_hits = Some(count(Ticker::BlockCacheHit));
            metrics.cache_misses = Some(count(Ticker::BlockCacheMiss));
        }
        let positive = count(Ticker::BloomFilterFullPositive);
        metrics.filter_probes = Some(count(Ticker::BloomFilterUseful) + positive);
        metrics.filter_false_positives =
            Some(positive.saturating_sub(count(Ticker::BloomFilterFullTruePositive)));
        metrics.stalls = Some(Stalls {
            count: self.stalls(),
            time: Duration::from_micros(count(Ticker::StallMicros)),
        });
        metrics.counters.insert("log_fsyncs".into(), count(Ticker::WalFileSynced) as f64);
        metrics
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()?;
        self.database.cancel_all_background_work(true);
        Ok(())
    }
}

struct RocksDbSession<'a> {
    engine: &'a RocksDb,
    read_options: ReadOptions,
    write_options: WriteOptions,
}

impl Session for RocksDbSession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.engine.database.get_pinned_opt(key, &self.read_options).map_err(other)?;
        value.extend_from_slice(found.as_deref().unwrap_or_default());
        Ok(found.is_some())
    }

    fn multi_get(
        &mut self,
        keys: &[&[u8]],
        visit: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let database = &self.engine.database;
        let family = database
            .cf_handle(DEFAULT_COLUMN_FAMILY_NAME)
            .ok_or_else(|| Error::Other("the default column family is not open".into()))?;
        let keys = keys.iter().copied();
        let found = database.batched_multi_get_cf_opt(family, keys, false, &self.read_options);
        for (index, value) in found.into_iter().enumerate() {
            visit(index, value.map_err(other)?.as_deref());
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.engine.capabilities.check_sizes(key, value)?;
        self.engine.database.put_opt(key, value, &self.write_options).map_err(other)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.engine.capabilities.check_sizes(key, &[])?;
        self.engine.database.delete_opt(key, &self.write_options).map_err(other)
    }

    fn delete_range(&mut self, start: &[u8], end: &[u8]) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        let mut writes = rocksdb::WriteBatch::default();
        writes.delete_range(start, end);
        self.engine.database.write_opt(writes, &self.write_options).map_err(other)
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        let mut writes = rocksdb::WriteBatch::default();
        for operation in &batch.operations {
            match operation {
                WriteOperation::Put { key, value } => {
                    self.engine.capabilities.check_sizes(key, value)?;
                    writes.put(key, value);
                }
                WriteOperation::Delete { key } => {
                    self.engine.capabilities.check_sizes(key, &[])?;
                    writes.delete(key);
                }
                WriteOperation::PutExpiring { .. } => {
                    return Err(Error::Unsupported(OperationKind::PutExpiring));
                }
                WriteOperation::DeleteRange { start, end } if start < end => {
                    writes.delete_range(start, end);
                }
                WriteOperation::DeleteRange { .. } => {}
            }
        }
        self.engine.database.write_opt(writes, &self.write_options).map_err(other)
    }

    fn scan(
        &mut self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        let mut iterator = self.engine.database.raw_iterator_opt(self.engine.read_options());
        match direction {
            Direction::Forward => iterator.seek(start),
            Direction::Reverse if start.is_empty() => iterator.seek_to_last(),
            Direction::Reverse => iterator.seek_for_prev(start),
        }
        let mut visited = 0;
        while visited < limit
            && let Some((key, value)) = iterator.item()
        {
            visited += 1;
            if visit(key, value).is_break() {
                break;
            }
            match direction {
                Direction::Forward => iterator.next(),
                Direction::Reverse => iterator.prev(),
            }
        }
        iterator.status().map_err(other)?;
        Ok(visited)
    }
}
