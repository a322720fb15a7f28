//! How many bytes a range takes, without reading it.

use std::ops::Bound;

use super::memtable::Memtable;
use super::range::{KeyRange, bound_key};
use super::table::Table;
use super::version::Tree;
use crate::Result;
use crate::storage::{File, Storage};

/// As [`super::Snapshot::approximate_bytes`] says, of what could be seen when the log of the active memtable had `active_log_bytes`.
pub(crate) fn approximate_bytes<S: Storage>(
    tree: &Tree<S>,
    active_log_bytes: u64,
    range: &KeyRange,
) -> Result<u64> {
    if range.is_empty() {
        return Ok(0);
    }
    let mut bytes = of_memtable(&tree.active, active_log_bytes, range)?;
    for memtable in &tree.waiting {
        bytes += of_memtable(memtable, memtable.log_bytes(), range)?;
    }
    for table in tree.version.levels.iter().flatten() {
        bytes += of_table(table, range)?;
    }
    Ok(bytes)
}

fn of_table<S: Storage>(table: &Table<S>, range: &KeyRange) -> Result<u64> {
    let (least, greatest) = (&table.meta.key_min, &table.meta.key_max);
    if !range.overlaps(least, greatest) {
        Ok(0)
    } else if range.contains(least) && range.contains(greatest) {
        Ok(table.meta.file_bytes + table.meta.value_bytes())
    } else {
        let bytes = table.bytes_between(bound_key(range.lower()), bound_key(range.upper()))?;
        // What the values take that the table points to is not in its index.
        let share = bytes as f64 / table.meta.file_bytes.max(1) as f64;
        Ok(bytes + (table.meta.value_bytes() as f64 * share.min(1.0)) as u64)
    }
}

fn of_memtable<F: File>(memtable: &Memtable<F>, log_bytes: u64, range: &KeyRange) -> Result<u64> {
    let from = match range.lower() {
        Bound::Unbounded => 0.0,
        Bound::Included(key) => memtable.share_before(key, false)?,
        Bound::Excluded(key) => memtable.share_before(key, true)?,
    };
    let to = match range.upper() {
        Bound::Unbounded => 1.0,
        Bound::Included(key) => memtable.share_before(key, true)?,
        Bound::Excluded(key) => memtable.share_before(key, false)?,
    };
    let operations = log_bytes.saturating_sub(super::wal::LOG_HEADER_BYTES);
    Ok((operations as f64 * (to - from).max(0.0)) as u64)
}
