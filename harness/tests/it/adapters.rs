//! Every engine of the build that stores data passes the conformance suite in every durability class that it offers.

use kvdyno_engines::conformance::{self, Plan};
use kvdyno_engines::{Engine, Result};
use kvdyno_harness::{Assignment, EngineSettings, OpenRequest, Options, ResolvedEngine, registry};

/// Less than by default: each write in class `sync` waits for a device.
fn on_disk() -> Plan {
    Plan { cases: 2, steps: 250, ..Plan::default() }
}

/// Opens stores of one engine in folders of their own, with small buffers, so that flushes and compactions happen.
fn check(name: &str, set: &[(&str, &str)], plan: Plan) {
    let registry = registry();
    let assign = |(option, value): &(&str, &str)| Assignment {
        engine: name.into(),
        option: (*option).into(),
        value: (*value).into(),
    };
    let typed =
        EngineSettings { set: set.iter().map(assign).collect(), ..EngineSettings::default() };
    let ResolvedEngine { adapter, options, .. } = registry.resolve(name, &typed).unwrap();
    let outcome = conformance::run(&plan, || {
        let folder = tempfile::tempdir().unwrap();
        let options = options.clone();
        move |durability| -> Result<Box<dyn Engine>> {
            if adapter.durability_call(durability).is_none() {
                return Err(kvdyno_engines::Error::InvalidOption {
                    name: "durability",
                    value: durability.to_string(),
                    expected: "a class that the engine offers",
                });
            }
            let dir = folder.path();
            adapter.open(&OpenRequest {
                dir,
                durability,
                options: &options,
                data_bytes: 64 << 20,
                threads: 2,
            })
        }
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn bitcask_conforms() {
    check("bitcask", &[("segment_mib", "1")], on_disk());
}

#[test]
fn lsm_conforms() {
    for (io, compression) in [("mapped", "none"), ("pread", "lz4"), ("mapped", "zstd")] {
        let codec = ("compression_last", compression);
        let set = [("write_buffer_mib", "2"), ("cache_mib", "1"), ("io", io), codec];
        check("lsm", &set, on_disk());
    }
}

#[test]
fn memory_conforms() {
    check("memory", &[], Plan::default());
}

#[cfg(feature = "fjall")]
#[test]
fn fjall_conforms() {
    check("fjall", &[("write_buffer_mib", "2"), ("cache_mib", "8")], on_disk());
}

/// A reader of LMDB learns the number of the last commit first and takes that commit's root from one of two pages second. If two more commits
/// come in between, it sees the second before its number is published, and the next reader may see the one before.
#[cfg(feature = "lmdb")]
#[test]
fn lmdb_conforms_but_for_glimpses_of_commits_under_way() {
    check("lmdb", &[], Plan { monotonic_reads: false, ..on_disk() });
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_conforms() {
    check("rocksdb", &[("write_buffer_mib", "1"), ("cache_mib", "8")], on_disk());
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_conforms_when_it_reads_mapped_files() {
    check("rocksdb@mmap", &[("write_buffer_mib", "1")], on_disk());
}

#[cfg(feature = "redb")]
#[test]
fn redb_conforms() {
    check("redb", &[], on_disk());
}

#[cfg(feature = "sled")]
#[test]
fn sled_conforms() {
    check("sled", &[], on_disk());
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_conforms_with_rows_in_either_place() {
    check("sqlite", &[("wal_mib", "1")], on_disk());
    check("sqlite@rowid", &[("wal_mib", "1")], on_disk());
}

#[test]
fn what_an_adapter_declares_is_what_its_engine_declares() {
    let registry = registry();
    for adapter in registry.adapters() {
        let capabilities = adapter.capabilities();
        for durability in &capabilities.durability {
            assert!(
                adapter.durability_call(*durability).is_some(),
                "{} {durability}",
                adapter.name()
            );
            let dir = tempfile::tempdir().unwrap();
            let options = Options::resolve(adapter, &[]).unwrap();
            let request = OpenRequest {
                dir: dir.path(),
                durability: *durability,
                options: &options,
                data_bytes: 1 << 20,
                threads: 1,
            };
            let engine = adapter.open(&request).unwrap();
            assert_eq!(*engine.capabilities(), capabilities, "{}", adapter.name());
            engine.close().unwrap();
        }
    }
}

#[test]
fn every_variant_opens_with_the_values_that_it_sets() {
    let registry = registry();
    for adapter in registry.adapters() {
        for variant in adapter.variants() {
            let name = format!("{}@{}", adapter.name(), variant.name);
            let engine = registry.resolve(&name, &EngineSettings::default()).unwrap();
            let text = engine.options.to_text(adapter);
            for (option, value) in variant.set {
                assert_eq!(text[*option], *value, "{name} {option}");
            }
            let dir = tempfile::tempdir().unwrap();
            let request = OpenRequest {
                dir: dir.path(),
                durability: adapter.capabilities().durability[0],
                options: &engine.options,
                data_bytes: 1 << 20,
                threads: 1,
            };
            adapter.open(&request).unwrap().close().unwrap();
        }
    }
}

#[test]
fn what_is_set_more_narrowly_wins() {
    let registry = registry();
    let values = |name: &str, write_buffer_mib, set: &[&str]| {
        let set = set.iter().map(|text| text.parse().unwrap()).collect();
        let typed = EngineSettings { write_buffer_mib, set, ..EngineSettings::default() };
        let options = registry.resolve(name, &typed).unwrap().options;
        (options.get("write_buffer_mib"), options.get("filter_bits_per_key"))
    };
    assert_eq!(values("lsm", None, &[]), (128, 10));
    assert_eq!(values("lsm", Some(32), &[]), (32, 10));
    assert_eq!(values("lsm@nofilter", Some(32), &[]), (32, 0));
    let both = ["lsm@nofilter.write_buffer_mib=8", "lsm.write_buffer_mib=16"];
    assert_eq!(values("lsm", Some(32), &both), (16, 10));
    assert_eq!(values("lsm@nofilter", Some(32), &both), (8, 0));
    assert_eq!(values("lsm@nofilter", None, &["lsm.filter_bits_per_key=4"]), (128, 4));
}
