//! Digests: whether two workloads load the same records, are the same, and issue the same operations.
//!
//! All are XXH3-128, as 32 hex digits, over a word for the purpose and what is to be compared.

use serde::Serialize;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::operation::{Change, Operation};
use crate::spec::{
    DataSpec, InsertCounter, KeySpec, LengthDistribution, SeriesSpec, WorkloadSpec, YcsbSpec,
};
use crate::workload::Workload;

impl WorkloadSpec {
    /// Identifies what is run: a hash over every field but the name and the description, as 32 hex
    /// digits. The order of the mix and the scale of its weights do not matter.
    pub fn digest(&self) -> String {
        let spec = Self {
            name: String::new(),
            description: String::new(),
            mix: self.normalised_mix(),
            ..self.clone()
        };
        digest_of("kvdyno-workload/1", &spec)
    }

    /// Identifies what is loaded: two workloads with the same dataset digest load the same bytes
    /// under the same keys, so that one loaded store serves both. 32 hex digits.
    pub fn dataset_digest(&self, seed: u64) -> String {
        let data = match &self.data {
            DataSpec::Ycsb(ycsb) => {
                // What decides only the measured phase is put to its default.
                let zero_padding = ycsb.key.zero_padding.max(1);
                let key = KeySpec { zero_padding, insert_skip: 0, ..ycsb.key };
                DataSpec::Ycsb(YcsbSpec { key, write_all_fields: false, ..ycsb.clone() })
            }
            DataSpec::TimeSeries(series) => DataSpec::TimeSeries(SeriesSpec {
                late_share: 0.0,
                late_steps_max: 0,
                window_points: LengthDistribution::Constant { value: 0 },
                window_recent_share: 0.0,
                retention_points: None,
                ..series.clone()
            }),
        };
        digest_of("kvdyno-dataset/1", &(seed, self.records, data))
    }
}

/// A hash over the JSON form of `content`, which has its fields in the order of declaration and
/// prints floating point numbers the same everywhere.
fn digest_of(purpose: &str, content: &impl Serialize) -> String {
    let json = serde_json::to_string(&(purpose, content)).unwrap_or_default();
    format!("{:032x}", xxh3_128(json.as_bytes()))
}

/// A hash over the first `operations` operations of each stream, stream after stream; `None` when the
/// operations depend on timing.
pub(crate) fn digest_streams(workload: &Workload, operations: u64) -> Option<String> {
    if workload.spec().insert_counter == InsertCounter::Shared {
        return None;
    }
    let mut hash = Xxh3::new();
    hash.update(b"kvdyno-operations/1");
    for index in 0..workload.spec().streams {
        let mut stream = workload.stream(index);
        hash.update(&index.to_le_bytes());
        for _ in 0..operations {
            add_operation(&mut hash, &stream.next());
        }
    }
    Some(format!("{:032x}", hash.digest128()))
}

/// Each part goes in behind its length, so that no two operations give the same bytes.
fn add_operation(hash: &mut Xxh3, operation: &Operation<'_>) {
    add(hash, operation.kind().name().as_bytes());
    match *operation {
        Operation::Read { key } | Operation::ReadAbsent { key } | Operation::Delete { key } => {
            add(hash, key);
        }
        Operation::MultiGet { keys } => {
            add(hash, &(keys.len() as u64).to_le_bytes());
            for key in keys.iter() {
                add(hash, key);
            }
        }
        Operation::InsertExpiring { key, value, ttl } => {
            add(hash, key);
            add(hash, value);
            add(hash, &ttl.as_nanos().to_le_bytes());
        }
        Operation::Insert { key, value } => {
            add(hash, key);
            add(hash, value);
        }
        Operation::Update { key, change } | Operation::ReadModifyWrite { key, change } => {
            add(hash, key);
            match change {
                Change::Whole(value) => add(hash, value),
                Change::Field { index, bytes } => {
                    add(hash, &index.to_le_bytes());
                    add(hash, bytes);
                }
            }
        }
        Operation::Scan { start, limit } | Operation::ScanReverse { start, limit } => {
            add(hash, start);
            add(hash, &(limit as u64).to_le_bytes());
        }
        Operation::Latest { first, start } => {
            add(hash, first);
            add(hash, start);
        }
        Operation::Window { start, end } | Operation::DeleteRange { start, end } => {
            add(hash, start);
            add(hash, end);
        }
    }
}

fn add(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::OperationKind;

    fn builtin(name: &str) -> WorkloadSpec {
        WorkloadSpec::builtin(name).unwrap()
    }

    #[test]
    fn dataset_digests_agree_where_the_loaded_bytes_do() {
        let a = builtin("ycsb-a");
        for name in ["ycsb-b", "ycsb-c", "ycsb-d", "ycsb-e", "ycsb-f"] {
            assert_eq!(a.dataset_digest(1), builtin(name).dataset_digest(1), "{name}");
        }
        assert_ne!(a.dataset_digest(1), a.dataset_digest(2));
        assert_ne!(a.dataset_digest(1), builtin("ts-mixed").dataset_digest(1));
        let mut other = a.clone();
        other.records += 1;
        assert_ne!(a.dataset_digest(1), other.dataset_digest(1));
        let mut other = a.clone();
        other.set_value_bytes(100).unwrap();
        assert_ne!(a.dataset_digest(1), other.dataset_digest(1));
    }

    #[test]
    fn digest_ignores_names_and_the_scale_of_weights_only() {
        let a = builtin("ycsb-a");
        let mut same = a.clone();
        same.name = "mine".into();
        same.description = String::new();
        same.mix = vec![(OperationKind::Update, 7.0), (OperationKind::Read, 7.0)];
        assert_eq!(a.digest(), same.digest());
        let mut other = a.clone();
        other.streams = 8;
        assert_ne!(a.digest(), other.digest());
        assert_ne!(a.digest(), builtin("ycsb-b").digest());
    }
}
