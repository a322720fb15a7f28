//! The same spec and seed give the same records and operations, however they are dealt out.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use kvdyno_workloads::{
    DataSpec, Fate, LengthDistribution, Operation, OperationKind, RequestDistribution, ValueSpec,
    Workload, WorkloadSpec,
};
use proptest::prelude::*;

use crate::support::{apply, builtin, check_fates, load, own_records};

/// A hash of each stream's first operations, dealt to so many threads that take turns.
fn stream_hashes(workload: &Workload, threads: usize, operations: usize) -> BTreeMap<u32, u64> {
    let mut hashes = BTreeMap::new();
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mine = (0..workload.spec().streams).skip(thread).step_by(threads);
                    let mut streams: Vec<_> = mine
                        .map(|index| (index, workload.stream(index), DefaultHasher::new()))
                        .collect();
                    for _ in 0..operations {
                        for (_, stream, hash) in &mut streams {
                            format!("{:?}", stream.next()).hash(hash);
                        }
                    }
                    streams.into_iter().map(|(index, _, hash)| (index, hash.finish()))
                })
            })
            .collect();
        for part in parts {
            hashes.extend(part.join().unwrap());
        }
    });
    hashes
}

#[test]
fn workloads_and_streams_may_move_between_threads() {
    fn assert_send<T: Send>() {}
    fn assert_sync<T: Sync>() {}
    assert_send::<Workload>();
    assert_sync::<Workload>();
    assert_send::<kvdyno_workloads::OperationStream>();
    assert_send::<kvdyno_workloads::Loader>();
}

#[test]
fn operations_do_not_depend_on_the_number_of_threads() {
    for spec in WorkloadSpec::builtins() {
        let workload = Workload::new(spec, 11).unwrap();
        let one = stream_hashes(&workload, 1, 60);
        assert_eq!(one, stream_hashes(&workload, 3, 60), "{}", workload.spec().name);
        let different: HashSet<_> = one.values().collect();
        assert_eq!(different.len(), 64, "no two streams are alike");
    }
}

#[test]
fn digests_tell_seeds_and_specs_apart_and_nothing_else() {
    let digest =
        |spec: &WorkloadSpec, seed| Workload::new(spec.clone(), seed).unwrap().digest(50).unwrap();
    let mut seen = HashSet::new();
    for spec in WorkloadSpec::builtins() {
        assert_eq!(digest(&spec, 1), digest(&spec, 1));
        assert!(seen.insert(digest(&spec, 1)), "{}", spec.name);
        assert!(seen.insert(digest(&spec, 2)), "{}", spec.name);
        let mut longer = spec.clone();
        longer.set_value_bytes(2_000).unwrap();
        let writes = spec.operation_kinds().iter().any(|kind| kind.writes());
        assert_eq!(seen.insert(digest(&longer, 1)), writes, "{}", spec.name);
    }
}

#[test]
fn specs_without_the_newer_fields_keep_their_digest() {
    // Results of earlier versions hold this digest and this JSON form.
    let mut spec = builtin("ycsb-a", 1_000);
    spec.name = "workloada".into();
    let json = serde_json::to_string(&spec).unwrap();
    for field in ["multi_get_keys", "kept_inserts_share", "ttl_ms", "insert_counter"] {
        assert!(!json.contains(field), "{json}");
    }
    assert_eq!(spec.digest(), "40ef33eb582753d765b45db2c791aa0e");
    assert_eq!(spec.dataset_digest(1), "6a3f318be22c73589a3a1100c845a1ca");
    let series = builtin("ts-mixed", 1_000);
    assert_eq!(series.digest(), "52b1e072129c36d6177cfeda811ea365");
    assert_eq!(series.dataset_digest(1), "c9404cacd828c2911542d60e5ae40a9c");
}

/// These digests may change only together with a deliberate change of what is generated, which
/// makes figures before and after it incomparable.
#[test]
fn digests_are_those_of_every_platform() {
    let found: Vec<_> = WorkloadSpec::builtins()
        .into_iter()
        .map(|spec| {
            let name = spec.name.clone();
            format!("{name} {}", Workload::new(spec, 42).unwrap().digest(1_000).unwrap())
        })
        .collect();
    let golden = [
        "ycsb-a 222dbb2ffef593f9e3606669f1563f46",
        "ycsb-b 64a590b5bb2a596f47120fb2287ac854",
        "ycsb-c 2c580fee1a17b233f3b0ec312dbc8d44",
        "ycsb-d 96ffa96fa5039d2678cfa478eb8ed957",
        "ycsb-e 5bccddfd81463d2de70d7e525ab99960",
        "ycsb-f 0ff57d2313833a56dfbdd53f45a7d0eb",
        "ts-mixed 840f1e0994576af73232654bbebbab21",
        "scan-reverse 936ef8d3c07a32df18767d2a42e4ff58",
        "multi-get 9fe211bef658c4a6694efebe75d41de8",
        "session-churn f4319d7abccc582b6732bacc3e300f04",
        "session-expiry 9556693901537bdb5dea9ad7251fd8e0",
        "ts-retention 3142f665f474dadebcaa25e2a6cded11",
        "uniform 80e8d0c517f61ce233eca7e5bbbae4fb",
        "overwrite 93fe3f3f46582df74c8962a2a2f1495e",
        "absent 689291b4e4fbb62a3a5f77e3d73de767",
    ];
    assert_eq!(found, golden);
}

#[test]
fn loader_parts_together_give_each_record_once() {
    for name in ["ycsb-c", "ts-mixed"] {
        let workload = Workload::new(builtin(name, 1_003), 5).unwrap();
        let whole = load(&workload);
        assert_eq!(whole.len(), 1_003);
        for parts in [1, 2, 3, 7, 2_000] {
            let mut seen = HashSet::new();
            for part in 0..parts {
                let mut loader = workload.loader(part, parts);
                let mut left = loader.remaining();
                while let Some((key, value)) = loader.next() {
                    left -= 1;
                    assert_eq!(whole[key], value);
                    assert!(seen.insert(key.to_vec()), "record given twice");
                }
                assert_eq!((left, loader.remaining()), (0, 0));
            }
            assert_eq!(seen.len(), whole.len(), "{parts} parts");
        }
    }
}

#[test]
fn loader_gives_what_key_of_and_value_of_say() {
    for name in ["ycsb-a", "ts-mixed"] {
        let workload = Workload::new(builtin(name, 200), 5).unwrap();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let mut loader = workload.loader(0, 1);
        for record in 0..200 {
            workload.key_of(record, &mut key);
            workload.value_of(record, 0, &mut value);
            assert_eq!(loader.next(), Some((&key[..], &value[..])));
        }
    }
}

#[test]
fn workloads_with_the_same_dataset_digest_load_the_same_bytes() {
    let mut digests = BTreeMap::new();
    for mut spec in WorkloadSpec::builtins() {
        spec.records = 200;
        let digest = spec.dataset_digest(1);
        let store = load(&Workload::new(spec, 1).unwrap());
        assert_eq!(digests.entry(digest).or_insert_with(|| store.clone()), &store);
    }
    assert_eq!(digests.len(), 2, "one for YCSB, one for time series");
}

/// Runs all streams in turn; every pick must be loaded or acknowledged before.
fn run(workload: &Workload, rounds: usize) {
    let mut store = load(workload);
    let mut streams: Vec<_> =
        (0..workload.spec().streams).map(|index| workload.stream(index)).collect();
    for _ in 0..rounds {
        for stream in &mut streams {
            apply(&mut store, workload, stream.next());
        }
    }
    let loaded = (0..workload.record_count()).map(|record| (record, Fate::Present));
    check_fates(&store, workload, loaded.chain(own_records(&streams)));
}

#[test]
fn nothing_is_picked_before_it_is_acknowledged() {
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
        for (records, streams) in [(1, 3), (100, 7), (1_000, 64)] {
            let mut spec = builtin("ycsb-d", records);
            spec.streams = streams;
            spec.request_distribution = distribution.clone();
            spec.mix = vec![(OperationKind::Read, 0.6), (OperationKind::Insert, 0.4)];
            run(&Workload::new(spec, 8).unwrap(), 200);
        }
    }
}

#[test]
fn failed_inserts_are_never_picked_and_are_tried_again() {
    let mut spec = builtin("ycsb-d", 100);
    spec.mix = vec![(OperationKind::Read, 0.5), (OperationKind::Insert, 0.5)];
    let workload = Workload::new(spec, 8).unwrap();
    let mut store = load(&workload);
    let mut stream = workload.stream(5);
    let (mut inserts, mut failures) = (0, 0);
    for _ in 0..2_000 {
        let operation = stream.next();
        if operation.kind() == OperationKind::Insert {
            inserts += 1;
            if inserts % 3 == 0 {
                failures += 1;
                stream.failed();
                continue;
            }
        }
        apply(&mut store, &workload, operation);
    }
    assert!(failures > 100);
    assert_eq!(stream.inserted(), inserts - failures);
    assert_eq!(store.len() as u64, 100 + stream.inserted());
    assert_eq!(stream.inserted_record(3), 100 + 3 * 64 + 5);
}

#[test]
fn sequential_reads_every_record_in_turn() {
    let mut spec = builtin("ycsb-c", 128);
    spec.request_distribution = RequestDistribution::Sequential;
    let workload = Workload::new(spec, 8).unwrap();
    let mut streams: Vec<_> = (0..64).map(|index| workload.stream(index)).collect();
    let mut key = Vec::new();
    for record in (0..128).chain(0..128) {
        workload.key_of(record, &mut key);
        let operation = streams[(record % 64) as usize].next();
        assert_eq!(operation, Operation::Read { key: &key });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_valid_spec_runs(
        records in 1u64..300,
        streams in 1u32..20,
        bytes in 0u64..200,
        padding in 0u32..30,
        insert_start in 0u64..1_000,
        insert_skip in 0u64..1_000,
        fields in 0u32..5,
        kept in 0.0..0.5,
        seed: u64,
    ) {
        let mut spec = builtin("ycsb-a", records);
        spec.streams = streams;
        let weights = [1.0, 2.0, 1.5, 0.5, 0.5, 1.0, 0.0, 0.0, 0.3, 1.0, 0.0, 0.5, 0.5];
        spec.mix = OperationKind::ALL.into_iter().zip(weights).collect();
        spec.ttl_ms = 1;
        spec.kept_inserts_share = kept;
        spec.multi_get_keys = LengthDistribution::Uniform { min: 1, max: 5 };
        let DataSpec::Ycsb(ycsb) = &mut spec.data else { panic!("YCSB records expected") };
        ycsb.key.zero_padding = padding;
        ycsb.key.insert_start = insert_start;
        ycsb.key.insert_skip = insert_skip;
        ycsb.value = match fields {
            0 => ValueSpec::Blob { bytes },
            count => ValueSpec::Fields {
                count,
                length: LengthDistribution::Uniform { min: bytes / 2, max: bytes },
            },
        };
        run(&Workload::new(spec, seed).unwrap(), 30);
    }
}
