//! One small engine, a file of records behind a map in memory, that can lie in several ways.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use kvdyno_engines::{
    Capabilities, Durability, Engine, Error, Metrics, OperationKind, Result, Session,
};
use kvdyno_harness::{Adapter, OpenRequest, Registry};

/// How an engine treats what it is given.
#[derive(Clone, Copy)]
struct Manner {
    name: &'static str,
    /// The newest records are acknowledged before they are written to the file: never fewer than these, once there are as many, and never as many as twice.
    held_back: usize,
    /// Whether closing writes those that are still held back.
    closes: bool,
    /// Whether each record is synced in class `sync`.
    syncs: bool,
}

/// Engines by what is wrong with them.
pub(crate) fn registry() -> Registry {
    let honest = Manner { name: "honest", held_back: 0, closes: true, syncs: true };
    [
        honest,
        Manner { name: "never-syncs", syncs: false, ..honest },
        Manner { name: "acknowledges-early", held_back: 700, ..honest },
        Manner { name: "forgets-on-close", held_back: 700, closes: false, ..honest },
    ]
    .into_iter()
    .fold(Registry::empty(), |registry, manner| registry.with(Box::new(manner)))
    .with(Box::new(Nothing))
}

impl Adapter for Manner {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> &'static str {
        "0"
    }

    fn description(&self) -> &'static str {
        "a file of records, for tests"
    }

    fn durability_call(&self, _durability: Durability) -> Option<&'static str> {
        Some("as it says")
    }

    fn capabilities(&self) -> Capabilities {
        capabilities(true)
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        let path = request.dir.join("records");
        let map = read(&path)?;
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|source| io("open", &path, source))?;
        let syncs = self.syncs && request.durability == Durability::Sync;
        let inner = Inner { map, file, pending: VecDeque::new() };
        let manner = Self { syncs, ..*self };
        Ok(Box::new(Store { manner, capabilities: capabilities(true), inner: Mutex::new(inner) }))
    }
}

fn capabilities(persistent: bool) -> Capabilities {
    Capabilities {
        operations: vec![OperationKind::Get, OperationKind::Put, OperationKind::Delete],
        durability: Durability::ALL.to_vec(),
        key_bytes_max: 1 << 10,
        value_bytes_max: 1 << 20,
        persistent,
        stores_data: persistent,
    }
}

fn io(operation: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { operation, path: path.to_owned(), source }
}

/// Records are lengths of key and value (4 bytes each), key, value; a torn one at the end is left out.
fn read(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(|source| io("read", path, source))?,
    };
    let mut map = BTreeMap::new();
    let mut rest = bytes.as_slice();
    while let Some((lengths, behind)) = rest.split_first_chunk::<8>() {
        let length = |at: usize| u32::from_le_bytes(lengths[at..at + 4].try_into().unwrap());
        let (key_len, value_len) = (length(0) as usize, length(4) as usize);
        let Some((record, behind)) = behind.split_at_checked(key_len + value_len) else { break };
        map.insert(record[..key_len].to_vec(), record[key_len..].to_vec());
        rest = behind;
    }
    Ok(map)
}

struct Store {
    manner: Manner,
    capabilities: Capabilities,
    inner: Mutex<Inner>,
}

struct Inner {
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    file: File,
    /// Encoded records, oldest first.
    pending: VecDeque<Vec<u8>>,
}

impl Inner {
    /// Writes all records but so many of the newest.
    fn write_out(&mut self, held_back: usize) -> Result<()> {
        let count = self.pending.len().saturating_sub(held_back);
        let records: Vec<u8> = self.pending.drain(..count).flatten().collect();
        let written = self.file.write_all(&records);
        written.map_err(|source| io("write", Path::new("records"), source))
    }
}

impl Engine for Store {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(StoreSession(self)))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        Metrics::default()
    }

    fn close(self: Box<Self>) -> Result<()> {
        if self.manner.closes {
            return self.inner.lock().unwrap().write_out(0);
        }
        Ok(())
    }
}

struct StoreSession<'a>(&'a Store);

impl Session for StoreSession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let inner = self.0.inner.lock().unwrap();
        let Some(found) = inner.map.get(key) else { return Ok(false) };
        value.clear();
        value.extend_from_slice(found);
        Ok(true)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let manner = self.0.manner;
        let mut inner = self.0.inner.lock().unwrap();
        inner.map.insert(key.to_vec(), value.to_vec());
        let mut record = Vec::with_capacity(8 + key.len() + value.len());
        for length in [key.len(), value.len()] {
            record.extend_from_slice(&(length as u32).to_le_bytes());
        }
        record.extend_from_slice(key);
        record.extend_from_slice(value);
        inner.pending.push_back(record);
        if inner.pending.len() >= (2 * manner.held_back).max(1) {
            inner.write_out(manner.held_back)?;
        }
        if manner.syncs {
            inner.file.sync_data().map_err(|source| io("sync", Path::new("records"), source))?;
        }
        Ok(())
    }

    fn delete(&mut self, _key: &[u8]) -> Result<()> {
        Err(Error::Unsupported(OperationKind::Delete))
    }
}

/// The program needs an engine of this name, to measure itself on.
struct Nothing;

impl Adapter for Nothing {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn version(&self) -> &'static str {
        "0"
    }

    fn description(&self) -> &'static str {
        "nothing"
    }

    fn durability_call(&self, _durability: Durability) -> Option<&'static str> {
        Some("none")
    }

    fn capabilities(&self) -> Capabilities {
        capabilities(false)
    }

    fn open(&self, _request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        Ok(Box::new(kvdyno_engines::noop::Noop::default()))
    }
}
