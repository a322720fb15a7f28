//! `lmdb`: a memory-mapped, copy-on-write B+tree in C, through the crate heed. One transaction an operation, also for a
//! multi-get and a range delete.
//!
//! | class | call |
//! |---|---|
//! | `buffered` | not offered: a commit always reaches at least the shared mapping |
//! | `os` | `WRITE_MAP \| MAP_ASYNC \| NO_SYNC`: a commit writes to the shared mapping, which outlives the process |
//! | `sync` | the default: fdatasync at each commit |
//!
//! The map, and with it the address space, is four times the data that the run may store, and at least 1 GiB; the file is sparse.

#![allow(
    unsafe_code,
    reason = "heed's open and flags are unsafe: the caller promises what LMDB cannot check"
)]

use std::ops::Bound;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RwTxn, WithoutTls};
use kvdyno_engines::{
    Capabilities, Direction, Durability, Engine, Error, Metrics, OperationKind, Result, Session,
    Visit, WriteBatch, WriteOperation,
};

use crate::options::OptionInfo;
use crate::registry::OpenRequest;

/// LMDB's compiled-in limit.
const KEY_BYTES_MAX: usize = 511;
const VALUE_BYTES_MAX: usize = 16 << 20;
const MAP_BYTES_MIN: u64 = 1 << 30;

/// The adapter.
pub(crate) struct Adapter;

fn capabilities() -> Capabilities {
    Capabilities::ordered_store(
        &[OperationKind::MultiGet, OperationKind::DeleteRange],
        &[Durability::Os, Durability::Sync],
        KEY_BYTES_MAX,
        VALUE_BYTES_MAX,
    )
}

impl crate::registry::Adapter for Adapter {
    fn name(&self) -> &'static str {
        "lmdb"
    }

    fn version(&self) -> &'static str {
        concat!(
            "heed ",
            env!("KVDYNO_VERSION_HEED"),
            ", lmdb-master-sys ",
            env!("KVDYNO_VERSION_LMDB_MASTER_SYS")
        )
    }

    fn description(&self) -> &'static str {
        "memory-mapped B+tree in C; buffers and cache: page cache only"
    }

    fn options(&self) -> &'static [OptionInfo] {
        const {
            &[OptionInfo::number(
                "map_mib",
                0,
                0,
                67_108_864,
                "address space of the map; 0: four times the data, at least 1024",
            )]
        }
    }

    fn durability_call(&self, durability: Durability) -> Option<&'static str> {
        match durability {
            Durability::Buffered => None,
            Durability::Os => {
                Some("WRITE_MAP | MAP_ASYNC | NO_SYNC: commit into the shared mapping")
            }
            Durability::Sync => Some("default: fdatasync at each commit"),
        }
    }

    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        let map_bytes = match request.options.get("map_mib") {
            0 => (4 * request.data_bytes).max(MAP_BYTES_MIN).next_multiple_of(1 << 20),
            mib => mib << 20,
        };
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(map_bytes as usize).max_dbs(1).max_readers(126);
        if request.durability == Durability::Os {
            // SAFETY: without syncs a crash of the operating system may leave the file damaged; the durability class `os` promises nothing for that case, and
            // the store is one that the harness made and throws away.
            unsafe { options.flags(EnvFlags::WRITE_MAP | EnvFlags::MAP_ASYNC | EnvFlags::NO_SYNC) };
        }
        // SAFETY: the mapped file lies in a folder that the harness has locked, so nobody else changes or truncates it, and each process opens it only once.
        let env = unsafe { options.open(request.dir) }.map_err(other)?;
        let txn = env.write_txn().map_err(other)?;
        let database = env
            .create_databases_and_commit(txn, |opener, txn| {
                let options = opener.database_options().types::<Bytes, Bytes>();
                options.create(txn).map(CommitOrAbort::<_, ()>::Commit)
            })
            .map_err(other)?
            .unwrap_commit();
        Ok(Box::new(Lmdb { env, database, capabilities: capabilities() }))
    }
}

struct Lmdb {
    env: Env<WithoutTls>,
    database: Database<'static, Bytes, Bytes>,
    capabilities: Capabilities,
}

fn other(error: heed::Error) -> Error {
    match error {
        heed::Error::Io(source) => Error::Other(Box::new(source)),
        // heed's other errors may hold what cannot be sent between threads.
        error => Error::Other(error.to_string().into()),
    }
}

impl Lmdb {
    /// Removes the keys from `start` up to, but without `end`.
    fn remove_range(&self, txn: &mut RwTxn<'_>, start: &[u8], end: &[u8]) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        // As in scans, what is longer than a key can be is stood for by its head: no stored key lies between the two.
        let from = match start.get(..KEY_BYTES_MAX) {
            _ if start.is_empty() => Bound::Unbounded,
            Some(head) if head.len() < start.len() => Bound::Excluded(head),
            _ => Bound::Included(start),
        };
        let to = match end.get(..KEY_BYTES_MAX) {
            Some(head) if head.len() < end.len() => Bound::Included(head),
            _ => Bound::Excluded(end),
        };
        self.database.delete_range(txn, &(from, to)).map_err(other).map(drop)
    }
}

impl Engine for Lmdb {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(LmdbSession { engine: self }))
    }

    fn sync(&self) -> Result<()> {
        self.env.force_sync().map_err(other)
    }

    fn settle(&self) -> Result<()> {
        // LMDB does nothing in the background.
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        let info = self.env.info();
        let counters = [
            ("map_bytes", info.map_size as f64),
            ("last_page", info.last_page_number as f64),
            ("transactions", info.last_txn_id as f64),
        ];
        Metrics {
            counters: counters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            ..Metrics::default()
        }
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()?;
        let Self { env, .. } = *self;
        env.prepare_for_closing().wait();
        Ok(())
    }
}

struct LmdbSession<'a> {
    engine: &'a Lmdb,
}

impl Session for LmdbSession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Ok(false);
        }
        let txn = self.engine.env.read_txn().map_err(other)?;
        let Some(found) = self.engine.database.get(&txn, key).map_err(other)? else {
            return Ok(false);
        };
        value.extend_from_slice(found);
        Ok(true)
    }

    fn multi_get(
        &mut self,
        keys: &[&[u8]],
        visit: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let txn = self.engine.env.read_txn().map_err(other)?;
        for (index, key) in keys.iter().enumerate() {
            let possible = !key.is_empty() && key.len() <= KEY_BYTES_MAX;
            let found = possible.then(|| self.engine.database.get(&txn, key)).transpose();
            visit(index, found.map_err(other)?.flatten());
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.engine.capabilities.check_sizes(key, value)?;
        let mut txn = self.engine.env.write_txn().map_err(other)?;
        self.engine.database.put(&mut txn, key, value).map_err(other)?;
        txn.commit().map_err(other)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.engine.capabilities.check_sizes(key, &[])?;
        let mut txn = self.engine.env.write_txn().map_err(other)?;
        self.engine.database.delete(&mut txn, key).map_err(other)?;
        txn.commit().map_err(other)
    }

    fn delete_range(&mut self, start: &[u8], end: &[u8]) -> Result<()> {
        let mut txn = self.engine.env.write_txn().map_err(other)?;
        self.engine.remove_range(&mut txn, start, end)?;
        txn.commit().map_err(other)
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        let mut txn = self.engine.env.write_txn().map_err(other)?;
        for operation in &batch.operations {
            match operation {
                WriteOperation::Put { key, value } => {
                    self.engine.capabilities.check_sizes(key, value)?;
                    self.engine.database.put(&mut txn, key, value).map_err(other)?;
                }
                WriteOperation::Delete { key } => {
                    self.engine.capabilities.check_sizes(key, &[])?;
                    self.engine.database.delete(&mut txn, key).map_err(other)?;
                }
                WriteOperation::PutExpiring { .. } => {
                    return Err(Error::Unsupported(OperationKind::PutExpiring));
                }
                WriteOperation::DeleteRange { start, end } => {
                    self.engine.remove_range(&mut txn, start, end)?;
                }
            }
        }
        txn.commit().map_err(other)
    }

    fn scan(
        &mut self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        let txn = self.engine.env.read_txn().map_err(other)?;
        let start = match (start.get(..KEY_BYTES_MAX), direction) {
            _ if start.is_empty() => Bound::Unbounded,
            // LMDB refuses keys longer than its limit, also to look for. No stored key lies between such a key and its first 511 bytes.
            (Some(head), Direction::Forward) if head.len() < start.len() => Bound::Excluded(head),
            (Some(head), Direction::Reverse) => Bound::Included(head),
            _ => Bound::Included(start),
        };
        let mut visited = 0;
        let mut take = |entry: heed::Result<(&[u8], &[u8])>| -> Result<bool> {
            let (key, value) = entry.map_err(other)?;
            visited += 1;
            Ok(visit(key, value).is_continue())
        };
        match direction {
            Direction::Forward => {
                let range = (start, Bound::Unbounded);
                let mut entries =
                    self.engine.database.range(&txn, &range).map_err(other)?.take(limit);
                while let Some(entry) = entries.next()
                    && take(entry)?
                {}
            }
            Direction::Reverse => {
                let range = (Bound::Unbounded, start);
                let mut entries =
                    self.engine.database.rev_range(&txn, &range).map_err(other)?.take(limit);
                while let Some(entry) = entries.next()
                    && take(entry)?
                {}
            }
        }
        Ok(visited)
    }
}
