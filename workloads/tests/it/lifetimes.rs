//! Records that go again: deletes, expiry, range deletes. And several reads at once.

use std::collections::HashSet;
use std::time::Duration;

use kvdyno_workloads::{
    DataSpec, Fate, KeySlices, LengthDistribution, Operation, OperationKind, OperationStream,
    RequestDistribution, SeriesSpec, ValueFault, Workload,
};

use crate::support::{Store, apply, builtin, bytes_of, check_fates, load, own_records};

fn churn(records: u64, kept_inserts_share: f64) -> Workload {
    let mut spec = builtin("session-churn", records);
    spec.kept_inserts_share = kept_inserts_share;
    Workload::new(spec, 4).unwrap()
}

#[test]
fn deletes_take_the_oldest_insert_and_leave_the_kept_ones() {
    let workload = churn(6_400, 0.05);
    let mut stream = workload.stream(3);
    let mut store = load(&workload);
    let (mut oldest, mut key) = (0, Vec::new());
    for _ in 0..5_000 {
        stream.advance();
        let operation = stream.operation();
        if let Operation::Delete { key: deleted } = operation {
            workload.key_of(stream.inserted_record(oldest), &mut key);
            assert_eq!(deleted, key);
            assert_eq!(stream.removed_bytes(), (key.len() + store[&key].len()) as u64);
            oldest += 1;
            assert!(stream.inserted() - oldest >= 5, "5 of the 320 kept inserts are the stream's");
        } else {
            assert_eq!(stream.removed_bytes(), 0);
        }
        apply(&mut store, &workload, operation);
    }
    assert!(oldest > 500, "{oldest} deletes");
    let live = stream.inserted() - oldest;
    assert!(live < 200, "the size is about steady: {live} live inserts");
    assert_eq!(bytes_of(&load(&workload)) + stream.added_bytes(), bytes_of(&store));
    check_fates(
        &store,
        &workload,
        (0..6_400).map(|record| (record, Fate::Present)).chain(own_records(&[stream])),
    );
}

#[test]
fn deletes_alone_are_turned_into_inserts_where_nothing_lives() {
    let mut spec = builtin("session-churn", 100);
    spec.mix = vec![(OperationKind::Delete, 1.0)];
    spec.kept_inserts_share = 0.0;
    assert_eq!(spec.operation_kinds(), [OperationKind::Insert, OperationKind::Delete]);
    let workload = Workload::new(spec, 4).unwrap();
    let mut stream = workload.stream(0);
    for _ in 0..10 {
        assert_eq!(stream.next().kind(), OperationKind::Insert);
        assert_eq!(stream.next().kind(), OperationKind::Delete);
    }
}

#[test]
fn no_distribution_picks_what_is_deleted() {
    let distributions = [
        RequestDistribution::Uniform,
        RequestDistribution::Zipfian,
        RequestDistribution::Zipf { theta: 1.3 },
        RequestDistribution::Latest,
        RequestDistribution::Hotspot { data_fraction: 0.1, operation_fraction: 0.9 },
        RequestDistribution::Exponential { percentile: 95.0, fraction: 0.8 },
        RequestDistribution::Sequential,
    ];
    for distribution in distributions {
        let mut spec = builtin("session-churn", 10);
        spec.streams = 2;
        spec.request_distribution = distribution;
        spec.mix = vec![
            (OperationKind::Read, 0.3),
            (OperationKind::Update, 0.1),
            (OperationKind::MultiGet, 0.1),
            (OperationKind::Insert, 0.26),
            (OperationKind::Delete, 0.24),
        ];
        let workload = Workload::new(spec, 4).unwrap();
        let mut store = load(&workload);
        let mut streams = [workload.stream(0), workload.stream(1)];
        for _ in 0..3_000 {
            for stream in &mut streams {
                // Panics when a read, an update or a delete does not find its record.
                apply(&mut store, &workload, stream.next());
            }
        }
        assert!(store.len() < 1_000, "{} live", store.len());
    }
}

#[test]
fn a_delete_that_failed_leaves_its_record_in_doubt_until_it_is_tried_again() {
    for gone in [false, true] {
        let workload = churn(64, 0.0);
        let mut store = load(&workload);
        let mut stream = workload.stream(5);
        let (mut doubtful, mut failures) = (None, 0);
        for step in 0..4_000 {
            stream.advance();
            let operation = stream.operation();
            let record = stream.last_record();
            match operation {
                Operation::Delete { key } => {
                    assert!(doubtful.is_none_or(|doubtful| doubtful == record), "tried again");
                    if gone || step % 3 != 0 {
                        store.remove(key);
                    }
                    if step % 3 == 0 {
                        stream.failed();
                        failures += 1;
                        assert_eq!(stream.fate(record), Fate::Unknown);
                        doubtful = Some(record);
                    } else {
                        assert_eq!(stream.fate(record), Fate::Absent);
                        doubtful = None;
                    }
                }
                operation => {
                    assert_ne!(doubtful, Some(record), "in doubt, and picked");
                    apply(&mut store, &workload, operation);
                }
            }
        }
        assert!(failures > 100);
        check_fates(
            &store,
            &workload,
            (0..64).map(|record| (record, Fate::Present)).chain(own_records(&[stream])),
        );
    }
}

#[test]
fn expiring_records_are_written_once_and_never_touched_again() {
    let mut spec = builtin("session-expiry", 200);
    spec.ttl_ms = 1_500;
    spec.mix = vec![
        (OperationKind::Read, 0.3),
        (OperationKind::Insert, 0.3),
        (OperationKind::InsertExpiring, 0.4),
    ];
    spec.request_distribution = RequestDistribution::Latest;
    let workload = Workload::new(spec, 4).unwrap();
    let mut store = load(&workload);
    let mut streams: Vec<_> = (0..64).map(|index| workload.stream(index)).collect();
    let mut expiring = HashSet::new();
    for _ in 0..200 {
        for stream in &mut streams {
            stream.advance();
            let record = stream.last_record();
            if let Operation::InsertExpiring { ttl, .. } = stream.operation() {
                assert_eq!(ttl, Duration::from_millis(1_500));
                assert!(expiring.insert(record), "written twice");
                assert_eq!(stream.fate(record), Fate::Unknown, "it may be gone at any time");
            } else {
                assert!(!expiring.contains(&record), "{record} may have expired");
            }
            apply(&mut store, &workload, stream.operation());
        }
    }
    let told: HashSet<_> = streams
        .iter()
        .flat_map(|stream| {
            (0..stream.inserted_expiring()).filter_map(|i| stream.expiring_record(i))
        })
        .collect();
    assert_eq!(told, expiring);
    check_fates(
        &store,
        &workload,
        (0..200).map(|record| (record, Fate::Present)).chain(own_records(&streams)),
    );
}

#[test]
fn multi_gets_have_as_many_keys_as_the_spec_says() {
    let mut spec = builtin("multi-get", 1_000);
    spec.multi_get_keys = LengthDistribution::Uniform { min: 3, max: 9 };
    let workload = Workload::new(spec, 4).unwrap();
    let mut stream = workload.stream(0);
    let (mut lengths, mut slices) = (HashSet::new(), KeySlices::default());
    let mut key = Vec::new();
    for _ in 0..1_000 {
        if let Operation::MultiGet { keys } = stream.next() {
            lengths.insert(keys.len());
            slices.with(keys, |slices| {
                assert_eq!(slices.len(), keys.len());
                for (slice, &record) in slices.iter().zip(keys.records()) {
                    workload.key_of(record, &mut key);
                    assert_eq!(*slice, key);
                }
            });
        }
    }
    assert_eq!(lengths, (3..=9).collect());
}

fn retention(records: u64, change: impl FnOnce(&mut SeriesSpec)) -> Workload {
    let mut spec = builtin("ts-retention", records);
    spec.streams = 2;
    spec.mix = vec![
        (OperationKind::Insert, 0.7),
        (OperationKind::Latest, 0.1),
        (OperationKind::Window, 0.1),
        (OperationKind::DeleteRange, 0.1),
    ];
    let DataSpec::TimeSeries(series) = &mut spec.data else { panic!("time series expected") };
    series.series = 5;
    series.late_share = 0.1;
    series.late_steps_max = 9;
    change(series);
    Workload::new(spec, 6).unwrap()
}

/// Does an operation on the map; returns whether it was a range delete.
fn do_series(stream: &OperationStream, store: &mut Store) -> bool {
    match stream.operation() {
        Operation::Insert { key, value } => {
            store.insert(key.to_vec(), value.to_vec());
        }
        Operation::Latest { first, start } => {
            let mut range = store.range(first.to_vec()..=start.to_vec());
            let newest = range.next_back().map(|(key, value)| (key.as_slice(), value.as_slice()));
            stream.check_latest(newest).unwrap();
        }
        Operation::Window { start, end } => {
            let range = store.range(start.to_vec()..end.to_vec());
            let items = range.map(|(key, value)| (key.as_slice(), value.as_slice()));
            stream.check_window(start, end, items).unwrap();
        }
        Operation::DeleteRange { start, end } => {
            let before = store.len();
            store.retain(|key, _| key.as_slice() < start || key.as_slice() >= end);
            let points = (before - store.len()) as u64;
            assert!(points > 0, "a range delete removes something");
            assert_eq!(stream.removed_bytes(), points * (12 + 16));
            return true;
        }
        other => panic!("not a time-series operation: {other:?}"),
    }
    false
}

fn fates(workload: &Workload, streams: &[OperationStream]) -> Vec<(u64, Fate)> {
    let loaded = (0..workload.record_count()).map(|record| {
        let owner = workload.owner_of_loaded(record).unwrap();
        (record, streams[owner as usize].fate(record))
    });
    loaded.chain(own_records(streams)).collect()
}

#[test]
fn range_deletes_keep_the_newest_points_and_every_check_knows_it() {
    for (records, points) in [(300, Some(10)), (300, Some(40)), (300, None), (3, None), (52, None)]
    {
        let workload = retention(records, |series| series.retention_points = points);
        let kept = points.unwrap_or(records / 5).max(10) as usize;
        let mut store = load(&workload);
        let mut streams = [workload.stream(0), workload.stream(1)];
        let mut deletes = 0;
        for _ in 0..4_000 {
            for stream in &mut streams {
                stream.advance();
                deletes += usize::from(do_series(stream, &mut store));
            }
        }
        assert!(deletes > 100, "{deletes}");
        let added: i64 = streams.iter().map(OperationStream::added_bytes).sum();
        assert_eq!(bytes_of(&load(&workload)) + added, bytes_of(&store));
        check_fates(&store, &workload, fates(&workload, &streams));
        for series in 0..5u32 {
            let key = series.to_be_bytes();
            let points = store.keys().filter(|found| found.starts_with(&key)).count();
            // A few late points may be missing, and points go on arriving between two range deletes.
            assert!((kept - 9..kept + 200).contains(&points), "{points} of {kept}");
        }
    }
}

#[test]
fn points_that_come_back_are_found() {
    let workload = retention(300, |series| {
        series.retention_points = Some(20);
        series.window_points = LengthDistribution::Constant { value: 5_000 };
        series.window_recent_share = 1.0;
    });
    let mut store = load(&workload);
    let mut stream = workload.stream(1);
    let mut dropped = None;
    for _ in 0..2_000 {
        stream.advance();
        if let (Operation::Window { start, end }, Some(old)) = (stream.operation(), &dropped) {
            let (key, value): &(Vec<u8>, Vec<u8>) = old;
            if key.as_slice() < start || key.as_slice() >= end {
                continue;
            }
            store.insert(key.clone(), value.clone());
            let range = store.range(start.to_vec()..end.to_vec());
            let items = range.map(|(key, value)| (key.as_slice(), value.as_slice()));
            let fault = stream.check_window(start, end, items).unwrap_err();
            assert!(matches!(fault, ValueFault::Surplus { reason: "deleted", .. }), "{fault}");
            return;
        }
        if let (Operation::DeleteRange { start, end }, None) = (stream.operation(), &dropped) {
            let (key, value) = store.range(start.to_vec()..end.to_vec()).next().unwrap();
            dropped = Some((key.clone(), value.clone()));
        }
        do_series(&stream, &mut store);
    }
    panic!("no window over the dropped point");
}

#[test]
fn a_range_delete_that_failed_may_have_removed_any_of_its_points() {
    for part in 0..3 {
        let workload = retention(300, |series| {
            series.retention_points = Some(10);
            series.window_points = LengthDistribution::Uniform { min: 1, max: 90 };
        });
        let mut store = load(&workload);
        let mut streams = [workload.stream(0), workload.stream(1)];
        let mut failures = 0;
        for step in 0..3_000 {
            for stream in &mut streams {
                stream.advance();
                if let Operation::DeleteRange { start, end } = stream.operation()
                    && step % 2 == 0
                {
                    // None, every second, or all of the points are gone.
                    let mut index = 0;
                    store.retain(|key, _| {
                        let outside = key.as_slice() < start || key.as_slice() >= end;
                        index += u64::from(!outside);
                        outside || part == 0 || (part == 1 && index % 2 == 0)
                    });
                    stream.failed();
                    failures += 1;
                    continue;
                }
                if matches!(stream.operation(), Operation::DeleteRange { .. }) {
                    let Operation::DeleteRange { start, end } = stream.operation() else {
                        continue;
                    };
                    store.retain(|key, _| key.as_slice() < start || key.as_slice() >= end);
                } else {
                    do_series(stream, &mut store);
                }
            }
        }
        assert!(failures > 50, "{failures}");
        check_fates(&store, &workload, fates(&workload, &streams));
    }
}
