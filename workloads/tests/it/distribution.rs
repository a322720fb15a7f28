//! What the streams draw follows the distributions that the spec names.

use std::collections::HashMap;

use kvdyno_workloads::{
    LengthDistribution, Operation, OperationKind, RequestDistribution, Workload, WorkloadSpec,
};

use crate::support::builtin;

/// How often each record is picked, out of so many reads over all streams.
fn picks(spec: WorkloadSpec, draws: u32) -> Vec<f64> {
    let records = spec.records;
    let workload = Workload::new(spec, 77).unwrap();
    let mut key = Vec::new();
    let mut record_of = HashMap::new();
    for record in 0..records {
        workload.key_of(record, &mut key);
        record_of.insert(key.clone(), record as usize);
    }
    let mut counts = vec![0.0; records as usize];
    let streams = workload.spec().streams;
    for index in 0..streams {
        let mut stream = workload.stream(index);
        for _ in 0..draws / streams {
            let Operation::Read { key } = stream.next() else { panic!("reads only") };
            counts[record_of[key]] += 1.0;
        }
    }
    counts
}

fn reads(records: u64, request_distribution: RequestDistribution) -> WorkloadSpec {
    let mut spec = builtin("ycsb-c", records);
    spec.request_distribution = request_distribution;
    spec
}

/// The hottest record's share and that of the hottest fifth.
fn shares(mut counts: Vec<f64>) -> (f64, f64) {
    let sum: f64 = counts.iter().sum();
    counts.sort_by(|a, b| b.total_cmp(a));
    let top: f64 = counts.iter().take(counts.len() / 5).sum();
    (counts[0] / sum, top / sum)
}

fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() < tolerance, "{what}: {found} is not {expected}");
}

#[test]
fn drawn_skew_is_the_one_that_the_workload_tells() {
    let distributions = [
        RequestDistribution::Zipfian,
        RequestDistribution::Zipf { theta: 0.99 },
        RequestDistribution::Zipf { theta: 1.5 },
        RequestDistribution::Latest,
        RequestDistribution::Hotspot { data_fraction: 0.2, operation_fraction: 0.8 },
        RequestDistribution::Exponential { percentile: 95.0, fraction: 0.3 },
    ];
    for distribution in distributions {
        let spec = reads(1_000, distribution.clone());
        let skew = Workload::new(spec.clone(), 77).unwrap().effective_skew();
        let (hottest, top) = shares(picks(spec, 640_000));
        let name = format!("{distribution:?}");
        // Of many alike counts the largest lie above the mean, so the drawn shares are a little high.
        close(hottest, skew.hottest_key_share, 0.002, &name);
        close(top, skew.top_20_percent_share, 0.012, &name);
    }
}

#[test]
fn shares_are_those_that_ycsb_is_known_for() {
    let (hottest, top) = shares(picks(reads(1_000, RequestDistribution::Zipfian), 640_000));
    close(hottest, 0.039, 0.001, "zipfian, hottest");
    close(top, 0.40, 0.005, "zipfian, top fifth");
    let zipf = RequestDistribution::Zipf { theta: 0.99 };
    let (hottest, top) = shares(picks(reads(1_000, zipf), 640_000));
    close(hottest, 0.129, 0.002, "zipf, hottest");
    close(top, 0.78, 0.01, "zipf, top fifth");
}

#[test]
fn uniform_picks_pass_a_chi_square_test() {
    let zero = RequestDistribution::Zipf { theta: 0.0 };
    for distribution in [RequestDistribution::Uniform, zero] {
        let counts = picks(reads(1_000, distribution), 640_000);
        let expected = 640.0;
        let sum: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
        // 999 degrees of freedom: mean 999, standard deviation 44.7.
        assert!((sum - 999.0).abs() < 5.0 * 44.7, "χ² = {sum}");
    }
}

#[test]
fn hot_set_is_the_first_part_of_the_records() {
    let hotspot = RequestDistribution::Hotspot { data_fraction: 0.1, operation_fraction: 0.7 };
    let counts = picks(reads(1_000, hotspot), 64_000);
    let hot: f64 = counts[..100].iter().sum();
    close(hot / 64_000.0, 0.7, 0.01, "hot set");
    for fraction in [0.0, 1.0] {
        let edge =
            RequestDistribution::Hotspot { data_fraction: fraction, operation_fraction: 0.5 };
        let (hottest, _) = shares(picks(reads(1_000, edge), 64_000));
        assert!(hottest < 0.003, "one empty set leaves all to the other");
    }
}

#[test]
fn latest_favours_the_last_records() {
    let counts = picks(reads(1_000, RequestDistribution::Latest), 64_000);
    close(counts[999] / 64_000.0, 0.129, 0.006, "newest");
    assert!(counts[998] > counts[990] && counts[990] > counts[100]);
}

#[test]
fn latest_follows_the_own_inserts() {
    let workload = Workload::new(builtin("ycsb-d", 1_000), 6).unwrap();
    let mut stream = workload.stream(9);
    let mut newest = Vec::new();
    let (mut reads, mut hits) = (0.0, 0.0);
    for _ in 0..50_000 {
        let record = stream.inserted().checked_sub(1).map_or(999, |i| stream.inserted_record(i));
        workload.key_of(record, &mut newest);
        if let Operation::Read { key } = stream.next() {
            reads += 1.0;
            hits += f64::from(u8::from(key == newest));
        }
    }
    // 1/ζ(n) falls from 0.129 at 1,000 records to 0.112 at 3,500.
    close(hits / reads, 0.119, 0.008, "reads of the newest record");
}

#[test]
fn kinds_follow_the_mix() {
    for mut spec in WorkloadSpec::builtins() {
        // A delete that finds nothing becomes an insert: without that, for once.
        spec.kept_inserts_share = 0.0;
        let workload = Workload::new(spec, 3).unwrap();
        let mut counts = HashMap::<OperationKind, f64>::new();
        for index in 0..64 {
            let mut stream = workload.stream(index);
            for _ in 0..1_000 {
                *counts.entry(stream.next().kind()).or_default() += 1.0 / 64_000.0;
            }
        }
        let mix = workload.spec().normalised_mix();
        assert_eq!(counts.len(), mix.len());
        for (kind, share) in mix {
            let tolerance = if kind == OperationKind::DeleteRange { 0.002 } else { 0.02 };
            close(counts[&kind], share, tolerance, &format!("{} {kind:?}", workload.spec().name));
        }
    }
}

#[test]
fn scan_lengths_follow_their_distribution() {
    for (length, mean) in [
        (LengthDistribution::Uniform { min: 1, max: 100 }, 50.5),
        (LengthDistribution::Constant { value: 7 }, 7.0),
        // Zipf's mean is 19.5; the formula of Gray et al. comes out a little lower.
        (LengthDistribution::Zipfian { min: 1, max: 100 }, 19.1),
    ] {
        let mut spec = builtin("ycsb-e", 1_000);
        spec.mix = vec![(OperationKind::Scan, 1.0)];
        spec.scan_length = length;
        let workload = Workload::new(spec, 3).unwrap();
        let mut stream = workload.stream(0);
        let mut sum = 0.0;
        for _ in 0..50_000 {
            let Operation::Scan { limit, .. } = stream.next() else { panic!("scans only") };
            assert!((length.min()..=length.max()).contains(&(limit as u64)));
            sum += limit as f64;
        }
        close(sum / 50_000.0, mean, 0.6, "mean length of a scan");
    }
}
