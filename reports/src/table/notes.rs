//! The lines under the tables: what marks and columns mean, what the harness costs, what the machine did meanwhile.

use crate::format;
use crate::model::{Report, base_name};
use crate::result::{Measurement, Phase, ResultFile, RunStatus, StoreUse};
use crate::series::Spread;
use crate::table::one_line;

/// What stands in a chain where the store is emptied and loaded again.
const RELOAD: &str = "reload";

/// How far an unfinished run came: cells, and trials that are whole.
pub(crate) fn progress(result: &ResultFile) -> Option<String> {
    let run = &result.run;
    let word = match run.status {
        RunStatus::Complete => return None,
        RunStatus::Running => "unfinished",
        RunStatus::Interrupted => "interrupted",
    };
    let last = result.cells.iter().map(|cell| cell.trial).max().unwrap_or(0);
    Some(format!(
        "{word}: {} of {} planned cells finished, in trial {last} of {}",
        format::count(result.cells.len() as u64),
        format::count(run.cells_planned),
        run.trials,
    ))
}

/// How the stores were used and limited, where that is not the usual way.
pub(crate) fn conditions(result: &ResultFile) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(chain(result).map(|chain| one_line(&chain)));
    if let Some(limit) = result.run.memory_limit_bytes {
        notes.push(format!(
            "memory limit: {} a process, its page cache included",
            format::bytes(limit as f64)
        ));
    }
    if result.environment.page_cache != "warm" {
        notes.push(format!("page cache: {}", one_line(&result.environment.page_cache)));
    }
    notes
}

/// In which order the workloads follow one another on a store, where they do.
pub(crate) fn chain(result: &ResultFile) -> Option<String> {
    if result.run.stores != StoreUse::Chain {
        return None;
    }
    let mut names: Vec<&str> = Vec::new();
    let mut store = None;
    for workload in &result.workloads {
        let name = workload.name.as_str();
        if names.contains(&name) {
            continue; // The same in another size.
        }
        let loaded = load_before(result, name);
        if let (Some(before), Some(loaded)) = (store, loaded)
            && before != loaded
        {
            names.push(RELOAD);
        }
        store = loaded.or(store);
        names.push(name);
    }
    Some(format!("workloads follow one another on one store, in this order: {}", names.join(", ")))
}

/// The load of the store that a workload of a chain worked on: the last one that ended before it.
fn load_before<'a>(result: &'a ResultFile, workload: &str) -> Option<&'a str> {
    let cells = result.cells.iter().filter(|cell| base_name(&cell.engine) != "noop");
    let (loads, runs): (Vec<_>, Vec<_>) = cells
        .enumerate()
        .filter(|(_, cell)| cell.phase == Phase::Load || cell.workload == workload)
        .partition(|(_, cell)| cell.phase == Phase::Load);
    let (run, _) = runs.first()?;
    loads.iter().rfind(|(load, _)| load < run).map(|(_, load)| load.workload.as_str())
}

/// What the harness itself costs.
pub(crate) fn harness(result: &ResultFile) -> String {
    let harness = &result.harness;
    let range = |cost: Spread| {
        if cost.min < cost.max {
            format!("{} to {}", format::latency(cost.min), format::latency(cost.max))
        } else {
            format::latency(cost.max)
        }
    };
    let mut text = match Spread::of(harness.noop.iter().map(|noop| noop.ns_per_operation)) {
        Some(cost) => format!("harness: {} an operation", range(cost)),
        None => "harness: own cost not measured".to_owned(),
    };
    if let Some(timed) = Spread::of(harness.noop.iter().filter_map(|noop| noop.timed_section_ns)) {
        text.push_str(&format!(", {} of it timed", range(timed)));
    }
    text.push_str(&format!(
        " · clock {}: {} a reading, step {}",
        one_line(&harness.clock),
        format::latency(harness.clock_read_ns),
        format::latency(harness.clock_step_ns),
    ));
    let check = spread(result, |m| m.check.check_ns_per_operation);
    if let Some(check) = check {
        let verify = one_line(&result.run.verify);
        text.push_str(&format!(" · checking reads ({verify}): {} an operation", range(check)));
    }
    text
}

/// What the machine did that must not be taken for an engine's doing.
pub(crate) fn machine_noise(result: &ResultFile) -> Option<String> {
    let late = spread(result, |m| Some(m.machine?.hiccup_max_ns as f64));
    let steal = spread(result, |m| Some(m.machine?.steal_s? / m.duration_s.max(1e-9) * 100.0));
    let mut words = Vec::new();
    if let Some(late) = late {
        words.push(format!("a sleeping thread woke up to {} too late", format::latency(late.max)));
    }
    if let Some(steal) = steal {
        words.push(format!(
            "the hypervisor took up to {} % of a processor",
            format::figure(steal.max)
        ));
    }
    (!words.is_empty()).then(|| words.join(" · "))
}

/// The same, and what memory cost when it was first touched.
pub(crate) fn machine(result: &ResultFile) -> Option<String> {
    let touch = result.environment.first_touch.map(|touch| {
        format!(
            "a page of memory cost {} when first touched, {} again",
            format::latency(touch.first_ns_per_page),
            format::latency(touch.again_ns_per_page)
        )
    });
    let words: Vec<_> = machine_noise(result).into_iter().chain(touch).collect();
    (!words.is_empty()).then(|| format!("machine: {}", words.join(" · ")))
}

/// Durability classes that were found broken, or could not be checked.
pub(crate) fn durability(report: &Report<'_>) -> Vec<String> {
    let checks = report.engines.iter().filter_map(|engine| {
        let check = engine.info?.durability_check.as_ref()?;
        Some((engine, check))
    });
    checks
        .filter_map(|(engine, check)| {
            let words = match check.kept {
                Some(true) => return None,
                Some(false) => "durability class broken",
                None => "durability class could not be checked",
            };
            Some(format!("{}: {words}: {}", one_line(&engine.label), one_line(&check.note)))
        })
        .collect()
}

fn spread(result: &ResultFile, of: impl Fn(&Measurement) -> Option<f64>) -> Option<Spread> {
    let cells = result.cells.iter().filter(|cell| base_name(&cell.engine) != "noop");
    Spread::of(cells.filter_map(|cell| of(cell.measurement.as_ref()?)))
}
