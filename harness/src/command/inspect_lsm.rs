//! `kvdyno inspect` of an LSM store: levels, tables, logs, what is damaged, records, and saving what can be read.

use std::path::Path;

use kvdyno_engines::lsm::{
    self, Damage, FileRole, LevelFigures, LogFigures, Options, Place, SalvageReport, StoredRecord,
    TableFigures, ValueFigures, VerifiedFile, VerifyReport,
};
use kvdyno_engines::storage::Disk;
use serde_json::{Value, json};

use super::inspect::{
    counted, damage_line, failure, lines_of, plain_table, print_lines, refuse_inside, time,
    value_text,
};
use crate::cli::InspectArguments;
use crate::failure::{ExitStatus, Result};

/// Bytes of a key that are printed in a table.
const KEY_BYTES_SHOWN: usize = 24;

/// Looks, and prints what is there.
pub(super) fn main(arguments: &InspectArguments) -> Result<ExitStatus> {
    let dir = arguments.dir.as_path();
    if arguments.records {
        return print_records(arguments);
    }
    if let Some(to) = &arguments.salvage_to {
        return salvage(dir, to, arguments.json);
    }
    let look = if arguments.verify { lsm::verify } else { lsm::inspect };
    let report = look(&Disk, dir).map_err(failure)?;
    if arguments.json {
        crate::print(&format!("{:#}", object(&report)))?;
    } else {
        crate::print(text(dir, &report).trim_end())?;
    }
    Ok(if report.is_complete() { ExitStatus::Ok } else { ExitStatus::WrongData })
}

/// Tables first, by level and least key; then logs, then files of values, then the others by name.
fn in_order(report: &VerifyReport) -> Vec<&VerifiedFile> {
    let mut files: Vec<_> = report.files.iter().collect();
    files.sort_by_key(|file| match (&file.table, &file.log) {
        (Some(table), _) => {
            let level = table.level.unwrap_or(usize::MAX);
            // In level 0 keys overlap; there the order is that of age.
            let key = if level == 0 { Vec::new() } else { table.key_min.clone() };
            (0, level, key, u64::MAX - table.sequence_max)
        }
        (None, Some(log)) => (1, 0, Vec::new(), log.number.into()),
        (None, None) => match &file.values {
            Some(values) => (2, 0, Vec::new(), values.number.into()),
            None => (3, 0, Vec::new(), 0),
        },
    });
    files
}

fn text(dir: &Path, report: &VerifyReport) -> String {
    let files = in_order(report);
    let header = [
        "file",
        "kind",
        "bytes",
        "level",
        "entries",
        "deletions",
        "ranges",
        "expiring",
        "filter",
        "blocks",
        "least key",
        "greatest key",
    ];
    let mut tables = plain_table(&header, 2..10);
    for (file, table) in files.iter().filter_map(|file| Some((file, file.table.as_ref()?))) {
        tables.add_row(table_row(file, table));
    }
    let header = [
        "file",
        "kind",
        "bytes",
        "used",
        "writes",
        "values",
        "expiring",
        "deletions",
        "ranges",
        "torn bytes",
    ];
    let mut logs = plain_table(&header, 2..10);
    for file in files.iter().filter(|file| file.table.is_none() && file.values.is_none()) {
        logs.add_row(other_row(file));
    }
    let header = ["file", "kind", "bytes", "live bytes", "values"];
    let mut values = plain_table(&header, 2..5);
    for (file, found) in files.iter().filter_map(|file| Some((file, file.values.as_ref()?))) {
        values.add_row(values_row(file, found));
    }
    let mut text = String::new();
    if report.tables().next().is_some() {
        text.push_str(&lines_of(&tables));
        text.push('\n');
        text.push_str(&levels(report));
        text.push('\n');
    }
    if report.value_files().next().is_some() {
        text.push_str(&lines_of(&values));
        text.push('\n');
    }
    text.push_str(&lines_of(&logs));
    let sum = |figure: fn(&TableFigures) -> u64| report.tables().map(figure).sum::<u64>();
    let logs = || report.files.iter().filter_map(|file| file.log.as_ref());
    text.push_str(&format!(
        "\nLSM tree in {}: {} of {} bytes with {}, {} of them deletions, and {}; {} with {}{}\n",
        dir.display(),
        counted(report.tables().count() as u64, "table", "tables"),
        sum(|table| table.file_bytes),
        counted(sum(|table| table.entries), "entry", "entries"),
        sum(|table| table.deletions),
        counted(sum(|table| table.range_deletions), "deleted range", "deleted ranges"),
        counted(logs().count() as u64, "log", "logs"),
        counted(logs().map(|log| log.writes).sum(), "write", "writes"),
        value_log(report),
    ));
    text.push_str(&verdict(dir, report));
    text
}

/// How large the value log is, if there is one.
fn value_log(report: &VerifyReport) -> String {
    let files = report.value_files().count() as u64;
    if files == 0 {
        return String::new();
    }
    let bytes: u64 = report.value_files().map(|file| file.file_bytes).sum();
    let live: Option<u64> = report.value_files().map(|file| file.live_bytes).sum();
    let live = live.map_or(String::new(), |live| format!(", {live} of them live"));
    format!("; {} of values with {bytes} bytes{live}", counted(files, "file", "files"))
}

fn values_row(file: &VerifiedFile, found: &ValueFigures) -> Vec<String> {
    let unknown = |figure: Option<u64>| figure.map_or_else(|| "–".to_owned(), |n| n.to_string());
    let mut row = vec![file.name.clone(), file.role.name().to_owned(), file.bytes.to_string()];
    row.extend([unknown(found.live_bytes), unknown(found.values)]);
    row
}

fn levels(report: &VerifyReport) -> String {
    let header = [
        "level",
        "tables",
        "bytes",
        "entries",
        "deletions",
        "ranges",
        "expiring",
        "value bytes",
        "filter bits per key",
    ];
    let mut table = plain_table(&header, 0..8);
    for (number, level) in report.levels().iter().enumerate() {
        let LevelFigures { tables, bytes, entries, deletions, range_deletions, .. } = level;
        let LevelFigures { expiring, filter_bytes, value_bytes, .. } = level;
        let bits = *filter_bytes as f64 * 8.0 / (*entries).max(1) as f64;
        let mut row = vec![number.to_string()];
        let figures = [tables, bytes, entries, deletions, range_deletions, expiring, value_bytes];
        row.extend(figures.map(u64::to_string));
        row.push(format!("{bits:.1}"));
        table.add_row(row);
    }
    lines_of(&table)
}

fn level_of(table: &TableFigures) -> String {
    table.level.map_or_else(|| "–".to_owned(), |level| level.to_string())
}

fn table_row(file: &VerifiedFile, table: &TableFigures) -> Vec<String> {
    let mut row = vec![file.name.clone(), file.role.name().to_owned(), file.bytes.to_string()];
    row.push(level_of(table));
    let figures = [table.entries, table.deletions, table.range_deletions, table.expiring];
    row.extend(figures.map(|n| n.to_string()));
    row.push(format!("{:.1}", table.filter_bits_per_key()));
    row.push(table.blocks.to_string());
    row.extend([&table.key_min, &table.key_max].map(|key| key_text(key)));
    row
}

fn key_text(key: &[u8]) -> String {
    let shown = &key[..key.len().min(KEY_BYTES_SHOWN)];
    let rest = if shown.len() < key.len() { "…" } else { "" };
    format!("\"{}\"{rest}", shown.escape_ascii())
}

fn other_row(file: &VerifiedFile) -> Vec<String> {
    let kind = match &file.log {
        Some(LogFigures { closed: true, .. }) => "closed log",
        _ => file.role.name(),
    };
    let mut row = vec![file.name.clone(), kind.to_owned(), file.bytes.to_string()];
    match &file.log {
        Some(log) => {
            let of_values = [log.used_bytes, log.writes, log.values, log.expiring];
            let others = [log.deletions, log.range_deletions, file.torn_bytes];
            row.extend(of_values.into_iter().chain(others).map(|n| n.to_string()));
        }
        None if file.role == FileRole::Manifest => {
            row.extend(std::iter::repeat_n(String::new(), 6));
            row.push(file.torn_bytes.to_string());
        }
        None => {}
    }
    row
}

/// What the look has come to: what was checked, what is damaged, what the next open drops, and what to do.
fn verdict(dir: &Path, report: &VerifyReport) -> String {
    let mut text = String::new();
    match (report.every_byte, report.is_complete()) {
        (true, true) => text.push_str("Every byte was checked: no damage\n"),
        (true, false) => text.push_str("Every byte was checked\n"),
        (false, true) => text.push_str("Not every byte was read: --verify does that\n"),
        (false, false) => {}
    }
    for file in report.files.iter().filter(|file| file.torn_bytes > 0) {
        text.push_str(&torn(file));
    }
    if !report.damage.is_empty() {
        text.push('\n');
    }
    for Damage { file, offset, reason } in &report.damage {
        text.push_str(&format!("{}\n", damage_line(file, *offset, reason)));
    }
    if !report.is_complete() {
        let places = match report.damage.len() {
            0 => String::new(),
            places => format!("Damaged places: {places}. "),
        };
        text.push_str(&format!(
            "\n{places}'kvdyno inspect {} --salvage-to DIR' writes what can still be read to a new store\n",
            dir.display()
        ));
    }
    text
}

/// What the next open cuts off.
fn torn(file: &VerifiedFile) -> String {
    let mut text = format!(
        "The next open cuts off {} of {}, of which nothing says that they had been synced",
        counted(file.torn_bytes, "torn byte", "torn bytes"),
        file.name
    );
    if let Some(log) = file.log.filter(|log| log.writes_behind_tear > 0) {
        let writes = counted(log.writes_behind_tear, "whole write follows", "whole writes follow");
        text.push_str(&format!(
            "; at least {writes} behind byte {}, and would be dropped: use --salvage-to first to keep them",
            log.used_bytes
        ));
    }
    text.push('\n');
    text
}

fn object(report: &VerifyReport) -> Value {
    let level = |level: &LevelFigures| {
        json!({
            "tables": level.tables,
            "bytes": level.bytes,
            "entries": level.entries,
            "deletions": level.deletions,
            "range_deletions": level.range_deletions,
            "expiring_values": level.expiring,
            "filter_bytes": level.filter_bytes,
            "value_bytes": level.value_bytes,
        })
    };
    let file = |file: &VerifiedFile| {
        json!({
            "name": file.name,
            "kind": file.role.name(),
            "bytes": file.bytes,
            "torn_bytes": file.torn_bytes,
            "table": file.table.as_ref().map(table_object),
            "log": file.log.as_ref().map(log_object),
            "values": file.values.as_ref().map(values_object),
        })
    };
    json!({
        "engine": "lsm",
        "every_byte": report.every_byte,
        "levels": report.levels().iter().map(level).collect::<Vec<_>>(),
        "files": in_order(report).into_iter().map(file).collect::<Vec<_>>(),
        "damage": report.damage.iter().map(damage_object).collect::<Vec<_>>(),
    })
}

fn table_object(table: &TableFigures) -> Value {
    json!({
        "number": table.number,
        "level": table.level,
        "entries": table.entries,
        "deletions": table.deletions,
        "range_deletions": table.range_deletions,
        "expiring_values": table.expiring,
        "expires_first_unix_ms": table.expires_first_ms,
        "expires_last_unix_ms": table.expires_last_ms,
        "key_min": table.key_min.escape_ascii().to_string(),
        "key_max": table.key_max.escape_ascii().to_string(),
        "sequence_min": table.sequence_min,
        "sequence_max": table.sequence_max,
        "blocks": table.blocks,
        "index_bytes": table.index_bytes,
        "filter_bytes": table.filter_bytes,
        "value_bytes": table.value_bytes,
    })
}

fn values_object(values: &ValueFigures) -> Value {
    json!({
        "number": values.number,
        "live_bytes": values.live_bytes,
        "values": values.values,
    })
}

fn log_object(log: &LogFigures) -> Value {
    json!({
        "number": log.number,
        "first_sequence": log.first_sequence,
        "closed": log.closed,
        "used_bytes": log.used_bytes,
        "writes": log.writes,
        "values": log.values,
        "expiring_values": log.expiring,
        "deletions": log.deletions,
        "range_deletions": log.range_deletions,
        "writes_behind_tear": log.writes_behind_tear,
    })
}

fn damage_object(Damage { file, offset, reason }: &Damage) -> Value {
    json!({ "file": file.display().to_string(), "offset": offset, "reason": reason })
}

fn print_records(arguments: &InspectArguments) -> Result<ExitStatus> {
    print_lines(|print| {
        let damage = lsm::records(&Disk, &arguments.dir, arguments.file, |record| {
            print(if arguments.json {
                record_object(record).to_string()
            } else {
                record_line(record)
            })
        })?;
        let line = |damage: &Damage| damage_line(&damage.file, damage.offset, &damage.reason);
        Ok(damage.iter().map(line).collect())
    })
}

fn kind_of(record: &StoredRecord<'_>) -> &'static str {
    match record {
        StoredRecord { value: Some(_), .. } => "value",
        StoredRecord { range_end: Some(_), .. } => "range",
        _ => "deletion",
    }
}

fn record_line(record: &StoredRecord<'_>) -> String {
    let place = match record.place {
        Place::Table { level: Some(level) } => format!("level {level}"),
        Place::Table { level: None } => "table".to_owned(),
        Place::Log { sequence: Some(sequence) } => format!("log {sequence}"),
        Place::Log { sequence: None } => "log".to_owned(),
        Place::Values => "value log".to_owned(),
    };
    let expires = record.expires_ms.map_or_else(|| "-".to_owned(), time);
    format!(
        "{:>10} {:>11} {place:14} {:8} {expires:24} \"{}\"{}{}",
        record.file,
        record.offset,
        kind_of(record),
        record.key.escape_ascii(),
        record.value.map_or_else(String::new, value_text),
        record
            .range_end
            .map_or_else(String::new, |end| { format!(" to \"{}\": deleted", end.escape_ascii()) }),
    )
}

fn record_object(record: &StoredRecord<'_>) -> Value {
    let (level, sequence) = match record.place {
        Place::Table { level } => (level, None),
        Place::Log { sequence } => (None, sequence),
        Place::Values => (None, None),
    };
    json!({
        "file": record.file,
        "offset": record.offset,
        "level": level,
        "sequence": sequence,
        "kind": kind_of(record),
        "key": record.key.escape_ascii().to_string(),
        "value": record.value.map(|value| value.escape_ascii().to_string()),
        "range_end": record.range_end.map(|end| end.escape_ascii().to_string()),
        "value_file": record.value_file,
        "expires_unix_ms": record.expires_ms,
    })
}

fn salvage(from: &Path, to: &Path, as_json: bool) -> Result<ExitStatus> {
    refuse_inside(from, to)?;
    let report = lsm::salvage(&Disk, from, to, Options::default()).map_err(failure)?;
    if as_json {
        crate::print(&format!("{:#}", salvage_object(&report)))?;
    } else {
        crate::print(salvage_text(to, &report).trim_end())?;
    }
    Ok(if report.is_complete() { ExitStatus::Ok } else { ExitStatus::WrongData })
}

fn salvage_text(to: &Path, report: &SalvageReport) -> String {
    let mut text = format!(
        "{}: {} from {} and {}; {} were not needed any more, {} bytes of torn tails were dropped\n",
        to.display(),
        counted(report.records_kept, "key", "keys"),
        counted(report.tables_read, "table", "tables"),
        counted(report.logs_read, "log", "logs"),
        counted(report.records_passed_over, "entry", "entries"),
        report.torn_bytes,
    );
    if let Some(lost) = lost(report) {
        text.push_str(&lost);
    }
    for Damage { file, offset, reason } in &report.dropped {
        text.push_str(&format!("dropped: {}\n", damage_line(file, *offset, reason)));
    }
    for Damage { file, offset, reason } in &report.made_anew {
        text.push_str(&format!(
            "made anew, nothing is lost: {}\n",
            damage_line(file, *offset, reason)
        ));
    }
    for file in &report.files_missing {
        text.push_str(&format!("missing: {}\n", file.display()));
    }
    for file in &report.files_ignored {
        text.push_str(&format!("not part of the store, left out: {}\n", file.display()));
    }
    if let Some(reason) = &report.manifest_lost {
        text.push_str(&format!(
            "the manifest cannot be read ({reason}): tables were taken by the level for which they were written, which is not always the order of age\n"
        ));
    }
    if report.deleted_may_return {
        text.push_str("Keys that had been deleted may be there again: what was lost may have held their deletions\n");
    }
    if report.older_may_return {
        text.push_str("Keys may have an older value than they had: what was lost may have held the newer one\n");
    }
    text
}

/// How many entries are lost, if any are.
fn lost(report: &SalvageReport) -> Option<String> {
    let entries = counted(report.entries_lost, "entry", "entries");
    match (report.entries_lost, report.more_may_be_lost) {
        (0, false) => None,
        (0, true) => Some("Entries are lost, and nothing tells how many\n".to_owned()),
        (_, false) => Some(format!("Lost: {entries} of tables, values or deletions\n")),
        (_, true) => Some(format!(
            "Lost: at least {entries} of tables, values or deletions; of some damaged places nothing tells how many they held\n"
        )),
    }
}

fn salvage_object(report: &SalvageReport) -> Value {
    let paths = |paths: &[std::path::PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.display().to_string()).collect()
    };
    json!({
        "tables_read": report.tables_read,
        "logs_read": report.logs_read,
        "records_kept": report.records_kept,
        "records_passed_over": report.records_passed_over,
        "entries_lost": report.entries_lost,
        "more_may_be_lost": report.more_may_be_lost,
        "dropped": report.dropped.iter().map(damage_object).collect::<Vec<_>>(),
        "made_anew": report.made_anew.iter().map(damage_object).collect::<Vec<_>>(),
        "torn_bytes": report.torn_bytes,
        "files_missing": paths(&report.files_missing),
        "files_ignored": paths(&report.files_ignored),
        "manifest_lost": report.manifest_lost,
        "deleted_may_return": report.deleted_may_return,
        "older_may_return": report.older_may_return,
    })
}
