//! Emptying files of values in which too much is dead: a pure function over metadata, as all choices are.
//!
//! 1. Files are due when more of all of them is dead than [`Options::value_log_dead_percent`] says: the deadest first, until of the others three quarters of that share are dead at most. So
//!    room is bounded in the store as a whole, and the values that have to be moved are few for the room that they give back (as `bitcask` chooses the files that it merges).
//! 2. Every merge moves the values that it meets in these files.
//! 3. When nothing else is due, the table that points to the most bytes in them is merged alone, in its place. Its entries stay between what is younger and what is older than they, so nothing can be lost or
//!    come back.
//!
//! It comes to an end: only files in which something is dead are due, and what is moved lies in a file in which nothing is.

use super::super::files::FileNumber;
use super::super::options::Options;
use super::super::table::TableMeta;
use super::super::value_log::Usage;
use super::picker::Situation;
use super::style::Style;
use super::task::{Action, Metas, Task};

/// The files that are to be emptied, by number.
pub(crate) fn due(files: impl Iterator<Item = Usage>, options: &Options) -> Vec<FileNumber> {
    let mut files: Vec<Usage> = files.collect();
    let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let mut dead: u64 = files.iter().map(|file| file.dead_bytes()).sum();
    let percent = u128::from(options.value_log_dead_percent);
    if u128::from(dead) * 100 <= u128::from(bytes) * percent {
        return Vec::new();
    }
    files.sort_by(|a, b| {
        let (of_a, of_b) = (u128::from(a.dead_bytes()), u128::from(b.dead_bytes()));
        let order = (of_b * u128::from(a.bytes)).cmp(&(of_a * u128::from(b.bytes)));
        order.then(a.number.cmp(&b.number))
    });
    let mut due = Vec::new();
    for file in files {
        // What is moved counts, too.
        if u128::from(dead) * 400 <= u128::from(bytes) * percent * 3 {
            break;
        }
        (bytes, dead) = (bytes - file.dead_bytes(), dead - file.dead_bytes());
        due.push(file.number);
    }
    due.sort_unstable();
    due
}

/// The merge of a table alone that points into files that are due, if one can be begun.
pub(crate) fn pick(
    situation: &Situation<'_>,
    files: impl Iterator<Item = Usage>,
    options: &Options,
) -> Option<Task> {
    // Where nothing is merged, whole files go with their tables.
    if matches!(options.style, Style::Fifo(_)) || !situation.may_go_deeper(options) {
        return None;
    }
    // Level 0 may be waiting for a task that is under way, and must not have to wait for one after the other.
    if !situation.running.is_empty() && situation.levels[0].len() >= options.l0_tables_compact {
        return None;
    }
    let due = due(files, options);
    if due.is_empty() {
        return None;
    }
    let bytes_due = |table: &TableMeta| -> u64 {
        let values = table.values.iter().filter(|(file, _)| due.binary_search(file).is_ok());
        values.map(|(_, bytes)| bytes).sum()
    };
    let mut tables: Vec<(u64, usize, &TableMeta)> = Vec::new();
    for (level, metas) in situation.levels.iter().enumerate() {
        let idle = metas.iter().filter(|table| !situation.is_busy(table));
        tables.extend(idle.map(|table| (bytes_due(table), level, *table)));
    }
    tables.retain(|(bytes, ..)| *bytes > 0);
    tables.sort_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
    tables.into_iter().find_map(|(_, level, table)| {
        let mut inputs = Metas::default();
        inputs[level] = vec![table];
        let task = Task::new(situation.levels, &inputs, level, situation.now_ms, options);
        situation.unless_conflict(Task { action: Action::Merge, ..task })
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::value_log::format::HEADER_FRAME_BYTES;
    use super::super::fixtures::metas;
    use super::*;

    fn files(text: &[(FileNumber, u64, u64)]) -> Vec<Usage> {
        let usage = |(number, bytes, live_bytes)| {
            let bytes = bytes + HEADER_FRAME_BYTES;
            Usage { number, bytes, live_bytes }
        };
        text.iter().copied().map(usage).collect()
    }

    fn options(value_log_dead_percent: u64) -> Options {
        Options { value_log_dead_percent, ..Options::default() }
    }

    fn due_at(percent: u64, of: &[(FileNumber, u64, u64)]) -> Vec<FileNumber> {
        due(files(of).into_iter(), &options(percent))
    }

    #[test]
    fn the_deadest_files_are_due_once_too_much_of_all_is_dead() {
        let three = [(1, 1_000, 900), (2, 1_000, 200), (3, 1_000, 600)];
        assert_eq!(due_at(50, &three), []);
        assert_eq!(due_at(41, &three), [2], "1,300 of 3,096 are dead, then 500 of 2,296");
        assert_eq!(due_at(20, &three), [2, 3], "then 100 of 1,896");
        assert_eq!(due_at(1, &three), [1, 2, 3]);
        assert_eq!(due_at(100, &[(1, 1_000, 1)]), []);
        assert_eq!(due_at(1, &[(1, 1_000, 1_000)]), []);
        assert_eq!(due_at(1, &[]), []);
    }

    #[test]
    fn the_table_that_points_to_most_is_merged_in_its_place() {
        let mut levels = metas(&["9:a-z*40", "", "1:a-f*30 2:g-l*30"]);
        levels[0][0].values = vec![(11, 5)];
        levels[2][0].values = vec![(10, 10), (11, 5)];
        levels[2][1].values = vec![(10, 30)];
        let of = |running: &[Task], options: &Options| {
            let levels: Metas<'_> = levels.each_ref().map(|tables| tables.iter().collect());
            let turns = Default::default();
            let situation = Situation { levels: &levels, turns: &turns, running, now_ms: 0 };
            let files = files(&[(10, 1_000, 400), (11, 1_000, 100)]);
            pick(&situation, files.into_iter(), options)
        };
        let task = of(&[], &options(50)).unwrap();
        assert_eq!((&task.inputs[2][..], task.output, task.action), (&[2][..], 2, Action::Merge));
        assert!(task.drops_deletions);
        let second =
            of(std::slice::from_ref(&task), &Options { compaction_threads: 3, ..options(50) });
        assert_eq!(second.as_ref().unwrap().inputs[2], [1]);
        assert_eq!(of(&[task], &Options { compaction_threads: 1, ..options(50) }), None);
        assert_eq!(of(&[], &options(80)), None);
        let style = Style::Fifo(super::super::style::Fifo::default());
        assert_eq!(of(&[], &Options { style, ..options(50) }), None);
    }
}
