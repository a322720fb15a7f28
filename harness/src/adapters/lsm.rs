//! `lsm`: kvdyno's own log-structured merge tree.
//!
//! | class | call |
//! |---|---|
//! | `buffered` | as `os`: a mapped append costs no more than a user-space buffer |
//! | `os` | each write is copied into a shared mapping of the log before it is acknowledged |
//! | `sync` | fdatasync of the log before the acknowledgement, shared by waiting writers (group commit) |

use kvdyno_engines::lsm::{self, Lsm, Options};
use kvdyno_engines::storage::Disk;
use kvdyno_engines::{Capabilities, Durability, Engine, Result};

use crate::registry::{OpenRequest, OptionInfo};

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
        "kvdyno's own log-structured merge tree"
    }

    fn options(&self) -> &'static [OptionInfo] {
        &[
            OptionInfo {
                name: "memtable_mib",
                default: 64,
                min: 1,
                max: 2_048,
                help: "log segment, and so memtable, that is then flushed",
            },
            OptionInfo {
                name: "filter_bits_per_key",
                default: 10,
                min: 0,
                max: 64,
                help: "Bloom filter; 0 for none",
            },
            OptionInfo {
                name: "level_base_mib",
                default: 256,
                min: 1,
                max: 1_048_576,
                help: "bytes of level 1",
            },
            OptionInfo {
                name: "level_ratio",
                default: 10,
                min: 2,
                max: 100,
                help: "bytes of a level to those of the one above",
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
        let options = Options {
            durability: request.durability,
            memtable_bytes: request.options.get("memtable_mib") << 20,
            filter_bits_per_key: request.options.get("filter_bits_per_key") as usize,
            level_base_bytes: request.options.get("level_base_mib") << 20,
            level_ratio: request.options.get("level_ratio"),
            ..Options::default()
        };
        Ok(Box::new(Lsm::open(Disk, request.dir, options)?))
    }
}
