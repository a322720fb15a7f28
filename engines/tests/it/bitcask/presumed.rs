//! Puts that replace an entry before it is known whose it was. The simulated disk says that every store is larger than memory, so all of its puts are of that kind.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use kvdyno_engines::bitcask::{Background, Bitcask, FileState, Options};
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::{Direction, Engine, WriteBatch, WriteOperation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::iterating::Stop;
use super::{DIR, Map, contents, files, get, open, small, unmerged};

type Store = Bitcask<SimulatedDisk>;

/// All keys have one hash.
fn one_hash() -> Options {
    Options { hash_mask: 0, ..unmerged() }
}

/// Ends the active data file, and leaves nothing but the tombstones of it.
fn seal(store: &Store) {
    let full = || store.files().iter().filter(|file| file.state == FileState::Sealed).count();
    let before = full();
    while full() == before {
        store.put(b"filler", &[0; 200]).unwrap();
        store.delete(b"filler").unwrap();
    }
}

fn put_in(batch: &mut WriteBatch, key: &[u8], value: &[u8]) {
    let (key, value) = (key.to_vec(), value.to_vec());
    batch.operations.push(WriteOperation::Put { key, value });
}

fn presumptions(store: &Store) -> u64 {
    store.presumptions()
}

/// A store where a put of `new` has replaced the entry of `old`, which has the same hash and is another key.
fn hidden(disk: &SimulatedDisk, options: &Options) -> Store {
    let store = open(disk, options);
    store.put(b"old", b"1").unwrap();
    seal(&store);
    store.put(b"new", b"2").unwrap();
    assert_eq!(presumptions(&store), 1);
    store
}

fn both() -> Map {
    Map::from([(b"old".to_vec(), b"1".to_vec()), (b"new".to_vec(), b"2".to_vec())])
}

#[test]
fn a_key_behind_a_put_of_another_is_read() {
    let store = hidden(&SimulatedDisk::new(), &one_hash());
    assert_eq!(get(&store, b"old").unwrap(), b"1");
    assert_eq!(get(&store, b"new").unwrap(), b"2");
    assert_eq!(get(&store, b"absent"), None);
    assert!(store.contains(b"old").unwrap() && !store.contains(b"absent").unwrap());
    assert_eq!(presumptions(&store), 1, "a read leaves it");
    assert_eq!(contents(&store), both());
    assert_eq!(presumptions(&store), 0);
}

#[test]
fn a_key_behind_a_put_of_another_is_counted_and_scanned() {
    let store = hidden(&SimulatedDisk::new(), &one_hash());
    assert_eq!(store.len(), 2);
    let store = hidden(&SimulatedDisk::new(), &one_hash());
    assert_eq!(store.status().keys, 2);
    let store = hidden(&SimulatedDisk::new(), &one_hash());
    let live: u64 = store.files().iter().map(|file| file.live_records).sum();
    assert_eq!((live, store.keys().unwrap().len()), (2, 2));
    let store = hidden(&SimulatedDisk::new(), &Options { ordered_scans: true, ..one_hash() });
    for expected in [2, 2] {
        let everything = &mut |_: &[u8], _: &[u8]| ControlFlow::Continue(());
        let mut session = store.session().unwrap();
        assert_eq!(
            session.scan(b"", Direction::Forward, usize::MAX, everything).unwrap(),
            expected
        );
    }
}

#[test]
fn a_key_behind_a_put_of_another_is_overwritten_and_deleted() {
    let batch = |key: &[u8], value: &[u8]| {
        let mut batch = WriteBatch::default();
        put_in(&mut batch, key, value);
        batch
    };
    let changes: [&dyn Fn(&Store); 4] = [
        &|store| store.put(b"old", b"3").unwrap(),
        &|store| store.write(&batch(b"old", b"3")).unwrap(),
        &|store| assert!(store.delete(b"old").unwrap()),
        &|store| assert!(!store.delete(b"absent").unwrap()),
    ];
    for (change, expected) in changes.iter().zip([Some(&b"3"[..]), Some(b"3"), None, Some(b"1")]) {
        let disk = SimulatedDisk::new();
        let store = hidden(&disk, &one_hash());
        change(&store);
        assert_eq!(get(&store, b"old").as_deref(), expected);
        assert_eq!(store.len(), 1 + usize::from(expected.is_some()));
        let map = contents(&store);
        store.close().unwrap();
        assert_eq!(contents(&open(&disk, &one_hash())), map);
    }
}

/// What a put has replaced of its own key never comes back, though the keydir has no entry of the key any more.
#[test]
fn a_value_behind_a_put_of_its_own_key_is_not_read() {
    let store = open(&SimulatedDisk::new(), &one_hash());
    store.put(b"key", b"1").unwrap();
    seal(&store);
    store.put(b"key", b"2").unwrap();
    assert_eq!(presumptions(&store), 1);
    assert!(store.delete(b"key").unwrap());
    assert_eq!(presumptions(&store), 1, "the entry of the last value is known");
    assert_eq!(get(&store, b"key"), None);
    assert_eq!(store.len(), 0);
    let live: u64 = store.files().iter().map(|file| file.live_records).sum();
    assert_eq!(live, 0);
}

#[test]
fn a_hot_key_is_overwritten_without_verifying() {
    let store = hidden(&SimulatedDisk::new(), &one_hash());
    for round in 0..5_u8 {
        store.put(b"new", &[round]).unwrap();
    }
    assert_eq!(presumptions(&store), 1);
    assert_eq!(get(&store, b"old").unwrap(), b"1");
    assert_eq!(get(&store, b"new").unwrap(), [4]);
}

/// Ends the active data file, and leaves the presumptions of other hashes than the filler's alone.
fn rotate(disk: &SimulatedDisk, store: &Store, filler: &[u8]) {
    let before = files(disk, "hint").len();
    while files(disk, "hint").len() == before {
        store.put(filler, &[0; 200]).unwrap();
    }
    assert!(store.delete(filler).unwrap());
    // Whoever finds nothing verifies what might be the key's.
    assert!(!store.delete(filler).unwrap());
}

/// A store where so many puts of a key wait, the first of which has replaced the entry of `old`; and that key. One bit of the hash decides: of a few keys, one has that of `old`, and one that fills files has the other.
fn hidden_behind(puts: u64) -> (Store, Vec<u8>) {
    let attempt = |new: &[u8], filler: &[u8]| {
        let disk = SimulatedDisk::new();
        let store = open(&disk, &Options { hash_mask: 1, ..unmerged() });
        store.put(b"old", b"1").unwrap();
        for round in 0..puts {
            rotate(&disk, &store, filler);
            store.put(new, &round.to_le_bytes()).unwrap();
            if presumptions(&store) != round + 1 {
                return None;
            }
        }
        Some((store, new.to_vec()))
    };
    let keys: Vec<Vec<u8>> = (0..8_u8).map(|key| vec![b'k', key]).collect();
    let pairs = keys.iter().flat_map(|new| keys.iter().map(move |filler| (new, filler)));
    let mut pairs = pairs.filter(|(new, filler)| new != filler);
    pairs.find_map(|(new, filler)| attempt(new, filler)).expect("keys of both hashes")
}

#[test]
fn a_key_behind_several_puts_of_another_is_read_and_overwritten() {
    for puts in 2..=5 {
        let (store, new) = hidden_behind(puts);
        assert_eq!(get(&store, b"old").unwrap(), b"1");
        assert_eq!(get(&store, &new).unwrap(), (puts - 1).to_le_bytes());
        assert_eq!(presumptions(&store), puts, "reads leave them");
        store.put(b"old", b"3").unwrap();
        assert_eq!(get(&store, b"old").unwrap(), b"3");
        let map = contents(&store);
        assert_eq!((map.len(), &*map[&new]), (2, &(puts - 1).to_le_bytes()[..]));
        let live: u64 = store.files().iter().map(|file| file.live_records).sum();
        assert_eq!(live, 2);
    }
}

#[test]
fn a_key_behind_a_put_of_another_survives_merges_and_closing() {
    let disk = SimulatedDisk::new();
    let store = hidden(&disk, &one_hash());
    let sealed = store.files().into_iter().filter(|file| file.state == FileState::Sealed);
    let sealed: Vec<u32> = sealed.map(|file| file.id).collect();
    drop(store);
    let store = hidden(&SimulatedDisk::new(), &one_hash());
    assert!(store.merge_files(&sealed).unwrap().bytes_reclaimed > 0);
    assert_eq!(contents(&store), both());
    store.merge().unwrap();
    assert_eq!(contents(&store), both());
    let disk = SimulatedDisk::new();
    hidden(&disk, &one_hash()).close().unwrap();
    let store = open(&disk, &one_hash());
    assert_eq!(store.recovery().records, 2);
    assert_eq!(contents(&store), both());
}

#[test]
fn a_key_whose_hint_and_record_are_damaged_is_not_taken_for_absent() {
    let disk = SimulatedDisk::new();
    let store = hidden(&disk, &one_hash());
    let hint = &files(&disk, "hint")[0];
    // Its first record is that of the old key: the check, and in the data file the key.
    disk.flip(hint, 48 + 8, 1).unwrap();
    assert_eq!(store.len(), 2, "the record has the last word");
    let disk = SimulatedDisk::new();
    let store = hidden(&disk, &one_hash());
    disk.flip(&files(&disk, "hint")[0], 48 + 8, 1).unwrap();
    let data = disk.read_all(&files(&disk, "data")[0]).unwrap();
    let at = data.windows(3).position(|bytes| bytes == b"old").unwrap();
    disk.flip(&files(&disk, "data")[0], at as u64, 1).unwrap();
    assert_eq!(store.len(), 2);
    assert_eq!(get(&store, b"new").unwrap(), b"2");
    assert!(store.get(b"old", &mut Vec::new()).is_err(), "damaged is not absent");
}

fn step(store: &Store, map: &mut Map, random: &mut StdRng, keys: u32) {
    let key = |random: &mut StdRng| format!("key-{}", random.random_range(0..keys)).into_bytes();
    let value = |random: &mut StdRng| vec![random.random(); 8 + random.random_range(0..120_usize)];
    let chosen = key(random);
    match random.random_range(0..100) {
        0..45 => {
            let value = value(random);
            store.put(&chosen, &value).unwrap();
            map.insert(chosen, value);
        }
        45..65 => assert_eq!(store.delete(&chosen).unwrap(), map.remove(&chosen).is_some()),
        65..90 => assert_eq!(get(store, &chosen).as_ref(), map.get(&chosen)),
        90..95 => {
            let mut batch = WriteBatch::default();
            for _ in 0..random.random_range(1..6) {
                let (key, value) = (key(random), value(random));
                if random.random_range(0..3) == 0 {
                    batch.operations.push(WriteOperation::Delete { key: key.clone() });
                    map.remove(&key);
                } else {
                    put_in(&mut batch, &key, &value);
                    map.insert(key, value);
                }
            }
            store.write(&batch).unwrap();
        }
        95 => assert_eq!(contents(store), *map),
        96 => {
            store.merge().unwrap();
        }
        97 => {
            let sealed = store.files().into_iter().filter(|file| file.state == FileState::Sealed);
            let mut sealed: Vec<u32> = sealed.map(|file| file.id).collect();
            sealed.retain(|_| random.random_range(0..2) == 0);
            store.merge_files(&sealed).unwrap();
        }
        98 => assert_eq!(store.len(), map.len()),
        _ => store.settle().unwrap(),
    }
}

/// Random steps against a map, with few hashes for all keys.
#[test]
fn puts_that_presume_agree_with_a_map() {
    let mut presumed = 0;
    for seed in 0..400 {
        let mut random = StdRng::seed_from_u64(seed);
        let merged = if seed % 2 == 0 { small() } else { unmerged() };
        let hash_mask = [0x3f, 0x0f, 0x01][seed as usize % 3];
        let options = Options { hash_mask, ordered_scans: seed % 5 == 0, ..merged };
        let (disk, mut map) = (SimulatedDisk::new(), Map::new());
        let mut store = open(&disk, &options);
        for _ in 0..6 {
            for _ in 0..60 {
                step(&store, &mut map, &mut random, [40, 10, 3][seed as usize % 3]);
                presumed += presumptions(&store);
            }
            let old: Vec<_> = store.iter().take(3).map(|entry| entry.unwrap().0).collect();
            assert!(old.iter().all(|key| map.contains_key(key)));
            if random.random_range(0..2) == 0 {
                store.close().unwrap();
            } else {
                drop(store);
            }
            store = open(&disk, &options);
            assert_eq!(contents(&store), map, "seed {seed}");
        }
    }
    assert!(presumed > 10_000, "{presumed} presumptions");
}

/// Threads that write keys of their own, which share hashes with those of the others, while others merge, iterate and count. Each thread knows what its keys are.
#[test]
fn threads_that_presume_agree_with_their_maps() {
    const THREADS: u64 = 3;
    for seed in 0..12 {
        let options = Options {
            hash_mask: [0x3f, 0x07][seed as usize % 2],
            background: Background::Threads,
            ordered_scans: seed % 3 == 0,
            ..if seed % 2 == 0 { small() } else { unmerged() }
        };
        let disk = SimulatedDisk::new();
        let store = open(&disk, &options);
        for key in 0..5_u8 {
            store.put(&[key], &[key; 90]).unwrap();
        }
        let (stop, running) = (AtomicBool::new(false), AtomicU64::new(THREADS));
        let maps = thread::scope(|scope| {
            let _stop = Stop(&stop);
            let writers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (store, running) = (&store, &running);
                    scope.spawn(move || {
                        let map = write_own(store, seed * THREADS + thread, thread);
                        running.fetch_sub(1, Ordering::Relaxed);
                        map
                    })
                })
                .collect();
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    store.merge().unwrap();
                }
            });
            while running.load(Ordering::Relaxed) > 0
                && !writers.iter().any(thread::ScopedJoinHandle::is_finished)
            {
                // The first five keys stay as they are.
                let seen: Map = store.iter().map(Result::unwrap).collect();
                assert!((0..5_u8).all(|key| seen.get(&[key][..]).is_some_and(|v| *v == [key; 90])));
                assert!((0..5_u8).all(|key| get(&store, &[key]).is_some()));
                assert!(store.len() >= 5);
            }
            writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        let mut map: Map = (0..5_u8).map(|key| (vec![key], vec![key; 90])).collect();
        for its in maps {
            map.extend(its);
        }
        assert_eq!(contents(&store), map, "seed {seed}");
        store.close().unwrap();
        assert_eq!(contents(&Bitcask::open(disk, DIR, options).unwrap()), map);
    }
}

fn write_own(store: &Store, seed: u64, thread: u64) -> Map {
    let (mut random, mut map) = (StdRng::seed_from_u64(seed), Map::new());
    for step in 0..1_200_u32 {
        let key = format!("{thread}-{}", random.random_range(0..12)).into_bytes();
        match random.random_range(0..10) {
            0..5 => {
                let value = step.to_le_bytes().repeat(random.random_range(1..30));
                store.put(&key, &value).unwrap();
                map.insert(key, value);
            }
            5..7 => assert_eq!(store.delete(&key).unwrap(), map.remove(&key).is_some()),
            7 => {
                let mut batch = WriteBatch::default();
                put_in(&mut batch, &key, &[7; 50]);
                store.write(&batch).unwrap();
                map.insert(key, vec![7; 50]);
            }
            _ => assert_eq!(get(store, &key).as_ref(), map.get(&key), "{}", key.escape_ascii()),
        }
    }
    map
}
