//! `lsm`: kvdyno's own log-structured merge tree.
//!
//! | class | call |
//! |---|---|
//! | `buffered` | as `os`: a mapped append costs no more than a user-space buffer |
//! | `os` | each write is copied into a shared mapping of the log before it is acknowledged |
//! | `sync` | fdatasync of the log before the acknowledgement, shared by waiting writers (group commit) |

use kvdyno_engines::lsm::{self, Compression, Io, Levelled, Lsm, Options, Style, Tiered};
use kvdyno_engines::storage::Disk;
use kvdyno_engines::{Capabilities, Durability, Engine, Result};

use crate::options::{CACHE, OptionInfo, WRITE_BUFFER};
use crate::registry::{OpenRequest, Variant};

/// Name of the option for how tables are read.
const IO: &str = "io";
/// Name of the option for how many files are mapped.
const MAPPED: &str = "mapped_mib_max";
/// Names of the options for how data blocks are stored, and what they can be.
const COMPRESSION: &str = "compression";
const COMPRESSION_LAST: &str = "compression_last";
const CODECS: &[&str] = &["none", "lz4", "zstd"];
/// Name of the option for the style of compaction.
const STYLE: &str = "style";

/// Name of the option for the bytes from which on values are kept apart.
const VALUE_LOG: &str = "value_log_min_bytes";

/// The adapter.
pub(crate) struct Adapter;

impl crate::registry::Adapter for Adapter {
    fn name(&self) -> &'static str {
        "lsm"
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn description(&self) -> &'static str {
        "kvdyno's own log-structured merge tree; cache: page cache; its own with io=pread, if compressed, or beyond memory"
    }

    fn options(&self) -> &'static [OptionInfo] {
        const {
            &[
                OptionInfo::write_buffer("memtables: half is filled while the other is flushed"),
                OptionInfo::word(IO, &["mapped", "pread"], 0, "how tables are read"),
                OptionInfo::number(
                    MAPPED,
                    0,
                    0,
                    1_048_576,
                    "tables and values from which on they are read as with pread; 0: half of what --memory-limit or the machine has",
                ),
                OptionInfo::cache("block cache (pread, compressed, or beyond memory)"),
                OptionInfo::word(COMPRESSION, CODECS, 0, "of data blocks"),
                OptionInfo::word(
                    COMPRESSION_LAST,
                    CODECS,
                    0,
                    "of data blocks below which nothing older lies: most of them",
                ),
                OptionInfo::number(
                    "background_mib_per_s",
                    0,
                    0,
                    1_048_576,
                    "most that flushes and compactions write; 0: no limit",
                ),
                OptionInfo::number("filter_bits_per_key", 10, 0, 64, "Bloom filter; 0: none"),
                OptionInfo::word(STYLE, &["levelled", "tiered"], 0, "how tables are kept in order"),
                OptionInfo::number(
                    "level_base_mib",
                    256,
                    1,
                    1_048_576,
                    "least bytes of the first level below 0 (levelled)",
                ),
                OptionInfo::number(
                    "level_ratio",
                    10,
                    2,
                    100,
                    "bytes of a level to those of the one above (levelled)",
                ),
                OptionInfo::number(
                    "level_0_tables",
                    4,
                    1,
                    20,
                    "tables of level 0 from which on they are compacted (levelled)",
                ),
                OptionInfo::number(
                    "level_0_percent",
                    30,
                    0,
                    1_000,
                    "per cent of the bytes it is merged with that level 0 waits for (levelled)",
                ),
                OptionInfo::number(
                    VALUE_LOG,
                    0,
                    32,
                    16 << 20,
                    "values of so many bytes and more are kept apart from tables; 0: none",
                )
                .or_zero(),
                OptionInfo::number(
                    "value_log_dead_percent",
                    35,
                    1,
                    100,
                    "per cent of the value log that may be dead",
                ),
                OptionInfo::switch(
                    "compact_for_scans",
                    true,
                    "merge runs that scans have paid enough for, though nothing is due (levelled)",
                ),
                OptionInfo::number("compaction_threads", 2, 1, 64, "compactions at a time"),
                OptionInfo::number("subcompactions", 1, 1, 64, "ranges of one compaction"),
                OptionInfo::number(
                    "tier_width",
                    4,
                    2,
                    6,
                    "tables of similar size that are merged (tiered)",
                ),
                OptionInfo::number(
                    "tier_space_percent",
                    100,
                    1,
                    10_000,
                    "bytes of younger tables to those of the oldest run (tiered)",
                ),
            ]
        }
    }

    fn variants(&self) -> &'static [Variant] {
        &[
            Variant {
                name: "nofilter",
                help: "without Bloom filters: what they bring",
                set: &[("filter_bits_per_key", "0")],
            },
            Variant {
                name: "pread",
                help: "tables read by calls into a block cache, however few they are",
                set: &[(IO, "pread")],
            },
            Variant {
                name: "lz4",
                help: "all data blocks compressed by LZ4, as RocksDB's are by default",
                set: &[(COMPRESSION, "lz4"), (COMPRESSION_LAST, "lz4")],
            },
            Variant {
                name: "zstd",
                help: "the last level compressed by Zstandard, those above by LZ4: the least room",
                set: &[(COMPRESSION, "lz4"), (COMPRESSION_LAST, "zstd")],
            },
            Variant {
                name: "tiered",
                help: "size-tiered compaction: fewer bytes written, more places to look at",
                set: &[(STYLE, "tiered")],
            },
            Variant {
                name: "values",
                help: "values from 512 bytes on apart from the tables: fewer bytes written",
                set: &[(VALUE_LOG, "512")],
            },
        ]
    }

    fn durability_call(&self, durability: Durability) -> Option<&'static str> {
        Some(match durability {
            Durability::Buffered => "as os: copy into a shared mapping",
            Durability::Os => "copy into a shared mapping of the log",
            Durability::Sync => "fdatasync of the log before the acknowledgement, group commit",
        })
    }

    fn capabilities(&self) -> Capabilities {
        lsm::capabilities()
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        let width = request.options.get("tier_width") as usize;
        let tiered = Tiered {
            width,
            runs_max: 3 * width,
            space_percent: request.options.get("tier_space_percent"),
            ..Tiered::default()
        };
        let style = match request.options.get(STYLE) {
            0 => Style::Levelled(Levelled {
                level_0_percent: request.options.get("level_0_percent"),
                ..Levelled::default()
            }),
            _ => Style::Tiered(tiered),
        };
        let value_log = request.options.get(VALUE_LOG) as usize;
        let codec = |name| {
            [Compression::None, Compression::Lz4, Compression::Zstd]
                [request.options.get(name) as usize]
        };
        let memory_bytes = request.options.mib(WRITE_BUFFER) + request.options.mib(CACHE);
        let options = Options {
            value_log_min_bytes: (value_log > 0).then_some(value_log),
            value_log_dead_percent: request.options.get("value_log_dead_percent"),
            durability: request.durability,
            memory_bytes,
            // There are two, and each may come to a quarter more with the index over its log.
            memtable_bytes: (request.options.mib(WRITE_BUFFER) / 2).min(memory_bytes / 5 * 2),
            memtables_waiting_max: 1,
            filter_bits_per_key: request.options.get("filter_bits_per_key") as usize,
            style,
            compression: codec(COMPRESSION),
            compression_last: codec(COMPRESSION_LAST),
            background_bytes_per_s: request.options.mib("background_mib_per_s"),
            io: [Io::Mapped, Io::Calls][request.options.get(IO) as usize],
            mapped_bytes_max: Some(request.options.mib(MAPPED)).filter(|bytes| *bytes > 0),
            cache_bytes: request.options.mib(CACHE),
            compact_for_scans: request.options.is_on("compact_for_scans"),
            compaction_threads: request.options.get("compaction_threads") as usize,
            subcompactions_max: request.options.get("subcompactions") as usize,
            l0_tables_compact: request.options.get("level_0_tables") as usize,
            level_base_bytes: request.options.mib("level_base_mib"),
            level_ratio: request.options.get("level_ratio"),
            ..Options::default()
        };
        Ok(Box::new(Lsm::open(Disk, request.dir, options)?))
    }
}
