//! Chooses what to compact: a pure function of what is known about the tables.
//!
//! 1. Level 0 is due when it has as many tables as the option says, and a deeper level when it has more bytes than its target: the base for level 1, and
//!    `level_ratio` times its predecessor's for each further one.
//! 2. The level that is furthest beyond its target goes first.
//! 3. Of level 0 all tables go, as their ranges overlap. Of a deeper level one goes, the one behind the key at which the last compaction of this level
//!    ended, so that all take their turn (LevelDB).
//! 4. With them go the tables of the next level that overlap. If there are none, and the inputs do not overlap each other, the tables are moved by
//!    an edit of the manifest alone.

use super::super::files::FileNumber;
use super::super::options::Options;
use super::super::table::TableMeta;
use super::super::version::{LEVELS, PerLevel};

/// A compaction to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// Tables to read, by level.
    pub(crate) inputs: PerLevel<Vec<FileNumber>>,
    /// Level that the result goes into.
    pub(crate) output: usize,
    /// The tables can be moved as they are.
    pub(crate) is_move: bool,
    /// No older table has any of the keys, so deletions have nothing left to hide.
    pub(crate) drops_deletions: bool,
    /// The greatest key of the inputs, at which the next compaction of this level goes on.
    pub(crate) ends_at: Vec<u8>,
}

impl Task {
    /// Numbers of all inputs.
    pub(crate) fn numbers(&self) -> Vec<FileNumber> {
        self.inputs.iter().flatten().copied().collect()
    }
}

/// How full a level is: 1 is at its target.
fn fullness(level: usize, tables: &[&TableMeta], options: &Options) -> f64 {
    if level == 0 {
        return tables.len() as f64 / options.l0_tables_compact as f64;
    }
    let bytes: u64 = tables.iter().map(|table| table.file_bytes).sum();
    let target =
        options.level_base_bytes as f64 * (options.level_ratio as f64).powi(level as i32 - 1);
    bytes as f64 / target
}

/// The compaction that is most needed, if one is due. `cursors` holds for each level the key at which its last compaction ended.
pub(crate) fn pick(
    levels: &PerLevel<Vec<&TableMeta>>,
    cursors: &PerLevel<Vec<u8>>,
    options: &Options,
) -> Option<Task> {
    let due = |level: &usize| {
        let fullness = fullness(*level, &levels[*level], options);
        if *level == 0 { fullness >= 1.0 } else { fullness > 1.0 }
    };
    let fullest = (0..LEVELS - 1).filter(due).max_by(|a, b| {
        let fullness = |level: usize| fullness(level, &levels[level], options);
        // On a tie the younger level goes first: reads suffer most from it.
        fullness(*a).total_cmp(&fullness(*b)).then(b.cmp(a))
    })?;
    let inputs: Vec<&TableMeta> = if fullest == 0 {
        levels[0].clone()
    } else {
        let after = levels[fullest].iter().find(|table| table.key_min > cursors[fullest]);
        vec![*after.or(levels[fullest].first())?]
    };
    Some(task(levels, fullest, &inputs))
}

/// The compaction of these tables of `level` into the next one.
fn task(levels: &PerLevel<Vec<&TableMeta>>, level: usize, inputs: &[&TableMeta]) -> Task {
    let output = level + 1;
    let low = inputs.iter().map(|table| &table.key_min[..]).min().unwrap_or_default();
    let high = inputs.iter().map(|table| &table.key_max[..]).max().unwrap_or_default();
    let next: Vec<&TableMeta> = overlapping(&levels[output], low, high).collect();
    let mut sorted = inputs.to_vec();
    sorted.sort_by(|a, b| a.key_min.cmp(&b.key_min));
    let disjoint = sorted.windows(2).all(|pair| pair[0].key_max < pair[1].key_min);
    // The tables of the next level may reach further, and bring deletions of their own.
    let all = || inputs.iter().chain(&next);
    let lowest = all().map(|table| &table.key_min[..]).min().unwrap_or_default();
    let highest = all().map(|table| &table.key_max[..]).max().unwrap_or_default();
    let drops_deletions = levels[output + 1..]
        .iter()
        .all(|tables| overlapping(tables, lowest, highest).next().is_none());
    let is_move = next.is_empty() && disjoint;
    let mut numbers = PerLevel::<Vec<FileNumber>>::default();
    numbers[level] = inputs.iter().map(|table| table.number).collect();
    numbers[output] = next.iter().map(|table| table.number).collect();
    Task { inputs: numbers, output, is_move, drops_deletions, ends_at: high.to_vec() }
}

/// Those of `tables` that may have keys between `low` and `high`.
fn overlapping<'t>(
    tables: &[&'t TableMeta],
    low: &[u8],
    high: &[u8],
) -> impl Iterator<Item = &'t TableMeta> {
    tables.iter().copied().filter(move |table| table.overlaps(low, high))
}

/// The compaction of everything into the deepest level that is in use.
pub(crate) fn everything(levels: &PerLevel<Vec<&TableMeta>>) -> Option<Task> {
    let deepest = (0..LEVELS).rev().find(|level| !levels[*level].is_empty())?;
    let deletions = levels.iter().flatten().any(|table| table.deletions > 0);
    let above = levels[..deepest].iter().any(|tables| !tables.is_empty());
    if deepest > 0 && !above && !deletions {
        return None;
    }
    let inputs = levels.each_ref().map(|tables| tables.iter().map(|table| table.number).collect());
    Some(Task {
        inputs,
        output: deepest.max(1),
        is_move: false,
        drops_deletions: true,
        ends_at: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables written as `number:low-high*bytes`.
    fn level(tables: &str) -> Vec<TableMeta> {
        tables.split_whitespace().map(table).collect()
    }

    fn table(text: &str) -> TableMeta {
        let (number, rest) = text.split_once(':').unwrap();
        let (low, rest) = rest.split_once('-').unwrap();
        let (high, bytes) = rest.split_once('*').unwrap();
        TableMeta {
            number: number.parse().unwrap(),
            level: 0,
            file_bytes: bytes.parse().unwrap(),
            entries: 1,
            deletions: 0,
            sequence_min: 0,
            sequence_max: 0,
            key_min: low.into(),
            key_max: high.into(),
        }
    }

    fn check(levels: &[&str], cursors: &[&str], expected: Option<(&[&[FileNumber]], bool, bool)>) {
        let options = Options {
            l0_tables_compact: 2,
            level_base_bytes: 100,
            level_ratio: 10,
            ..Options::default()
        };
        let mut tables: PerLevel<Vec<TableMeta>> = PerLevel::default();
        for (target, text) in tables.iter_mut().zip(levels) {
            *target = level(text);
        }
        let mut ends: PerLevel<Vec<u8>> = PerLevel::default();
        for (end, text) in ends.iter_mut().zip(cursors) {
            *end = (*text).into();
        }
        let metas = tables.each_ref().map(|tables| tables.iter().collect());
        let task = pick(&metas, &ends, &options);
        let expected = expected.map(|(inputs, is_move, drops)| {
            let mut numbers = PerLevel::<Vec<FileNumber>>::default();
            for (target, numbers) in numbers.iter_mut().zip(inputs) {
                *target = numbers.to_vec();
            }
            (numbers, is_move, drops)
        });
        let task = task.map(|task| (task.inputs, task.is_move, task.drops_deletions));
        assert_eq!(task, expected, "{levels:?}");
    }

    #[test]
    fn nothing_is_due_below_the_targets() {
        check(&["1:a-z*50", "2:a-z*100"], &[], None);
    }

    #[test]
    fn level_0_goes_whole_and_takes_what_overlaps() {
        check(
            &["4:c-f*9 3:a-d*9", "1:a-c*50 2:x-z*50"],
            &[],
            Some((&[&[4, 3], &[1]], false, true)),
        );
    }

    #[test]
    fn ascending_tables_are_moved() {
        check(&["4:c-d*9 3:a-b*9", "1:x-z*50"], &[], Some((&[&[4, 3]], true, true)));
    }

    #[test]
    fn deletions_stay_while_older_tables_overlap() {
        check(&["4:c-f*9 3:a-d*9", "", "1:e-g*50"], &[], Some((&[&[4, 3], &[]], false, false)));
    }

    #[test]
    fn deletions_of_the_next_level_stay_while_they_hide_something() {
        check(
            &["4:c-d*9 3:c-d*9", "2:a-f*9", "1:e-g*50"],
            &[],
            Some((&[&[4, 3], &[2]], false, false)),
        );
    }

    #[test]
    fn a_full_level_goes_on_where_it_stopped() {
        let levels = ["", "1:a-b*60 2:c-d*60 3:e-f*60", "4:a-z*50"];
        check(&levels, &[], Some((&[&[], &[1], &[4]], false, true)));
        check(&levels, &["", "b"], Some((&[&[], &[2], &[4]], false, true)));
        check(&levels, &["", "f"], Some((&[&[], &[1], &[4]], false, true)));
    }

    #[test]
    fn the_fullest_level_goes_first() {
        check(&["5:a-z*9 4:a-z*9", "1:a-b*250"], &[], Some((&[&[], &[1]], true, true)));
    }
}
