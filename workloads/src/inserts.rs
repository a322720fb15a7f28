//! Which records of a YCSB workload a stream inserts, deletes, and may pick.
//!
//! - [`OwnInserts`], the normal case: of *S* streams, stream *s* inserts the records `records` +
//!   *i*·*S* + *s* for *i* = 0, 1, 2, … It deletes the oldest of them that it has not deleted yet, and
//!   picks among the loaded records and those of its inserts that live. Nobody else touches its
//!   inserts, so it knows at any time which of them are there.
//! - Where records with expiry are inserted, there are 2·*S* shares instead: the upper *S* are for
//!   those, which nothing picks.
//! - [`SharedInserts`]: all streams take the next number from one [`SharedCounter`], and pick among all
//!   that is acknowledged.
//!
//! An insert or delete that was not acknowledged is tried again when the next one is due. In between
//! its record may be there or not, and is not picked.

use std::fmt::Debug;
use std::sync::Arc;

use crate::shared_counter::SharedCounter;
use crate::spec::WorkloadSpec;

/// Whether a record should be found, as far as the stream that owns it can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its write is acknowledged: it must be found.
    Present,
    /// Its removal is acknowledged, or it was never written: it must not be found.
    Absent,
    /// It may be found or not: its last write or removal was not acknowledged, or it expires. If it is
    /// found, its value must be whole.
    Unknown,
}

/// The records that a stream has inserted, and those that it sees.
pub(crate) trait Inserts: Clone + Debug {
    /// How many items can be picked: the loaded records and what is visible of the inserted ones.
    fn visible(&self) -> u64;

    /// The record number of an item below [`visible`](Self::visible).
    fn record_of_item(&self, item: u64) -> u64;

    /// The record of an insert that is issued now.
    fn insert(&mut self) -> u64;

    /// The record of an insert with expiry that is issued now.
    fn insert_expiring(&mut self) -> u64;

    /// The record of a delete that is issued now; `None` when there is none to delete.
    fn delete(&mut self) -> Option<u64>;

    /// The records that this stream has inserted and not deleted, those with expiry apart; what is under
    /// way counts as done.
    fn live(&self) -> impl Iterator<Item = u64>;

    /// What was issued last is acknowledged. Does nothing when nothing is under way.
    fn acknowledge(&mut self);

    /// What was issued last is not acknowledged.
    fn fail(&mut self);
}

/// A change that is issued and not yet acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    None,
    Insert,
    Expiring,
    Delete,
}

/// The inserts of one stream into its own share of the key space.
#[derive(Debug, Clone)]
pub(crate) struct OwnInserts {
    records: u64,
    index: u64,
    streams: u64,
    /// Shares that the record numbers behind the loaded ones are dealt to.
    shares: u64,
    /// Inserts acknowledged.
    inserted: u64,
    /// Deletes acknowledged.
    deleted: u64,
    /// The first insert that may be picked: `deleted`, or one more while a delete is in doubt.
    first_live: u64,
    /// Inserts that are never deleted from.
    kept: u64,
    /// Inserts with expiry that are acknowledged.
    expiring: u64,
    pending: Pending,
}

impl OwnInserts {
    pub(crate) fn new(spec: &WorkloadSpec, index: u32, expires: bool) -> Self {
        let streams = u64::from(spec.streams);
        Self {
            records: spec.records,
            index: u64::from(index),
            streams,
            shares: if expires { 2 * streams } else { streams },
            inserted: 0,
            deleted: 0,
            first_live: 0,
            kept: spec.kept_inserts_per_stream(),
            expiring: 0,
            pending: Pending::None,
        }
    }

    /// The record of the stream's `i`-th insert.
    #[inline]
    pub(crate) fn record_of(&self, i: u64) -> u64 {
        self.records + i * self.shares + self.index
    }

    /// The record of the stream's `i`-th insert with expiry.
    pub(crate) fn expiring_record_of(&self, i: u64) -> u64 {
        self.record_of(i) + self.streams
    }

    /// Inserts acknowledged, counting one under way.
    pub(crate) fn inserted(&self) -> u64 {
        self.inserted + u64::from(self.pending == Pending::Insert)
    }

    /// Deletes acknowledged, counting one under way.
    pub(crate) fn deleted(&self) -> u64 {
        self.deleted + u64::from(self.pending == Pending::Delete)
    }

    /// Inserts with expiry acknowledged, counting one under way.
    pub(crate) fn expiring(&self) -> u64 {
        self.expiring + u64::from(self.pending == Pending::Expiring)
    }

    /// What became of a record that is loaded or in this stream's share.
    pub(crate) fn fate(&self, record: u64) -> Fate {
        let Some(behind) = record.checked_sub(self.records) else { return Fate::Present };
        let (i, share) = (behind / self.shares, behind % self.shares);
        if share != self.index {
            return Fate::Unknown;
        }
        if i < self.deleted() {
            Fate::Absent
        } else if i < self.first_live || i == self.inserted() {
            Fate::Unknown
        } else if i < self.inserted() {
            Fate::Present
        } else {
            Fate::Absent
        }
    }
}

impl Inserts for OwnInserts {
    #[inline]
    fn visible(&self) -> u64 {
        self.records + self.inserted - self.first_live
    }

    #[inline]
    fn record_of_item(&self, item: u64) -> u64 {
        if item < self.records {
            item
        } else {
            self.record_of(item - self.records + self.first_live)
        }
    }

    fn insert(&mut self) -> u64 {
        self.pending = Pending::Insert;
        self.record_of(self.inserted)
    }

    fn insert_expiring(&mut self) -> u64 {
        self.pending = Pending::Expiring;
        self.expiring_record_of(self.expiring)
    }

    fn delete(&mut self) -> Option<u64> {
        if self.inserted - self.deleted <= self.kept {
            return None;
        }
        self.pending = Pending::Delete;
        self.first_live = self.deleted + 1;
        Some(self.record_of(self.deleted))
    }

    fn live(&self) -> impl Iterator<Item = u64> {
        (self.deleted()..self.inserted()).map(|i| self.record_of(i))
    }

    #[inline]
    fn acknowledge(&mut self) {
        match self.pending {
            Pending::None => return,
            Pending::Insert => self.inserted += 1,
            Pending::Expiring => self.expiring += 1,
            Pending::Delete => self.deleted += 1,
        }
        self.pending = Pending::None;
    }

    fn fail(&mut self) {
        self.pending = Pending::None;
    }
}

/// The inserts of one stream with numbers from a counter that all streams share.
#[derive(Debug, Clone)]
pub(crate) struct SharedInserts {
    counter: Arc<SharedCounter>,
    /// Records that this stream has inserted and that are acknowledged, in their order.
    acknowledged: Vec<u64>,
    /// A number that is taken and not acknowledged.
    taken: Option<u64>,
    /// Whether the insert of that number is under way.
    pending: bool,
}

impl SharedInserts {
    pub(crate) fn new(counter: Arc<SharedCounter>) -> Self {
        Self { counter, acknowledged: Vec::new(), taken: None, pending: false }
    }

    /// Inserts acknowledged, counting one under way.
    pub(crate) fn inserted(&self) -> u64 {
        self.acknowledged.len() as u64 + u64::from(self.pending)
    }

    /// The record of the stream's `i`-th insert, of those that are made.
    pub(crate) fn record_of(&self, i: u64) -> u64 {
        self.acknowledged.get(i as usize).copied().or(self.taken).unwrap_or_else(|| {
            panic!("insert {i} of a stream with {}: the counter is shared", self.inserted())
        })
    }

    /// What became of a record that is loaded or was inserted by this stream; numbers are taken
    /// in ascending order, so it is found by bisection.
    pub(crate) fn fate(&self, record: u64) -> Fate {
        let own = self.acknowledged.binary_search(&record).is_ok();
        let under_way = self.pending && self.taken == Some(record);
        if record < self.counter.loaded() || own || under_way {
            Fate::Present
        } else {
            Fate::Unknown
        }
    }
}

impl Inserts for SharedInserts {
    #[inline]
    fn visible(&self) -> u64 {
        self.counter.limit()
    }

    #[inline]
    fn record_of_item(&self, item: u64) -> u64 {
        item
    }

    fn insert(&mut self) -> u64 {
        self.pending = true;
        *self.taken.get_or_insert_with(|| self.counter.take())
    }

    fn insert_expiring(&mut self) -> u64 {
        unreachable!("a spec with a shared counter and expiry is refused")
    }

    fn delete(&mut self) -> Option<u64> {
        unreachable!("a spec with a shared counter and deletes is refused")
    }

    fn live(&self) -> impl Iterator<Item = u64> {
        (0..self.inserted()).map(|i| self.record_of(i))
    }

    fn acknowledge(&mut self) {
        if self.pending
            && let Some(record) = self.taken.take()
        {
            self.pending = false;
            self.counter.acknowledge(record);
            self.acknowledged.push(record);
        }
    }

    fn fail(&mut self) {
        self.pending = false;
    }
}
