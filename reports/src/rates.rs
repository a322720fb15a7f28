//! What came out under offered rates: the highest rate reached, the bound that held, and the points between.

use crate::format;
use crate::result::{Measurement, RatePoint};
use crate::series::{Series, Spread};

/// The rates that the median trial tried, lowest first; empty where none were.
pub(crate) fn points<'a>(series: &Series<'a>) -> Vec<&'a RatePoint> {
    let Some((_, measurement)) = series.median_trial() else { return Vec::new() };
    let mut points: Vec<_> = measurement.rates.iter().collect();
    points.sort_by(|a, b| a.offered_ops_per_s.total_cmp(&b.offered_ops_per_s));
    points
}

/// The highest rate that was offered and reached.
pub(crate) fn highest_reached(series: &Series<'_>) -> Option<Spread> {
    series.spread(|m| {
        let reached = m.rates.iter().filter(|point| point.reached);
        reached.map(|point| point.offered_ops_per_s).max_by(f64::total_cmp)
    })
}

/// How far the bound held, in one sentence without its subject: `holds p99<1ms up to 412 k ops/s; breaks it at 455 k`.
pub(crate) fn slo_sentence(series: &Series<'_>) -> Option<String> {
    let slo = series.measurements().find_map(|m| m.slo.as_ref())?;
    let bound = &slo.bound;
    let highest = series.spread(|m| m.slo.as_ref()?.highest_ops_per_s);
    let broken = series.spread(|m| m.slo.as_ref()?.lowest_broken_ops_per_s);
    let rate = |spread: Spread| format::rate(spread.median);
    Some(match (highest, broken) {
        (Some(highest), Some(broken)) => {
            format!("holds {bound} up to {} ops/s; breaks it at {}", rate(highest), rate(broken))
        }
        (Some(highest), None) => {
            format!("holds {bound} up to {} ops/s, the highest rate tried", rate(highest))
        }
        (None, Some(broken)) => {
            format!(
                "holds {bound} at no rate that was tried; the lowest was {} ops/s",
                rate(broken)
            )
        }
        (None, None) => format!("was not tried against {bound}"),
    })
}

/// Operations that were due but never done; none in a closed loop.
pub(crate) fn never_done(measurement: &Measurement) -> Option<u64> {
    let all = measurement.operations.iter().find(|stats| stats.kind == "all");
    let done = all.map_or(0, |stats| stats.operations);
    Some(measurement.open_loop?.due.saturating_sub(done))
}

/// The same of the trial with the most of them, for people.
pub(crate) fn never_done_words(series: &Series<'_>) -> Option<String> {
    let most = series.measurements().filter_map(never_done).max()?;
    Some(format::count(most))
}

/// Whether an offered rate was reached, in words; none in a closed loop.
pub(crate) fn target_words(series: &Series<'_>) -> Option<&'static str> {
    series.reached().map(|reached| if reached { "reached" } else { "target not reached" })
}
