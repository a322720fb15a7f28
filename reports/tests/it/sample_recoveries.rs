//! An invented recovery study: sizes × ways to end × page cache.

use super::*;

const SCENARIOS: [(RecoveryEnding, PageCache); 5] = [
    (RecoveryEnding::CleanClose, PageCache::Warm),
    (RecoveryEnding::Kill, PageCache::Warm),
    (RecoveryEnding::Kill, PageCache::Cold),
    (RecoveryEnding::KillWithoutHints, PageCache::Warm),
    (RecoveryEnding::KillDamagedHints, PageCache::Warm),
];

/// Three engines, three sizes, five scenarios; lmdb has no hints, which is said rather than measured.
pub fn recoveries() -> ResultFile {
    let mut result = without_cells();
    result.run.id = "recover-20260106-030405".to_owned();
    let mut noise = Noise(11);
    for trial in 1..=2 {
        for records in [100_000_u64, 1_000_000, 10_000_000] {
            for character in
                CHARACTERS.iter().filter(|c| matches!(c.name, "bitcask" | "lsm" | "lmdb"))
            {
                for (ending, page_cache) in SCENARIOS {
                    let scenario = RecoveryScenario { ending, page_cache, written: None };
                    result.cells.push(one(character, records, scenario, trial, &mut noise));
                }
            }
        }
    }
    result.run.cells_planned = result.cells.len() as u64;
    result
}

/// One size, killed, after three amounts written, told in bytes or as a share; the log of lmdb costs nothing.
pub fn log_sizes() -> ResultFile {
    let mut result = without_cells();
    result.run.id = "recover-20260107-030405".to_owned();
    let mut noise = Noise(12);
    for trial in 1..=2 {
        for character in CHARACTERS.iter().filter(|c| matches!(c.name, "lsm" | "lmdb")) {
            let share = LogSize::DataPpm(125_000);
            for (mib, asked) in
                [(64_u64, LogSize::Bytes(64 << 20)), (1024, LogSize::Bytes(1 << 30)), (256, share)]
            {
                let scenario = RecoveryScenario {
                    ending: RecoveryEnding::Kill,
                    page_cache: PageCache::Warm,
                    written: Some(asked),
                };
                let mut cell = one(character, 1_000_000, scenario, trial, &mut noise);
                let recovery = cell.recovery.as_mut().unwrap();
                recovery.written_bytes = Some((mib << 20) + 1000);
                let replay_ms = if character.name == "lmdb" { 0.0 } else { mib as f64 };
                recovery.open_ms = 20.0 + replay_ms;
                recovery.first_read_ms = 20.0 + replay_ms;
                result.cells.push(cell);
            }
        }
    }
    result.run.cells_planned = result.cells.len() as u64;
    result
}

fn one(
    character: &Character,
    records: u64,
    scenario: RecoveryScenario,
    trial: u32,
    noise: &mut Noise,
) -> Cell {
    let hints = matches!(
        scenario.ending,
        RecoveryEnding::KillWithoutHints | RecoveryEnding::KillDamagedHints
    );
    let cell = Cell {
        records,
        scenario: Some(scenario),
        ..cell(character.name, "recovery", Phase::Recover, trial)
    };
    if hints && character.name == "lmdb" {
        let error = Some("lmdb has no files that make recovery faster".to_owned());
        return Cell { status: CellStatus::Unsupported, error, ..cell };
    }
    let factor = match scenario.ending {
        RecoveryEnding::CleanClose => 0.4,
        RecoveryEnding::Kill => 1.0,
        RecoveryEnding::KillWithoutHints | RecoveryEnding::KillDamagedHints => 5.0,
    } * if scenario.page_cache == PageCache::Cold { 3.0 } else { 1.0 };
    let size = records as f64 / RECORDS as f64;
    let grows = if character.name == "lmdb" { 1.0 } else { size };
    let open_ms = character.open_ms * factor * grows * noise.around(0.06);
    let store_bytes = (records as f64 * (VALUE_BYTES + 23) as f64 * character.space) as u64;
    let is_cold = scenario.page_cache == PageCache::Cold;
    Cell {
        recovery: Some(Recovery {
            scenario: "as the cell says".to_owned(),
            acknowledged_writes: records / 2,
            written_s: 1.5,
            open_ms,
            first_read_ms: open_ms + 0.4,
            records_verified: records / 3,
            records_lost: 0,
            records_wrong: 0,
            store_bytes,
            reopen_clean_ms: open_ms * 0.4,
            to_90_percent_ms: (character.name != "lsm").then_some(open_ms * 1.3 + 20.0),
            reads_before_ops_per_s: Some(1e9 / character.read_ns),
            device_bytes_read: Some(if is_cold { store_bytes / 3 } else { 0 }),
            resident_share_before: Some(if is_cold { 0.0 } else { 0.98 }),
            written_bytes: Some(records / 2 * (VALUE_BYTES + 23)),
        }),
        ..cell
    }
}
