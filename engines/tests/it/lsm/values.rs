//! The value log: big values apart from the tables, what is done when they are dead, and who sees them.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use kvdyno_engines::lsm::{
    Background, Damage, Fifo, FileRole, KeyRange, Lsm, LsmReader, Options, Place, Style, records,
    salvage, verify,
};
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use kvdyno_engines::{Durability, Error};

use super::{Map, contents, copy, key, remove, small};

/// Values of 100 bytes and more lie apart.
fn options() -> Options {
    Options { value_log_min_bytes: Some(100), value_log_dead_percent: 40, ..small(Durability::Os) }
}

fn open<S: Storage>(disk: &S, options: &Options) -> Lsm<S> {
    Lsm::open(disk.clone(), "/store", options.clone()).unwrap()
}

fn value(i: u32, version: u32, bytes: usize) -> Vec<u8> {
    format!("{i}/{version}/{:bytes$}", "").into_bytes()
}

/// Writes values of 300 bytes, each fourth of 20.
fn fill<S: Storage>(
    store: &Lsm<S>,
    model: &mut Map,
    keys: impl IntoIterator<Item = u32>,
    version: u32,
) {
    for i in keys {
        let value = value(i, version, if i % 4 == 0 { 20 } else { 300 });
        store.put(&key(i), &value).unwrap();
        model.insert(key(i), value);
    }
}

fn counter<S: Storage>(store: &Lsm<S>, name: &str) -> u64 {
    store.metrics().counters[name] as u64
}

fn value_files(disk: &SimulatedDisk) -> Vec<std::path::PathBuf> {
    let files = disk.files().into_keys();
    files.filter(|path| path.extension().is_some_and(|kind| kind == "values")).collect()
}

#[test]
fn big_values_are_written_once_while_tables_are_compacted() {
    let written = |value_log_min_bytes| {
        let disk = SimulatedDisk::new();
        let store = open(&disk, &Options { value_log_min_bytes, ..options() });
        let mut model = Map::new();
        for part in 0..8 {
            fill(&store, &mut model, (0..400).filter(|i| i * 7 % 8 == part), 1);
        }
        store.compact().unwrap();
        assert_eq!(contents(&store).unwrap(), model);
        assert_eq!(value_files(&disk).len() as u64, counter(&store, "value_log_files"));
        let bytes = store.metrics().bytes_written.unwrap();
        (bytes.value_log, bytes.flush + bytes.compaction)
    };
    let (of_values, of_tables) = written(Some(100));
    assert!((300 * 300..300 * 400).contains(&of_values), "{of_values}");
    let (nothing, all) = written(None);
    assert_eq!(nothing, 0);
    assert!(of_values + of_tables < all / 2, "{of_values} + {of_tables} instead of {all}");
}

#[test]
fn a_file_of_values_that_is_cut_is_told_of_in_few_words() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &options());
    fill(&store, &mut Map::new(), 0..400, 1);
    store.compact().unwrap();
    store.close().unwrap();
    for path in value_files(&disk) {
        let whole = disk.read_all(&path).unwrap();
        disk.write_all(&path, &whole[..whole.len() / 2]);
    }
    let report = verify(&disk, "/store").unwrap();
    let tables = report.tables().count();
    let files = report.value_files().count();
    let is_told = |damage: &[Damage]| {
        assert!(damage.len() <= files * (tables + 2), "{damage:?}");
        damage.iter().any(|damage| damage.reason.contains("more values of 0000"))
    };
    assert!(is_told(&report.damage), "{:?}", report.damage);
    let mut read = 0;
    let of_records = records(&disk, "/store", None, |_| {
        read += 1;
        ControlFlow::Continue(())
    });
    assert!(is_told(&of_records.unwrap()));
    let salvaged = salvage(&disk, "/store", "/saved", options()).unwrap();
    assert!(is_told(&salvaged.dropped), "{:?}", salvaged.dropped);
    assert_eq!(salvaged.entries_lost + read, 400);
}

#[test]
fn dead_values_give_their_room_back() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &options());
    let mut model = Map::new();
    for version in 0..30 {
        // What one key in five has is never overwritten, and lies among what is.
        let is_due = |i: &u32| version == 0 || !i.is_multiple_of(5) && i * 3 % 7 == version % 7;
        fill(&store, &mut model, (0..200).filter(is_due), version);
    }
    store.compact().unwrap();
    store.settle().unwrap();
    assert_eq!(contents(&store).unwrap(), model);
    assert!(counter(&store, "value_log_relocated_bytes") > 0, "some are old, and have been moved");
    let (bytes, dead) =
        (counter(&store, "value_log_bytes"), counter(&store, "value_log_dead_bytes"));
    assert!(dead * 100 <= bytes * 40, "{dead} of {bytes}");
    let on_disk: u64 = value_files(&disk).iter().map(|path| disk.files()[path]).sum();
    assert_eq!(on_disk, bytes, "what is not needed is gone");
    let files = value_files(&disk).len();
    store.close().unwrap();
    let store = open(&disk, &options());
    assert_eq!(contents(&store).unwrap(), model);
    assert_eq!(value_files(&disk).len(), files, "none was left behind, and none is missing");
    remove(&store, &mut model, 0..200);
    store.compact().unwrap();
    assert!(model.is_empty() && contents(&store).unwrap().is_empty());
    assert_eq!(value_files(&disk), Vec::<std::path::PathBuf>::new());
}

/// Nothing is written any more where dead values lie, so nothing is compacted for its own sake.
#[test]
fn dead_values_below_tables_at_rest_give_their_room_back() {
    for style in [Style::default(), Style::Tiered(kvdyno_engines::lsm::Tiered::default())] {
        let disk = SimulatedDisk::new();
        let at_rest = Options { value_log_dead_percent: 100, style, ..options() };
        let store = open(&disk, &at_rest);
        let mut model = Map::new();
        fill(&store, &mut model, 0..300, 1);
        store.compact().unwrap();
        fill(&store, &mut model, (0..300).filter(|i| i % 10 != 9), 2);
        store.compact().unwrap();
        store.close().unwrap();
        let store = open(&disk, &at_rest);
        let before = counter(&store, "value_log_dead_bytes");
        assert!(before > 10_000, "{before}");
        store.close().unwrap();
        let store = open(&disk, &Options { value_log_dead_percent: 10, ..at_rest });
        store.settle().unwrap();
        let (bytes, dead) =
            (counter(&store, "value_log_bytes"), counter(&store, "value_log_dead_bytes"));
        assert!(dead * 10 <= bytes && dead < before / 4, "{dead} of {bytes}, before {before}");
        assert_eq!(contents(&store).unwrap(), model);
        let compacted = store.metrics().bytes_written.unwrap().compaction;
        store.settle().unwrap();
        assert_eq!(
            store.metrics().bytes_written.unwrap().compaction,
            compacted,
            "it comes to an end"
        );
    }
}

/// Puts and deletions race with relocations, which must not bring anything back or lose anything.
#[test]
fn writes_win_over_relocations() {
    const KEYS: u32 = 120;
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        background: Background::Threads,
        compaction_threads: 3,
        value_log_dead_percent: 1,
        ..options()
    };
    let store = Lsm::open(Disk, folder.path(), options.clone()).unwrap();
    let (mut model, done) = (Map::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = Vec::new();
            while !done.load(Ordering::Acquire) {
                for i in 0..KEYS {
                    if store.get(&key(i), &mut buffer).unwrap() {
                        assert!(buffer.starts_with(format!("{i}/").as_bytes()), "{buffer:?}");
                    }
                }
                for entry in store.iter(..).rev() {
                    let (key, value) = entry.unwrap();
                    let number: u32 = std::str::from_utf8(&key[4..]).unwrap().parse().unwrap();
                    assert!(value.starts_with(format!("{number}/").as_bytes()));
                }
            }
        });
        for version in 0..60 {
            fill(&store, &mut model, (0..KEYS).filter(|i| (i + version) % 3 != 0), version);
            remove(&store, &mut model, (0..KEYS).filter(|i| (i * 7 + version) % 11 == 0));
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(contents(&store).unwrap(), model);
    store.settle().unwrap();
    assert!(counter(&store, "value_log_relocated_bytes") > 0);
    assert_eq!(contents(&store).unwrap(), model);
    store.close().unwrap();
    assert_eq!(contents(&Lsm::open(Disk, folder.path(), options).unwrap()).unwrap(), model);
}

#[test]
fn snapshots_and_iterators_keep_the_values_that_they_see() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &options());
    let mut model = Map::new();
    fill(&store, &mut model, 0..100, 1);
    store.compact().unwrap();
    let (before, files) = (model.clone(), value_files(&disk));
    let snapshot = store.snapshot();
    let mut cursor = store.cursor(..);
    assert_eq!(cursor.seek(&key(50)).unwrap().unwrap().1, before[&key(50)]);
    fill(&store, &mut model, 0..100, 2);
    store.compact().unwrap();
    assert_eq!(contents(&store).unwrap(), model);
    let seen: Map = snapshot.iter(..).map(Result::unwrap).collect();
    assert_eq!(seen, before);
    let mut back: Vec<_> = snapshot.iter(..).rev().map(Result::unwrap).collect();
    back.reverse();
    assert!(back.into_iter().eq(before.clone()));
    assert_eq!(cursor.move_next().unwrap().unwrap().1, before[&key(51)]);
    assert_eq!(cursor.move_prev().unwrap().unwrap().1, before[&key(50)]);
    let mut got = Vec::new();
    snapshot.multi_get(&[key(1), key(2)], |_, value| got.push(value.unwrap().to_vec())).unwrap();
    assert_eq!(got, [&before[&key(1)][..], &before[&key(2)]]);
    assert!(files.iter().all(|path| disk.files().contains_key(path)));
    drop((snapshot, cursor));
    store.settle().unwrap();
    assert!(files.iter().all(|path| !disk.files().contains_key(path)), "nobody needs them");
}

#[test]
fn the_options_may_change_from_one_open_to_the_next() {
    let disk = SimulatedDisk::new();
    let mut model = Map::new();
    let lives = [
        (None, false),
        (Some(100), false),
        (Some(400), true),
        (Some(32), true),
        (None, false),
        (Some(100), true),
    ];
    for (version, (value_log_min_bytes, value_log_lz4)) in (1..).zip(lives) {
        let options = Options { value_log_min_bytes, value_log_lz4, ..options() };
        let store = open(&disk, &options);
        assert_eq!(contents(&store).unwrap(), model);
        fill(&store, &mut model, (0..150).filter(|i| i % version == 0), version);
        if version % 2 == 0 {
            store.compact().unwrap();
        }
        store.settle().unwrap();
        assert_eq!(contents(&store).unwrap(), model);
        let report = verify(&disk, "/store").unwrap();
        assert_eq!(report.damage, []);
        store.close().unwrap();
    }
}

#[test]
fn compressed_values_take_less_room() {
    let bytes = |value_log_lz4| {
        let store = open(&SimulatedDisk::new(), &Options { value_log_lz4, ..options() });
        let mut model = Map::new();
        fill(&store, &mut model, 0..100, 1);
        store.compact().unwrap();
        assert_eq!(contents(&store).unwrap(), model);
        counter(&store, "value_log_bytes")
    };
    let (plain, packed) = (bytes(false), bytes(true));
    assert!(packed * 3 < plain, "{packed} {plain}");
}

#[test]
fn backups_and_readers_have_the_values() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &options());
    let mut model = Map::new();
    fill(&store, &mut model, 0..100, 1);
    store.compact().unwrap();
    fill(&store, &mut model, 50..70, 2);
    let reader = LsmReader::open(&disk, "/store").unwrap();
    store.checkpoint("/linked").unwrap();
    store.backup("/copied").unwrap();
    let then = model.clone();
    fill(&store, &mut model, 0..100, 3);
    store.compact().unwrap();
    let mut buffer = Vec::new();
    for (key, value) in &then {
        assert!(reader.get(key, &mut buffer).unwrap());
        assert_eq!(&buffer, value);
    }
    store.close().unwrap();
    for to in ["/linked", "/copied"] {
        assert_eq!(verify(&disk, to).unwrap().damage, []);
        let backup = Lsm::open(disk.clone(), to, options()).unwrap();
        assert_eq!(contents(&backup).unwrap(), then);
        backup.compact().unwrap();
        assert_eq!(contents(&backup).unwrap(), then);
        backup.close().unwrap();
    }
    assert_eq!(contents(&open(&disk, &options())).unwrap(), model);
}

#[test]
fn approximate_sizes_count_values() {
    let store = open(&SimulatedDisk::new(), &options());
    let mut model = Map::new();
    fill(&store, &mut model, 0..400, 1);
    store.compact().unwrap();
    let whole = store.approximate_bytes(..).unwrap();
    assert!(whole > 300 * 300, "{whole}");
    let half = store.approximate_bytes(key(100)..key(300)).unwrap();
    assert!(half > whole * 2 / 5 && half < whole * 3 / 5, "{half} of {whole}");
    assert_eq!(store.approximate_bytes(KeyRange::prefix("x")).unwrap(), 0);
}

#[test]
fn the_style_that_forgets_counts_values_and_drops_them() {
    let disk = SimulatedDisk::new();
    let style = Style::Fifo(Fifo { bytes_max: Some(30 << 10), ttl: None });
    let store = open(&disk, &Options { style, ..options() });
    let mut model = Map::new();
    fill(&store, &mut model, 0..1_000, 1);
    store.settle().unwrap();
    let levels: u64 = store.metrics().levels.iter().map(|level| level.bytes).sum();
    let values: u64 = value_files(&disk).iter().map(|path| disk.files()[path]).sum();
    assert!((15 << 10..40 << 10).contains(&(levels + values)), "{levels} + {values}");
    let left = contents(&store).unwrap();
    assert!(left.len() < 200 && left.iter().all(|(key, value)| model[key] == *value));
    assert_eq!(counter(&store, "value_log_dead_bytes"), 0);
}

/// A closed store with values in two files, some of them dead.
fn fixture() -> (SimulatedDisk, Map) {
    let disk = SimulatedDisk::new();
    let kept = Options { value_log_dead_percent: 100, ..options() };
    let store = open(&disk, &kept);
    let mut model = Map::new();
    fill(&store, &mut model, 0..8, 1);
    store.compact().unwrap();
    fill(&store, &mut model, 1..3, 2);
    store.compact().unwrap();
    fill(&store, &mut model, 4..5, 3);
    store.close().unwrap();
    assert!(value_files(&disk).len() > 1);
    (disk, model)
}

#[test]
fn what_is_in_the_value_log_is_told() {
    let (disk, model) = fixture();
    let report = verify(&disk, "/store").unwrap();
    assert_eq!(report.damage, []);
    let roles = report.files.iter().filter(|file| file.role == FileRole::Values).count();
    assert_eq!((roles, report.value_files().count()), (value_files(&disk).len(), roles));
    assert_eq!(report.value_files().map(|file| file.values.unwrap()).sum::<u64>(), 8);
    let live: u64 = report.value_files().map(|file| file.live_bytes.unwrap()).sum();
    assert_eq!(live, report.levels().iter().map(|level| level.value_bytes).sum::<u64>());
    let mut shown = Map::new();
    let damage = records(&disk, "/store", None, |record| {
        let apart = record.value.is_some_and(|value| value.len() >= 100);
        assert_eq!(record.value_file.is_some(), apart);
        shown.insert(record.key.to_vec(), record.value.unwrap().to_vec());
        ControlFlow::Continue(())
    });
    assert_eq!((damage.unwrap(), shown), (vec![], model));
    let mut values = 0;
    for file in report.value_files() {
        let damage = records(&disk, "/store", Some(file.number), |record| {
            assert_eq!(record.place, Place::Values);
            assert!(record.value.unwrap().len() > 300);
            values += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(damage.unwrap(), []);
    }
    assert_eq!(values, 8);
}

#[test]
fn damaged_values_are_told_and_the_others_saved() {
    let (disk, model) = fixture();
    let (mut live, mut dead) = (0, 0);
    for path in value_files(&disk) {
        let len = disk.files()[&path];
        for at in (0..len).step_by(5) {
            let damaged = copy(&disk);
            damaged.flip(&path, at, 1 << (at % 8)).unwrap();
            let report = verify(&damaged, "/store").unwrap();
            let padding = report.damage.is_empty();
            assert!(report.damage.iter().all(|damage| damage.file == path), "{report:?}");
            if padding {
                continue;
            }
            let saved = salvage(&damaged, "/store", "/saved", options()).unwrap();
            let store = Lsm::open(damaged.clone(), "/saved", options()).unwrap();
            let found = contents(&store).unwrap();
            assert!(found.iter().all(|(key, value)| model[key] == *value));
            assert_eq!(found.len() + saved.dropped.len(), model.len());
            assert!(saved.dropped.len() <= 1 && saved.dropped.iter().all(|at| at.file == path));
            assert_eq!(saved.older_may_return, !saved.dropped.is_empty());
            *(if saved.dropped.is_empty() { &mut dead } else { &mut live }) += 1;
        }
    }
    assert!(live > 100 && dead > 50, "{live} {dead}");
}

#[test]
fn a_missing_file_of_values_is_named() {
    let (disk, model) = fixture();
    for path in value_files(&disk) {
        let damaged = copy(&disk);
        damaged.remove(&path).unwrap();
        let refused = Lsm::open(damaged.clone(), "/store", options()).err().unwrap();
        assert!(matches!(refused, Error::Corrupt { file, .. } if file == path));
        let report = verify(&damaged, "/store").unwrap();
        assert!(report.damage.iter().any(|damage| damage.file == path));
        assert!(report.files.iter().any(|file| file.role == FileRole::Missing));
        let saved = salvage(&damaged, "/store", "/saved", options()).unwrap();
        assert_eq!(saved.files_missing, [path]);
        let found = contents(&Lsm::open(damaged, "/saved", options()).unwrap()).unwrap();
        assert!(found.len() < model.len());
        assert!(found.iter().all(|(key, value)| model[key] == *value));
    }
}

#[test]
fn a_store_without_its_manifest_is_saved_with_its_values() {
    let (disk, model) = fixture();
    let manifest =
        disk.files().into_keys().find(|path| path.to_string_lossy().contains("manifest"));
    disk.remove(&manifest.unwrap()).unwrap();
    assert!(matches!(
        Lsm::open(disk.clone(), "/store", options()).err(),
        Some(Error::NotAStore { .. })
    ));
    salvage(&disk, "/store", "/saved", options()).unwrap();
    assert_eq!(contents(&Lsm::open(disk, "/saved", options()).unwrap()).unwrap(), model);
}

#[test]
fn files_of_values_that_nobody_names_are_removed() {
    let (disk, model) = fixture();
    disk.write_all(Path::new("/store/99999999.values"), b"left behind by a crash");
    let store = open(&disk, &options());
    assert_eq!(store.recovery().orphans, 1);
    assert!(!disk.files().contains_key(Path::new("/store/99999999.values")));
    assert_eq!(contents(&store).unwrap(), model);
}

#[test]
fn impossible_options_are_refused() {
    let refuse = |options: Options, expected: &str| {
        let refused = Lsm::open(SimulatedDisk::new(), "/store", options).err().unwrap();
        assert_eq!(refused.to_string(), expected);
    };
    refuse(
        Options { value_log_min_bytes: Some(31), ..options() },
        "option value_log_min_bytes is 31: expected at least 32",
    );
    refuse(
        Options { value_log_dead_percent: 0, ..options() },
        "option value_log_dead_percent is 0: expected 1 to 100",
    );
}
