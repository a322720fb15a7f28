//! Invented engines: what each is good and bad at.

use super::*;

/// An engine's character: how long its operations take, how heavy its tail is, what it writes.
pub(super) struct Character {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) description: &'static str,
    pub(super) read_ns: f64,
    pub(super) write_ns: f64,
    pub(super) scan_ns: Option<f64>,
    pub(super) tail: f64,
    pub(super) sources: &'static [(&'static str, f64)],
    pub(super) space: f64,
    pub(super) memory_per_record: f64,
    pub(super) open_ms: f64,
}

pub(super) const CHARACTERS: [Character; 5] = [
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

pub(super) fn engine(character: &Character) -> EngineInfo {
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
