//! Merging over metadata alone: what a policy writes and what room it takes, without a byte of data.
//!
//! 1. A store is a list of data files in the order of age, and a file is a list of record numbers. Lengths are those of real frames, prefaces and hints.
//! 2. A write goes to the active file. When that is full it is sealed, and what is due is chosen, cut into groups and written anew by the rules of the engine itself
//!    (`choose` and `group_len` in `merge_policy.rs`, and the filling of files as in `merge.rs`).
//! 3. Merging has a speed: for each byte that is written it may read and write so many bytes. A group takes effect once that is enough for it. At the end, merging
//!    goes on until nothing is due.
//!
//! Left out: deletes, expiry, manifests, the keydir's file. Values have one length.

use std::collections::VecDeque;

use super::hint;
use super::merge_policy::{FileUsage, choose, group_len};
use super::options::MergePolicy;
use super::record::{PREFACE_FRAME_BYTES, Record, Value};
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
    /// Bytes of a key.
    pub key_bytes: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Which records are overwritten.
    pub requests: Requests,
}

/// Who merges.
#[derive(Clone, Debug)]
pub struct Merger {
    /// What is merged, and when.
    pub policy: MergePolicy,
    /// Length of a data file.
    pub segment_bytes: u64,
    /// Bytes that merging reads and writes for each byte that a writer writes; infinite: merges take no time.
    pub speed: f64,
}

/// What came out of it. Amplifications are ratios to bytes of keys and values; room is that of data files and hints, what is set aside for the active file and the
/// next one included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Bytes written during the overwrites and until merging has settled, to bytes that were overwritten.
    pub write_amplification: f64,
    /// Room on the average, from the first overwrite to the last, sampled as files become full.
    pub space_mean: f64,
    /// The most room at such a moment, or while old and new files of a merge are both there.
    pub space_most: f64,
    /// Room once merging has settled.
    pub space_settled: f64,
    /// Groups of files that were merged.
    pub merges: u64,
    /// The most data files that there were at a time.
    pub files_most: usize,
}

/// Writes a load.
///
/// # Panics
/// If there are no records, or one is longer than a data file.
pub fn simulate(load: &Load, merger: &Merger) -> Figures {
    let mut simulation = Simulation::new(load, merger);
    let mut random = Random::new(1);
    let draw = Draw::new(load.requests, load.records);
    for record in 0..load.records {
        simulation.write(record);
    }
    simulation.settle();
    simulation.forget();
    for _ in 0..load.overwrites {
        simulation.write(draw.record(&mut random));
    }
    simulation.settle();
    simulation.figures(load)
}

struct DataFile {
    records: Vec<u32>,
    live: u64,
}

/// Where a record lies.
#[derive(Clone, Copy)]
struct Home {
    file: u32,
    index: u32,
}

const NOWHERE: u32 = u32::MAX;

struct Simulation<'a> {
    merger: &'a Merger,
    frame_bytes: u64,
    user_bytes: u64,
    per_file: usize,
    homes: Vec<Home>,
    /// All that there ever were, by number; those that are gone are empty.
    files: Vec<DataFile>,
    /// Numbers of the sealed ones, oldest records first.
    sealed: Vec<u32>,
    active: u32,
    /// Runs that are to be merged.
    due: VecDeque<VecDeque<u32>>,
    /// Bytes that merging may read and write before the next write.
    credit: f64,
    written: u64,
    /// Bytes of the active file that were there when counting began.
    from_before: u64,
    room_sum: f64,
    room_samples: u64,
    room_most: u64,
    merges: u64,
    files_most: usize,
}

impl<'a> Simulation<'a> {
    fn new(load: &Load, merger: &'a Merger) -> Self {
        let (key, value) = (vec![0; load.key_bytes], vec![0; load.value_bytes]);
        let value = Value { bytes: &value, compressed: false, expires_ms: None };
        let record = Record { key: &key, value: Some(value), continues: false };
        let frame_bytes = record.frame_bytes();
        let per_file = (merger.segment_bytes - PREFACE_FRAME_BYTES) / frame_bytes;
        assert!(per_file > 0 && load.records > 0, "a file holds a record, and there is one");
        let mut simulation = Self {
            merger,
            frame_bytes,
            user_bytes: (load.key_bytes + load.value_bytes) as u64,
            per_file: per_file as usize,
            homes: vec![Home { file: NOWHERE, index: 0 }; load.records as usize],
            files: Vec::new(),
            sealed: Vec::new(),
            active: 0,
            due: VecDeque::new(),
            credit: 0.0,
            written: 0,
            from_before: 0,
            room_sum: 0.0,
            room_samples: 0,
            room_most: 0,
            merges: 0,
            files_most: 0,
        };
        simulation.active = simulation.create();
        simulation
    }

    fn create(&mut self) -> u32 {
        self.files.push(DataFile { records: Vec::with_capacity(self.per_file), live: 0 });
        self.files.len() as u32 - 1
    }

    fn file(&self, number: u32) -> &DataFile {
        &self.files[number as usize]
    }

    /// Puts a record at the end of a file.
    fn append(&mut self, number: u32, record: u32) {
        let file = &mut self.files[number as usize];
        let home = Home { file: number, index: file.records.len() as u32 };
        file.records.push(record);
        file.live += 1;
        let old = std::mem::replace(&mut self.homes[record as usize], home);
        if old.file != NOWHERE {
            self.files[old.file as usize].live -= 1;
        }
    }

    fn write(&mut self, record: u32) {
        self.append(self.active, record);
        if self.file(self.active).records.len() < self.per_file {
            return;
        }
        self.sealed.push(self.active);
        let bytes = self.data_bytes(self.active) + self.hint_bytes(self.active);
        self.written += bytes;
        self.active = self.create();
        let room = self.room();
        self.room_sum += room as f64;
        self.room_samples += 1;
        self.room_most = self.room_most.max(room);
        self.files_most = self.files_most.max(self.sealed.len() + 1);
        self.credit += bytes as f64 * self.merger.speed;
        self.merge_due();
    }

    fn data_bytes(&self, number: u32) -> u64 {
        PREFACE_FRAME_BYTES + self.file(number).records.len() as u64 * self.frame_bytes
    }

    fn hint_bytes(&self, number: u32) -> u64 {
        hint::file_bytes(self.file(number).records.len() as u64)
    }

    /// Bytes of all files. The next file is prepared before the active one is full: on the average, the room of both is set aside for a quarter of the time.
    fn room(&self) -> u64 {
        let of_files = |number: &u32| self.data_bytes(*number) + self.hint_bytes(*number);
        self.sealed.iter().map(of_files).sum::<u64>() + self.merger.segment_bytes * 5 / 4
    }

    /// Merges what is due, as far as the credit goes. None is saved up while nothing is due.
    fn merge_due(&mut self) {
        loop {
            if self.due.is_empty() {
                let usages: Vec<_> = self.sealed.iter().map(|number| self.usage(*number)).collect();
                let runs = choose(&self.merger.policy, self.merger.segment_bytes, &usages).runs;
                let numbers = |run: std::ops::Range<usize>| self.sealed[run].iter().copied();
                self.due = runs.into_iter().map(|run| numbers(run).collect()).collect();
            }
            let Some(run) = self.due.front() else {
                self.credit = 0.0;
                return;
            };
            let live = run.iter().map(|number| self.file(*number).live * self.frame_bytes);
            let count = group_len(live, self.merger.segment_bytes);
            let group: Vec<u32> = run.iter().copied().take(count).collect();
            let cost = |number: &u32| {
                self.data_bytes(*number) + self.file(*number).live * self.frame_bytes
            };
            let cost = group.iter().map(cost).sum::<u64>() as f64;
            if cost > self.credit {
                return;
            }
            self.credit -= cost;
            if let Some(run) = self.due.front_mut() {
                run.drain(..count);
            }
            self.due.retain(|run| !run.is_empty());
            self.merge(&group);
        }
    }

    fn usage(&self, number: u32) -> FileUsage {
        let live = self.file(number).live * self.frame_bytes;
        FileUsage {
            len: self.data_bytes(number),
            live,
            tombstones: 0,
            expired: false,
            damaged: false,
        }
    }

    fn merge(&mut self, group: &[u32]) {
        let mut outputs: Vec<u32> = Vec::new();
        for number in group {
            for (index, record) in self.file(*number).records.clone().into_iter().enumerate() {
                let home = self.homes[record as usize];
                if (home.file, home.index) != (*number, index as u32) {
                    continue;
                }
                let full = |last: &u32| self.file(*last).records.len() == self.per_file;
                if outputs.last().is_none_or(full) {
                    outputs.push(self.create());
                }
                self.append(outputs[outputs.len() - 1], record);
            }
        }
        let bytes = |number: &u32| self.data_bytes(*number) + self.hint_bytes(*number);
        let bytes = outputs.iter().map(bytes).sum::<u64>();
        self.written += bytes;
        self.room_most = self.room_most.max(self.room() + bytes);
        self.merges += 1;
        let at = self.sealed.iter().position(|number| *number == group[0]).unwrap_or_default();
        self.sealed.splice(at..at + group.len(), outputs);
        for number in group {
            self.files[*number as usize].records = Vec::new();
        }
    }

    /// Merges until nothing is due.
    fn settle(&mut self) {
        self.credit = f64::INFINITY;
        self.merge_due();
    }

    /// Counts from here on.
    fn forget(&mut self) {
        (self.written, self.merges) = (0, 0);
        self.from_before = self.data_bytes(self.active);
        (self.room_sum, self.room_samples, self.room_most) = (0.0, 0, 0);
    }

    fn figures(&self, load: &Load) -> Figures {
        let live = self.homes.len() as f64 * self.user_bytes as f64;
        // What is in the active file counts as well.
        let written = self.written + self.data_bytes(self.active) - self.from_before;
        Figures {
            write_amplification: written as f64 / (load.overwrites * self.user_bytes) as f64,
            space_mean: self.room_sum / self.room_samples.max(1) as f64 / live,
            space_most: self.room_most as f64 / live,
            space_settled: self.room() as f64 / live,
            merges: self.merges,
            files_most: self.files_most,
        }
    }
}
