//! `bitcask`: kvdyno's own hash index over an append-only log.
//!
//! | class | call |
//! |---|---|
//! | `buffered` | as `os`: a mapped append costs no more than a user-space buffer |
//! | `os` | each write is copied into a shared mapping of the log before it is acknowledged |
//! | `sync` | fdatasync of the log before the acknowledgement, shared by waiting writers (group commit) |

use kvdyno_engines::bitcask::{self, Bitcask, Options};
use kvdyno_engines::storage::Disk;
use kvdyno_engines::{Capabilities, Durability, Engine, Result};

use crate::options::OptionInfo;
use crate::registry::OpenRequest;

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
            &[OptionInfo::number(
                "segment_mib",
                64,
                1,
                8_192,
                "length at which the next data file begins",
            )]
        }
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

    fn hint_files(&self) -> &'static [&'static str] {
        &[".hint"]
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        let options = Options {
            durability: request.durability,
            segment_bytes: request.options.mib("segment_mib"),
            ..Options::default()
        };
        Ok(Box::new(Bitcask::open(Disk, request.dir, options)?))
    }
}
