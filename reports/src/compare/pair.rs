//! Matching the cells of two results and computing what changed.

use std::collections::BTreeMap;

use super::{BrokenCell, Change, CompareOptions, Comparison, Direction, Metric};
use crate::error::{Error, Result};
use crate::format;
use crate::identity::{CellKey, durability_name, phase_name, scenario_name};
use crate::model::base_name;
use crate::result::{Arrivals, Cell, ResultFile, RunInfo, StoreUse, WorkloadInfo};
use crate::series::{Outcome, Series, Spread};

/// What stands in place of a digest of operations that depend on timing.
const NO_DIGEST: &str = "none";
/// Changes smaller than this print as zero.
const SAME_PERCENT: f64 = 0.05;

type SeriesByKey<'a> = BTreeMap<(usize, CellKey), Series<'a>>;

pub(super) fn compare(
    base: &ResultFile,
    head: &ResultFile,
    options: &CompareOptions,
) -> Result<Comparison> {
    check_specs(base, head)?;
    let order = |cell: &Cell| position(base, head, cell);
    let (base_series, head_series) = (series(base, order), series(head, order));
    check_shared(base, head, &base_series, &head_series)?;

    let mut comparison = Comparison {
        options: *options,
        base: base.run.id.clone(),
        head: head.run.id.clone(),
        changes: Vec::new(),
        broken: Vec::new(),
        only_in_base: missing_from(&head_series, &base_series),
        only_in_head: missing_from(&base_series, &head_series),
        notes: notes(base, head),
    };
    for (key, head) in &head_series {
        let base = base_series.get(key);
        let outcome = head.outcome();
        if is_broken(outcome, base) {
            comparison.broken.push(BrokenCell {
                cell: key.1.clone(),
                outcome: outcome.words().to_owned(),
                reason: head.reason().map(str::to_owned),
            });
        } else if let Some(base) = base {
            changes(&key.1, base, head, options, &mut comparison.changes);
        }
    }
    Ok(comparison)
}

/// Wrong data is always a regression; not running is one where base ran. What the user stopped is not.
fn is_broken(head: Outcome, base: Option<&Series<'_>>) -> bool {
    let ran = base.is_some_and(|base| base.outcome() == Outcome::Measured);
    match head {
        Outcome::Measured | Outcome::Interrupted => false,
        Outcome::WrongData | Outcome::LostWrite => true,
        Outcome::Unsupported | Outcome::Failed | Outcome::Timeout => ran,
    }
}

fn changes(
    cell: &CellKey,
    base: &Series<'_>,
    head: &Series<'_>,
    options: &CompareOptions,
    changes: &mut Vec<Change>,
) {
    let mut add = |metric, operation: &str, base: Option<Spread>, head: Option<Spread>| {
        if let (Some(base), Some(head)) = (base, head) {
            changes.push(change(cell, metric, operation, base, head, options.threshold_percent));
        }
    };
    let mut whole = |metric, spread: &dyn Fn(&Series<'_>) -> Option<Spread>| {
        add(metric, "all", spread(base), spread(head));
    };
    whole(Metric::Throughput, &|s| s.throughput());
    whole(Metric::ServiceP50, &|s| s.service("all", |l| Some(l.p50_ns)));
    whole(Metric::ServiceP99, &|s| s.service("all", |l| l.p99_ns));
    whole(Metric::ResponseP50, &|s| s.response("all", |l| Some(l.p50_ns)));
    whole(Metric::ResponseP99, &|s| s.response("all", |l| l.p99_ns));
    whole(Metric::HighestRate, &|s| s.spread(|m| m.slo.as_ref()?.highest_ops_per_s));
    whole(Metric::WriteAmplification, &|s| s.spread(|m| m.amplification.write_settled));
    whole(Metric::SpaceAmplification, &|s| s.spread(|m| m.amplification.space_settled));
    whole(Metric::Memory, &|s| s.spread(|m| m.resources.memory_bytes.map(|b| b as f64)));
    whole(Metric::CpuPerOperation, &|s| s.spread(|m| Some(m.resources.cpu_us_per_op)));
    whole(Metric::RecoveryOpen, &|s| s.recovery(|r| r.open_ms));
    whole(Metric::RecoveryTo90Percent, &|s| s.recovered(|r| r.to_90_percent_ms));
    let kinds = base.kinds();
    if options.per_operation && kinds.len() > 1 {
        for kind in kinds {
            let p50 = |s: &Series<'_>| s.service(kind, |l| Some(l.p50_ns));
            let p99 = |s: &Series<'_>| s.service(kind, |l| l.p99_ns);
            add(Metric::ServiceP50, kind, p50(base), p50(head));
            add(Metric::ServiceP99, kind, p99(base), p99(head));
        }
    }
}

fn change(
    cell: &CellKey,
    metric: Metric,
    operation: &str,
    base: Spread,
    head: Spread,
    threshold_percent: f64,
) -> Change {
    let change_percent = (base.median != 0.0).then(|| (head.median / base.median - 1.0) * 100.0);
    let grew = head.median > base.median;
    let direction = match change_percent {
        Some(percent) if percent.abs() < SAME_PERCENT => Direction::Same,
        None if !grew => Direction::Same,
        _ if grew == metric.higher_is_better() => Direction::Better,
        _ => Direction::Worse,
    };
    Change {
        cell: cell.clone(),
        metric,
        operation: operation.to_owned(),
        base: base.median,
        head: head.median,
        base_trials: base.trials,
        head_trials: head.trials,
        change_percent,
        direction,
        beyond_threshold: change_percent.is_some_and(|percent| percent.abs() > threshold_percent),
    }
}

/// The cells of a result by key, in the order in which `position` puts them.
fn series(result: &ResultFile, position: impl Fn(&Cell) -> usize) -> SeriesByKey<'_> {
    let mut series = SeriesByKey::new();
    for cell in result.cells.iter().filter(|cell| base_name(&cell.engine) != "noop") {
        series.entry((position(cell), CellKey::of(cell))).or_default().cells.push(cell);
    }
    series
}

/// Where the cell's workload stands in the lists of both results; loads, which no list holds, come first.
fn position(base: &ResultFile, head: &ResultFile, cell: &Cell) -> usize {
    base.workloads
        .iter()
        .chain(&head.workloads)
        .position(|workload| workload.is_of(cell))
        .map_or(0, |at| at + 1)
}

fn missing_from(these: &SeriesByKey<'_>, those: &SeriesByKey<'_>) -> Vec<CellKey> {
    those.keys().filter(|key| !these.contains_key(*key)).map(|(_, key)| key.clone()).collect()
}

fn check_specs(base: &ResultFile, head: &ResultFile) -> Result<()> {
    for workload in &base.workloads {
        let same_name = head.workloads.iter().find(|other| other.is_same(workload));
        if let Some(other) = same_name.filter(|other| other.spec_digest != workload.spec_digest) {
            return Err(Error::SpecDiffers {
                workload: workload.name.clone(),
                base: workload.spec_digest.clone(),
                head: other.spec_digest.clone(),
            });
        }
        let same_name = head.workloads.iter().find(|other| other.is_same(workload));
        let covered = |info: &WorkloadInfo| (info.stream_digest.clone(), info.digest_operations);
        // Operations that depend on timing have no digest: then the seed is all that can be compared.
        let differs = |other: &WorkloadInfo| {
            let unknown = other.stream_digest.starts_with(NO_DIGEST);
            covered(other) != covered(workload) || (unknown && base.run.seed != head.run.seed)
        };
        if let Some(other) = same_name.filter(|other| differs(other)) {
            let told = |info: &WorkloadInfo, run: &RunInfo| {
                format!("stream digest {} with seed {}", info.stream_digest, run.seed)
            };
            return Err(Error::OperationsDiffer {
                workload: workload.name.clone(),
                base: told(workload, &base.run),
                head: told(other, &head.run),
            });
        }
    }
    Ok(())
}

fn check_shared(
    base: &ResultFile,
    head: &ResultFile,
    base_series: &SeriesByKey<'_>,
    head_series: &SeriesByKey<'_>,
) -> Result<()> {
    if base_series.keys().any(|key| head_series.contains_key(key)) {
        return Ok(());
    }
    for (_, a) in base_series.keys() {
        let same_place =
            |b: &&CellKey| (&a.engine, &a.workload, a.phase) == (&b.engine, &b.workload, b.phase);
        if let Some(b) = head_series.keys().map(|(_, key)| key).find(same_place) {
            return Err(conditions_differ(a, b));
        }
    }
    Err(Error::NothingShared { base: contents(base), head: contents(head) })
}

fn conditions_differ(base: &CellKey, head: &CellKey) -> Error {
    let (what, of): (_, fn(&CellKey) -> String) = if base.durability != head.durability {
        ("durability class", |key| durability_name(key.durability).to_owned())
    } else if base.value_bytes != head.value_bytes {
        ("value bytes", |key| format::count(key.value_bytes))
    } else if base.records != head.records {
        ("records", |key| format::count(key.records))
    } else if base.offered != head.offered {
        ("offered rate", |key| match key.offered {
            Some(rate) => format!("{} ops/s", format::rate(rate.ops_per_s())),
            None => "a closed loop".to_owned(),
        })
    } else if base.scenario != head.scenario {
        ("recovery scenario", |key| key.scenario.map_or_else(|| "none".to_owned(), scenario_name))
    } else {
        ("threads", |key| key.threads.to_string())
    };
    Error::ConditionsDiffer {
        cell: format!("{} {} {}", base.engine, base.workload, phase_name(base.phase)),
        what,
        base: of(base),
        head: of(head),
    }
}

/// The engines and workloads of a result, for a message.
fn contents(result: &ResultFile) -> String {
    let names = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.dedup();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    };
    format!(
        "{} on {}",
        names(result.cells.iter().map(|cell| cell.engine.as_str()).collect()),
        names(result.cells.iter().map(|cell| cell.workload.as_str()).collect()),
    )
}

fn stores_name(stores: StoreUse) -> &'static str {
    match stores {
        StoreUse::Copies => "a copy for each workload",
        StoreUse::Chain => "workloads follow one another on one store",
    }
}

/// How the arrivals of the result's open loops are spaced.
fn arrivals(result: &ResultFile) -> &'static str {
    let mut loops = result.cells.iter().filter_map(|cell| cell.measurement.as_ref()?.open_loop);
    match loops.next().map(|open| open.arrivals) {
        None => "none",
        Some(Arrivals::Constant) => "constant",
        Some(Arrivals::Poisson) => "poisson",
    }
}

fn notes(base: &ResultFile, head: &ResultFile) -> Vec<String> {
    let mut notes = Vec::new();
    let mut differs = |what: &str, a: &str, b: &str| {
        if a != b {
            notes.push(format!("{what} differs: {a} in base, {b} in head"));
        }
    };
    let (a, b) = (&base.environment, &head.environment);
    differs("the processor", &a.cpu_model, &b.cpu_model);
    differs("the number of processors", &a.cpus.to_string(), &b.cpus.to_string());
    differs("the kernel", &a.kernel, &b.kernel);
    differs("the file system", &a.store_file_system, &b.store_file_system);
    differs("the page cache's state", &a.page_cache, &b.page_cache);
    differs("the compiler", &a.compiler, &b.compiler);
    differs("the build profile", &a.build_profile, &b.build_profile);
    differs("the seed", &base.run.seed.to_string(), &head.run.seed.to_string());
    differs("the check of reads", &base.run.verify, &head.run.verify);
    let limit = |run: &RunInfo| {
        run.memory_limit_bytes
            .map_or_else(|| "none".to_owned(), |limit| format::bytes(limit as f64))
    };
    differs("the memory limit", &limit(&base.run), &limit(&head.run));
    differs("how stores are used", stores_name(base.run.stores), stores_name(head.run.stores));
    differs("the spacing of arrivals", arrivals(base), arrivals(head));
    let trials = base.run.trials.min(head.run.trials);
    if trials < 3 {
        notes.push(format!(
            "{} a cell: too few to tell a change from noise",
            format::plural(trials.into(), "trial")
        ));
    }
    notes
}
