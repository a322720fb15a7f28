//! The trials of one cell, seen as one: what came out, and each figure's median and spread.
//!
//! Operations are never pooled over trials: one trial gives one number per figure, and what is told
//! is the median of these numbers with the smallest and the largest.

use crate::result::{Cell, CellStatus, Latency, Measurement, OperationStats, Recovery};

/// Median of the trials' figures, and their range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) trials: usize,
}

impl Spread {
    /// The spread of `values`; none where there are none. Figures that are not finite do not count.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let trials = values.len();
        let upper = values[trials / 2];
        let lower = values[(trials - 1) / 2];
        Some(Self { median: f64::midpoint(lower, upper), min, max, trials })
    }

    /// Half the range in per cent of the median; none for a single trial.
    pub(crate) fn half_range_percent(self) -> Option<f64> {
        let percent = (self.max - self.min) / 2.0 / self.median * 100.0;
        (self.trials > 1 && percent.is_finite()).then_some(percent)
    }

    /// Whether the two ranges have no value in common.
    pub(crate) fn is_apart_from(self, other: Self) -> bool {
        self.min > other.max || self.max < other.min
    }
}

/// What came of all trials of a cell. The worst outcome that concerns the data wins; else one good
/// trial is enough for figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Measured,
    Unsupported,
    Failed,
    Timeout,
    Interrupted,
    WrongData,
    LostWrite,
}

impl Outcome {
    /// What stands in a table instead of figures.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Unsupported => "not supported",
            Self::Failed => "failed",
            Self::Timeout => "timed out",
            Self::Interrupted => "interrupted",
            Self::WrongData => "wrong data",
            Self::LostWrite => "lost writes",
        }
    }

    /// Whether the data itself was not right.
    pub(crate) fn is_wrong(self) -> bool {
        matches!(self, Self::WrongData | Self::LostWrite)
    }
}

impl From<CellStatus> for Outcome {
    fn from(status: CellStatus) -> Self {
        match status {
            CellStatus::Ok => Self::Measured,
            CellStatus::Unsupported => Self::Unsupported,
            CellStatus::Failed => Self::Failed,
            CellStatus::Timeout => Self::Timeout,
            CellStatus::Interrupted => Self::Interrupted,
            CellStatus::WrongData => Self::WrongData,
            CellStatus::LostWrite => Self::LostWrite,
        }
    }
}

/// All trials of one engine × workload × configuration in one phase.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series<'a> {
    pub(crate) cells: Vec<&'a Cell>,
}

impl<'a> Series<'a> {
    /// What came of the trials together.
    pub(crate) fn outcome(&self) -> Outcome {
        let has = |status| self.cells.iter().any(|cell| cell.status == status);
        [CellStatus::LostWrite, CellStatus::WrongData, CellStatus::Ok]
            .into_iter()
            .find(|status| has(*status))
            .or(self.cells.first().map(|cell| cell.status))
            .map_or(Outcome::Interrupted, Outcome::from)
    }

    /// Trials that were measured, and trials in all.
    pub(crate) fn trials(&self) -> (usize, usize) {
        (self.good().count(), self.cells.len())
    }

    /// Why the trials did not all end well: the first reason given. What an engine lacks is told without its
    /// name, which stands beside it: `no scan` rather than `bitcask has no scan`.
    pub(crate) fn reason(&self) -> Option<&'a str> {
        let mut cells = self.cells.iter().filter(|cell| cell.status != CellStatus::Ok);
        let (cell, reason) = cells.find_map(|cell| Some((cell, cell.error.as_deref()?)))?;
        let rest = reason.strip_prefix(cell.engine.as_str()).and_then(|r| r.strip_prefix(" has "));
        Some(rest.filter(|_| cell.status == CellStatus::Unsupported).unwrap_or(reason))
    }

    fn good(&self) -> impl Iterator<Item = &'a Cell> {
        self.cells.iter().copied().filter(|cell| cell.status == CellStatus::Ok)
    }

    /// The measurements of the trials that ended well.
    pub(crate) fn measurements(&self) -> impl Iterator<Item = &'a Measurement> {
        self.good().filter_map(|cell| cell.measurement.as_ref())
    }

    /// The recoveries of the trials that ended well.
    pub(crate) fn recoveries(&self) -> impl Iterator<Item = &'a Recovery> {
        self.good().filter_map(|cell| cell.recovery.as_ref())
    }

    /// Spread of one figure of the measurements; none also where the data was wrong.
    pub(crate) fn spread(&self, figure: impl Fn(&Measurement) -> Option<f64>) -> Option<Spread> {
        if self.outcome().is_wrong() {
            return None;
        }
        Spread::of(self.measurements().filter_map(figure))
    }

    /// Spread of one figure of the recoveries; none also where a write was lost.
    pub(crate) fn recovery(&self, figure: impl Fn(&Recovery) -> f64) -> Option<Spread> {
        if self.outcome().is_wrong() {
            return None;
        }
        Spread::of(self.recoveries().map(figure))
    }

    /// Spread of one figure that not every recovery has.
    pub(crate) fn recovered(&self, figure: impl Fn(&Recovery) -> Option<f64>) -> Option<Spread> {
        if self.outcome().is_wrong() {
            return None;
        }
        Spread::of(self.recoveries().filter_map(figure))
    }

    /// Spread of the throughput at acknowledgement.
    pub(crate) fn throughput(&self) -> Option<Spread> {
        self.spread(|measurement| Some(measurement.throughput_ops_per_s))
    }

    /// Spread of one figure of the service time of an operation kind.
    pub(crate) fn service(
        &self,
        kind: &str,
        figure: impl Fn(&Latency) -> Option<u64>,
    ) -> Option<Spread> {
        self.spread(|measurement| {
            let stats = operation(measurement, kind)?;
            (stats.service.count > 0).then(|| figure(&stats.service))?.map(|ns| ns as f64)
        })
    }

    /// Spread of one figure of the response time of an operation kind; none in a closed loop.
    pub(crate) fn response(
        &self,
        kind: &str,
        figure: impl Fn(&Latency) -> Option<u64>,
    ) -> Option<Spread> {
        self.spread(|measurement| {
            let response = operation(measurement, kind)?.response.as_ref()?;
            (response.count > 0).then(|| figure(response))?.map(|ns| ns as f64)
        })
    }

    /// Whether every trial reached the offered rate; none in a closed loop.
    pub(crate) fn reached(&self) -> Option<bool> {
        self.measurements()
            .filter_map(|m| m.open_loop)
            .map(|open| open.reached)
            .reduce(|a, b| a && b)
    }

    /// The trial whose throughput is the median one; of an even number, the slower of the two in the middle, so that
    /// what is shown is a trial that ran and none is made to look faster than its median.
    pub(crate) fn median_trial(&self) -> Option<(&'a Cell, &'a Measurement)> {
        if self.outcome().is_wrong() {
            return None;
        }
        let mut trials: Vec<_> =
            self.good().filter_map(|cell| Some((cell, cell.measurement.as_ref()?))).collect();
        trials.sort_by(|(a, x), (b, y)| {
            x.throughput_ops_per_s.total_cmp(&y.throughput_ops_per_s).then(a.trial.cmp(&b.trial))
        });
        trials.get(trials.len().saturating_sub(1) / 2).copied()
    }

    /// Operation kinds measured, in the order in which the result lists them, without `all`.
    pub(crate) fn kinds(&self) -> Vec<&'a str> {
        let mut kinds = Vec::new();
        for stats in self.measurements().flat_map(|measurement| &measurement.operations) {
            if stats.kind != "all" && stats.operations > 0 && !kinds.contains(&stats.kind.as_str())
            {
                kinds.push(&stats.kind);
            }
        }
        kinds
    }
}

/// The statistics of one operation kind, `all` among them.
pub(crate) fn operation<'a>(
    measurement: &'a Measurement,
    kind: &str,
) -> Option<&'a OperationStats> {
    measurement.operations.iter().find(|stats| stats.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_number_lies_between() {
        let spread = Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max, spread.trials), (2.5, 1.0, 4.0, 4));
        assert_eq!(Spread::of([f64::NAN]), None);
    }

    #[test]
    fn of_an_even_number_of_trials_the_slower_middle_one_is_shown() {
        let trial = |trial: u32, throughput: f64| {
            let text = serde_json::json!({
                "engine": "lsm", "workload": "a", "durability": "os", "threads": 1, "records": 1,
                "value_bytes": 1, "trial": trial, "phase": "run", "status": "ok",
                "measurement": {
                    "warm_up": "none", "duration_s": 1.0, "settle_s": 0.0,
                    "throughput_ops_per_s": throughput, "throughput_settled_ops_per_s": throughput,
                    "operations": [], "timeline": [], "events": [], "resources": {
                        "cpu_user_s": 0.0, "cpu_system_s": 0.0, "cpu_us_per_op": 0.0,
                        "minor_faults": 0, "major_faults": 0
                    },
                    "io": { "user_bytes_written": 0, "user_bytes_read": 0 },
                    "amplification": { "live_bytes": 0 }, "counters": {},
                    "check": {
                        "scope": "all", "records_checked": 0, "records_missing": 0,
                        "records_wrong": 0, "reads_checked": 0
                    }
                }
            });
            serde_json::from_value::<Cell>(text).unwrap()
        };
        let cells = [trial(1, 40.0), trial(2, 10.0), trial(3, 30.0), trial(4, 20.0)];
        let series = Series { cells: cells.iter().collect() };
        assert_eq!(series.median_trial().unwrap().0.trial, 4);
    }

    #[test]
    fn ranges_that_touch_are_not_apart() {
        let spread = |min, max| Spread { median: min, min, max, trials: 2 };
        assert!(spread(1.0, 2.0).is_apart_from(spread(2.1, 3.0)));
        assert!(spread(2.1, 3.0).is_apart_from(spread(1.0, 2.0)));
        assert!(!spread(1.0, 2.0).is_apart_from(spread(2.0, 3.0)));
    }
}
