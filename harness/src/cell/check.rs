//! The untimed check of the data after a phase: records are looked up, and each value must belong to its key and be whole.

use kvdyno_engines::Engine;
use kvdyno_reports::DataCheck;
use kvdyno_workloads::Workload;

use crate::failure::Result;

/// Up to this many records all are looked up; of more, about as many, evenly spread.
const RECORDS_MAX: u64 = 100_000;

/// Looks up loaded records, and those of `inserted` (record numbers).
pub(crate) fn check(
    engine: &dyn Engine,
    workload: &Workload,
    inserted: impl ExactSizeIterator<Item = u64>,
) -> Result<DataCheck> {
    let loaded = workload.record_count();
    let step = loaded.div_ceil(RECORDS_MAX).max(1);
    let inserted_step = (inserted.len() as u64).div_ceil(RECORDS_MAX).max(1);
    let all = step == 1 && inserted_step == 1;
    let mut check =
        DataCheck { scope: if all { "all" } else { "sample" }.into(), ..DataCheck::default() };
    let mut session = engine.session()?;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let records =
        (0..loaded).step_by(step as usize).chain(inserted.step_by(inserted_step as usize));
    for record in records {
        workload.key_of(record, &mut key);
        check.records_checked += 1;
        if !session.get(&key, &mut value)? {
            check.records_missing += 1;
        } else if workload.check_value(&key, &value).is_err() {
            check.records_wrong += 1;
        }
    }
    Ok(check)
}
