//! The measuring loop: one thread, its session, its share of the logical streams.
//!
//! For each operation the stream makes the key and the value, the clock is read, the engine is called, the clock is read again. Nothing else lies between the two
//! readings. Recording, checking what was read, and the next operation's making come after the second.
//!
//! Streams take turns in bursts, so that a stream's state stays in the processor's cache for a while.

mod lifetimes;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use kvdyno_engines::{Direction, Error, Session};
use kvdyno_workloads::{
    Change, KeySlices, LastWrites, Loader, Operation, OperationKind, OperationStream, Seen,
    Workload,
};

use super::clock::{Clock, Ticks};
use super::items::Items;
use super::job::Verify;
use super::pace::{self, Pace};
use super::recorder::{Recorder, Slot};
use lifetimes::Expiring;

/// Operations of one stream before the next has its turn.
const BURST: u64 = 32;
/// At [`Verify::Sample`], one read or scan in so many is checked. Checking 50 values of a kilobyte takes longer than scanning them.
const SAMPLE: u64 = 16;

/// Why a phase cannot go on.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The engine returned an error.
    Engine(Error),
    /// The engine returned something that was never written, or not what was written last.
    WrongData(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// A logical stream and how much of it is left to do.
pub(crate) struct Turn {
    /// Number of the stream.
    pub(crate) index: u32,
    /// The stream.
    pub(crate) stream: OperationStream,
    /// Operations that may still be taken from it in this phase.
    pub(crate) left: u64,
}

/// How a phase ended for one thread.
#[derive(Debug)]
pub(crate) struct ThreadEnd {
    /// When its first operation began.
    pub(crate) first: Ticks,
    /// When its last one ended.
    pub(crate) last: Ticks,
    /// Operations that were due, in an open loop.
    pub(crate) due: u64,
    /// How late its last operation began, in an open loop.
    pub(crate) late_ns: u64,
    /// Why it ended.
    pub(crate) result: Result<(), Fault>,
}

/// One thread's instruments.
pub(crate) struct Driver<'a> {
    session: Box<dyn Session + 'a>,
    workload: Workload,
    clock: Clock,
    recorder: Recorder,
    verify: Verify,
    /// When operations are due; none in a closed loop.
    pace: Option<Pace>,
    /// What reads may return, at [`Verify::Versions`].
    versions: Option<&'a LastWrites>,
    /// Reads and scans so far.
    reads: u64,
    stores_data: bool,
    value: Vec<u8>,
    items: Items,
    bounds: (Vec<u8>, Vec<u8>),
    /// Room for the keys of a multi-get, and which of them were found.
    slices: KeySlices,
    found: Vec<usize>,
    expiring: Expiring,
}

impl<'a> Driver<'a> {
    /// A driver for one thread.
    pub(crate) fn new(
        session: Box<dyn Session + 'a>,
        workload: &Workload,
        clock: &Clock,
        recorder: Recorder,
        verify: Verify,
        stores_data: bool,
    ) -> Self {
        Self {
            session,
            workload: workload.clone(),
            clock: clock.clone(),
            recorder,
            // What is not stored cannot be checked.
            verify: if stores_data { verify } else { Verify::None },
            pace: None,
            versions: None,
            reads: 0,
            stores_data,
            value: Vec::with_capacity(64 << 10),
            items: Items::default(),
            bounds: (Vec::new(), Vec::new()),
            slices: KeySlices::default(),
            found: Vec::new(),
            expiring: Expiring::default(),
        }
    }

    /// The same driver, which begins each operation when it is due, and checks what reads return against the last writes.
    pub(crate) fn with(mut self, pace: Option<Pace>, versions: Option<&'a LastWrites>) -> Self {
        self.pace = pace;
        self.versions = versions;
        self
    }

    /// Puts all of the loader's records, until `stop`.
    pub(crate) fn load(mut self, loader: &mut Loader, stop: &AtomicBool) -> ThreadEnd {
        let start = self.clock.now();
        self.recorder.begin(start);
        let slot = Slot::Operation(OperationKind::Insert);
        let mut last = start;
        let mut result = Ok(());
        while !stop.load(Ordering::Relaxed) {
            let Some((key, value)) = loader.next() else { break };
            let begin = self.clock.now();
            let outcome = self.session.put(key, value);
            last = self.clock.now();
            if let Err(error) = outcome {
                self.recorder.counts.errors += 1;
                result = Err(error.into());
                break;
            }
            self.recorder.record(slot, begin, last);
            let bytes = (key.len() + value.len()) as u64;
            self.recorder.counts.user_bytes_written += bytes;
            self.recorder.counts.inserted_bytes += bytes;
        }
        self.end(start, last, result)
    }

    /// Takes operations from the streams in turn, until all are used up, none is due any more, or `stop`.
    pub(crate) fn run(mut self, turns: &mut [Turn], stop: &AtomicBool) -> ThreadEnd {
        if self.pace.is_some() {
            pace::wake_precisely();
        }
        let start = self.clock.now();
        self.recorder.begin(start);
        let mut last = start;
        let mut result = Ok(());
        'phase: loop {
            let mut idle = true;
            for turn in &mut *turns {
                for _ in 0..turn.left.min(BURST) {
                    if stop.load(Ordering::Relaxed) {
                        break 'phase;
                    }
                    if let Some(pace) = &mut self.pace
                        && !pace.wait(&self.clock, start, stop)
                    {
                        break 'phase;
                    }
                    idle = false;
                    turn.left -= 1;
                    match self.operation(&mut turn.stream) {
                        Ok(end) => last = end,
                        Err(fault) => {
                            turn.stream.failed();
                            self.recorder.counts.errors +=
                                u64::from(matches!(fault, Fault::Engine(_)));
                            result = Err(fault);
                            break 'phase;
                        }
                    }
                }
            }
            if idle {
                break;
            }
        }
        self.end(start, last, result)
    }

    fn end(self, first: Ticks, last: Ticks, result: Result<(), Fault>) -> ThreadEnd {
        self.recorder.end();
        let late_ns = self.pace.as_ref().map_or(0, Pace::late_ns);
        ThreadEnd { first, last, due: self.pace.map_or(0, Pace::due_in_all), late_ns, result }
    }

    /// Records an operation: its service time, and where it was due at a time its response time.
    #[inline]
    fn record(&mut self, kind: OperationKind, begin: Ticks, end: Ticks) {
        self.recorder.record(Slot::Operation(kind), begin, end);
        if let Some(pace) = &self.pace {
            self.recorder.record_response(kind, pace.due_ns(), end);
        }
    }

    /// One operation; returns when it ended.
    #[inline]
    fn operation(&mut self, stream: &mut OperationStream) -> Result<Ticks, Fault> {
        stream.advance();
        match stream.operation() {
            Operation::Read { key } => {
                let seen = self.before_read(stream);
                let begin = self.clock.now();
                let found = self.session.get(key, &mut self.value)?;
                let end = self.clock.now();
                self.record(OperationKind::Read, begin, end);
                self.took_value(key, found, seen)?;
                Ok(end)
            }
            Operation::ReadAbsent { key } => {
                let begin = self.clock.now();
                let found = self.session.get(key, &mut self.value)?;
                let end = self.clock.now();
                self.record(OperationKind::ReadAbsent, begin, end);
                if found && self.verify != Verify::None {
                    return Err(invented(key));
                }
                self.recorder.counts.checked += u64::from(self.verify != Verify::None);
                Ok(end)
            }
            Operation::Insert { key, value } => {
                let begin = self.clock.now();
                self.session.put(key, value)?;
                let end = self.clock.now();
                self.record(OperationKind::Insert, begin, end);
                let bytes = (key.len() + value.len()) as u64;
                self.recorder.counts.user_bytes_written += bytes;
                self.recorder.counts.inserted_bytes += bytes;
                stream.acknowledge();
                Ok(end)
            }
            Operation::Update { key, change: Change::Whole(value) } => {
                self.before_write(stream);
                let begin = self.clock.now();
                self.session.put(key, value)?;
                let end = self.clock.now();
                self.after_write(stream);
                self.record(OperationKind::Update, begin, end);
                self.recorder.counts.user_bytes_written += (key.len() + value.len()) as u64;
                Ok(end)
            }
            Operation::Update { key, change } => {
                let begin = self.clock.now();
                let found = self.session.get(key, &mut self.value)?;
                if self.stores_data {
                    change
                        .apply(&mut self.value)
                        .map_err(|fault| wrong(key, found, &fault.to_string()))?;
                }
                self.session.put(key, &self.value)?;
                let end = self.clock.now();
                self.record(OperationKind::Update, begin, end);
                self.recorder.counts.user_bytes_written += (key.len() + self.value.len()) as u64;
                Ok(end)
            }
            Operation::ReadModifyWrite { key, change } => {
                let seen = self.before_read(stream);
                let begin = self.clock.now();
                let found = self.session.get(key, &mut self.value)?;
                let read = self.clock.now();
                self.took_value(key, found, seen)?;
                if self.stores_data {
                    change
                        .apply(&mut self.value)
                        .map_err(|fault| wrong(key, found, &fault.to_string()))?;
                }
                self.before_write(stream);
                let write = self.clock.now();
                self.session.put(key, &self.value)?;
                let end = self.clock.now();
                self.after_write(stream);
                self.recorder.record(Slot::InnerRead, begin, read);
                self.recorder.record(Slot::InnerUpdate, write, end);
                self.record(OperationKind::ReadModifyWrite, begin, end);
                self.recorder.counts.user_bytes_written += (key.len() + self.value.len()) as u64;
                Ok(end)
            }
            Operation::Scan { start, limit } => self.scan(start, Direction::Forward, limit),
            Operation::ScanReverse { start, limit } => self.scan(start, Direction::Reverse, limit),
            Operation::Latest { first, start } => {
                self.items.clear();
                let items = &mut self.items;
                let begin = self.clock.now();
                self.session.scan(start, Direction::Reverse, 1, &mut |key, value| {
                    if key >= first {
                        items.take(key, value, true);
                    }
                    ControlFlow::Break(())
                })?;
                let end = self.clock.now();
                self.record(OperationKind::Latest, begin, end);
                if self.verify != Verify::None {
                    self.recorder.counts.checked += 1;
                    let began = self.clock.now();
                    stream
                        .check_latest(self.items.iter().next())
                        .map_err(|fault| Fault::WrongData(format!("latest value: {fault}")))?;
                    self.checked_since(began);
                }
                self.took_items();
                Ok(end)
            }
            Operation::Window { start, end: bound } => {
                self.items.clear();
                let items = &mut self.items;
                let keep = self.verify != Verify::None;
                let begin = self.clock.now();
                self.session.scan(start, Direction::Forward, usize::MAX, &mut |key, value| {
                    if key >= bound {
                        return ControlFlow::Break(());
                    }
                    items.take(key, value, keep);
                    ControlFlow::Continue(())
                })?;
                let end = self.clock.now();
                self.record(OperationKind::Window, begin, end);
                self.bounds.0.clear();
                self.bounds.0.extend_from_slice(start);
                self.bounds.1.clear();
                self.bounds.1.extend_from_slice(bound);
                if self.verify != Verify::None {
                    self.recorder.counts.checked += 1;
                    let began = self.clock.now();
                    stream
                        .check_window(&self.bounds.0, &self.bounds.1, self.items.iter())
                        .map_err(|fault| Fault::WrongData(format!("window: {fault}")))?;
                    self.checked_since(began);
                }
                self.took_items();
                Ok(end)
            }
            Operation::MultiGet { keys } => self.multi_get(keys),
            Operation::Delete { key } => self.delete(key, stream.removed_bytes()),
            Operation::DeleteRange { start, end } => {
                self.delete_range(start, end, stream.removed_bytes())
            }
            Operation::InsertExpiring { key, value, ttl } => self.insert_expiring(key, value, ttl),
        }
    }

    /// Counts a value that was read, and checks it: streams only read keys that are there.
    #[inline]
    fn took_value(&mut self, key: &[u8], found: bool, seen: Option<Before>) -> Result<(), Fault> {
        if found {
            self.recorder.counts.user_bytes_read += (key.len() + self.value.len()) as u64;
        } else if self.verify != Verify::None {
            return Err(wrong(key, false, ""));
        }
        if self.check_is_due() {
            let began = self.clock.now();
            let newest = self.workload.check_value(key, &self.value).and_then(|stamp| {
                let (Some(versions), Some(before)) = (self.versions, seen) else { return Ok(()) };
                versions.check_read(before.record, &before.seen, key, stamp)
            });
            newest.map_err(|fault| wrong(key, true, &fault.to_string()))?;
            self.checked_since(began);
        }
        Ok(())
    }

    /// Scans up to `limit` records from `start` on.
    fn scan(&mut self, start: &[u8], direction: Direction, limit: usize) -> Result<Ticks, Fault> {
        self.items.clear();
        let items = &mut self.items;
        // All that may be checked is copied out, as a client would, so that checked scans take no longer than others.
        let keep = self.verify != Verify::None;
        let begin = self.clock.now();
        self.session.scan(start, direction, limit, &mut |key, value| {
            items.take(key, value, keep);
            ControlFlow::Continue(())
        })?;
        let end = self.clock.now();
        let kind = match direction {
            Direction::Forward => OperationKind::Scan,
            Direction::Reverse => OperationKind::ScanReverse,
        };
        self.record(kind, begin, end);
        if self.check_is_due() {
            let began = self.clock.now();
            self.items.check_scan(&self.workload, start, direction, limit)?;
            self.checked_since(began);
        }
        self.took_items();
        Ok(end)
    }

    /// Notes what a read that is about to begin may return.
    #[inline]
    fn before_read(&self, stream: &OperationStream) -> Option<Before> {
        let versions = self.versions?;
        let record = stream.last_record();
        Some(Before { record, seen: versions.before_read(record) })
    }

    /// A write is about to begin.
    #[inline]
    fn before_write(&self, stream: &OperationStream) {
        if let Some(versions) = self.versions {
            versions.before_write(stream.last_record(), stream.last_version());
        }
    }

    /// The write has been acknowledged.
    #[inline]
    fn after_write(&self, stream: &OperationStream) {
        if let Some(versions) = self.versions {
            versions.after_write(stream.last_record(), stream.last_version());
        }
    }

    /// Counts the time that a check took.
    fn checked_since(&mut self, began: Ticks) {
        self.recorder.counts.check_ns += self.clock.nanos_between(began, self.clock.now());
    }

    fn took_items(&mut self) {
        self.recorder.counts.user_bytes_read += self.items.bytes_seen;
        self.recorder.counts.items += self.items.seen;
    }

    /// Whether this read or scan is to be checked; counted if so.
    #[inline]
    fn check_is_due(&mut self) -> bool {
        self.reads += 1;
        let due = match self.verify {
            Verify::None => false,
            Verify::Sample => self.reads.is_multiple_of(SAMPLE),
            Verify::Content | Verify::Versions => true,
        };
        self.recorder.counts.checked += u64::from(due);
        due
    }
}

/// A record that is read, and what had been written to it when the read began.
struct Before {
    record: u64,
    seen: Seen,
}

/// The fault of a value that is missing or not what was written.
pub(crate) fn wrong(key: &[u8], found: bool, fault: &str) -> Fault {
    let key = key.escape_ascii();
    Fault::WrongData(if found {
        format!("key {key}: {fault}")
    } else {
        format!("key {key} was written and acknowledged, but the engine does not find it")
    })
}

/// The fault of a value under a key that nobody has written.
#[cold]
fn invented(key: &[u8]) -> Fault {
    let key = key.escape_ascii();
    Fault::WrongData(format!("key {key} was never written, but the engine finds a value"))
}
