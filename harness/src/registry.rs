//! The engines that this program can measure.
//!
//! An [`Adapter`] stands between an engine's own interface and [`kvdyno_engines::Engine`]. The [`Registry`] is the list of them; a program
//! of one's own adds an adapter to it and calls [`crate::main`].

use std::path::Path;

use kvdyno_engines::{Capabilities, Durability, Engine};

use crate::failure::{Failure, Result, nearest};
use crate::options::{EngineSettings, OptionInfo, Options};

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

    /// Named sets of options, usable wherever the engine is named: `rocksdb@mmap`.
    fn variants(&self) -> &'static [Variant] {
        &[]
    }

    /// The call that gives a durability class; none if the engine does not offer the class.
    fn durability_call(&self, durability: Durability) -> Option<&'static str>;

    /// What the engine can do unless options are set.
    fn capabilities(&self) -> Capabilities;

    /// What the engine can do with these options, for adapters where an option adds an operation or takes one away.
    fn capabilities_with(&self, _options: &Options) -> Capabilities {
        self.capabilities()
    }

    /// How the names of files end that make recovery faster, and that it can do without (hints, checkpoints of an index); none by default. The recovery
    /// experiment removes and damages them.
    fn hint_files(&self) -> &'static [&'static str] {
        &[]
    }

    /// Opens the store in `request.dir`, creating it where it is not there.
    fn open(&self, request: &OpenRequest<'_>) -> kvdyno_engines::Result<Box<dyn Engine>>;
}

/// A named set of options of an engine: `rocksdb@mmap`.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Name, which stands behind the engine's name and an `@`.
    pub name: &'static str,
    /// What it is for, for people.
    pub help: &'static str,
    /// The options that differ from their defaults, with their values as a user would write them.
    pub set: &'static [(&'static str, &'static str)],
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
    /// Client threads, which have a session each, for engines whose cache belongs to a session.
    pub threads: u32,
}

/// An engine that takes part in a run.
#[derive(Clone)]
pub struct ResolvedEngine<'a> {
    /// Its full name, with the variant.
    pub label: String,
    /// Its adapter.
    pub adapter: &'a dyn Adapter,
    /// Its options, complete.
    pub options: Options,
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

    /// The engine of that name, without a variant, if there is one.
    pub fn find(&self, name: &str) -> Option<&dyn Adapter> {
        self.adapters().find(|adapter| adapter.name() == name)
    }

    /// The engine of that name, which may be that of a variant (`rocksdb@mmap`).
    ///
    /// # Errors
    /// If there is none, with the nearest name, or the feature that adds it.
    pub fn get(&self, name: &str) -> Result<&dyn Adapter> {
        self.with_variant(name).map(|(adapter, _)| adapter)
    }

    fn with_variant(&self, name: &str) -> Result<(&dyn Adapter, Option<&'static Variant>)> {
        let (base, wanted) = match name.split_once('@') {
            Some((base, wanted)) => (base, Some(wanted)),
            None => (name, None),
        };
        let adapter = self.find(base).ok_or_else(|| self.unknown(base))?;
        let Some(wanted) = wanted else { return Ok((adapter, None)) };
        let variants = adapter.variants();
        let found = variants.iter().find(|variant| variant.name == wanted);
        found.map(|variant| (adapter, Some(variant))).ok_or_else(|| {
            let hint = match nearest(wanted, variants.iter().map(|variant| variant.name)) {
                hint if hint.is_empty() && variants.is_empty() => ": it has none".into(),
                hint => hint,
            };
            Failure::usage(format!(
                "engine '{base}' has no variant '{wanted}'{hint} ('kvdyno list engines' shows all)"
            ))
        })
    }

    fn unknown(&self, name: &str) -> Failure {
        let left_out = crate::adapters::LEFT_OUT.iter().find(|(left_out, ..)| *left_out == name);
        if let Some((_, feature, _)) = left_out {
            return Failure::usage(format!(
                "engine '{name}' is not in this build: build with --features {feature} to add it"
            ));
        }
        let hint = nearest(name, self.adapters().map(Adapter::name));
        Failure::usage(format!("unknown engine '{name}'{hint} ('kvdyno list engines' shows all)"))
    }

    /// An engine by its full name, with the options that it runs with.
    ///
    /// # Errors
    /// If there is no such engine, variant or option, or a value is not possible.
    pub fn resolve(&self, name: &str, typed: &EngineSettings) -> Result<ResolvedEngine<'_>> {
        let (adapter, variant) = self.with_variant(name)?;
        let options = Options::layered(adapter, name, variant.map(|variant| variant.set), typed)?;
        Ok(ResolvedEngine { label: name.to_owned(), adapter, options })
    }

    /// The engines that were named, or all that store something; with what `--set` says.
    ///
    /// # Errors
    /// As [`resolve_all`](Self::resolve_all).
    pub fn named_or_persistent(
        &self,
        named: &[String],
        set: &[String],
    ) -> Result<Vec<ResolvedEngine<'_>>> {
        let names: Vec<&str> = if named.is_empty() {
            let persistent = self.adapters().filter(|adapter| adapter.capabilities().persistent);
            persistent.map(Adapter::name).collect()
        } else {
            named.iter().map(String::as_str).collect()
        };
        let set = set.iter().map(|text| text.parse()).collect::<Result<_>>()?;
        self.resolve_all(&names, &EngineSettings { set, ..EngineSettings::default() })
    }

    /// The engines of a run, by their full names.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); and if a name comes twice, or something is set for an engine that is not among them.
    pub fn resolve_all(
        &self,
        names: &[&str],
        typed: &EngineSettings,
    ) -> Result<Vec<ResolvedEngine<'_>>> {
        for (index, name) in names.iter().enumerate() {
            self.get(name)?;
            if names[..index].contains(name) {
                return Err(Failure::usage(format!("--engine names '{name}' twice")));
            }
        }
        for assignment in &typed.set {
            let engine = &assignment.engine;
            self.get(engine)?;
            if !names.iter().any(|name| assignment.is_for(name)) {
                return Err(Failure::usage(format!(
                    "{assignment}: '{engine}' does not take part in this run"
                )));
            }
        }
        names.iter().map(|name| self.resolve(name, typed)).collect()
    }
}
