//! `summary.csv`.

use std::fs;

use kvdyno_reports::{
    CellStatus, LogSize, PageCache, Phase, RecoveryEnding, RecoveryScenario, SUMMARY_COLUMNS,
    encode_latency, summary_csv, write_report, write_summary,
};

use crate::sample;

const HEADER: &str = "suite,workload,engine,durability,threads,records,value_bytes,trial,phase,\
    operation,operations,errors,throughput_ops_per_s,throughput_settled_ops_per_s,service_p50_ns,\
    service_p90_ns,service_p99_ns,service_p999_ns,service_max_ns,response_p50_ns,response_p99_ns,\
    response_max_ns,write_amplification_end,write_amplification_settled,read_amplification,\
    space_amplification_end,space_amplification_settled,cpu_us_per_op,rss_anon_bytes,fsyncs,\
    recovery_ms,status,service_p95_ns,response_p95_ns,response_p999_ns,offered_ops_per_s,\
    target_reached,scenario,page_cache,stall_count,stall_s,run,time_to_first_read_ms,\
    to_90_percent_ms,row,log_size,written_bytes,never_done";

#[test]
fn header_is_the_agreed_one() {
    assert_eq!(summary_csv(&sample::without_cells()), format!("{HEADER}\n"));
    assert_eq!(SUMMARY_COLUMNS.join(","), HEADER);
}

/// One cell of each kind, with figures that a person can follow.
#[test]
fn rows_are_golden() {
    let mut result = sample::without_cells();
    let mut run = sample::quick()
        .cells
        .into_iter()
        .find(|cell| cell.engine == "lsm" && cell.workload == "ycsb-a" && cell.phase == Phase::Run)
        .unwrap();
    let measurement = run.measurement.as_mut().unwrap();
    let mut histogram = hdrhistogram::Histogram::new(3).unwrap();
    histogram.record_n(500, 9_000).unwrap();
    histogram.record_n(900, 1_000).unwrap();
    (measurement.duration_s, measurement.settle_s) = (2.0, 0.5);
    measurement.throughput_ops_per_s = 10_000.0;
    measurement.throughput_settled_ops_per_s = 8_000.0;
    for stats in &mut measurement.operations {
        stats.operations = if stats.kind == "all" { 20_000 } else { 10_000 };
        stats.service = encode_latency(&histogram);
    }
    measurement.operations[2].response = Some(encode_latency(&histogram));
    measurement.amplification.write_end = Some(2.5);
    measurement.amplification.write_settled = Some(4.25);
    measurement.amplification.read = None;
    measurement.amplification.space_end = Some(1.5);
    measurement.amplification.space_settled = Some(1.25);
    measurement.resources.cpu_us_per_op = 2.75;
    measurement.resources.rss_anon_bytes = Some(9_000_000);
    measurement.io.fsyncs = Some(12);
    (measurement.stall_count, measurement.stall_s) = (Some(1), Some(0.25));
    let unsupported = kvdyno_reports::Cell {
        status: CellStatus::Unsupported,
        ..sample::cell("bitcask, \"fast\"", "ycsb-e", Phase::Run, 1)
    };
    let recovery = kvdyno_reports::Cell {
        recovery: Some(kvdyno_reports::Recovery {
            open_ms: 12.5,
            first_read_ms: 13.5,
            to_90_percent_ms: Some(99.5),
            written_bytes: Some(4096),
            ..Default::default()
        }),
        scenario: Some(RecoveryScenario {
            ending: RecoveryEnding::KillWithoutHints,
            page_cache: PageCache::Cold,
            written: Some(LogSize::DataPpm(125_000)),
        }),
        ..sample::cell("lsm", "ycsb-a", Phase::Recover, 1)
    };
    result.cells = vec![run, unsupported, recovery];
    let csv = summary_csv(&result);
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert_eq!(
        rows,
        [
            "quick,ycsb-a,lsm,os,1,100000,1000,1,run,read,10000,0,5000,4000,500,500,900,,900,,,,,,,,,,,,,ok,900,,,,,,warm,,,quick-20260102-030405,,,operation,,,",
            "quick,ycsb-a,lsm,os,1,100000,1000,1,run,update,10000,0,5000,4000,500,500,900,,900,,,,,,,,,,,,,ok,900,,,,,,warm,,,quick-20260102-030405,,,operation,,,",
            "quick,ycsb-a,lsm,os,1,100000,1000,1,run,all,20000,0,10000,8000,500,500,900,,900,500,900,900,2.5,4.25,,1.5,1.25,2.75,9000000,12,,ok,900,900,,,,,warm,1,0.25,quick-20260102-030405,,,operation,,,",
            "quick,ycsb-e,\"bitcask, \"\"fast\"\"\",os,1,100000,1000,1,run,all,,,,,,,,,,,,,,,,,,,,,,unsupported,,,,,,,warm,,,quick-20260102-030405,,,operation,,,",
            "quick,ycsb-a,lsm,os,1,100000,1000,1,recover,all,,,,,,,,,,,,,,,,,,,,,12.5,ok,,,,,,kill_without_hints,cold,,,quick-20260102-030405,13.5,99.5,operation,12.5 %,4096,",
        ]
    );
}

#[test]
fn file_replaces_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("summary.csv");
    write_summary(&sample::without_cells(), &path).unwrap();
    write_summary(&sample::quick(), &path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), summary_csv(&sample::quick()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays behind");
    let error = write_summary(&sample::quick(), "/nowhere/summary.csv".as_ref()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/"), "{error}");
}

#[test]
fn report_over_several_results_sums_up_all_of_them() {
    let mut first = sample::quick();
    first.cells.retain(|cell| cell.trial == 1 && cell.engine == "lsm");
    let mut second = sample::changed(|measurement| measurement.throughput_ops_per_s *= 2.0);
    second.cells.retain(|cell| cell.trial == 1 && cell.engine == "bitcask");
    let dir = tempfile::tempdir().unwrap();
    write_report(&[first.clone(), second.clone()], dir.path()).unwrap();
    let written = fs::read_to_string(dir.path().join("summary.csv")).unwrap();
    let second = summary_csv(&second);
    let (_, rows) = second.split_once('\n').unwrap();
    assert_eq!(written, summary_csv(&first) + rows);
}

/// The rows of a summary by column.
fn rows(csv: &str) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    reader.deserialize().collect::<Result<_, _>>().unwrap()
}

#[test]
fn offered_rates_have_rows_that_scripts_can_tell_apart() {
    let mut result = sample::sweep();
    result.cells.retain(|cell| cell.engine == "lsm" && cell.trial == 1);
    let rows = rows(&summary_csv(&result));
    let rates: Vec<_> = rows.iter().filter(|row| row["row"] == "rate").collect();
    assert_eq!(rates.len(), 9);
    for row in &rates {
        assert_eq!((row["phase"].as_str(), row["operation"].as_str()), ("run", "all"));
        assert!(!row["offered_ops_per_s"].is_empty() && !row["response_p99_ns"].is_empty());
        assert!(row["write_amplification_end"].is_empty(), "that is the cell's");
    }
    let reached: Vec<_> = rates.iter().map(|row| row["target_reached"].as_str()).collect();
    assert_eq!(reached[6..], ["true", "false", "true"]);
    let rest: Vec<_> = rows.iter().filter(|row| row["row"] == "operation").collect();
    assert_eq!(rest.len(), 3, "read, update and all");
    assert!(rest.iter().all(|row| row["offered_ops_per_s"].is_empty()));
}

#[test]
fn open_loops_tell_rate_and_target() {
    let rows = rows(&summary_csv(&sample::at_rate()));
    let reached = |engine: &str| {
        let row = rows.iter().find(|row| {
            row["engine"] == engine && row["phase"] == "run" && row["operation"] == "all"
        });
        let row = row.unwrap();
        assert_eq!(row["offered_ops_per_s"], "300000");
        assert!(!row["response_p999_ns"].is_empty() && !row["response_p95_ns"].is_empty());
        row["target_reached"].clone()
    };
    assert_eq!((reached("bitcask").as_str(), reached("lmdb").as_str()), ("true", "false"));
    let never_done = |engine: &str| {
        let of_cell = |row: &&std::collections::BTreeMap<String, String>| {
            row["engine"] == engine && row["phase"] == "run" && row["operation"] == "all"
        };
        rows.iter().filter(of_cell).map(|row| row["never_done"].parse().unwrap()).collect()
    };
    let (kept_up, fell_behind): (Vec<u64>, Vec<u64>) = (never_done("bitcask"), never_done("lmdb"));
    assert!(kept_up.iter().all(|never| *never == 0) && fell_behind.iter().any(|never| *never > 0));
    let of_kind = rows.iter().find(|row| row["operation"] == "read").unwrap();
    assert!(of_kind["never_done"].is_empty(), "it is a figure of the cell as a whole");
}

#[test]
fn names_are_no_formulas() {
    let mut result = sample::sweep();
    result.cells.truncate(1);
    result.cells[0].engine = "=cmd|' /C calc'!A0".to_owned();
    result.cells[0].workload = " @spaces and\u{7} bells\t".to_owned();
    result.run.id = "-1+2".to_owned();
    let rows = rows(&summary_csv(&result));
    assert_eq!(rows[0]["engine"], "'=cmd|' /C calc'!A0");
    assert_eq!(rows[0]["workload"], "'@spaces and  bells");
    assert_eq!(rows[0]["run"], "'-1+2");
}

#[test]
fn runs_of_the_same_id_are_told_apart() {
    let mut result = sample::sweep();
    result.cells.truncate(1);
    let dir = tempfile::tempdir().unwrap();
    write_report(&[result.clone(), result], dir.path()).unwrap();
    let written = rows(&fs::read_to_string(dir.path().join("summary.csv")).unwrap());
    let runs: std::collections::BTreeSet<_> = written.iter().map(|row| &row["run"]).collect();
    assert_eq!(runs.len(), 2, "{runs:?}");
}
