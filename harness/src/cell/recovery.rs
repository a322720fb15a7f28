//! The recovery experiment: write until killed; reopen, take the time, and look for every acknowledged write.
//!
//! 1. A child opens a copy of the loaded store. Thread t of T overwrites the records t, t + T, t + 2T, …, in a scattered order, again and again: its
//!    n-th write gives the record a version that follows from n. After each acknowledgement it counts up in shared memory.
//! 2. The parent kills it with SIGKILL.
//! 3. Another child opens the store, timed, and reads one record, timed. Then it looks every record up: a record whose last acknowledged write had version v
//!    must have v, or the version of the write that was under way when the kill came.
//! 4. It closes the store cleanly and opens it once more, timed.

use std::sync::atomic::Ordering;
use std::time::Instant;

use kvdyno_engines::{Durability, Engine};
use kvdyno_reports::{CellStatus, Recovery};
use kvdyno_workloads::Workload;

use super::acknowledgements::Acknowledgements;
use super::job::{Job, Message, Outcome};
use super::observe::allocated_bytes;
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

/// Writes until the process is killed. Returns only if the engine fails.
pub(crate) fn write_until_killed(
    engine: &dyn Engine,
    workload: &Workload,
    threads: u32,
    acknowledgements: &Acknowledgements,
) -> Result<()> {
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || -> Result<()> {
                    let sequence = Sequence::new(workload, thread, threads);
                    let acknowledged = acknowledgements.of(thread);
                    let mut session = engine.session()?;
                    let (mut key, mut value) = (Vec::new(), Vec::new());
                    for write in (0..).take_while(|_| sequence.records > 0) {
                        let record = sequence.record(write);
                        workload.key_of(record, &mut key);
                        workload.value_of(record, sequence.version(write), &mut value);
                        session.put(&key, &value)?;
                        acknowledged.store(write + 1, Ordering::Release);
                    }
                    Ok(())
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })
}

/// Reopens the store that a killed child left, and looks for every acknowledged write.
pub(crate) fn reopen(
    job: &Job,
    adapter: &dyn Adapter,
    workload: &Workload,
    acknowledgements: &Acknowledgements,
    written_s: f64,
    tell: &dyn Fn(Message),
) -> Result<Outcome> {
    let progress = |stage: &str| {
        tell(Message::Progress { stage: stage.into(), operations_per_s: None, done: None });
    };
    let store_bytes = allocated_bytes(&job.store);
    progress("reopening");
    let began = Instant::now();
    let engine = super::child::open(job, adapter)?;
    let open_ms = milliseconds_since(began);
    {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        workload.key_of(0, &mut key);
        engine.session()?.get(&key, &mut value)?;
    }
    let first_read_ms = milliseconds_since(began);
    progress("verifying");
    let found = verify(engine.as_ref(), workload, job.threads, acknowledgements)?;
    engine.close()?;
    let began = Instant::now();
    let engine = super::child::open(job, adapter)?;
    let reopen_clean_ms = milliseconds_since(began);
    engine.close()?;

    // Class `buffered` promises nothing after a kill, but never a value that nobody wrote.
    let broken_promise = found.lost > 0 && job.durability != Durability::Buffered;
    let status = match (found.wrong, broken_promise) {
        (1.., _) => CellStatus::WrongData,
        (0, true) => CellStatus::LostWrite,
        (0, false) => CellStatus::Ok,
    };
    let error = (status != CellStatus::Ok).then(|| {
        format!(
            "after kill -9, of {} records {} had lost an acknowledged write and {} had a value that was never written",
            found.verified, found.lost, found.wrong
        )
    });
    let recovery = Recovery {
        scenario: "kill -9 while overwriting".into(),
        acknowledged_writes: acknowledgements.total(),
        written_s,
        open_ms,
        first_read_ms,
        records_verified: found.verified,
        records_lost: found.lost,
        records_wrong: found.wrong,
        store_bytes,
        reopen_clean_ms,
        ..Recovery::default()
    };
    Ok(Outcome { status, error, measurement: None, recovery: Some(recovery), loaded_bytes: None })
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
