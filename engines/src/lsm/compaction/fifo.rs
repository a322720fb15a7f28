//! The style that forgets: what is due to be dropped.
//!
//! Tables are dropped from the oldest on, and a younger one never before an older one: otherwise a key would come back in an older version. Level 0 is in the order of age; what lies
//! deeper, left there by another style, is older than that, the deepest oldest of all.

use super::super::options::Options;
use super::super::table::TableMeta;
use super::picker::Situation;
use super::style::Fifo;
use super::task::{Metas, Task};

/// Bytes that go with a table: its own, and those of its values.
fn bytes_of(table: &TableMeta) -> u64 {
    table.file_bytes + table.value_bytes()
}

/// Dropping all tables that are due to be dropped, if there are any and nothing else is under way.
pub(crate) fn pick(situation: &Situation<'_>, style: &Fifo, options: &Options) -> Option<Task> {
    if !situation.running.is_empty() {
        return None;
    }
    let levels = situation.levels.iter().enumerate().rev();
    let oldest_first =
        levels.flat_map(|(level, tables)| tables.iter().rev().map(move |table| (level, *table)));
    let mut bytes: u64 = situation.levels.iter().flatten().map(|table| bytes_of(table)).sum();
    let ttl_ms = style.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    let has_expired = |table: &TableMeta| {
        ttl_ms.is_some_and(|ttl| table.created_ms.saturating_add(ttl) <= situation.now_ms)
    };
    let mut inputs = Metas::default();
    for (level, table) in oldest_first {
        if !has_expired(table) && style.bytes_max.is_none_or(|max| bytes <= max) {
            break;
        }
        bytes -= bytes_of(table);
        inputs[level].push(table);
    }
    let any = inputs.iter().any(|tables| !tables.is_empty());
    any.then(|| Task::dropping(&inputs, situation.now_ms, options))
}
