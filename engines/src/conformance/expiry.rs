//! Values with a time to live.

use std::thread;
use std::time::{Duration, Instant};

use super::{Entries, Outcome, Plan, Subject, ensure, failed, get, scan, show};
use crate::{Direction, Engine, OperationKind, Session};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_hours(1);
/// An engine may keep time in whole seconds.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// What stays: a long time to live, none at all, and writes that lifted a short one.
const KEPT: [(&[u8], &[u8]); 3] = [(b"long", b"1"), (b"put again", b"2"), (b"renewed", b"3")];
/// What goes.
const EXPIRING: [&[u8]; 2] = [b"a short", b"short"];

pub(super) fn check(subject: &Subject<'_>, _plan: &Plan) -> Outcome {
    let capabilities = &subject.capabilities;
    if !capabilities.stores_data || !capabilities.supports(OperationKind::PutExpiring) {
        return Ok(());
    }
    let store = (subject.fresh)();
    let engine = store().map_err(failed("open"))?;
    let mut session = engine.session().map_err(failed("session"))?;
    let put_at = Instant::now();
    for key in EXPIRING.iter().chain([&&b"put again"[..], &&b"renewed"[..]]) {
        session.put_expiring(key, b"0", SHORT).map_err(failed("put_expiring"))?;
    }
    for key in EXPIRING {
        let found = get(&mut *session, key)?;
        ensure(found.is_some() || put_at.elapsed() >= SHORT, || {
            format!("{} is gone before its time", show(key))
        })?;
    }
    session.put_expiring(b"long", b"1", LONG).map_err(failed("put_expiring"))?;
    session.put(b"put again", b"2").map_err(failed("put"))?;
    session.put_expiring(b"renewed", b"3", LONG).map_err(failed("put_expiring"))?;
    wait_until_gone(&mut *session)?;
    compare(subject, &*engine)?;
    drop(session);
    engine.settle().map_err(failed("settle"))?;
    compare(subject, &*engine)?;
    engine.close().map_err(failed("close"))?;
    if capabilities.persistent {
        compare(subject, &*store().map_err(failed("open"))?)?;
    }
    Ok(())
}

fn wait_until_gone(session: &mut dyn Session) -> Outcome {
    let began = Instant::now();
    for key in EXPIRING {
        while get(session, key)?.is_some() {
            ensure(began.elapsed() < SHORT + GONE_WITHIN, || {
                format!("{} is still there long after its time", show(key))
            })?;
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

/// Every kind of read finds what stays, and only that.
fn compare(subject: &Subject<'_>, engine: &dyn Engine) -> Outcome {
    let mut session = engine.session().map_err(failed("session"))?;
    let mut keys = EXPIRING.map(|key| (key, None)).to_vec();
    keys.extend(KEPT.map(|(key, value)| (key, Some(value))));
    for (key, expected) in &keys {
        let found = get(&mut *session, key)?;
        ensure(found.as_deref() == *expected, || {
            format!("{} holds {found:?} after its time, expected {expected:?}", show(key))
        })?;
    }
    if subject.capabilities.supports(OperationKind::MultiGet) {
        let names: Vec<&[u8]> = keys.iter().map(|(key, _)| *key).collect();
        let mut wrong = None;
        session
            .multi_get(&names, &mut |index, value| {
                if value != keys[index].1 {
                    wrong = Some(names[index]);
                }
            })
            .map_err(failed("multi_get"))?;
        ensure(wrong.is_none(), || format!("multi_get of {wrong:?} ignores its time"))?;
    }
    let ordered: Entries = KEPT.map(|(key, value)| (key.to_vec(), value.to_vec())).to_vec();
    let reversed: Entries = ordered.iter().rev().cloned().collect();
    for (kind, direction, expected) in [
        (OperationKind::ScanForward, Direction::Forward, ordered),
        (OperationKind::ScanReverse, Direction::Reverse, reversed),
    ] {
        if subject.capabilities.supports(kind) {
            let found = scan(&mut *session, b"", direction, KEPT.len())?;
            ensure(found == expected, || {
                format!("a scan {direction:?} visits {found:?}, expected {expected:?}")
            })?;
        }
    }
    Ok(())
}
