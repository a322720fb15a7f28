//! Where it was measured, what measuring cost, and how to repeat it.

use maud::{Markup, html};

use crate::format;
use crate::model::Report;
use crate::result::ResultFile;
use crate::series::Spread;
use crate::table::notes;

pub(super) fn section(report: &Report<'_>) -> Markup {
    html! {
        section id="environment" {
            h2 { "Environment" }
            @for result in report.results {
                @if report.results.len() > 1 { h3 { "Run " (result.run.id) } }
                (facts(result))
                (harness(result))
                (workloads(result))
            }
        }
        section id="repeat" {
            h2 { "Repeat it" }
            p { "The same seed gives the same operations, proven by the digests above; times vary with the machine." }
            @for result in report.results { pre { (command(&result.run.command)) } }
            p.note {
                "Beside this page lie the charts as PNG and " code { "summary.csv" }
                ", a flat table of every trial; in " code { "latency" } " the interval logs and distributions that HdrHistogram's tools read. " code { "result.json" }
                " holds everything measured, whole histograms included; " code { "kvdyno report" } " makes this page from it."
            }
        }
    }
}

fn facts(result: &ResultFile) -> Markup {
    let e = &result.environment;
    let run = &result.run;
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let facts = [
        ("Processor", format!("{}, {} usable", e.cpu_model, format::count(e.cpus.into()))),
        ("Memory", format::bytes(e.memory_bytes as f64)),
        ("Kernel", e.kernel.clone()),
        ("Virtual machine", e.hypervisor.clone().unwrap_or_else(|| "no".to_owned())),
        ("Frequency governor", known(&e.cpu_governor)),
        (
            "Stores on",
            format!(
                "{}, device {}",
                e.store_file_system,
                e.store_device.as_deref().unwrap_or("none")
            ),
        ),
        ("Page cache", page_cache(result)),
        ("First touch of memory", first_touch(result)),
        ("Memory limit", memory_limit(result)),
        ("Stores", stores(result)),
        (
            "The machine meanwhile",
            notes::machine_noise(result).unwrap_or_else(|| "not watched".to_owned()),
        ),
        (
            "Built",
            format!(
                "kvdyno {}, {}, {}, commit {}",
                e.kvdyno_version,
                e.build_profile,
                e.compiler,
                known(&e.commit)
            ),
        ),
        (
            "Run",
            format!(
                "{}, {} with {} a cell, seed {}",
                run.id,
                format::seconds(run.duration_s),
                format::plural(run.trials.into(), "trial"),
                run.seed
            ),
        ),
        ("Reads checked while timed", verify(result)),
        (
            "Clock",
            format!(
                "{}, {} a reading, step {}",
                result.harness.clock,
                format::latency(result.harness.clock_read_ns),
                format::latency(result.harness.clock_step_ns),
            ),
        ),
    ];
    html! {
        dl.facts { @for (name, value) in facts { dt { (name) } dd { (value) } } }
    }
}

fn page_cache(result: &ResultFile) -> String {
    let shares = result.cells.iter().filter_map(|c| c.measurement.as_ref()?.resident_share_before);
    let state = &result.environment.page_cache;
    match Spread::of(shares) {
        Some(share) => format!(
            "{state}; {} to {} % of a store's bytes were in memory when a phase began",
            format::figure(share.min * 100.0),
            format::figure(share.max * 100.0)
        ),
        None => format!("{state}; what was in memory was not looked at"),
    }
}

fn first_touch(result: &ResultFile) -> String {
    match result.environment.first_touch {
        Some(touch) => format!(
            "{} a page, {} when touched again; {} touched before the first cell",
            format::latency(touch.first_ns_per_page),
            format::latency(touch.again_ns_per_page),
            format::bytes(touch.bytes as f64)
        ),
        None => "memory was not touched beforehand".to_owned(),
    }
}

fn memory_limit(result: &ResultFile) -> String {
    match result.run.memory_limit_bytes {
        Some(limit) => {
            format!("{} a measured process, its page cache included", format::bytes(limit as f64))
        }
        None => "none: all of the machine's".to_owned(),
    }
}

fn stores(result: &ResultFile) -> String {
    notes::chain(result).unwrap_or_else(|| {
        "each workload that writes starts from a fresh copy of the loaded store".to_owned()
    })
}

/// The level of verification and what it costs.
fn verify(result: &ResultFile) -> String {
    let measurements = result.cells.iter().filter_map(|cell| cell.measurement.as_ref());
    let costs = measurements.filter_map(|m| m.check.check_ns_per_operation);
    match Spread::of(costs) {
        Some(cost) => format!(
            "{}, which costs {} an operation outside the timed section (median)",
            result.run.verify,
            format::latency(cost.median)
        ),
        None => result.run.verify.clone(),
    }
}

fn harness(result: &ResultFile) -> Markup {
    html! {
        h3 { "What measuring costs" }
        @if result.harness.noop.is_empty() {
            p.note { "The harness's own cost was not measured in this run." }
        } @else {
            p.note { "The whole loop (generate, call, time, record) on an engine that does nothing. It is part of every rate on this page; what is timed of it, two clock readings around a call, is part of every latency." }
            div.scroll tabindex="0" {
                table {
                    thead { tr { @for name in ["workload", "threads", "an operation", "of it timed", "anonymous memory"] { th scope="col" { (name) } } } }
                    tbody {
                        @for noop in &result.harness.noop {
                            tr {
                                th scope="row" { (noop.workload) }
                                td { (noop.threads) }
                                td { (format::latency(noop.ns_per_operation)) }
                                td { (noop.timed_section_ns.map_or_else(|| "n/a".to_owned(), format::latency)) }
                                td { (format::bytes(noop.rss_anon_bytes as f64)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn workloads(result: &ResultFile) -> Markup {
    html! {
        h3 style="margin-top:24px" { "Workloads" }
        div.scroll tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "workload" }
                        th.text scope="col" { "what it is" }
                        @for name in ["records", "value", "hottest key", "hottest fifth", "stream digest", "spec digest"] {
                            th scope="col" { (name) }
                        }
                    }
                }
                tbody {
                    @for workload in &result.workloads {
                        tr {
                            th scope="row" { (workload.name) }
                            td.text { (workload.description) }
                            td { (format::count(workload.records)) }
                            td { (format::count(workload.value_bytes)) " B" }
                            td { (share(workload.hottest_key_share)) }
                            td { (share(workload.top_20_percent_share)) }
                            td { code { (workload.stream_digest) } }
                            td { code { (workload.spec_digest) } }
                        }
                    }
                }
            }
        }
    }
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "n/a".to_owned(), |share| format!("{} %", format::figure(share * 100.0)))
}

/// A command line as a shell takes it.
fn command(words: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
    let quoted: Vec<String> = words
        .iter()
        .map(|word| {
            if !word.is_empty() && word.chars().all(plain) {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        })
        .collect();
    quoted.join(" ")
}
