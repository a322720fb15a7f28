//! `bitcask`: kvdyno's own hash index over an append-only log.
//!
//! | class | call |
//! |---|---|
//! | `buffered` | as `os`: a mapped append costs no more than a user-space buffer |
//! | `os` | each write is copied into a shared mapping of the log before it is acknowledged |
//! | `sync` | fdatasync of the log before the acknowledgement, shared by waiting writers (group commit) |

use std::time::Duration;

use kvdyno_engines::bitcask::{self, Bitcask, MergePolicy, Options};
use kvdyno_engines::storage::Disk;
use kvdyno_engines::{Capabilities, Durability, Engine, Result};

use crate::options::OptionInfo;
use crate::registry::{OpenRequest, Variant};

/// The adapter.
pub(crate) struct Adapter;

impl crate::registry::Adapter for Adapter {
    fn name(&self) -> &'static str {
        "bitcask"
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn description(&self) -> &'static str {
        "kvdyno's own hash index over an append-only log; buffers and cache: page cache only"
    }

    fn options(&self) -> &'static [OptionInfo] {
        const {
            &[
                OptionInfo::number(
                    "segment_mib",
                    64,
                    1,
                    8_192,
                    "length at which the next data file begins",
                ),
                OptionInfo::switch("checksums", true, "checksums cover keys and values"),
                OptionInfo::number(
                    "compress_above_bytes",
                    0,
                    0,
                    bitcask::VALUE_BYTES_MAX as u64,
                    "compress values longer than this with LZ4; 0: none",
                ),
                OptionInfo::switch(
                    "automatic_merge",
                    true,
                    "merge by itself when a good third of the store is dead",
                ),
                OptionInfo::number(
                    "sync_interval_ms",
                    0,
                    0,
                    3_600_000,
                    "sync in the background so often; 0: when files are full",
                ),
                OptionInfo::switch(
                    "ordered_scans",
                    false,
                    "scans, by sorting all keys whenever one was added or removed",
                ),
            ]
        }
    }

    fn variants(&self) -> &'static [Variant] {
        &[
            Variant {
                name: "nocrc",
                help: "without checksums of keys and values: what integrity costs",
                set: &[("checksums", "off")],
            },
            Variant {
                name: "ordered",
                help: "with scans over keys that are sorted on demand: what order costs on a hash index",
                set: &[("ordered_scans", "on")],
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
        bitcask::capabilities()
    }

    fn capabilities_with(&self, options: &crate::options::Options) -> Capabilities {
        settings(options).capabilities()
    }

    fn hint_files(&self) -> &'static [&'static str] {
        &[".hint", "KEYDIR"]
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        let options = Options { durability: request.durability, ..settings(request.options) };
        Ok(Box::new(Bitcask::open(Disk, request.dir, options)?))
    }
}

/// What a store is opened with, but for the durability class.
fn settings(options: &crate::options::Options) -> Options {
    let unless_zero = |name| Some(options.get(name)).filter(|value| *value > 0);
    let automatic = options.is_on("automatic_merge");
    Options {
        segment_bytes: options.mib("segment_mib"),
        checksums: options.is_on("checksums"),
        compress_above_bytes: unless_zero("compress_above_bytes").map(|bytes| bytes as usize),
        merge: MergePolicy { automatic, ..MergePolicy::default() },
        sync_interval: unless_zero("sync_interval_ms").map(Duration::from_millis),
        ordered_scans: options.is_on("ordered_scans"),
        ..Options::default()
    }
}
