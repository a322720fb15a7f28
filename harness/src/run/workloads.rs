//! From names to workloads: built-in ones, those that a suite defines, and YCSB property files.

use std::path::{Path, PathBuf};

use kvdyno_workloads::{DataSpec, OperationKind, RequestDistribution, WorkloadSpec};
use serde::Deserialize;
use toml::{Spanned, Value};

use super::suite::{FILE_BYTES_MAX, RECOVERY, RELOAD, SUITES, Suite, WorkloadTable};
use crate::failure::{Failure, Result, nearest};

/// A step and where it was named.
#[derive(Clone, Debug)]
pub(crate) struct NamedStep {
    /// What is to be done.
    pub(crate) step: Step,
    /// For instance `mine.toml:3: `; nothing on the command line.
    pub(crate) place: String,
}

/// Something that was named among the workloads.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A workload.
    Workload(Box<NamedWorkload>),
    /// The recovery experiment.
    Recovery,
    /// Empty the store and load again.
    Reload,
}

/// A workload with what its definition fixes.
#[derive(Clone, Debug)]
pub(crate) struct NamedWorkload {
    /// The workload.
    pub(crate) spec: WorkloadSpec,
    /// The definition says how many records.
    pub(crate) own_records: bool,
    /// The definition says how large values are.
    pub(crate) own_value_bytes: bool,
}

/// Everything that was named, resolved.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// In the order in which they were named.
    pub(crate) named: Vec<NamedStep>,
    /// Property files that were read.
    pub(crate) files: Vec<PathBuf>,
    /// What the user should know about them.
    pub(crate) warnings: Vec<String>,
}

impl Steps {
    /// Adds what a suite names, relative to its file.
    ///
    /// # Errors
    /// Naming file and line, if there is no such workload or its definition is wrong.
    pub(crate) fn add_suite(&mut self, suite: &Suite) -> Result<()> {
        suite.check_workload_names()?;
        let names = suite.workloads.as_deref().unwrap_or_default();
        if names.is_empty() && suite.workloads.is_some() {
            return Err(Failure::usage(format!(
                "{}: the list is empty, so that nothing would run",
                suite.place_of("workloads")
            )));
        }
        for name in names {
            let place = suite.origin.place(name);
            self.add_step(name.get_ref(), &place, Some(suite))
                .map_err(|failure| at(&place, failure))?;
        }
        Ok(())
    }

    /// Adds what the command line names: a built-in workload, or a file.
    ///
    /// # Errors
    /// If there is no such workload or its file is wrong.
    pub(crate) fn add(&mut self, name: &str) -> Result<()> {
        self.add_step(name, "", None)
    }

    fn add_step(&mut self, name: &str, place: &str, suite: Option<&Suite>) -> Result<()> {
        let step = match name {
            RECOVERY => Step::Recovery,
            RELOAD => Step::Reload,
            _ => {
                let own = suite.and_then(|suite| suite.workload.get(name).map(|own| (suite, own)));
                let named = if let Some((suite, table)) = own {
                    self.define(name, suite, table)?
                } else {
                    let file = suite.and_then(|suite| suite.origin.path.as_deref());
                    let spec = self.base(name, file.and_then(Path::parent), suite)?;
                    NamedWorkload { spec, own_records: false, own_value_bytes: false }
                };
                Step::Workload(Box::new(named))
            }
        };
        self.named.push(NamedStep { step, place: place.to_owned() });
        Ok(())
    }

    /// A built-in workload, or that of a property file.
    fn base(
        &mut self,
        name: &str,
        folder: Option<&Path>,
        suite: Option<&Suite>,
    ) -> Result<WorkloadSpec> {
        if let Some(spec) = WorkloadSpec::builtin(name) {
            return Ok(spec);
        }
        let path = folder.unwrap_or(Path::new("")).join(name);
        if !path.exists() {
            let builtins = WorkloadSpec::builtins();
            let own = suite
                .into_iter()
                .flat_map(|suite| suite.workload.keys())
                .map(|name| name.get_ref().as_str());
            let known = SUITES.iter().map(|(name, _)| *name).filter(|_| suite.is_none());
            let known = known.chain([RECOVERY, RELOAD]).chain(own);
            let hint = nearest(name, known.chain(builtins.iter().map(|spec| spec.name.as_str())));
            let what = if suite.is_none() {
                "no suite, no workload and no file"
            } else {
                "no workload and no file"
            };
            if SUITES.iter().any(|(suite, _)| *suite == name) {
                return Err(Failure::usage(format!(
                    "'{name}' is a suite, and a suite names workloads: 'kvdyno list suites {name}' shows them"
                )));
            }
            return Err(Failure::usage(format!(
                "'{}' is {what}{hint} ('kvdyno list' shows what there is)",
                name.escape_debug()
            )));
        }
        let (spec, notes) = from_file(&path)?;
        self.warnings.extend(notes);
        self.files.push(path);
        Ok(spec)
    }

    /// A workload that the suite defines.
    fn define(
        &mut self,
        name: &str,
        suite: &Suite,
        table: &WorkloadTable,
    ) -> Result<NamedWorkload> {
        let place = suite.origin.place(&table.base);
        let folder = suite.origin.path.as_deref().and_then(Path::parent);
        let base = table.base.get_ref();
        if suite.workload.contains_key(base.as_str()) {
            return Err(Failure::usage(format!(
                "{place}base: '{base}' is itself defined in this suite: expected a built-in workload or a property file"
            )));
        }
        let mut spec =
            self.base(base, folder, Some(suite)).map_err(|failure| at(&place, failure))?;
        name.clone_into(&mut spec.name);
        table.lay_over(&mut spec, suite)?;
        spec.validate().map_err(|error| Failure::usage(format!("{place}{error}")))?;
        Ok(NamedWorkload {
            spec,
            own_records: table.records.is_some(),
            own_value_bytes: table.value_size.is_some(),
        })
    }
}

/// A failure with the place where its cause stands before it, unless it names a place of its own in the same file.
pub(crate) fn at(place: &str, failure: Failure) -> Failure {
    let file = place.split_inclusive(':').next().unwrap_or_default();
    if !file.is_empty() && failure.message.starts_with(file) {
        return failure;
    }
    Failure { message: format!("{place}{}", failure.message), ..failure }
}

impl Suite {
    /// Names of workloads that are defined must not hide others.
    fn check_workload_names(&self) -> Result<()> {
        for name in self.workload.keys() {
            let text = name.get_ref();
            let place = self.origin.place(name);
            if WorkloadSpec::builtin(text).is_some() {
                return Err(Failure::usage(format!(
                    "{place}workload '{text}' is built in: give yours another name"
                )));
            }
            check_name(text).map_err(|reason| {
                Failure::usage(format!("{place}workload '{}' {reason}", text.escape_debug()))
            })?;
        }
        Ok(())
    }
}

impl WorkloadTable {
    /// Lays the definition over its base.
    fn lay_over(&self, spec: &mut WorkloadSpec, suite: &Suite) -> Result<()> {
        let name = spec.name.clone();
        if let Some(description) = &self.description {
            spec.description.clone_from(description);
        }
        spec.records = self.records.unwrap_or(spec.records);
        spec.streams = self.streams.unwrap_or(spec.streams);
        if let Some(mix) = &self.mix {
            spec.mix = mix
                .iter()
                .map(|(kind, weight)| Ok((kind_of(kind, suite)?, *weight)))
                .collect::<Result<_>>()?;
        }
        if let (Some(_), Some(distribution)) = (self.theta, &self.distribution) {
            return Err(Failure::usage(format!(
                "{}workload '{name}': distribution cannot stand beside theta: remove one of them",
                suite.origin.place(distribution)
            )));
        }
        if let Some(theta) = self.theta {
            spec.request_distribution = RequestDistribution::Zipf { theta };
        }
        if let Some(distribution) = &self.distribution {
            spec.request_distribution = distribution_of(distribution, suite)?;
        }
        if let Some(length) = &self.scan_length {
            spec.scan_length = *length.get_ref();
        }
        let place = suite.origin.place(&self.base);
        if let Some(ratio) = self.compression_ratio {
            let DataSpec::Ycsb(ycsb) = &mut spec.data else {
                return Err(Failure::usage(format!(
                    "{place}workload '{name}': compression_ratio does not go with this kind of data"
                )));
            };
            ycsb.compression_ratio = ratio;
        }
        if let Some(bytes) = self.value_size {
            spec.set_value_bytes(bytes)
                .map_err(|error| Failure::usage(format!("{place}value_size {bytes}: {error}")))?;
        }
        Ok(())
    }
}

fn kind_of(name: &Spanned<String>, suite: &Suite) -> Result<OperationKind> {
    let text = name.get_ref();
    let found = OperationKind::ALL.into_iter().find(|kind| kind.name() == text);
    found.ok_or_else(|| {
        let known = OperationKind::ALL.map(OperationKind::name);
        let hint = match nearest(text, known) {
            hint if hint.is_empty() => format!(", expected one of {}", known.join(", ")),
            hint => hint,
        };
        Failure::usage(format!(
            "{}mix: '{}' is no kind of operation{hint}",
            suite.origin.place(name),
            text.escape_debug()
        ))
    })
}

/// A distribution, written as a word or as a table with `kind`.
fn distribution_of(value: &Spanned<Value>, suite: &Suite) -> Result<RequestDistribution> {
    let table = match value.get_ref() {
        Value::String(word) => {
            let kind = ("kind".to_owned(), Value::String(word.clone()));
            Value::Table([kind].into_iter().collect())
        }
        other => other.clone(),
    };
    RequestDistribution::deserialize(table).map_err(|error| {
        let message = error.message().replace('\n', "; ").replace('`', "'");
        Failure::usage(format!(
            "{}distribution: {message} (for instance \"uniform\", or {{ kind = \"zipf\", theta = 0.99 }})",
            suite.origin.place(value)
        ))
    })
}

/// The workload of a property file, and notes on properties that mean nothing here.
fn from_file(path: &Path) -> Result<(WorkloadSpec, Vec<String>)> {
    let shown = path.display().to_string();
    let metadata = std::fs::metadata(path)
        .map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{} is no property file: expected a plain file of at most 1 MiB",
            shown.escape_debug()
        )));
    }
    let (spec, notes) = WorkloadSpec::from_property_file(path)
        .map_err(|error| Failure::usage(error.to_string()))?;
    check_name(&spec.name).map_err(|_| {
        Failure::usage(format!(
            "{}: the file's name becomes the workload's, and this one would be mistaken for something else: rename the file",
            shown.escape_debug()
        ))
    })?;
    Ok((spec, notes))
}

/// Names that mean something else in results.
fn check_name(name: &str) -> Result<(), &'static str> {
    let reserved = [RECOVERY, RELOAD, "load", ""].contains(&name) || name.starts_with("load-");
    if reserved || name.contains(char::is_control) || name.len() > 100 {
        return Err("would be mistaken for something else: choose another name");
    }
    Ok(())
}
