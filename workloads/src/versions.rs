//! Whether a read returned less than what was acknowledged before it began.
//!
//! Every value carries the version of its write, and a version names one write, but two versions do not
//! say which came first: many streams write the same loaded records. [`LastWrites`] finds out, from
//! when each write began and when it was acknowledged.
//!
//! **What is checked.** A read of a record may return the value of write *W* unless some other write
//! *W'* to the record began after *W* was acknowledged, and was acknowledged before the read began.
//! Then *W'* had replaced *W* for certain, in every order that the store could claim. Each read is
//! judged by itself (a regular register, in Lamport's words): two reads that see two concurrent writes in
//! different orders are not found.
//!
//! **How.** The records are dealt to shards, each behind a lock. A shard numbers the acknowledgements of
//! its records 1, 2, 3, …: its clock.
//!
//! 1. [`before_write`](LastWrites::before_write) puts the write on the shard's list of writes under way, with
//!    the clock as it stands.
//! 2. [`after_write`](LastWrites::after_write) takes it off, numbers it, and puts it into a ring of the
//!    shard's last acknowledgements. Of the record's *candidates*, the writes that a read may return,
//!    those go that were acknowledged before this write began; it joins them. As only writes that
//!    overlapped it stay, there is mostly one, which takes one word; more are kept beside it.
//! 3. [`before_read`](LastWrites::before_read) notes the candidates and the clock: [`Seen`].
//! 4. [`check_read`](LastWrites::check_read) accepts the candidates that were noted, writes that are under
//!    way, and writes that the ring holds as acknowledged since. What is left was acknowledged before
//!    the read began and had been replaced by then, or was never written.
//!
//! **No false alarm.** Alarms follow from the rule above alone: calls around the engine's widen the writes'
//! intervals and narrow the reads', which can only make the check accept more. When the ring has
//! forgotten acknowledgements since the read began (more than [`RING`] to the same shard during one read),
//! what is not known otherwise is accepted, and counted ([`undecided`](LastWrites::undecided)).
//!
//! **Cost.** 8 bytes for each loaded record, and up to 1.5 MiB. A write takes the lock of its shard twice, a read
//! once, and once more when it did not return what it expected: some tens of nanoseconds each, outside of
//! what is timed.
//!
//! ```
//! use kvdyno_workloads::{Change, LastWrites, Operation, Workload, WorkloadSpec};
//!
//! # let mut spec = WorkloadSpec::builtin("ycsb-a").expect("a built-in name");
//! # spec.records = 100;
//! # let workload = Workload::new(spec, 1).expect("a valid spec");
//! # let mut store = std::collections::BTreeMap::new();
//! # let mut loader = workload.loader(0, 1);
//! # while let Some((key, value)) = loader.next() {
//! #     store.insert(key.to_vec(), value.to_vec());
//! # }
//! # let mut stream = workload.stream(0);
//! let writes = LastWrites::new(&workload).expect("values with versions");
//! for _ in 0..100 {
//!     stream.advance();
//!     let (record, version) = (stream.last_record(), stream.last_version());
//!     match stream.operation() {
//!         Operation::Read { key } => {
//!             let seen = writes.before_read(record);
//!             let value = &store[key];
//!             let stamp = workload.check_value(key, value).expect("whole");
//!             writes.check_read(record, &seen, key, stamp).expect("not replaced before");
//!         }
//!         Operation::Update { key, change: Change::Whole(value) } => {
//!             writes.before_write(record, version);
//!             store.insert(key.to_vec(), value.to_vec());
//!             writes.after_write(record, version);
//!         }
//!         other => unreachable!("not in this mix: {other:?}"),
//!     }
//! }
//! ```
//!
//! Source: L. Lamport, "On interprocess communication", 1986, for the notion; the algorithm is our own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::{ValueFault, key_text};
use crate::spec::{DataSpec, ValueSpec, WorkloadSpec};
use crate::values::{SHORT_STAMP_BYTES, STAMP_BYTES, Stamp};
use crate::workload::Workload;

/// Shards, so that threads seldom meet at a lock.
const SHARDS: usize = 256;
/// Acknowledgements that a shard remembers.
const RING: usize = 256;

/// The writes that a read of each loaded record may return. Shared by all threads.
#[derive(Debug)]
pub struct LastWrites {
    shards: Vec<Mutex<Shard>>,
    records: u64,
    /// The bits of a version that values hold.
    version_mask: u64,
    undecided: AtomicU64,
}

/// What was acknowledged when a read began: see [`LastWrites::before_read`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "give it to check_read with what the read returned"]
pub struct Seen {
    /// The shard's clock; `None` for a record that is not watched.
    clock: Option<u64>,
    /// A write that the read may return.
    version: u64,
    /// More of them.
    others: Vec<u64>,
}

/// An acknowledged write, with the number of its acknowledgement.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    record: u64,
    version: u64,
    number: u64,
}

/// A write that has begun.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    record: u64,
    version: u64,
    /// The clock when it began.
    began: u64,
}

#[derive(Debug)]
struct Shard {
    /// Acknowledgements so far.
    clock: u64,
    /// For each record of the shard the write that its reads return, where that is one only.
    last: Vec<u64>,
    /// Records whose candidates are more than one, or whose acknowledgement's number still matters
    /// because writes that began before it are under way.
    contended: HashMap<u64, Vec<Acknowledged>>,
    under_way: Vec<UnderWay>,
    /// The last acknowledgements; number *n* stands at (*n* − 1) mod [`RING`].
    ring: Vec<Acknowledged>,
}

impl LastWrites {
    /// Watches the loaded records of a freshly loaded store, each of which has version 0 now.
    ///
    /// `None` when versions cannot decide: values below 8 bytes hold none, fields that are changed one by
    /// one each have their own, and points of time series are written once.
    pub fn new(workload: &Workload) -> Option<Self> {
        Some(Self::over(workload.record_count(), version_mask(workload.spec())?))
    }

    /// Whether versions can decide: whether [`new`](Self::new) gives a table.
    pub fn can_watch(spec: &WorkloadSpec) -> bool {
        version_mask(spec).is_some()
    }

    fn over(records: u64, version_mask: u64) -> Self {
        let shards = (0..SHARDS as u64).map(|shard| {
            let own = records.saturating_sub(shard).div_ceil(SHARDS as u64);
            Mutex::new(Shard::new(own as usize))
        });
        Self { shards: shards.collect(), records, version_mask, undecided: AtomicU64::new(0) }
    }

    /// Call it before a write to a record is handed to the engine. Records that are not loaded ones are
    /// passed over, here and in the other calls: their stream alone writes them.
    pub fn before_write(&self, record: u64, version: u64) {
        if let Some(shard) = self.shard(record) {
            let mut shard = shard.lock();
            let began = shard.clock;
            let version = version & self.version_mask;
            shard.under_way.push(UnderWay { record, version, began });
        }
    }

    /// Call it after the engine has acknowledged the write. A write that failed stays under way for ever:
    /// it may have happened or not, so that reads may return it from now on.
    pub fn after_write(&self, record: u64, version: u64) {
        if let Some(shard) = self.shard(record) {
            shard.lock().acknowledge(record, version & self.version_mask);
        }
    }

    /// Call it before a read of the record is handed to the engine. Allocates only when writes to the
    /// record overlapped one another.
    pub fn before_read(&self, record: u64) -> Seen {
        let Some(shard) = self.shard(record) else {
            return Seen { clock: None, version: 0, others: Vec::new() };
        };
        let shard = shard.lock();
        let clock = Some(shard.clock);
        match shard.contended.get(&record).map(Vec::as_slice) {
            Some([first, others @ ..]) => {
                let others = others.iter().map(|write| write.version).collect();
                Seen { clock, version: first.version, others }
            }
            _ => Seen { clock, version: shard.last[place(record)], others: Vec::new() },
        }
    }

    /// Call it with the stamp that [`Workload::check_value`] gave for what the read returned.
    ///
    /// # Errors
    ///
    /// [`ValueFault::Stale`] when the value had been replaced before the read began.
    pub fn check_read(
        &self,
        record: u64,
        seen: &Seen,
        key: &[u8],
        stamp: Stamp,
    ) -> Result<(), ValueFault> {
        let (Some(clock), Some(found)) = (seen.clock, stamp.version) else { return Ok(()) };
        let found = found & self.version_mask;
        if found == seen.version || seen.others.contains(&found) {
            return Ok(());
        }
        let Some(shard) = self.shard(record) else { return Ok(()) };
        match shard.lock().is_newer(record, found, clock) {
            Some(true) => Ok(()),
            Some(false) => {
                Err(ValueFault::Stale { key: key_text(key), found, expected: seen.version })
            }
            None => {
                self.undecided.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Reads that were accepted because too much was written to the shard while they were under way.
    pub fn undecided(&self) -> u64 {
        self.undecided.load(Ordering::Relaxed)
    }

    fn shard(&self, record: u64) -> Option<&Mutex<Shard>> {
        (record < self.records).then(|| &self.shards[record as usize % SHARDS])
    }
}

/// Where a record stands within its shard.
fn place(record: u64) -> usize {
    record as usize / SHARDS
}

impl Shard {
    fn new(records: usize) -> Self {
        Self {
            clock: 0,
            last: vec![0; records],
            contended: HashMap::new(),
            under_way: Vec::new(),
            ring: Vec::new(),
        }
    }

    fn acknowledge(&mut self, record: u64, version: u64) {
        let same = |write: &UnderWay| write.record == record && write.version == version;
        let Some(index) = self.under_way.iter().position(same) else {
            debug_assert!(false, "version {version} of record {record} has not begun");
            return;
        };
        let began = self.under_way.swap_remove(index).began;
        self.clock += 1;
        let write = Acknowledged { record, version, number: self.clock };
        self.remember(write);
        let overlapped = self.under_way.iter().any(|other| other.record == record);
        // A candidate in `last` alone was acknowledged when no write was under way, so before this one
        // began. Those in `contended` go by their numbers.
        match self.contended.get_mut(&record) {
            Some(candidates) => {
                candidates.retain(|earlier| earlier.number > began);
                candidates.push(write);
                if candidates.len() == 1 && !overlapped {
                    self.contended.remove(&record);
                }
            }
            None if overlapped => {
                self.contended.insert(record, vec![write]);
            }
            None => {}
        }
        self.last[place(record)] = version;
    }

    fn remember(&mut self, write: Acknowledged) {
        if self.ring.len() < RING {
            self.ring.push(write);
        } else {
            self.ring[(write.number - 1) as usize % RING] = write;
        }
    }

    /// Whether a version was not acknowledged yet at `clock`; `None` if that is forgotten.
    fn is_newer(&self, record: u64, version: u64, clock: u64) -> Option<bool> {
        if self.under_way.iter().any(|write| write.record == record && write.version == version) {
            return Some(true);
        }
        let same = |write: &Acknowledged| write.record == record && write.version == version;
        if self.ring.iter().any(|write| write.number > clock && same(write)) {
            return Some(true);
        }
        (self.clock - clock <= RING as u64).then_some(false)
    }
}

/// The bits of a version that the values of a workload hold; none if versions cannot decide.
fn version_mask(spec: &WorkloadSpec) -> Option<u64> {
    let DataSpec::Ycsb(ycsb) = &spec.data else { return None };
    let shortest = match &ycsb.value {
        ValueSpec::Blob { bytes } => *bytes,
        ValueSpec::Fields { length, .. } if ycsb.write_all_fields => length.min(),
        ValueSpec::Fields { .. } => return None,
    };
    match shortest as usize {
        ..SHORT_STAMP_BYTES => None,
        SHORT_STAMP_BYTES..STAMP_BYTES => Some(u64::from(u32::MAX)),
        _ => Some(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a simulated client is doing; version 0 stands for a read.
    #[derive(Clone)]
    struct Client {
        record: u64,
        version: u64,
        /// A write that has reached the store.
        applied: bool,
        /// What a read noted, and what was written then and what was found.
        seen: Option<Seen>,
        began: usize,
        found: Option<u64>,
    }

    /// A write as the oracle knows it: when it began and when it was acknowledged.
    #[derive(Clone, Copy)]
    struct Write {
        record: u64,
        version: u64,
        began: usize,
        ended: usize,
    }

    const NEVER: usize = usize::MAX;

    /// The rule at the head of this file, word for word.
    fn is_stale(writes: &[Write], record: u64, found: u64, read_began: usize) -> bool {
        let of_record = || writes.iter().filter(move |write| write.record == record);
        // Version 0 was acknowledged before everything.
        let ended = of_record().find(|write| write.version == found).map(|write| write.ended);
        if ended.is_none() && found != 0 {
            return true;
        }
        let ended = ended.unwrap_or(0);
        of_record().any(|other| ended < other.began && other.ended < read_began)
    }

    /// Plays a history over a few records. `pick` says what a read finds, given the writes so far and
    /// what the store holds. Returns how many reads were stale by the rule; panics where the check
    /// disagrees with it.
    fn play(
        steps: &[(u8, u8)],
        records: &[u64],
        mut pick: impl FnMut(u8, &[Write], u64, u64) -> u64,
    ) -> usize {
        let table = LastWrites::over(1_000, u64::MAX);
        let mut store: HashMap<u64, u64> = HashMap::new();
        let mut writes: Vec<Write> = Vec::new();
        let mut clients: Vec<Option<Client>> = vec![None; 5];
        let mut stale = 0;
        for (now, &(who, choice)) in (1..).zip(steps) {
            let slot = &mut clients[who as usize % 5];
            let Some(client) = slot else {
                let record = records[choice as usize / 3 % records.len()];
                let version = if choice % 3 == 0 { 0 } else { 1 + writes.len() as u64 };
                let seen = (version == 0).then(|| table.before_read(record));
                if version > 0 {
                    table.before_write(record, version);
                    writes.push(Write { record, version, began: now, ended: NEVER });
                }
                *slot =
                    Some(Client { record, version, applied: false, seen, began: now, found: None });
                continue;
            };
            let record = client.record;
            if let Some(seen) = &client.seen {
                let Some(found) = client.found else {
                    let held = store.get(&record).copied().unwrap_or(0);
                    client.found = Some(pick(choice, &writes, record, held));
                    continue;
                };
                let stamp = Stamp { record: Some(record), version: Some(found) };
                let expected = is_stale(&writes, record, found, client.began);
                let checked = table.check_read(record, seen, b"key", stamp);
                assert_eq!(checked.is_err(), expected, "version {found}: {checked:?}");
                stale += usize::from(expected);
                *slot = None;
            } else if client.applied {
                table.after_write(record, client.version);
                writes[client.version as usize - 1].ended = now;
                *slot = None;
            } else {
                store.insert(record, client.version);
                client.applied = true;
            }
        }
        assert_eq!(table.undecided(), 0);
        stale
    }

    fn steps() -> impl Strategy<Value = Vec<(u8, u8)>> {
        proptest::collection::vec(any::<(u8, u8)>(), 0..600)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn a_store_that_takes_each_operation_at_one_moment_never_alarms(
            steps in steps(), two in any::<bool>(),
        ) {
            // The second record is in the same shard as the first.
            let records = if two { &[7, 7 + SHARDS as u64][..] } else { &[7][..] };
            prop_assert_eq!(play(&steps, records, |_, _, _, held| held), 0);
        }

        #[test]
        fn every_read_is_judged_as_the_rule_says(steps in steps()) {
            // Reads find any version that was ever written, mostly a recent one.
            play(&steps, &[3, 3 + SHARDS as u64], |choice, writes, record, held| {
                let own: Vec<_> = writes.iter().filter(|write| write.record == record).collect();
                let back = choice as usize % 8;
                match own.len().checked_sub(1 + back) {
                    _ if choice > 200 => held,
                    Some(index) => own[index].version,
                    None => 0,
                }
            });
        }
    }

    fn stamp(version: u64) -> Stamp {
        Stamp { record: None, version: Some(version) }
    }

    /// Writes a record and acknowledges it at once.
    fn write(table: &LastWrites, record: u64, version: u64) {
        table.before_write(record, version);
        table.after_write(record, version);
    }

    #[test]
    fn a_read_that_goes_back_names_what_was_acknowledged() {
        let table = LastWrites::over(10, u64::MAX);
        write(&table, 4, 65);
        write(&table, 4, 2);
        let seen = table.before_read(4);
        table.check_read(4, &seen, b"k", stamp(2)).unwrap();
        for stale in [0, 65, 1_000] {
            let fault = table.check_read(4, &seen, b"k", stamp(stale)).unwrap_err();
            let expected = ValueFault::Stale { key: "k".into(), found: stale, expected: 2 };
            assert_eq!(fault, expected);
        }
    }

    #[test]
    fn writes_that_overlap_may_be_found_in_any_order_until_the_next() {
        let table = LastWrites::over(10, u64::MAX);
        table.before_write(4, 1);
        table.before_write(4, 2);
        table.after_write(4, 1);
        table.after_write(4, 2);
        let seen = table.before_read(4);
        for version in [1, 2] {
            table.check_read(4, &seen, b"k", stamp(version)).unwrap();
        }
        assert!(table.check_read(4, &seen, b"k", stamp(0)).is_err());
        write(&table, 4, 3);
        assert!(table.shards.iter().all(|shard| shard.lock().contended.is_empty()));
        let seen = table.before_read(4);
        for stale in [1, 2] {
            assert!(table.check_read(4, &seen, b"k", stamp(stale)).is_err());
        }
    }

    #[test]
    fn a_write_that_failed_may_be_found_for_ever() {
        let table = LastWrites::over(10, u64::MAX);
        table.before_write(4, 1);
        write(&table, 4, 2);
        write(&table, 4, 3);
        let seen = table.before_read(4);
        for (version, accepted) in [(1, true), (2, false), (3, true)] {
            assert_eq!(table.check_read(4, &seen, b"k", stamp(version)).is_ok(), accepted);
        }
    }

    #[test]
    fn what_the_ring_has_forgotten_is_accepted_and_counted() {
        let table = LastWrites::over(10, u64::MAX);
        write(&table, 4, 1);
        let seen = table.before_read(4);
        for version in 2..2 + RING as u64 {
            write(&table, 4, version);
        }
        // All acknowledgements since the read began are still known: version 0 is none of them.
        assert!(table.check_read(4, &seen, b"k", stamp(0)).is_err());
        table.check_read(4, &seen, b"k", stamp(2)).unwrap();
        write(&table, 4, 1_000);
        table.check_read(4, &seen, b"k", stamp(2)).unwrap();
        assert_eq!(table.undecided(), 1);
    }

    #[test]
    fn short_values_are_compared_by_the_bits_that_they_hold() {
        let table = LastWrites::over(10, u64::from(u32::MAX));
        write(&table, 4, (9 << 32) | 5);
        let seen = table.before_read(4);
        table.check_read(4, &seen, b"k", stamp(5)).unwrap();
        assert!(table.check_read(4, &seen, b"k", stamp(6)).is_err());
    }

    #[test]
    fn inserted_records_and_values_without_a_version_pass() {
        let table = LastWrites::over(10, u64::MAX);
        write(&table, 10, 5);
        let seen = table.before_read(10);
        table.check_read(10, &seen, b"k", stamp(77)).unwrap();
        let seen = table.before_read(3);
        table.check_read(3, &seen, b"k", Stamp::default()).unwrap();
    }

    #[test]
    fn threads_on_a_few_hot_records_never_raise_a_false_alarm() {
        let table = LastWrites::over(4, u64::MAX);
        let store: Vec<_> = (0..4).map(|_| AtomicU64::new(0)).collect();
        let slot = |record: u64| &store[record as usize];
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let table = &table;
                scope.spawn(move || {
                    for round in 0..20_000 {
                        let record = (round * 7 + thread) % 4;
                        if round % 2 == 0 {
                            let version = 1 + round * 4 + thread;
                            table.before_write(record, version);
                            slot(record).store(version, Ordering::SeqCst);
                            table.after_write(record, version);
                        } else {
                            let seen = table.before_read(record);
                            let found = slot(record).load(Ordering::SeqCst);
                            table.check_read(record, &seen, b"k", stamp(found)).unwrap();
                        }
                    }
                });
            }
        });
    }
}
