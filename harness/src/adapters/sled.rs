//! `sled`: a lock-free tree over a log, in Rust.
//!
//! | class | call |
//! |---|---|
//! | `buffered` | the default: a timer writes and syncs the log every 500 ms |
//! | `os` | `flush()` after each write: write(2) of the log, and `sync_file_range` |
//! | `sync` | `flush()` after each write, and then `fdatasync` of the file by this adapter |
//!
//! sled calls what `flush` does an fsync, but on Linux it is `sync_file_range`, which promises nothing about metadata or the device's cache; so
//! `flush` alone is class `os`, and the adapter adds what is missing for `sync`.
//!
//! sled's iterators see writes that come while they run. A scan here collects its entries, and does so again with writers held off if a write came
//! in between: so it sees one point in time, as the interface asks. A scan of everything holds everything in memory.
//!
//! sled has one pool for its cache and its dirty pages: it gets both budgets. It cleans segments on the timer and does not tell whether some are
//! due; settling writes the log and waits for nothing else.

use std::fs::File;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use kvdyno_engines::{
    Capabilities, Direction, Durability, Engine, Error, Metrics, OperationKind, Result, Session,
    Visit, WriteBatch, WriteOperation,
};
use sled::{Batch, Config, Db, IVec};

use crate::options::{CACHE, OptionInfo, WRITE_BUFFER};
use crate::registry::OpenRequest;

const KEY_BYTES_MAX: usize = 64 << 10;
const VALUE_BYTES_MAX: usize = 16 << 20;

/// The adapter.
pub(crate) struct Adapter;

fn capabilities() -> Capabilities {
    Capabilities::ordered_store(&[], &Durability::ALL, KEY_BYTES_MAX, VALUE_BYTES_MAX)
}

impl crate::registry::Adapter for Adapter {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn version(&self) -> &'static str {
        env!("KVDYNO_VERSION_SLED")
    }

    fn description(&self) -> &'static str {
        "tree over a log in Rust"
    }

    fn options(&self) -> &'static [OptionInfo] {
        const {
            &[
                OptionInfo::write_buffer("added to the pool of pages"),
                OptionInfo::cache("pool of pages, together with the write buffer"),
                OptionInfo::number("flush_ms", 500, 1, 60_000, "the timer, in class buffered"),
            ]
        }
    }

    fn durability_call(&self, durability: Durability) -> Option<&'static str> {
        Some(match durability {
            Durability::Buffered => "default: a timer writes and syncs the log",
            Durability::Os => "flush() after each write: write(2) and sync_file_range",
            Durability::Sync => "flush() after each write, then fdatasync",
        })
    }

    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        let pool_bytes = request.options.mib(CACHE) + request.options.mib(WRITE_BUFFER);
        let database = Config::new()
            .path(request.dir)
            .cache_capacity(pool_bytes)
            .flush_every_ms(Some(request.options.get("flush_ms")))
            .open()
            .map_err(other)?;
        let path = request.dir.join("db");
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let durability = request.durability;
        let writes = Writes::default();
        Ok(Box::new(Sled { database, file, durability, writes, capabilities: capabilities() }))
    }
}

struct Sled {
    database: Db,
    /// The file of the log, for fdatasync.
    file: File,
    durability: Durability,
    writes: Writes,
    capabilities: Capabilities,
}

fn other(error: sled::Error) -> Error {
    Error::Other(Box::new(error))
}

/// Tells scans whether a write came in between, and lets a scan hold writers off.
#[derive(Default)]
struct Writes {
    gate: RwLock<()>,
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Writes {
    /// Does a write. Writers do not hold each other off.
    fn write<T>(&self, write: impl FnOnce() -> sled::Result<T>) -> Result<T> {
        let _shared = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        self.begun.fetch_add(1, Ordering::SeqCst);
        let written = write();
        self.ended.fetch_add(1, Ordering::SeqCst);
        written.map_err(other)
    }

    /// Reads at one point in time: at once if no write is under way or begins meanwhile, and otherwise again with writers held off.
    fn read<T>(&self, mut read: impl FnMut() -> Result<T>) -> Result<T> {
        let ended = self.ended.load(Ordering::SeqCst);
        if self.begun.load(Ordering::SeqCst) == ended {
            let found = read();
            if self.begun.load(Ordering::SeqCst) == ended {
                return found;
            }
        }
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        read()
    }
}

impl Sled {
    fn sync_file(&self) -> Result<()> {
        self.database.flush().map_err(other)?;
        self.file.sync_data().map_err(|error| Error::Other(Box::new(error)))
    }

    fn acknowledge(&self) -> Result<()> {
        match self.durability {
            Durability::Buffered => Ok(()),
            Durability::Os => self.database.flush().map(drop).map_err(other),
            Durability::Sync => self.sync_file(),
        }
    }
}

impl Engine for Sled {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(SledSession { engine: self }))
    }

    fn sync(&self) -> Result<()> {
        self.sync_file()
    }

    fn settle(&self) -> Result<()> {
        self.database.flush().map(drop).map_err(other)
    }

    fn metrics(&self) -> Metrics {
        let size = self.database.size_on_disk().ok();
        let counters = size.map(|bytes| ("files_bytes".to_owned(), bytes as f64));
        Metrics { counters: counters.into_iter().collect(), ..Metrics::default() }
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}

struct SledSession<'a> {
    engine: &'a Sled,
}

impl Session for SledSession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let Some(found) = self.engine.database.get(key).map_err(other)? else { return Ok(false) };
        value.extend_from_slice(&found);
        Ok(true)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.engine.capabilities.check_sizes(key, value)?;
        self.engine.writes.write(|| self.engine.database.insert(key, value))?;
        self.engine.acknowledge()
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.engine.capabilities.check_sizes(key, &[])?;
        self.engine.writes.write(|| self.engine.database.remove(key))?;
        self.engine.acknowledge()
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        let mut writes = Batch::default();
        for operation in &batch.operations {
            match operation {
                WriteOperation::Put { key, value } => {
                    self.engine.capabilities.check_sizes(key, value)?;
                    writes.insert(key.as_slice(), value.as_slice());
                }
                WriteOperation::Delete { key } => {
                    self.engine.capabilities.check_sizes(key, &[])?;
                    writes.remove(key.as_slice());
                }
                WriteOperation::PutExpiring { .. } => {
                    return Err(Error::Unsupported(OperationKind::PutExpiring));
                }
                WriteOperation::DeleteRange { .. } => {
                    return Err(Error::Unsupported(OperationKind::DeleteRange));
                }
            }
        }
        self.engine.writes.write(|| self.engine.database.apply_batch(writes.clone()))?;
        self.engine.acknowledge()
    }

    fn scan(
        &mut self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        let start = if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) };
        let entries: Vec<(IVec, IVec)> = self.engine.writes.read(|| {
            let database = &self.engine.database;
            let entries: sled::Result<_> = match direction {
                Direction::Forward => {
                    database.range::<&[u8], _>((start, Bound::Unbounded)).take(limit).collect()
                }
                Direction::Reverse => {
                    let range = database.range::<&[u8], _>((Bound::Unbounded, start));
                    range.rev().take(limit).collect()
                }
            };
            entries.map_err(other)
        })?;
        let mut visited = 0;
        for (key, value) in &entries {
            visited += 1;
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(visited)
    }
}
