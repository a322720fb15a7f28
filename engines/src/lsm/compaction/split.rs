//! Where the output of a compaction is cut: into tables, and into ranges that threads work on side by side.

use super::super::table::TableMeta;
use super::task::{GRANDPARENTS_MAX, Metas};

/// Says where a table that is being written ends.
///
/// 1. At the wished length.
/// 2. From half of it on, where a table of the level below ends: tables whose bounds are those of others are compacted with fewer bytes that are not theirs later
///    (RocksDB, "Align Compaction Output File Boundaries", 2022).
/// 3. Before it lies above too many bytes of that level, so that compacting it will not cost too much (LevelDB's `ShouldStopBefore`).
#[derive(Debug)]
pub(crate) struct Cutter {
    table_bytes: u64,
    /// Greatest keys of the tables of the level below, with their lengths.
    ends: Vec<(Vec<u8>, u64)>,
    /// The first of them that has not been passed.
    at: usize,
    /// Bytes of those that were passed since the table was begun.
    passed_bytes: u64,
}

impl Cutter {
    /// For tables of `table_bytes`, above the tables `below`.
    pub(crate) fn new(table_bytes: u64, below: &[&TableMeta]) -> Self {
        let ends = below.iter().map(|table| (table.key_max.clone(), table.file_bytes)).collect();
        Self { table_bytes, ends, at: 0, passed_bytes: 0 }
    }

    /// For a single table, however long.
    pub(crate) fn never() -> Self {
        Self::new(u64::MAX, &[])
    }

    /// Whether the table that is being written, which has `bytes` so far, is to be ended before `key`. Keys ascend.
    pub(crate) fn ends_before(&mut self, key: &[u8], bytes: u64) -> bool {
        let mut passed = false;
        while let Some((end, len)) = self.ends.get(self.at)
            && &end[..] < key
        {
            self.passed_bytes += len;
            self.at += 1;
            passed = true;
        }
        let ends = bytes > 0
            && (bytes >= self.table_bytes
                || passed && bytes >= self.table_bytes / 2
                || self.passed_bytes > self.table_bytes.saturating_mul(GRANDPARENTS_MAX));
        if ends || bytes == 0 {
            self.passed_bytes = 0;
        }
        ends
    }
}

/// Keys at which a compaction of `inputs` into the level `output` is cut into at most `pieces_max` ranges of about the same size, none much smaller than two tables. They are least keys
/// of input tables, so a range reads few tables that others read as well.
pub(crate) fn boundaries(
    inputs: &Metas<'_>,
    output: usize,
    table_bytes: u64,
    pieces_max: usize,
) -> Vec<Vec<u8>> {
    // Level 0 takes a single table. Otherwise the largest run, mostly that of the output level, tells best where the bytes are.
    if output == 0 {
        return Vec::new();
    }
    let bytes = |tables: &[&TableMeta]| tables.iter().map(|table| table.file_bytes).sum::<u64>();
    let runs = inputs[1..].iter().map(Vec::as_slice);
    let run: &[&TableMeta] = runs.max_by_key(|tables| bytes(tables)).unwrap_or_default();
    let all: u64 = inputs.iter().map(|tables| bytes(tables)).sum();
    let pieces = (all / table_bytes.saturating_mul(2).max(1)).clamp(1, pieces_max as u64);
    let of_run = bytes(run);
    let (mut cut, mut before) = (Vec::new(), 0);
    for table in run {
        let wanted = of_run * (cut.len() as u64 + 1) / pieces;
        if before > 0 && before >= wanted && (cut.len() as u64) < pieces - 1 {
            cut.push(table.key_min.clone());
        }
        before += table.file_bytes;
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{metas, table};
    use super::*;

    #[test]
    fn tables_end_at_their_length_and_early_at_the_bounds_below() {
        let below = [table("1:a-c*9"), table("2:d-k*9"), table("3:l-z*9")];
        let mut cutter = Cutter::new(100, &below.iter().collect::<Vec<_>>());
        assert!(!cutter.ends_before(b"a", 0));
        assert!(!cutter.ends_before(b"b", 99));
        assert!(cutter.ends_before(b"c", 100), "at its length");
        assert!(!cutter.ends_before(b"e", 49), "too short to end at a bound");
        assert!(!cutter.ends_before(b"f", 60), "not at a bound");
        assert!(cutter.ends_before(b"l", 60), "at a bound");
        assert!(!cutter.ends_before(b"m", 0));
    }

    #[test]
    fn a_table_ends_before_it_lies_above_too_much() {
        let below: Vec<TableMeta> =
            ["1:a-b*50", "2:c-d*60", "3:e-f*50"].into_iter().map(table).collect();
        let mut cutter = Cutter::new(10, &below.iter().collect::<Vec<_>>());
        assert!(!cutter.ends_before(b"a", 0));
        assert!(!cutter.ends_before(b"c", 1));
        assert!(cutter.ends_before(b"e", 2), "above 110 bytes");
        assert!(!cutter.ends_before(b"e", 0));
        assert!(!cutter.ends_before(b"g", 1), "counted anew");
    }

    #[test]
    fn ranges_begin_at_tables_and_are_about_alike() {
        let levels = metas(&["9:a-z*40", "1:a-b*30 2:c-d*30 3:e-f*30 4:g-h*30 5:i-j*30 6:k-l*30"]);
        let cut = |table_bytes, pieces| {
            let levels = levels.each_ref().map(|tables| tables.iter().collect());
            let keys = boundaries(&levels, 1, table_bytes, pieces);
            String::from_utf8(keys.concat()).unwrap()
        };
        assert_eq!(cut(10, 1), "");
        assert_eq!(cut(10, 2), "g");
        assert_eq!(cut(10, 3), "ei");
        assert_eq!(cut(10, 100), "cegik");
        assert_eq!(cut(55, 100), "g", "no range is much smaller than two tables");
        assert_eq!(cut(1_000, 100), "");
    }

    #[test]
    fn level_0_is_a_single_table() {
        let levels = metas(&["9:a-z*40 8:a-z*40"]);
        let levels = levels.each_ref().map(|tables| tables.iter().collect());
        assert!(boundaries(&levels, 0, 1, 9).is_empty());
    }
}
