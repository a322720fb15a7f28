//! After the closed loop: open loops at several rates on the same store.
//!
//! *Sweep*: the curve of latency over throughput. Rates rise in tenths of what the closed loop reached, then by a tenth of themselves, until one is not reached any more.
//!
//! *Search*: the highest rate that holds a bound on the response time.
//!
//! 1. Between zero and the closed loop's throughput, halve the interval: a rate holds if it is reached and the bound holds over the whole step.
//! 2. When the interval is narrow, offer the highest rate that held three times as long. Where debt (compactions, merges) grew faster than it was paid, it comes due
//!    here: if the rate breaks, go down a tenth and try again.
//!
//! The engine settles before each step, so that no step pays for the one before.

use std::time::{Duration, Instant};

use kvdyno_reports::{Arrivals, Measurement, RatePoint, Slo};

use super::drive::Drive;
use super::driver::Turn;
use super::job::{Limit, Outcome};
use super::pacing::{Bound, Pacing};
use super::phase::{Phase, run, share_out};
use crate::failure::Result;

/// A sweep ends here at the latest: far beyond what the closed loop reached.
const SWEEP_STEPS_MAX: u32 = 25;
/// A step lasts as long as the closed loop's limit says; where that counts operations, as long as it took, but at least this.
const STEP_MIN: Duration = Duration::from_secs(1);
const SEARCH_STEP_MIN: Duration = Duration::from_secs(5);
/// The search ends when the interval is this narrow, or after so many steps.
const SEARCH_RESOLUTION: f64 = 0.05;
const SEARCH_STEPS_MAX: u32 = 8;
/// How much longer the highest rate is offered than a step, and how often a lower one is tried.
const CONFIRM_TIMES: u32 = 3;
const CONFIRM_TRIES: u32 = 5;

/// Offers rates to the engine, one after another.
struct Steps<'a, 'p> {
    phase: &'a Phase<'p>,
    drive: Drive<'a>,
    arrivals: Arrivals,
    turns: &'a mut [Vec<Turn>],
    /// How long a rate is offered.
    step: Duration,
    points: Vec<RatePoint>,
}

/// A step ended with a rate's figures, or ended the cell.
type Step = std::result::Result<(), Box<Outcome>>;

impl Phase<'_> {
    /// Goes through the rates that the pacing asks for, and puts what was seen into the measurement. Returns an outcome if the cell ended early.
    pub(super) fn rates(
        &self,
        pacing: &Pacing,
        drive: Drive<'_>,
        turns: &mut [Vec<Turn>],
        measurement: &mut Measurement,
    ) -> Result<Option<Outcome>> {
        let peak = measurement.throughput_ops_per_s;
        let (arrivals, at_least) = match pacing {
            Pacing::Closed | Pacing::Open { .. } => return Ok(None),
            Pacing::Sweep { arrivals } => (*arrivals, STEP_MIN),
            Pacing::Search { arrivals, .. } => (*arrivals, SEARCH_STEP_MIN),
        };
        let step = match drive.limit {
            Limit::Duration(duration) => duration,
            Limit::Operations(_) => Duration::from_secs_f64(measurement.duration_s).max(at_least),
        };
        let mut steps = Steps { phase: self, drive, arrivals, turns, step, points: Vec::new() };
        let ended = match pacing {
            Pacing::Search { bound, .. } => steps.search(peak, *bound)?.map(|slo| {
                measurement.slo = Some(slo);
            }),
            _ => steps.sweep(peak)?,
        };
        measurement.rates = steps.points;
        Ok(ended.err().map(|outcome| *outcome))
    }
}

impl Steps<'_, '_> {
    /// Rising rates until one is not reached.
    fn sweep(&mut self, peak: f64) -> Result<Step> {
        for step in 1..=SWEEP_STEPS_MAX {
            let part = match step {
                ..=10 => f64::from(step) / 10.0,
                _ => 1.1_f64.powi(step.cast_signed() - 10),
            };
            if let Err(outcome) = self.offer(peak * part, self.step, "sweeping", None)? {
                return Ok(Err(outcome));
            }
            if self.points.last().is_some_and(|point| !point.reached) {
                break;
            }
        }
        Ok(Ok(()))
    }

    /// The highest rate that holds the bound.
    fn search(
        &mut self,
        peak: f64,
        bound: Bound,
    ) -> Result<std::result::Result<Slo, Box<Outcome>>> {
        let (mut holds, mut breaks) = (0.0, peak);
        for _ in 0..SEARCH_STEPS_MAX {
            if breaks - holds <= SEARCH_RESOLUTION * holds {
                break;
            }
            let rate = f64::midpoint(holds, breaks);
            if let Err(outcome) = self.offer(rate, self.step, "searching", Some(bound))? {
                return Ok(Err(outcome));
            }
            if self.held() { holds = rate } else { breaks = rate }
        }
        let mut confirmed = None;
        let mut rate = holds;
        for _ in 0..CONFIRM_TRIES {
            if rate <= 0.0 {
                break;
            }
            let long = self.step * CONFIRM_TIMES;
            if let Err(outcome) = self.offer(rate, long, "confirming", Some(bound))? {
                return Ok(Err(outcome));
            }
            if self.held() {
                confirmed = Some(rate);
                break;
            }
            breaks = breaks.min(rate);
            rate *= 0.9;
        }
        let any_broke = self.points.iter().any(|point| point.held == Some(false));
        Ok(Ok(Slo {
            bound: bound.to_string(),
            highest_ops_per_s: confirmed,
            lowest_broken_ops_per_s: any_broke.then_some(breaks),
        }))
    }

    fn held(&self) -> bool {
        self.points.last().is_some_and(|point| point.held == Some(true))
    }

    /// Offers one rate for a while, lets the engine settle, and notes what was seen.
    fn offer(
        &mut self,
        ops_per_s: f64,
        duration: Duration,
        stage: &str,
        bound: Option<Bound>,
    ) -> Result<Step> {
        let limit = Limit::Duration(duration);
        share_out(self.turns, limit);
        let stage = format!("{stage} {:.1} k ops/s", ops_per_s / 1e3);
        let drive =
            Drive { stage: &stage, limit, pace: Some((ops_per_s, self.arrivals)), ..self.drive };
        let driven = self.phase.drive(drive, self.turns, run)?;
        if let Some(outcome) = self.phase.early_end(driven.fault) {
            return Ok(Err(Box::new(outcome)));
        }
        let settling = Instant::now();
        self.phase.progress("settling", None, None);
        self.phase.engine.settle()?;
        let reached = driven.open_loop.is_some_and(|open_loop| open_loop.reached);
        let held = bound.map(|bound| {
            let response_ns = driven.collector.response_ns_at(bound.quantile);
            reached && response_ns.is_some_and(|ns| u128::from(ns) < bound.below.as_nanos())
        });
        let seen = driven.collector.rate_point(ops_per_s, driven.duration_s, reached);
        self.points.push(RatePoint { held, settle_s: settling.elapsed().as_secs_f64(), ..seen });
        Ok(Ok(()))
    }
}
