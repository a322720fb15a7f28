//! The stream of a YCSB workload.
//!
//! What a stream inserts, deletes and picks among is decided by its [`Inserts`]. An insert carries
//! version 0; of *S* streams, stream *s* gives its *c*-th change the version 1 + *c*·*S* + *s*, so that
//! a version names its write.

use std::sync::Arc;

use crate::batch::KeyBatchBuffer;
use crate::chooser::Chooser;
use crate::inserts::Inserts;
use crate::keys::KeyBuffer;
use crate::operation::{Change, Operation, OperationKind};
use crate::random::Random;
use crate::values::Owner;
use crate::workload::{Resolved, YcsbData};

#[derive(Debug, Clone)]
pub(crate) struct YcsbStream<I> {
    resolved: Arc<Resolved>,
    random: Random,
    chooser: Chooser,
    index: u64,
    streams: u64,
    inserts: I,
    changes: u64,
    last: Last,
    key: KeyBuffer,
    value: Vec<u8>,
    batch: KeyBatchBuffer,
    record: u64,
    version: u64,
}

/// What the last operation is; its key and value are in the buffers.
#[derive(Debug, Clone, Copy)]
enum Last {
    Read,
    ReadAbsent,
    Update { field: Option<u32> },
    ReadModifyWrite { field: Option<u32> },
    Insert,
    InsertExpiring,
    Scan { limit: usize },
    ScanReverse { limit: usize },
    MultiGet,
    Delete,
}

impl<I: Inserts> YcsbStream<I> {
    pub(crate) fn new(
        resolved: Arc<Resolved>,
        data: &YcsbData,
        seed: u64,
        index: u32,
        inserts: I,
    ) -> Self {
        Self {
            random: Random::new(seed, "operations", u64::from(index)),
            chooser: data.chooser.clone().for_stream(index),
            index: u64::from(index),
            streams: u64::from(resolved.spec.streams),
            inserts,
            changes: 0,
            last: Last::Read,
            key: data.keys.buffer(),
            value: Vec::with_capacity(resolved.spec.value_bytes_max() as usize),
            batch: KeyBatchBuffer::default(),
            record: 0,
            version: 0,
            resolved,
        }
    }

    #[inline]
    pub(crate) fn advance(&mut self, data: &YcsbData) {
        self.inserts.acknowledge();
        self.last = match self.resolved.mix.draw(&mut self.random) {
            OperationKind::Update => Last::Update { field: self.change(data) },
            OperationKind::ReadModifyWrite => Last::ReadModifyWrite { field: self.change(data) },
            OperationKind::Insert => self.insert(data),
            OperationKind::Scan => Last::Scan { limit: self.scan(data) },
            OperationKind::ScanReverse => Last::ScanReverse { limit: self.scan(data) },
            OperationKind::MultiGet => self.multi_get(data),
            OperationKind::Delete => self.delete(data),
            OperationKind::InsertExpiring => self.insert_expiring(data),
            OperationKind::ReadAbsent => self.read_absent(data),
            _ => {
                self.pick(data);
                Last::Read
            }
        };
    }

    #[inline]
    pub(crate) fn operation(&self, data: &YcsbData) -> Operation<'_> {
        let (key, value) = (self.key.as_slice(), self.value.as_slice());
        match self.last {
            Last::Read => Operation::Read { key },
            Last::ReadAbsent => Operation::ReadAbsent { key },
            Last::Update { field } => Operation::Update { key, change: change_of(field, value) },
            Last::ReadModifyWrite { field } => {
                Operation::ReadModifyWrite { key, change: change_of(field, value) }
            }
            Last::Insert => Operation::Insert { key, value },
            Last::InsertExpiring => Operation::InsertExpiring { key, value, ttl: data.ttl },
            Last::Scan { limit } => Operation::Scan { start: key, limit },
            Last::ScanReverse { limit } => Operation::ScanReverse { start: key, limit },
            Last::MultiGet => Operation::MultiGet { keys: self.batch.lend() },
            Last::Delete => Operation::Delete { key },
        }
    }

    /// Picks a record.
    #[inline]
    fn choose(&mut self) {
        let item = self.chooser.pick(&mut self.random, self.inserts.visible());
        self.record = self.inserts.record_of_item(item);
    }

    /// Picks the record at which a scan begins, and builds its key; returns the most records to read.
    fn scan(&mut self, data: &YcsbData) -> usize {
        self.pick(data);
        data.scan_length.draw(self.random.bits()) as usize
    }

    /// Picks a record and builds its key; returns the number in the key.
    #[inline]
    fn pick(&mut self, data: &YcsbData) -> u64 {
        self.choose();
        self.write_key(data)
    }

    /// Builds the key of the record; returns the number in it.
    #[inline]
    fn write_key(&mut self, data: &YcsbData) -> u64 {
        let number = data.keys.number_of(self.record);
        data.keys.write(number, &mut self.key);
        number
    }

    /// Picks a record and writes its change into `value`; returns the field, unless all is changed.
    #[inline]
    fn change(&mut self, data: &YcsbData) -> Option<u32> {
        let number = self.pick(data);
        self.version = 1 + self.changes * self.streams + self.index;
        self.changes += 1;
        let fields = if data.write_all_fields { 0 } else { data.values.fields() };
        if fields == 0 {
            data.values.write(self.record, number, self.version, &mut self.value);
            return None;
        }
        let field = self.random.below(u64::from(fields)) as u32;
        let owner = Owner { record: self.record, number, field };
        data.values.write_field(owner, self.version, &mut self.value);
        Some(field)
    }

    /// A read of the absent key that stands beside the record that is picked, so that misses are spread
    /// as the other operations are.
    #[inline]
    fn read_absent(&mut self, data: &YcsbData) -> Last {
        self.choose();
        data.keys.write_absent(self.record, &mut self.key);
        Last::ReadAbsent
    }

    fn insert(&mut self, data: &YcsbData) -> Last {
        self.record = self.inserts.insert();
        self.write_record(data);
        Last::Insert
    }

    fn insert_expiring(&mut self, data: &YcsbData) -> Last {
        self.record = self.inserts.insert_expiring();
        self.write_record(data);
        Last::InsertExpiring
    }

    fn write_record(&mut self, data: &YcsbData) {
        self.version = 0;
        let number = self.write_key(data);
        data.values.write(self.record, number, 0, &mut self.value);
    }

    fn multi_get(&mut self, data: &YcsbData) -> Last {
        self.batch.clear();
        for _ in 0..data.multi_get_keys.draw(self.random.bits()) {
            self.pick(data);
            self.batch.push(self.record, self.key.as_slice());
        }
        Last::MultiGet
    }

    /// A delete, or an insert when there is nothing to delete.
    fn delete(&mut self, data: &YcsbData) -> Last {
        let Some(record) = self.inserts.delete() else { return self.insert(data) };
        self.record = record;
        self.write_key(data);
        Last::Delete
    }

    pub(crate) fn acknowledge(&mut self) {
        self.inserts.acknowledge();
    }

    pub(crate) fn failed(&mut self) {
        self.inserts.fail();
    }

    pub(crate) fn inserts(&self) -> &I {
        &self.inserts
    }

    pub(crate) fn record(&self) -> u64 {
        self.record
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Key and value bytes of the record that the last operation removed, as it was inserted.
    pub(crate) fn removed_bytes(&self, data: &YcsbData) -> u64 {
        let Last::Delete = self.last else { return 0 };
        let value = data.values.length(data.keys.number_of(self.record), 0);
        (self.key.as_slice().len() + value) as u64
    }

    /// Key and value bytes of the records that this stream has inserted and not deleted, as they were
    /// inserted. Linear in their number.
    pub(crate) fn live_bytes(&self, data: &YcsbData) -> u64 {
        let mut key = data.keys.buffer();
        let bytes_of = |record| {
            let number = data.keys.number_of(record);
            data.keys.write(number, &mut key);
            (key.as_slice().len() + data.values.length(number, 0)) as u64
        };
        self.inserts.live().map(bytes_of).sum()
    }
}

#[inline]
fn change_of(field: Option<u32>, bytes: &[u8]) -> Change<'_> {
    match field {
        None => Change::Whole(bytes),
        Some(index) => Change::Field { index, bytes },
    }
}
