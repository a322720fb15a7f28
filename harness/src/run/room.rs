//! The room on the device that a run needs.

use kvdyno_reports::StoreUse;

use super::data_set::DataSet;
use super::plan::Plan;
use super::stores::Stores;
use crate::failure::{Failure, Result};

/// A store takes so many times its data, by a rule of thumb: what was overwritten and not merged yet, logs, and what is inserted.
const STORE_FACTOR: u64 = 3;
/// What an engine sets aside beforehand.
const SET_ASIDE_BYTES: u64 = 256 << 20;

/// Refuses a run whose stores may not fit.
///
/// # Errors
/// If there is less room than [`bytes_needed`].
pub(crate) fn check_room(plan: &Plan<'_>, stores: &Stores) -> Result<()> {
    let needed = bytes_needed(plan);
    let available = stores.available_bytes()?;
    if needed > available {
        let (available, needed) = (in_words(available, false), in_words(needed, true));
        return Err(Failure::failed(format!(
            "{} has {available} free, and this run may need {needed}: choose another --dir, fewer --records or fewer engines, or --no-room-check if you know better",
            stores.root().display(),
        )));
    }
    Ok(())
}

/// Room that the stores of a plan take at most, in bytes. Points of the matrix follow one another and leave nothing behind, so that
/// the largest one counts; kept stores add up.
pub(crate) fn bytes_needed(plan: &Plan<'_>) -> u64 {
    let engines =
        plan.compared().filter(|engine| engine.adapter.capabilities().persistent).count() as u64;
    let chain = plan.settings.stores == StoreUse::Chain;
    let at_a_point = |set: &DataSet| {
        // A template an engine, side by side, and one copy at a time; all copies if they are kept.
        let copies = match (chain, plan.keep_stores) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => {
                engines
                    * (set.running().iter().filter(|spec| writes(spec)).count() as u64
                        + u64::from(set.recovery))
            }
        };
        store_bytes(set).saturating_mul(engines + if engines > 0 { copies } else { 0 })
    };
    let points = plan.conditions.len() as u64 * u64::from(plan.settings.trials);
    let each = plan.data_sets.iter().map(at_a_point);
    if plan.keep_stores {
        each.fold(0_u64, u64::saturating_add).saturating_mul(points)
    } else {
        each.max().unwrap_or(0)
    }
}

fn store_bytes(set: &DataSet) -> u64 {
    let data = set
        .workloads
        .iter()
        .map(|spec| (spec.value_bytes_max() + spec.key_bytes_max()).saturating_mul(spec.records));
    data.max().unwrap_or(0).saturating_mul(STORE_FACTOR).saturating_add(SET_ASIDE_BYTES)
}

/// Whether a workload needs a store of its own.
pub(crate) fn writes(spec: &kvdyno_workloads::WorkloadSpec) -> bool {
    spec.operation_kinds().into_iter().any(kvdyno_workloads::OperationKind::writes)
}

/// Bytes in a unit that suits them, with two decimals; what is needed is rounded up and what there is down, so that the two never look alike.
fn in_words(bytes: u64, up: bool) -> String {
    let (unit, size) = if bytes >= 1 << 30 { ("GiB", 30) } else { ("MiB", 20) };
    let hundredths = bytes as f64 * 100.0 / f64::from(1_u32 << size);
    let hundredths = if up { hundredths.ceil() } else { hundredths.floor() };
    format!("{:.2} {unit}", hundredths / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_differ_look_different() {
        assert_eq!(in_words((1 << 30) + 1, true), "1.01 GiB");
        assert_eq!(in_words((1 << 30) + 1, false), "1.00 GiB");
        assert_eq!(in_words(5 << 20, true), "5.00 MiB");
    }
}
