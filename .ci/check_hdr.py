#!/usr/bin/env python3
"""Decodes every interval log and distribution of a run with the Python package hdrhistogram, which shares no code with
kvdyno, and compares what it finds with summary.csv: `check_hdr.py FOLDER`. Ends with status 1 at the first difference."""

import csv
import json
import math
import pathlib
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

IDENTITY = ["run", "suite", "workload", "engine", "durability", "threads", "records", "value_bytes", "trial", "phase",
            "offered_ops_per_s", "scenario"]
# What the histograms of nanoseconds were recorded with: up to an hour, three significant digits.
LOWEST, HIGHEST, DIGITS = 1, 3_600_000_000_000, 3
# The quantiles of summary.csv, and of how many samples one lies above each.
QUANTILES = {"p50": 2, "p90": 10, "p95": 20, "p99": 100, "p999": 1_000}


def fail(path, words):
    sys.exit(f"{path}: {words}")


def name(text):
    """Names as summary.csv writes them."""
    text = "".join(" " if ord(c) < 32 or 127 <= ord(c) < 160 else c for c in text).strip()
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text


def key(about):
    values = []
    for column in IDENTITY:
        value = about[column]
        if isinstance(value, float):
            value = repr(value).removesuffix(".0")
        values.append("" if value is None else name(str(value)))
    return tuple(values)


def value_above(histogram, one_in):
    """The largest value in the bucket of the sample of rank ⌈q·n⌉, which is the one that kvdyno tells. The package's own choice,
    ⌊q·n + ½⌋, can be the sample before it."""
    rank = max(1, math.ceil((1.0 - 1.0 / one_in) * histogram.get_total_count()))
    for step in histogram.get_recorded_iterator():
        if step.total_count_to_this_value >= rank:
            return histogram.get_highest_equivalent_value(step.value_iterated_to)
    return 0


def check_log(path, rows):
    lines = path.read_text().splitlines()
    if lines[0] != "#[Histogram log format version 1.3]" or not lines[4].startswith('"StartTimestamp"'):
        fail(path, "no version line or no legend")
    about = json.loads(lines[1].removeprefix("# kvdyno: "))
    row = rows[key(about), "all"]
    total = HdrHistogram(LOWEST, HIGHEST, DIGITS)
    reader = HistogramLogReader(str(path), HdrHistogram(LOWEST, HIGHEST, DIGITS))
    intervals = 0
    while (interval := reader.get_next_interval_histogram()) is not None:
        if interval.get_tag() != "ALL":
            fail(path, f"tag {interval.get_tag()}")
        total.add(interval)
        intervals += 1
    reader.close()
    found = {f"service_{name}_ns": value_above(total, one_in) for name, one_in in QUANTILES.items()}
    found |= {"operations": total.get_total_count(), "service_max_ns": total.get_max_value()}
    if intervals == 0 or intervals != len(lines) - 5:
        fail(path, f"{intervals} intervals of {len(lines) - 5} were decoded")
    for column, value in found.items():
        # The buckets are the same on both sides, so that nothing is lost between them.
        if row[column] and value != int(row[column]):
            fail(path, f"{column} is {value}; summary.csv says {row[column]}")
    return intervals


def check_distribution(path, rows):
    comments, values = {}, []
    for line in path.read_text().splitlines()[2:]:
        if line.startswith("#[kvdyno"):
            what, _, text = line[2:-1].partition(": ")
            comments[what.removeprefix("kvdyno").strip()] = text
        elif not line.startswith("#"):
            values.append([float(word) for word in line.split()])
    row = rows[key(json.loads(comments[""])), name(comments["operation"])]
    latency = comments["latency"].removesuffix(", in ms")
    at = lambda quantile: next(value[0] for value in values if value[1] >= quantile) * 1e6
    if values[-1][2] != int(row["operations"]) and latency == "service":
        fail(path, f"{values[-1][2]:.0f} samples; summary.csv says {row['operations']}")
    for column, value in [("p50", at(0.5)), ("max", values[-1][0] * 1e6)]:
        told = int(row[f"{latency}_{column}_ns"])
        if round(value) != told:
            fail(path, f"{latency} {column} is {value:.0f} ns; summary.csv says {told}")


def main():
    folder = pathlib.Path(sys.argv[1])
    with open(folder / "summary.csv", newline="") as file:
        table = [row for row in csv.DictReader(file) if row["row"] == "operation"]
    rows = {(tuple(row[column] for column in IDENTITY), row["operation"]): row for row in table}
    logs = sorted((folder / "latency").glob("*.hlog"))
    distributions = sorted((folder / "latency").glob("*.hgrm"))
    measured = [row for row in table if row["status"] == "ok" and row["operation"] == "all" and row["operations"]
                and row["engine"] != "noop"]
    if len(logs) != len(measured):
        fail(folder, f"{len(logs)} interval logs for {len(measured)} measured cells")
    intervals = sum(check_log(path, rows) for path in logs)
    for path in distributions:
        check_distribution(path, rows)
    print(f"{folder}: {intervals} intervals in {len(logs)} logs and {len(distributions)} distributions agree with summary.csv")


main()
