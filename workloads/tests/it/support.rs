//! A store that is a map, and small workloads to put into it.

use std::collections::BTreeMap;

use kvdyno_workloads::{Operation, Workload, WorkloadSpec};

pub(crate) type Store = BTreeMap<Vec<u8>, Vec<u8>>;

/// A built-in workload with so many records.
pub(crate) fn builtin(name: &str, records: u64) -> WorkloadSpec {
    let mut spec = WorkloadSpec::builtin(name).unwrap();
    spec.records = records;
    spec
}

/// All records of a workload.
pub(crate) fn load(workload: &Workload) -> Store {
    let mut store = Store::new();
    let mut loader = workload.loader(0, 1);
    while let Some((key, value)) = loader.next() {
        assert!(store.insert(key.to_vec(), value.to_vec()).is_none(), "a record came twice");
    }
    store
}

/// Does an operation of a YCSB stream; every key but that of an insert must be there.
pub(crate) fn apply(store: &mut Store, workload: &Workload, operation: Operation<'_>) {
    match operation {
        Operation::Read { key } => {
            workload.check_value(key, &store[key]).unwrap();
        }
        Operation::Insert { key, value } => {
            assert!(store.insert(key.to_vec(), value.to_vec()).is_none(), "inserted twice");
        }
        Operation::Update { key, change } | Operation::ReadModifyWrite { key, change } => {
            let value = store.get_mut(key).unwrap();
            change.apply(value).unwrap();
            workload.check_value(key, value).unwrap();
        }
        Operation::Scan { start, limit } => {
            assert!(store.contains_key(start), "a scan starts at a record");
            assert!((1..=1000).contains(&limit));
        }
        other => panic!("not a YCSB operation: {other:?}"),
    }
}
