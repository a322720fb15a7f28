//! The engines that this program can measure.
//!
//! An [`Adapter`] stands between an engine's own interface and [`kvdyno_engines::Engine`]. The [`Registry`] is the list of them; a program
//! of one's own adds an adapter to it and calls [`crate::main`].

use std::collections::BTreeMap;
use std::path::Path;

use kvdyno_engines::{Capabilities, Durability, Engine};

use crate::failure::{Failure, Result, nearest};

/// An engine, as the harness knows it before it is opened.
pub trait Adapter: Send + Sync {
    /// Name on the command line.
    fn name(&self) -> &'static str;

    /// Version of the library that is linked.
    fn version(&self) -> &'static str;

    /// One line for people: what kind of engine this is.
    fn description(&self) -> &'static str;

    /// Options that can be set, with their defaults.
    fn options(&self) -> &'static [OptionInfo] {
        &[]
    }

    /// The call that gives a durability class; none if the engine does not offer the class.
    fn durability_call(&self, durability: Durability) -> Option<&'static str>;

    /// What the engine can do.
    fn capabilities(&self) -> Capabilities;

    /// How the names of files end that make recovery faster, and that it can do without (hints, checkpoints of an index); none by default. The recovery
    /// experiment removes and damages them.
    fn hint_files(&self) -> &'static [&'static str] {
        &[]
    }

    /// Opens the store in `request.dir`, creating it where it is not there.
    fn open(&self, request: &OpenRequest<'_>) -> kvdyno_engines::Result<Box<dyn Engine>>;
}

/// An option of an engine.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// Name, with its unit last.
    pub name: &'static str,
    /// Value unless set; a whole number.
    pub default: u64,
    /// Smallest value that makes sense.
    pub min: u64,
    /// Largest value that makes sense.
    pub max: u64,
    /// What it does, for people.
    pub help: &'static str,
}

/// What an adapter is given to open a store.
#[derive(Clone, Debug)]
pub struct OpenRequest<'a> {
    /// Folder of the store, which exists.
    pub dir: &'a Path,
    /// Durability class, one that the adapter offers.
    pub durability: Durability,
    /// All of the adapter's options.
    pub options: &'a Options,
    /// Key and value bytes that the store may come to hold, for engines that reserve address space.
    pub data_bytes: u64,
}

/// Values of an engine's options, complete and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Options(BTreeMap<String, u64>);

impl Options {
    /// The defaults of an adapter, with `set` laid over them.
    ///
    /// # Errors
    /// If a name is not one of the adapter's options, or a value is no whole number.
    pub fn resolve(adapter: &dyn Adapter, set: &[(String, String)]) -> Result<Self> {
        let known = adapter.options();
        let mut values: BTreeMap<String, u64> =
            known.iter().map(|option| (option.name.to_owned(), option.default)).collect();
        for (name, value) in set {
            let Some(slot) = values.get_mut(name) else {
                let hint = nearest(name, known.iter().map(|option| option.name));
                let engine = adapter.name();
                return Err(Failure::usage(format!(
                    "--set {engine}.{name}: {engine} has no such option{hint} ('kvdyno list engines' shows them)"
                )));
            };
            let range = known
                .iter()
                .find(|option| option.name == name)
                .map_or(0..=u64::MAX, |option| option.min..=option.max);
            *slot =
                value.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
                    Failure::usage(format!(
                        "--set {}.{name}={value}: expected a whole number from {} to {}",
                        adapter.name(),
                        range.start(),
                        range.end()
                    ))
                })?;
        }
        Ok(Self(values))
    }

    /// The value of an option that the adapter declares. Asking for one that it does not declare is an error of the adapter.
    pub fn get(&self, name: &str) -> u64 {
        debug_assert!(self.0.contains_key(name), "the adapter does not declare the option {name}");
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All options as text.
    pub fn to_text(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
    }
}

/// The engines that a program can measure, by name.
#[derive(Default)]
pub struct Registry {
    adapters: Vec<Box<dyn Adapter>>,
}

impl Registry {
    /// No engines at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds an engine.
    ///
    /// # Panics
    /// If there is one of the same name: which of the two was measured would be anybody's guess.
    #[must_use]
    pub fn with(mut self, adapter: Box<dyn Adapter>) -> Self {
        assert!(self.find(adapter.name()).is_none(), "two engines are named {}", adapter.name());
        self.adapters.push(adapter);
        self
    }

    /// All engines, in the order in which they were added.
    pub fn adapters(&self) -> impl Iterator<Item = &dyn Adapter> {
        self.adapters.iter().map(AsRef::as_ref)
    }

    /// The engine of that name, if there is one.
    pub fn find(&self, name: &str) -> Option<&dyn Adapter> {
        self.adapters().find(|adapter| adapter.name() == name)
    }

    /// The engine of that name.
    ///
    /// # Errors
    /// If there is none, with the nearest name, or the feature that adds it.
    pub fn get(&self, name: &str) -> Result<&dyn Adapter> {
        self.find(name).ok_or_else(|| {
            if let Some((_, feature, _)) = crate::adapters::LEFT_OUT.iter().find(|(left_out, ..)| *left_out == name) {
                return Failure::usage(format!(
                    "engine '{name}' is not in this build: build with --features {feature} to add it"
                ));
            }
            let hint = nearest(name, self.adapters().map(Adapter::name));
            Failure::usage(format!("unknown engine '{name}'{hint} ('kvdyno list engines' shows all)"))
        })
    }
}
