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

#[path = "sample_rates.rs"]
mod rates;
#[path = "sample_recoveries.rs"]
mod recoveries;

pub use rates::{at_rate, sweep};
pub use recoveries::{log_sizes, recoveries};

const RECORDS: u64 = 100_000;
const VALUE_BYTES: u64 = 1_000;
const OPERATIONS: u64 = 200_000;
const TRIALS: u32 = 3;
/// Invented runs are short: points a fortieth of the run apart show what long ones show.
const TIMELINE_POINTS: usize = 40;

/// An engine's character: how long its operations take, how heavy its tail is, what it writes.
struct Character {
    name: &'static str,
    version: &'static str,
    description: &'static str,
    read_ns: f64,
    write_ns: f64,
    scan_ns: Option<f64>,
    tail: f64,
    sources: &'static [(&'static str, f64)],
    space: f64,
    memory_per_record: f64,
    open_ms: f64,
}

const CHARACTERS: [Character; 5] = [
    Character {
        name: "bitcask",
        version: "0.1.0",
        description: "hash index over an append-only log",
        read_ns: 900.0,
        write_ns: 1_400.0,
        scan_ns: None,
        tail: 0.22,
        sources: &[("log", 1.03), ("hint", 0.02), ("merge", 0.31)],
        space: 1.42,
        memory_per_record: 41.0,
        open_ms: 38.0,
    },
    Character {
        name: "lsm",
        version: "0.1.0",
        description: "log-structured merge tree, levelled compaction",
        read_ns: 2_100.0,
        write_ns: 2_300.0,
        scan_ns: Some(14_000.0),
        tail: 0.34,
        sources: &[("log", 1.02), ("flush", 1.0), ("compaction", 3.4), ("manifest", 0.01)],
        space: 1.18,
        memory_per_record: 92.0,
        open_ms: 12.0,
    },
    Character {
        name: "fjall",
        version: "3.1.6",
        description: "log-structured merge tree",
        read_ns: 2_900.0,
        write_ns: 3_600.0,
        scan_ns: Some(21_000.0),
        tail: 0.36,
        sources: &[("log", 1.05), ("flush", 1.0), ("compaction", 4.6)],
        space: 1.24,
        memory_per_record: 170.0,
        open_ms: 21.0,
    },
    Character {
        name: "lmdb",
        version: "0.9.33",
        description: "copy-on-write B+ tree in a memory map",
        read_ns: 1_000.0,
        write_ns: 6_800.0,
        scan_ns: Some(9_000.0),
        tail: 0.18,
        sources: &[],
        space: 1.61,
        memory_per_record: 3.0,
        open_ms: 1.2,
    },
    Character {
        name: "memory",
        version: "0.1.0",
        description: "ordered map in memory: an upper bound, not a store",
        read_ns: 480.0,
        write_ns: 700.0,
        scan_ns: Some(3_000.0),
        tail: 0.1,
        sources: &[],
        space: 1.0,
        memory_per_record: 1_120.0,
        open_ms: 0.0,
    },
];

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

fn engine(character: &Character) -> EngineInfo {
    EngineInfo {
        name: character.name.to_owned(),
        version: character.version.to_owned(),
        description: character.description.to_owned(),
        options: BTreeMap::from([
            ("block_cache_bytes".to_owned(), "67,108,864".to_owned()),
            ("write_buffer_bytes".to_owned(), "16,777,216".to_owned()),
        ]),
        durability_call: "write(2), no fsync".to_owned(),
        unsupported: if character.scan_ns.is_none() { vec!["scan".to_owned()] } else { vec![] },
        durability_check: durability_check(character.name),
    }
}

/// Kept on two engines, broken on a third, not to be checked on a fourth, not run on the last.
fn durability_check(engine: &str) -> Option<DurabilityCheck> {
    let check = |kept, note: &str| DurabilityCheck {
        method: "kill -9 while writing".to_owned(),
        acknowledgements: 20_000,
        sync_calls: Some(3),
        device_flushes: (engine == "lsm").then_some(2),
        kept,
        note: note.to_owned(),
    };
    match engine {
        "bitcask" | "lsm" => Some(check(Some(true), "all 20,000 acknowledged writes were there")),
        "fjall" => Some(check(Some(false), "7 of 20,000 acknowledged writes were gone")),
        "lmdb" => Some(check(None, "system calls cannot be traced in this container")),
        _ => None,
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

fn measure(
    character: &Character,
    mix: &[(&str, f64)],
    operations: u64,
    noise: &mut Noise,
) -> Measurement {
    let mut all = Histogram::<u64>::new(3).unwrap();
    let mut stats = Vec::new();
    let mut seconds = 0.0;
    let mut writes = 0;
    for (kind, share) in mix {
        let base = match *kind {
            "read" => character.read_ns,
            "scan" => character.scan_ns.unwrap_or(0.0),
            "read_modify_write" => character.read_ns + character.write_ns,
            _ => character.write_ns,
        };
        let count = (operations as f64 * share) as u64;
        let histogram = latencies(base * noise.around(0.04), character.tail, count);
        seconds += histogram.mean() * count as f64 / 1e9;
        writes += if matches!(*kind, "read" | "scan") { 0 } else { count };
        all.add(&histogram).unwrap();
        stats.push(OperationStats {
            kind: (*kind).to_owned(),
            operations: histogram.len(),
            errors: 0,
            items: (*kind == "scan").then_some(histogram.len() * 50),
            service: encode_latency(&histogram),
            response: None,
        });
    }
    stats.push(OperationStats {
        kind: "all".to_owned(),
        operations: all.len(),
        errors: 0,
        items: None,
        service: encode_latency(&all),
        response: None,
    });
    let settle_s = if writes > 0 { 0.08 * noise.around(0.3) } else { 0.0 };
    let done = all.len() as f64;
    let io = io(character, writes);
    let memory = character.memory_per_record * RECORDS as f64;
    let timeline_noise: Vec<f64> = (0..TIMELINE_POINTS).map(|_| noise.around(0.15)).collect();
    let events = events(character, seconds, writes > 0, noise);
    let stalls = || events.iter().filter(|event| event.kind == "stall");
    let tells_stalls = matches!(character.name, "bitcask" | "lsm" | "fjall");
    Measurement {
        warm_up: "1 s".to_owned(),
        open_loop: None,
        rates: Vec::new(),
        slo: None,
        stall_count: tells_stalls.then(|| stalls().count() as u64),
        stall_s: tells_stalls.then(|| stalls().map(|event| event.end_s - event.start_s).sum()),
        machine: Some(MachineNoise {
            hiccup_max_ns: 3_200_000,
            hiccup_p99_ns: 110_000,
            steal_s: Some(seconds * 0.002),
        }),
        resident_share_before: Some(0.97),
        duration_s: seconds,
        settle_s,
        throughput_ops_per_s: done / seconds,
        throughput_settled_ops_per_s: done / (seconds + settle_s),
        operations: stats,
        timeline: timeline(character, &all, seconds, writes > 0, &timeline_noise),
        events,
        resources: Resources {
            cpu_user_s: seconds * 0.8,
            cpu_system_s: seconds * 0.3,
            cpu_us_per_op: seconds * 1.1 / done * 1e6,
            rss_anon_bytes: Some(memory as u64 + 2_400_000),
            rss_anon_peak_bytes: Some(memory as u64 + 9_400_000),
            rss_file_bytes: Some(4_000_000),
            memory_bytes: Some(memory as u64),
            memory_bytes_per_record: Some(character.memory_per_record),
            minor_faults: 12_345,
            major_faults: 0,
        },
        amplification: amplification(character, &io),
        io,
        counters: BTreeMap::from([("cache_hits".to_owned(), 99_123.0)]),
        check: DataCheck {
            scope: "sample".to_owned(),
            records_checked: 10_000,
            reads_checked: all.len() / 2,
            check_ns_per_operation: Some(14.0),
            ..DataCheck::default()
        },
    }
}

/// Latencies with a median near `base` and a power law for a tail.
fn latencies(base: f64, tail: f64, count: u64) -> Histogram<u64> {
    const STEPS: u64 = 20_000;
    let mut histogram = Histogram::new(3).unwrap();
    let each = (count / STEPS).max(1);
    for step in 0..count.min(STEPS) {
        let above = 1.0 - (step as f64 + 0.5) / STEPS as f64;
        let value =
            base * (0.7 + 0.3 * (0.5 / above).powf(tail) + (0.0007 / above).powf(1.1 + tail));
        histogram.record_n(value as u64, each).unwrap();
    }
    histogram
}

fn timeline(
    character: &Character,
    all: &Histogram<u64>,
    seconds: f64,
    writing: bool,
    noise: &[f64],
) -> Vec<TimelinePoint> {
    let length_s = seconds / TIMELINE_POINTS as f64;
    // A few shapes are enough: encoding one for every interval would take long.
    let mean = all.len() as f64 / TIMELINE_POINTS as f64;
    let shapes = [0.86, 0.93, 1.0, 1.07, 1.14].map(|share| thinned(all, mean * share));
    let texts = shapes.each_ref().map(encode_histogram);
    let shape = |around: f64| (((around - 0.85) / 0.3 * 5.0) as usize).min(4);
    let writes = |ratio: f64| writing.then_some((2_000_000.0 * ratio) as u64);
    noise
        .iter()
        .enumerate()
        .map(|(at, around)| TimelinePoint {
            start_s: at as f64 * length_s,
            length_s,
            operations: shapes[shape(*around)].len(),
            p50_ns: all.value_at_quantile(0.5),
            p99_ns: (all.value_at_quantile(0.99) as f64 * around.powi(3)) as u64,
            max_ns: all.max(),
            histogram: Some(texts[shape(*around)].clone()),
            response_p50_ns: None,
            response_p99_ns: None,
            response_max_ns: None,
            rss_anon_bytes: Some(9_000_000 + at as u64 * 60_000),
            cpu_s: Some(length_s * around.min(1.0)),
            engine_bytes_written: writes(*around).filter(|_| !character.sources.is_empty()),
            device_bytes_written: writes(if at % 10 == 9 { 8.0 } else { 0.2 }),
            allocated_bytes: Some(120_000_000 + at as u64 * 800_000),
            hiccup_max_ns: Some(if at == 21 { 3_200_000 } else { 60_000 }),
            steal_s: Some(if at == 21 { length_s * 0.3 } else { 0.0 }),
        })
        .collect()
}

/// A histogram of about the same shape with about this many samples.
fn thinned(all: &Histogram<u64>, samples: f64) -> Histogram<u64> {
    let share = samples / all.len() as f64;
    let mut thin = Histogram::new(3).unwrap();
    let mut due = 0.0;
    for value in all.iter_recorded() {
        due += value.count_since_last_iteration() as f64 * share;
        thin.record_n(value.value_iterated_to(), due as u64).unwrap();
        due = due.fract();
    }
    thin
}

fn events(
    character: &Character,
    seconds: f64,
    writing: bool,
    noise: &mut Noise,
) -> Vec<BackgroundEvent> {
    let event = |kind: &str, start: f64, length: f64| BackgroundEvent {
        kind: kind.to_owned(),
        start_s: start * seconds,
        end_s: (start + length) * seconds,
        bytes_written: Some(16_777_216),
    };
    match character.name {
        "lsm" | "fjall" if writing => (0..5)
            .flat_map(|at| {
                let start = (f64::from(at) + noise.next()) / 5.0;
                let mut events =
                    vec![event("flush", start, 0.03), event("compaction", start + 0.04, 0.09)];
                if at == 3 {
                    events.push(event("stall", start + 0.02, 0.015));
                }
                events
            })
            .collect(),
        "bitcask" if writing => vec![event("merge", 0.55, 0.2)],
        _ => Vec::new(),
    }
}

fn io(character: &Character, writes: u64) -> Io {
    let user = writes * (VALUE_BYTES + 23);
    let sources: BTreeMap<String, u64> = character
        .sources
        .iter()
        .map(|(source, ratio)| ((*source).to_owned(), (user as f64 * ratio) as u64))
        .collect();
    let told = !character.sources.is_empty() && writes > 0;
    let total: u64 = sources.values().sum();
    Io {
        user_bytes_written: user,
        user_bytes_read: 100_000_000,
        engine_bytes_written_end: told.then(|| sources.clone()),
        engine_bytes_written_settled: told.then_some(sources),
        device_bytes_written_end: (writes > 0).then_some(total.max(user) + 4_096),
        device_bytes_written_settled: (writes > 0).then_some(total.max(user) + 8_192),
        device_bytes_read: Some(0),
        engine_bytes_read: told.then_some(180_000_000),
        engine_read_calls: told.then_some(170_000),
        fsyncs: told.then_some(12),
        kernel_dirtied_bytes: Some(total),
    }
}

fn amplification(character: &Character, io: &Io) -> Amplification {
    let over_user = |bytes: u64| {
        (io.user_bytes_written > 0).then(|| bytes as f64 / io.user_bytes_written as f64)
    };
    let engine = io
        .engine_bytes_written_settled
        .as_ref()
        .and_then(|sources| over_user(sources.values().sum()));
    let live = RECORDS * (VALUE_BYTES + 23);
    Amplification {
        write_end: engine.map(|ratio| ratio * 0.9),
        write_settled: engine,
        write_device_end: io.device_bytes_written_end.and_then(over_user),
        write_device_settled: io.device_bytes_written_settled.and_then(over_user),
        read: io.engine_bytes_read.map(|bytes| bytes as f64 / io.user_bytes_read as f64),
        read_calls_per_item: io.engine_read_calls.map(|calls| calls as f64 / OPERATIONS as f64),
        space_end: Some(character.space * 1.1),
        space_settled: Some(character.space),
        space_peak: Some(character.space * 1.3),
        live_bytes: live,
        allocated_bytes_end: Some((live as f64 * character.space * 1.1) as u64),
        allocated_bytes_settled: Some((live as f64 * character.space) as u64),
    }
}
