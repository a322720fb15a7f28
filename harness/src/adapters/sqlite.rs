//! `sqlite`: a B-tree with a write-ahead log, in C, through the crate rusqlite. A connection a session, prepared statements, one statement or
//! transaction an operation.
//!
//! | class | call |
//! |---|---|
//! | `buffered` | not offered: each commit reaches the write-ahead log by write(2) |
//! | `os` | `journal_mode=WAL`, `synchronous=OFF`: write(2) of the log at each commit, no fsync |
//! | `sync` | `journal_mode=WAL`, `synchronous=FULL`: fsync of the log at each commit |
//!
//! - The cache belongs to a connection: each of the client threads gets its share of `cache_mib`. There is no write buffer: writes go into the log,
//!   which is copied into the tree (a checkpoint) by the writer that makes it longer than `wal_mib`; the default is SQLite's own.
//! - The table is `WITHOUT ROWID`, as SQLite's documentation advises for keys that are no integers, as long as a row is shorter than about a
//!   twentieth of a page (200 bytes of 4 KiB); the variant `rowid` is for longer ones, where an index of the keys leads to the rows.
//! - Writers queue at a lock of the adapter's, as SQLite's own makes them sleep and try again. A multi-get is a read transaction with one
//!   statement for each key: without a network between, that is what the documentation advises.
//! - SQLite has no background work. Settling is a checkpoint.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvdyno_engines::{
    Capabilities, Direction, Durability, Engine, Error, Metrics, OperationKind, Result, Session,
    Visit, WriteBatch, WriteOperation,
};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::options::{CACHE, OptionInfo, Options};
use crate::registry::{OpenRequest, Variant};

const KEY_BYTES_MAX: usize = 64 << 10;
const VALUE_BYTES_MAX: usize = 16 << 20;
/// SQLite's default, and what its limit for row lengths refers to.
const PAGE_BYTES: u64 = 4 << 10;
/// Longer than any checkpoint should take.
const BUSY_TIMEOUT: Duration = Duration::from_mins(1);

static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!("{}, rusqlite {}", rusqlite::version(), env!("KVDYNO_VERSION_RUSQLITE"))
});

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
        "sqlite"
    }

    fn version(&self) -> &'static str {
        &VERSION
    }

    fn description(&self) -> &'static str {
        "B-tree with a write-ahead log in C; write buffer: none, the log lies in the page cache"
    }

    fn options(&self) -> &'static [OptionInfo] {
        const {
            &[
                OptionInfo::cache("page cache of all connections together"),
                OptionInfo::number(
                    "wal_mib",
                    4,
                    1,
                    4_096,
                    "length of the log that is checkpointed",
                ),
                OptionInfo::number("mmap_mib", 0, 0, 2_047, "part of the file that is read mapped"),
                OptionInfo::word("table", &["without-rowid", "rowid"], 0, "where rows lie"),
            ]
        }
    }

    fn variants(&self) -> &'static [Variant] {
        &[
            Variant {
                name: "rowid",
                help: "an index of the keys beside the rows: for rows of more than 200 bytes",
                set: &[("table", "rowid")],
            },
            Variant {
                name: "mmap",
                help: "mapped reads, up to the 2 GiB that SQLite maps",
                set: &[("mmap_mib", "2047")],
            },
        ]
    }

    fn durability_call(&self, durability: Durability) -> Option<&'static str> {
        match durability {
            Durability::Buffered => None,
            Durability::Os => Some("WAL, synchronous=OFF: write(2) of the log at each commit"),
            Durability::Sync => Some("WAL, synchronous=FULL: fsync of the log at each commit"),
        }
    }

    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        let path = request.dir.join("store.sqlite");
        let pragmas = pragmas(request.options, request.durability, request.threads);
        let maintenance = connect(&path, &pragmas)?;
        let rowid = request.options.get("table") == 1;
        let kind = if rowid { "" } else { " WITHOUT ROWID" };
        let columns = "k BLOB NOT NULL PRIMARY KEY, v BLOB NOT NULL";
        maintenance
            .execute_batch(&format!("CREATE TABLE IF NOT EXISTS kv ({columns}){kind}"))
            .map_err(other)?;
        // Whoever closes one of these files also gives up the locks of all connections of the process on it: they are opened once, and closed last.
        let log = request.dir.join("store.sqlite-wal");
        let files = [log, path.clone()]
            .into_iter()
            .map(|path| File::open(&path).map_err(Error::io("open", &path)))
            .collect::<Result<_>>()?;
        let maintenance = Mutex::new(maintenance);
        let writer = Mutex::new(());
        Ok(Box::new(Sqlite {
            maintenance,
            writer,
            path,
            pragmas,
            put: if rowid { UPSERT } else { REPLACE },
            files,
            capabilities: capabilities(),
        }))
    }
}

/// What each connection is told.
fn pragmas(options: &Options, durability: Durability, threads: u32) -> String {
    let cache_kib = options.mib(CACHE) / 1024 / u64::from(threads.max(1));
    let synchronous = if durability == Durability::Sync { "FULL" } else { "OFF" };
    let checkpoint_pages = options.mib("wal_mib") / PAGE_BYTES;
    let mapped = options.mib("mmap_mib");
    format!(
        "PRAGMA page_size={PAGE_BYTES}; PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; \
         PRAGMA cache_size=-{cache_kib}; PRAGMA wal_autocheckpoint={checkpoint_pages}; \
         PRAGMA mmap_size={mapped};"
    )
}

fn connect(path: &PathBuf, pragmas: &str) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(other)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(other)?;
    connection.execute_batch(pragmas).map_err(other)?;
    Ok(connection)
}

struct Sqlite {
    /// For checkpoints and figures.
    maintenance: Mutex<Connection>,
    /// Held by who writes.
    writer: Mutex<()>,
    path: PathBuf,
    pragmas: String,
    /// The statement that stores a value.
    put: &'static str,
    /// The log and the tree, in the order in which they must be synced.
    files: Vec<File>,
    capabilities: Capabilities,
}

fn other(error: rusqlite::Error) -> Error {
    Error::Other(Box::new(error))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked with the lock has left nothing half done: SQLite rolls back.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine for Sqlite {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        let connection = connect(&self.path, &self.pragmas)?;
        Ok(Box::new(SqliteSession { engine: self, connection }))
    }

    fn sync(&self) -> Result<()> {
        let sync = |file: &File| file.sync_all().map_err(|error| Error::Other(Box::new(error)));
        self.files.iter().try_for_each(sync)
    }

    fn settle(&self) -> Result<()> {
        let _alone = lock(&self.writer);
        let maintenance = lock(&self.maintenance);
        maintenance.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(other)
    }

    fn metrics(&self) -> Metrics {
        let maintenance = lock(&self.maintenance);
        let pragma = |name: &str| -> Option<f64> {
            maintenance.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).ok()
        };
        let bytes = |pages: f64| pages * PAGE_BYTES as f64;
        let log = self.files.first().and_then(|log| log.metadata().ok());
        let counters = [
            ("file_bytes", pragma("page_count").map(bytes)),
            ("free_bytes", pragma("freelist_count").map(bytes)),
            ("log_file_bytes", log.map(|metadata| metadata.len() as f64)),
        ];
        let counters =
            counters.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Metrics { counters: counters.collect(), ..Metrics::default() }
    }

    fn close(self: Box<Self>) -> Result<()> {
        let Self { maintenance, files, .. } = *self;
        let maintenance = maintenance.into_inner().unwrap_or_else(PoisonError::into_inner);
        maintenance.close().map_err(|(_, error)| other(error))?;
        drop(files);
        Ok(())
    }
}

struct SqliteSession<'a> {
    engine: &'a Sqlite,
    connection: Connection,
}

const GET: &str = "SELECT v FROM kv WHERE k = ?1";
/// Overwrites a row of a table without row ids in its place.
const REPLACE: &str = "REPLACE INTO kv (k, v) VALUES (?1, ?2)";
/// Lets a row keep its id, and so leaves the index of the keys as it is.
const UPSERT: &str =
    "INSERT INTO kv (k, v) VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
const DELETE: &str = "DELETE FROM kv WHERE k = ?1";
const DELETE_RANGE: &str = "DELETE FROM kv WHERE k >= ?1 AND k < ?2";
const SCAN_FORWARD: &str = "SELECT k, v FROM kv WHERE k >= ?1 ORDER BY k LIMIT ?2";
const SCAN_REVERSE: &str = "SELECT k, v FROM kv WHERE k <= ?1 ORDER BY k DESC LIMIT ?2";
const SCAN_FROM_LAST: &str = "SELECT k, v FROM kv WHERE k >= ?1 ORDER BY k DESC LIMIT ?2";

impl SqliteSession<'_> {
    fn execute(&self, statement: &str, parameters: impl rusqlite::Params) -> Result<()> {
        let mut statement = self.connection.prepare_cached(statement).map_err(other)?;
        statement.execute(parameters).map(drop).map_err(other)
    }

    /// Hands the value of a key to `found`, if there is one.
    fn find(&self, key: &[u8], found: impl FnOnce(Option<&[u8]>)) -> Result<()> {
        let mut statement = self.connection.prepare_cached(GET).map_err(other)?;
        let mut rows = statement.query([key]).map_err(other)?;
        match rows.next().map_err(other)? {
            Some(row) => found(Some(blob(row, 0)?)),
            None => found(None),
        }
        Ok(())
    }

    fn transaction(&self, behavior: TransactionBehavior) -> Result<Transaction<'_>> {
        Transaction::new_unchecked(&self.connection, behavior).map_err(other)
    }
}

fn blob<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> Result<&'a [u8]> {
    let value = row.get_ref(column).map_err(other)?;
    value.as_blob().map_err(|error| Error::Other(Box::new(error)))
}

impl Session for SqliteSession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let mut present = false;
        self.find(key, |found| {
            present = found.is_some();
            value.extend_from_slice(found.unwrap_or_default());
        })?;
        Ok(present)
    }

    fn multi_get(
        &mut self,
        keys: &[&[u8]],
        visit: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let transaction = self.transaction(TransactionBehavior::Deferred)?;
        for (index, key) in keys.iter().enumerate() {
            self.find(key, |found| visit(index, found))?;
        }
        transaction.commit().map_err(other)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.engine.capabilities.check_sizes(key, value)?;
        let _alone = lock(&self.engine.writer);
        self.execute(self.engine.put, [key, value])
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.engine.capabilities.check_sizes(key, &[])?;
        let _alone = lock(&self.engine.writer);
        self.execute(DELETE, [key])
    }

    fn delete_range(&mut self, start: &[u8], end: &[u8]) -> Result<()> {
        let _alone = lock(&self.engine.writer);
        self.execute(DELETE_RANGE, [start, end])
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        let _alone = lock(&self.engine.writer);
        // Dropped on the way out, the transaction is rolled back.
        let transaction = self.transaction(TransactionBehavior::Immediate)?;
        for operation in &batch.operations {
            match operation {
                WriteOperation::Put { key, value } => {
                    self.engine.capabilities.check_sizes(key, value)?;
                    self.execute(self.engine.put, [key, value])?;
                }
                WriteOperation::Delete { key } => {
                    self.engine.capabilities.check_sizes(key, &[])?;
                    self.execute(DELETE, [key])?;
                }
                WriteOperation::PutExpiring { .. } => {
                    return Err(Error::Unsupported(OperationKind::PutExpiring));
                }
                WriteOperation::DeleteRange { start, end } => {
                    self.execute(DELETE_RANGE, [start, end])?;
                }
            }
        }
        transaction.commit().map_err(other)
    }

    fn scan(
        &mut self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        let statement = match direction {
            Direction::Forward => SCAN_FORWARD,
            Direction::Reverse if start.is_empty() => SCAN_FROM_LAST,
            Direction::Reverse => SCAN_REVERSE,
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(statement).map_err(other)?;
        let mut rows = statement.query((start, limit)).map_err(other)?;
        let mut visited = 0;
        while let Some(row) = rows.next().map_err(other)? {
            visited += 1;
            if visit(blob(row, 0)?, blob(row, 1)?).is_break() {
                break;
            }
        }
        Ok(visited)
    }
}
