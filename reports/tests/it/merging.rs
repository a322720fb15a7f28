//! Joining results.

use std::sync::LazyLock;

use hdrhistogram::Histogram;
use kvdyno_reports::{
    CellStatus, Error, MergeOptions, ONE_TRIAL, Phase, ResultFile, RunStatus, decode_histogram,
    encode_histogram, encode_latency, merge,
};
use proptest::prelude::*;

use crate::sample;

fn after_one_another(results: &[ResultFile]) -> ResultFile {
    merge(results, &MergeOptions::default()).unwrap()
}

fn concurrent() -> MergeOptions {
    MergeOptions { concurrent: true, command: vec!["kvdyno".to_owned(), "merge".to_owned()] }
}

/// One cell with these samples, split into intervals of a second.
fn recorded(samples: &[u64], seconds: usize) -> ResultFile {
    static ONE: LazyLock<ResultFile> = LazyLock::new(|| {
        let mut result = sample::quick();
        result.cells.retain(|cell| cell.phase == Phase::Run && cell.workload == "ycsb-a");
        result.cells.truncate(1);
        result
    });
    let mut result = ONE.clone();
    let measurement = result.cells[0].measurement.as_mut().unwrap();
    let histogram = |samples: &mut dyn Iterator<Item = &u64>| {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        samples.for_each(|sample| histogram.record(*sample).unwrap());
        histogram
    };
    measurement.operations.retain(|stats| stats.kind != "update");
    for stats in &mut measurement.operations {
        stats.service = encode_latency(&histogram(&mut samples.iter()));
        stats.operations = samples.len() as u64;
    }
    let point = measurement.timeline[0].clone();
    measurement.timeline = (0..seconds)
        .map(|at| {
            let own = histogram(&mut samples.iter().skip(at).step_by(seconds));
            kvdyno_reports::TimelinePoint {
                start_s: at as f64,
                length_s: 1.0,
                operations: own.len(),
                p50_ns: own.value_at_quantile(0.5),
                p99_ns: own.value_at_quantile(0.99),
                max_ns: own.max(),
                histogram: Some(encode_histogram(&own)),
                ..point.clone()
            }
        })
        .collect();
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn merging_recorders_equals_recording_once(
        samples in prop::collection::vec(1_u64..10_000_000_000, 1..400),
        cuts in prop::collection::vec(0_usize..400, 0..3),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (samples.len() + 1)).collect();
        cuts.extend([0, samples.len()]);
        cuts.sort_unstable();
        let parts: Vec<ResultFile> =
            cuts.windows(2).map(|cut| recorded(&samples[cut[0]..cut[1]], 1)).collect();
        let merged = merge(&parts, &concurrent()).unwrap();
        let once = recorded(&samples, 1);
        let figures = |result: &ResultFile| {
            let measurement = result.cells[0].measurement.clone().unwrap();
            let operations: Vec<_> = measurement
                .operations
                .iter()
                .map(|stats| {
                    let histogram = decode_histogram(&stats.service.histogram).unwrap();
                    let latency = kvdyno_reports::Latency {
                        histogram: String::new(),
                        ..stats.service.clone()
                    };
                    (stats.kind.clone(), stats.operations, histogram, latency)
                })
                .collect();
            let point = &measurement.timeline[0];
            let interval = decode_histogram(point.histogram.as_ref().unwrap()).unwrap();
            let figures = (point.operations, point.p50_ns, point.p99_ns, point.max_ns);
            (operations, interval, figures)
        };
        prop_assert_eq!(figures(&merged), figures(&once));
    }
}

#[test]
fn load_generators_are_added() {
    let (a, b) = (recorded(&[1_000; 300], 3), recorded(&[9_000; 200], 2));
    let merged = merge(&[a.clone(), b], &concurrent()).unwrap();
    assert_eq!(merged.cells.len(), 1);
    let cell = &merged.cells[0];
    assert_eq!((cell.threads, cell.trial), (2, 1));
    let part = a.cells[0].measurement.as_ref().unwrap();
    let whole = cell.measurement.as_ref().unwrap();
    let ratio = whole.throughput_ops_per_s / part.throughput_ops_per_s;
    assert!((ratio - 2.0).abs() < 1e-9, "{ratio}");
    let operations: Vec<u64> = whole.timeline.iter().map(|point| point.operations).collect();
    assert_eq!(operations, [200, 200, 100], "the shorter line ends earlier");
    assert_eq!(whole.operations.last().unwrap().operations, 500);
    let dir = tempfile::tempdir().unwrap();
    merged.write(&dir.path().join("result.json")).unwrap();
    assert_eq!(ResultFile::read(dir.path()).unwrap(), merged, "what is merged can be read");
}

#[test]
fn offered_rates_of_load_generators_are_added() {
    let mut a = sample::at_rate();
    a.cells.retain(|cell| cell.engine == "lsm" && cell.phase == Phase::Run && cell.trial == 1);
    let mut b = a.clone();
    b.run.seed = 8;
    b.workloads[0].stream_digest = "another".to_owned();
    let merged = merge(&[a, b], &concurrent()).unwrap();
    assert_eq!(merged.cells.len(), 2);
    for cell in &merged.cells {
        assert_eq!(cell.offered_ops_per_s, Some(600_000.0));
        let open = cell.measurement.as_ref().unwrap().open_loop.unwrap();
        assert_eq!(open.offered_ops_per_s, 600_000.0);
    }
    assert!(merged.workloads[0].stream_digest.ends_with("+another"));
}

#[test]
fn time_line_without_histograms_is_not_made_up() {
    let (a, mut b) = (recorded(&[1_000; 300], 3), recorded(&[9_000; 200], 2));
    b.cells[0].measurement.as_mut().unwrap().timeline[1].histogram = None;
    let merged = merge(&[a, b], &concurrent()).unwrap();
    assert!(merged.cells[0].measurement.as_ref().unwrap().timeline.is_empty());
}

#[test]
fn different_cells_stand_side_by_side() {
    let whole = sample::quick();
    let part = |keep: fn(&str) -> bool| {
        let mut part = whole.clone();
        part.cells.retain(|cell| keep(&cell.engine));
        part
    };
    let merged = after_one_another(&[part(|name| name == "lsm"), part(|name| name != "lsm")]);
    assert_eq!(merged.cells.len(), whole.cells.len());
    assert_eq!(merged.run.trials, 3);
    assert!(merged.run.id.contains(" (2)"), "{}", merged.run.id);
    assert_eq!(merged.run.status, RunStatus::Complete);
}

#[test]
fn further_runs_become_further_trials() {
    let first = sample::quick();
    let mut second = first.clone();
    second.run.id = "quick-later".to_owned();
    let merged = after_one_another(&[first.clone(), second]);
    assert_eq!(merged.cells.len(), 2 * first.cells.len());
    assert_eq!(merged.run.trials, 6);
    assert_eq!(merged.run.id, "quick-20260102-030405+quick-later");
    let trials: Vec<u32> = merged
        .cells
        .iter()
        .filter(|cell| cell.engine == "lsm" && cell.workload == "ycsb-a")
        .filter(|cell| cell.phase == Phase::Run)
        .map(|cell| cell.trial)
        .collect();
    assert_eq!(trials, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_does_not_belong_together_is_refused_with_the_reason() {
    let check = |reason: &str, options: &MergeOptions, change: fn(&mut ResultFile)| {
        let mut other = sample::quick();
        other.run.id = "other".to_owned();
        change(&mut other);
        let error = merge(&[sample::quick(), other], options).unwrap_err();
        assert!(matches!(error, Error::NotMergeable { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(reason), "{message} lacks {reason}");
        assert!(message.contains("quick-20260102-030405 and "), "{message}");
    };
    let plain = MergeOptions::default();
    check("the seed differs: 7 and 8", &plain, |r| r.run.seed = 8);
    check("the processor differs", &plain, |r| r.environment.cpu_model = "i386".to_owned());
    check("the commit differs", &plain, |r| r.environment.commit = None);
    check("the page cache's state differs", &plain, |r| r.environment.page_cache = "cold".into());
    check("the memory limit differs", &plain, |r| r.run.memory_limit_bytes = Some(1));
    check("the spec of ycsb-a differs", &concurrent(), |r| {
        r.workloads[0].spec_digest = "x".to_owned();
    });
    check("the operations of ycsb-a differ", &plain, |r| {
        r.workloads[0].stream_digest = "x".to_owned();
    });
    check("options or durability call of lsm differ", &plain, |r| {
        r.engines[1].options.clear();
    });
    check("the same run", &plain, |r| r.run.id = "quick-20260102-030405".to_owned());
    check("a recovery cannot be added", &concurrent(), |_| {});
    let swept = sample::sweep();
    let error = merge(&[swept.clone(), swept], &concurrent()).unwrap_err().to_string();
    assert!(error.contains("rates that were swept"), "{error}");
    assert!(matches!(merge(&[], &plain), Err(Error::NoResults)));
}

#[test]
fn load_generators_ran_at_the_same_time() {
    let (mut a, mut b) = (recorded(&[1_000; 300], 1), recorded(&[9_000; 200], 1));
    (a.run.started_at, a.run.duration_s) = ("2026-01-02T03:04:05Z".to_owned(), 60.0);
    (b.run.started_at, b.run.duration_s) = ("2026-01-02T03:05:04Z".to_owned(), 60.0);
    assert!(merge(&[a.clone(), b.clone()], &concurrent()).is_ok());
    b.run.started_at = "2026-01-02T03:05:05Z".to_owned();
    for results in [[a.clone(), b.clone()], [b.clone(), a.clone()]] {
        let error = merge(&results, &concurrent()).unwrap_err().to_string();
        assert!(error.contains("did not run at the same time"), "{error}");
        assert!(error.contains("2026-01-02T03:05:05Z for 60.0 s"), "{error}");
    }
    b.run.started_at = "yesterday".to_owned();
    let error = merge(&[a, b], &concurrent()).unwrap_err().to_string();
    assert!(error.contains("'yesterday' is no time"), "{error}");
}

#[test]
fn warnings_are_those_of_the_whole() {
    let one = |id: &str| {
        let mut result = recorded(&[1_000; 300], 1);
        result.run.id = id.to_owned();
        result.cells[0].threads = 3;
        result.environment.cpus = 4;
        result.run.warnings = vec![ONE_TRIAL.to_owned(), "the fan was loud".to_owned()];
        result
    };
    let trials = after_one_another(&[one("a"), one("b")]);
    assert_eq!(trials.run.warnings, ["the fan was loud"]);
    let generators = merge(&[one("a"), one("b")], &concurrent()).unwrap();
    let shared = "6 client threads share 4 processors";
    assert_eq!(generators.run.warnings, [ONE_TRIAL, "the fan was loud", shared]);
    let mut another = one("b");
    another.cells[0].engine = "lmdb".to_owned();
    let engines = after_one_another(&[one("a"), another]);
    assert_eq!(engines.run.warnings, [ONE_TRIAL, "the fan was loud"], "each has one trial");
}

#[test]
fn the_worst_status_of_load_generators_counts() {
    let (a, mut b) = (recorded(&[1_000; 300], 1), recorded(&[9_000; 200], 1));
    b.cells[0].status = CellStatus::WrongData;
    b.cells[0].error = Some("key 7 held another's value".to_owned());
    let merged = merge(&[a, b], &concurrent()).unwrap();
    assert_eq!(merged.cells[0].status, CellStatus::WrongData);
    assert_eq!(merged.cells[0].error.as_deref(), Some("key 7 held another's value"));
}
