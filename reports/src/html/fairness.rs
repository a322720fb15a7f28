//! Fairness: what exactly was compared, with which options, under which promise.

use maud::{Markup, html};

use crate::model::{Report, Role};

pub(super) fn section(report: &Report<'_>) -> Markup {
    html! {
        section id="fairness" {
            h2 { "Fairness" }
            p.note {
                "All engines ran the same operations in the same durability class, each in a process of its own. "
                "The durability call is what an engine does before it acknowledges a write."
            }
            div.scroll tabindex="0" {
                table {
                    thead {
                        tr {
                            @for name in ["engine", "version", "what it is", "durability call", "not supported", "options"] {
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
                                        td.text style="min-width:8em" {
                                            @if info.unsupported.is_empty() { "–" } @else { (info.unsupported.join(", ")) }
                                        }
                                        td.text {
                                            @if info.options.is_empty() { "defaults" }
                                            @for (name, value) in &info.options { div { code { (name) " = " (value) } } }
                                        }
                                    }
                                    None => { td.text colspan="5" { "the result file says nothing about this engine" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
