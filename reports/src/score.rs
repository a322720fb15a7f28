//! Who won: ratios to the best, their geometric mean, and winners that deserve the word.
//!
//! 1. The score of an engine in a contest is its median throughput ÷ the best median throughput
//!    there, among stores whose data was right. 1 is the best. Under an offered rate, where throughput says nothing, it is the best 99th
//!    percentile of the response time ÷ the engine's own, among those that reached the rate.
//! 2. Its overall score is the geometric mean of its scores, over those contests only in which every
//!    store of the group was measured: `(∏ score)^(1/n)`. A store that was measured nowhere in the group is left out. Contests in
//!    a closed loop and contests under a rate never enter the same mean: the latter have one only where no other workload ran.
//! 3. The winner of a contest is the store with the best median, if its trials lie apart from those
//!    of every other store. Ranges that overlap, or single trials closer than 5 %, have no winner.

use crate::model::{Contest, Entry, Group, Report, Role};
use crate::result::Phase;
use crate::series::{Spread, operation};

/// Single trials have no spread: below this ratio nothing is said about who is faster.
const SINGLE_TRIAL_MARGIN: f64 = 1.05;

/// What decides a contest: throughput in a closed loop, the inverse of the response time's 99th percentile
/// under an offered rate, where there are samples enough for it. More is better.
pub(crate) fn merit(contest: &Contest<'_>, entry: &Entry<'_>) -> Option<Spread> {
    let series = &entry.series;
    if contest.offered.is_none() {
        return series.throughput();
    }
    series.reached().filter(|reached| *reached)?;
    series.spread(|m| {
        let response = operation(m, "all")?.response.as_ref()?;
        let ns = response.p99_ns?;
        (response.count > 0 && ns > 0).then(|| 1e9 / ns as f64)
    })
}

/// Merit of the stores of a contest that were measured, best first.
pub(crate) fn ranking(report: &Report<'_>, contest: &Contest<'_>) -> Vec<(usize, Spread)> {
    let mut ranking: Vec<_> = contest
        .entries
        .iter()
        .filter(|entry| competes(report, entry))
        .filter_map(|entry| Some((entry.engine, merit(contest, entry)?)))
        .collect();
    ranking.sort_by(|(a, x), (b, y)| y.median.total_cmp(&x.median).then(a.cmp(b)));
    ranking
}

fn competes(report: &Report<'_>, entry: &Entry<'_>) -> bool {
    report.engine(entry).role == Role::Store
}

/// The engine that was the fastest beyond the spread of the trials, among at least two.
pub(crate) fn winner(report: &Report<'_>, contest: &Contest<'_>) -> Option<usize> {
    let ranking = ranking(report, contest);
    let (best, rest) = ranking.split_first()?;
    (!rest.is_empty() && rest.iter().all(|other| clearly_faster(best.1, other.1))).then_some(best.0)
}

pub(crate) fn clearly_faster(fast: Spread, slow: Spread) -> bool {
    let margin = if fast.trials < 2 || slow.trials < 2 { SINGLE_TRIAL_MARGIN } else { 1.0 };
    fast.is_apart_from(slow) && fast.median > slow.median * margin
}

/// Scores of a group's stores.
#[derive(Debug, PartialEq)]
pub(crate) struct Scores {
    /// The stores that were measured, best overall score first where there is one.
    pub(crate) rows: Vec<ScoreRow>,
    /// Indexes of the contests that enter the mean.
    pub(crate) in_mean: Vec<usize>,
}

/// Scores of one engine.
#[derive(Debug, PartialEq)]
pub(crate) struct ScoreRow {
    pub(crate) engine: usize,
    /// Ratio to the best per contest of the group; none where it has no figures.
    pub(crate) ratios: Vec<Option<f64>>,
    /// Geometric mean over [`Scores::in_mean`].
    pub(crate) mean: Option<f64>,
}

/// The score table of a group.
pub(crate) fn scores(report: &Report<'_>, group: &Group<'_>) -> Scores {
    let rankings: Vec<_> = group.contests.iter().map(|contest| ranking(report, contest)).collect();
    let ratio = |ranking: &[(usize, Spread)], engine: usize| {
        let best = ranking.first()?.1.median;
        let own = ranking.iter().find(|(other, _)| *other == engine)?.1.median;
        (best > 0.0).then(|| own / best)
    };
    let mut rows: Vec<ScoreRow> = report
        .stores()
        .map(|(engine, _)| ScoreRow {
            engine,
            ratios: rankings.iter().map(|ranking| ratio(ranking, engine)).collect(),
            mean: None,
        })
        .filter(|row| row.ratios.iter().any(Option::is_some))
        .collect();
    let closed = |contest: &Contest<'_>| contest.offered.is_none();
    let runs = || group.contests.iter().filter(|contest| contest.phase == Phase::Run);
    let mean_of_closed = runs().next().is_none() || runs().any(closed);
    let in_mean: Vec<usize> = (0..group.contests.len())
        .filter(|contest| closed(&group.contests[*contest]) == mean_of_closed)
        .filter(|contest| !rows.is_empty() && rows.iter().all(|row| row.ratios[*contest].is_some()))
        .collect();
    for row in &mut rows {
        row.mean = geometric_mean(in_mean.iter().filter_map(|contest| row.ratios[*contest]));
    }
    rows.sort_by(|a, b| {
        let key = |row: &ScoreRow| row.mean.unwrap_or(0.0);
        key(b).total_cmp(&key(a)).then(a.engine.cmp(&b.engine))
    });
    Scores { rows, in_mean }
}

fn geometric_mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let logarithms: Vec<f64> = values.map(f64::ln).collect();
    let sum: f64 = logarithms.iter().sum();
    (!logarithms.is_empty()).then(|| (sum / logarithms.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometric_mean_of_a_half_and_a_double_is_one() {
        assert!((geometric_mean([0.5, 2.0].into_iter()).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean([].into_iter()), None);
        assert_eq!(geometric_mean([0.0, 1.0].into_iter()), Some(0.0));
    }

    #[test]
    fn overlapping_trials_have_no_winner() {
        let spread = |median, min, max, trials| Spread { median, min, max, trials };
        assert!(clearly_faster(spread(20.0, 19.0, 21.0, 3), spread(15.0, 14.0, 16.0, 3)));
        assert!(!clearly_faster(spread(20.0, 15.0, 21.0, 3), spread(15.0, 14.0, 16.0, 3)));
        assert!(!clearly_faster(spread(1.04, 1.04, 1.04, 1), spread(1.0, 1.0, 1.0, 1)));
        assert!(clearly_faster(spread(1.06, 1.06, 1.06, 1), spread(1.0, 1.0, 1.0, 1)));
    }
}
