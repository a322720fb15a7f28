//! Long random histories: against a map, under many options, and on two engines at once.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::time::Duration;

use kvdyno_engines::conformance::{self, Plan};
use kvdyno_engines::storage::{Disk, SimulatedDisk};
use kvdyno_engines::{Direction, Durability, Engine, OperationKind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::history::{GONE, LASTING, Map};
use crate::replay::case;
use crate::subjects::{DIR, Subject, for_each_engine};

for_each_engine!(
    histories_agree_with_a_map,
    one_trace_has_one_answer_under_all_options,
    #[ignore = "takes minutes"]
    histories_agree_with_a_map_long,
    #[ignore = "takes minutes"]
    one_trace_has_one_answer_under_all_options_long,
);

/// Of the model check that all engines pass: puts, deletions, batches, scans, sessions, closing and dropping.
fn agree_with_a_map<E: Subject>(cases: u32) {
    let plan = Plan {
        seed: 1_000,
        cases: cases.div_ceil(3 * E::SHARE as u32),
        steps: 200,
        ..Plan::default()
    };
    conformance::run(&plan, || {
        let disk = SimulatedDisk::new();
        move |class| E::simulated(disk.clone(), class)
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
}

fn histories_agree_with_a_map<E: Subject>() {
    agree_with_a_map::<E>(10_000);
}

fn histories_agree_with_a_map_long<E: Subject>() {
    agree_with_a_map::<E>(500_000);
}

fn one_trace_has_one_answer_under_all_options<E: Subject>() {
    one_answer::<E>(16, 5_000);
}

fn one_trace_has_one_answer_under_all_options_long<E: Subject>() {
    one_answer::<E>(256, 10_000);
}

/// An operation of a trace.
enum Operation {
    Get(u64),
    Put(u64, Vec<u8>),
    /// For a time that is over at once, or longer than any trace.
    PutExpiring(u64, Vec<u8>, Duration),
    Delete(u64),
    /// From this key up to the second one, if that is greater.
    DeleteRange(u64, u64),
    /// From this key on, in this direction.
    Scan(u64, Direction),
    Sync,
    Settle,
    Close,
    Drop,
}

fn key(number: u64) -> [u8; 8] {
    // Not in the order of the numbers.
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes()
}

fn operation(random: &mut StdRng, keys: u64) -> Operation {
    // A few keys are used often.
    let share: f64 = random.random();
    let number = (share * share * keys as f64) as u64;
    match random.random_range(0..1000) {
        0..500 => {
            let filler = if random.random_range(0..8) == 0 { 600 } else { 60 };
            let mut value = vec![random.random(); random.random_range(0..filler)];
            value.extend(random.random::<[u8; 4]>());
            match value[0] % 16 {
                0 => Operation::PutExpiring(number, value, GONE),
                1 => Operation::PutExpiring(number, value, LASTING),
                _ => Operation::Put(number, value),
            }
        }
        500..645 => Operation::Delete(number),
        645..650 => Operation::DeleteRange(number, random.random_range(0..keys)),
        650..980 => Operation::Get(number),
        980..985 => Operation::Scan(number, Direction::Forward),
        985..990 => Operation::Scan(number, Direction::Reverse),
        990..993 => Operation::Sync,
        993..996 => Operation::Settle,
        996..998 => Operation::Close,
        _ => Operation::Drop,
    }
}

fn one_answer<E: Subject>(variants: usize, operations: usize) {
    let mut answers = Vec::new();
    for variant in 0..variants {
        let disk = SimulatedDisk::new();
        let open = || E::open_variant(disk.clone(), Path::new(DIR), variant).unwrap();
        answers.extend(case(variant, String::new, || answer(&open, operations)));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "options change what is read");
}

/// A digest of everything that a trace reads.
fn answer(open: &dyn Fn() -> Box<dyn Engine>, operations: usize) -> u64 {
    let mut random = StdRng::seed_from_u64(14);
    let (mut digest, mut map, mut value) = (DefaultHasher::new(), Map::new(), Vec::new());
    let mut engine = open();
    for _ in 0..operations {
        match operation(&mut random, 300) {
            Operation::Get(number) => {
                let found = engine.session().unwrap().get(&key(number), &mut value).unwrap();
                assert_eq!(found.then_some(&value), map.get(&key(number)[..]), "key {number}");
                (found, &value).hash(&mut digest);
            }
            Operation::Put(number, value) => {
                engine.session().unwrap().put(&key(number), &value).unwrap();
                map.insert(key(number).to_vec(), value);
            }
            Operation::PutExpiring(number, value, ttl) => {
                engine.session().unwrap().put_expiring(&key(number), &value, ttl).unwrap();
                put_for(&mut map, number, value, ttl);
            }
            Operation::Delete(number) => {
                engine.session().unwrap().delete(&key(number)).unwrap();
                map.remove(&key(number)[..]);
            }
            Operation::DeleteRange(first, last) => {
                delete_range(&*engine, &map, first, last);
                map.retain(|key, _| !range(first, last).contains(key));
            }
            Operation::Scan(number, direction) => {
                scan_and_compare(&*engine, &map, &key(number), direction);
            }
            Operation::Sync => engine.sync().unwrap(),
            Operation::Settle => engine.settle().unwrap(),
            Operation::Close => {
                engine.close().unwrap();
                engine = open();
            }
            Operation::Drop => {
                drop(engine);
                engine = open();
            }
        }
    }
    digest.finish()
}

/// Does to a map what a put for a time does to a store.
fn put_for(map: &mut Map, number: u64, value: Vec<u8>, ttl: Duration) {
    if ttl.is_zero() {
        map.remove(&key(number)[..]);
    } else {
        map.insert(key(number).to_vec(), value);
    }
}

/// The keys from a first one up to, but without the second: few, as otherwise little would be left.
fn range(first: u64, last: u64) -> Range<Vec<u8>> {
    let (start, end) = (key(first), key(last));
    let most = u64::from_be_bytes(start).saturating_add(u64::MAX / 50);
    start.to_vec()..end.min(most.to_be_bytes()).to_vec()
}

/// Deletes a range of keys, one by one where the engine has no other way.
fn delete_range(engine: &dyn Engine, map: &Map, first: u64, last: u64) {
    let (range, mut session) = (range(first, last), engine.session().unwrap());
    if engine.capabilities().supports(OperationKind::DeleteRange) {
        return session.delete_range(&range.start, &range.end).unwrap();
    }
    for key in map.keys().filter(|key| range.contains(*key)) {
        session.delete(key).unwrap();
    }
}

/// A scan of some keys from `start` on, where the engine has scans.
fn scan_and_compare(engine: &dyn Engine, map: &Map, start: &[u8], direction: Direction) {
    let kind = match direction {
        Direction::Forward => OperationKind::ScanForward,
        Direction::Reverse => OperationKind::ScanReverse,
    };
    if !engine.capabilities().supports(kind) {
        return;
    }
    let expected: Vec<(Vec<u8>, Vec<u8>)> = match direction {
        Direction::Forward => own(map.range(start.to_vec()..).take(SCANNED)),
        Direction::Reverse => own(map.range(..=start.to_vec()).rev().take(SCANNED)),
    };
    let mut scanned = Vec::new();
    let mut session = engine.session().unwrap();
    session
        .scan(start, direction, SCANNED, &mut |key, value| {
            scanned.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(scanned == expected, "a scan from {} shows something else", start.escape_ascii());
}

/// Keys that a scan of a trace visits at most.
const SCANNED: usize = 50;

fn own<'a>(entries: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    entries.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(all(feature = "bitcask", feature = "lsm"))]
#[test]
fn the_engines_and_a_map_agree() {
    agree_on(20, 100_000);
}

#[cfg(all(feature = "bitcask", feature = "lsm"))]
#[test]
#[ignore = "takes minutes"]
fn the_engines_and_a_map_agree_long() {
    agree_on(200, 100_000);
}

#[cfg(all(feature = "bitcask", feature = "lsm"))]
fn agree_on(traces: u64, operations: usize) {
    for seed in 0..traces {
        case(seed, String::new, || agree(seed, operations));
    }
}

/// The same operations on both engines, on the real disk and with their threads, and on a map; every get and the whole in the end are the same.
#[cfg(all(feature = "bitcask", feature = "lsm"))]
fn agree(seed: u64, operations: usize) {
    let folder = tempfile::tempdir().unwrap();
    let open = |which: usize| -> Box<dyn Engine> {
        let (path, class) = (folder.path().join(which.to_string()), Durability::Os);
        match which {
            0 => crate::subjects::Bitcask::open_threaded(Disk, &path, class).unwrap(),
            _ => crate::subjects::Lsm::open_threaded(Disk, &path, class).unwrap(),
        }
    };
    let keys = 5_000;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut map, mut value) = (Map::new(), Vec::new());
    let mut engines = [open(0), open(1)];
    for at in 0..operations {
        let operation = operation(&mut random, keys);
        // Closing and syncing are cheap on a simulated disk only.
        let rare = at % 50 == 0;
        for (which, engine) in engines.iter_mut().enumerate() {
            match &operation {
                Operation::Scan(number, direction) if rare => {
                    scan_and_compare(&**engine, &map, &key(*number), *direction);
                }
                Operation::Get(number) => {
                    let found = engine.session().unwrap().get(&key(*number), &mut value).unwrap();
                    let expected = map.get(&key(*number)[..]);
                    assert_eq!(found.then_some(&value), expected, "engine {which}, operation {at}");
                }
                Operation::Put(number, value) => {
                    engine.session().unwrap().put(&key(*number), value).unwrap();
                }
                Operation::PutExpiring(number, value, ttl) => {
                    engine.session().unwrap().put_expiring(&key(*number), value, *ttl).unwrap();
                }
                Operation::Delete(number) => {
                    engine.session().unwrap().delete(&key(*number)).unwrap();
                }
                Operation::DeleteRange(first, last) => delete_range(&**engine, &map, *first, *last),
                Operation::Settle if rare => engine.settle().unwrap(),
                Operation::Drop | Operation::Close if rare => {
                    // The lock must be free before it is taken again.
                    *engine = Box::new(kvdyno_engines::noop::Noop::new());
                    *engine = open(which);
                }
                _ => {}
            }
        }
        match operation {
            Operation::Put(number, value) => drop(map.insert(key(number).to_vec(), value)),
            Operation::PutExpiring(number, value, ttl) => put_for(&mut map, number, value, ttl),
            Operation::Delete(number) => drop(map.remove(&key(number)[..])),
            Operation::DeleteRange(first, last) => {
                map.retain(|key, _| !range(first, last).contains(key));
            }
            _ => {}
        }
    }
    for engine in &engines {
        let mut session = engine.session().unwrap();
        for number in 0..keys {
            let found = session.get(&key(number), &mut value).unwrap();
            assert_eq!(found.then_some(&value), map.get(&key(number)[..]), "key {number}");
        }
    }
}
