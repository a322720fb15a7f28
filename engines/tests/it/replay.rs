//! Cases of sweeps: each has a name, which its failure prints, and by which it can be run again alone.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

/// The environment variable that holds the name of the only case to run.
const VARIABLE: &str = "KVDYNO_CASE";

fn wanted() -> Option<&'static str> {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    WANTED.get_or_init(|| std::env::var(VARIABLE).ok()).as_deref()
}

/// Runs a case, unless another one is wanted alone.
///
/// # Panics
/// As `check` does, after it was said how to see that again; `context` is what else is worth knowing then.
pub(crate) fn case<T>(
    id: impl Display,
    context: impl FnOnce() -> String,
    check: impl FnOnce() -> T,
) -> Option<T> {
    let name = |id: &dyn Display| id.to_string().replace(' ', "");
    if wanted().is_some_and(|wanted| wanted != name(&id)) {
        return None;
    }
    let outcome = catch_unwind(AssertUnwindSafe(check));
    Some(outcome.unwrap_or_else(|panic| {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        eprintln!(
            "{}\nThis case alone: {VARIABLE}='{}' cargo test -p kvdyno-engines --test it -- --include-ignored --exact {test}",
            context(),
            name(&id),
        );
        resume_unwind(panic)
    }))
}

/// Asserts that a sweep has been as large as it is meant to be, unless it was run for one case alone.
pub(crate) fn assert_count(what: &str, count: u64, at_least: u64) {
    println!("{count} {what}");
    assert!(
        wanted().is_some() || count >= at_least,
        "{count} {what}, but there should be {at_least}"
    );
}
