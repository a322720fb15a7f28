//! The room on the device that a run needs.

use super::plan::Plan;
use super::stores::Stores;
use crate::failure::{Failure, Result};

/// Room that the stores of a plan take at most, by a rule of thumb: a template an engine and one copy, each three times the data, and what engines set
/// aside beforehand.
///
/// # Errors
/// If there is less.
pub(crate) fn check_room(plan: &Plan<'_>, stores: &Stores) -> Result<()> {
    const SET_ASIDE_BYTES: u64 = 256 << 20;
    let largest = plan
        .data_sets
        .iter()
        .flat_map(|set| &set.workloads)
        .map(|spec| (spec.value_bytes() + spec.key_bytes_max()).saturating_mul(spec.records));
    let store = largest.max().unwrap_or(0).saturating_mul(3).saturating_add(SET_ASIDE_BYTES);
    let needed = store.saturating_mul(plan.engines.len() as u64 + 1);
    let available = stores.available_bytes()?;
    if needed > available {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        return Err(Failure::failed(format!(
            "{} has {:.1} GiB free, and this run may need {:.1} GiB: choose another --dir, fewer --records or fewer engines",
            stores.root().display(),
            gib(available),
            gib(needed)
        )));
    }
    Ok(())
}
