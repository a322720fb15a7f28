//! Tables in which everything has expired: a pure function over metadata, as all choices are.
//!
//! Such a table says what as many deletions say. Where nothing older has any of its keys there is nothing left to say, and it is dropped, unread and whatever the style. What hides something older
//! goes the way of tables that are full of deletions ([`super::task::is_dense`]), and so does what has expired in part.

use std::collections::BTreeSet;

use super::super::options::Options;
use super::super::version::LEVELS;
use super::picker::Situation;
use super::task::{Metas, Task, overlapping};

/// Dropping all tables that can be dropped because they have expired, if there are any.
pub(crate) fn pick(situation: &Situation<'_>, options: &Options) -> Option<Task> {
    let Situation { levels, now_ms, .. } = *situation;
    if !levels.iter().flatten().any(|table| table.is_spent(now_ms)) {
        return None;
    }
    let (mut inputs, mut gone) = (Metas::default(), BTreeSet::new());
    // The oldest first, so that what hides only what goes as well can go with it.
    for level in (0..LEVELS).rev() {
        for (at, table) in levels[level].iter().enumerate().rev() {
            if !table.is_spent(now_ms) || situation.is_busy(table) {
                continue;
            }
            let (low, high) = (&table.key_min[..], &table.key_max[..]);
            let older_in_0 = if level == 0 { &levels[0][at + 1..] } else { &[] };
            let deeper = levels[level + 1..].iter();
            let deeper = deeper.flat_map(|tables| overlapping(tables, low, high));
            let mut older = older_in_0.iter().chain(deeper);
            let hides =
                older.any(|older| older.overlaps(low, high) && !gone.contains(&older.number));
            if !hides {
                gone.insert(table.number);
                inputs[level].push(table);
            }
        }
    }
    if gone.is_empty() { None } else { Some(Task::dropping(&inputs, now_ms, options)) }
}
