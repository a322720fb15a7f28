//! Tables for tests, written as text.

use super::super::deadline::Expiring;
use super::super::table::TableMeta;
use super::super::version::PerLevel;

/// A table, written as `number:low-high*bytes`, and if it has deletions, `!` and their share of 100 entries, and if it matters, `@` and when it was created. At the end, if some of its entries expire: `~`,
/// how many, and when the first and the last of them do, with commas between them. In level 0 a greater
/// number is a younger table.
pub(crate) fn table(text: &str) -> TableMeta {
    let (text, expiring) = text.split_once('~').unwrap_or((text, "0,0,0"));
    let mut expiring = expiring.split(',').map(|number| number.parse().unwrap());
    let mut next = || expiring.next().unwrap();
    let expiring = Expiring { entries: next(), first_ms: next(), last_ms: next() };
    let (rest, created_ms) = text.split_once('@').unwrap_or((text, "0"));
    let (rest, deletions) = rest.split_once('!').unwrap_or((rest, "0"));
    let (number, rest) = rest.split_once(':').unwrap();
    let (low, rest) = rest.split_once('-').unwrap();
    let (high, bytes) = rest.split_once('*').unwrap();
    let number = number.parse().unwrap();
    TableMeta {
        number,
        level: 0,
        file_bytes: bytes.parse().unwrap(),
        entries: 100,
        deletions: deletions.parse().unwrap(),
        sequence_min: number.into(),
        sequence_max: number.into(),
        created_ms: created_ms.parse().unwrap(),
        range_deletions: 0,
        expiring,
        is_open: false,
        key_min: low.into(),
        key_max: high.into(),
        values: Vec::new(),
    }
}

/// The tables of each level, separated by spaces.
pub(crate) fn metas(levels: &[&str]) -> PerLevel<Vec<TableMeta>> {
    let mut metas: PerLevel<Vec<TableMeta>> = PerLevel::default();
    for (tables, text) in metas.iter_mut().zip(levels) {
        *tables = text.split_whitespace().map(table).collect();
    }
    metas
}
