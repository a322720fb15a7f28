//! An ordered map in memory: the oracle of the tests and the upper bound of the charts.
//!
//! [`Memory`] does every operation of the interface, holds everything behind one lock that readers share, and
//! survives nothing. What an engine with files reaches, it reaches below this.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use crate::engine::check_sizes;
use crate::{
    Capabilities, Direction, Durability, Engine, Metrics, OperationKind, Result, Session, Visit,
    WriteBatch, WriteOperation,
};

/// Longest key in bytes, the same as for the engines with files.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Longest value in bytes, the same as for the engines with files.
pub const VALUE_BYTES_MAX: usize = 16 << 20;

type Map = BTreeMap<Vec<u8>, Entry>;

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    /// When it is gone; none: never.
    expires: Option<Instant>,
}

impl Entry {
    /// The value, unless it has expired. The clock is read only for entries that can.
    fn alive(&self) -> Option<&[u8]> {
        let alive = self.expires.is_none_or(|expires| Instant::now() < expires);
        alive.then_some(self.value.as_slice())
    }
}

/// A `BTreeMap` as an engine.
///
/// A scan holds the lock while it visits, so it sees one point in time, and its callback must not write to the same store.
#[derive(Debug)]
pub struct Memory {
    map: RwLock<Map>,
    capabilities: Capabilities,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        let capabilities = Capabilities {
            operations: vec![
                OperationKind::Get,
                OperationKind::MultiGet,
                OperationKind::Put,
                OperationKind::PutExpiring,
                OperationKind::Delete,
                OperationKind::DeleteRange,
                OperationKind::Write,
                OperationKind::ScanForward,
                OperationKind::ScanReverse,
            ],
            durability: Durability::ALL.to_vec(),
            key_bytes_max: KEY_BYTES_MAX,
            value_bytes_max: VALUE_BYTES_MAX,
            persistent: false,
            stores_data: true,
        };
        Self { map: RwLock::default(), capabilities }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine for Memory {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(MemorySession(&self.map)))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Drops what has expired.
    fn settle(&self) -> Result<()> {
        self.map.write().retain(|_, entry| entry.alive().is_some());
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        Metrics::default()
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct MemorySession<'a>(&'a RwLock<Map>);

impl Session for MemorySession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let map = self.0.read();
        let found = map.get(key).and_then(Entry::alive);
        value.extend_from_slice(found.unwrap_or_default());
        Ok(found.is_some())
    }

    fn multi_get(
        &mut self,
        keys: &[&[u8]],
        visit: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let map = self.0.read();
        for (index, key) in keys.iter().enumerate() {
            visit(index, map.get(*key).and_then(Entry::alive));
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        put(&mut self.0.write(), key, value, None);
        Ok(())
    }

    fn put_expiring(&mut self, key: &[u8], value: &[u8], ttl: Duration) -> Result<()> {
        check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        // A time beyond what the clock can tell is never.
        let expires = Instant::now().checked_add(ttl);
        put(&mut self.0.write(), key, value, expires);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        check_sizes(key, &[], KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        self.0.write().remove(key);
        Ok(())
    }

    fn delete_range(&mut self, start: &[u8], end: &[u8]) -> Result<()> {
        delete_range(&mut self.0.write(), start, end);
        Ok(())
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        for operation in &batch.operations {
            let (key, value): (&[u8], &[u8]) = match operation {
                WriteOperation::Put { key, value }
                | WriteOperation::PutExpiring { key, value, .. } => (key, value),
                WriteOperation::Delete { key } => (key, &[]),
                WriteOperation::DeleteRange { .. } => continue,
            };
            check_sizes(key, value, KEY_BYTES_MAX, VALUE_BYTES_MAX)?;
        }
        let (mut map, now) = (self.0.write(), Instant::now());
        for operation in &batch.operations {
            match operation {
                WriteOperation::Put { key, value } => put(&mut map, key, value, None),
                WriteOperation::PutExpiring { key, value, ttl } => {
                    put(&mut map, key, value, now.checked_add(*ttl));
                }
                WriteOperation::Delete { key } => drop(map.remove(key)),
                WriteOperation::DeleteRange { start, end } => delete_range(&mut map, start, end),
            }
        }
        Ok(())
    }

    fn scan(
        &mut self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        let map = self.0.read();
        let included = if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) };
        let visited = match direction {
            Direction::Forward => {
                visit_each(map.range::<[u8], _>((included, Bound::Unbounded)), limit, visit)
            }
            Direction::Reverse => {
                visit_each(map.range::<[u8], _>((Bound::Unbounded, included)).rev(), limit, visit)
            }
        };
        Ok(visited)
    }
}

fn delete_range(map: &mut Map, start: &[u8], end: &[u8]) {
    if start < end {
        map.extract_if(start.to_vec()..end.to_vec(), |_, _| true).for_each(drop);
    }
}

/// Stores a value, in the room of the earlier one where there is one.
fn put(map: &mut Map, key: &[u8], value: &[u8], expires: Option<Instant>) {
    if let Some(present) = map.get_mut(key) {
        present.value.clear();
        present.value.extend_from_slice(value);
        present.expires = expires;
    } else {
        map.insert(key.to_vec(), Entry { value: value.to_vec(), expires });
    }
}

/// Visits at most `limit` living entries until `visit` breaks, and returns how many.
fn visit_each<'a>(
    entries: impl Iterator<Item = (&'a Vec<u8>, &'a Entry)>,
    limit: usize,
    visit: &mut Visit<'_>,
) -> usize {
    let mut visited = 0;
    let alive = entries.filter_map(|(key, entry)| Some((key, entry.alive()?)));
    for (key, value) in alive.take(limit) {
        visited += 1;
        if let ControlFlow::Break(()) = visit(key, value) {
            break;
        }
    }
    visited
}
