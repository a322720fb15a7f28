//! Time series: order, lateness, and exact checks, against a map that holds every point.

use kvdyno_workloads::{
    DataSpec, LengthDistribution, Operation, OperationStream, SeriesSpec, ValueFault, Workload,
    WorkloadSpec,
};
use proptest::prelude::*;

use crate::support::{Store, builtin, load};

fn workload(records: u64, streams: u32, change: impl FnOnce(&mut SeriesSpec)) -> Workload {
    let mut spec: WorkloadSpec = builtin("ts-mixed", records);
    spec.streams = streams;
    let DataSpec::TimeSeries(series) = &mut spec.data else { panic!("time series expected") };
    change(series);
    Workload::new(spec, 21).unwrap()
}

type Items<'a> = Vec<(&'a [u8], &'a [u8])>;

fn items<'a>(store: &'a Store, start: &[u8], end: &[u8]) -> Items<'a> {
    let range = store.range(start.to_vec()..end.to_vec());
    range.map(|(key, value)| (key.as_slice(), value.as_slice())).collect()
}

fn latest<'a>(store: &'a Store, first: &[u8], start: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut range = store.range(first.to_vec()..=start.to_vec());
    range.next_back().map(|(key, value)| (key.as_slice(), value.as_slice()))
}

/// Does the next operation of a stream on the map and checks what it reads.
fn step(stream: &mut OperationStream, store: &mut Store) {
    match stream.next() {
        Operation::Insert { key, value } => {
            assert!(store.insert(key.to_vec(), value.to_vec()).is_none(), "a point came twice");
        }
        Operation::Latest { first, start } => {
            let item = latest(store, first, start);
            stream.check_latest(item).unwrap();
        }
        Operation::Window { start, end } => {
            let (start, end) = (start.to_vec(), end.to_vec());
            stream.check_window(&start, &end, items(store, &start, &end)).unwrap();
        }
        Operation::DeleteRange { start, end } => {
            let (start, end) = (start.to_vec(), end.to_vec());
            let dropped = items(store, &start, &end);
            assert!(!dropped.is_empty(), "a range delete removes something");
            let bytes: usize = dropped.iter().map(|(key, value)| key.len() + value.len()).sum();
            assert_eq!(stream.removed_bytes(), bytes as u64);
            store.retain(|key, _| *key < start || *key >= end);
        }
        other => panic!("not a time-series operation: {other:?}"),
    }
}

#[test]
fn windows_and_latest_values_agree_with_a_map() {
    for (records, streams, series, late_share, late_steps_max) in [
        (500, 4, 10, 0.03, 20),
        (500, 4, 10, 0.3, 2),
        (505, 10, 10, 0.5, 1),
        (5, 3, 10, 0.1, 9),
        (500, 4, 10, 0.0, 0),
        (1, 1, 1, 0.2, 4),
    ] {
        let workload = workload(records, streams, |spec| {
            spec.series = series;
            spec.late_share = late_share;
            spec.late_steps_max = late_steps_max;
        });
        let mut store = load(&workload);
        let mut all: Vec<_> = (0..streams).map(|index| workload.stream(index)).collect();
        for _ in 0..3_000 {
            for stream in &mut all {
                step(stream, &mut store);
            }
        }
        let inserted: u64 = all.iter().map(OperationStream::inserted).sum();
        assert_eq!(store.len() as u64, records + inserted);
        let mut key = Vec::new();
        for stream in &all {
            for i in 0..stream.inserted() {
                workload.key_of(stream.inserted_record(i), &mut key);
                workload.check_value(&key, &store[&key]).unwrap();
            }
        }
    }
}

#[test]
fn the_share_of_late_points_is_the_one_declared() {
    for (late_share, late_steps_max) in [(0.03, 20), (0.1, 3), (0.0, 0)] {
        let workload = workload(1_000, 64, |spec| {
            spec.late_share = late_share;
            spec.late_steps_max = late_steps_max;
        });
        let mut newest = [0; 1_000];
        let (mut late, mut points) = (0.0, 0.0);
        for index in 0..64 {
            let mut stream = workload.stream(index);
            for _ in 0..5_000 {
                if let Operation::Insert { key, .. } = stream.next() {
                    let series = u32::from_be_bytes(key[..4].try_into().unwrap());
                    let time = u64::from_be_bytes(key[4..].try_into().unwrap());
                    assert_eq!(series % 64, index, "a series belongs to one stream");
                    let newest = &mut newest[series as usize];
                    if time < *newest {
                        late += 1.0;
                        assert!(*newest - time <= u64::from(late_steps_max) * 10_000);
                    }
                    *newest = time.max(*newest);
                    points += 1.0;
                }
            }
        }
        let share: f64 = late / points;
        assert!((share - late_share).abs() < 0.004, "{share} is not {late_share}");
    }
}

#[test]
fn loaded_points_come_step_by_step() {
    let workload = workload(30, 2, |spec| spec.series = 10);
    let mut loader = workload.loader(0, 1);
    for record in 0..30u64 {
        let (key, _) = loader.next().unwrap();
        assert_eq!(key[..4], (record as u32 % 10).to_be_bytes());
        assert_eq!(key[4..], (1_700_000_000_000 + record / 10 * 10_000).to_be_bytes());
    }
}

/// A stream that has just asked for a window with points in it, and that window.
fn window() -> (OperationStream, Store, Vec<u8>, Vec<u8>) {
    let workload = workload(1_000, 4, |spec| {
        spec.series = 10;
        spec.window_points = LengthDistribution::Constant { value: 20 };
    });
    let mut store = load(&workload);
    let mut stream = workload.stream(1);
    loop {
        let operation = stream.next();
        match operation {
            Operation::Insert { key, value } => {
                store.insert(key.to_vec(), value.to_vec());
            }
            Operation::Window { start, end } => {
                let (start, end) = (start.to_vec(), end.to_vec());
                return (stream, store, start, end);
            }
            _ => {}
        }
    }
}

#[test]
fn every_wrong_window_is_found() {
    let (stream, store, start, end) = window();
    let right = items(&store, &start, &end);
    let check = |items: Items<'_>| stream.check_window(&start, &end, items);
    check(right.clone()).unwrap();
    assert_eq!(right.len(), 20);

    for i in 0..right.len() {
        let mut missing = right.clone();
        missing.remove(i);
        assert!(matches!(check(missing), Err(ValueFault::Missing { .. })), "{i}");
        let mut twice = right.clone();
        twice.insert(i, right[i]);
        assert!(matches!(check(twice), Err(ValueFault::Surplus { .. })), "{i}");
        let mut damaged = right[i].1.to_vec();
        damaged[i % 16] ^= 1;
        let mut wrong = right.clone();
        wrong[i].1 = &damaged;
        assert!(matches!(check(wrong), Err(ValueFault::Damaged { .. })), "{i}");
    }
    let mut swapped = right.clone();
    swapped.swap(3, 4);
    assert!(check(swapped).is_err());
    let outside = store.iter().next_back().unwrap();
    let mut surplus = right.clone();
    surplus.push((outside.0, outside.1));
    assert!(matches!(check(surplus), Err(ValueFault::Surplus { .. })));
    let foreign: Items<'_> = vec![(b"foreign", b"")];
    assert!(matches!(check(foreign), Err(ValueFault::ForeignKey { .. })));
    assert!(matches!(check(Vec::new()), Err(ValueFault::Missing { .. })));
}

#[test]
fn every_wrong_latest_value_is_found() {
    let (mut stream, store, ..) = window();
    let series = loop {
        if let Operation::Latest { first, .. } = stream.next() {
            break first[..4].to_vec();
        }
        stream.failed();
    };
    let points: Items<'_> = store
        .iter()
        .filter(|(key, _)| key.starts_with(&series))
        .map(|(key, value)| (key.as_slice(), value.as_slice()))
        .collect();
    let [.., before, newest] = points[..] else { panic!("points of the series expected") };
    stream.check_latest(Some(newest)).unwrap();
    assert!(matches!(stream.check_latest(Some(before)), Err(ValueFault::Missing { .. })));
    assert!(matches!(stream.check_latest(None), Err(ValueFault::Missing { .. })));
    let mut later = newest.0.to_vec();
    later[4] += 1;
    assert!(stream.check_latest(Some((&later, newest.1))).is_err());
    assert!(stream.check_latest(Some((newest.0, before.1))).is_err());
}

#[test]
fn a_refused_point_may_be_there_or_not_until_it_is_acknowledged() {
    let workload = workload(100, 1, |spec| {
        spec.series = 1;
        spec.late_share = 0.0;
        spec.window_recent_share = 1.0;
    });
    for stored in [false, true] {
        let mut store = load(&workload);
        let mut stream = workload.stream(0);
        let refused = loop {
            if let Operation::Insert { key, value } = stream.next() {
                let (key, value) = (key.to_vec(), value.to_vec());
                stream.failed();
                if stored {
                    store.insert(key.clone(), value);
                }
                break key;
            }
        };
        assert_eq!(stream.inserted(), 0);
        loop {
            match stream.next() {
                Operation::Insert { key, .. } => {
                    assert_eq!(key, refused, "the point is tried again");
                    break;
                }
                Operation::Latest { first, start } => {
                    let item = latest(&store, first, start);
                    stream.check_latest(item).unwrap();
                }
                Operation::Window { start, .. } => {
                    let (start, end) = (start.to_vec(), [0xFF; 12].to_vec());
                    stream.check_window(&start, &end, items(&store, &start, &end)).unwrap();
                }
                other => panic!("not a time-series operation: {other:?}"),
            }
        }
        assert_eq!(stream.inserted(), 1);
    }
}

#[test]
fn ycsb_streams_have_no_windows_to_check() {
    let workload = Workload::new(builtin("ycsb-c", 10), 1).unwrap();
    let stream = workload.stream(0);
    assert_eq!(stream.check_latest(None), Err(ValueFault::NotTimeSeries));
    assert_eq!(stream.check_window(b"a", b"b", []), Err(ValueFault::NotTimeSeries));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_valid_series_spec_runs(
        records in 1u64..400,
        streams in 1u32..8,
        more_series in 0u32..9,
        block in 2u32..40,
        bytes in 0u32..64,
    ) {
        let workload = workload(records, streams, |spec| {
            spec.series = streams + more_series;
            spec.late_share = 1.0 / f64::from(block);
            spec.late_steps_max = 1;
            spec.value_bytes = bytes;
        });
        let mut store = load(&workload);
        for index in 0..streams {
            let mut stream = workload.stream(index);
            for _ in 0..300 {
                step(&mut stream, &mut store);
            }
        }
    }
}
