//! A store that is a map, and small workloads to put into it.

use std::collections::BTreeMap;

use kvdyno_workloads::{Fate, Operation, OperationStream, Workload, WorkloadSpec};

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

/// Does an operation of a YCSB stream; every key must be there, but for those of inserts and of reads of absent ones.
pub(crate) fn apply(store: &mut Store, workload: &Workload, operation: Operation<'_>) {
    match operation {
        Operation::Read { key } => {
            workload.check_value(key, &store[key]).unwrap();
        }
        Operation::ReadAbsent { key } => {
            assert!(!store.contains_key(key), "{} is there", key.escape_ascii());
        }
        Operation::Insert { key, value } | Operation::InsertExpiring { key, value, .. } => {
            assert!(store.insert(key.to_vec(), value.to_vec()).is_none(), "inserted twice");
        }
        Operation::Update { key, change } | Operation::ReadModifyWrite { key, change } => {
            let value = store.get_mut(key).unwrap();
            change.apply(value).unwrap();
            workload.check_value(key, value).unwrap();
        }
        Operation::Scan { start, limit } | Operation::ScanReverse { start, limit } => {
            assert!(store.contains_key(start), "a scan starts at a record");
            assert!((1..=1000).contains(&limit));
        }
        Operation::MultiGet { keys } => {
            assert!(!keys.is_empty());
            for (key, &record) in keys.iter().zip(keys.records()) {
                let stamp = workload.check_value(key, &store[key]).unwrap();
                assert!(stamp.record.is_none_or(|found| found == record));
            }
        }
        Operation::Delete { key } => {
            assert!(store.remove(key).is_some(), "what is deleted was there");
        }
        other => panic!("not a YCSB operation: {other:?}"),
    }
}

/// All records that the streams have inserted, and what they say became of them.
pub(crate) fn own_records(streams: &[OperationStream]) -> Vec<(u64, Fate)> {
    let of_stream = |stream: &OperationStream| {
        let inserts = (0..stream.inserted()).map(|i| stream.inserted_record(i));
        let expiring = (0..stream.inserted_expiring()).filter_map(|i| stream.expiring_record(i));
        inserts.chain(expiring).map(|record| (record, stream.fate(record))).collect::<Vec<_>>()
    };
    streams.iter().flat_map(of_stream).collect()
}

/// The store holds the records that must be there, none that must not, and no others.
pub(crate) fn check_fates(
    store: &Store,
    workload: &Workload,
    records: impl IntoIterator<Item = (u64, Fate)>,
) {
    let mut key = Vec::new();
    let mut found = 0;
    for (record, fate) in records {
        workload.key_of(record, &mut key);
        let value = store.get(&key);
        found += usize::from(value.is_some());
        match fate {
            Fate::Present => assert!(value.is_some(), "record {record} is missing"),
            Fate::Absent => assert!(value.is_none(), "record {record} is still there"),
            Fate::Unknown => {}
        }
        if let Some(value) = value {
            workload.check_value(&key, value).unwrap();
        }
    }
    assert_eq!(found, store.len(), "each record of the store is somebody's");
}

/// Key and value bytes of a store.
pub(crate) fn bytes_of(store: &Store) -> i64 {
    store.iter().map(|(key, value)| (key.len() + value.len()) as i64).sum()
}
