//! The recovery experiment, in the cell's process: overwrite; reopen, take the times, and look for every acknowledged write.
//!
//! 1. A child opens a copy of the loaded store. Thread t of T overwrites the records t, t + T, t + 2T, …, in a scattered order, again and again: its
//!    n-th write gives the record a version that follows from n. After each acknowledgement it counts up in shared memory.
//! 2. Once a given amount is written, it takes the rate of reads if it was asked to, and says so in the shared memory. Then it closes the store, or writes on
//!    until the parent kills it with SIGKILL.
//! 3. Another child drops the store's pages if it was asked to, opens the store, timed, and reads one record, timed; then it reads until reads come at 90 % of
//!    the rate before, timed. Then it looks every record up: a record whose last acknowledged write had version v
//!    must have v, or the version of the write that was under way when the kill came.
//! 4. It closes the store cleanly and opens it once more, timed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvdyno_engines::{Durability, Engine};
use kvdyno_reports::{CellStatus, PageCache, Recovery, RecoveryEnding, RecoveryScenario};
use kvdyno_workloads::Workload;

use super::acknowledgements::{Acknowledgements, Note};
use super::job::{Job, Message, Outcome};
use super::observe::{Device, allocated_bytes};
use super::page_cache;
use super::read_rate::Reads;
use crate::failure::Result;
use crate::registry::Adapter;

/// The fixed sequence of writes of one thread: a walk over its records in strides, round after round.
#[derive(Clone, Copy, Debug)]
struct Sequence {
    thread: u64,
    threads: u64,
    /// Records of this thread.
    records: u64,
    /// Distance between two records that are written one after the other; coprime to `records`, so that a round meets each of them once.
    stride: u64,
}

impl Sequence {
    fn new(workload: &Workload, thread: u32, threads: u32) -> Self {
        Self::over(workload.record_count(), thread, threads)
    }

    fn over(all_records: u64, thread: u32, threads: u32) -> Self {
        let (thread, threads) = (u64::from(thread), u64::from(threads));
        let records = all_records.saturating_sub(thread).div_ceil(threads);
        // About the golden ratio's part of the records: neighbours in time are far apart in the key space.
        let mut stride = (records as f64 * 0.618) as u64 | 1;
        while gcd(stride, records.max(1)) != 1 {
            stride += 2;
        }
        Self { thread, threads, records, stride }
    }

    /// The record that the n-th write goes to.
    fn record(&self, write: u64) -> u64 {
        let within =
            u128::from(write % self.records) * u128::from(self.stride) % u128::from(self.records);
        self.thread + within as u64 * self.threads
    }

    /// The version that the n-th write gives to its record. Loaded records have version 0.
    fn version(&self, write: u64) -> u64 {
        write / self.records + 1
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// An open store that is being overwritten.
pub(crate) struct Overwriting<'a> {
    /// The store.
    pub(crate) engine: &'a dyn Engine,
    /// The workload whose records it holds.
    pub(crate) workload: &'a Workload,
    /// Writing threads.
    pub(crate) threads: u32,
    /// Where acknowledgements are counted.
    pub(crate) acknowledgements: &'a Acknowledgements,
    /// Set when the user wants the run to end.
    pub(crate) interrupted: &'a AtomicBool,
}

impl Overwriting<'_> {
    /// Makes so many writes over all threads, takes the rate of reads if wanted, and notes that it has.
    pub(crate) fn write(&self, writes: u64, reads: bool) -> Result<()> {
        let began = Instant::now();
        self.write_until(writes.div_ceil(u64::from(self.threads)))?;
        let took_ns = began.elapsed().as_nanos() as u64;
        self.acknowledgements.note(Note::WrittenNs).store(took_ns, Ordering::Release);
        if reads && !self.interrupted.load(Ordering::Relaxed) {
            let Self { engine, workload, threads, interrupted, .. } = *self;
            let per_second = Reads { engine, workload, threads, interrupted }.per_second()?;
            self.acknowledgements
                .note(Note::ReadsPerS)
                .store(per_second.to_bits(), Ordering::Release);
        }
        self.acknowledgements.note(Note::Written).store(1, Ordering::Release);
        Ok(())
    }

    /// Writes on until the process is killed. Returns only if the engine fails, or there are no records.
    pub(crate) fn write_until_killed(&self) -> Result<()> {
        self.write_until(u64::MAX)
    }

    /// Every thread goes on until it has made so many writes.
    fn write_until(&self, writes: u64) -> Result<()> {
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..self.threads)
                .map(|thread| scope.spawn(move || self.thread_writes(thread, writes)))
                .collect();
            for writer in writers {
                writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            Ok(())
        })
    }

    fn thread_writes(&self, thread: u32, until: u64) -> Result<()> {
        let sequence = Sequence::new(self.workload, thread, self.threads);
        if sequence.records == 0 {
            return Ok(());
        }
        let acknowledged = self.acknowledgements.of(thread);
        let mut session = self.engine.session()?;
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for write in acknowledged.load(Ordering::Acquire)..until {
            let record = sequence.record(write);
            self.workload.key_of(record, &mut key);
            self.workload.value_of(record, sequence.version(write), &mut value);
            session.put(&key, &value)?;
            acknowledged.store(write + 1, Ordering::Release);
            if self.interrupted.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(())
    }
}

/// What an overwriting child left.
pub(crate) struct Left<'a> {
    /// What it had been acknowledged.
    pub(crate) acknowledgements: &'a Acknowledgements,
    /// How long it had written.
    pub(crate) written_s: f64,
    /// How it ended, and whether the store's pages are to be dropped.
    pub(crate) scenario: RecoveryScenario,
    /// How long reads may take to come at the rate that they had before, where it was taken.
    pub(crate) reads_wait: Duration,
}

impl Left<'_> {
    /// Drops the store's pages if they are to be; returns the share of the store that is in memory.
    fn prepare_cache(&self, job: &Job) -> Result<Option<f64>> {
        let residency = match self.scenario.page_cache {
            PageCache::Warm => page_cache::residency(&job.store)?,
            PageCache::Cold => page_cache::drop_pages(&job.store)?,
        };
        Ok(residency.share())
    }

    /// Reads per second before, where they were taken.
    fn reads_before_per_s(&self) -> Option<f64> {
        match self.acknowledgements.note(Note::ReadsPerS).load(Ordering::Acquire) {
            0 => None,
            bits => Some(f64::from_bits(bits)),
        }
    }
}

/// Reopens the store that an overwriting child left, and looks for every acknowledged write.
pub(crate) fn reopen(
    job: &Job,
    adapter: &dyn Adapter,
    workload: &Workload,
    left: &Left<'_>,
    interrupted: &AtomicBool,
    tell: &dyn Fn(Message),
) -> Result<Outcome> {
    let progress = |stage: &str| {
        tell(Message::Progress { stage: stage.into(), operations_per_s: None, done: None });
    };
    let store_bytes = allocated_bytes(&job.store);
    let resident_share_before = left.prepare_cache(job)?;
    let device = Device::below(&job.store);
    let device_read = || device.as_ref()?.usage().map(|used| used.read_bytes);
    progress("reopening");
    let read_before = device_read();
    let began = Instant::now();
    let engine = super::child::open(job, adapter)?;
    let open_ms = milliseconds_since(began);
    {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        workload.key_of(0, &mut key);
        engine.session()?.get(&key, &mut value)?;
    }
    let first_read_ms = milliseconds_since(began);
    let device_bytes_read =
        read_before.zip(device_read()).map(|(before, after)| after.saturating_sub(before));
    let reads_before_ops_per_s = left.reads_before_per_s();
    let to_90_percent_ms = match reads_before_ops_per_s {
        None => None,
        Some(rate) => {
            progress("reading");
            let until_reads_ms = milliseconds_since(began);
            let engine = engine.as_ref();
            let reads = Reads { engine, workload, threads: job.threads, interrupted };
            reads
                .time_to(rate, left.reads_wait)?
                .map(|time| until_reads_ms + time.as_secs_f64() * 1e3)
        }
    };
    progress("verifying");
    let found = verify(engine.as_ref(), workload, job.threads, left.acknowledgements)?;
    engine.close()?;
    left.prepare_cache(job)?;
    let began = Instant::now();
    let engine = super::child::open(job, adapter)?;
    let reopen_clean_ms = milliseconds_since(began);
    engine.close()?;

    let (status, error) = judge(job, left.scenario.ending, &found);
    let recovery = Recovery {
        scenario: in_words(left.scenario.ending).into(),
        acknowledged_writes: left.acknowledgements.total(),
        written_s: left.written_s,
        open_ms,
        first_read_ms,
        records_verified: found.verified,
        records_lost: found.lost,
        records_wrong: found.wrong,
        store_bytes,
        reopen_clean_ms,
        to_90_percent_ms,
        reads_before_ops_per_s,
        device_bytes_read,
        written_bytes: Some(found.written_bytes),
        resident_share_before,
    };
    Ok(Outcome { status, error, recovery: Some(recovery), ..Outcome::well() })
}

/// What was done to the store, for people.
fn in_words(ending: RecoveryEnding) -> &'static str {
    match ending {
        RecoveryEnding::CleanClose => "clean close",
        RecoveryEnding::Kill => "kill -9 while overwriting",
        RecoveryEnding::KillWithoutHints => "kill -9 while overwriting, hint files removed",
        RecoveryEnding::KillDamagedHints => "kill -9 while overwriting, hint files damaged",
    }
}

/// Whether the engine kept what its class promises.
fn judge(job: &Job, ending: RecoveryEnding, found: &Found) -> (CellStatus, Option<String>) {
    // Class `buffered` promises nothing after a kill, but never a value that nobody wrote; a clean close keeps all in every class.
    let promised = ending == RecoveryEnding::CleanClose || job.durability != Durability::Buffered;
    let status = match (found.wrong, found.lost) {
        (1.., _) => CellStatus::WrongData,
        (0, 1..) if promised => CellStatus::LostWrite,
        (0, _) => CellStatus::Ok,
    };
    let error = (status != CellStatus::Ok).then(|| {
        format!(
            "after {}, of {} records {} had lost an acknowledged write and {} had a value that was never written",
            in_words(ending),
            found.verified,
            found.lost,
            found.wrong
        )
    });
    (status, error)
}

fn milliseconds_since(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

/// What looking every record up showed.
#[derive(Debug, Default)]
struct Found {
    verified: u64,
    lost: u64,
    wrong: u64,
    /// Key and value bytes of acknowledged writes.
    written_bytes: u64,
}

fn verify(
    engine: &dyn Engine,
    workload: &Workload,
    threads: u32,
    acknowledgements: &Acknowledgements,
) -> Result<Found> {
    let mut session = engine.session()?;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let mut found = Found::default();
    for thread in 0..threads {
        let sequence = Sequence::new(workload, thread, threads);
        let acknowledged = acknowledgements.of(thread).load(Ordering::Acquire);
        for position in 0..sequence.records {
            // The writes to the record at this position are `position`, `position + records`, …
            let record = sequence.record(position);
            let writes_acknowledged =
                acknowledged.saturating_sub(position).div_ceil(sequence.records);
            let under_way = acknowledged % sequence.records == position;
            let newest = writes_acknowledged + u64::from(under_way);
            workload.key_of(record, &mut key);
            found.verified += 1;
            if writes_acknowledged > 0 {
                workload.value_of(record, writes_acknowledged, &mut value);
                found.written_bytes += writes_acknowledged * (key.len() + value.len()) as u64;
            }
            if !session.get(&key, &mut value)? {
                found.lost += 1;
                continue;
            }
            match workload.check_value(&key, &value) {
                Err(_) => found.wrong += 1,
                Ok(stamp) => match stamp.version {
                    Some(version) if version < writes_acknowledged => found.lost += 1,
                    Some(version) if version > newest => found.wrong += 1,
                    _ => {}
                },
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_writes_each_record_of_the_thread_once() {
        for (records, threads) in [(1, 1), (2, 2), (10, 3), (1000, 7), (1024, 2), (97, 64)] {
            let mut seen = vec![0; records as usize];
            for thread in 0..threads {
                let sequence = Sequence::over(records, thread, threads);
                for write in 0..sequence.records {
                    seen[sequence.record(write) as usize] += 1;
                    assert_eq!(sequence.version(write), 1);
                }
            }
            assert!(
                seen.iter().all(|times| *times == 1),
                "{records} records, {threads} threads: {seen:?}"
            );
        }
    }
}
