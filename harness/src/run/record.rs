//! `run.json`: what a run needs to go on after it was cut off, beside its results.
//!
//! The file holds the plan as it was resolved, so that neither the suite file nor the property files are read again. It is locked while the
//! run goes on, and what was measured stands in `result.json` alone.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::data_set::DataSet;
use super::plan::{Conditions, Plan, Settings};
use super::schedule::recovery::Scenes;
use crate::failure::{Failure, Result};
use crate::options::Options;
use crate::registry::{Registry, ResolvedEngine};

/// Name of the file within a run's folder.
pub(crate) const FILE: &str = "run.json";
/// The version of the file.
const FORMAT: &str = "kvdyno.run/1";

/// What a run needs to go on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunRecord {
    format: String,
    /// Name of the run, the same as in the result file.
    pub(crate) run_id: String,
    build: Build,
    suite: String,
    engines: Vec<EngineRecord>,
    data_sets: Vec<DataSet>,
    conditions: Vec<Conditions>,
    settings: Settings,
    scenes: Scenes,
    check_durability: bool,
    cell_timeout: Duration,
    keep_stores: bool,
    inputs: Vec<InputFile>,
    /// Folder of the stores, where the user chose it.
    pub(crate) dir: Option<PathBuf>,
}

/// The program: figures of two builds do not belong into one result.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Build {
    version: String,
    commit: String,
    profile: String,
}

impl Build {
    fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: env!("KVDYNO_COMMIT").into(),
            profile: env!("KVDYNO_PROFILE").into(),
        }
    }
}

impl std::fmt::Display for Build {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "kvdyno {} ({} build", self.version, self.profile)?;
        if !self.commit.is_empty() {
            write!(f, " of commit {}", self.commit)?;
        }
        f.write_str(")")
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct EngineRecord {
    name: String,
    adapter: String,
    version: String,
    options: Options,
}

/// A file that the plan was made from.
#[derive(Debug, Serialize, Deserialize)]
struct InputFile {
    path: PathBuf,
    digest: String,
}

impl RunRecord {
    /// Describes a plan.
    pub(crate) fn new(plan: &Plan<'_>, run_id: &str, dir: Option<&Path>) -> Result<Self> {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(Failure::io("find the place of", path));
        let inputs = plan.inputs.iter().map(|path| {
            let digest = digest_of(path).map_err(Failure::io("read", path))?;
            Ok(InputFile { path: absolute(path)?, digest })
        });
        let engines = plan.engines.iter().map(|engine| EngineRecord {
            name: engine.label.clone(),
            adapter: engine.adapter.name().into(),
            version: engine.adapter.version().into(),
            options: engine.options.clone(),
        });
        Ok(Self {
            format: FORMAT.into(),
            run_id: run_id.into(),
            build: Build::this(),
            suite: plan.suite.clone(),
            engines: engines.collect(),
            data_sets: plan.data_sets.clone(),
            conditions: plan.conditions.clone(),
            settings: plan.settings.clone(),
            scenes: plan.scenes.clone(),
            check_durability: plan.check_durability,
            cell_timeout: plan.cell_timeout,
            keep_stores: plan.keep_stores,
            inputs: inputs.collect::<Result<_>>()?,
            dir: dir.map(absolute).transpose()?,
        })
    }

    /// Writes the record into a run's folder, and locks it until the returned file is dropped.
    pub(crate) fn write(&self, dir: &Path) -> Result<File> {
        let path = dir.join(FILE);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::failed(format!("cannot describe the run: {error}")))?;
        let mut file = File::create_new(&path).map_err(Failure::io("create", &path))?;
        lock(&file, dir)?;
        let written = writeln!(file, "{text}").and_then(|()| file.sync_data());
        written.map_err(Failure::io("write", &path))?;
        Ok(file)
    }

    /// Reads the record of a run's folder, and locks it.
    ///
    /// # Errors
    /// If the folder is none of a run, the file is damaged, or the run is still going on.
    pub(crate) fn read(dir: &Path) -> Result<(Self, File)> {
        let path = dir.join(FILE);
        let shown = dir.display();
        if !path.is_file() {
            return Err(Failure::usage(format!(
                "--resume {shown}: there is no {FILE} in it: expected the folder of a run, for instance kvdyno-out/quick-20260102-030405"
            )));
        }
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        let mut file = opened
            .map_err(|error| Failure::usage(format!("cannot open {}: {error}", path.display())))?;
        lock(&file, dir)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(Failure::io("read", &path))?;
        let record: Self = serde_json::from_str(&text).map_err(|error| {
            // A record of another version may have other fields: then that is what is wrong.
            let version = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|value| {
                let build: Build = serde_json::from_value(value.get("build")?.clone()).ok()?;
                (build != Build::this()).then_some(build)
            });
            match version {
                Some(build) => other_build(dir, &build),
                None => Failure::usage(format!(
                    "--resume {shown}: {FILE} is damaged ({error}): start the run anew"
                )),
            }
        })?;
        if record.format != FORMAT {
            return Err(Failure::usage(format!(
                "--resume {shown}: {FILE} is of format {}, expected {FORMAT}",
                record.format.escape_debug()
            )));
        }
        Ok((record, file))
    }

    /// The plan that was recorded, over the engines of this build.
    ///
    /// # Errors
    /// If build, engines or input files are not what they were.
    pub(crate) fn plan<'a>(self, dir: &Path, registry: &'a Registry) -> Result<Plan<'a>> {
        let shown = dir.display();
        if self.build != Build::this() {
            return Err(other_build(dir, &self.build));
        }
        for input in &self.inputs {
            // What is gone was not changed, and the resolved plan is all that is needed.
            if digest_of(&input.path).is_ok_and(|digest| digest != input.digest) {
                return Err(Failure::usage(format!(
                    "--resume {shown}: {} has been changed since the run began: start the run anew, or undo the change",
                    input.path.display()
                )));
            }
        }
        let engines = self.engines.into_iter().map(|engine| {
            let adapter = registry.get(&engine.adapter).map_err(|failure| {
                Failure::usage(format!("--resume {shown}: {}", failure.message))
            })?;
            if adapter.version() != engine.version {
                return Err(Failure::usage(format!(
                    "--resume {shown}: the run measured {} {}, and this build has {}: start the run anew",
                    engine.adapter,
                    engine.version,
                    adapter.version()
                )));
            }
            Ok(ResolvedEngine { label: engine.name, adapter, options: engine.options })
        });
        Ok(Plan {
            suite: self.suite,
            engines: engines.collect::<Result<_>>()?,
            data_sets: self.data_sets,
            conditions: self.conditions,
            settings: self.settings,
            scenes: self.scenes,
            check_durability: self.check_durability,
            cell_timeout: self.cell_timeout,
            keep_stores: self.keep_stores,
            inputs: Vec::new(),
            warnings: Vec::new(),
        })
    }
}

fn other_build(dir: &Path, build: &Build) -> Failure {
    Failure::usage(format!(
        "--resume {}: the run was begun by {build}, and this is {}: figures of two builds do not belong into one result",
        dir.display(),
        Build::this()
    ))
}

fn lock(file: &File, dir: &Path) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Failure::usage(format!(
            "--resume {}: the run is still going on in another process: wait for it",
            dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(Failure::io("lock", &dir.join(FILE))(error)),
    }
}

fn digest_of(path: &Path) -> std::io::Result<String> {
    Ok(format!("{:032x}", xxh3_128(&fs::read(path)?)))
}
