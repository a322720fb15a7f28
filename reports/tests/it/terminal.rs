//! The table at the end of a run.

use kvdyno_reports::{CellStatus, ResultFile, TerminalOptions, terminal_table};

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
