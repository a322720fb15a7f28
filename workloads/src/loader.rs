//! The records to load, one after another.

use crate::keys::KeyBuffer;
use crate::workload::{Data, Workload};

/// Gives the records of one part of a load, in ascending record number. With hashed keys that is a
/// random order of keys, as YCSB loads them; points of time series come step by step.
#[derive(Debug)]
pub struct Loader {
    workload: Workload,
    record: u64,
    parts: u64,
    /// The key of YCSB records; built in place.
    buffer: Option<KeyBuffer>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Loader {
    pub(crate) fn new(workload: Workload, part: u32, parts: u32) -> Self {
        let buffer = match workload.data() {
            Data::Ycsb(data) => Some(data.keys.buffer()),
            Data::Series(_) => None,
        };
        Self {
            record: u64::from(part),
            parts: u64::from(parts),
            buffer,
            key: Vec::new(),
            value: Vec::new(),
            workload,
        }
    }

    /// The next key and value, or `None` after the last. Lent from buffers: nothing is allocated
    /// after the first record.
    #[allow(clippy::should_implement_trait, reason = "it lends, which an iterator cannot")]
    pub fn next(&mut self) -> Option<(&[u8], &[u8])> {
        if self.record >= self.workload.record_count() {
            return None;
        }
        let record = self.record;
        self.record += self.parts;
        if let (Data::Ycsb(data), Some(buffer)) = (self.workload.data(), &mut self.buffer) {
            let number = data.keys.number_of(record);
            data.keys.write(number, buffer);
            data.values.write(record, number, 0, &mut self.value);
            return Some((buffer.as_slice(), &self.value));
        }
        self.workload.key_of(record, &mut self.key);
        self.workload.value_of(record, 0, &mut self.value);
        Some((&self.key, &self.value))
    }

    /// How many records are still to come.
    pub fn remaining(&self) -> u64 {
        self.workload.record_count().saturating_sub(self.record).div_ceil(self.parts)
    }
}
