//! `summary.csv`.

use std::fs;

use kvdyno_reports::{
    CellStatus, Phase, SUMMARY_COLUMNS, encode_latency, summary_csv, write_report, write_summary,
};

use crate::sample;

const HEADER: &str = "suite,workload,engine,durability,threads,records,value_bytes,trial,phase,\
    operation,operations,errors,throughput_ops_per_s,throughput_settled_ops_per_s,service_p50_ns,\
    service_p90_ns,service_p99_ns,service_p999_ns,service_max_ns,response_p50_ns,response_p99_ns,\
    response_max_ns,write_amplification_end,write_amplification_settled,read_amplification,\
    space_amplification_end,space_amplification_settled,cpu_us_per_op,rss_anon_bytes,fsyncs,\
    recovery_ms,status";

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
    let unsupported = kvdyno_reports::Cell {
        status: CellStatus::Unsupported,
        ..sample::cell("bitcask, \"fast\"", "ycsb-e", Phase::Run, 1)
    };
    let recovery = kvdyno_reports::Cell {
        recovery: Some(kvdyno_reports::Recovery { open_ms: 12.5, ..Default::default() }),
        ..sample::cell("lsm", "ycsb-a", Phase::Recover, 1)
    };
    result.cells = vec![run, unsupported, recovery];
    let csv = summary_csv(&result);
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert_eq!(
        rows,
        [
            "quick,ycsb-a,lsm,os,1,100000,1000,1,run,read,10000,0,5000,4000,500,500,900,,900,,,,,,,,,,,,,ok",
            "quick,ycsb-a,lsm,os,1,100000,1000,1,run,update,10000,0,5000,4000,500,500,900,,900,,,,,,,,,,,,,ok",
            "quick,ycsb-a,lsm,os,1,100000,1000,1,run,all,20000,0,10000,8000,500,500,900,,900,500,900,900,2.5,4.25,,1.5,1.25,2.75,9000000,12,,ok",
            "quick,ycsb-e,\"bitcask, \"\"fast\"\"\",os,1,100000,1000,1,run,all,,,,,,,,,,,,,,,,,,,,,,unsupported",
            "quick,ycsb-a,lsm,os,1,100000,1000,1,recover,all,,,,,,,,,,,,,,,,,,,,,12.5,ok",
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
