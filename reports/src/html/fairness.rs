//! Fairness: what exactly was compared, with which options, under which promise.

use maud::{Markup, html};

use crate::format;
use crate::model::{Report, Role};
use crate::result::DurabilityCheck;

pub(super) fn section(report: &Report<'_>) -> Markup {
    html! {
        section id="fairness" {
            h2 { "Fairness" }
            p.note {
                "All engines ran the same operations in the same durability class, each in a process of its own. "
                "The durability call is what an engine does before it acknowledges a write; whether it keeps its class was checked from outside its process where that says so. "
                "Memory budgets (write buffers and caches) are among the options."
            }
            div.scroll tabindex="0" {
                table {
                    thead {
                        tr {
                            @for name in ["engine", "version", "what it is", "durability call", "class checked", "not supported", "options"] {
                                th scope="col" style="text-align:left" { (name) }
                            }
                        }
                    }
                    tbody {
                        @for (index, engine) in report.engines.iter().enumerate() {
                            tr {
                                th scope="row" {
                                    (super::engine(report, index))
                                    @if engine.role == Role::UpperBound { small { "upper bound, not scored" } }
                                }
                                @match engine.info {
                                    Some(info) => {
                                        td style="text-align:left" { (info.version) }
                                        td.text { (info.description) }
                                        td.text { (info.durability_call) }
                                        td.text style="min-width:12em" { (checked(info.durability_check.as_ref())) }
                                        td.text style="min-width:8em" {
                                            @if info.unsupported.is_empty() { "–" } @else { (info.unsupported.join(", ")) }
                                        }
                                        td.text {
                                            @if info.options.is_empty() { "defaults" }
                                            @for (name, value) in &info.options { div { code { (name) " = " (value) } } }
                                        }
                                    }
                                    None => { td.text colspan="6" { "the result file says nothing about this engine" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Whether the class was kept, by what was seen.
fn checked(check: Option<&DurabilityCheck>) -> Markup {
    let Some(check) = check else { return html! { span.none { "not checked" } } };
    let seen = [
        Some(format::plural(check.acknowledgements, "acknowledgement")),
        check.sync_calls.map(|calls| format::plural(calls, "sync call")),
        check.device_flushes.map(|flushes| format::plural(flushes, "device flush")),
    ];
    let seen: Vec<String> = seen.into_iter().flatten().collect();
    html! {
        @match check.kept {
            Some(true) => strong { "✓ kept" },
            Some(false) => strong.bad { "✗ broken" },
            None => strong { "could not be checked" },
        }
        ": " (check.note) ". "
        small { (check.method) ": " (format::list(&seen)) }
    }
}
