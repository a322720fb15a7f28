//! Inserts from one counter that all streams share, as YCSB has it.

use std::collections::HashSet;
use std::path::Path;

use kvdyno_workloads::{Fate, InsertCounter, Operation, OperationKind, Workload, WorkloadSpec};

use crate::support::{apply, builtin, check_fates, load, own_records};

fn shared(records: u64) -> Workload {
    let mut spec = builtin("ycsb-d", records);
    spec.mix = vec![(OperationKind::Read, 0.5), (OperationKind::Insert, 0.5)];
    spec.streams = 8;
    spec.insert_counter = InsertCounter::Shared;
    Workload::new(spec, 4).unwrap()
}

#[test]
fn streams_insert_consecutive_records_and_read_those_of_others() {
    let workload = shared(100);
    let mut store = load(&workload);
    let mut streams: Vec<_> = (0..8).map(|index| workload.stream(index)).collect();
    let (mut next, mut of_others) = (100, 0);
    for _ in 0..500 {
        for stream in &mut streams {
            stream.advance();
            let (record, operation) = (stream.last_record(), stream.operation());
            if operation.kind() == OperationKind::Insert {
                assert_eq!(record, next);
                next += 1;
            } else if record >= 100 {
                of_others += u64::from(stream.fate(record) == Fate::Unknown);
            }
            apply(&mut store, &workload, operation);
            stream.acknowledge();
        }
    }
    assert!(of_others > 500, "{of_others} reads of what another stream inserted");
    assert_eq!(store.len() as u64, next);
    let loaded = (0..100).map(|record| (record, Fate::Present));
    check_fates(&store, &workload, loaded.chain(own_records(&streams)));
}

#[test]
fn what_is_not_acknowledged_is_not_picked_and_is_tried_again() {
    let workload = shared(100);
    let mut streams: Vec<_> = (0..2).map(|index| workload.stream(index)).collect();
    let insert = |stream: &mut kvdyno_workloads::OperationStream| {
        while stream.next().kind() != OperationKind::Insert {}
        stream.last_record()
    };
    let first = insert(&mut streams[0]);
    streams[0].failed();
    for _ in 0..50 {
        insert(&mut streams[1]);
    }
    // All behind the first number wait for it.
    for _ in 0..500 {
        if let Operation::Read { .. } = streams[1].next() {
            assert!(streams[1].last_record() < 100, "{}", streams[1].last_record());
        }
    }
    assert_eq!(insert(&mut streams[0]), first);
    streams[0].acknowledge();
    let mut newest = 0;
    for _ in 0..500 {
        if let Operation::Read { .. } = streams[0].next() {
            newest = newest.max(streams[0].last_record());
        }
        streams[0].acknowledge();
    }
    assert!(newest > 100 + 50, "{newest}");
}

#[test]
fn threads_read_only_what_is_acknowledged() {
    let workload = shared(50);
    let store = std::sync::RwLock::new(load(&workload));
    let inserted = std::sync::Mutex::new(HashSet::new());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (workload, store, inserted) = (&workload, &store, &inserted);
            scope.spawn(move || {
                let mut streams = [workload.stream(thread), workload.stream(thread + 4)];
                for turn in 0..4_000 {
                    let stream = &mut streams[turn / 32 % 2];
                    stream.advance();
                    match stream.operation() {
                        Operation::Read { key } => {
                            let store = store.read().unwrap();
                            workload.check_value(key, &store[key]).unwrap();
                        }
                        operation => {
                            apply(&mut store.write().unwrap(), workload, operation);
                            assert!(inserted.lock().unwrap().insert(stream.last_record()));
                        }
                    }
                    stream.acknowledge();
                }
            });
        }
    });
    let inserted = inserted.into_inner().unwrap().len();
    assert_eq!(store.into_inner().unwrap().len(), 50 + inserted);
}

#[test]
fn a_shared_counter_has_no_digest_and_comes_from_a_property() {
    assert_eq!(shared(100).digest(10), None);
    let read = |text: &str| WorkloadSpec::from_properties("mine", Path::new("mine"), text);
    let text = "recordcount=10\noperationcount=10\ninsertproportion=0.1\ninsertcounter=";
    let (spec, warnings) = read(&format!("{text}shared")).unwrap();
    assert_eq!((spec.insert_counter, warnings), (InsertCounter::Shared, vec![]));
    let (spec, _) = read(&format!("{text}stream")).unwrap();
    assert_eq!(spec.insert_counter, InsertCounter::PerStream);
    let error = read(&format!("{text}global")).unwrap_err().to_string();
    assert_eq!(error, "mine:4: insertcounter: expected one of stream, shared; found \"global\"");
    let json = serde_json::to_string(shared(100).spec()).unwrap();
    let back: WorkloadSpec = serde_json::from_str(&json).unwrap();
    assert_eq!(back, *shared(100).spec());
}
