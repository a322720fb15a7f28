//! `fjall`: an LSM tree in Rust.
//!
//! | class | call |
//! |---|---|
//! | `buffered` | `manual_journal_persist(true)`: the journal stays in a user-space buffer until it is full |
//! | `os` | the default: each insert flushes the journal's buffer with write(2) |
//! | `sync` | `persist(PersistMode::SyncData)` after each insert: fdatasync of the journal |
//!
//! Settling: fjall tells how many flushes and compactions are under way, but not whether a compaction is due; it is taken to
//! be idle when both counts have been zero for a tenth of a second.
//!
//! Filters (Bloom, 10 bits a key) and compression (LZ4 below level 1) are fjall's own defaults.

use std::ops::Bound;
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use kvdyno_engines::{
    Capabilities, Direction, Durability, Engine, Error, Metrics, OperationKind, Result, Session,
    Visit, WriteBatch, WriteOperation,
};

use super::threads;
use crate::options::{CACHE, OptionInfo, WRITE_BUFFER};
use crate::registry::OpenRequest;

const KEY_BYTES_MAX: usize = u16::MAX as usize;
const VALUE_BYTES_MAX: usize = 16 << 20;
/// Both counts must have been zero for this long.
const IDLE_FOR: Duration = Duration::from_millis(100);

/// The adapter.
pub(crate) struct Adapter;

fn capabilities() -> Capabilities {
    Capabilities::ordered_store(&[], &Durability::ALL, KEY_BYTES_MAX, VALUE_BYTES_MAX)
}

impl crate::registry::Adapter for Adapter {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn version(&self) -> &'static str {
        env!("KVDYNO_VERSION_FJALL")
    }

    fn description(&self) -> &'static str {
        "LSM tree in Rust"
    }

    fn options(&self) -> &'static [OptionInfo] {
        const {
            &[
                OptionInfo::write_buffer(
                    "memtables: half is the size of one; fjall lets up to four wait for their flush",
                ),
                OptionInfo::cache("block cache"),
                threads::OPTION,
            ]
        }
    }

    fn durability_call(&self, durability: Durability) -> Option<&'static str> {
        Some(match durability {
            Durability::Buffered => "manual_journal_persist(true): a user-space buffer",
            Durability::Os => "default: write(2) of the journal at each insert",
            Durability::Sync => "persist(SyncData): fdatasync of the journal after each insert",
        })
    }

    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        let database = Database::builder(request.dir)
            .cache_size(request.options.mib(CACHE))
            .worker_threads(threads::wanted(request.options))
            .manual_journal_persist(request.durability == Durability::Buffered)
            .open()
            .map_err(other)?;
        let memtable_bytes = request.options.mib(WRITE_BUFFER) / 2;
        let keyspace = database
            .keyspace("kvdyno", || {
                KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes)
            })
            .map_err(other)?;
        let sync_each_write = request.durability == Durability::Sync;
        Ok(Box::new(Fjall { database, keyspace, sync_each_write, capabilities: capabilities() }))
    }
}

struct Fjall {
    database: Database,
    keyspace: Keyspace,
    sync_each_write: bool,
    capabilities: Capabilities,
}

fn other(error: fjall::Error) -> Error {
    match error {
        fjall::Error::Io(source) => Error::Other(Box::new(source)),
        error => Error::Other(Box::new(error)),
    }
}

impl Fjall {
    fn acknowledge(&self) -> Result<()> {
        if self.sync_each_write {
            self.database.persist(PersistMode::SyncData).map_err(other)
        } else {
            Ok(())
        }
    }
}

impl Engine for Fjall {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(FjallSession { engine: self }))
    }

    fn sync(&self) -> Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(other)
    }

    fn settle(&self) -> Result<()> {
        let mut idle_since = Instant::now();
        while idle_since.elapsed() < IDLE_FOR {
            if self.database.outstanding_flushes() > 0 || self.database.active_compactions() > 0 {
                idle_since = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        let counters = [
            ("write_buffer_bytes", self.database.write_buffer_size() as f64),
            ("cache_bytes", self.database.cache_size() as f64),
            ("compactions", self.database.compactions_completed() as f64),
            ("compaction_s", self.database.time_compacting().as_secs_f64()),
            ("journals", self.database.journal_count() as f64),
            ("tables", self.keyspace.table_count() as f64),
            ("l0_tables", self.keyspace.l0_table_count() as f64),
        ];
        Metrics {
            counters: counters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            ..Metrics::default()
        }
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}

struct FjallSession<'a> {
    engine: &'a Fjall,
}

impl Session for FjallSession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        if key.is_empty() {
            return Ok(false);
        }
        let Some(found) = self.engine.keyspace.get(key).map_err(other)? else { return Ok(false) };
        value.extend_from_slice(&found);
        Ok(true)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.engine.capabilities.check_sizes(key, value)?;
        self.engine.keyspace.insert(key, value).map_err(other)?;
        self.engine.acknowledge()
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.engine.capabilities.check_sizes(key, &[])?;
        self.engine.keyspace.remove(key).map_err(other)?;
        self.engine.acknowledge()
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        let mut writes = self.engine.database.batch();
        for operation in &batch.operations {
            match operation {
                WriteOperation::Put { key, value } => {
                    self.engine.capabilities.check_sizes(key, value)?;
                    writes.insert(&self.engine.keyspace, key.as_slice(), value.as_slice());
                }
                WriteOperation::Delete { key } => {
                    self.engine.capabilities.check_sizes(key, &[])?;
                    writes.remove(&self.engine.keyspace, key.as_slice());
                }
                WriteOperation::PutExpiring { .. } => {
                    return Err(Error::Unsupported(OperationKind::PutExpiring));
                }
                WriteOperation::DeleteRange { .. } => {
                    return Err(Error::Unsupported(OperationKind::DeleteRange));
                }
            }
        }
        writes.commit().map_err(other)?;
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
        let mut visited = 0;
        let mut take = |guard: fjall::Guard| -> Result<bool> {
            let (key, value) = guard.into_inner().map_err(other)?;
            visited += 1;
            Ok(visit(&key, &value).is_continue())
        };
        // Ranges of the keyspace itself see writes that come later; those of a snapshot see one point in time.
        let snapshot = self.engine.database.snapshot();
        let keyspace = &self.engine.keyspace;
        match direction {
            Direction::Forward => {
                let range = snapshot.range::<&[u8], _>(keyspace, (start, Bound::Unbounded));
                let mut entries = range.take(limit);
                while let Some(guard) = entries.next()
                    && take(guard)?
                {}
            }
            Direction::Reverse => {
                let range = snapshot.range::<&[u8], _>(keyspace, (Bound::Unbounded, start));
                let mut entries = range.rev().take(limit);
                while let Some(guard) = entries.next()
                    && take(guard)?
                {}
            }
        }
        Ok(visited)
    }
}
