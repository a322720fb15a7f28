//! One suite of checks that every engine passes, whoever wrote it: this crate's own, and the adapters of others.
//!
//! What an engine declares in its [`Capabilities`] decides what is asked of it: operations that it has do what the interface says, and
//! those that it lacks return [`Error::Unsupported`]. All of it is asked in each durability class that the engine offers.
//!
//! | check | asks |
//! |---|---|
//! | `model` | random operations, maintenance, closing and reopening give what a `BTreeMap` gives, and so does the number of keys where [`Metrics::keydir_entries`](crate::Metrics::keydir_entries) tells it; a failure is shrunk before it is told |
//! | `limits` | keys and values up to the declared limits are taken, one byte more and empty keys are refused by the right error, and change nothing |
//! | `operations` | what is not supported says so, and does not panic |
//! | `expiry` | what was put with a time to live is there before and gone soon after it, in every kind of read, and later writes to the key lift it |
//! | `threads` | sessions of several threads neither lose, mix nor tear each other's writes, and a scan sees one point in time |
//!
//! # Using it
//!
//! The suite is behind the feature `conformance`, meant for dev-dependencies. It is given a function that makes a place for a new store
//! and returns one that opens, or opens again, the store in that place:
//!
//! ```
//! use kvdyno_engines::{Engine, conformance, memory::Memory};
//!
//! conformance::check(|| |_durability| Ok(Box::new(Memory::new()) as Box<dyn Engine>));
//! ```
//!
//! For an engine with files the place is a temporary folder, which the inner function owns:
//!
//! ```ignore
//! conformance::check(|| {
//!     let folder = tempfile::tempdir().unwrap();
//!     move |durability| open(folder.path(), durability)
//! });
//! ```
//!
//! Give the engine small segments, memtables and tables, so that rotation, flush, compaction and merge really happen.

mod expiry;
mod limits;
mod model;
mod operations;
mod steps;
mod threads;

use std::ops::ControlFlow;

use crate::{Capabilities, Direction, Durability, Engine, Error, Result, Session};

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the random choices begin.
    pub seed: u64,
    /// Random histories per durability class.
    pub cases: u32,
    /// Steps of each.
    pub steps: u32,
    /// Whether a session may never read a version older than one that it has read. An engine whose readers can catch a glimpse of a commit
    /// that is still under way passes without.
    pub monotonic_reads: bool,
}

impl Default for Plan {
    /// A second or so for an engine whose flushes are quick.
    fn default() -> Self {
        Self { seed: 1, cases: 8, steps: 400, monotonic_reads: true }
    }
}

/// Runs the suite as [`Plan::default`] says.
///
/// # Panics
/// If the engine fails a check, with what was done, what was expected, and what came.
pub fn check<Open>(fresh: impl Fn() -> Open)
where
    Open: Fn(Durability) -> Result<Box<dyn Engine>>,
{
    if let Err(failure) = run(&Plan::default(), fresh) {
        panic!("{failure}");
    }
}

/// Runs the suite.
///
/// # Errors
/// The first check that the engine fails, with what was done, what was expected, and what came.
pub fn run<Open>(plan: &Plan, fresh: impl Fn() -> Open) -> Result<(), String>
where
    Open: Fn(Durability) -> Result<Box<dyn Engine>>,
{
    let mut refused = Vec::new();
    let mut declared = Vec::new();
    for durability in Durability::ALL {
        let capabilities = match fresh()(durability) {
            Ok(engine) => engine.capabilities().clone(),
            Err(error) => {
                refused.push((durability, error));
                continue;
            }
        };
        ensure(capabilities.durability.contains(&durability), || {
            format!("the engine opens in class {durability}, which it does not declare")
        })?;
        declared.clone_from(&capabilities.durability);
        let place = || -> Store<'_> {
            let open = fresh();
            Box::new(move || open(durability))
        };
        let subject = Subject { fresh: &place, capabilities };
        for (name, check) in CHECKS {
            check(&subject, plan)
                .map_err(|failure| format!("check {name} in class {durability}: {failure}"))?;
        }
    }
    let broken =
        refused.into_iter().find(|(class, _)| declared.is_empty() || declared.contains(class));
    match broken {
        Some((class, error)) => Err(format!("the engine does not open in class {class}: {error}")),
        None => Ok(()),
    }
}

const CHECKS: [(&str, Check); 5] = [
    ("operations", operations::check),
    ("limits", limits::check),
    ("model", model::check),
    ("expiry", expiry::check),
    ("threads", threads::check),
];

/// Opens a store, and opens it again.
type Store<'a> = Box<dyn Fn() -> Result<Box<dyn Engine>> + 'a>;

/// The engine under test, in one durability class.
struct Subject<'a> {
    /// A new, empty store.
    fresh: &'a dyn Fn() -> Store<'a>,
    capabilities: Capabilities,
}

/// What a check finds: nothing, or what the engine does wrong.
type Outcome = Result<(), String>;

type Check = fn(&Subject<'_>, &Plan) -> Outcome;

/// Keys with their values, in order.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn ensure(holds: bool, failure: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(failure()) }
}

/// Turns an error that should not have come into a failure: `.map_err(failed("sync"))`.
fn failed(what: &str) -> impl FnOnce(Error) -> String + '_ {
    move |error| format!("{what} failed: {error}")
}

/// A key or value for a message.
fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 24;
    let cut =
        if bytes.len() > SHOWN { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    format!("\"{}\"{cut}", bytes[..bytes.len().min(SHOWN)].escape_ascii())
}

/// The value of a key, and whether the buffer is as the interface says.
fn get(session: &mut dyn Session, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut value = b"from before".to_vec();
    let found = session.get(key, &mut value).map_err(failed("get"))?;
    ensure(found || value.is_empty(), || {
        format!("get of {} finds nothing, but leaves {} in the buffer", show(key), show(&value))
    })?;
    Ok(found.then_some(value))
}

/// What a scan visits, which stops by itself after `limit`.
fn scan(
    session: &mut dyn Session,
    start: &[u8],
    direction: Direction,
    limit: usize,
) -> Result<Entries, String> {
    let mut entries = Entries::new();
    let visited = session
        .scan(start, direction, limit, &mut |key, value| {
            entries.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .map_err(failed("scan"))?;
    ensure(visited == entries.len(), || {
        format!("a scan visits {} keys and returns {visited}", entries.len())
    })?;
    Ok(entries)
}
