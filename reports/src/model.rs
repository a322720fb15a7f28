//! What tables, charts and the page read: results sorted into what may be compared with what.
//!
//! 1. Results of the same machine, file system, build profile, memory limit and operations form one *setup*.
//! 2. Within a setup, cells of the same durability class, threads, records and value size form one
//!    [`Group`]. No table and no chart ever spans two groups.
//! 3. Within a group, one workload in one phase, in a closed loop or under one offered rate, is a [`Contest`]: there
//!    engines meet.
//! 4. In a contest, the trials of one engine are one [`Series`].
//!
//! Contests keep the order of the run, which is the order in which their first cells ended: the load of a data
//! set stands before the workloads that ran on it. Recoveries are kept apart, and those under a scenario form a
//! [`Study`] of their own, in which the number of records is what is varied.

use std::collections::BTreeMap;

use crate::format;
use crate::identity::{OfferedRate, durability_name, run_names};
use crate::result::{
    Cell, Durability, EngineInfo, Phase, RecoveryScenario, ResultFile, WorkloadInfo,
};
use crate::series::Series;

/// One or several results, sorted for reading.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) results: &'a [ResultFile],
    pub(crate) engines: Vec<Engine<'a>>,
    pub(crate) groups: Vec<Group<'a>>,
    pub(crate) studies: Vec<Study<'a>>,
}

/// An engine under the name by which the report calls it.
#[derive(Debug)]
pub(crate) struct Engine<'a> {
    /// The engine's name, with the run's where several results measured it.
    pub(crate) label: String,
    pub(crate) name: &'a str,
    /// Index of the result that it comes from.
    pub(crate) file: usize,
    pub(crate) info: Option<&'a EngineInfo>,
    pub(crate) role: Role,
    /// Which of the palette's styles it has in every chart.
    pub(crate) style: usize,
}

/// What an engine is in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Keeps data on disk and competes.
    Store,
    /// Keeps data in memory only: shown as the upper bound, never scored.
    UpperBound,
    /// Does nothing: shows what the harness costs, never shown beside engines.
    Harness,
}

impl Role {
    fn of(engine: &str) -> Self {
        match base_name(engine) {
            "noop" => Self::Harness,
            "memory" => Self::UpperBound,
            _ => Self::Store,
        }
    }
}

/// An engine's name without its variant.
pub(crate) fn base_name(engine: &str) -> &str {
    engine.split_once('@').map_or(engine, |(base, _)| base)
}

/// What must be equal for two cells to stand in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Conditions {
    /// Index of the setup.
    pub(crate) setup: usize,
    pub(crate) durability: Durability,
    pub(crate) threads: u32,
    pub(crate) records: u64,
    pub(crate) value_bytes: u64,
}

/// Cells that may be compared.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) conditions: Conditions,
    /// What tells this group from the others, for headings: empty where there is only one setup.
    pub(crate) setup_name: String,
    /// What tells this group's anchors from the others': empty where there is only one group.
    pub(crate) suffix: String,
    /// Loads and runs.
    pub(crate) contests: Vec<Contest<'a>>,
    /// Recovery experiments.
    pub(crate) recoveries: Vec<Contest<'a>>,
}

/// One workload in one phase: where engines meet.
#[derive(Debug)]
pub(crate) struct Contest<'a> {
    /// The workload, with the rate where one was offered: `ycsb-a at 50.0 k/s`.
    pub(crate) name: String,
    pub(crate) workload: &'a str,
    pub(crate) offered: Option<OfferedRate>,
    pub(crate) phase: Phase,
    pub(crate) info: Option<&'a WorkloadInfo>,
    /// In the report's order of engines; the harness's own engine is not among them.
    pub(crate) entries: Vec<Entry<'a>>,
}

/// An engine's trials in a contest.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// Index into [`Report::engines`].
    pub(crate) engine: usize,
    pub(crate) series: Series<'a>,
}

/// Recovery under scenarios and over sizes.
#[derive(Debug)]
pub(crate) struct Study<'a> {
    /// Records are what is varied: zero here.
    pub(crate) conditions: Conditions,
    pub(crate) setup_name: String,
    pub(crate) suffix: String,
    pub(crate) workload: &'a str,
    /// In the order of scenarios, then of engines, then of records.
    pub(crate) entries: Vec<StudyEntry<'a>>,
}

/// An engine's trials of one scenario at one size.
#[derive(Debug)]
pub(crate) struct StudyEntry<'a> {
    pub(crate) scenario: RecoveryScenario,
    /// Index into [`Report::engines`].
    pub(crate) engine: usize,
    pub(crate) records: u64,
    pub(crate) series: Series<'a>,
}

impl Study<'_> {
    /// For instance `class os · 1 thread · records of 1,000 B`.
    pub(crate) fn title(&self) -> String {
        let Conditions { durability, threads, value_bytes, .. } = self.conditions;
        let title = format!(
            "class {} · {} · records of {} B",
            durability_name(durability),
            format::plural(threads.into(), "thread"),
            format::count(value_bytes),
        );
        if self.setup_name.is_empty() { title } else { format!("{} · {title}", self.setup_name) }
    }

    /// The scenarios of the study, each once.
    pub(crate) fn scenarios(&self) -> Vec<RecoveryScenario> {
        let mut scenarios: Vec<_> = self.entries.iter().map(|entry| entry.scenario).collect();
        scenarios.dedup();
        scenarios
    }
}

impl<'a> Group<'a> {
    /// The load of the data set that a run worked on: the last one that began before it.
    pub(crate) fn load_of(&self, run: &Contest<'_>) -> Option<&Contest<'a>> {
        let same = |other: &Contest<'_>| other.name == run.name && other.phase == run.phase;
        let at = self.contests.iter().position(same)?;
        self.loads().filter(|(load, _)| *load < at).last().map(|(_, load)| load)
    }

    /// The loads with their places among the contests.
    pub(crate) fn loads(&self) -> impl Iterator<Item = (usize, &Contest<'a>)> {
        self.contests.iter().enumerate().filter(|(_, contest)| contest.phase == Phase::Load)
    }
}

impl Group<'_> {
    /// For instance `class os · 1 thread · 100,000 records of 1,000 B`.
    pub(crate) fn title(&self) -> String {
        let Conditions { durability, threads, records, value_bytes, .. } = self.conditions;
        let mut title = format!(
            "class {} · {} · {} of {} B",
            durability_name(durability),
            format::plural(threads.into(), "thread"),
            format::plural(records, "record"),
            format::count(value_bytes),
        );
        if !self.setup_name.is_empty() {
            title = format!("{} · {title}", self.setup_name);
        }
        title
    }

    /// What tells the group from the others, in few words.
    pub(crate) fn short_title(&self) -> String {
        let title = self.title();
        let mut words = title.chars();
        let first = words.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
        format!("{first}{}", words.as_str())
    }

    /// The engines that were to be measured in the group, in the report's order.
    pub(crate) fn engines(&self) -> Vec<usize> {
        let entries = self.contests.iter().flat_map(|contest| &contest.entries);
        let mut engines: Vec<usize> = entries.map(|entry| entry.engine).collect();
        engines.sort_unstable();
        engines.dedup();
        engines
    }

    /// The most trials that any cell of the group has.
    pub(crate) fn trials(&self) -> usize {
        self.contests
            .iter()
            .chain(&self.recoveries)
            .flat_map(|contest| &contest.entries)
            .map(|entry| entry.series.cells.len())
            .max()
            .unwrap_or(0)
    }
}

impl<'a> Report<'a> {
    /// Sorts `results`.
    pub(crate) fn new(results: &'a [ResultFile]) -> Self {
        let engines = engines(results);
        let setups = setups(results);
        let mut groups: BTreeMap<Conditions, Group<'a>> = BTreeMap::new();
        let mut studies: BTreeMap<(Conditions, &'a str), Study<'a>> = BTreeMap::new();
        for (file, result) in results.iter().enumerate() {
            for cell in &result.cells {
                let Some(engine) = engines.iter().position(|engine| engine.is_of(file, cell))
                else {
                    continue; // The harness's own engine.
                };
                let conditions = Conditions {
                    setup: setups[file],
                    durability: cell.durability,
                    threads: cell.threads,
                    records: cell.records,
                    value_bytes: cell.value_bytes,
                };
                if let Some(scenario) = cell.scenario {
                    let conditions = Conditions { records: 0, ..conditions };
                    studies
                        .entry((conditions, &cell.workload))
                        .or_insert_with(|| Study::new(conditions, &cell.workload))
                        .add(cell, scenario, engine);
                    continue;
                }
                groups
                    .entry(conditions)
                    .or_insert_with(|| Group::new(conditions))
                    .add(cell, engine, results);
            }
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        for group in &mut groups {
            group.sort();
        }
        // What was measured first, what was only recovered last.
        groups.sort_by_key(|group| group.contests.is_empty());
        name_groups(&mut groups, results, &setups);
        let mut studies: Vec<_> = studies.into_values().collect();
        for (at, study) in studies.iter_mut().enumerate() {
            study.sort();
            study.setup_name = setup_name(study.conditions.setup, results, &setups);
            study.suffix = if at == 0 { String::new() } else { format!("-{}", at + 1) };
        }
        Self { results, engines, groups, studies }
    }

    /// The engine of an entry.
    pub(crate) fn engine(&self, entry: &Entry<'_>) -> &Engine<'a> {
        &self.engines[entry.engine]
    }

    /// Engines that compete, in the order in which they were named.
    pub(crate) fn stores(&self) -> impl Iterator<Item = (usize, &Engine<'a>)> {
        self.engines.iter().enumerate().filter(|(_, engine)| engine.role == Role::Store)
    }
}

impl Engine<'_> {
    fn is_of(&self, file: usize, cell: &Cell) -> bool {
        self.file == file && self.name == cell.engine
    }
}

impl<'a> Group<'a> {
    fn new(conditions: Conditions) -> Self {
        Self {
            conditions,
            setup_name: String::new(),
            suffix: String::new(),
            contests: Vec::new(),
            recoveries: Vec::new(),
        }
    }

    fn add(&mut self, cell: &'a Cell, engine: usize, results: &'a [ResultFile]) {
        let contests =
            if cell.phase == Phase::Recover { &mut self.recoveries } else { &mut self.contests };
        let offered = OfferedRate::of(cell);
        let same = |contest: &Contest<'_>| {
            contest.workload == cell.workload
                && contest.phase == cell.phase
                && contest.offered == offered
        };
        let at = contests.iter().position(same).unwrap_or_else(|| {
            let name = match offered {
                Some(rate) => format!("{} at {}/s", cell.workload, format::rate(rate.ops_per_s())),
                None => cell.workload.clone(),
            };
            contests.push(Contest {
                name,
                workload: &cell.workload,
                offered,
                phase: cell.phase,
                info: workloads(results).find(|info| info.is_of(cell)),
                entries: Vec::new(),
            });
            contests.len() - 1
        });
        let entries = &mut contests[at].entries;
        if let Some(entry) = entries.iter_mut().find(|entry| entry.engine == engine) {
            entry.series.cells.push(cell);
        } else {
            entries.push(Entry { engine, series: Series { cells: vec![cell] } });
        }
    }

    fn sort(&mut self) {
        for contest in self.contests.iter_mut().chain(&mut self.recoveries) {
            contest.entries.sort_by_key(|entry| entry.engine);
            for entry in &mut contest.entries {
                entry.series.cells.sort_by_key(|cell| cell.trial);
            }
        }
    }
}

impl<'a> Study<'a> {
    fn new(conditions: Conditions, workload: &'a str) -> Self {
        let (setup_name, suffix) = (String::new(), String::new());
        Self { conditions, setup_name, suffix, workload, entries: Vec::new() }
    }

    fn add(&mut self, cell: &'a Cell, scenario: RecoveryScenario, engine: usize) {
        let same = |entry: &&mut StudyEntry<'_>| {
            (entry.scenario, entry.engine, entry.records) == (scenario, engine, cell.records)
        };
        if let Some(entry) = self.entries.iter_mut().find(same) {
            entry.series.cells.push(cell);
        } else {
            let series = Series { cells: vec![cell] };
            self.entries.push(StudyEntry { scenario, engine, records: cell.records, series });
        }
    }

    fn sort(&mut self) {
        self.entries.sort_by_key(|entry| (entry.scenario, entry.engine, entry.records));
        for entry in &mut self.entries {
            entry.series.cells.sort_by_key(|cell| cell.trial);
        }
    }
}

fn workloads(results: &[ResultFile]) -> impl Iterator<Item = &WorkloadInfo> {
    results.iter().flat_map(|result| &result.workloads)
}

/// Engines in the order of the files and, within one, of its list; those that only cells name come last.
fn engines(results: &[ResultFile]) -> Vec<Engine<'_>> {
    let mut engines: Vec<Engine<'_>> = Vec::new();
    for (file, result) in results.iter().enumerate() {
        let listed = result.engines.iter().map(|info| (info.name.as_str(), Some(info)));
        let used = result.cells.iter().map(|cell| (cell.engine.as_str(), None));
        for (name, info) in listed.chain(used) {
            let known = engines.iter().any(|engine| engine.file == file && engine.name == name);
            let role = Role::of(name);
            if known || role == Role::Harness {
                continue;
            }
            let style = engines.len();
            engines.push(Engine { label: name.to_owned(), name, file, info, role, style });
        }
    }
    let names: Vec<_> = engines.iter().map(|engine| engine.name).collect();
    let runs = run_names(results);
    for engine in &mut engines {
        if names.iter().filter(|name| **name == engine.name).count() > 1 {
            engine.label = format!("{} ({})", engine.name, runs[engine.file]);
        }
    }
    engines
}

/// The setup of each result: the index of the first result with which it may be compared.
fn setups(results: &[ResultFile]) -> Vec<usize> {
    let mut setups: Vec<usize> = Vec::with_capacity(results.len());
    for (file, result) in results.iter().enumerate() {
        let like = |earlier: &usize| same_setup(&results[*earlier], result);
        setups.push(
            (0..file).filter(|earlier| setups[*earlier] == *earlier).find(like).unwrap_or(file),
        );
    }
    setups
}

fn same_setup(a: &ResultFile, b: &ResultFile) -> bool {
    let machine = |result: &ResultFile| {
        let e = &result.environment;
        (
            [e.cpu_model.clone(), e.kernel.clone(), e.store_file_system.clone()],
            [e.page_cache.clone(), e.build_profile.clone()],
            e.store_device.clone(),
            (e.cpus, e.memory_bytes),
            (result.run.stores, result.run.memory_limit_bytes),
        )
    };
    let same_spec = |workload: &WorkloadInfo| {
        let digests = |other: &&WorkloadInfo| other.is_same(workload);
        b.workloads.iter().find(digests).is_none_or(|other| {
            other.spec_digest == workload.spec_digest
                && other.stream_digest == workload.stream_digest
        })
    };
    machine(a) == machine(b) && a.workloads.iter().all(same_spec)
}

/// Gives each group the shortest suffix that tells it from the others.
fn name_groups(groups: &mut [Group<'_>], results: &[ResultFile], setups: &[usize]) {
    let all: Vec<_> = groups.iter().map(|group| group.conditions).collect();
    let differs = |part: fn(&Conditions) -> u64| {
        all.iter().any(|conditions| part(conditions) != part(&all[0]))
    };
    let several_setups = differs(|c| c.setup as u64);
    let parts = [
        differs(|c| c.durability as u64),
        differs(|c| c.threads.into()),
        differs(|c| c.records),
        differs(|c| c.value_bytes),
    ];
    for group in groups {
        let c = group.conditions;
        let words = [
            durability_name(c.durability).to_owned(),
            format!("{}t", c.threads),
            format!("{}r", c.records),
            format!("{}b", c.value_bytes),
        ];
        for (word, _) in words.iter().zip(parts).filter(|(_, differs)| *differs) {
            group.suffix.push('-');
            group.suffix.push_str(word);
        }
        if several_setups {
            group.suffix = format!("-{}{}", c.setup + 1, group.suffix);
            group.setup_name = setup_name(c.setup, results, setups);
        }
    }
}

/// The runs of a setup; empty where there is no other setup.
fn setup_name(setup: usize, results: &[ResultFile], setups: &[usize]) -> String {
    if setups.iter().all(|other| *other == setup) {
        return String::new();
    }
    let runs = (0..results.len()).filter(|file| setups[*file] == setup);
    let runs: Vec<_> = runs.map(|file| results[file].run.id.as_str()).collect();
    format!("run {}", format::list(&runs))
}
