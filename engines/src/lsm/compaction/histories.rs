//! Random histories of flushes and compactions, several under way at once, over the versions of few keys: whatever is chosen, a read finds the newest version.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::super::deadline::Expiring;
use super::super::files::FileNumber;
use super::super::options::Options;
use super::super::range_set::RangeSet;
use super::super::table::TableMeta;
use super::super::value_log::Usage;
use super::super::version::{LEVELS, PerLevel, sort_level};
use super::picker::{Situation, pick};
use super::split::Cutter;
use super::style::{Choice, Fifo, Levelled, Style, Tiered};
use super::task::{Action, Task, overlapping};
use super::{manual, relocation};
use crate::random::Random;

const KEYS: u64 = 60;
const ENTRY_BYTES: u64 = 10;
/// A file of values that every table points to, and that is always to be emptied.
const VALUES: Usage = Usage { number: 1, bytes: 10_000, live_bytes: 1 };

/// A version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// The higher, the newer.
    version: u32,
    /// Until when it has a value; none: for ever.
    expires: Option<u32>,
}

impl Entry {
    fn deletion(version: u32) -> Self {
        Self { version, expires: Some(0) }
    }

    fn is_deletion(self) -> bool {
        self.expires == Some(0)
    }

    /// Whether it is as good as a deletion.
    fn is_gone(self, now: u32) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

type Entries = BTreeMap<u8, Entry>;

/// What is in a table. Its entries are younger than its ranges.
#[derive(Default)]
struct Content {
    entries: Entries,
    ranges: RangeSet,
}

fn in_range(ranges: &RangeSet, key: u8) -> bool {
    ranges.find(&[key]).is_some()
}

struct History {
    options: Options,
    random: Random,
    levels: PerLevel<Vec<TableMeta>>,
    entries: HashMap<FileNumber, Content>,
    newest: Entries,
    running: Vec<Task>,
    turns: PerLevel<Vec<u8>>,
    next_number: FileNumber,
    version: u32,
}

impl History {
    fn new(options: &Options, seed: u64) -> Self {
        Self {
            options: options.clone(),
            random: Random::new(seed),
            levels: PerLevel::default(),
            entries: HashMap::new(),
            newest: Entries::new(),
            running: Vec::new(),
            turns: PerLevel::default(),
            next_number: 1,
            version: 0,
        }
    }

    fn flush(&mut self) {
        let (first, dense) = (self.random.below(KEYS), self.random.below(4) == 0);
        let (ascending, expires) = (self.random.below(3) == 0, self.random.below(3) == 0);
        let mut flushed = Content::default();
        for at in 0..=self.random.below(9) {
            if self.random.below(20) == 0 {
                self.delete_range(&mut flushed);
            }
            let key = if ascending { (first + at) % KEYS } else { self.random.below(KEYS) };
            self.version += 1;
            let entry = match self.random.below(10) {
                0..2 => Entry::deletion(self.version),
                _ if dense => Entry::deletion(self.version),
                _ if expires => {
                    let expires = self.version + 1 + self.random.below(80) as u32;
                    Entry { version: self.version, expires: Some(expires) }
                }
                _ => Entry { version: self.version, expires: None },
            };
            flushed.entries.insert(key as u8, entry);
        }
        if self.random.below(10) == 0 {
            self.delete_range(&mut flushed);
        }
        self.newest.extend(&flushed.entries);
        let sequences = (u64::from(self.version), u64::from(self.version));
        self.add_table(0, flushed, sequences, u64::from(self.version));
    }

    /// Deletes a range of keys in what will be flushed.
    fn delete_range(&mut self, flushed: &mut Content) {
        let start = self.random.below(KEYS);
        let longest = if self.random.below(4) == 0 { KEYS } else { 6 };
        let end = start + 1 + self.random.below(longest);
        self.version += 1;
        let range = |key: &u8| (start..end).contains(&u64::from(*key));
        flushed.entries.retain(|key, _| !range(key));
        let mut added = RangeSet::default();
        added.push(&[start as u8], &[end as u8]);
        flushed.ranges = RangeSet::union([&flushed.ranges, &added]);
        for (_, newest) in self.newest.iter_mut().filter(|(key, _)| range(key)) {
            *newest = Entry::deletion(self.version);
        }
    }

    fn add_table(
        &mut self,
        level: usize,
        mut content: Content,
        (sequence_min, sequence_max): (u64, u64),
        created_ms: u64,
    ) {
        let Content { entries, ranges } = &mut content;
        let spans = ranges.spans();
        if let Some(first) = spans.first()
            && entries.is_empty()
        {
            entries.insert(first.start[0], Entry::deletion(0));
        }
        let (Some((first, _)), Some((last, _))) =
            (entries.first_key_value(), entries.last_key_value())
        else {
            return;
        };
        let (mut key_min, mut key_max, mut is_open) = (vec![*first], vec![*last], false);
        if let (Some(first), Some(last)) = (spans.first(), spans.last()) {
            is_open = last.end > key_max;
            key_min = key_min.min(first.start.clone());
            key_max = key_max.max(last.end.clone());
        }
        let mut expiring = Expiring::default();
        for entry in entries.values().filter(|entry| !entry.is_deletion()) {
            entry.expires.into_iter().for_each(|expires| expiring.add(expires.into()));
        }
        let meta = TableMeta {
            number: self.next_number,
            level: level as u8,
            file_bytes: entries.len() as u64 * ENTRY_BYTES,
            entries: entries.len() as u64,
            deletions: entries.values().filter(|entry| entry.is_deletion()).count() as u64,
            sequence_min,
            sequence_max,
            created_ms,
            range_deletions: spans.len() as u64,
            expiring,
            is_open,
            key_min,
            key_max,
            values: vec![(VALUES.number, entries.len() as u64)],
        };
        self.next_number += 1;
        self.entries.insert(meta.number, content);
        self.levels[level].push(meta);
        sort_level(level, &mut self.levels[level], |meta| meta);
    }

    /// Begins a task, if one is due; if not, one that `relocates`, if that is wanted.
    fn begin(&mut self, relocates: bool) -> bool {
        let levels = self.levels.each_ref().map(|tables| tables.iter().collect());
        let situation = Situation {
            levels: &levels,
            turns: &self.turns,
            running: &self.running,
            now_ms: u64::from(self.version),
        };
        let relocation = || {
            let files = relocates.then_some(VALUES).into_iter();
            relocation::pick(&situation, files, &self.options)
        };
        let Some(task) = pick(&situation, &self.options).or_else(relocation) else { return false };
        assert!(!task.numbers().is_empty());
        for number in task.numbers() {
            assert!(!self.running.iter().any(|running| running.takes(number)), "{task:?}");
        }
        if let Some((level, key)) = &task.turn {
            self.turns[*level].clone_from(key);
        }
        self.running.push(task);
        true
    }

    /// Compacts a range, which nothing else may be beside.
    fn compact_range(&mut self) {
        while !self.running.is_empty() {
            self.finish();
        }
        let levels = self.levels.each_ref().map(|tables| tables.iter().collect());
        let now_ms = self.version.into();
        let low = [self.random.below(KEYS) as u8];
        let high = [low[0].saturating_add(self.random.below(KEYS) as u8)];
        if let Some(task) = manual::range(&levels, Some(&low), Some(&high), now_ms, &self.options) {
            self.running.push(task);
            self.finish();
            let levels = self.levels.each_ref().map(|tables| tables.iter().collect());
            let again = manual::range(&levels, Some(&low), Some(&high), now_ms, &self.options);
            assert_eq!(again, None, "it was done");
        }
    }

    /// Ends one of the tasks that are under way.
    fn finish(&mut self) {
        let at = self.random.below(self.running.len() as u64) as usize;
        let task = self.running.swap_remove(at);
        let mut inputs = Vec::new();
        for level in (0..LEVELS).rev() {
            let tables = self.levels[level].extract_if(.., |table| task.takes(table.number));
            let tables: Vec<_> = tables.collect();
            // Oldest first: level 0 has the youngest first.
            inputs.extend(tables.into_iter().rev());
        }
        assert_eq!(inputs.len(), task.numbers().len(), "all inputs are still there");
        match task.action {
            Action::Move => {
                self.levels[task.output].extend(inputs);
                sort_level(task.output, &mut self.levels[task.output], |meta| meta);
            }
            Action::Drop => {}
            Action::Merge => self.merge(&task, &inputs),
        }
        self.check();
    }

    fn merge(&mut self, task: &Task, inputs: &[TableMeta]) {
        let (mut merged, mut ranges) = (Entries::new(), RangeSet::default());
        for table in inputs {
            let content = &self.entries[&table.number];
            merged.retain(|key, _| !in_range(&content.ranges, *key));
            merged.extend(&content.entries);
            ranges = RangeSet::union([&ranges, &content.ranges]);
        }
        let chosen_at = task.now_ms as u32;
        for entry in merged.values_mut().filter(|entry| entry.is_gone(chosen_at)) {
            *entry = Entry::deletion(entry.version);
        }
        if task.drops_deletions {
            merged.retain(|_, entry| !entry.is_deletion());
            ranges = RangeSet::default();
        }
        let sequences = (
            inputs.iter().map(|table| table.sequence_min).min().unwrap(),
            inputs.iter().map(|table| table.sequence_max).max().unwrap(),
        );
        let created_ms = inputs.iter().map(|table| table.created_ms).max().unwrap();
        let below: Vec<TableMeta> = self.levels.get(task.output + 1).cloned().unwrap_or_default();
        let below: Vec<&TableMeta> = below.iter().collect();
        let mut cutter = match task.output {
            0 => Cutter::never(),
            _ => Cutter::new(self.options.table_bytes, overlapping(&below, &task.low, &task.high)),
        };
        let mut table = Entries::new();
        for (key, entry) in merged {
            if cutter.ends_before(&[key], table.len() as u64 * ENTRY_BYTES) {
                let entries = std::mem::take(&mut table);
                let content = Content { entries, ranges: ranges.take_before(&[key]) };
                self.add_table(task.output, content, sequences, created_ms);
            }
            table.insert(key, entry);
        }
        let content = Content { entries: table, ranges };
        self.add_table(task.output, content, sequences, created_ms);
    }

    /// What a read finds, in the order in which it looks.
    fn read(&self, key: u8) -> Option<Entry> {
        let found = |table: &TableMeta| {
            let content = &self.entries[&table.number];
            let hidden = in_range(&content.ranges, key).then_some(Entry::deletion(0));
            content.entries.get(&key).copied().or(hidden).filter(|_| table.overlaps(&[key], &[key]))
        };
        self.levels.iter().flatten().find_map(found)
    }

    fn check(&self) {
        for tables in &self.levels[1..] {
            for pair in tables.windows(2) {
                assert!(pair[0].ends_before(&pair[1].key_min), "{pair:?}");
            }
        }
        let forgets = matches!(self.options.style, Style::Fifo(_));
        for (key, newest) in &self.newest {
            let found = self.read(*key);
            let is_gone = |entry: Entry| entry.is_gone(self.version);
            let right = match found {
                Some(found) => found == *newest || is_gone(found) && is_gone(*newest),
                None => is_gone(*newest) || forgets,
            };
            assert!(right, "key {key}: {found:?} instead of {newest:?}");
        }
    }

    fn run(&mut self, steps: u64, at_once: usize) {
        for _ in 0..steps {
            match self.random.below(40) {
                0 => self.compact_range(),
                1..14 => self.flush(),
                14..27 if self.running.len() < at_once => {
                    let relocates = self.random.below(2) == 0;
                    self.begin(relocates);
                }
                _ if !self.running.is_empty() => self.finish(),
                _ => self.flush(),
            }
            self.check();
        }
        // Without writes, there is an end to it.
        let mut tasks = 0;
        while self.begin(false) || !self.running.is_empty() {
            self.finish();
            tasks += 1;
            assert!(tasks < 1_000, "{:?}", self.running);
        }
    }
}

fn small(style: Style) -> Options {
    Options {
        style,
        l0_tables_compact: 2,
        level_base_bytes: 50,
        level_ratio: 2,
        table_bytes: 40,
        // More than are ever begun at once: conflicts alone decide.
        compaction_threads: 9,
        ..Options::default()
    }
}

fn check_histories(options: &Options) {
    options.check().unwrap();
    for seed in 0..60 {
        History::new(options, seed).run(300, 1 + seed as usize % 4);
    }
}

#[test]
fn levels_with_dynamic_sizes_show_the_newest_versions() {
    for level_0_percent in [0, 100] {
        let levelled = Levelled { level_0_percent, ..Levelled::default() };
        check_histories(&small(Style::Levelled(levelled)));
    }
}

#[test]
fn levels_with_fixed_sizes_show_the_newest_versions() {
    for choice in [Choice::LeastOverlap, Choice::InTurn] {
        let levelled = Levelled { dynamic: false, choice, level_0_percent: 50 };
        check_histories(&small(Style::Levelled(levelled)));
    }
}

#[test]
fn tiers_show_the_newest_versions() {
    for (width, space_percent) in [(2, 300), (3, 100), (4, 25)] {
        let tiered = Tiered { width, similar_percent: 150, runs_max: width + 2, space_percent };
        check_histories(&small(Style::Tiered(tiered)));
    }
}

#[test]
fn what_is_dropped_never_brings_an_older_version_back() {
    let ttl = Some(Duration::from_millis(100));
    for fifo in [Fifo { bytes_max: Some(300), ttl: None }, Fifo { bytes_max: None, ttl }] {
        check_histories(&small(Style::Fifo(fifo)));
    }
}

/// A store is opened with one style after the other.
#[test]
fn styles_take_over_from_each_other() {
    let tiered = Tiered { width: 2, similar_percent: 150, runs_max: 4, space_percent: 200 };
    let fixed = Levelled { dynamic: false, choice: Choice::InTurn, level_0_percent: 0 };
    let styles = [Style::Levelled(fixed), Style::Tiered(tiered), Style::default()];
    for seed in 0..60 {
        let mut history = History::new(&small(Style::default()), seed);
        for round in 0..6 {
            history.options = small(styles[(seed as usize + round * (1 + seed as usize % 2)) % 3]);
            history.run(80, 3);
            let fits = match history.options.style {
                Style::Levelled(_) => history.levels[0].len() < 10,
                Style::Tiered(tiered) => {
                    let deeper = history.levels[1..].iter().filter(|tables| !tables.is_empty());
                    history.levels[0].len() + deeper.count() <= tiered.runs_max
                }
                Style::Fifo(_) => unreachable!("it is not among them"),
            };
            assert!(fits, "{:?}", history.levels);
        }
    }
}
