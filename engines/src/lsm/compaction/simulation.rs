//! Compaction over metadata alone: what a style writes and what room it takes, without a byte of data.
//!
//! 1. A store is a tree of tables, and a table is a list of record numbers. Lengths are those of real blocks and frames.
//! 2. A write goes to the memtable. When its log is full it is flushed, and whatever the store's own picker then chooses is done, by the rules of the engine itself (`picker`, `task` and
//!    `split` in `compaction`), until nothing is due.
//! 3. Records are loaded in random order, each once; then records are overwritten.
//!
//! What comes out depends on proportions alone: a terabyte can be simulated as a few million records of a quarter of a megabyte, as long as a table holds a good many of them.
//!
//! Left out: deletes, time, manifests; and that compactions take time, while which level 0 grows and fewer, larger ones are done than here.

use std::collections::HashMap;

use super::super::deadline::Expiring;
use super::super::files::FileNumber;
use super::super::options::Options;
use super::super::table::TableMeta;
use super::super::table::block::{BlockBuilder, TRAILER_BYTES};
use super::super::table::footer::Handle;
use super::super::version::{PerLevel, sort_level};
use super::super::wal::{Kind, operation_header};
use super::picker::{Situation, pick};
use super::split::Cutter;
use super::task::{Action, Metas, Task, overlapping};
use crate::Result;
use crate::log::frame;
use crate::random::Random;
use crate::requests::Draw;
pub use crate::requests::Requests;

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Records that are loaded first.
    pub records: u32,
    /// Overwrites after that.
    pub overwrites: u64,
    /// Bytes of a key, at least 24.
    pub key_bytes: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Which records are overwritten.
    pub requests: Requests,
}

/// What came out of it. Amplifications are ratios to bytes of keys and values; room is that of tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Bytes written while the records were loaded, log included, to bytes that were loaded.
    pub load_amplification: f64,
    /// Bytes written during the overwrites, log included, to bytes that were overwritten.
    pub write_amplification: f64,
    /// Room on the average, sampled after each flush and the compactions that it made due.
    pub space_mean: f64,
    /// The most room, old and new tables of a compaction counted.
    pub space_most: f64,
    /// Room in the end.
    pub space_settled: f64,
    /// Sorted runs on the average, sampled as the room is: places that a read may have to look at.
    pub runs_mean: f64,
    /// The most tables that there were at a time.
    pub tables_most: usize,
    /// Compactions that merged.
    pub merges: u64,
    /// Compactions that moved tables as they were.
    pub moves: u64,
    /// Bytes that the largest merge read, to those of all records.
    pub largest_merge: f64,
}

/// Writes a load to a store with these options, of which those about durability, threads and time have no effect.
///
/// # Errors
/// [`crate::Error::InvalidOption`].
pub fn simulate(load: &Load, options: &Options) -> Result<Figures> {
    options.check()?;
    let mut simulation = Simulation::new(load, options);
    let mut random = Random::new(1);
    let mut order: Vec<u32> = (0..load.records).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at as u64 + 1) as usize);
    }
    for record in order {
        simulation.write(record);
    }
    let load_amplification = simulation.amplification(u64::from(load.records));
    simulation.forget();
    let draw = Draw::new(load.requests, load.records);
    for _ in 0..load.overwrites {
        simulation.write(draw.record(&mut random));
    }
    Ok(Figures { load_amplification, ..simulation.figures(load) })
}

struct Simulation<'o> {
    options: &'o Options,
    /// Bytes of a key and a value.
    user_bytes: u64,
    /// Bytes of an entry in a table, its share of everything counted.
    entry_bytes: f64,
    frame_bytes: u64,
    memtable: Vec<u32>,
    memtable_records: usize,
    levels: PerLevel<Vec<TableMeta>>,
    /// Sorted.
    records: HashMap<FileNumber, Vec<u32>>,
    turns: PerLevel<Vec<u8>>,
    next_number: FileNumber,
    flushes: u64,
    written: u64,
    room: u64,
    room_sum: u64,
    runs_sum: u64,
    room_most: u64,
    samples: u64,
    tables_most: usize,
    merges: u64,
    moves: u64,
    largest_merge: u64,
}

impl<'o> Simulation<'o> {
    fn new(load: &Load, options: &'o Options) -> Self {
        let payload = operation_header(Kind::Put, load.key_bytes, load.value_bytes).len()
            + load.key_bytes
            + load.value_bytes;
        let frame_bytes = frame::frame_bytes(payload);
        Self {
            options,
            user_bytes: (load.key_bytes + load.value_bytes) as u64,
            entry_bytes: entry_bytes(load, options),
            frame_bytes,
            memtable: Vec::new(),
            memtable_records: (options.memtable_bytes / frame_bytes).max(1) as usize,
            levels: PerLevel::default(),
            records: HashMap::new(),
            turns: PerLevel::default(),
            next_number: 1,
            flushes: 0,
            written: 0,
            room: 0,
            room_sum: 0,
            runs_sum: 0,
            room_most: 0,
            samples: 0,
            tables_most: 0,
            merges: 0,
            moves: 0,
            largest_merge: 0,
        }
    }

    fn write(&mut self, record: u32) {
        self.written += self.frame_bytes;
        self.memtable.push(record);
        if self.memtable.len() == self.memtable_records {
            self.flush();
            while let Some(task) = self.pick() {
                self.compact(&task);
            }
            self.sample();
        }
    }

    fn flush(&mut self) {
        let mut records = std::mem::take(&mut self.memtable);
        records.sort_unstable();
        records.dedup();
        self.flushes += 1;
        self.add_table(0, records);
    }

    /// Adds a table, which is written now.
    fn add_table(&mut self, level: usize, records: Vec<u32>) {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return };
        let file_bytes = (records.len() as f64 * self.entry_bytes) as u64;
        let meta = TableMeta {
            number: self.next_number,
            level: level as u8,
            file_bytes,
            entries: records.len() as u64,
            deletions: 0,
            sequence_min: self.flushes,
            sequence_max: self.flushes,
            created_ms: 0,
            range_deletions: 0,
            expiring: Expiring::default(),
            is_open: false,
            key_min: first.to_be_bytes().to_vec(),
            key_max: last.to_be_bytes().to_vec(),
            values: Vec::new(),
        };
        self.next_number += 1;
        self.written += file_bytes;
        self.room += file_bytes;
        self.room_most = self.room_most.max(self.room);
        self.records.insert(meta.number, records);
        self.levels[level].push(meta);
        sort_level(level, &mut self.levels[level], |meta| meta);
    }

    fn metas(&self) -> Metas<'_> {
        self.levels.each_ref().map(|tables| tables.iter().collect())
    }

    fn pick(&mut self) -> Option<Task> {
        let situation =
            Situation { levels: &self.metas(), turns: &self.turns, running: &[], now_ms: 0 };
        let task = pick(&situation, self.options)?;
        if let Some((level, key)) = &task.turn {
            self.turns[*level].clone_from(key);
        }
        Some(task)
    }

    fn compact(&mut self, task: &Task) {
        let mut inputs: PerLevel<Vec<TableMeta>> = PerLevel::default();
        for (inputs, tables) in inputs.iter_mut().zip(&mut self.levels) {
            *inputs = tables.extract_if(.., |table| task.takes(table.number)).collect();
        }
        if task.action == Action::Move {
            self.levels[task.output].extend(inputs.into_iter().flatten());
            sort_level(task.output, &mut self.levels[task.output], |meta| meta);
            self.moves += 1;
            return;
        }
        let merged = self.merged(&inputs);
        if task.action == Action::Merge {
            // What is merged is as young as its youngest part.
            let youngest = inputs.iter().flatten().map(|table| table.sequence_max).max();
            let flushes = std::mem::replace(&mut self.flushes, youngest.unwrap_or(0));
            self.write_tables(task, merged);
            self.flushes = flushes;
            self.merges += 1;
            self.largest_merge = self.largest_merge.max(task.bytes);
        }
        self.room -= task.bytes;
    }

    /// The records of some tables, each once; the tables are gone.
    fn merged(&mut self, inputs: &PerLevel<Vec<TableMeta>>) -> Vec<u32> {
        let (level_0, deeper) = inputs.split_at(1);
        let mut take = |table: &TableMeta| self.records.remove(&table.number).unwrap_or_default();
        let mut runs: Vec<Vec<u32>> = level_0[0].iter().map(&mut take).collect();
        for tables in deeper {
            runs.push(tables.iter().flat_map(&mut take).collect());
        }
        runs.sort_by_key(Vec::len);
        runs.into_iter().fold(Vec::new(), |merged, run| union(&merged, &run))
    }

    fn write_tables(&mut self, task: &Task, merged: Vec<u32>) {
        if task.output == 0 {
            return self.add_table(0, merged);
        }
        let below = self.levels.get(task.output + 1).map_or(&[][..], Vec::as_slice);
        let below: Vec<&TableMeta> = below.iter().collect();
        let below = overlapping(&below, &task.low, &task.high);
        let mut cutter = Cutter::new(self.options.table_bytes, below);
        let mut table = Vec::new();
        let mut tables = Vec::new();
        for record in merged {
            let bytes = (table.len() as f64 * self.entry_bytes) as u64;
            if cutter.ends_before(&record.to_be_bytes(), bytes) {
                tables.push(std::mem::take(&mut table));
            }
            table.push(record);
        }
        tables.push(table);
        for table in tables {
            self.add_table(task.output, table);
        }
    }

    fn sample(&mut self) {
        self.room_sum += self.room;
        let deeper = self.levels[1..].iter().filter(|tables| !tables.is_empty()).count();
        self.runs_sum += (self.levels[0].len() + deeper) as u64;
        self.samples += 1;
        self.tables_most = self.tables_most.max(self.records.len());
    }

    /// Counts from here on.
    fn forget(&mut self) {
        (self.written, self.merges, self.moves, self.largest_merge) = (0, 0, 0, 0);
        (self.room_sum, self.runs_sum, self.samples, self.tables_most) = (0, 0, 0, 0);
        self.room_most = self.room;
    }

    fn amplification(&self, writes: u64) -> f64 {
        self.written as f64 / (writes.max(1) * self.user_bytes) as f64
    }

    fn figures(&self, load: &Load) -> Figures {
        let all = f64::from(load.records) * self.user_bytes as f64;
        let samples = self.samples.max(1) as f64;
        Figures {
            load_amplification: 0.0,
            write_amplification: self.amplification(load.overwrites),
            space_mean: self.room_sum as f64 / samples / all,
            space_most: self.room_most as f64 / all,
            space_settled: self.room as f64 / all,
            runs_mean: self.runs_sum as f64 / samples,
            tables_most: self.tables_most,
            merges: self.merges,
            moves: self.moves,
            largest_merge: self.largest_merge as f64 / all,
        }
    }
}

/// Two sorted lists as one, without what is in both a second time.
fn union(first: &[u32], second: &[u32]) -> Vec<u32> {
    let (mut at, mut beside) = (0, 0);
    let mut out = Vec::with_capacity(first.len() + second.len());
    while at < first.len() && beside < second.len() {
        let (one, other) = (first[at], second[beside]);
        out.push(one.min(other));
        at += usize::from(one <= other);
        beside += usize::from(other <= one);
    }
    out.extend_from_slice(&first[at..]);
    out.extend_from_slice(&second[beside..]);
    out
}

/// Bytes of an entry in a table: its share of a real block, of the index and of the filter.
fn entry_bytes(load: &Load, options: &Options) -> f64 {
    let step = u64::MAX / u64::from(load.records.max(1));
    let value = vec![0; load.value_bytes];
    let mut block = BlockBuilder::default();
    let mut entries = 0;
    while block.bytes() < options.block_bytes {
        let key = format!("user{:0width$}", entries * step, width = load.key_bytes.max(24) - 4);
        block.add(key.as_bytes(), Kind::Put, &value);
        entries += 1;
    }
    let mut bytes = Vec::new();
    block.finish(&mut bytes);
    // In the index: the head, the start and the length of the entry, and the handle.
    let of_block = bytes.len() + TRAILER_BYTES + 16 + Handle::BYTES;
    of_block as f64 / entries as f64 + options.filter_bits_per_key as f64 / 8.0
}

#[cfg(test)]
mod tests {
    use super::super::style::{Fifo, Levelled, Style, Tiered};
    use super::*;

    fn figures(style: Style) -> Figures {
        let load = Load {
            records: 20_000,
            overwrites: 100_000,
            key_bytes: 24,
            value_bytes: 1_000,
            requests: Requests::Uniform,
        };
        let options = Options {
            style,
            memtable_bytes: 256 << 10,
            table_bytes: 256 << 10,
            level_base_bytes: 1 << 20,
            ..Options::default()
        };
        simulate(&load, &options).unwrap()
    }

    #[test]
    fn dynamic_sizes_take_less_room_than_fixed_ones() {
        let dynamic = figures(Style::Levelled(Levelled::default()));
        let fixed = figures(Style::Levelled(Levelled { dynamic: false, ..Levelled::default() }));
        assert!(dynamic.space_mean < 1.3, "{dynamic:?}");
        assert!(fixed.space_mean > dynamic.space_mean, "{fixed:?} {dynamic:?}");
    }

    #[test]
    fn tiers_write_less_and_take_more_room() {
        let levelled = figures(Style::default());
        let tiered = figures(Style::Tiered(Tiered::default()));
        assert!(tiered.write_amplification < levelled.write_amplification, "{tiered:?}");
        assert!(tiered.space_mean > levelled.space_mean, "{tiered:?} {levelled:?}");
        assert!(tiered.space_mean < 2.2, "{tiered:?}");
    }

    #[test]
    fn what_is_only_dropped_is_written_twice() {
        let bytes_max = Some(30 << 20);
        let fifo = figures(Style::Fifo(Fifo { bytes_max, ttl: None }));
        assert!((1.9..2.2).contains(&fifo.write_amplification), "{fifo:?}");
        assert_eq!(fifo.merges, 0);
        let bound = f64::from(30 << 20) / (20_000.0 * 1_024.0);
        assert!(fifo.space_mean <= bound, "{fifo:?}");
    }
}
