//! `redb`: a copy-on-write B+tree in Rust. One transaction an operation.
//!
//! | class | call |
//! |---|---|
//! | `buffered` | `Durability::None`: a commit stays in the process until a later durable commit or a clean close |
//! | `os` | not offered: there is nothing between the process's memory and fsync |
//! | `sync` | `Durability::Immediate`, the default: fsync at each commit |
//!
//! redb has one pool for its cache and for pages that a transaction wrote: it gets both budgets, and gives at most half of the pool to
//! writes. It has no background work, and is idle between calls. It counts nothing that could be told without walking the tree.

use std::ops::Bound;

use kvdyno_engines::{
    Capabilities, Direction, Durability, Engine, Error, Metrics, OperationKind, Result, Session,
    Visit, WriteBatch, WriteOperation,
};
use redb::{Database, ReadableDatabase, Table, TableDefinition, WriteTransaction};

use crate::options::{CACHE, OptionInfo, WRITE_BUFFER};
use crate::registry::OpenRequest;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("kvdyno");
const KEY_BYTES_MAX: usize = 64 << 10;
const VALUE_BYTES_MAX: usize = 16 << 20;

/// The adapter.
pub(crate) struct Adapter;

fn capabilities() -> Capabilities {
    Capabilities::ordered_store(
        &[OperationKind::MultiGet, OperationKind::DeleteRange],
        &[Durability::Buffered, Durability::Sync],
        KEY_BYTES_MAX,
        VALUE_BYTES_MAX,
    )
}

impl crate::registry::Adapter for Adapter {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn version(&self) -> &'static str {
        env!("KVDYNO_VERSION_REDB")
    }

    fn description(&self) -> &'static str {
        "copy-on-write B+tree in Rust"
    }

    fn options(&self) -> &'static [OptionInfo] {
        const {
            &[
                OptionInfo::write_buffer("added to the pool of pages"),
                OptionInfo::cache("pool of pages, together with the write buffer"),
                OptionInfo::switch(
                    "quick_repair",
                    false,
                    "writes more at each commit, so that a killed store opens without a walk of its tree",
                ),
            ]
        }
    }

    fn durability_call(&self, durability: Durability) -> Option<&'static str> {
        match durability {
            Durability::Buffered => Some("Durability::None: in memory until a durable commit"),
            Durability::Os => None,
            Durability::Sync => Some("Durability::Immediate: fsync at each commit"),
        }
    }

    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        let pool_bytes = request.options.mib(CACHE) + request.options.mib(WRITE_BUFFER);
        let database = Database::builder()
            .set_cache_size(pool_bytes as usize)
            .create(request.dir.join("store.redb"))
            .map_err(other)?;
        let engine = Redb {
            database,
            durability: match request.durability {
                Durability::Sync => redb::Durability::Immediate,
                Durability::Buffered | Durability::Os => redb::Durability::None,
            },
            quick_repair: request.options.is_on("quick_repair"),
            capabilities: capabilities(),
        };
        // The table must be there before the first read.
        engine.write(redb::Durability::Immediate, |_| Ok(()))?;
        Ok(Box::new(engine))
    }
}

struct Redb {
    database: Database,
    durability: redb::Durability,
    quick_repair: bool,
    capabilities: Capabilities,
}

fn other(error: impl Into<redb::Error>) -> Error {
    Error::Other(Box::new(error.into()))
}

type BytesTable<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

/// Removes the keys from `start` up to, but without `end`.
fn remove_range(table: &mut BytesTable<'_>, start: &[u8], end: &[u8]) -> Result<()> {
    if start >= end {
        return Ok(());
    }
    table.retain_in::<&[u8], _>(start..end, |_, _| false).map_err(other)
}

impl Redb {
    /// Does a write in a transaction of its own.
    fn write(
        &self,
        durability: redb::Durability,
        change: impl FnOnce(&mut BytesTable<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut txn: WriteTransaction = self.database.begin_write().map_err(other)?;
        txn.set_durability(durability).map_err(other)?;
        txn.set_quick_repair(self.quick_repair);
        change(&mut txn.open_table(TABLE).map_err(other)?)?;
        txn.commit().map_err(other)
    }

    fn table(&self) -> Result<redb::ReadOnlyTable<&'static [u8], &'static [u8]>> {
        let txn = self.database.begin_read().map_err(other)?;
        txn.open_table(TABLE).map_err(other)
    }
}

impl Engine for Redb {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(RedbSession { engine: self }))
    }

    fn sync(&self) -> Result<()> {
        self.write(redb::Durability::Immediate, |_| Ok(()))
    }

    fn settle(&self) -> Result<()> {
        // redb does nothing in the background.
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        Metrics::default()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()?;
        self.database.close().map_err(other)
    }
}

struct RedbSession<'a> {
    engine: &'a Redb,
}

impl Session for RedbSession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let table = self.engine.table()?;
        let Some(found) = table.get(key).map_err(other)? else { return Ok(false) };
        value.extend_from_slice(found.value());
        Ok(true)
    }

    fn multi_get(
        &mut self,
        keys: &[&[u8]],
        visit: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let table = self.engine.table()?;
        for (index, key) in keys.iter().enumerate() {
            let found = table.get(*key).map_err(other)?;
            visit(index, found.as_ref().map(redb::AccessGuard::value));
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.engine.capabilities.check_sizes(key, value)?;
        self.engine.write(self.engine.durability, |table| {
            table.insert(key, value).map(drop).map_err(other)
        })
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.engine.capabilities.check_sizes(key, &[])?;
        let remove = |table: &mut BytesTable<'_>| table.remove(key).map(drop).map_err(other);
        self.engine.write(self.engine.durability, remove)
    }

    fn delete_range(&mut self, start: &[u8], end: &[u8]) -> Result<()> {
        self.engine.write(self.engine.durability, |table| remove_range(table, start, end))
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        let capabilities = &self.engine.capabilities;
        self.engine.write(self.engine.durability, |table| {
            for operation in &batch.operations {
                match operation {
                    WriteOperation::Put { key, value } => {
                        capabilities.check_sizes(key, value)?;
                        table.insert(key.as_slice(), value.as_slice()).map_err(other)?;
                    }
                    WriteOperation::Delete { key } => {
                        capabilities.check_sizes(key, &[])?;
                        table.remove(key.as_slice()).map_err(other)?;
                    }
                    WriteOperation::PutExpiring { .. } => {
                        return Err(Error::Unsupported(OperationKind::PutExpiring));
                    }
                    WriteOperation::DeleteRange { start, end } => remove_range(table, start, end)?,
                }
            }
            Ok(())
        })
    }

    fn scan(
        &mut self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        let table = self.engine.table()?;
        let start = if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) };
        let mut range = match direction {
            Direction::Forward => table.range::<&[u8]>((start, Bound::Unbounded)),
            Direction::Reverse => table.range::<&[u8]>((Bound::Unbounded, start)),
        }
        .map_err(other)?;
        let mut visited = 0;
        while visited < limit
            && let Some(entry) = match direction {
                Direction::Forward => range.next(),
                Direction::Reverse => range.next_back(),
            }
        {
            let (key, value) = entry.map_err(other)?;
            visited += 1;
            if visit(key.value(), value.value()).is_break() {
                break;
            }
        }
        Ok(visited)
    }
}
