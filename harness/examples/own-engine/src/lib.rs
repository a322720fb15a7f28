//! `journal`: an ordered map in memory over an append-only file. Small, and complete enough to be measured fairly.
//!
//! | class | call |
//! |---|---|
//! | `buffered` | not offered |
//! | `os` | write(2) of the record at each write |
//! | `sync` | the same, and fdatasync |
//!
//! The file is a row of records: `length (4) | crc32 of the payload (4) | payload`. A payload holds the operations of one write, which thereby
//! take effect together or not at all: `key length (4) | value length (4), or all ones to delete | key | value`, little-endian.
//!
//! Opening reads the file into the map. A last record that is cut off, or whose checksum is wrong, is what a killed process or a power failure
//! leaves: it was never acknowledged, and is cut away. A wrong checksum before it is damage, and refused. The file is never compacted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};

use kvdyno_engines::{
    BytesWritten, Capabilities, Direction, Durability, Engine, Error, Metrics, OperationKind,
    Result, Session, Visit, WriteBatch, WriteOperation,
};
use kvdyno_harness::OpenRequest;

const KEY_BYTES_MAX: usize = 64 << 10;
const VALUE_BYTES_MAX: usize = 16 << 20;
const HEADER_BYTES: usize = 8;
const DELETED: u32 = u32::MAX;

/// What kvdyno has to know about the engine.
pub struct Adapter;

fn capabilities() -> Capabilities {
    let durability = [Durability::Os, Durability::Sync];
    Capabilities::ordered_store(&[], &durability, KEY_BYTES_MAX, VALUE_BYTES_MAX)
}

impl kvdyno_harness::Adapter for Adapter {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn description(&self) -> &'static str {
        "ordered map in memory over an append-only file"
    }

    fn durability_call(&self, durability: Durability) -> Option<&'static str> {
        match durability {
            Durability::Buffered => None,
            Durability::Os => Some("write(2) of the record"),
            Durability::Sync => Some("write(2) of the record, then fdatasync"),
        }
    }

    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Journal::open(request.dir, request.durability)?))
    }
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// An open store.
pub struct Journal {
    map: RwLock<Map>,
    log: Mutex<Log>,
    sync_each_write: bool,
    capabilities: Capabilities,
}

struct Log {
    file: File,
    bytes_written: u64,
    syncs: u64,
    /// Why nothing more can be written: what a failed write left in the file is not known.
    broken: Option<String>,
}

impl Journal {
    /// Opens the store in a folder, or makes one.
    ///
    /// # Errors
    /// If the file cannot be read, is open in another process, or is damaged before its end.
    pub fn open(dir: &Path, durability: Durability) -> Result<Self> {
        let path = dir.join("journal");
        let io = |what| Error::io(what, &path);
        let mut options = File::options();
        let mut file =
            options.read(true).append(true).create(true).open(&path).map_err(io("open"))?;
        if file.try_lock().is_err() {
            return Err(Error::Locked { path });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("read"))?;
        let (map, whole) = replay(&bytes, &path)?;
        file.set_len(whole as u64).map_err(io("truncate"))?;
        // The file's name must survive power loss as well as its bytes.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", dir))?;
        Ok(Self {
            map: RwLock::new(map),
            log: Mutex::new(Log { file, bytes_written: 0, syncs: 0, broken: None }),
            sync_each_write: durability == Durability::Sync,
            capabilities: capabilities(),
        })
    }

    /// Appends one record for all the operations, and then applies them.
    fn write<'a>(&self, operations: &[(&'a [u8], Option<&'a [u8]>)]) -> Result<()> {
        let mut record = vec![0; HEADER_BYTES];
        for (key, value) in operations {
            self.capabilities.check_sizes(key, value.unwrap_or_default())?;
            record.extend((key.len() as u32).to_le_bytes());
            record.extend(value.map_or(DELETED, |value| value.len() as u32).to_le_bytes());
            record.extend(*key);
            record.extend(value.unwrap_or_default());
        }
        let (header, payload) = record.split_at_mut(HEADER_BYTES);
        header[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        header[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        // The lock is held until the map has changed as well, so that both see the writes in the same order.
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.append(&record)?;
        if self.sync_each_write {
            log.sync()?;
        }
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in operations {
            match value {
                Some(value) => drop(map.insert(key.to_vec(), value.to_vec())),
                None => drop(map.remove(*key)),
            }
        }
        Ok(())
    }
}

impl Log {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.attempt(|file| file.write_all(record))?;
        self.bytes_written += record.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.syncs += 1;
        self.attempt(|file| file.sync_data())
    }

    fn attempt(&mut self, what: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
        if let Some(cause) = &self.broken {
            return Err(Error::Poisoned { cause: cause.clone() });
        }
        what(&mut self.file).map_err(|error| {
            self.broken = Some(error.to_string());
            Error::Other(Box::new(error))
        })
    }
}

/// What the records say, and how many bytes of them are whole.
fn replay(bytes: &[u8], path: &Path) -> Result<(Map, usize)> {
    let mut map = Map::new();
    let mut at = 0;
    while let Some((header, rest)) = bytes[at..].split_first_chunk::<HEADER_BYTES>() {
        let (len, checksum) = (word(&header[..4]) as usize, word(&header[4..]));
        let Some(payload) = rest.get(..len) else { break };
        if crc32fast::hash(payload) != checksum {
            if payload.len() == rest.len() {
                break;
            }
            return Err(Error::corrupt(path, at as u64, "the checksum is wrong"));
        }
        apply(payload, &mut map)
            .ok_or_else(|| Error::corrupt(path, at as u64, "not a row of operations"))?;
        at += HEADER_BYTES + len;
    }
    Ok((map, at))
}

/// Applies the operations of a payload; none if it is not whole.
fn apply(mut payload: &[u8], map: &mut Map) -> Option<()> {
    while let Some((lengths, rest)) = payload.split_first_chunk::<8>() {
        let (key, rest) = rest.split_at_checked(word(&lengths[..4]) as usize)?;
        payload = match word(&lengths[4..]) {
            DELETED => {
                map.remove(key);
                rest
            }
            len => {
                let (value, rest) = rest.split_at_checked(len as usize)?;
                map.insert(key.to_vec(), value.to_vec());
                rest
            }
        };
    }
    payload.is_empty().then_some(())
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

impl Engine for Journal {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(JournalSession(self)))
    }

    fn sync(&self) -> Result<()> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).sync()
    }

    fn settle(&self) -> Result<()> {
        // There is no background work.
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let written = BytesWritten { log: log.bytes_written, ..BytesWritten::default() };
        Metrics { bytes_written: Some(written), fsyncs: Some(log.syncs), ..Metrics::default() }
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}

struct JournalSession<'a>(&'a Journal);

impl Session for JournalSession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let map = self.0.map.read().unwrap_or_else(PoisonError::into_inner);
        let found = map.get(key);
        value.extend_from_slice(found.map_or(&[], Vec::as_slice));
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.write(&[(key, Some(value))])
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.0.write(&[(key, None)])
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        let operations = batch.operations.iter().map(|operation| match operation {
            WriteOperation::Put { key, value } => Ok((key.as_slice(), Some(value.as_slice()))),
            WriteOperation::Delete { key } => Ok((key.as_slice(), None)),
            WriteOperation::PutExpiring { .. } => {
                Err(Error::Unsupported(OperationKind::PutExpiring))
            }
            WriteOperation::DeleteRange { .. } => {
                Err(Error::Unsupported(OperationKind::DeleteRange))
            }
        });
        self.0.write(&operations.collect::<Result<Vec<_>>>()?)
    }

    fn scan(
        &mut self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        // Held while visiting, the lock makes the scan see one point in time.
        let map = self.0.map.read().unwrap_or_else(PoisonError::into_inner);
        let start = if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) };
        let mut range = match direction {
            Direction::Forward => map.range::<[u8], _>((start, Bound::Unbounded)),
            Direction::Reverse => map.range::<[u8], _>((Bound::Unbounded, start)),
        };
        let mut visited = 0;
        while visited < limit
            && let Some((key, value)) = match direction {
                Direction::Forward => range.next(),
                Direction::Reverse => range.next_back(),
            }
        {
            visited += 1;
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(visited)
    }
}
