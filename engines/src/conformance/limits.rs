//! Keys and values at the limits, and beyond.

use super::{Outcome, Plan, Subject, ensure, failed, get};
use crate::{Capabilities, Error, OperationKind, Session, WriteBatch, WriteOperation};

/// Limits above this are taken on trust: trying them would cost more memory than a test should take.
const BYTES_MAX: usize = 64 << 20;

pub(super) fn check(subject: &Subject<'_>, _plan: &Plan) -> Outcome {
    let capabilities = &subject.capabilities;
    if !capabilities.stores_data {
        return Ok(());
    }
    let store = (subject.fresh)();
    let key_max = capabilities.key_bytes_max.min(BYTES_MAX);
    let value_max = capabilities.value_bytes_max.min(BYTES_MAX);
    let long_key = vec![0xff; key_max];
    let long_value: Vec<u8> = (0..value_max).map(|at| (at / 7) as u8).collect();
    let kept: [(&[u8], &[u8]); 4] =
        [(b"empty", b""), (&long_key, b"of a long key"), (b"long", &long_value), (b"k", b"v")];
    {
        let engine = store().map_err(failed("open"))?;
        let mut session = engine.session().map_err(failed("session"))?;
        for (key, value) in kept {
            session.put(key, value).map_err(failed("put at the limit"))?;
        }
        refuse(&mut *session, capabilities)?;
        let absent = get(&mut *session, b"before")?;
        ensure(absent.is_none(), || "a refused batch takes effect in part".to_owned())?;
        match session.get(b"", &mut Vec::new()) {
            Ok(false) | Err(Error::EmptyKey) => {}
            other => return Err(format!("get of the empty key gives {other:?}")),
        }
        compare(&mut *session, &kept)?;
        drop(session);
        engine.settle().map_err(failed("settle"))?;
        let mut session = engine.session().map_err(failed("session"))?;
        compare(&mut *session, &kept)?;
        drop(session);
        engine.close().map_err(failed("close"))?;
    }
    if !capabilities.persistent {
        return Ok(());
    }
    let engine = store().map_err(failed("open"))?;
    let mut session = engine.session().map_err(failed("session"))?;
    compare(&mut *session, &kept)
}

fn compare(session: &mut dyn Session, expected: &[(&[u8], &[u8])]) -> Outcome {
    for (key, value) in expected {
        let found = get(session, key)?;
        ensure(found.as_deref() == Some(*value), || {
            let found =
                found.map_or("nothing".to_owned(), |found| format!("{} bytes", found.len()));
            let (key, value) = (key.len(), value.len());
            format!("under a key of {key} bytes there is {found} where {value} bytes were put")
        })?;
    }
    Ok(())
}

/// Each write with a bad size is refused by the error that says so.
fn refuse(session: &mut dyn Session, capabilities: &Capabilities) -> Outcome {
    let mut bad: Vec<(Vec<u8>, Vec<u8>)> = vec![(Vec::new(), b"v".to_vec())];
    if capabilities.key_bytes_max < BYTES_MAX {
        bad.push((vec![b'k'; capabilities.key_bytes_max + 1], b"v".to_vec()));
    }
    if capabilities.value_bytes_max < BYTES_MAX {
        bad.push((b"k".to_vec(), vec![b'v'; capabilities.value_bytes_max + 1]));
    }
    for (key, value) in bad {
        let put = WriteOperation::Put { key: key.clone(), value: value.clone() };
        let before = WriteOperation::Put { key: b"before".to_vec(), value: b"v".to_vec() };
        let batch = WriteBatch { operations: vec![before, put] };
        expect(&session.put(&key, &value), "put", &key, capabilities)?;
        if capabilities.supports(OperationKind::Write) {
            expect(&session.write(&batch), "write", &key, capabilities)?;
        }
        if capabilities.supports(OperationKind::PutExpiring) {
            let ttl = std::time::Duration::from_hours(1);
            expect(&session.put_expiring(&key, &value, ttl), "put_expiring", &key, capabilities)?;
        }
        if capabilities.supports(OperationKind::Delete) && key != b"k" {
            expect(&session.delete(&key), "delete", &key, capabilities)?;
        }
    }
    Ok(())
}

fn expect(
    result: &Result<(), Error>,
    operation: &str,
    key: &[u8],
    capabilities: &Capabilities,
) -> Outcome {
    let (key_max, value_max) = (capabilities.key_bytes_max, capabilities.value_bytes_max);
    let right = match result {
        Err(Error::EmptyKey) => key.is_empty(),
        Err(Error::KeyTooLong { len, max }) => {
            *len == key.len() && (*len, *max) == (key_max + 1, key_max)
        }
        Err(Error::ValueTooLong { len, max }) => (*len, *max) == (value_max + 1, value_max),
        _ => false,
    };
    ensure(right, || {
        let len = key.len();
        format!("{operation} with a bad size and a key of {len} bytes gives {result:?}")
    })
}
