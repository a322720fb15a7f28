//! A chart in the page: title, finding, drawing, how to read it, and the numbers behind it.

use maud::{Markup, PreEscaped, html};

use crate::chart::Chart;
use crate::error::Result;

/// Rows of the table behind a chart at most; all of them are in the result file.
const ROWS_MAX: usize = 200;

pub(super) fn figure(chart: &Chart) -> Result<Markup> {
    let svg = chart.svg()?;
    let name = &chart.name;
    let (title, finding) = (format!("{name}-title"), format!("{name}-finding"));
    Ok(html! {
        div.chart id=(name) {
            h3 id=(title) { (chart.title) }
            p id=(finding) { (chart.finding) }
            figure role="img" aria-labelledby=(format!("{title} {finding}")) { (PreEscaped(svg)) }
            p.note { (chart.caption) }
            (numbers(chart))
        }
    })
}

fn numbers(chart: &Chart) -> Markup {
    html! {
        details {
            summary { "The numbers" }
            div.scroll tabindex="0" {
                table {
                    thead { tr { @for name in &chart.header { th scope="col" { (name) } } } }
                    tbody {
                        @for row in chart.rows.iter().take(ROWS_MAX) {
                            tr {
                                @for (at, cell) in row.iter().enumerate() {
                                    @if at < chart.name_columns {
                                        th scope="row" { (cell) }
                                    } @else {
                                        td { (cell) }
                                    }
                                }
                                @if row.len() < chart.header.len() {
                                    td colspan=(chart.header.len() - row.len()) {}
                                }
                            }
                        }
                    }
                }
            }
            @if chart.rows.len() > ROWS_MAX {
                p.note { "The first " (ROWS_MAX) " of " (chart.rows.len()) " rows; all of them are in the result file." }
            }
        }
    }
}
