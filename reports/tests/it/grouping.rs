//! Cells under different conditions never meet.

use kvdyno_reports::{Durability, Phase, write_report};

use crate::page::{page, section};
use crate::sample;

#[test]
fn durability_classes_never_share_a_table_or_chart() {
    let mut result = sample::quick();
    for cell in &mut result.cells {
        if cell.engine == "lmdb" {
            cell.durability = Durability::Sync;
        }
    }
    let html = page(&[result]);
    assert!(!section(&html, "scores-os").contains("lmdb"));
    assert!(section(&html, "scores-sync").contains("lmdb"));
    assert!(!section(&html, "charts-os").contains("lmdb"));
    assert!(!section(&html, "charts-sync").contains("bitcask"));
    assert!(!section(&html, "details-sync").contains("fjall"));
    assert!(html.contains("id=\"ycsb-a-percentiles-sync\""));
}

#[test]
fn threads_and_records_are_kept_apart() {
    let mut result = sample::quick();
    for cell in &mut result.cells {
        match cell.engine.as_str() {
            "lmdb" => cell.threads = 4,
            "fjall" => cell.records = 50_000,
            _ => {}
        }
    }
    let html = page(&[result]);
    assert!(section(&html, "scores-4t-100000r").contains("lmdb"));
    assert!(section(&html, "scores-1t-50000r").contains("fjall"));
    let rest = section(&html, "scores-1t-100000r");
    assert!(rest.contains("bitcask") && !rest.contains("lmdb") && !rest.contains("fjall"));
}

#[test]
fn results_of_different_machines_are_kept_apart() {
    let mut other = sample::quick();
    other.run.id = "elsewhere".to_owned();
    other.environment.cpu_model = "another processor".to_owned();
    let html = page(&[sample::quick(), other]);
    assert!(section(&html, "scores-1").contains("lsm (quick-20260102-030405)"));
    assert!(!section(&html, "scores-1").contains("lsm (elsewhere)"));
    assert!(section(&html, "scores-2").contains("lsm (elsewhere)"));
}

#[test]
fn results_of_one_machine_meet_under_names_that_tell_them_apart() {
    let html = page(&[sample::quick(), sample::changed(|m| m.throughput_ops_per_s *= 2.0)]);
    let scores = section(&html, "scores");
    assert!(scores.contains("lsm (quick-20260102-030405)"));
    assert!(scores.contains("lsm (quick-20260103-030405)"));
}

#[test]
fn same_workload_name_with_another_spec_is_another_setup() {
    let mut other = sample::quick();
    other.run.id = "other-spec".to_owned();
    other.workloads[0].spec_digest = "different".to_owned();
    let html = page(&[sample::quick(), other]);
    assert!(section(&html, "scores-2").contains("lsm (other-spec)"));
}

#[test]
fn names_that_become_one_file_name_stay_two_files() {
    let mut result = sample::without_cells();
    let cells = sample::quick().cells;
    let runs =
        cells.into_iter().filter(|cell| cell.workload == "ycsb-a" && cell.phase == Phase::Run);
    for mut cell in runs {
        cell.workload = "a b".to_owned();
        result.cells.push(cell.clone());
        cell.workload = "a/b".to_owned();
        result.cells.push(cell);
    }
    let dir = tempfile::tempdir().unwrap();
    let files = write_report(&[result], dir.path()).unwrap();
    let mut unique = files.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), files.len());
    assert!(files.iter().all(|file| file.is_file() && file.starts_with(dir.path())));
}
