//! The command line: what can be typed.

mod recover;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use kvdyno_reports::{Arrivals, PageCache, StoreUse};

use crate::cell::job::{Limit, Verify, WarmUp};
use crate::cell::pacing::{Bound, Rate};

pub(crate) use recover::{CheckArguments, RecoverArguments};

/// Longest warm-up of `--warm-up steady`.
const STEADY_AT_MOST: Duration = Duration::from_mins(2);

/// A dynamometer for key-value storage engines: which engine, in which configuration, for your workload on your hardware?
#[derive(Debug, Parser)]
#[command(name = "kvdyno", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// What to do; without one, the suite 'quick' is run.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run suites and workloads on engines, measure, and report; exit status 2 if none of the engines can do any of what was asked.
    Run(Box<RunArguments>),
    /// Leave stores by a clean close or kill -9, reopen them, take the times, and look for every acknowledged write.
    Recover(Box<RecoverArguments>),
    /// Check, from outside the engines' processes, that their durability classes are what they say; exit status 4 if one is not.
    Check(CheckArguments),
    /// Show what there is: engines, workloads, suites, metrics.
    List(ListArguments),
    /// Look into a store's folder: files, live and dead bytes, records; check every byte, or save what can be read of a damaged one. Exit status 4 if data is damaged, or the next open would drop whole records.
    Inspect(InspectArguments),
    /// Make the report anew from result files.
    Report(ReportArguments),
    /// Compare two result files; exit status 3 if something got worse by more than the threshold.
    Compare(CompareArguments),
    /// Join result files into one without loss: further trials, further engines, or the load generators of one run.
    Merge(MergeArguments),
    /// A cell's own process; for kvdyno's own use.
    #[command(hide = true)]
    Cell,
}

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct RunArguments {
    /// A suite or suite file (.toml), workloads, YCSB property files, 'recovery', 'reload' [default: quick].
    ///
    /// 'kvdyno list' shows the built-in suites and workloads. Flags win over what a suite says.
    #[arg(value_name = "SUITE, WORKLOAD or FILE")]
    pub(crate) names: Vec<String>,

    /// Go on with an unfinished run: the folder of its results.
    #[arg(long, value_name = "DIR", conflicts_with_all = NEW_RUN, conflicts_with_all = ["names", "print_suite"])]
    pub(crate) resume: Option<PathBuf>,

    /// With --resume: also run again what failed or timed out.
    #[arg(long, requires = "resume")]
    pub(crate) retry_failed: bool,

    /// Print the suite's file instead of running it: a starting point for one of your own. The file is printed as it is, so other flags cannot stand beside it.
    #[arg(long, conflicts_with_all = NEW_RUN, conflicts_with_all = ["dir", "cell_timeout", "quiet", "json", "format"])]
    pub(crate) print_suite: bool,

    /// Engines or variants of them (rocksdb@mmap), separated by commas [default: the suite's, or bitcask,lsm,fjall,lmdb].
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) engine: Vec<String>,

    /// Records to load before measuring; k, M and G are understood. Several make a matrix.
    #[arg(long, value_parser = positive_count, value_delimiter = ',', value_name = "N,…", allow_hyphen_values = true)]
    pub(crate) records: Vec<u64>,

    /// Operations to measure, over all threads.
    #[arg(long, value_parser = positive_count, value_name = "N", conflicts_with = "duration", allow_hyphen_values = true)]
    pub(crate) operations: Option<u64>,

    /// Time to measure, for instance 30s or 5m.
    #[arg(long, value_parser = positive_duration, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) duration: Option<Duration>,

    /// What goes before measuring: a time (1s), a number of operations (100k-ops), or 'steady', until throughput is, two minutes at most [default: a tenth of what is measured].
    #[arg(long, value_parser = warm_up, value_name = "TIME, N-ops or steady", allow_hyphen_values = true)]
    pub(crate) warm_up: Option<WarmUp>,

    /// Open loop: operations due per second over all threads, or 'sweep' for rising rates up to saturation [default: closed loop].
    #[arg(long, value_name = "OPS or sweep", allow_hyphen_values = true)]
    pub(crate) rate: Option<Rate>,

    /// How operations are spaced under a rate [default: constant].
    #[arg(long, value_enum)]
    pub(crate) arrivals: Option<ArrivalsArgument>,

    /// Look for the highest rate that holds a bound on the response time, for instance 'p99<1ms'.
    #[arg(long, value_name = "BOUND", conflicts_with = "rate", allow_hyphen_values = true)]
    pub(crate) slo: Option<Bound>,

    /// Page cache when a measured phase begins: as the load or the copy left it, or with the store's pages dropped [default: warm].
    #[arg(long, value_enum)]
    pub(crate) cache: Option<CacheArgument>,

    /// Most memory for a cell's process, its page cache included, for instance 1GiB; needs a cgroup.
    #[arg(long, value_parser = bytes, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) memory_limit: Option<u64>,

    /// Client threads [default: 1]. Several make a matrix.
    #[arg(long, value_parser = positive_u32, value_delimiter = ',', value_name = "N,…", allow_hyphen_values = true)]
    pub(crate) threads: Vec<u32>,

    /// Bytes of a value. Several make a matrix.
    #[arg(long, value_parser = size, value_delimiter = ',', value_name = "BYTES,…", allow_hyphen_values = true)]
    pub(crate) value_size: Vec<u64>,

    /// What an acknowledged write survives [default: os]. Several make a matrix.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CLASS,…")]
    pub(crate) durability: Vec<DurabilityClass>,

    /// Check first, from outside the engines' processes, that each keeps the durability class; exit status 4 if one does not.
    #[arg(long)]
    pub(crate) check_durability: bool,

    /// Trials of each cell; medians and their spread are reported [default: the suite's, or 1].
    #[arg(long, value_parser = positive_u32, value_name = "N", allow_hyphen_values = true)]
    pub(crate) trials: Option<u32>,

    /// Seed of every random choice: the same seed gives the same operations [default: 42].
    #[arg(long, value_parser = count, value_name = "N", allow_hyphen_values = true)]
    pub(crate) seed: Option<u64>,

    /// How reads are checked while they are timed, outside the timed section [default: sample].
    #[arg(long, value_enum)]
    pub(crate) verify: Option<Verify>,

    /// Let the workloads follow one another on one store, instead of each on a fresh copy; 'reload' among them empties it and loads again.
    #[arg(long)]
    pub(crate) chain: bool,

    /// Memory for writes that are not in tables yet, in MiB, of every engine that has such a thing [default: 128].
    #[arg(long, value_parser = positive_count, value_name = "MIB", allow_hyphen_values = true)]
    pub(crate) write_buffer: Option<u64>,

    /// Block or page cache of its own in MiB, of every engine that has one [default: 64].
    #[arg(long, value_parser = positive_count, value_name = "MIB", allow_hyphen_values = true)]
    pub(crate) engine_cache: Option<u64>,

    /// Set an option of an engine and its variants, or of one variant (rocksdb@mmap.OPTION); 'kvdyno list engines' shows them.
    #[arg(long, value_name = "ENGINE.OPTION=VALUE")]
    pub(crate) set: Vec<String>,

    /// Folder for the stores, new or empty [default: a fresh one under the system's temporary folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Folder for the results, new or empty [default: kvdyno-out/<run>].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Longest time for one cell; then its process is killed [default: 1h].
    #[arg(long, value_parser = positive_duration, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) cell_timeout: Option<Duration>,

    /// Leave the stores where they are, and tell where.
    #[arg(long)]
    pub(crate) keep_stores: bool,

    /// Do not ask beforehand whether the device has room for the stores.
    #[arg(long)]
    pub(crate) no_room_check: bool,

    /// Print nothing but errors: a line on standard error for each cell that went wrong.
    #[arg(long, conflicts_with = "json")]
    pub(crate) quiet: bool,

    /// Print the result file to standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,

    /// Print this to standard output instead of the table.
    #[arg(long, value_enum, conflicts_with_all = ["quiet", "json"])]
    pub(crate) format: Option<TextFormat>,
}

/// What can be printed to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    /// As YCSB prints it, so that scripts written for YCSB keep working.
    Ycsb,
    /// Markdown, for an issue or a pull request.
    Markdown,
}

/// What describes a new run, and has no place beside `--resume` and `--print-suite`.
const NEW_RUN: [&str; 24] = [
    "engine",
    "records",
    "operations",
    "duration",
    "warm_up",
    "rate",
    "arrivals",
    "slo",
    "cache",
    "memory_limit",
    "threads",
    "value_size",
    "durability",
    "trials",
    "seed",
    "verify",
    "chain",
    "write_buffer",
    "engine_cache",
    "check_durability",
    "set",
    "out",
    "keep_stores",
    "no_room_check",
];

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityClass {
    /// A clean close.
    Buffered,
    /// A crash or kill of the process.
    Os,
    /// Power loss.
    Sync,
}

/// How the workloads of a run share stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoresArgument {
    /// Each workload that writes starts from a fresh copy of the loaded store.
    Copies,
    /// Workloads follow one another on one store.
    Chain,
}

impl From<StoresArgument> for StoreUse {
    fn from(stores: StoresArgument) -> Self {
        match stores {
            StoresArgument::Copies => Self::Copies,
            StoresArgument::Chain => Self::Chain,
        }
    }
}

/// How operations are spaced under a rate.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ArrivalsArgument {
    /// Equal gaps.
    Constant,
    /// Exponentially distributed gaps, as independent clients make them.
    Poisson,
}

impl From<ArrivalsArgument> for Arrivals {
    fn from(arrivals: ArrivalsArgument) -> Self {
        match arrivals {
            ArrivalsArgument::Constant => Self::Constant,
            ArrivalsArgument::Poisson => Self::Poisson,
        }
    }
}

/// Page cache when a measured phase begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CacheArgument {
    /// As the load or the copy left it.
    Warm,
    /// With the store's pages dropped.
    Cold,
}

impl From<CacheArgument> for PageCache {
    fn from(cache: CacheArgument) -> Self {
        match cache {
            CacheArgument::Warm => Self::Warm,
            CacheArgument::Cold => Self::Cold,
        }
    }
}

impl From<DurabilityClass> for kvdyno_engines::Durability {
    fn from(class: DurabilityClass) -> Self {
        match class {
            DurabilityClass::Buffered => Self::Buffered,
            DurabilityClass::Os => Self::Os,
            DurabilityClass::Sync => Self::Sync,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// What to show [default: all].
    #[arg(value_enum)]
    pub(crate) what: Option<Listed>,

    /// With 'suites': the suite whose file is printed. With 'engines': the engine that is shown.
    pub(crate) name: Option<String>,
}

/// What `list` can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listed {
    /// Engines, their options and what they can do.
    Engines,
    /// Built-in workloads.
    Workloads,
    /// Built-in suites.
    Suites,
    /// What is measured.
    Metrics,
}

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct InspectArguments {
    /// The store's folder. It is not changed; the store may be open elsewhere.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// Read and check every byte; without it, hints stand for the data of a Bitcask, and the blocks of an LSM tree's tables are left out.
    #[arg(long)]
    pub(crate) verify: bool,

    /// Print every record, live or not, oldest first: file, offset, kind, time of expiry, in an LSM tree level and sequence number (in logs), key and value.
    #[arg(long, conflicts_with = "verify")]
    pub(crate) records: bool,

    /// With --records: the number of the data file, table, log or file of values whose records are printed.
    #[arg(long, value_name = "N", requires = "records")]
    pub(crate) file: Option<u32>,

    /// Write what can still be read to a new store in this folder, new or empty. A store that is open is refused: close it first.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["verify", "records"])]
    pub(crate) salvage_to: Option<PathBuf>,

    /// Print JSON; with --records, an object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// Result files, or folders that hold one.
    #[arg(required = true, value_name = "RESULT")]
    pub(crate) results: Vec<PathBuf>,

    /// Folder for the report: page, charts, summary.csv, and what HdrHistogram's tools read [default: RESULT, if that is one folder and there is no --format].
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Print this to standard output.
    #[arg(long, value_enum)]
    pub(crate) format: Option<TextFormat>,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArguments {
    /// Result files, or folders that hold one.
    #[arg(required = true, num_args = 2.., value_name = "RESULT")]
    pub(crate) results: Vec<PathBuf>,

    /// Result file to write; must not exist.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,

    /// The results are load generators of one run, which worked at the same time: add their cells. Without it they are
    /// runs after one another, whose cells stand side by side as further trials.
    #[arg(long)]
    pub(crate) concurrent: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// Result file to compare with, or a folder that holds one.
    pub(crate) base: PathBuf,

    /// Result file to judge, or a folder that holds one.
    pub(crate) head: PathBuf,

    /// Change for the worse, in per cent, from which on the exit status is 3; without it, nothing is judged.
    #[arg(long, value_parser = percent, value_name = "PERCENT", allow_hyphen_values = true)]
    pub(crate) threshold: Option<f64>,

    /// Print Markdown, for instance for a comment on a pull request.
    #[arg(long)]
    pub(crate) markdown: bool,
}

/// A whole number, also with underscores, or with k, M or G behind it.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let plain = text.replace('_', "");
    let (digits, factor) = match plain.as_bytes().last() {
        Some(b'k' | b'K') => (&plain[..plain.len() - 1], 1_000),
        Some(b'M' | b'm') => (&plain[..plain.len() - 1], 1_000_000),
        Some(b'G' | b'g') => (&plain[..plain.len() - 1], 1_000_000_000),
        _ => (plain.as_str(), 1),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("expected a whole number, not negative, for instance 1000000 or 1M".into());
    }
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| format!("at most {} is possible", u64::MAX))
}

pub(crate) fn positive_count(text: &str) -> Result<u64, String> {
    match count(text)? {
        0 => Err("expected at least 1".into()),
        number => Ok(number),
    }
}

pub(crate) fn positive_u32(text: &str) -> Result<u32, String> {
    u32::try_from(positive_count(text)?).map_err(|_| format!("at most {} is possible", u32::MAX))
}

fn duration(text: &str) -> Result<Duration, String> {
    let plain: Option<f64> = text.parse().ok();
    let duration = match plain {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => humantime::parse_duration(text).ok(),
    };
    duration.ok_or_else(|| "expected a time, not negative, for instance 30s, 500ms or 5m".into())
}

pub(crate) fn warm_up(text: &str) -> Result<WarmUp, String> {
    if text == "steady" {
        return Ok(WarmUp::Steady(STEADY_AT_MOST));
    }
    if let Some(operations) = text.strip_suffix("-ops") {
        return count(operations).map(|operations| WarmUp::Limit(Limit::Operations(operations)));
    }
    let time = duration(text).map_err(|_| {
        "expected a time (1s), operations (100k-ops), or 'steady'; 0 for none".to_owned()
    })?;
    Ok(WarmUp::Limit(Limit::Duration(time)))
}

/// Bytes, plain or with KiB, MiB, GiB or TiB behind them.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let expected = || "expected bytes, for instance 1073741824, 512MiB or 1GiB".to_owned();
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        "TiB" | "T" => 40,
        _ => return Err(expected()),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).ok_or_else(expected)
}

/// Bytes as a count, or with a unit of powers of two, for instance 16KiB.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    if text.ends_with('B') { bytes(text) } else { count(text) }
}

pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected more than 0".into()),
        duration => Ok(duration),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim_end_matches('%').trim().parse().ok();
    number
        .filter(|number| number.is_finite() && *number >= 0.0)
        .ok_or_else(|| "expected per cent, not negative, for instance 5".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_with_suffixes_and_refused_with_reasons() {
        assert_eq!(count("1_000"), Ok(1000));
        assert_eq!(count("2M"), Ok(2_000_000));
        for wrong in ["-5", "", "k", "1.5", "ten", "99999999999999999999", "99999999999999G"] {
            assert!(count(wrong).is_err(), "{wrong} was taken for a count");
        }
        assert!(positive_count("0").is_err());
    }

    #[test]
    fn times_are_read_with_and_without_units() {
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["-1", "1 fortnight", "inf", "nan", ""] {
            assert!(duration(wrong).is_err(), "{wrong} was taken for a time");
        }
    }

    #[test]
    fn bytes_and_warm_ups_are_read_and_refused() {
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        assert_eq!(bytes("512 MiB"), Ok(512 << 20));
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!((size("17MiB"), size("2k"), size("0")), (Ok(17 << 20), Ok(2000), Ok(0)));
        for wrong in ["", "0", "1.5GiB", "-1", "1GB", "99999999999TiB"] {
            assert!(bytes(wrong).is_err(), "{wrong} was taken for bytes");
        }
        assert_eq!(warm_up("10k-ops"), Ok(WarmUp::Limit(Limit::Operations(10_000))));
        assert_eq!(warm_up("2s"), Ok(WarmUp::Limit(Limit::Duration(Duration::from_secs(2)))));
        assert_eq!(warm_up("steady"), Ok(WarmUp::Steady(STEADY_AT_MOST)));
        assert!(warm_up("soon").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
