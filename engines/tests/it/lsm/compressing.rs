//! Tables whose blocks are compressed: what is read is the same, whatever they were written with and however they are read, and damage is noticed.

use std::ops::ControlFlow;
use std::path::Path;

use kvdyno_engines::conformance::{self, Plan};
use kvdyno_engines::lsm::{Compression, Io, Lsm, Options, records, salvage, verify};
use kvdyno_engines::storage::{SimulatedDisk, Storage};
use kvdyno_engines::{Durability, Engine, Error, Result};

use super::{Map, contents, copy, fill, key, small};

const ALL: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

fn options(compression: Compression, compression_last: Compression, io: Io) -> Options {
    let small = small(Durability::Os);
    let (block_bytes, value_log_min_bytes) = (512, None);
    Options { compression, compression_last, io, block_bytes, value_log_min_bytes, ..small }
}

fn open(disk: &SimulatedDisk, options: &Options) -> Lsm<SimulatedDisk> {
    Lsm::open(disk.clone(), "/store", options.clone()).unwrap()
}

fn table_bytes<S: Storage>(store: &Lsm<S>) -> u64 {
    store.metrics().levels.iter().map(|level| level.bytes).sum()
}

#[test]
fn a_store_that_is_compressed_conforms() {
    for (compression, io) in [
        (Compression::Lz4, Io::Mapped),
        (Compression::Lz4, Io::Calls),
        (Compression::Zstd, Io::Mapped),
        (Compression::Zstd, Io::Calls),
    ] {
        let plan = Plan { cases: 6, steps: 300, ..Plan::default() };
        conformance::run(&plan, || {
            let disk = SimulatedDisk::new();
            move |durability| -> Result<Box<dyn Engine>> {
                let options = options(compression, compression, io);
                let options = Options { durability, value_log_min_bytes: Some(35), ..options };
                Ok(Box::new(Lsm::open(disk.clone(), "/store", options)?))
            }
        })
        .unwrap_or_else(|failure| panic!("{compression:?}, {io:?}: {failure}"));
    }
}

#[test]
fn compressed_tables_are_smaller_and_those_at_the_bottom_have_their_own_way() {
    let bytes = |above, last| {
        let disk = SimulatedDisk::new();
        let options = options(above, last, Io::Mapped);
        let options = Options { memtable_bytes: 64 << 10, l0_tables_compact: 4, ..options };
        let store = open(&disk, &options);
        let mut model = Map::new();
        fill(&store, &mut model, 0..600, 1);
        store.flush().unwrap();
        // A table that overlaps nothing would be moved as it is.
        fill(&store, &mut model, (0..600).step_by(30), 2);
        store.flush().unwrap();
        let flushed = table_bytes(&store);
        store.compact().unwrap();
        assert_eq!(contents(&store).unwrap(), model);
        (flushed, table_bytes(&store))
    };
    let [none, lz4, zstd] = ALL.map(|compression| bytes(compression, compression));
    assert!(lz4.0 < none.0 * 3 / 4 && lz4.1 < none.1 * 3 / 4, "{none:?}, {lz4:?}");
    assert!(zstd.1 < lz4.1, "{lz4:?}, {zstd:?}");
    let [none, lz4, zstd] = ALL.map(|last| bytes(Compression::Lz4, last));
    assert_eq!((none.0, zstd.0), (lz4.0, lz4.0));
    assert!(none.1 > lz4.1 && lz4.1 > zstd.1, "{none:?}, {lz4:?}, {zstd:?}");
}

#[test]
fn tables_can_be_read_whatever_they_were_written_with() {
    let disk = SimulatedDisk::new();
    let mut model = Map::new();
    for (round, compression) in (0_u32..).zip([ALL, ALL].concat()) {
        let io = [Io::Mapped, Io::Calls][round as usize % 2];
        let options = options(compression, ALL[round as usize / 2], io);
        let value_log_min_bytes = [None, Some(35)][round as usize / 3];
        let store = open(&disk, &Options { value_log_min_bytes, ..options });
        assert_eq!(contents(&store).unwrap(), model);
        fill(&store, &mut model, (round..300).step_by(4), round);
        store.flush().unwrap();
        assert_eq!(contents(&store).unwrap(), model);
        store.close().unwrap();
    }
    let report = verify(&disk, "/store").unwrap();
    assert!(report.damage.is_empty() && report.is_complete(), "{:?}", report.damage);
    let mut found = 0;
    let damage = records(&disk, "/store", None, |_| {
        found += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(damage.unwrap(), []);
    assert!(found >= model.len(), "{found}");
}

#[test]
fn a_compressed_block_is_unpacked_once_and_then_found_in_the_cache() {
    for io in [Io::Mapped, Io::Calls] {
        let disk = SimulatedDisk::new();
        let store = open(&disk, &options(Compression::Lz4, Compression::Zstd, io));
        let mut model = Map::new();
        fill(&store, &mut model, 0..300, 1);
        store.compact().unwrap();
        let cache = || {
            let metrics = store.metrics();
            (metrics.cache_hits.unwrap(), metrics.cache_misses.unwrap())
        };
        assert_eq!(cache(), (0, 0), "compactions read past the cache");
        let mut value = Vec::new();
        assert!(store.get(&key(7), &mut value).unwrap());
        assert_eq!(cache(), (0, 1));
        assert!(store.get(&key(7), &mut value).unwrap());
        assert_eq!(cache(), (1, 1));
        assert_eq!(value, model[&key(7)]);
    }
}

/// A closed store with compressed tables.
fn fixture(io: Io) -> (SimulatedDisk, Map, Options) {
    let disk = SimulatedDisk::new();
    let options = options(Compression::Lz4, Compression::Zstd, io);
    let options = Options { l0_tables_compact: 4, ..options };
    let mut model = Map::new();
    let store = open(&disk, &options);
    fill(&store, &mut model, 0..25, 1);
    store.compact().unwrap();
    fill(&store, &mut model, 10..40, 2);
    store.flush().unwrap();
    store.close().unwrap();
    (disk, model, options)
}

#[test]
fn every_flipped_byte_of_a_compressed_table_is_noticed() {
    for io in [Io::Mapped, Io::Calls] {
        let (disk, model, options) = fixture(io);
        let is_table = |path: &Path| path.extension().is_some_and(|kind| kind == "table");
        for (path, len) in disk.files().into_iter().filter(|(path, _)| is_table(path)) {
            for at in (0..len).step_by(3) {
                let damaged = copy(&disk);
                damaged.flip(&path, at, 1 << (at % 8)).unwrap();
                let report = verify(&damaged, "/store").unwrap();
                assert!(report.damage.iter().all(|damage| damage.file == path));
                assert!(!report.damage.is_empty(), "{} byte {at}", path.display());
                let Ok(store) = Lsm::open(damaged, "/store", options.clone()) else { continue };
                match contents(&store) {
                    Ok(seen) => assert_eq!(seen, model, "{} byte {at}", path.display()),
                    Err(Error::Corrupt { file, .. }) => assert_eq!(file, path),
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}

#[test]
fn what_is_whole_of_compressed_tables_is_saved() {
    let (disk, model, options) = fixture(Io::Mapped);
    salvage(&disk, "/store", "/saved", options.clone()).unwrap();
    let store = Lsm::open(disk, "/saved", options).unwrap();
    assert_eq!(contents(&store).unwrap(), model);
}
