//! An invented result: what a run of the suite `quick` might look like, with everything in it that a
//! report must cope with. The figures are plausible, deterministic, and measured nowhere.

#![allow(
    clippy::wildcard_imports,
    clippy::assigning_clones,
    reason = "plain data, written plainly"
)]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use hdrhistogram::Histogram;
use kvdyno_reports::*;

#[path = "sample_engines.rs"]
mod engines;
#[path = "sample_measurement.rs"]
mod measurement;
#[path = "sample_rates.rs"]
mod rates;
#[path = "sample_recoveries.rs"]
mod recoveries;

use engines::{CHARACTERS, Character, engine};
use measurement::{latencies, measure};
pub use rates::{at_rate, sweep};
pub use recoveries::{log_sizes, recoveries};

const RECORDS: u64 = 100_000;
const VALUE_BYTES: u64 = 1_000;
const OPERATIONS: u64 = 200_000;
const TRIALS: u32 = 3;

/// Operation kinds and their shares.
type Mix = &'static [(&'static str, f64)];

const MIXES: [(&str, &str, Mix); 6] = [
    ("ycsb-a", "Update heavy: sessions", &[("read", 0.5), ("update", 0.5)]),
    ("ycsb-b", "Read mostly: tagging photos", &[("read", 0.95), ("update", 0.05)]),
    ("ycsb-c", "Read only: a cache of profiles", &[("read", 1.0)]),
    ("ycsb-d", "Read latest: status updates", &[("insert", 0.05), ("read", 0.95)]),
    ("ycsb-e", "Short ranges: threaded conversations", &[("insert", 0.05), ("scan", 0.95)]),
    ("ycsb-f", "Read-modify-write: user records", &[("read", 0.5), ("read_modify_write", 0.5)]),
];

/// Numbers in [0, 1) that look random and never change (`SplitMix64`).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Around 1, within `share` of it.
    fn around(&mut self, share: f64) -> f64 {
        1.0 + (self.next() - 0.5) * 2.0 * share
    }
}

/// A whole run: four stores, memory and noop, load and YCSB A to F, recovery, three trials.
pub fn quick() -> ResultFile {
    static QUICK: LazyLock<ResultFile> = LazyLock::new(make_quick);
    QUICK.clone()
}

fn make_quick() -> ResultFile {
    let mut result = without_cells();
    let mut noise = Noise(7);
    for trial in 1..=TRIALS {
        for character in &CHARACTERS {
            result.cells.push(load(character, trial, &mut noise));
            for (workload, _, mix) in MIXES {
                result.cells.push(run(character, workload, mix, trial, &mut noise));
            }
            if character.name != "memory" {
                result.cells.push(recover(character, trial, &mut noise));
            }
        }
    }
    for cell in &mut result.cells {
        if cell.engine == "fjall" && cell.workload == "ycsb-f" {
            cell.status = CellStatus::Failed;
            cell.error = Some("the child process ended with signal 6 (SIGABRT)".to_owned());
            cell.measurement = None;
        }
    }
    result.run.cells_planned = result.cells.len() as u64;
    result
}

/// The same run without the cells that fail.
pub fn flawless() -> ResultFile {
    let mut result = quick();
    result.cells.retain(|cell| cell.status != CellStatus::Failed);
    result.run.cells_planned = result.cells.len() as u64;
    result
}

/// The same run with four engines more, variants among them.
pub fn many() -> ResultFile {
    let mut result = quick();
    let more = [("lsm", "rocksdb"), ("lsm", "rocksdb@mmap"), ("lmdb", "sqlite"), ("lmdb", "redb")];
    for (like, name) in more {
        let info = result.engines.iter().find(|engine| engine.name == like).unwrap().clone();
        result.engines.push(EngineInfo { name: name.to_owned(), ..info });
        let cells: Vec<_> =
            result.cells.iter().filter(|cell| cell.engine == like).cloned().collect();
        for mut cell in cells {
            cell.engine = name.to_owned();
            if let Some(measurement) = &mut cell.measurement {
                measurement.throughput_ops_per_s *= 0.3 + name.len() as f64 * 0.05;
            }
            result.cells.push(cell);
        }
    }
    result.run.cells_planned = result.cells.len() as u64;
    result
}

/// The same run with `change` applied to every measurement.
pub fn changed(change: impl Fn(&mut Measurement)) -> ResultFile {
    let mut result = quick();
    result.run.id = "quick-20260103-030405".to_owned();
    result.cells.iter_mut().filter_map(|cell| cell.measurement.as_mut()).for_each(change);
    result
}

/// The run before its first cell.
pub fn without_cells() -> ResultFile {
    ResultFile {
        schema: SCHEMA.to_owned(),
        run: RunInfo {
            id: "quick-20260102-030405".to_owned(),
            suite: "quick".to_owned(),
            command: ["kvdyno", "run", "quick", "--seed", "7"].map(str::to_owned).to_vec(),
            started_at: "2026-01-02T03:04:05Z".to_owned(),
            duration_s: 171.4,
            seed: 7,
            trials: TRIALS,
            verify: "content".to_owned(),
            stores: StoreUse::Copies,
            memory_limit_bytes: None,
            status: RunStatus::Complete,
            cells_planned: 0,
            warnings: vec![
                "2 processors: background threads of an engine compete with its clients".to_owned(),
            ],
        },
        environment: environment(),
        harness: HarnessInfo {
            clock: "tsc".to_owned(),
            clock_read_ns: 8.5,
            clock_step_ns: 0.4,
            noop: MIXES
                .iter()
                .map(|(workload, ..)| NoopCost {
                    workload: (*workload).to_owned(),
                    threads: 1,
                    ns_per_operation: if *workload == "ycsb-e" { 97.0 } else { 68.0 },
                    timed_section_ns: Some(19.0),
                    rss_anon_bytes: 2_400_000,
                })
                .collect(),
        },
        engines: CHARACTERS.iter().map(engine).collect(),
        workloads: MIXES.iter().map(|(name, about, mix)| workload(name, about, mix)).collect(),
        cells: Vec::new(),
    }
}

fn environment() -> Environment {
    Environment {
        cpu_model: "AMD EPYC 9R14".to_owned(),
        cpus: 2,
        memory_bytes: 8_200_000_000,
        kernel: "Linux 6.12.41".to_owned(),
        hypervisor: Some("KVM".to_owned()),
        cpu_governor: None,
        store_file_system: "ext4".to_owned(),
        store_device: Some("vda".to_owned()),
        page_cache: "warm".to_owned(),
        first_touch: Some(FirstTouch {
            bytes: 2_147_483_648,
            first_ns_per_page: 9_800.0,
            again_ns_per_page: 310.0,
        }),
        compiler: "rustc 1.95.0".to_owned(),
        build_profile: "release".to_owned(),
        kvdyno_version: "0.1.0".to_owned(),
        commit: Some("0123456789abcdef".to_owned()),
    }
}

fn workload(name: &str, about: &str, mix: &[(&str, f64)]) -> WorkloadInfo {
    WorkloadInfo {
        name: name.to_owned(),
        description: about.to_owned(),
        records: RECORDS,
        value_bytes: VALUE_BYTES,
        mix: mix.iter().map(|(kind, share)| ((*kind).to_owned(), *share)).collect(),
        streams: 64,
        stream_digest: "9f86d081884c7d65".to_owned(),
        digest_operations: 1_000,
        spec_digest: format!("{name}-2c26b46b68ffc68f"),
        spec: serde_json::json!({ "name": name, "records": RECORDS, "operations": OPERATIONS }),
        hottest_key_share: Some(0.0378),
        top_20_percent_share: Some(0.71),
    }
}

/// A cell without figures.
pub fn cell(engine: &str, workload: &str, phase: Phase, trial: u32) -> Cell {
    Cell {
        engine: engine.to_owned(),
        workload: workload.to_owned(),
        durability: Durability::Os,
        threads: 1,
        records: RECORDS,
        value_bytes: VALUE_BYTES,
        offered_ops_per_s: None,
        scenario: None,
        trial,
        phase,
        status: CellStatus::Ok,
        error: None,
        measurement: None,
        recovery: None,
    }
}

fn load(character: &Character, trial: u32, noise: &mut Noise) -> Cell {
    Cell {
        measurement: Some(measure(character, &[("insert", 1.0)], RECORDS, noise)),
        ..cell(character.name, "load", Phase::Load, trial)
    }
}

fn run(
    character: &Character,
    workload: &str,
    mix: &[(&str, f64)],
    trial: u32,
    noise: &mut Noise,
) -> Cell {
    let cell = cell(character.name, workload, Phase::Run, trial);
    if character.scan_ns.is_none() && mix.iter().any(|(kind, _)| *kind == "scan") {
        let error = Some("bitcask has no range scans".to_owned());
        return Cell { status: CellStatus::Unsupported, error, ..cell };
    }
    Cell { measurement: Some(measure(character, mix, OPERATIONS, noise)), ..cell }
}

fn recover(character: &Character, trial: u32, noise: &mut Noise) -> Cell {
    let open_ms = character.open_ms * noise.around(0.1);
    Cell {
        recovery: Some(Recovery {
            scenario: "kill -9 while writing".to_owned(),
            acknowledged_writes: 412_345,
            written_s: 1.5,
            open_ms,
            first_read_ms: open_ms + 0.4,
            records_verified: 98_765,
            records_lost: 0,
            records_wrong: 0,
            store_bytes: 160_000_000,
            reopen_clean_ms: open_ms * 0.4,
            ..Recovery::default()
        }),
        ..cell(character.name, "ycsb-a", Phase::Recover, trial)
    }
}
