//! Every operation is called once: what is supported works, and what is not says so.

use std::ops::ControlFlow;
use std::time::Duration;

use super::{Outcome, Plan, Subject, ensure, failed, get};
use crate::{Direction, Error, OperationKind, Result, Session, WriteBatch, WriteOperation};

pub(super) fn check(subject: &Subject<'_>, _plan: &Plan) -> Outcome {
    let store = (subject.fresh)();
    let engine = store().map_err(failed("open"))?;
    engine.settle().map_err(failed("settle of an empty store"))?;
    engine.sync().map_err(failed("sync of an empty store"))?;
    let mut session = engine.session().map_err(failed("session"))?;
    for kind in [
        OperationKind::Get,
        OperationKind::MultiGet,
        OperationKind::Put,
        OperationKind::PutExpiring,
        OperationKind::Delete,
        OperationKind::DeleteRange,
        OperationKind::Write,
        OperationKind::ScanForward,
        OperationKind::ScanReverse,
    ] {
        let result = call(&mut *session, kind);
        let right = match &result {
            Ok(()) => subject.capabilities.supports(kind),
            Err(Error::Unsupported(said)) => *said == kind && !subject.capabilities.supports(kind),
            Err(_) => false,
        };
        ensure(right, || {
            let supported = subject.capabilities.supports(kind);
            format!("{kind}, declared as supported: {supported}, gives {result:?}")
        })?;
    }
    if !subject.capabilities.stores_data {
        let found = get(&mut *session, b"key")?;
        ensure(found.is_none(), || "an engine that stores nothing finds a key".to_owned())?;
    }
    drop(session);
    engine.metrics();
    engine.close().map_err(failed("close"))
}

fn call(session: &mut dyn Session, kind: OperationKind) -> Result<()> {
    let scan = |session: &mut dyn Session, direction| {
        session.scan(b"", direction, 10, &mut |_, _| ControlFlow::Continue(())).map(drop)
    };
    match kind {
        OperationKind::Get => session.get(b"key", &mut Vec::new()).map(drop),
        OperationKind::MultiGet => session.multi_get(&[b"key", b"other"], &mut |_, _| {}),
        OperationKind::Put => session.put(b"key", b"value"),
        OperationKind::PutExpiring => {
            session.put_expiring(b"key", b"value", Duration::from_hours(1))
        }
        OperationKind::Delete => session.delete(b"key"),
        OperationKind::DeleteRange => session.delete_range(b"key", b"other"),
        OperationKind::Write => {
            let put = WriteOperation::Put { key: b"key".to_vec(), value: b"value".to_vec() };
            session.write(&WriteBatch { operations: vec![put] })
        }
        OperationKind::ScanForward => scan(session, Direction::Forward),
        OperationKind::ScanReverse => scan(session, Direction::Reverse),
    }
}
