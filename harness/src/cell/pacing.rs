//! How operations are offered to the engine: as fast as it takes them, or at a rate.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kvdyno_reports::Arrivals;
use serde::{Deserialize, Serialize};

/// The highest rate that can be asked for: one operation each nanosecond.
const RATE_OPS_PER_S_MAX: f64 = 1e9;

/// How operations are offered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pacing {
    /// Closed loop: each thread begins an operation when its last one has ended.
    #[default]
    Closed,
    /// Open loop: operations are due at a rate, whether the engine keeps up or not.
    Open {
        /// Operations due per second, over all threads.
        ops_per_s: f64,
        /// How they are spaced.
        arrivals: Arrivals,
    },
    /// A closed loop first, then open loops at rising rates until the engine is saturated.
    Sweep {
        /// How operations are spaced.
        arrivals: Arrivals,
    },
    /// A closed loop first, then open loops that close in on the highest rate that holds the bound.
    Search {
        /// What must hold.
        bound: Bound,
        /// How operations are spaced.
        arrivals: Arrivals,
    },
}

impl Pacing {
    /// The rate, where there is one.
    pub(crate) fn offered_ops_per_s(&self) -> Option<f64> {
        match self {
            Self::Open { ops_per_s, .. } => Some(*ops_per_s),
            _ => None,
        }
    }
}

/// What `--rate` can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// Operations per second, over all threads.
    OpsPerS(f64),
    /// Rising rates until the engine is saturated.
    Sweep,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "sweep" {
            return Ok(Self::Sweep);
        }
        let (number, factor) = match text.as_bytes().last() {
            Some(b'k' | b'K') => (&text[..text.len() - 1], 1e3),
            Some(b'm' | b'M') => (&text[..text.len() - 1], 1e6),
            _ => (text, 1.0),
        };
        number
            .replace('_', "")
            .parse()
            .ok()
            .map(|number: f64| number * factor)
            .filter(|rate| *rate > 0.0 && *rate <= RATE_OPS_PER_S_MAX)
            .map(Self::OpsPerS)
            .ok_or_else(|| {
                "expected operations per second, for instance 50k, or 'sweep'".to_owned()
            })
    }
}

/// A bound on the response time: a percentile, or the largest, below a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Bound {
    /// From 0 to 1; 1 is the largest.
    pub(crate) quantile: f64,
    /// What it must stay below.
    pub(crate) below: Duration,
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a percentile below a time, for instance 'p99<1ms' or 'max<50ms'";
        let (figure, time) = text.split_once('<').ok_or(expected)?;
        let quantile = match figure.trim() {
            "max" => 1.0,
            figure => figure
                .strip_prefix('p')
                .and_then(|percent| percent.parse::<f64>().ok())
                .filter(|percent| *percent > 0.0 && *percent < 100.0)
                .map(|percent| percent / 100.0)
                .ok_or(expected)?,
        };
        let below = humantime::parse_duration(time.trim()).map_err(|_| expected)?;
        if below.is_zero() {
            return Err(expected.into());
        }
        Ok(Self { quantile, below })
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.quantile >= 1.0 {
            f.write_str("max")?;
        } else {
            // Rounded, so that 0.999 × 100 is written as it was read.
            write!(f, "p{}", (self.quantile * 1e8).round() / 1e6)?;
        }
        write!(f, "<{}", humantime::format_duration(self.below).to_string().replace(' ', ""))
    }
}

impl TryFrom<String> for Bound {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Bound> for String {
    fn from(bound: Bound) -> Self {
        bound.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_suffixes() {
        assert_eq!("50k".parse(), Ok(Rate::OpsPerS(50_000.0)));
        assert_eq!("1.5M".parse(), Ok(Rate::OpsPerS(1_500_000.0)));
        assert_eq!("0.5".parse(), Ok(Rate::OpsPerS(0.5)));
        assert_eq!("sweep".parse(), Ok(Rate::Sweep));
        for wrong in ["", "0", "-1", "fast", "inf", "NaN", "1e12", "k"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong} was taken for a rate");
        }
    }

    #[test]
    fn bounds_are_read_and_written_the_same() {
        for text in ["p99<1ms", "p99.9<250us", "max<50ms", "p50<10us", "p99.99<1s"] {
            let bound: Bound = text.parse().unwrap();
            assert_eq!(bound.to_string(), text);
        }
        for wrong in ["", "p99", "p99<", "p0<1ms", "p100<1ms", "p99<0ms", "q9<1ms", "p99>1ms"] {
            assert!(wrong.parse::<Bound>().is_err(), "{wrong} was taken for a bound");
        }
    }
}
