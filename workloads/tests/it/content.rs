//! Values tell whose they are, and no damage goes unseen.

use std::collections::HashSet;

use kvdyno_workloads::{
    Change, DataSpec, KeyOrder, LengthDistribution, Operation, OperationKind, ValueFault,
    ValueSpec, Workload, WorkloadSpec, YcsbSpec,
};
use proptest::prelude::*;

use crate::support::{apply, builtin, load};

fn with_value(value: ValueSpec) -> WorkloadSpec {
    let mut spec = builtin("ycsb-a", 100);
    ycsb(&mut spec).value = value;
    spec
}

fn ycsb(spec: &mut WorkloadSpec) -> &mut YcsbSpec {
    match &mut spec.data {
        DataSpec::Ycsb(ycsb) => ycsb,
        DataSpec::TimeSeries(_) => panic!("YCSB records expected"),
    }
}

fn fields(count: u32, length: LengthDistribution) -> WorkloadSpec {
    with_value(ValueSpec::Fields { count, length })
}

fn blob(bytes: u64) -> WorkloadSpec {
    with_value(ValueSpec::Blob { bytes })
}

/// Workloads of every shape whose values can prove themselves in full.
fn shapes() -> Vec<WorkloadSpec> {
    let mut series = builtin("ts-mixed", 5_000);
    series.set_value_bytes(40).unwrap();
    let mut ordered = blob(64);
    ycsb(&mut ordered).key.order = KeyOrder::Ordered;
    vec![
        blob(24),
        blob(100),
        blob(1_000),
        ordered,
        fields(10, LengthDistribution::Constant { value: 100 }),
        fields(4, LengthDistribution::Uniform { min: 8, max: 90 }),
        fields(3, LengthDistribution::Zipfian { min: 10, max: 60 }),
        builtin("ts-mixed", 5_000),
        series,
    ]
}

fn record(workload: &Workload, record: u64, version: u64) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    workload.key_of(record, &mut key);
    workload.value_of(record, version, &mut value);
    (key, value)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[test]
fn layouts_are_the_documented_ones() {
    let bytes_of = |spec: WorkloadSpec| {
        let (key, value) = record(&Workload::new(spec, 3).unwrap(), 1_027, 2);
        (hex(&key), hex(&value))
    };
    let (_, long) = bytes_of(blob(48));
    let [record, version, tag] = ["0304000000000000", "0200000000000000", "35cc08fa97888652"];
    let [random, filler] = ["a9a7bcb3622ca766e97fe93ebf2e8439", "7676767676767676"];
    assert_eq!(long, [record, version, tag, random, filler].concat());

    let (_, short) = bytes_of(blob(12));
    let [version, tag] = ["02000000", "c81eb74f4a69a48f"];
    assert_eq!(short, [version, tag].concat());

    let (_, fields) = bytes_of(fields(2, LengthDistribution::Constant { value: 8 }));
    let [length, first, second] = ["08000000", "0200000032d9e3e7", "02000000e2a8bb68"];
    assert_eq!(fields, [length, first, length, second].concat());

    let (key, point) = bytes_of(builtin("ts-mixed", 5_000));
    let [series, time] = ["0000001b", "0000018bcfe58f10"];
    assert_eq!(key, [series, time].concat());
    let [sample, version, tag] = ["0000000000002040", "02000000", "055e750f"];
    assert_eq!(point, [sample, version, tag].concat());
}

#[test]
fn values_name_their_record_and_version() {
    for spec in shapes() {
        let workload = Workload::new(spec, 3).unwrap();
        for (number, version) in [(0, 0), (7, 1), (99, 1_000_000), (4_321, 5)] {
            let (key, value) = record(&workload, number, version);
            let stamp = workload.check_value(&key, &value).unwrap();
            assert_eq!(stamp.version, Some(version));
            assert!(stamp.record.is_none_or(|found| found == number));
        }
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    for spec in shapes() {
        let workload = Workload::new(spec, 3).unwrap();
        let (key, value) = record(&workload, 42, 6);
        let mut damaged = value.clone();
        for offset in 0..value.len() {
            damaged[offset] ^= 1 << (offset % 8);
            assert!(workload.check_value(&key, &damaged).is_err(), "byte {offset}");
            damaged[offset] = value[offset];
            assert!(workload.check_value(&key, &value[..offset]).is_err(), "cut at {offset}");
        }
        damaged.push(0);
        assert!(workload.check_value(&key, &damaged).is_err());
    }
}

#[test]
fn value_of_another_key_or_seed_is_found() {
    for spec in shapes() {
        let workload = Workload::new(spec.clone(), 3).unwrap();
        let (key, value) = record(&workload, 42, 6);
        let (other_key, _) = record(&workload, 43, 6);
        let fault = workload.check_value(&other_key, &value).unwrap_err();
        assert!(!fault.to_string().contains('\n'), "{fault}");
        let other_seed = Workload::new(spec, 4).unwrap();
        assert!(other_seed.check_value(&key, &value).is_err());
        let foreign = workload.check_value(b"no such key", &value).unwrap_err();
        assert!(matches!(foreign, ValueFault::ForeignKey { .. }), "{foreign}");
    }
    let workload = Workload::new(blob(100), 3).unwrap();
    let (_, value) = record(&workload, 42, 6);
    let (other_key, _) = record(&workload, 43, 6);
    let fault = workload.check_value(&other_key, &value).unwrap_err();
    assert!(matches!(fault, ValueFault::OtherRecord { record: 42, .. }), "{fault}");
}

#[test]
fn short_values_prove_what_fits_into_them() {
    for bytes in 0..24 {
        let workload = Workload::new(blob(bytes), 3).unwrap();
        let (key, value) = record(&workload, 42, 6);
        assert_eq!(value.len() as u64, bytes);
        let stamp = workload.check_value(&key, &value).unwrap();
        assert_eq!(stamp.record, None);
        assert_eq!(stamp.version, (bytes >= 8).then_some(6));
        if bytes >= 4 {
            let (_, other) = record(&workload, 43, 6);
            assert!(workload.check_value(&key, &other).is_err(), "{bytes} bytes");
            let mut damaged = value.clone();
            damaged[0] ^= 1;
            assert!(workload.check_value(&key, &damaged).is_err(), "{bytes} bytes");
        }
        assert!(workload.check_value(&key, &[&value[..], b"x"].concat()).is_err());
    }
    for bytes in [0, 1, 15] {
        let mut spec = builtin("ts-mixed", 5_000);
        spec.set_value_bytes(bytes).unwrap();
        let workload = Workload::new(spec, 3).unwrap();
        let (key, value) = record(&workload, 42, 0);
        assert_eq!(value.len() as u64, bytes);
        workload.check_value(&key, &value).unwrap();
    }
}

#[test]
fn fields_of_no_bytes_work() {
    let mut spec = fields(2, LengthDistribution::Uniform { min: 0, max: 3 });
    spec.mix = vec![(OperationKind::Update, 1.0)];
    let workload = Workload::new(spec, 3).unwrap();
    let mut store = load(&workload);
    let mut stream = workload.stream(0);
    for _ in 0..1_000 {
        apply(&mut store, &workload, stream.next());
    }
}

#[test]
fn field_update_changes_one_field_and_keeps_the_others() {
    let mut spec = fields(10, LengthDistribution::Uniform { min: 0, max: 50 });
    spec.mix = vec![(OperationKind::Update, 1.0)];
    let workload = Workload::new(spec, 3).unwrap();
    let mut store = load(&workload);
    let mut stream = workload.stream(0);
    let mut changed = HashSet::new();
    for _ in 0..500 {
        let Operation::Update { key, change } = stream.next() else { panic!("updates only") };
        let Change::Field { index, bytes } = change else { panic!("one field at a time") };
        changed.insert(index);
        let old = split(&store[key]);
        let value = store.get_mut(key).unwrap();
        change.apply(value).unwrap();
        let new = split(value);
        for (field, (old, new)) in old.iter().zip(&new).enumerate() {
            let expected = if field as u32 == index { bytes } else { old };
            assert_eq!(new, expected);
        }
    }
    assert_eq!(changed.len(), 10);
}

fn split(mut value: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    while let Some((length, rest)) = value.split_first_chunk::<4>() {
        let (field, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        fields.push(field.to_vec());
        value = rest;
    }
    fields
}

#[test]
fn write_all_fields_needs_no_read() {
    let mut spec = fields(10, LengthDistribution::Constant { value: 10 });
    ycsb(&mut spec).write_all_fields = true;
    spec.mix = vec![(OperationKind::Update, 1.0)];
    let workload = Workload::new(spec, 3).unwrap();
    let mut stream = workload.stream(0);
    let Operation::Update { key, change: Change::Whole(value) } = stream.next() else {
        panic!("a whole value expected")
    };
    let stamp = workload.check_value(key, value).unwrap();
    assert_eq!(stamp.version, Some(1));
}

#[test]
fn writes_carry_the_version_that_the_stream_names() {
    let workload = Workload::new(blob(100), 3).unwrap();
    let mut versions = HashSet::new();
    for index in 0..64 {
        let mut stream = workload.stream(index);
        for _ in 0..50 {
            let Operation::Update { key, change: Change::Whole(value) } = stream.next() else {
                continue;
            };
            let stamp = workload.check_value(key, value).unwrap();
            let mut again = Vec::new();
            workload.value_of(stamp.record.unwrap(), stamp.version.unwrap(), &mut again);
            assert_eq!(value, again);
            assert_eq!(stamp.version, Some(stream.last_version()));
            assert_eq!(stamp.record, Some(stream.last_record()));
            assert!(versions.insert(stream.last_version()), "a version names one write");
        }
    }
}

#[test]
fn malformed_fields_are_refused_and_left_alone() {
    let change = Change::Field { index: 1, bytes: b"new" };
    for broken in [&b""[..], b"\x01\0\0", b"\x01\0\0\0a", b"\x01\0\0\0a\xFF\0\0\0b"] {
        let mut value = broken.to_vec();
        let fault = change.apply(&mut value).unwrap_err();
        assert!(matches!(fault, ValueFault::Fields { .. }), "{fault}");
        assert_eq!(value, broken);
    }
}

#[test]
fn half_of_a_value_is_random_and_the_rest_repeats() {
    for (ratio, low, high) in [(1.0, 0.9, 1.0), (2.0, 0.4, 0.55), (4.0, 0.2, 0.3)] {
        let mut spec = blob(1_000);
        ycsb(&mut spec).compression_ratio = ratio;
        let workload = Workload::new(spec, 3).unwrap();
        let (_, value) = record(&workload, 1, 0);
        let last = value[999];
        let repeated = value.iter().rev().take_while(|&&byte| byte == last).count();
        let random = (1_000 - repeated) as f64 / 1_000.0;
        assert!((low..=high).contains(&random), "ratio {ratio}: {random}");
    }
}

proptest! {
    #[test]
    fn foreign_bytes_are_faults_and_never_panics(
        key in proptest::collection::vec(any::<u8>(), 0..40),
        value in proptest::collection::vec(any::<u8>(), 0..200),
        record in 0u64..5_000,
        mutate in any::<bool>(),
    ) {
        for spec in shapes() {
            let workload = Workload::new(spec, 3).unwrap();
            let mut own = Vec::new();
            workload.key_of(record, &mut own);
            let key = if mutate { &own } else { &key };
            prop_assert!(workload.check_value(key, &value).is_err());
            let mut changed = value.clone();
            let _ = Change::Field { index: 2, bytes: b"field" }.apply(&mut changed);
        }
    }
}
