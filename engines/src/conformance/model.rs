//! Random histories against a `BTreeMap`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::steps::{Generator, LONG, Step, keys};
use super::{Entries, Outcome, Plan, Subject, ensure, failed, get, scan, show};
use crate::random::Random;
use crate::{Direction, Engine, OperationKind, Session, WriteOperation};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Runs of the history that shrinking may cost.
const SHRINKING_RUNS_MAX: u32 = 300;

pub(super) fn check(subject: &Subject<'_>, plan: &Plan) -> Outcome {
    if !subject.capabilities.stores_data {
        return Ok(());
    }
    for case in 0..plan.cases {
        let seed = plan.seed.wrapping_add(case.into());
        let keys = keys(&mut Random::of(seed, &[1]), &subject.capabilities);
        let mut generator = Generator::new(seed, &keys, &subject.capabilities);
        let steps: Vec<Step> = (0..plan.steps).map(|_| generator.step()).collect();
        if let Err(failure) = run(subject, &keys, &steps) {
            return Err(explain(subject, &keys, seed, steps, failure));
        }
    }
    Ok(())
}

/// Runs a history on a new store. A panic of the engine is a failure like others.
fn run(subject: &Subject<'_>, keys: &[Vec<u8>], steps: &[Step]) -> Outcome {
    let history = || History { subject, keys, map: Map::new() }.run(steps);
    catch_unwind(AssertUnwindSafe(history)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("the engine panics: {}", text.unwrap_or("without a message")))
    })
}

/// Leaves out steps as long as the history still fails, and describes what remains.
fn explain(
    subject: &Subject<'_>,
    keys: &[Vec<u8>],
    seed: u64,
    mut steps: Vec<Step>,
    mut failure: String,
) -> String {
    let all = steps.len();
    let mut runs = 0;
    let mut chunk = all.div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < steps.len() && runs < SHRINKING_RUNS_MAX {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(steps.len()));
            runs += 1;
            match run(subject, keys, &fewer) {
                Err(same) => (steps, failure) = (fewer, same),
                Ok(()) => at += chunk,
            }
        }
        chunk /= 2;
    }
    let mut text = format!("{failure}\nseed {seed}; {} of {all} steps are needed:\n", steps.len());
    for step in &steps {
        let _ = writeln!(text, "  {step}");
    }
    text
}

/// A history on one store, and what should be in the store.
struct History<'a, 'b> {
    subject: &'a Subject<'b>,
    keys: &'a [Vec<u8>],
    map: Map,
}

impl History<'_, '_> {
    fn run(mut self, steps: &[Step]) -> Outcome {
        let store = (self.subject.fresh)();
        let ends_life = |step: &Step| matches!(step, Step::Close | Step::Drop);
        for life in steps.split_inclusive(ends_life) {
            let engine = store().map_err(failed("open"))?;
            self.compare(&*engine)?;
            self.live(&*engine, life)?;
            match life.last() {
                Some(Step::Drop) => drop(engine),
                _ => engine.close().map_err(failed("close"))?,
            }
            if !self.subject.capabilities.persistent {
                self.map.clear();
            }
        }
        let engine = store().map_err(failed("open"))?;
        self.compare(&*engine)?;
        engine.close().map_err(failed("close"))
    }

    /// The steps between open and close.
    fn live(&mut self, engine: &dyn Engine, steps: &[Step]) -> Outcome {
        let mut session = engine.session().map_err(failed("session"))?;
        for step in steps {
            let outcome = match step {
                Step::Session => {
                    session = engine.session().map_err(failed("session"))?;
                    Ok(())
                }
                Step::Sync => engine.sync().map_err(failed("sync")),
                Step::Settle => engine.settle().map_err(failed("settle")),
                Step::Close | Step::Drop => Ok(()),
                _ => self.step(&mut *session, step),
            };
            outcome.map_err(|failure| format!("at '{step}': {failure}"))?;
        }
        drop(session);
        self.compare(engine)
    }

    fn step(&mut self, session: &mut dyn Session, step: &Step) -> Outcome {
        match step {
            Step::Put { key, value } => {
                session.put(key, value).map_err(failed("put"))?;
                self.map.insert(key.clone(), value.clone());
            }
            Step::PutExpiring { key, value } => {
                session.put_expiring(key, value, LONG).map_err(failed("put_expiring"))?;
                self.map.insert(key.clone(), value.clone());
            }
            Step::Delete { key } => {
                session.delete(key).map_err(failed("delete"))?;
                self.map.remove(key);
            }
            Step::DeleteRange { start, end } => {
                session.delete_range(start, end).map_err(failed("delete_range"))?;
                self.delete_range(start, end);
            }
            Step::Write(batch) => {
                session.write(batch).map_err(failed("write"))?;
                for operation in &batch.operations {
                    match operation {
                        WriteOperation::Put { key, value }
                        | WriteOperation::PutExpiring { key, value, .. } => {
                            self.map.insert(key.clone(), value.clone());
                        }
                        WriteOperation::Delete { key } => drop(self.map.remove(key)),
                        WriteOperation::DeleteRange { start, end } => self.delete_range(start, end),
                    }
                }
            }
            Step::Get { key } => self.compare_get(session, key)?,
            Step::MultiGet { keys } => self.compare_multi_get(session, keys)?,
            Step::Scan { start, direction, limit, break_after } => {
                self.compare_scan(session, start, *direction, *limit, *break_after)?;
            }
            Step::Sync | Step::Settle | Step::Session | Step::Close | Step::Drop => {}
        }
        Ok(())
    }

    fn delete_range(&mut self, start: &[u8], end: &[u8]) {
        self.map.retain(|key, _| &key[..] < start || &key[..] >= end);
    }

    /// Everything in the store is what should be there.
    fn compare(&self, engine: &dyn Engine) -> Outcome {
        let mut session = engine.session().map_err(failed("session"))?;
        for key in self.keys {
            self.compare_get(&mut *session, key)?;
        }
        for (kind, direction) in [
            (OperationKind::ScanForward, Direction::Forward),
            (OperationKind::ScanReverse, Direction::Reverse),
        ] {
            if self.subject.capabilities.supports(kind) {
                let found = scan(&mut *session, &[], direction, usize::MAX)?;
                self.compare_entries(&found, &[], direction, usize::MAX)?;
            }
        }
        let keys = self.map.len() as u64;
        if engine.metrics().keydir_entries.is_none_or(|entries| entries == keys) {
            return Ok(());
        }
        // Between writes it may be an estimate.
        engine.settle().map_err(failed("settle"))?;
        let entries = engine.metrics().keydir_entries;
        ensure(entries == Some(keys), || {
            format!(
                "the metrics of the settled engine tell {entries:?} keys where there are {keys}"
            )
        })
    }

    fn compare_get(&self, session: &mut dyn Session, key: &[u8]) -> Outcome {
        let found = get(session, key)?;
        same(key, self.map.get(key).map(Vec::as_slice), found.as_deref())
    }

    fn compare_multi_get(&self, session: &mut dyn Session, keys: &[Vec<u8>]) -> Outcome {
        let mut found: Vec<Vec<Option<Vec<u8>>>> = vec![Vec::new(); keys.len()];
        let slices: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        session
            .multi_get(&slices, &mut |index, value| found[index].push(value.map(<[u8]>::to_vec)))
            .map_err(failed("multi_get"))?;
        for (key, found) in keys.iter().zip(found) {
            let [found] = &found[..] else {
                return Err(format!("key {} is visited {} times", show(key), found.len()));
            };
            same(key, self.map.get(key).map(Vec::as_slice), found.as_deref())?;
        }
        Ok(())
    }

    fn compare_scan(
        &self,
        session: &mut dyn Session,
        start: &[u8],
        direction: Direction,
        limit: usize,
        break_after: usize,
    ) -> Outcome {
        let mut found = Entries::new();
        let visited = session
            .scan(start, direction, limit, &mut |key, value| {
                found.push((key.to_vec(), value.to_vec()));
                if found.len() < break_after {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })
            .map_err(failed("scan"))?;
        ensure(visited == found.len(), || {
            format!("{} keys are visited, but {visited} returned", found.len())
        })?;
        self.compare_entries(&found, start, direction, limit.min(break_after))
    }

    fn compare_entries(
        &self,
        found: &Entries,
        start: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Outcome {
        let included = if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) };
        let expected: Vec<(&Vec<u8>, &Vec<u8>)> = match direction {
            Direction::Forward => {
                self.map.range::<[u8], _>((included, Bound::Unbounded)).take(limit).collect()
            }
            Direction::Reverse => {
                self.map.range::<[u8], _>((Bound::Unbounded, included)).rev().take(limit).collect()
            }
        };
        for (index, (key, value)) in expected.iter().enumerate() {
            let Some((found_key, found_value)) = found.get(index) else {
                let count = found.len();
                return Err(format!("the scan ends after {count} keys, before {}", show(key)));
            };
            ensure(found_key == *key, || {
                format!("the scan visits {} where {} is due", show(found_key), show(key))
            })?;
            same(key, Some(value), Some(found_value))?;
        }
        match found.get(expected.len()) {
            Some((key, _)) => Err(format!("the scan visits {}, which is not due", show(key))),
            None => Ok(()),
        }
    }
}

fn same(key: &[u8], expected: Option<&[u8]>, found: Option<&[u8]>) -> Outcome {
    let text = |value: Option<&[u8]>| value.map_or("nothing".to_owned(), show);
    ensure(expected == found, || {
        format!("{} holds {}, where {} was put", show(key), text(found), text(expected))
    })
}
