//! The stream of a YCSB workload.
//!
//! Stream *s* of *S* streams sees the loaded records and its own acknowledged inserts; its *i*-th
//! insert is record `records` + *i*·*S* + *s*. An insert carries version 0, a change the version
//! 1 + *c*·*S* + *s* for the stream's *c*-th change, so that a version names its write. An insert that
//! was not acknowledged is tried again with the same record when the next insert is due.

use std::sync::Arc;

use crate::chooser::Chooser;
use crate::keys::KeyBuffer;
use crate::operation::{Change, Operation, OperationKind};
use crate::random::Random;
use crate::values::Owner;
use crate::workload::{Resolved, YcsbData};

#[derive(Debug, Clone)]
pub(crate) struct YcsbStream {
    resolved: Arc<Resolved>,
    random: Random,
    chooser: Chooser,
    index: u64,
    streams: u64,
    records: u64,
    inserted: u64,
    insert_pending: bool,
    changes: u64,
    key: KeyBuffer,
    value: Vec<u8>,
    record: u64,
    version: u64,
}

impl YcsbStream {
    pub(crate) fn new(resolved: Arc<Resolved>, data: &YcsbData, seed: u64, index: u32) -> Self {
        Self {
            random: Random::new(seed, "operations", u64::from(index)),
            chooser: data.chooser.clone().for_stream(index),
            index: u64::from(index),
            streams: u64::from(resolved.spec.streams),
            records: resolved.spec.records,
            inserted: 0,
            insert_pending: false,
            changes: 0,
            key: data.keys.buffer(),
            value: Vec::with_capacity(resolved.spec.value_bytes_max() as usize),
            record: 0,
            version: 0,
            resolved,
        }
    }

    #[inline]
    pub(crate) fn next(&mut self, data: &YcsbData) -> Operation<'_> {
        self.inserted += u64::from(self.insert_pending);
        self.insert_pending = false;
        match self.resolved.mix.draw(&mut self.random) {
            OperationKind::Update => {
                let (key, change) = self.change(data);
                Operation::Update { key, change }
            }
            OperationKind::ReadModifyWrite => {
                let (key, change) = self.change(data);
                Operation::ReadModifyWrite { key, change }
            }
            OperationKind::Insert => self.insert(data),
            OperationKind::Scan => {
                self.pick(data);
                let limit = data.scan_length.draw(self.random.bits()) as usize;
                Operation::Scan { start: self.key.as_slice(), limit }
            }
            _ => {
                self.pick(data);
                Operation::Read { key: self.key.as_slice() }
            }
        }
    }

    /// Picks a record and builds its key; returns the number in the key.
    #[inline]
    fn pick(&mut self, data: &YcsbData) -> u64 {
        let item = self.chooser.pick(&mut self.random, self.records + self.inserted);
        self.record = if item < self.records { item } else { self.insert_of(item - self.records) };
        let number = data.keys.number_of(self.record);
        data.keys.write(number, &mut self.key);
        number
    }

    #[inline]
    fn change(&mut self, data: &YcsbData) -> (&[u8], Change<'_>) {
        let number = self.pick(data);
        self.version = 1 + self.changes * self.streams + self.index;
        self.changes += 1;
        let fields = if data.write_all_fields { 0 } else { data.values.fields() };
        let change = if fields == 0 {
            data.values.write(self.record, number, self.version, &mut self.value);
            Change::Whole(&self.value)
        } else {
            let field = self.random.below(u64::from(fields)) as u32;
            let owner = Owner { record: self.record, number, field };
            data.values.write_field(owner, self.version, &mut self.value);
            Change::Field { index: field, bytes: &self.value }
        };
        (self.key.as_slice(), change)
    }

    fn insert(&mut self, data: &YcsbData) -> Operation<'_> {
        self.insert_pending = true;
        self.record = self.insert_of(self.inserted);
        self.version = 0;
        let number = data.keys.number_of(self.record);
        data.keys.write(number, &mut self.key);
        data.values.write(self.record, number, 0, &mut self.value);
        Operation::Insert { key: self.key.as_slice(), value: &self.value }
    }

    /// The record of the stream's `i`-th insert.
    #[inline]
    pub(crate) fn insert_of(&self, i: u64) -> u64 {
        self.records + i * self.streams + self.index
    }

    pub(crate) fn failed(&mut self) {
        self.insert_pending = false;
    }

    pub(crate) fn inserted(&self) -> u64 {
        self.inserted + u64::from(self.insert_pending)
    }

    pub(crate) fn record(&self) -> u64 {
        self.record
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }
}
