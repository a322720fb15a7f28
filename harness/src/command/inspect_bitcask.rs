//! `kvdyno inspect` of a Bitcask: data files, what is live and dead in them, what is damaged, records, and saving what can be read.

use std::path::Path;

use kvdyno_engines::bitcask::{
    self, Damage, DataFigures, Options, SalvageReport, StoredRecord, VerifiedFile, VerifyReport,
};
use kvdyno_engines::storage::Disk;
use serde_json::{Value, json};

use super::inspect::{
    counted, damage_line, failure, lines_of, plain_table, print_lines, refuse_inside, time,
    value_text,
};
use crate::cli::InspectArguments;
use crate::failure::{ExitStatus, Result};

/// Looks, and prints what is there.
pub(super) fn main(arguments: &InspectArguments) -> Result<ExitStatus> {
    let dir = arguments.dir.as_path();
    if arguments.records {
        return print_records(arguments);
    }
    if let Some(to) = &arguments.salvage_to {
        return salvage(dir, to, arguments.json);
    }
    let look = if arguments.verify { bitcask::verify } else { bitcask::inspect };
    let report = look(&Disk, dir).map_err(failure)?;
    if arguments.json {
        crate::print(&format!("{:#}", object(&report)))?;
    } else {
        crate::print(text(dir, &report).trim_end())?;
    }
    // A store that is damaged has lost something that it promised to keep, and one that is torn in the middle is about to.
    Ok(if report.is_complete() { ExitStatus::Ok } else { ExitStatus::WrongData })
}

/// Data files first, oldest records first; then the others by name.
fn in_order(report: &VerifyReport) -> Vec<&VerifiedFile> {
    let mut files: Vec<_> = report.files.iter().collect();
    files.sort_by_key(|file| file.data.map_or(u64::MAX, |data| data.age_rank));
    files
}

fn text(dir: &Path, report: &VerifyReport) -> String {
    let header = [
        "file",
        "kind",
        "bytes",
        "records",
        "tombstones",
        "live",
        "live bytes",
        "dead bytes",
        "dead",
        "expiring",
        "compressed",
        "unchecked",
        "torn bytes",
        "hint",
    ];
    let mut table = plain_table(&header, 2..13);
    for file in in_order(report) {
        table.add_row(row(file));
    }
    let mut text = lines_of(&table);
    let sum = |figure: fn(&DataFigures) -> u64| -> u64 {
        report.files.iter().filter_map(|file| file.data.as_ref()).map(figure).sum()
    };
    let files = report.files.iter().filter(|file| file.data.is_some()).count();
    let (used, live, dead) =
        (sum(|data| data.used_bytes), sum(|data| data.live_bytes), sum(|data| data.dead_bytes));
    text.push_str(&format!(
        "\nBitcask in {}: {} keys; {}, {} with hints; {used} bytes: {live} live, {dead} dead, {} of tombstones",
        dir.display(),
        report.keys,
        data_files(files as u64),
        sum(|data| u64::from(data.has_hint)),
        sum(|data| data.tombstone_bytes),
    ));
    text.push('\n');
    text.push_str(&verdict(dir, report));
    text
}

/// What the look has come to: what was checked, what is damaged, what the next open drops, and what to do.
fn verdict(dir: &Path, report: &VerifyReport) -> String {
    let mut text = String::new();
    let is_well = report.damage.is_empty() && report.is_complete();
    let unchecked: u64 = report.files.iter().filter_map(|file| file.data?.unchecked_frames).sum();
    match (report.every_byte, unchecked) {
        (false, _) if is_well => text.push_str("Not every byte was read: --verify does that\n"),
        (false, _) => {}
        (true, 0) if is_well => text.push_str("Every byte was checked: no damage\n"),
        (true, 0) => text.push_str("Every byte was checked\n"),
        (true, _) => text.push_str(&format!(
            "Every byte was read{}. {} no checksum; their keys and values could not be checked\n",
            if is_well { ": no damage was seen" } else { "" },
            counted(unchecked, "record has", "records have"),
        )),
    }
    for data in report.files.iter().filter_map(|file| file.data.as_ref()) {
        text.push_str(&torn(data));
    }
    let of_kind = |is_rebuilt: bool| -> Vec<&Damage> {
        report.damage.iter().filter(|damage| damage.is_rebuilt == is_rebuilt).collect()
    };
    let (data, aids) = (of_kind(false), of_kind(true));
    if !report.damage.is_empty() {
        text.push('\n');
    }
    for Damage { file, offset, reason, .. } in data.iter().copied().chain(aids.iter().copied()) {
        text.push_str(&format!("{}\n", damage_line(file, *offset, reason)));
    }
    if !aids.is_empty() {
        let all = if data.is_empty() { "No data is damaged" } else { "No data is lost by these" };
        text.push_str(&format!(
            "\n{all}: {} only to open quickly. The store opens without, and makes anew what it then needs\n",
            counted(aids.len() as u64, "damaged file serves", "damaged files serve"),
        ));
    }
    let places =
        if data.is_empty() { String::new() } else { format!("Damaged places: {}. ", data.len()) };
    if !report.is_complete() {
        text.push_str(&format!(
            "\n{places}'kvdyno inspect {} --salvage-to DIR' writes what can still be read to a new store\n",
            dir.display()
        ));
    }
    text
}

/// What the next open cuts off; nothing for a file that is whole.
fn torn(data: &DataFigures) -> String {
    let DataFigures { id, used_bytes, torn_bytes, records_behind_tear, .. } = data;
    if *torn_bytes == 0 {
        return String::new();
    }
    let mut text = format!(
        "The next open cuts off {} of file {id}, of which nothing says that they had been synced",
        counted(*torn_bytes, "torn byte", "torn bytes")
    );
    if *records_behind_tear > 0 {
        let records = counted(*records_behind_tear, "whole record follows", "whole records follow");
        text.push_str(&format!(
            "; at least {records} behind byte {used_bytes}, and would be dropped: use --salvage-to first to keep them"
        ));
    }
    text.push('\n');
    text
}

fn data_files(count: u64) -> String {
    counted(count, "data file", "data files")
}

fn row(file: &VerifiedFile) -> Vec<String> {
    let mut row = vec![file.name.clone(), file.role.name().to_owned(), file.bytes.to_string()];
    let Some(data) = &file.data else { return row };
    let known = |figure: Option<u64>| figure.map_or_else(|| "–".to_owned(), |n| n.to_string());
    row.extend([data.records, data.tombstones, data.live_records].map(|n| n.to_string()));
    row.extend([data.live_bytes, data.dead_bytes].map(|n| n.to_string()));
    let records_bytes = data.live_bytes + data.dead_bytes + data.tombstone_bytes;
    row.push(format!("{:.0} %", data.dead_bytes as f64 / records_bytes.max(1) as f64 * 100.0));
    row.push(data.expiring_values.to_string());
    row.extend([known(data.compressed_values), known(data.unchecked_frames)]);
    row.push(data.torn_bytes.to_string());
    row.push(if data.has_hint { "yes" } else { "no" }.to_owned());
    row
}

fn object(report: &VerifyReport) -> Value {
    let file = |file: &VerifiedFile| {
        json!({
            "name": file.name,
            "kind": file.role.name(),
            "bytes": file.bytes,
            "data": file.data.map(|data| json!({
                "id": data.id,
                "used_bytes": data.used_bytes,
                "records": data.records,
                "values": data.values,
                "tombstones": data.tombstones,
                "tombstone_bytes": data.tombstone_bytes,
                "live_records": data.live_records,
                "live_bytes": data.live_bytes,
                "dead_bytes": data.dead_bytes,
                "expiring_values": data.expiring_values,
                "gone_by_unix_ms": data.gone_by_ms,
                "compressed_values": data.compressed_values,
                "unchecked_frames": data.unchecked_frames,
                "torn_bytes": data.torn_bytes,
                "records_behind_tear": data.records_behind_tear,
                "has_hint": data.has_hint,
            })),
        })
    };
    json!({
        "engine": "bitcask",
        "keys": report.keys,
        "every_byte": report.every_byte,
        "files": in_order(report).into_iter().map(file).collect::<Vec<_>>(),
        "damage": report.damage.iter().map(damage_object).collect::<Vec<_>>(),
    })
}

fn damage_object(Damage { file, offset, reason, is_rebuilt }: &Damage) -> Value {
    let file = file.display().to_string();
    json!({ "file": file, "offset": offset, "reason": reason, "is_rebuilt": is_rebuilt })
}

/// Prints every record. What cannot be read goes to standard error, so that what is printed stays records only.
fn print_records(arguments: &InspectArguments) -> Result<ExitStatus> {
    print_lines(|print| {
        let damage = bitcask::records(&Disk, &arguments.dir, arguments.file, |record| {
            print(if arguments.json {
                record_object(record).to_string()
            } else {
                record_line(record)
            })
        })?;
        Ok(damage
            .iter()
            .map(|damage| damage_line(&damage.file, damage.offset, &damage.reason))
            .collect())
    })
}

fn kind_of(record: &StoredRecord<'_>) -> &'static str {
    match (record.value, record.compressed) {
        (None, _) => "tombstone",
        (Some(_), true) => "compressed",
        (Some(_), false) => "value",
    }
}

fn record_line(record: &StoredRecord<'_>) -> String {
    let expires = record.expires_ms.map_or_else(|| "-".to_owned(), time);
    let batch = if record.continues { "+" } else { "" };
    let key = record.key.escape_ascii();
    let mut line = format!(
        "{:>10} {:>11} {:11} {expires:24} \"{key}\"",
        record.file,
        record.offset,
        format!("{}{batch}", kind_of(record)),
    );
    if let Some(value) = record.value {
        line.push_str(&value_text(value));
    }
    line
}

fn record_object(record: &StoredRecord<'_>) -> Value {
    json!({
        "file": record.file,
        "offset": record.offset,
        "frame_bytes": record.frame_bytes,
        "kind": kind_of(record),
        "batch_goes_on": record.continues,
        "expires_unix_ms": record.expires_ms,
        "key": record.key.escape_ascii().to_string(),
        "value": record.value.map(|value| value.escape_ascii().to_string()),
    })
}

fn salvage(from: &Path, to: &Path, as_json: bool) -> Result<ExitStatus> {
    refuse_inside(from, to)?;
    let report = bitcask::salvage(&Disk, from, to, Options::default()).map_err(failure)?;
    if as_json {
        crate::print(&format!("{:#}", salvage_object(&report)))?;
    } else {
        crate::print(salvage_text(to, &report).trim_end())?;
    }
    Ok(if report.is_complete() { ExitStatus::Ok } else { ExitStatus::WrongData })
}

fn salvage_text(to: &Path, report: &SalvageReport) -> String {
    let mut text = format!(
        "{}: {} keys from {}; {} records were not needed any more, {} bytes of torn tails and {} records of batches without an end were dropped\n",
        to.display(),
        report.records_kept,
        data_files(report.files_read),
        report.records_passed_over,
        report.torn_bytes,
        report.batch_records_dropped,
    );
    for dropped in &report.dropped {
        text.push_str(&format!(
            "dropped: {} byte {}, {} bytes{}: {}\n",
            dropped.file.display(),
            dropped.offset,
            dropped.bytes,
            dropped.records.map_or_else(String::new, |records| format!(
                ", {}",
                counted(records, "record", "records")
            )),
            dropped.reason
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
            "the manifest cannot be read ({reason}): the data files were taken by their numbers, which is not always the order of age\n"
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

fn salvage_object(report: &SalvageReport) -> Value {
    let paths = |paths: &[std::path::PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.display().to_string()).collect()
    };
    let dropped = |dropped: &bitcask::Dropped| {
        json!({
            "file": dropped.file.display().to_string(),
            "offset": dropped.offset,
            "bytes": dropped.bytes,
            "records": dropped.records,
            "reason": dropped.reason,
        })
    };
    json!({
        "files_read": report.files_read,
        "records_kept": report.records_kept,
        "records_passed_over": report.records_passed_over,
        "batch_records_dropped": report.batch_records_dropped,
        "dropped": report.dropped.iter().map(dropped).collect::<Vec<_>>(),
        "torn_bytes": report.torn_bytes,
        "files_missing": paths(&report.files_missing),
        "files_ignored": paths(&report.files_ignored),
        "manifest_lost": report.manifest_lost,
        "deleted_may_return": report.deleted_may_return,
        "older_may_return": report.older_may_return,
    })
}
