//! Reads of keys that are not there: whatever is inserted, they never will be.

use std::collections::HashSet;
use std::path::Path;

use kvdyno_workloads::{Operation, OperationKind, OperationStream, Workload, WorkloadSpec};

use crate::support::{apply, builtin, load};

const TURNS: usize = 400;

/// A workload that loads and inserts about as many records, and reads absent keys in between.
fn growing(order: &str, requests: &str, more: &str) -> Workload {
    let text = format!(
        "recordcount=3000\noperationcount=9000\nreadproportion=0.2\nupdateproportion=0\n\
         insertproportion=0.4\nreadabsentproportion=0.4\ninsertorder={order}\n\
         requestdistribution={requests}\nfieldcount=1\nfieldlength=8\n{more}"
    );
    let (spec, _) = WorkloadSpec::from_properties("growing", Path::new("growing"), &text).unwrap();
    Workload::new(spec, 12).unwrap()
}

fn streams(workload: &Workload) -> Vec<OperationStream> {
    (0..workload.spec().streams).map(|index| workload.stream(index)).collect()
}

#[test]
fn a_key_that_was_asked_for_as_absent_is_never_inserted() {
    let more = ["", "insertcounter=shared", "zeropadding=12", "insertstart=500\ninsertcount=2000"];
    for order in ["hashed", "ordered"] {
        for requests in ["uniform", "latest", "zipfian", "sequential"] {
            for more in more {
                let workload = growing(order, requests, more);
                let mut store = load(&workload);
                let loaded = store.len();
                let mut streams = streams(&workload);
                let mut asked = HashSet::new();
                for _ in 0..TURNS {
                    for stream in &mut streams {
                        let operation = stream.next();
                        if let Operation::ReadAbsent { key } = operation {
                            asked.insert(key.to_vec());
                        }
                        apply(&mut store, &workload, operation);
                        stream.acknowledge();
                    }
                }
                assert!(store.len() > 3 * loaded, "{} records", store.len());
                assert!(asked.len() > 100, "{} keys", asked.len());
                let found = asked.iter().find(|key| store.contains_key(*key));
                assert_eq!(found, None, "{order} {requests} {more}");
            }
        }
    }
}

#[test]
fn absent_keys_lie_between_those_that_are_there() {
    for order in ["hashed", "ordered"] {
        let workload = growing(order, "uniform", "zeropadding=8");
        let store = load(&workload);
        let (first, last) = (store.keys().next().unwrap(), store.keys().next_back().unwrap());
        let mut tenths = [0; 10];
        let (mut key, mut total) = (Vec::new(), 0);
        for record in 0..workload.record_count() {
            assert!(workload.absent_key_of(record, &mut key));
            assert!(!store.contains_key(&key));
            if first < &key && &key < last {
                let below = store.range(..key.clone()).count();
                tenths[below * 10 / store.len()] += 1;
                total += 1;
            }
        }
        assert!(total >= 2_980, "{order}: {total} of 3000 lie among the keys");
        assert!(tenths.iter().all(|tenth| (220..=380).contains(tenth)), "{order}: {tenths:?}");
    }
}

#[test]
fn the_built_in_workload_asks_for_absent_keys_alone_and_for_all_alike() {
    let workload = Workload::new(builtin("absent", 500), 3).unwrap();
    let store = load(&workload);
    let mut asked = HashSet::new();
    for stream in &mut streams(&workload) {
        for _ in 0..200 {
            let Operation::ReadAbsent { key } = stream.next() else { panic!("absent keys only") };
            assert!(!store.contains_key(key));
            asked.insert(key.to_vec());
        }
        assert_eq!(stream.inserted(), 0);
    }
    assert_eq!(asked.len(), 500, "one beside each record");
    assert_eq!(workload.spec().operation_kinds(), [OperationKind::ReadAbsent]);
    assert!(!OperationKind::ReadAbsent.writes());
}

#[test]
fn time_series_have_no_absent_keys() {
    let workload = Workload::new(builtin("ts-mixed", 64_000), 3).unwrap();
    let mut key = vec![1];
    assert!(!workload.absent_key_of(0, &mut key) && key.is_empty());
    let mut spec = builtin("ts-mixed", 64_000);
    spec.mix = vec![(OperationKind::ReadAbsent, 1.0)];
    let error = spec.validate().unwrap_err().to_string();
    assert!(error.contains("mix: read_absent does not go with this kind of data"), "{error}");
}
