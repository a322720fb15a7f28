//! Options of engines: what an adapter declares, what a user sets, and the complete values that an engine is opened with.
//!
//! An engine's values are laid over one another in this order, the later winning:
//!
//! 1. the adapter's defaults,
//! 2. the budgets for all engines (`--write-buffer`, `--engine-cache`),
//! 3. the variant's values (`rocksdb@mmap`),
//! 4. `--set rocksdb.option=value`, for the engine and all of its variants,
//! 5. `--set rocksdb@mmap.option=value`, for that variant alone.

use std::collections::BTreeMap;

use crate::failure::{Failure, Result, nearest};
use crate::registry::Adapter;

/// Name of the option for all memory that holds writes which are not in tables yet.
pub(crate) const WRITE_BUFFER: &str = "write_buffer_mib";
/// Name of the option for the block or page cache.
pub(crate) const CACHE: &str = "cache_mib";

/// An option of an engine. Its value is a whole number, or one of several words.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// Name, with its unit last.
    pub name: &'static str,
    /// Value unless set; of a word, its place among [`words`](Self::words).
    pub default: u64,
    /// Smallest value that makes sense; 0 may be possible besides (see [`or_zero`](Self::or_zero)).
    pub min: u64,
    /// Largest value that makes sense.
    pub max: u64,
    /// Whether 0, which then turns something off, is possible though [`min`](Self::min) is more.
    pub or_zero: bool,
    /// The words that can be given; empty if the value is a number.
    pub words: &'static [&'static str],
    /// What it does, for people.
    pub help: &'static str,
}

impl OptionInfo {
    /// An option whose value is a number from `min` to `max`.
    pub const fn number(
        name: &'static str,
        default: u64,
        min: u64,
        max: u64,
        help: &'static str,
    ) -> Self {
        Self { name, default, min, max, or_zero: false, words: &[], help }
    }

    /// The same option, which 0 turns off.
    #[must_use]
    pub const fn or_zero(self) -> Self {
        Self { or_zero: true, ..self }
    }

    /// An option whose value is one of several words; the default is told by its place.
    pub const fn word(
        name: &'static str,
        words: &'static [&'static str],
        default: u64,
        help: &'static str,
    ) -> Self {
        let max = words.len() as u64 - 1;
        Self { name, default, min: 0, max, or_zero: false, words, help }
    }

    /// An option that is `on` or `off`.
    pub const fn switch(name: &'static str, on: bool, help: &'static str) -> Self {
        Self::word(name, &["off", "on"], on as u64, help)
    }

    /// The budget `write_buffer_mib`: all memory for writes that are not in tables yet, all memtables together. 128 MiB unless set.
    pub const fn write_buffer(help: &'static str) -> Self {
        Self::number(WRITE_BUFFER, 128, 1, 4_096, help)
    }

    /// The budget `cache_mib`: the block or page cache. 64 MiB unless set.
    pub const fn cache(help: &'static str) -> Self {
        Self::number(CACHE, 64, 1, 1_048_576, help)
    }

    /// A value as a user writes it.
    pub fn show(&self, value: u64) -> String {
        match self.words.get(value as usize) {
            Some(word) => (*word).to_owned(),
            None => value.to_string(),
        }
    }

    /// What can be given, for people.
    pub fn possible(&self) -> String {
        if self.words.is_empty() {
            let zero = if self.or_zero { "0, or " } else { "" };
            format!("{zero}{} to {}", self.min, self.max)
        } else {
            self.words.join(" or ")
        }
    }

    fn parse(&self, text: &str) -> Option<u64> {
        if self.words.is_empty() {
            let number = text.parse().ok()?;
            let zero = self.or_zero && number == 0;
            (zero || (self.min..=self.max).contains(&number)).then_some(number)
        } else {
            self.words.iter().position(|word| *word == text).map(|place| place as u64)
        }
    }
}

/// Values of an engine's options, complete and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Options(BTreeMap<String, u64>);

impl Options {
    /// The defaults of an adapter, with `set` laid over them: names and values.
    ///
    /// # Errors
    /// If a name is not one of the adapter's options, or a value is not possible.
    pub fn resolve(adapter: &dyn Adapter, set: &[(&str, &str)]) -> Result<Self> {
        let mut options = Self::defaults(adapter);
        for (name, value) in set {
            let origin = format!("--set {}.{name}={value}", adapter.name());
            options.set(adapter, name, value, &origin)?;
        }
        Ok(options)
    }

    /// Values for an engine that is named `label`, laid over one another as the module's header says.
    pub(crate) fn layered(
        adapter: &dyn Adapter,
        label: &str,
        variant: Option<&[(&str, &str)]>,
        typed: &EngineSettings,
    ) -> Result<Self> {
        let mut options = Self::defaults(adapter);
        let budgets = [
            (WRITE_BUFFER, typed.write_buffer_mib, "--write-buffer"),
            (CACHE, typed.cache_mib, "--engine-cache"),
        ];
        for (name, value, flag) in budgets {
            if let Some(value) = value.map(|value| value.to_string())
                && adapter.options().iter().any(|option| option.name == name)
            {
                options.set(adapter, name, &value, &format!("{flag} {value} for {label}"))?;
            }
        }
        for (name, value) in variant.unwrap_or_default() {
            options.set(adapter, name, value, &format!("variant {label}: {name}={value}"))?;
        }
        for engine in [Some(adapter.name()), variant.map(|_| label)].into_iter().flatten() {
            for assignment in typed.set.iter().filter(|assignment| assignment.engine == engine) {
                let Assignment { option, value, .. } = assignment;
                options.set(adapter, option, value, &assignment.to_string())?;
            }
        }
        Ok(options)
    }

    fn defaults(adapter: &dyn Adapter) -> Self {
        let known = adapter.options().iter();
        Self(known.map(|option| (option.name.to_owned(), option.default)).collect())
    }

    /// Sets one value; `origin` tells where it comes from.
    fn set(&mut self, adapter: &dyn Adapter, name: &str, value: &str, origin: &str) -> Result<()> {
        let known = adapter.options();
        let Some(option) = known.iter().find(|option| option.name == name) else {
            let hint = nearest(name, known.iter().map(|option| option.name));
            let engine = adapter.name();
            return Err(Failure::usage(format!(
                "{origin}: {engine} has no option '{name}'{hint} ('kvdyno list engines' shows them)"
            )));
        };
        let value = option.parse(value).ok_or_else(|| {
            let kind = if option.words.is_empty() { "a whole number from " } else { "" };
            Failure::usage(format!("{origin}: expected {kind}{}", option.possible()))
        })?;
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    /// The value of an option that the adapter declares. Asking for one that it does not declare is an error of the adapter.
    pub fn get(&self, name: &str) -> u64 {
        debug_assert!(self.0.contains_key(name), "the adapter does not declare the option {name}");
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Whether an option that the adapter declares as a switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name) != 0
    }

    /// The value of an option in MiB, in bytes.
    pub fn mib(&self, name: &str) -> u64 {
        self.get(name) << 20
    }

    /// All options of the adapter as text.
    pub fn to_text(&self, adapter: &dyn Adapter) -> BTreeMap<String, String> {
        let known = adapter.options().iter();
        known.map(|option| (option.name.to_owned(), option.show(self.get(option.name)))).collect()
    }
}

/// What was typed for the options of engines.
#[derive(Clone, Debug, Default)]
pub struct EngineSettings {
    /// `--write-buffer`: memory for writes that are not in tables yet, in MiB, for all engines that have such a thing.
    pub write_buffer_mib: Option<u64>,
    /// `--engine-cache`: block or page cache in MiB, for all engines that have one.
    pub cache_mib: Option<u64>,
    /// `--set`, in the order in which they were typed.
    pub set: Vec<Assignment>,
}

/// A value for one option of one engine: `engine.option=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// An engine, meaning all of its variants as well, or one variant.
    pub engine: String,
    /// Name of the option.
    pub option: String,
    /// Value, as it was typed.
    pub value: String,
}

impl Assignment {
    /// Whether it concerns an engine of this full name.
    pub(crate) fn is_for(&self, label: &str) -> bool {
        let base = label.split_once('@').map(|(base, _)| base);
        label == self.engine || base == Some(&self.engine)
    }
}

impl std::str::FromStr for Assignment {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        let parts =
            text.split_once('=').and_then(|(name, value)| Some((name.split_once('.')?, value)));
        let Some(((engine, option), value)) = parts else {
            return Err(Failure::usage(format!("--set {text}: expected engine.option=value")));
        };
        Ok(Self { engine: engine.into(), option: option.into(), value: value.into() })
    }
}

impl std::fmt::Display for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--set {}.{}={}", self.engine, self.option, self.value)
    }
}
