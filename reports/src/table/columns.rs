//! The columns of the tables in text: what they are called, how they are computed and told, which go first where there
//! is no room.

use crate::format;
use crate::model::Contest;
use crate::rates::{never_done_words, target_words};
use crate::result::{Latency, Recovery};
use crate::series::{Series, Spread};

/// Heads the column of half the trials' range.
pub(crate) const SPREAD: &str = "±";

/// A figure's column.
pub(crate) struct Column {
    pub(crate) heading: &'static str,
    pub(crate) text: fn(&Series<'_>) -> Option<String>,
    /// Where the terminal is too narrow, the columns with the largest numbers go first.
    pub(super) dispensable: u8,
}

const OPS: Column =
    Column { heading: "ops/s", text: |s| told(s.throughput(), format::rate), dispensable: 0 };
const WRITE_AMP: Column = Column {
    heading: "write amp",
    text: |s| told(s.spread(|m| m.amplification.write_settled), format::figure),
    dispensable: 3,
};
const MEMORY: Column = Column {
    heading: "memory",
    text: |s| told(s.spread(|m| m.resources.memory_bytes.map(|b| b as f64)), format::bytes),
    dispensable: 5,
};
const CPU: Column = Column {
    heading: "CPU/op",
    text: |s| told(s.spread(|m| Some(m.resources.cpu_us_per_op)), format::microseconds),
    dispensable: 9,
};

/// In a closed loop.
static CLOSED: [Column; 13] = [
    OPS,
    Column { heading: SPREAD, text: |s| s.throughput().and_then(half_range), dispensable: 6 },
    Column { heading: "p50", text: |s| service(s, |l| Some(l.p50_ns)), dispensable: 1 },
    Column { heading: "p95", text: |s| service(s, |l| l.p95_ns), dispensable: 11 },
    Column { heading: "p99", text: |s| service(s, |l| l.p99_ns), dispensable: 2 },
    Column { heading: "p99.9", text: |s| service(s, |l| l.p999_ns), dispensable: 8 },
    Column { heading: "max", text: |s| service(s, |l| Some(l.max_ns)), dispensable: 4 },
    WRITE_AMP,
    Column {
        heading: "space amp",
        text: |s| told(s.spread(|m| m.amplification.space_settled), format::figure),
        dispensable: 7,
    },
    MEMORY,
    CPU,
    Column {
        heading: "settled ops/s",
        text: |s| told(s.spread(|m| Some(m.throughput_settled_ops_per_s)), format::rate),
        dispensable: 10,
    },
    Column {
        heading: "stalls",
        text: |s| {
            let whole = |count: f64| format::count(count.round() as u64);
            told(s.spread(|m| m.stall_count.map(|count| count as f64)), whole)
        },
        dispensable: 12,
    },
];

/// Under an offered rate: response time first, service time beside it.
static OFFERED: [Column; 12] = [
    Column { heading: "rate", text: |s| target_words(s).map(str::to_owned), dispensable: 0 },
    OPS,
    Column { heading: "resp p50", text: |s| response(s, |l| Some(l.p50_ns)), dispensable: 1 },
    Column { heading: "resp p99", text: |s| response(s, |l| l.p99_ns), dispensable: 0 },
    Column { heading: "resp max", text: |s| response(s, |l| Some(l.max_ns)), dispensable: 2 },
    Column { heading: "serv p50", text: |s| service(s, |l| Some(l.p50_ns)), dispensable: 6 },
    Column { heading: "serv p99", text: |s| service(s, |l| l.p99_ns), dispensable: 1 },
    Column { heading: "serv max", text: |s| service(s, |l| Some(l.max_ns)), dispensable: 4 },
    Column { heading: "never done", text: never_done_words, dispensable: 3 },
    WRITE_AMP,
    MEMORY,
    CPU,
];

/// Of a recovery.
static RECOVERY: [Column; 7] = [
    Column { heading: "open", text: |s| recovery(s, |r| Some(r.open_ms)), dispensable: 0 },
    Column {
        heading: "first read",
        text: |s| recovery(s, |r| Some(r.first_read_ms)),
        dispensable: 3,
    },
    Column { heading: "to 90 %", text: |s| recovery(s, |r| r.to_90_percent_ms), dispensable: 2 },
    Column {
        heading: "clean reopen",
        text: |s| recovery(s, |r| Some(r.reopen_clean_ms)),
        dispensable: 1,
    },
    Column {
        heading: "device read",
        text: |s| {
            told(s.recovered(|r| r.device_bytes_read.map(|bytes| bytes as f64)), format::bytes)
        },
        dispensable: 5,
    },
    Column {
        heading: "store",
        text: |s| told(s.recovery(|r| r.store_bytes as f64), format::bytes),
        dispensable: 4,
    },
    Column { heading: "intact", text: intact, dispensable: 0 },
];

/// The columns that a contest's engines can have.
pub(crate) fn all_columns(contest: &Contest<'_>) -> Vec<&'static Column> {
    if contest.offered.is_some() { OFFERED.iter().collect() } else { CLOSED.iter().collect() }
}

/// The columns of recoveries.
pub(crate) fn recovery_columns() -> &'static [Column] {
    &RECOVERY
}

fn told(spread: Option<Spread>, format: fn(f64) -> String) -> Option<String> {
    spread.map(|spread| format(spread.median))
}

fn service(series: &Series<'_>, of: fn(&Latency) -> Option<u64>) -> Option<String> {
    told(series.service("all", of), format::latency)
}

fn response(series: &Series<'_>, of: fn(&Latency) -> Option<u64>) -> Option<String> {
    told(series.response("all", of), format::latency)
}

fn recovery(series: &Series<'_>, of: fn(&Recovery) -> Option<f64>) -> Option<String> {
    told(series.recovered(of), format::milliseconds)
}

fn half_range(spread: Spread) -> Option<String> {
    spread.half_range_percent().map(|percent| format!("{percent:.0} %"))
}

/// Records that had what was acknowledged, of those looked up, over all trials.
fn intact(series: &Series<'_>) -> Option<String> {
    let sum = |of: fn(&Recovery) -> u64| series.recoveries().map(of).sum::<u64>();
    let verified = sum(|r| r.records_verified);
    let intact = verified.saturating_sub(sum(|r| r.records_lost + r.records_wrong));
    series.recovery(|r| r.open_ms)?;
    Some(format!("{} of {}", format::count(intact), format::count(verified)))
}
