//! The untimed check of the data after a phase: records are looked up. What must be there must belong to its key and be whole; what was removed must be
//! gone.

use kvdyno_engines::Engine;
use kvdyno_reports::DataCheck;
use kvdyno_workloads::{Fate, OperationStream, Workload};

use crate::failure::Result;

/// Up to this many records all are looked up; of more, about as many, evenly spread.
const RECORDS_MAX: u64 = 100_000;

/// Looks up loaded records, and those that the streams have inserted. `streams` are all streams of the workload in their order, or none after a load.
pub(crate) fn check(
    engine: &dyn Engine,
    workload: &Workload,
    streams: &[&OperationStream],
) -> Result<DataCheck> {
    let loaded = workload.record_count();
    let inserted: u64 =
        streams.iter().map(|stream| stream.inserted() + stream.inserted_expiring()).sum();
    let step = loaded.div_ceil(RECORDS_MAX).max(1);
    let inserted_step = inserted.div_ceil(RECORDS_MAX).max(1);
    let all = step == 1 && inserted_step == 1;
    let mut check =
        DataCheck { scope: if all { "all" } else { "sample" }.into(), ..DataCheck::default() };
    let mut session = engine.session()?;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let fates = loaded_fates(workload, streams, step)
        .chain(inserted_fates(streams).step_by(inserted_step as usize));
    for (record, fate) in fates {
        workload.key_of(record, &mut key);
        check.records_checked += 1;
        let found = session.get(&key, &mut value)?;
        match fate {
            Fate::Present if !found => check.records_missing += 1,
            Fate::Absent if found => check.records_resurrected += 1,
            _ if found && workload.check_value(&key, &value).is_err() => check.records_wrong += 1,
            _ => {}
        }
    }
    Ok(check)
}

/// What is wrong with the data, if anything is.
pub(crate) fn complaint(check: &DataCheck) -> Option<String> {
    let DataCheck { records_checked, records_missing, records_wrong, records_resurrected, .. } =
        check;
    (records_missing + records_wrong + records_resurrected > 0).then(|| {
        format!(
            "of {records_checked} records looked up after the phase, {records_missing} were missing, {records_wrong} had a wrong value \
             and {records_resurrected} were there although they had been removed"
        )
    })
}

/// Each `step`-th loaded record, and what became of it.
fn loaded_fates<'a>(
    workload: &'a Workload,
    streams: &'a [&OperationStream],
    step: u64,
) -> impl Iterator<Item = (u64, Fate)> + 'a {
    (0..workload.record_count()).step_by(step as usize).map(|record| {
        let owner = workload.owner_of_loaded(record).and_then(|index| streams.get(index as usize));
        (record, owner.map_or(Fate::Present, |stream| stream.fate(record)))
    })
}

/// The records that the streams have inserted, and what became of them.
fn inserted_fates<'a>(streams: &'a [&OperationStream]) -> impl Iterator<Item = (u64, Fate)> + 'a {
    streams.iter().flat_map(|stream| {
        let lasting = (0..stream.inserted()).map(|index| stream.inserted_record(index));
        let expiring =
            (0..stream.inserted_expiring()).filter_map(|index| stream.expiring_record(index));
        lasting.chain(expiring).map(|record| (record, stream.fate(record)))
    })
}

#[cfg(test)]
mod tests {
    use kvdyno_engines::memory::Memory;
    use kvdyno_workloads::{Operation, WorkloadSpec};

    use super::*;

    /// A store after some operations of a workload with deletes, the stream, and the key of a record that was deleted.
    fn churned() -> (Memory, Workload, OperationStream, Vec<u8>) {
        let mut spec = WorkloadSpec::builtin("session-churn").unwrap();
        (spec.records, spec.streams, spec.kept_inserts_share) = (50, 1, 0.0);
        let workload = Workload::new(spec, 1).unwrap();
        let engine = Memory::new();
        let mut session = engine.session().unwrap();
        let mut loader = workload.loader(0, 1);
        while let Some((key, value)) = loader.next() {
            session.put(key, value).unwrap();
        }
        let (mut stream, mut deleted) = (workload.stream(0), Vec::new());
        for _ in 0..500 {
            match stream.next() {
                Operation::Insert { key, value } => session.put(key, value).unwrap(),
                Operation::Delete { key } => {
                    session.delete(key).unwrap();
                    deleted = key.to_vec();
                }
                _ => {}
            }
        }
        drop(session);
        (engine, workload, stream, deleted)
    }

    #[test]
    fn deleted_records_must_be_gone_and_all_others_there() {
        let (engine, workload, stream, deleted) = churned();
        let found = check(&engine, &workload, &[&stream]).unwrap();
        assert_eq!(complaint(&found), None);
        assert_eq!(found.records_checked, 50 + stream.inserted());

        let mut session = engine.session().unwrap();
        session.put(&deleted, b"back again").unwrap();
        let found = check(&engine, &workload, &[&stream]).unwrap();
        assert_eq!((found.records_missing, found.records_wrong), (0, 0));
        assert_eq!(found.records_resurrected, 1);
        let text = complaint(&found).unwrap();
        assert!(text.ends_with("1 were there although they had been removed"), "{text}");

        session.delete(&deleted).unwrap();
        let mut key = Vec::new();
        workload.key_of(7, &mut key);
        session.delete(&key).unwrap();
        let found = check(&engine, &workload, &[&stream]).unwrap();
        assert_eq!((found.records_missing, found.records_resurrected), (1, 0));
    }
}
