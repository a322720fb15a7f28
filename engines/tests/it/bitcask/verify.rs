//! Looking a store through from outside: nothing is changed, nothing that is whole is called damaged, and every byte that is not as it was written is noticed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvdyno_engines::bitcask::{
    Bitcask, DataFigures, FileRole, MergePolicy, Options, VerifyReport, inspect, records, verify,
};
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use kvdyno_engines::{Error, WriteBatch, WriteOperation};

use super::{DIR, Map, churn, colliding, files, open, small, unmerged};

/// Values of all kinds: some expire, some are compressed.
fn of_all_kinds() -> Options {
    Options { compress_above_bytes: Some(30), ..unmerged() }
}

/// A small store that has records and files of every kind, merged and not. Left open if `closed` is false.
pub(super) fn store_of_all_kinds(closed: bool) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    for life in 0..2_u8 {
        let store = open(&disk, &of_all_kinds());
        for i in 0..4 {
            store.put(&[b'k', i + life], &[life; 9]).unwrap();
        }
        store.put_expiring(b"session", &[life; 5], Duration::from_hours(1)).unwrap();
        store.put(b"long", &[life; 100]).unwrap();
        store.write(&batch(life)).unwrap();
        store.delete(b"k\x02").unwrap();
        if life == 0 {
            store.merge().unwrap();
            store.put(b"k\x01", b"newest").unwrap();
            store.delete(b"one").unwrap();
        }
        if closed || life == 0 {
            store.close().unwrap();
        }
    }
    disk
}

pub(super) fn batch(life: u8) -> WriteBatch {
    let put =
        |key: &[u8], value: &[u8]| WriteOperation::Put { key: key.into(), value: value.into() };
    let delete = WriteOperation::Delete { key: b"k\x03".into() };
    WriteBatch { operations: vec![put(b"one", &[life; 3]), delete, put(b"two", b"")] }
}

/// Damage as file names and offsets.
fn damaged(report: &VerifyReport) -> Vec<(&Path, u64)> {
    report.damage.iter().map(|damage| (damage.file.as_path(), damage.offset)).collect()
}

fn data(report: &VerifyReport) -> Vec<DataFigures> {
    let mut figures: Vec<_> = report.files.iter().filter_map(|file| file.data).collect();
    figures.sort_by_key(|figures| figures.age_rank);
    figures
}

#[test]
fn a_store_that_was_closed_has_no_damage_and_stays_as_it_is() {
    let disk = store_of_all_kinds(true);
    let (before, operations) = (disk.files(), disk.operations());
    let report = verify(&disk, DIR).unwrap();
    assert_eq!(report.damage, []);
    assert_eq!((disk.files(), disk.operations()), (before, operations));
    let roles: Vec<_> = report.files.iter().map(|file| (file.name.as_str(), file.role)).collect();
    let sealed = report.files.iter().filter(|file| file.role == FileRole::Sealed).count();
    assert!(sealed >= 3, "{roles:?}");
    for known in
        [("MANIFEST", FileRole::Manifest), ("KEYDIR", FileRole::Keydir), ("LOCK", FileRole::Lock)]
    {
        assert!(roles.contains(&known), "{known:?} in {roles:?}");
    }
    let store = open(&disk, &of_all_kinds());
    assert_eq!(report.keys, store.len() as u64);
    let sum = |figure: fn(&DataFigures) -> u64| data(&report).iter().map(figure).sum::<u64>();
    assert_eq!(sum(|data| data.live_records), report.keys);
    assert_eq!(sum(|data| data.values) + sum(|data| data.tombstones), sum(|data| data.records));
    assert!(sum(|data| data.expiring_values) >= 2 && sum(|data| data.tombstones) >= 2);
    assert!(sum(|data| data.compressed_values.unwrap()) >= 2);
    assert_eq!(sum(|data| data.unchecked_frames.unwrap()), 0);
    assert_eq!(sum(|data| data.torn_bytes), 0);
}

#[test]
fn hints_tell_the_same_as_the_data() {
    for options in [unmerged(), small(), colliding()] {
        let (disk, mut map) = (SimulatedDisk::new(), Map::new());
        for life in 0..3 {
            let store = open(&disk, &options);
            churn(&store, &mut map, life, 400);
            store.close().unwrap();
            let (whole, quick) = (verify(&disk, DIR).unwrap(), inspect(&disk, DIR).unwrap());
            assert_eq!((&whole.damage, &quick.damage), (&Vec::new(), &Vec::new()));
            assert_eq!((whole.keys, quick.keys), (map.len() as u64, map.len() as u64));
            let unread = |figures: &DataFigures| DataFigures {
                compressed_values: None,
                unchecked_frames: None,
                ..*figures
            };
            assert_eq!(data(&whole).iter().map(unread).collect::<Vec<_>>(), data(&quick));
        }
    }
}

#[test]
fn every_flipped_byte_of_a_closed_store_is_reported_for_its_file() {
    let disk = store_of_all_kinds(true);
    let mut flipped = 0;
    for (path, len) in disk.files() {
        for offset in 0..len {
            for mask in [1 << (offset % 8), 0xff] {
                disk.flip(&path, offset, mask).unwrap();
                let report = verify(&disk, DIR).unwrap();
                let place = format!("{} byte {offset}: {report:?}", path.display());
                assert!(damaged(&report).iter().any(|(file, _)| *file == path), "{place}");
                if path.extension().is_some_and(|extension| extension == "data") {
                    assert_eq!(report.damage.len(), 1, "{place}");
                    let at = report.damage[0].offset;
                    assert!(at <= offset && offset < at + 100, "{place}");
                }
                disk.flip(&path, offset, mask).unwrap();
                flipped += 1;
            }
        }
    }
    assert!(flipped > 2000);
    assert_eq!(verify(&disk, DIR).unwrap().damage, []);
}

#[test]
fn every_truncation_of_a_closed_store_is_reported_for_its_file() {
    let disk = store_of_all_kinds(true);
    for (path, len) in disk.files() {
        let whole = disk.read_all(&path).unwrap();
        for kept in 0..len {
            disk.write_all(&path, &whole[..kept as usize]);
            let report = verify(&disk, DIR).unwrap();
            // The last frame is whole without its padding.
            let only_padding = whole[kept as usize..].iter().all(|byte| *byte == 0);
            let is_noticed = damaged(&report).iter().any(|(file, _)| *file == path);
            assert!(is_noticed || only_padding, "{} cut to {kept}", path.display());
        }
        disk.write_all(&path, &whole);
    }
}

#[test]
fn one_run_tells_of_all_damage() {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &unmerged());
    churn(&store, &mut map, 1, 300);
    store.close().unwrap();
    let sealed = files(&disk, "data");
    let hints = files(&disk, "hint");
    let mut broken: Vec<(PathBuf, u64)> = Vec::new();
    for path in &sealed[..3] {
        for offset in [1000, 2000, 3000] {
            disk.flip(path, offset, 0x40).unwrap();
            broken.push((path.clone(), offset));
        }
    }
    disk.flip(&hints[4], 60, 1).unwrap();
    disk.remove(&sealed[5]).unwrap();
    disk.flip(&Path::new(DIR).join("KEYDIR"), 9, 1).unwrap();
    let report = verify(&disk, DIR).unwrap();
    let found = damaged(&report);
    assert_eq!(found.len(), broken.len() + 3, "{found:?}");
    for (path, offset) in broken {
        let is_it =
            |(file, at): &(&Path, u64)| *file == path && (offset - 300..=offset).contains(at);
        assert!(found.iter().any(is_it), "{} {offset} in {found:?}", path.display());
    }
    assert!(found.contains(&(&hints[4], 0)) && found.contains(&(&sealed[5], 0)));
    let missing = report.files.iter().find(|file| file.role == FileRole::Missing).unwrap();
    assert!(sealed[5].ends_with(&missing.name));
}

#[test]
fn what_checksums_leave_out_is_counted() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &Options { checksums: false, ..unmerged() });
    store.put(b"key", b"value").unwrap();
    store.close().unwrap();
    let store = open(&disk, &unmerged());
    store.put(b"other", b"value").unwrap();
    store.close().unwrap();
    let report = verify(&disk, DIR).unwrap();
    assert_eq!(report.damage, []);
    let unchecked: Vec<_> = data(&report).iter().map(|data| data.unchecked_frames).collect();
    assert_eq!(unchecked, [Some(1), Some(0)]);
    let path = files(&disk, "data").remove(0);
    let bytes = disk.read_all(&path).unwrap();
    let key = bytes.windows(3).position(|bytes| bytes == b"key").unwrap() as u64;
    disk.flip(&path, key, 1).unwrap();
    let report = verify(&disk, DIR).unwrap();
    assert!(!report.damage.is_empty(), "the hint knows the key");
}

/// A process is killed, and of the file that it was writing the first `kept` bytes are there.
#[test]
fn a_torn_tail_is_no_damage() {
    let disk = store_of_all_kinds(false);
    let path = files(&disk, "data").pop().unwrap();
    let whole = disk.read_all(&path).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert_eq!(verify(&disk, DIR).unwrap().damage, []);
    for kept in 0..used {
        disk.write_all(&path, &whole[..kept]);
        let report = verify(&disk, DIR).unwrap();
        assert_eq!(report.damage, [], "{kept}");
        assert!(report.is_complete(), "{kept}");
        let last = data(&report).pop().unwrap();
        let told = last.used_bytes + last.torn_bytes;
        assert!(told <= kept.next_multiple_of(8) as u64, "{kept}");
        let recovered =
            Bitcask::open(disk.survivor(Crash::Everything), DIR, of_all_kinds()).unwrap();
        assert_eq!(recovered.recovery().torn_bytes, last.torn_bytes, "{kept}");
        assert_eq!(recovered.len() as u64, report.keys, "{kept}");
    }
}

#[test]
fn synced_data_that_is_damaged_in_an_open_file_is_damage() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    store.put(b"first", b"synced").unwrap();
    store.put(b"second", b"synced, too").unwrap();
    store.sync().unwrap();
    store.put(b"third", b"knows that the others were synced").unwrap();
    drop(store);
    let path = files(&disk, "data").remove(0);
    disk.flip(&path, 60, 4).unwrap();
    let report = verify(&disk, DIR).unwrap();
    assert_eq!(damaged(&report), [(path.as_path(), 40)]);
    assert_eq!(report.keys, 2, "the looking goes on behind it");
}

#[test]
fn a_missing_end_that_was_synced_is_damage() {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &unmerged());
    // Several files, none of them sealed: the process dies before a later one is full.
    churn(&store, &mut map, 2, 30);
    store.sync().unwrap();
    drop(store);
    let store = open(&disk, &unmerged());
    churn(&store, &mut map, 3, 10);
    store.sync().unwrap();
    store.put(b"knows", b"of the sync").unwrap();
    drop(store);
    assert_eq!(verify(&disk, DIR).unwrap().damage, []);
    let first = files(&disk, "data").remove(0);
    let bytes = disk.read_all(&first).unwrap();
    disk.write_all(&first, &bytes[..400]);
    let report = verify(&disk, DIR).unwrap();
    assert!(damaged(&report).iter().any(|(file, _)| *file == first), "{report:?}");
    assert!(Bitcask::open(disk, DIR, unmerged()).is_err());
}

#[test]
fn orphans_and_foreign_files_are_listed() {
    let disk = store_of_all_kinds(true);
    for name in ["0000000077.data", "MANIFEST.tmp", "notes.txt"] {
        disk.write_all(&Path::new(DIR).join(name), b"left over");
    }
    let report = verify(&disk, DIR).unwrap();
    assert_eq!(report.damage, []);
    let role = |name: &str| report.files.iter().find(|file| file.name == name).unwrap().role;
    assert_eq!(role("0000000077.data"), FileRole::Orphan);
    assert_eq!(role("MANIFEST.tmp"), FileRole::Orphan);
    assert_eq!(role("notes.txt"), FileRole::Foreign);
    disk.create_dir(Path::new("/empty")).unwrap();
    assert!(matches!(verify(&disk, "/empty"), Err(Error::NotAStore { .. })));
}

#[test]
fn an_open_store_verifies_itself() {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &small());
    for seed in 0..20 {
        churn(&store, &mut map, seed, 60);
        let report = store.verify().unwrap();
        assert_eq!(report.damage, []);
        assert_eq!(report.keys, map.len() as u64);
        let told: Vec<_> = store.files().iter().map(|file| (file.id, file.live_records)).collect();
        let found: Vec<_> = data(&report).iter().map(|data| (data.id, data.live_records)).collect();
        assert_eq!(told, found);
    }
}

/// Whatever moment a look from outside falls on, a store that is written, sealed and merged meanwhile is not damaged.
#[test]
fn a_store_that_is_busy_is_not_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let merge = MergePolicy { fragmentation_trigger: 0.3, ..MergePolicy::default() };
    let options = Options { segment_bytes: 64 << 10, merge, ..Options::default() };
    let store = Bitcask::open(Disk, dir.path(), options).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut i = 0_u64;
            while !done.load(Ordering::Relaxed) {
                store.put(&(i % 500).to_le_bytes(), &vec![i as u8; (i % 700) as usize]).unwrap();
                i += 1;
            }
        });
        for _ in 0..15 {
            let report = store.verify().unwrap();
            assert_eq!(report.damage, []);
            assert!(report.is_complete());
            assert!(report.keys <= 500);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(store.metrics().bytes_written.unwrap().log > 0);
}

#[test]
fn records_are_told_one_by_one() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &of_all_kinds());
    store.put(b"key", b"value").unwrap();
    store.put(b"long", &[7; 100]).unwrap();
    store.delete(b"key").unwrap();
    store.close().unwrap();
    let mut told = Vec::new();
    let damage = records(&disk, DIR, None, |record| {
        let value = record.value.map(<[u8]>::to_vec);
        told.push((record.offset, record.key.to_vec(), value, record.compressed));
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(damage.unwrap(), []);
    assert_eq!(told[0], (40, b"key".to_vec(), Some(b"value".to_vec()), false));
    assert_eq!(told[1].2.as_ref().unwrap(), &[7; 100]);
    assert!(told[1].3);
    assert_eq!((told[2].1.as_slice(), &told[2].2, told.len()), (&b"key"[..], &None, 3));
    let none = records(&disk, DIR, Some(99), |_| panic!("there is no such file"));
    assert!(matches!(none, Err(Error::NoSuchFile { id: 99, .. })));
}
