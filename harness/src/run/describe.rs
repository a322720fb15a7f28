//! The result file before the first cell: which run this is, on what it runs, and what takes part.

use kvdyno_reports::{
    EngineInfo, HarnessInfo, PageCache, ResultFile, RunInfo, RunStatus, SCHEMA, WorkloadInfo,
};
use kvdyno_workloads::{Workload, WorkloadSpec};

use super::environment;
use super::plan::{Plan, lacking};
use super::stores::Stores;
use crate::cell::clock::{self, Clock};
use crate::failure::{Failure, Result};
use crate::registry::ResolvedEngine;

/// Operations of each stream that the digest covers.
const DIGEST_OPERATIONS: u64 = 1000;

/// The result file before the first cell.
pub(crate) fn describe(
    plan: &Plan<'_>,
    stores: &Stores,
    id: &str,
    started_at: String,
    command: Vec<String>,
) -> Result<ResultFile> {
    let settings = &plan.settings;
    let mut environment = environment::look(stores.root());
    environment.page_cache = page_caches(plan).into();
    let threads = plan.conditions.iter().map(|conditions| conditions.threads).max().unwrap_or(1);
    let mut warnings = plan.warnings.clone();
    warnings.extend(environment::warnings(&environment, threads, settings.trials));
    let quality = Clock::new().quality();
    Ok(ResultFile {
        schema: SCHEMA.into(),
        run: RunInfo {
            id: id.into(),
            suite: plan.suite.clone(),
            command,
            started_at,
            duration_s: 0.0,
            seed: settings.seed,
            trials: settings.trials,
            verify: settings.verify.name().into(),
            stores: settings.stores,
            memory_limit_bytes: settings.memory_limit_bytes,
            status: RunStatus::Running,
            cells_planned: plan.cells().len() as u64,
            warnings,
        },
        environment,
        harness: HarnessInfo {
            clock: clock::kind().into(),
            clock_read_ns: quality.read_ns,
            clock_step_ns: quality.step_ns,
            noop: Vec::new(),
        },
        engines: plan.engines.iter().map(|engine| engine_info(plan, engine)).collect(),
        workloads: plan
            .workloads()
            .map(|spec| workload_info(spec, settings.seed))
            .collect::<Result<_>>()?,
        cells: Vec::new(),
    })
}

/// Which states of the page cache the plan's cells begin with.
fn page_caches(plan: &Plan<'_>) -> &'static str {
    let of_runs = plan.workloads().next().map(|_| plan.settings.page_cache);
    let recovers = plan.data_sets.iter().any(|set| set.recovery);
    let of_recoveries =
        plan.scenes.scenarios.iter().filter(|_| recovers).map(|scenario| scenario.page_cache);
    let states: Vec<PageCache> = of_runs.into_iter().chain(of_recoveries).collect();
    match (states.contains(&PageCache::Warm), states.contains(&PageCache::Cold)) {
        (true, true) => "warm and cold",
        (false, true) => "cold",
        (_, false) => "warm",
    }
}

fn engine_info(plan: &Plan<'_>, engine: &ResolvedEngine<'_>) -> EngineInfo {
    let capabilities = engine.adapter.capabilities_with(&engine.options);
    let mut unsupported: Vec<String> = plan
        .workloads()
        .filter_map(|spec| lacking(&capabilities, spec))
        .map(|operation| operation.name().to_owned())
        .collect();
    unsupported.sort();
    unsupported.dedup();
    let mut classes: Vec<_> =
        plan.conditions.iter().map(|conditions| conditions.durability).collect();
    classes.dedup();
    let call = |durability| {
        engine.adapter.durability_call(durability).unwrap_or("not supported in this class")
    };
    let durability_call = match classes.as_slice() {
        [only] => call(*only).to_owned(),
        several => {
            let calls = several.iter().map(|class| format!("{class}: {}", call(*class)));
            calls.collect::<Vec<_>>().join("; ")
        }
    };
    EngineInfo {
        name: engine.label.clone(),
        version: engine.adapter.version().into(),
        description: engine.adapter.description().into(),
        options: engine.options.to_text(engine.adapter),
        durability_call,
        unsupported,
        durability_check: None,
    }
}

fn workload_info(spec: &WorkloadSpec, seed: u64) -> Result<WorkloadInfo> {
    let failed = |error: kvdyno_workloads::Error| Failure::usage(error.to_string());
    let workload = Workload::new(spec.clone(), seed).map_err(failed)?;
    let skew = workload.effective_skew();
    Ok(WorkloadInfo {
        name: spec.name.clone(),
        description: spec.description.clone(),
        records: spec.records,
        value_bytes: spec.value_bytes(),
        mix: spec
            .normalised_mix()
            .into_iter()
            .map(|(kind, share)| (kind.name().to_owned(), share))
            .collect(),
        streams: spec.streams,
        stream_digest: workload
            .digest(DIGEST_OPERATIONS)
            .unwrap_or_else(|| "none (shared insert counter)".into()),
        digest_operations: DIGEST_OPERATIONS,
        spec_digest: spec.digest(),
        spec: serde_json::to_value(spec).map_err(|error| {
            Failure::failed(format!("cannot describe workload {}: {error}", spec.name))
        })?,
        hottest_key_share: Some(skew.hottest_key_share),
        top_20_percent_share: Some(skew.top_20_percent_share),
    })
}
