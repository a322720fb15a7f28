//! Real processes on a real disk, killed while they write: what they had acknowledged is there.
//!
//! This test binary starts itself. The child writes values in a fixed order and tells each acknowledgement through its standard output, which is a pipe; the
//! parent reads for a while, kills it with SIGKILL, reads what is still in the pipe, opens the store and compares. Then the next child goes on.

use std::io::{Read, Write as _};
use std::path::Path;
use std::time::Duration;

use kvdyno_engines::storage::Disk;
use kvdyno_engines::{Durability, Engine, Error, OperationKind, WriteBatch, WriteOperation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::child;
use crate::history::Map;
use crate::replay::{assert_count, case};
use crate::subjects::{Subject, for_each_engine};

/// Tells the child its class, folder, and first write.
const VARIABLE: &str = "KVDYNO_WRITER";
/// Keys that are written in turn.
const KEYS: u64 = 97;

for_each_engine!(
    a_killed_process_loses_nothing_in_class_os,
    a_killed_process_loses_nothing_in_class_sync,
    #[ignore = "takes minutes"]
    a_killed_process_loses_nothing_long,
    #[ignore = "is the process that the tests beside it start and kill"]
    the_writer,
);

fn a_killed_process_loses_nothing_in_class_os<E: Subject>() {
    let kills = 100 / E::SHARE;
    assert_count("kills", kill::<E>(Durability::Os, kills), kills);
}

fn a_killed_process_loses_nothing_in_class_sync<E: Subject>() {
    let kills = 100 / E::SHARE;
    assert_count("kills", kill::<E>(Durability::Sync, kills), kills);
}

fn a_killed_process_loses_nothing_long<E: Subject>() {
    let kills = kill::<E>(Durability::Os, 2_500) + kill::<E>(Durability::Sync, 2_500);
    assert_count("kills", kills, 5_000);
}

fn key(number: u64) -> Vec<u8> {
    format!("key-{}", number % KEYS).into_bytes()
}

/// The value of the write with this number; None if it is a deletion.
fn value(number: u64) -> Option<Vec<u8>> {
    let filler = (number * 37 % 600) as usize;
    (number % 11 != 10).then(|| format!("{number} {:filler$}", "").into_bytes())
}

fn change(number: u64) -> WriteOperation {
    match value(number) {
        Some(value) => WriteOperation::Put { key: key(number), value },
        None => WriteOperation::Delete { key: key(number) },
    }
}

/// Writes pair by pair until it is killed; some as batches, where there are batches.
fn the_writer<E: Subject>() {
    let Ok(orders) = std::env::var(VARIABLE) else { return };
    let mut orders = orders.splitn(3, ' ');
    let class = if orders.next() == Some("sync") { Durability::Sync } else { Durability::Os };
    let first: u64 = orders.next().unwrap().parse().unwrap();
    let store = E::open_threaded(Disk, Path::new(orders.next().unwrap()), class).unwrap();
    let mut session = store.session().unwrap();
    let mut out = child::begin();
    let batches = store.capabilities().supports(OperationKind::Write);
    for number in (first..).step_by(2) {
        let both = [change(number), change(number + 1)];
        if batches && number % 3 == 0 {
            session.write(&WriteBatch { operations: both.to_vec() }).unwrap();
        } else {
            for operation in &both {
                match operation {
                    WriteOperation::Put { key, value } => session.put(key, value).unwrap(),
                    WriteOperation::Delete { key } => session.delete(key).unwrap(),
                    WriteOperation::PutExpiring { .. } | WriteOperation::DeleteRange { .. } => {
                        unreachable!("nobody asks for it")
                    }
                }
            }
        }
        out.write_all(&(number + 2).to_le_bytes()).unwrap();
        out.flush().unwrap();
    }
}

/// Starts writers on one store and kills them, one after the other; returns how many were.
fn kill<E: Subject>(class: Durability, kills: u64) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(kills);
    let mut written = 0;
    for kill in 0..kills {
        let wait = Duration::from_micros(random.random_range(0..8_000));
        let acknowledged = write_until_killed(folder.path(), class, written, wait).max(written);
        let context = || {
            let store = folder.path().display();
            format!("kill {kill} in class {class}, {acknowledged} writes acknowledged, in {store}")
        };
        written = case(kill, context, || check::<E>(folder.path(), class, acknowledged))
            .unwrap_or(acknowledged);
    }
    kills
}

/// How many writes the child had acknowledged when it was killed.
fn write_until_killed(folder: &Path, class: Durability, first: u64, wait: Duration) -> u64 {
    let orders = format!("{class} {first} {}", folder.display());
    let (mut child, mut pipe) = child::start(VARIABLE, &orders);
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        pipe.read_to_end(&mut said).unwrap();
        said
    });
    std::thread::sleep(wait);
    child.kill().unwrap();
    child.wait().unwrap();
    let said = reader.join().unwrap();
    said.as_chunks().0.last().map_or(first, |last| u64::from_le_bytes(*last))
}

/// The store holds what some number of writes leave behind, not less than were acknowledged; returns how many.
fn check<E: Subject>(folder: &Path, class: Durability, acknowledged: u64) -> u64 {
    let store = open_when_free::<E>(folder, class);
    let mut session = store.session().unwrap();
    let mut found = Map::new();
    let mut bytes = Vec::new();
    for number in 0..KEYS {
        if session.get(&key(number), &mut bytes).unwrap() {
            found.insert(key(number), bytes.clone());
        }
    }
    // One pair may have been under way.
    let legal = (acknowledged..=acknowledged + 2).rev().find(|writes| state(*writes) == found);
    drop(session);
    store.close().unwrap();
    legal.unwrap_or_else(|| {
        let wrong: Vec<_> = (0..KEYS)
            .filter(|number| found.get(&key(*number)) != state(acknowledged).get(&key(*number)))
            .collect();
        panic!("keys that are not as they were acknowledged: {wrong:?}")
    })
}

/// What the first `writes` writes leave behind.
fn state(writes: u64) -> Map {
    let last = |number: u64| {
        let newest = (writes.saturating_sub(KEYS)..writes).find(|at| at % KEYS == number)?;
        Some((key(newest), value(newest)?))
    };
    (0..KEYS).filter_map(last).collect()
}

/// The kernel takes a moment to release the lock of a process that was killed while it was in a system call.
fn open_when_free<E: Subject>(folder: &Path, class: Durability) -> Box<dyn Engine> {
    for _ in 0..1_000 {
        match E::open_threaded(Disk, folder, class) {
            Err(Error::Locked { .. }) => std::thread::sleep(Duration::from_millis(1)),
            outcome => return outcome.expect("a store opens after its process was killed"),
        }
    }
    panic!("the lock of a process that was killed stays")
}
