//! A suite: engines × workloads × sizes × threads × durability × trials, and what its cells have in common.
//!
//! A suite is a TOML file (`docs/suites.md` tells how to write one, `harness/schema/suite.schema.json` what it may hold). The built-in suites are such files,
//! part of the program. Flags are laid over a suite: what is given on the command line wins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kvdyno_workloads::LengthDistribution;
use serde::{Deserialize, Deserializer};
use toml::{Spanned, Value};

use super::scalar::{many, one, word};
use crate::cell::job::{Verify, WarmUp};
use crate::cell::pacing::{Bound, Rate};
use crate::cli::{
    self, ArrivalsArgument, CacheArgument, DurabilityClass, RunArguments, StoresArgument,
};
use crate::failure::{Failure, Result, nearest};

/// Name under which the recovery experiment is asked for among workloads.
pub(crate) const RECOVERY: &str = "recovery";
/// Stands among workloads that follow one another: the store is emptied and loaded again.
pub(crate) const RELOAD: &str = "reload";
/// Stands for every engine of the build but `noop`.
pub(crate) const ALL_ENGINES: &str = "all";
/// What most people compare.
pub(crate) const DEFAULT_ENGINES: &[&str] = &["bitcask", "lsm", "fjall", "lmdb"];
/// A larger file is none that somebody wrote by hand.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// The built-in suites by name.
pub(crate) const SUITES: &[(&str, &str)] = &[
    ("quick", include_str!("../../suites/quick.toml")),
    ("ycsb", include_str!("../../suites/ycsb.toml")),
    ("ycsb-chain", include_str!("../../suites/ycsb-chain.toml")),
    ("timeseries", include_str!("../../suites/timeseries.toml")),
    ("bitcask-vs-lsm", include_str!("../../suites/bitcask-vs-lsm.toml")),
    ("full", include_str!("../../suites/full.toml")),
];

/// What a suite file says. Everything but the workloads can be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Suite {
    /// Name in results; the file's name unless said.
    pub(crate) name: Option<Spanned<String>>,
    /// One sentence for people.
    pub(crate) description: Option<String>,
    /// Engines and variants, or `all`.
    pub(crate) engines: Option<Vec<Spanned<String>>>,
    /// Workloads, property files, [`RECOVERY`], and in a chain [`RELOAD`].
    pub(crate) workloads: Option<Vec<Spanned<String>>>,
    /// How workloads share stores.
    #[serde(deserialize_with = "stores")]
    pub(crate) stores: Option<StoresArgument>,
    /// Records to load.
    #[serde(deserialize_with = "positive_counts")]
    pub(crate) records: Option<Vec<u64>>,
    /// Bytes of a value.
    #[serde(deserialize_with = "counts")]
    pub(crate) value_size: Option<Vec<u64>>,
    /// Client threads.
    #[serde(deserialize_with = "threads")]
    pub(crate) threads: Option<Vec<u32>>,
    /// Durability classes.
    #[serde(deserialize_with = "classes")]
    pub(crate) durability: Option<Vec<DurabilityClass>>,
    /// Trials of each cell.
    #[serde(deserialize_with = "trials")]
    pub(crate) trials: Option<u32>,
    /// Operations to measure.
    #[serde(deserialize_with = "positive_count")]
    pub(crate) operations: Option<u64>,
    /// Time to measure.
    #[serde(deserialize_with = "time")]
    pub(crate) duration: Option<Duration>,
    /// What goes before measuring.
    #[serde(deserialize_with = "warm_up")]
    pub(crate) warm_up: Option<WarmUp>,
    /// Operations due per second, or `sweep`.
    #[serde(deserialize_with = "rate")]
    pub(crate) rate: Option<Rate>,
    /// How they are spaced.
    #[serde(deserialize_with = "arrivals")]
    pub(crate) arrivals: Option<ArrivalsArgument>,
    /// Bound on the response time to look for the highest rate under.
    #[serde(deserialize_with = "bound")]
    pub(crate) slo: Option<Bound>,
    /// Page cache when a measured phase begins.
    #[serde(deserialize_with = "cache")]
    pub(crate) cache: Option<CacheArgument>,
    /// Most memory of a cell's process.
    #[serde(deserialize_with = "bytes")]
    pub(crate) memory_limit: Option<u64>,
    /// Memory for writes that are not in tables yet, in MiB.
    #[serde(deserialize_with = "positive_count")]
    pub(crate) write_buffer: Option<u64>,
    /// Block or page cache of the engines' own, in MiB.
    #[serde(deserialize_with = "positive_count")]
    pub(crate) engine_cache: Option<u64>,
    /// Whether durability classes are checked before the first cell.
    pub(crate) check_durability: Option<bool>,
    /// How reads are checked.
    #[serde(deserialize_with = "verify")]
    pub(crate) verify: Option<Verify>,
    /// Seed of every random choice.
    #[serde(deserialize_with = "count")]
    pub(crate) seed: Option<u64>,
    /// Longest time for one cell.
    #[serde(deserialize_with = "time")]
    pub(crate) cell_timeout: Option<Duration>,
    /// Whether stores are left where they are.
    pub(crate) keep_stores: Option<bool>,
    /// Options of engines and variants, as `--set` has them.
    pub(crate) engine: BTreeMap<Spanned<String>, EngineTable>,
    /// Variants of engines that the suite defines: `lsm@small`.
    pub(crate) variant: BTreeMap<Spanned<String>, EngineTable>,
    /// Workloads that the suite defines.
    pub(crate) workload: BTreeMap<Spanned<String>, WorkloadTable>,
    /// Where it was read from.
    #[serde(skip)]
    pub(crate) origin: Origin,
    /// Keys that the command line has set.
    #[serde(skip)]
    flags: BTreeSet<&'static str>,
}

/// Options of an engine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EngineTable {
    /// By name; whole numbers, or words where the engine takes words.
    pub(crate) options: BTreeMap<Spanned<String>, OptionValue>,
}

/// The value of an engine's option, as text.
#[derive(Clone, Debug, Default)]
pub(crate) struct OptionValue(pub(crate) String);

impl<'de> Deserialize<'de> for OptionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one(deserializer, |text| Ok(text.to_owned())).map(Self)
    }
}

/// A workload that a suite defines: another one with changes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkloadTable {
    /// A built-in workload, or a property file.
    pub(crate) base: Spanned<String>,
    /// One sentence for people.
    pub(crate) description: Option<String>,
    /// Records to load, whatever the suite says.
    #[serde(default, deserialize_with = "positive_count")]
    pub(crate) records: Option<u64>,
    /// Bytes of a value, whatever the suite says.
    #[serde(default, deserialize_with = "count")]
    pub(crate) value_size: Option<u64>,
    /// Weight of each kind of operation.
    pub(crate) mix: Option<BTreeMap<Spanned<String>, f64>>,
    /// Exponent of a true Zipf distribution of requests.
    pub(crate) theta: Option<f64>,
    /// Which records are picked: a word, or a table with `kind` and its parameters.
    pub(crate) distribution: Option<Spanned<Value>>,
    /// How many records a scan asks for.
    pub(crate) scan_length: Option<Spanned<LengthDistribution>>,
    /// How far values compress.
    pub(crate) compression_ratio: Option<f64>,
    /// Logical streams.
    pub(crate) streams: Option<u32>,
}

/// Where a suite was read from, for messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// The file; none for a built-in suite, and where there are only flags.
    pub(crate) path: Option<PathBuf>,
    label: String,
    text: String,
    /// Lines of the keys.
    keys: BTreeMap<String, usize>,
}

impl Origin {
    fn line_of(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }

    /// For instance `mine.toml:3`; nothing where there is no file.
    pub(crate) fn place<T>(&self, value: &Spanned<T>) -> String {
        if self.label.is_empty() {
            return String::new();
        }
        format!("{}:{}: ", self.label, self.line_of(value.span().start))
    }
}

impl Suite {
    /// The built-in suite of that name.
    ///
    /// # Errors
    /// If the file that was built in is wrong, which a test rules out.
    pub(crate) fn built_in(name: &str) -> Result<Option<Self>> {
        let found = SUITES.iter().find(|(known, _)| *known == name);
        found.map(|(name, text)| Self::parse(name, text, None)).transpose()
    }

    /// The file of a built-in suite, as a starting point for one of the user's own.
    ///
    /// # Errors
    /// If there is no such suite, with the nearest name.
    pub(crate) fn text_of(name: &str) -> Result<&'static str> {
        let found = SUITES.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| *text).ok_or_else(|| {
            let hint = nearest(name, SUITES.iter().map(|(name, _)| *name));
            Failure::usage(format!(
                "'{}' is no built-in suite{hint} ('kvdyno list suites' shows them)",
                name.escape_debug()
            ))
        })
    }

    /// Reads a suite file.
    ///
    /// # Errors
    /// With file, line and key, what is wrong and what was expected.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let unreadable = |error| Failure::usage(format!("cannot read {shown}: {error}"));
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(Failure::usage(format!(
                "{shown} is no suite file: expected a plain file of at most 1 MiB"
            )));
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Failure::usage(format!("{shown} is no suite file: expected text in UTF-8"))
        })?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let mut suite = Self::parse(&stem, &text, Some(path.to_owned()))?;
        suite.origin.path = Some(path.to_owned());
        Ok(suite)
    }

    fn parse(name: &str, text: &str, path: Option<PathBuf>) -> Result<Self> {
        let label = path
            .as_ref()
            .map_or_else(|| format!("suite {name}"), |path| path.display().to_string());
        let mut origin = Origin { path, label, text: text.to_owned(), keys: BTreeMap::new() };
        let mut suite: Self = toml::from_str(text).map_err(|error| explain(&origin, &error))?;
        // Parsed once more for the lines of the keys; the text is known to be right.
        let keys: BTreeMap<Spanned<String>, Value> = toml::from_str(text).unwrap_or_default();
        origin.keys = keys
            .into_keys()
            .map(|key| (key.get_ref().clone(), origin.line_of(key.span().start)))
            .collect();
        suite.origin = origin;
        let given = suite.name.get_or_insert_with(|| Spanned::new(0..0, name.to_owned()));
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name = given.get_ref();
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(fits) {
            return Err(Failure::usage(format!(
                "{}name: '{}' cannot name a folder of results: expected up to 64 letters, digits, '-', '_' and '.'; set name in the file",
                suite.origin.place(given),
                name.escape_debug()
            )));
        }
        suite.check_exclusive()?;
        Ok(suite)
    }

    /// Keys that exclude each other.
    fn check_exclusive(&self) -> Result<()> {
        let both = [
            (self.operations.is_some(), "operations", self.duration.is_some(), "duration"),
            (self.rate.is_some(), "rate", self.slo.is_some(), "slo"),
        ];
        for (first, first_key, second, second_key) in both {
            if first && second {
                return Err(Failure::usage(format!(
                    "{} cannot stand beside {second_key}: remove one of them",
                    self.place_of(first_key)
                )));
            }
        }
        Ok(())
    }

    /// Arrivals mean something under an offered rate alone; told once flags have been laid over.
    pub(crate) fn check_arrivals(&self) -> Result<()> {
        if self.arrivals.is_some() && self.rate.is_none() && self.slo.is_none() {
            return Err(Failure::usage(format!(
                "{} says how operations are spaced under an offered rate, and there is none: add rate or slo",
                self.place_of("arrivals")
            )));
        }
        Ok(())
    }

    /// The name, once there is one.
    pub(crate) fn name(&self) -> &str {
        self.name.as_ref().map_or("custom", |name| name.get_ref())
    }

    /// Where the value of a key comes from: a flag, or a line of the file.
    pub(crate) fn place_of(&self, key: &str) -> String {
        match (self.flags.contains(key), self.origin.keys.get(key)) {
            (false, Some(line)) => format!("{}:{line}: {key}", self.origin.label),
            _ => format!("--{}", key.replace('_', "-")),
        }
    }

    /// Whether the command line has set the key.
    pub(crate) fn is_flag(&self, key: &str) -> bool {
        self.flags.contains(key)
    }

    /// Lays flags over the suite: what they say wins.
    pub(crate) fn lay_over(&mut self, flags: &RunArguments) {
        let own_limit = flags.operations.is_some() || flags.duration.is_some();
        if own_limit {
            // The other measure of length goes, and with it a warm-up that was meant for it.
            (self.operations, self.duration, self.warm_up) = (None, None, None);
        }
        if flags.rate.is_some() || flags.slo.is_some() {
            (self.rate, self.slo) = (None, None);
        }
        let engines: Vec<_> =
            flags.engine.iter().map(|name| Spanned::new(0..0, name.clone())).collect();
        lay(&mut self.engines, listed(&engines), "engine", &mut self.flags);
        lay(
            &mut self.stores,
            flags.chain.then_some(StoresArgument::Chain),
            "chain",
            &mut self.flags,
        );
        lay(&mut self.records, listed(&flags.records), "records", &mut self.flags);
        lay(&mut self.value_size, listed(&flags.value_size), "value_size", &mut self.flags);
        lay(&mut self.threads, listed(&flags.threads), "threads", &mut self.flags);
        lay(&mut self.durability, listed(&flags.durability), "durability", &mut self.flags);
        lay(&mut self.trials, flags.trials, "trials", &mut self.flags);
        lay(&mut self.operations, flags.operations, "operations", &mut self.flags);
        lay(&mut self.duration, flags.duration, "duration", &mut self.flags);
        lay(&mut self.warm_up, flags.warm_up, "warm_up", &mut self.flags);
        lay(&mut self.rate, flags.rate, "rate", &mut self.flags);
        lay(&mut self.arrivals, flags.arrivals, "arrivals", &mut self.flags);
        lay(&mut self.slo, flags.slo, "slo", &mut self.flags);
        lay(&mut self.cache, flags.cache, "cache", &mut self.flags);
        lay(&mut self.memory_limit, flags.memory_limit, "memory_limit", &mut self.flags);
        lay(&mut self.verify, flags.verify, "verify", &mut self.flags);
        lay(&mut self.seed, flags.seed, "seed", &mut self.flags);
        lay(&mut self.cell_timeout, flags.cell_timeout, "cell_timeout", &mut self.flags);
        lay(&mut self.write_buffer, flags.write_buffer, "write_buffer", &mut self.flags);
        lay(&mut self.engine_cache, flags.engine_cache, "engine_cache", &mut self.flags);
        let check = flags.check_durability.then_some(true);
        lay(&mut self.check_durability, check, "check_durability", &mut self.flags);
        let keep = flags.keep_stores.then_some(true);
        lay(&mut self.keep_stores, keep, "keep_stores", &mut self.flags);
    }
}

fn listed<T: Clone>(values: &[T]) -> Option<Vec<T>> {
    (!values.is_empty()).then(|| values.to_vec())
}

fn lay<T>(
    slot: &mut Option<T>,
    flag: Option<T>,
    key: &'static str,
    flags: &mut BTreeSet<&'static str>,
) {
    if flag.is_some() {
        *slot = flag;
        flags.insert(key);
    }
}

/// One line about what is wrong: file, line, what stands there, and what was expected.
fn explain(origin: &Origin, error: &toml::de::Error) -> Failure {
    let message = error
        .message()
        .replace('\n', "; ")
        .replace("expected a sequence", "expected a list, in brackets");
    let message = unknown_key(&message).unwrap_or_else(|| message.replace('`', "'"));
    let Some(span) = error.span() else {
        return Failure::usage(format!("{}: {message}", origin.label));
    };
    let line = origin.line_of(span.start);
    let shown: String =
        origin.text.lines().nth(line - 1).unwrap_or_default().trim().chars().take(60).collect();
    let shown = shown.replace(char::is_control, " ");
    Failure::usage(format!("{}:{line}: in '{shown}': {message}", origin.label))
}

/// Serde's words about a key that is not known, in ours: with the nearest name rather than all.
fn unknown_key(message: &str) -> Option<String> {
    let kind =
        ["unknown field", "unknown variant"].into_iter().find(|kind| message.starts_with(kind))?;
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    let hint = match nearest(unknown, known.iter().copied()) {
        hint if hint.is_empty() => format!(", expected one of {}", known.join(", ")),
        hint => hint,
    };
    let what = if kind == "unknown field" { "key" } else { "word" };
    Some(format!("unknown {what} '{unknown}'{hint}"))
}

/// Makes the functions that serde calls for single values.
macro_rules! values {
    ($($name:ident: $kind:ty = $parser:expr;)*) => {
        $(fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<$kind>, D::Error> {
            one(deserializer, $parser).map(Some)
        })*
    };
}

/// Makes the functions that serde calls for single values and lists.
macro_rules! lists {
    ($($name:ident: $kind:ty = $parser:expr;)*) => {
        $(fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<$kind>>, D::Error> {
            many(deserializer, $parser).map(Some)
        })*
    };
}

values! {
    stores: StoresArgument = word;
    trials: u32 = cli::positive_u32;
    positive_count: u64 = cli::positive_count;
    count: u64 = cli::count;
    time: Duration = cli::positive_duration;
    warm_up: WarmUp = cli::warm_up;
    rate: Rate = str::parse;
    arrivals: ArrivalsArgument = word;
    bound: Bound = str::parse;
    cache: CacheArgument = word;
    bytes: u64 = cli::bytes;
    verify: Verify = word;
}

lists! {
    positive_counts: u64 = cli::positive_count;
    counts: u64 = cli::count;
    threads: u32 = cli::positive_u32;
    classes: DurabilityClass = word;
}
