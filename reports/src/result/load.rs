//! What is told of operations that were offered at a rate.

use serde::{Deserialize, Serialize};

use super::measurement::Latency;

/// How well an offered rate was kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenLoop {
    /// Operations due per second, over all threads.
    pub offered_ops_per_s: f64,
    /// How arrivals are spaced.
    pub arrivals: Arrivals,
    /// Operations that were due until the end.
    pub due: u64,
    /// Whether all of them were done, and the last one began at most [`backlog_s_max`](Self::backlog_s_max) late.
    pub reached: bool,
    /// How late the last operation began.
    pub backlog_end_s: f64,
}

impl OpenLoop {
    /// The lateness at the end of a phase up to which the rate counts as reached: a fiftieth of the phase, but twenty milliseconds in any case.
    pub fn backlog_s_max(duration_s: f64) -> f64 {
        (duration_s / 50.0).max(0.02)
    }
}

/// How arrivals are spaced under an offered rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Equal gaps.
    #[default]
    Constant,
    /// Exponentially distributed gaps, as independent clients make them.
    Poisson,
}

/// Latency at one offered rate, over all operation kinds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatePoint {
    /// Operations due per second, over all threads.
    pub offered_ops_per_s: f64,
    /// Operations acknowledged per second.
    pub achieved_ops_per_s: f64,
    /// How long it was offered.
    pub duration_s: f64,
    /// Whether the rate was reached (see [`OpenLoop::reached`]).
    pub reached: bool,
    /// Whether the bound held, in a search.
    pub held: Option<bool>,
    /// Time that background work then took to drain.
    #[serde(default)]
    pub settle_s: f64,
    /// From the call to its return.
    pub service: Latency,
    /// From the intended start to the return.
    pub response: Latency,
}

/// A bound on the response time, and the highest rate that held it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// The bound, for instance `p99<1ms`.
    pub bound: String,
    /// The highest rate tried at which it held; none if it held at no rate that was tried.
    pub highest_ops_per_s: Option<f64>,
    /// The lowest rate tried at which it did not hold; none if it held at all.
    pub lowest_broken_ops_per_s: Option<f64>,
}
