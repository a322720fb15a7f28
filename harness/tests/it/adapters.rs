//! Every engine of the build that stores data passes the conformance suite in every durability class that it offers.

use kvdyno_engines::conformance::{self, Plan};
use kvdyno_engines::{Engine, Result};
use kvdyno_harness::{Assignment, EngineSettings, OpenRequest, Options, ResolvedEngine, registry};

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
    check("bitcask", &[("segment_mib", "1")], Plan::default());
}

#[test]
fn lsm_conforms() {
    check("lsm", &[("write_buffer_mib", "2")], Plan::default());
}

#[test]
fn memory_conforms() {
    check("memory", &[], Plan::default());
}

#[cfg(feature = "fjall")]
#[test]
fn fjall_conforms() {
    check("fjall", &[("write_buffer_mib", "2"), ("cache_mib", "8")], Plan::default());
}

/// A reader of LMDB learns the number of the last commit first and takes that commit's root from one of two pages second. If two more commits
/// come in between, it sees the second before its number is published, and the next reader may see the one before.
#[cfg(feature = "lmdb")]
#[test]
fn lmdb_conforms_but_for_glimpses_of_commits_under_way() {
    check("lmdb", &[], Plan { monotonic_reads: false, ..Plan::default() });
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_conforms() {
    check("rocksdb", &[("write_buffer_mib", "1"), ("cache_mib", "8")], Plan::default());
}

#[cfg(feature = "rocksdb")]
#[test]
fn rocksdb_conforms_when_it_reads_mapped_files() {
    check("rocksdb@mmap", &[("write_buffer_mib", "1")], Plan::default());
}

#[cfg(feature = "redb")]
#[test]
fn redb_conforms() {
    check("redb", &[], Plan::default());
}

#[cfg(feature = "sled")]
#[test]
fn sled_conforms() {
    check("sled", &[], Plan::default());
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_conforms_with_rows_in_either_place() {
    check("sqlite", &[("wal_mib", "1")], Plan::default());
    check("sqlite@rowid", &[("wal_mib", "1")], Plan::default());
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
