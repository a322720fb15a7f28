//! What `kvdyno recover` and `kvdyno check` can be told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kvdyno_reports::{LogSize, RecoveryEnding};

use super::{
    CacheArgument, DurabilityClass, bytes, count, positive_count, positive_duration, positive_u32,
    size,
};

/// What 'recover' can be told.
#[derive(Debug, Args)]
pub(crate) struct RecoverArguments {
    /// Engines, separated by commas [default: all of the build that store anything].
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) engine: Vec<String>,

    /// Records to load, several sizes separated by commas; k, M and G are understood.
    #[arg(long, value_delimiter = ',', value_parser = positive_count, default_value = "100k,1M", value_name = "N,…", allow_hyphen_values = true)]
    pub(crate) records: Vec<u64>,

    /// What is written after the load, as bytes (64MiB) or share of the data (50%), several log sizes separated by commas [default: a third of the data, at least 64 MiB, so that memtables and logs are full].
    #[arg(long, value_delimiter = ',', value_parser = written, value_name = "BYTES or SHARE,…", allow_hyphen_values = true)]
    pub(crate) written: Vec<LogSize>,

    /// How the store is left, separated by commas.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "NAME,…",
        default_value = "clean,kill,hints-missing,hints-damaged"
    )]
    pub(crate) scenario: Vec<ScenarioArgument>,

    /// Page cache when the store is reopened, separated by commas: as it was left, or with the store's pages dropped.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "NAME,…",
        default_value = "warm,cold"
    )]
    pub(crate) cache: Vec<CacheArgument>,

    /// Longest time to wait after reopening until reads come at 90 % of the rate before.
    #[arg(long, value_parser = positive_duration, default_value = "20s", value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) reads_wait: Duration,

    /// Client threads.
    #[arg(long, value_parser = positive_u32, default_value = "1", value_name = "N", allow_hyphen_values = true)]
    pub(crate) threads: u32,

    /// Bytes of a value.
    #[arg(long, value_parser = size, default_value = "100", value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) value_size: u64,

    /// What an acknowledged write survives; with 'sync' the default of --written has no least amount, since each write waits for the device.
    #[arg(long, value_enum, default_value = "os", value_name = "CLASS")]
    pub(crate) durability: DurabilityClass,

    /// Trials of each cell; medians and their spread are reported.
    #[arg(long, value_parser = positive_u32, default_value = "1", value_name = "N", allow_hyphen_values = true)]
    pub(crate) trials: u32,

    /// Seed of every random choice.
    #[arg(long, value_parser = count, default_value = "42", value_name = "N", allow_hyphen_values = true)]
    pub(crate) seed: u64,

    /// Set an option of an engine; 'kvdyno list engines' shows them.
    #[arg(long, value_name = "ENGINE.OPTION=VALUE")]
    pub(crate) set: Vec<String>,

    /// Folder for the stores, new or empty [default: a fresh one under the system's temporary folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Folder for the results, new or empty [default: kvdyno-out/<run>].
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Longest time for one of a cell's processes; then it is killed.
    #[arg(long, value_parser = positive_duration, default_value = "1h", value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) cell_timeout: Duration,

    /// Print nothing but errors.
    #[arg(long, conflicts_with = "json")]
    pub(crate) quiet: bool,

    /// Print the result file to standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What 'check' can be told.
#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Engines, separated by commas [default: all of the build that store anything].
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) engine: Vec<String>,

    /// Classes, separated by commas [default: all].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CLASS,…")]
    pub(crate) durability: Vec<DurabilityClass>,

    /// How often a store is closed or killed, and reopened, each time a new one.
    #[arg(long, value_parser = positive_u32, default_value = "1", value_name = "N", allow_hyphen_values = true)]
    pub(crate) rounds: u32,

    /// Set an option of an engine; 'kvdyno list engines' shows them.
    #[arg(long, value_name = "ENGINE.OPTION=VALUE")]
    pub(crate) set: Vec<String>,

    /// Folder for the stores, new or empty [default: a fresh one under the system's temporary folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Longest time for one of a check's processes; then it is killed.
    #[arg(long, value_parser = positive_duration, default_value = "5m", value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) cell_timeout: Duration,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a store is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScenarioArgument {
    /// Closed.
    Clean,
    /// Killed while it is written to.
    Kill,
    /// The same, and the files removed that make recovery faster, where the engine has such.
    HintsMissing,
    /// The same, and those files damaged.
    HintsDamaged,
}

impl From<ScenarioArgument> for RecoveryEnding {
    fn from(scenario: ScenarioArgument) -> Self {
        match scenario {
            ScenarioArgument::Clean => Self::CleanClose,
            ScenarioArgument::Kill => Self::Kill,
            ScenarioArgument::HintsMissing => Self::KillWithoutHints,
            ScenarioArgument::HintsDamaged => Self::KillDamagedHints,
        }
    }
}

/// Bytes, or a share with a per cent sign behind it.
fn written(text: &str) -> Result<LogSize, String> {
    let expected = "expected bytes or a share of the data, more than 0, for instance 64MiB or 50%";
    if let Some(number) = text.strip_suffix('%') {
        let number: Option<f64> = number.trim().parse().ok();
        return number
            .filter(|number| (0.0001..=10_000.0).contains(number))
            .map(|number| LogSize::DataPpm((number * 10_000.0).round() as u64))
            .ok_or_else(|| format!("{expected} (at least 0.0001%, at most 10000%)"));
    }
    bytes(text).map(LogSize::Bytes).map_err(|_| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_to_write_are_bytes_or_shares() {
        assert_eq!(written("64MiB"), Ok(LogSize::Bytes(64 << 20)));
        assert_eq!(written("50%"), Ok(LogSize::DataPpm(500_000)));
        for wrong in ["", "0", "0%", "0.00001%", "-5%", "a third", "nan%", "inf%", "50 %%"] {
            assert!(written(wrong).is_err(), "{wrong} was taken for an amount");
        }
    }
}
