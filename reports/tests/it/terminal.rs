//! The table at the end of a run.

use kvdyno_reports::{Cell, CellStatus, ResultFile, RunStatus, TerminalOptions, terminal_table};

use crate::sample;

fn plain(result: &ResultFile, width: u16) -> String {
    terminal_table(result, TerminalOptions { color: false, width })
}

#[test]
fn table_fits_the_terminal() {
    for width in [72, 80, 100, 120, 160] {
        let text = plain(&sample::quick(), width);
        let figures = text.lines().filter(|line| line.contains(" µs "));
        let widest = figures.map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= usize::from(width), "{widest} columns at {width}");
    }
}

#[test]
fn table_says_what_has_no_figures_in_words() {
    let text = plain(&sample::quick(), 120);
    for words in [
        "class os · 1 thread · 100,000 records of 1,000 B, medians over 3 trials",
        "ycsb-a · 50 % read, 50 % update",
        "bitcask: not supported (no range scans)",
        "fjall: failed (the child process ended with signal 6 (SIGABRT))",
        "memory (no store)",
        "harness: 68 ns to 97 ns an operation",
        "warning: 2 processors",
        "296,295 of 296,295",
        "recovery of ycsb-a · killed while writing",
        "◀ fastest · ± half the trials' range · write and space amplification after settling",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn colors_only_add() {
    let result = sample::quick();
    let colored = terminal_table(&result, TerminalOptions { color: true, width: 120 });
    let mut bare = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        bare.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    bare.push_str(rest);
    assert_eq!(bare, plain(&result, 120));
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let mut result = sample::quick();
    for cell in &mut result.cells {
        if cell.engine == "lsm" {
            cell.engine = "l\u{1b}[31msm\n".to_owned();
        }
        cell.error = Some("a\u{7}b".to_owned());
    }
    result.run.warnings.push("\u{1b}[2J".to_owned());
    let text = plain(&result, 120);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn poor_results_read_well() {
    assert!(plain(&sample::without_cells(), 100).contains("nothing was measured"));
    let mut failed = sample::quick();
    for cell in &mut failed.cells {
        (cell.status, cell.measurement, cell.recovery) = (CellStatus::Timeout, None, None);
    }
    assert!(plain(&failed, 100).contains("lsm: timed out"));
}

#[test]
fn columns_for_which_there_is_no_room_are_counted() {
    assert!(
        plain(&sample::quick(), 80)
            .contains("columns left out: widen the terminal, or see summary.csv")
    );
    assert!(!plain(&sample::quick(), 200).contains("left out"));
}

#[test]
fn unfinished_run_says_how_far_it_came() {
    let mut result = sample::quick();
    result.run.status = RunStatus::Interrupted;
    result.run.cells_planned = 117;
    result.cells.retain(|cell| cell.trial == 1);
    let text = plain(&result, 120);
    let progress = format!(
        "interrupted: {} of 117 planned cells finished, in trial 1 of 3",
        result.cells.len()
    );
    assert!(text.starts_with(&progress), "{text:.200}");
    assert!(text.contains("1,000 B, 1 trial of 3 planned"));
    assert!(!plain(&sample::quick(), 120).contains("planned"));
}

#[test]
fn response_times_come_first_under_a_rate() {
    let text = plain(&sample::at_rate(), 120);
    let block = text.split("ycsb-a at 300 k/s").nth(1).unwrap();
    let heading = block.lines().nth(1).unwrap();
    let place = |word: &str| heading.find(word).unwrap_or_else(|| panic!("no {word} in {heading}"));
    assert!(place("rate") < place("resp p99") && place("resp p99") < place("serv p99"));
    assert!(block.contains("target not reached"));
    assert!(heading.contains("never done"), "{heading}");
    let text = plain(&sample::at_rate(), 300);
    assert!(text.contains("lowest p99 response time at the rate"));
    assert!(text.contains("resp: from the intended start · serv: from the call"));
    assert!(text.contains("memory limit: 4.29 GB a process"));
}

#[test]
fn the_order_of_a_chain_tells_where_the_store_was_loaded_again() {
    let mut result = sample::quick();
    result.run.stores = kvdyno_reports::StoreUse::Chain;
    let order = "workloads follow one another on one store, in this order: ";
    assert!(plain(&result, 300).contains(&format!("{order}ycsb-a, ycsb-b, ycsb-c, ")));
    let cells = std::mem::take(&mut result.cells);
    let of = |workload: &str| {
        let of = |cell: &&Cell| cell.workload == workload && cell.trial == 1;
        cells.iter().filter(of).cloned().collect::<Vec<_>>()
    };
    for (load, runs) in [("load-ycsb", ["ycsb-a", "ycsb-b"]), ("load-ycsb-c", ["ycsb-c", "ycsb-e"])]
    {
        let loads = of("load").into_iter();
        result.cells.extend(loads.map(|cell| Cell { workload: load.to_owned(), ..cell }));
        for run in runs {
            result.cells.extend(of(run));
        }
    }
    let text = plain(&result, 300);
    assert!(text.contains(&format!("{order}ycsb-a, ycsb-b, reload, ycsb-c, ")), "{text}");
    let html = kvdyno_reports::report_html(&[result]).unwrap();
    assert!(html.contains(&format!("{order}ycsb-a, ycsb-b, reload, ycsb-c, ")));
}

#[test]
fn rates_bounds_and_recoveries_have_tables_of_their_own() {
    let text = plain(&sample::sweep(), 120);
    assert!(text.contains("ycsb-a under rising load"));
    assert!(text.contains("not reached"));
    assert!(text.contains("lsm holds p99<1ms up to "), "{text}");
    let rates = text.split("ycsb-a under rising load").nth(1).unwrap();
    let rows: Vec<&str> = rates.lines().filter(|line| line.contains("reached")).collect();
    let lsm = rows.iter().position(|row| row.contains("lsm")).unwrap();
    assert!(rows[lsm].contains(" held ") && rows[lsm].contains(" 2.00 s "), "{rates}");
    assert!(rows[lsm..lsm + 9].iter().any(|row| row.contains(" broken ")), "{rates}");
    let confirmed = |row: &&&str| row.contains(" held ") && row.contains(" 6.00 s ");
    assert_eq!(rows[lsm..lsm + 9].iter().filter(confirmed).count(), 1, "{rates}");
    let mut swept = sample::sweep();
    for measurement in swept.cells.iter_mut().filter_map(|cell| cell.measurement.as_mut()) {
        measurement.slo = None;
        measurement.rates.iter_mut().for_each(|point| point.held = None);
    }
    assert!(!plain(&swept, 120).contains(" bound "), "a sweep has no bound");
    let text = plain(&sample::recoveries(), 120);
    for words in [
        "recovery, class os · 1 thread · records of 1,000 B",
        "kill -9, hints removed, warm cache",
        "bitcask 10,000,000 records",
        "to 90 %",
        "bitcask: a GiB more costs 283 ms until the first read",
        "lmdb: a GiB more costs nothing until the first read",
        "lmdb 100,000 records: not supported (no files that make recovery faster)",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn machine_costs_and_broken_classes_stand_below() {
    let text = plain(&sample::quick(), 300);
    for words in [
        "harness: 68 ns to 97 ns an operation, 19 ns of it timed",
        "checking reads (content): 14 ns an operation",
        "machine: a sleeping thread woke up to 3.20 ms too late",
        "a page of memory cost 9.80 µs when first touched, 310 ns again",
        "fjall: durability class broken: 7 of 20,000 acknowledged writes were gone",
        "lmdb: durability class could not be checked: system calls cannot be traced",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}
