//! Sessions of several threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Outcome, Plan, Subject, ensure, failed, get, scan, show};
use crate::random::Random;
use crate::{Direction, Engine, OperationKind, WriteBatch, WriteOperation};

const WRITERS: u64 = 3;
const KEYS_PER_WRITER: u64 = 20;
const BATCH_KEYS: u64 = 8;

pub(super) fn check(subject: &Subject<'_>, plan: &Plan) -> Outcome {
    if !subject.capabilities.stores_data {
        return Ok(());
    }
    let store = (subject.fresh)();
    let engine = store().map_err(failed("open"))?;
    let writes = u64::from(plan.steps);
    let done = AtomicBool::new(false);
    let atomic = [OperationKind::Write, OperationKind::ScanForward, OperationKind::ScanReverse]
        .iter()
        .all(|kind| subject.capabilities.supports(*kind));
    let expected = thread::scope(|scope| {
        let (engine, done) = (&*engine, &done);
        let mut others = vec![
            scope.spawn(move || read_register(engine, done, plan.monotonic_reads)),
            scope.spawn(move || maintain(engine, done)),
        ];
        let mut writers = vec![scope.spawn(move || write_register(engine, writes))];
        if atomic {
            writers.push(scope.spawn(move || write_batches(engine, writes)));
            others.push(scope.spawn(move || scan_batches(engine, done)));
        }
        let own: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write_own(engine, writer, writes, plan.seed)))
            .collect();
        let own: Result<Vec<_>, String> = own.into_iter().map(joined).collect();
        let written: Outcome = writers.into_iter().try_for_each(joined);
        done.store(true, Ordering::Release);
        others.into_iter().try_for_each(joined).and(written).and(own)
    })?;
    let expected: Vec<_> = expected.into_iter().flatten().collect();
    compare(&*engine, &expected)?;
    engine.close().map_err(failed("close"))?;
    if subject.capabilities.persistent {
        compare(&*store().map_err(failed("open"))?, &expected)?;
    }
    Ok(())
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T, String>>) -> Result<T, String> {
    thread.join().unwrap_or_else(|_| Err("a thread panics".to_owned()))
}

/// Keys with the version that was last put, or none where the key was deleted.
type Versions = Vec<(Vec<u8>, Option<u64>)>;

/// A value that shows its version and whether it is whole.
fn value(version: u64) -> Vec<u8> {
    version.to_le_bytes().repeat(1 + (version % 30) as usize)
}

fn version(value: &[u8]) -> Result<u64, String> {
    let (words, rest) = value.as_chunks::<8>();
    let whole = rest.is_empty() && words.windows(2).all(|pair| pair[0] == pair[1]);
    match words.first() {
        Some(word) if whole => Ok(u64::from_le_bytes(*word)),
        _ => Err(format!("{} is mixed from several values", show(value))),
    }
}

fn compare(engine: &dyn Engine, expected: &[(Vec<u8>, Option<u64>)]) -> Outcome {
    let mut session = engine.session().map_err(failed("session"))?;
    for (key, expected) in expected {
        let found = get(&mut *session, key)?.as_deref().map(version).transpose()?;
        ensure(found == *expected, || {
            format!("{} has version {found:?}, where {expected:?} was put last", show(key))
        })?;
    }
    Ok(())
}

/// Writes keys that no other thread writes, reads its own writes, and returns what it wrote last.
fn write_own(engine: &dyn Engine, writer: u64, writes: u64, seed: u64) -> Result<Versions, String> {
    let mut session = engine.session().map_err(failed("session"))?;
    let mut random = Random::of(seed, &[writer]);
    let key = |index: u64| format!("own {index} {writer}").into_bytes();
    let mut last: Versions = (0..KEYS_PER_WRITER).map(|index| (key(index), None)).collect();
    for number in 0..writes {
        let chosen = random.below(KEYS_PER_WRITER) as usize;
        let (key, present) = &mut last[chosen];
        if random.below(5) == 0 {
            session.delete(key).map_err(failed("delete"))?;
            *present = None;
        } else {
            session.put(key, &value(number)).map_err(failed("put"))?;
            *present = Some(number);
        }
        let (key, expected) = &last[random.below(KEYS_PER_WRITER) as usize];
        let found = get(&mut *session, key)?.as_deref().map(version).transpose()?;
        ensure(found == *expected, || {
            format!("a thread reads version {found:?} of {}, having put {expected:?}", show(key))
        })?;
    }
    Ok(last)
}

/// Puts growing versions under one key.
fn write_register(engine: &dyn Engine, writes: u64) -> Outcome {
    let mut session = engine.session().map_err(failed("session"))?;
    (1..=writes).try_for_each(|n| session.put(b"register", &value(n)).map_err(failed("put")))
}

/// Versions that are read are whole, and never go back if `monotonic`.
fn read_register(engine: &dyn Engine, done: &AtomicBool, monotonic: bool) -> Outcome {
    let mut session = engine.session().map_err(failed("session"))?;
    let mut last = 0;
    while !done.load(Ordering::Acquire) {
        let found = get(&mut *session, b"register")?;
        let found = found.as_deref().map(version).transpose()?.unwrap_or(0);
        ensure(!monotonic || last <= found, || {
            format!("version {found} is read after version {last}")
        })?;
        last = found;
    }
    Ok(())
}

/// Flushes, compacts and merges under the feet of the others.
fn maintain(engine: &dyn Engine, done: &AtomicBool) -> Outcome {
    while !done.load(Ordering::Acquire) {
        engine.settle().map_err(failed("settle"))?;
        engine.sync().map_err(failed("sync"))?;
        engine.metrics();
        thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(())
}

/// Gives all keys of a batch the same version, again and again.
fn write_batches(engine: &dyn Engine, writes: u64) -> Outcome {
    let mut session = engine.session().map_err(failed("session"))?;
    for number in 0..writes {
        let put = |index| {
            let key = format!("batch {index}").into_bytes();
            WriteOperation::Put { key, value: value(number) }
        };
        let batch = WriteBatch { operations: (0..BATCH_KEYS).map(put).collect() };
        session.write(&batch).map_err(failed("write"))?;
    }
    Ok(())
}

/// Scans see all keys of a batch in the same version, in either direction.
fn scan_batches(engine: &dyn Engine, done: &AtomicBool) -> Outcome {
    let mut session = engine.session().map_err(failed("session"))?;
    let last_key = format!("batch {}", BATCH_KEYS - 1);
    while !done.load(Ordering::Acquire) {
        for (start, direction) in
            [("batch 0", Direction::Forward), (last_key.as_str(), Direction::Reverse)]
        {
            let entries = scan(&mut *session, start.as_bytes(), direction, BATCH_KEYS as usize)?;
            let entries = entries.iter().filter(|(key, _)| key.starts_with(b"batch "));
            let versions: Result<Vec<u64>, _> = entries.map(|(_, value)| version(value)).collect();
            let versions = versions?;
            let whole = versions.is_empty() || versions.len() == BATCH_KEYS as usize;
            ensure(whole && versions.windows(2).all(|pair| pair[0] == pair[1]), || {
                format!("a scan {direction:?} sees parts of several batches: {versions:?}")
            })?;
        }
    }
    Ok(())
}
