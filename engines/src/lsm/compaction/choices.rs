//! What is chosen in which situation: tables written as text, and the task that follows from them.

use std::time::Duration;

use super::super::options::Options;
use super::super::table::TableMeta;
use super::super::version::PerLevel;
use super::fixtures::metas;
use super::for_scans;
use super::levelled;
use super::manual;
use super::picker::{Situation, debt_bytes, pick};
use super::style::{Choice, Fifo, Levelled, Style, Tiered};
use super::task::{Action, Metas, Task};

/// A task as text: the numbers of the tables by level, the output, what is done; `!` if deletions vanish.
fn show(task: &Task) -> String {
    let inputs = task.inputs.iter().enumerate().filter(|(_, numbers)| !numbers.is_empty());
    let inputs = inputs.map(|(level, numbers)| {
        let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        format!("{level}:{}", numbers.join(","))
    });
    let action = match task.action {
        Action::Merge => "merge",
        Action::Move => "move",
        Action::Drop => "drop",
    };
    let inputs: Vec<_> = inputs.collect();
    let vanish = if task.drops_deletions { "!" } else { "" };
    format!("{} > {} {action}{vanish}", inputs.join(" "), task.output)
}

fn pick_in(
    levels: &PerLevel<Vec<TableMeta>>,
    turns: &[&str],
    running: &[Task],
    now_ms: u64,
    options: &Options,
) -> Option<Task> {
    let mut behind: PerLevel<Vec<u8>> = PerLevel::default();
    for (behind, text) in behind.iter_mut().zip(turns) {
        *behind = (*text).into();
    }
    let levels = levels.each_ref().map(|tables| tables.iter().collect());
    let situation = Situation { levels: &levels, turns: &behind, running, now_ms };
    pick(&situation, options)
}

fn check(options: &Options, levels: &[&str], turns: &[&str], expected: &str) {
    let task = pick_in(&metas(levels), turns, &[], 0, options);
    assert_eq!(task.map_or_else(|| "nothing".to_owned(), |task| show(&task)), expected);
}

/// Fixed sizes: 100, 1000, …; the deletions of a table are many from a half on.
fn fixed(choice: Choice) -> Options {
    Options {
        style: Style::Levelled(Levelled { dynamic: false, choice, level_0_percent: 0 }),
        l0_tables_compact: 2,
        level_base_bytes: 100,
        level_ratio: 10,
        table_bytes: 50,
        compaction_threads: 4,
        ..Options::default()
    }
}

fn dynamic() -> Options {
    let style = Style::Levelled(Levelled { level_0_percent: 0, ..Levelled::default() });
    Options { style, ..fixed(Choice::LeastOverlap) }
}

fn tiered() -> Options {
    let style = Tiered { width: 3, similar_percent: 200, runs_max: 5, space_percent: 100 };
    Options { style: Style::Tiered(style), ..fixed(Choice::LeastOverlap) }
}

#[test]
fn nothing_is_due_below_the_targets() {
    check(&fixed(Choice::InTurn), &["1:a-z*50", "2:a-z*100"], &[], "nothing");
    check(&dynamic(), &["1:a-z*50", "", "", "", "", "", "2:a-z*5000"], &[], "nothing");
}

#[test]
fn level_0_goes_whole_and_takes_what_overlaps() {
    let levels = ["4:c-f*9 3:a-d*9", "1:a-c*50 2:x-z*50"];
    check(&fixed(Choice::InTurn), &levels, &[], "0:4,3 1:1 > 1 merge!");
}

#[test]
fn level_0_waits_for_bytes_but_not_for_ever() {
    let style = Levelled { level_0_percent: 50, ..Levelled::default() };
    let options = Options { style: Style::Levelled(style), l0_tables_slow: 8, ..dynamic() };
    let check = |level_0: &str, expected: &str| {
        check(&options, &[level_0, "", "", "", "", "", "1:a-c*80 2:x-z*500"], &[], expected);
    };
    check("9:a-c*20 8:a-c*19", "nothing");
    check("9:a-c*20 8:a-c*20", "0:9,8 6:1 > 6 merge!");
    check("9:a-x*20 8:a-c*20", "nothing");
    check("9:e-f*1 8:e-f*1", "0:9,8 > 6 merge!");
    check("9:a-c*1 8:a-c*1 7:a-c*1", "nothing");
    check("9:a-c*1 8:a-c*1 7:a-c*1 6:a-c*1", "0:9,8,7,6 6:1 > 6 merge!");
}

#[test]
fn tables_without_overlap_are_moved() {
    let options = fixed(Choice::InTurn);
    check(&options, &["4:c-d*9 3:a-b*9", "1:x-z*50"], &[], "0:4,3 > 1 move!");
    check(&options, &["4:t-z*9 3:a-b*9", "1:n-o*50"], &[], "0:4,3 1:1 > 1 move!");
}

#[test]
fn nothing_is_moved_above_too_much() {
    let options = fixed(Choice::InTurn);
    let levels =
        |bytes: &str| ["4:c-d*9 3:a-b*9".to_owned(), String::new(), format!("1:a-z*{bytes}")];
    let check = |levels: [String; 3], expected: &str| {
        check(&options, &levels.each_ref().map(String::as_str), &[], expected);
    };
    check(levels("500"), "0:4,3 > 1 move");
    check(levels("501"), "0:4,3 > 1 merge");
}

#[test]
fn deletions_stay_while_older_tables_overlap() {
    let options = fixed(Choice::InTurn);
    check(&options, &["4:c-f*9 3:a-d*9", "", "1:e-g*50"], &[], "0:4,3 > 1 merge");
    check(&options, &["4:c-d*9 3:c-d*9", "2:a-f*9", "1:e-g*50"], &[], "0:4,3 1:2 > 1 merge");
}

#[test]
fn in_turn_a_full_level_goes_on_where_it_stopped() {
    let options = fixed(Choice::InTurn);
    let levels = ["", "1:a-b*60 2:c-d*60 3:e-f*60", "4:a-z*50"];
    // The tables beside it need no more of the next level.
    check(&options, &levels, &[], "1:1,2,3 2:4 > 2 merge!");
    let levels = ["", "1:a-b*60 2:c-d*60 3:e-f*60", "4:a-b*50 5:c-c*50 6:e-z*50"];
    check(&options, &levels, &[], "1:1 2:4 > 2 merge!");
    check(&options, &levels, &["", "b"], "1:2 2:5 > 2 merge!");
    check(&options, &levels, &["", "f"], "1:1 2:4 > 2 merge!");
}

#[test]
fn the_table_with_the_least_below_it_goes_first() {
    let options = fixed(Choice::LeastOverlap);
    let levels = ["", "1:a-b*60 2:c-d*60 3:e-f*60", "4:a-b*50 5:c-d*20 6:e-z*50"];
    check(&options, &levels, &[], "1:2 2:5 > 2 merge!");
    check(&options, &levels, &["", "d"], "1:2 2:5 > 2 merge!");
    let alike = ["", "1:a-b*60 2:c-d*60 3:e-f*60", "4:a-b*50 5:c-d*50 6:e-z*50"];
    check(&options, &alike, &["", "d"], "1:3 2:6 > 2 merge!");
}

#[test]
fn the_fullest_level_goes_first() {
    let levels = ["5:a-z*9 4:a-z*9", "1:a-b*250"];
    check(&fixed(Choice::InTurn), &levels, &[], "1:1 > 2 move!");
}

#[test]
fn with_dynamic_sizes_the_largest_level_decides() {
    let sizes = |bottom: u64| {
        let bytes = [0, 0, 0, 0, 0, 0, bottom];
        let Style::Levelled(style) = dynamic().style else { unreachable!() };
        let targets = levelled::Targets::of(&bytes, &style, &dynamic());
        (targets.base, targets.bytes[targets.base] as u64)
    };
    assert_eq!(sizes(0), (6, 100));
    assert_eq!(sizes(999), (6, 999));
    assert_eq!(sizes(1_000), (5, 100));
    assert_eq!(sizes(9_990), (5, 999));
    assert_eq!(sizes(10_000), (4, 100));
    assert_eq!(sizes(u64::MAX), (1, u64::MAX / 100_000));
}

#[test]
fn with_dynamic_sizes_level_0_goes_right_into_the_base() {
    let options = dynamic();
    let level_0 = "4:c-f*9 3:a-d*9";
    check(&options, &[level_0], &[], "0:4,3 > 6 merge!");
    check(&options, &[level_0, "", "", "", "", "", "1:a-z*999"], &[], "0:4,3 6:1 > 6 merge!");
    check(&options, &[level_0, "", "", "", "", "", "1:a-z*1000"], &[], "0:4,3 > 5 merge");
}

#[test]
fn what_lies_above_the_base_is_taken_down() {
    let options = dynamic();
    check(&options, &["", "1:a-b*50 2:c-d*50"], &[], "1:1 > 2 move!");
    check(&options, &["", "", "", "1:a-b*50", "", "", "2:a-b*70"], &[], "3:1 > 4 move");
    // Level 0 must not pass by what is older.
    let levels = ["4:a-z*9 3:a-z*9", "", "", "1:a-b*50", "", "", "2:a-b*70"];
    check(&options, &levels, &[], "3:1 > 4 move");
    let levels = ["6:a-z*9 5:a-z*9 4:a-z*9 3:a-z*9", "", "", "1:a-b*50", "", "", "2:a-b*70"];
    check(&options, &levels, &[], "0:6,5,4,3 3:1 > 3 merge");
}

#[test]
fn a_table_with_many_deletions_goes_early() {
    let options = fixed(Choice::LeastOverlap);
    check(&options, &["", "1:a-b*9 2:c-d*9!49", "3:a-z*9"], &[], "nothing");
    check(&options, &["", "1:a-b*9 2:c-d*9!50", "3:a-z*9"], &[], "1:2 2:3 > 2 merge!");
    // It meets what it deletes further down.
    check(&options, &["", "2:c-d*9!50", "", "3:a-z*9"], &[], "1:2 > 2 move");
    // Nothing is left to be deleted.
    check(&options, &["", "", "", "2:c-d*9!50"], &[], "3:2 > 3 merge!");
    check(&tiered(), &["", "", "", "2:c-d*9!50"], &[], "3:2 > 3 merge!");
    let never = Options { deletions_percent: 0, ..options };
    check(&never, &["", "", "", "2:c-d*9!100"], &[], "nothing");
}

#[test]
fn similar_runs_are_merged_youngest_first() {
    let options = tiered();
    let bottom = "1:a-z*900";
    let with_bottom = |level_0: &str, expected: &str| {
        check(&options, &[level_0, "", "", "", "", "", bottom], &[], expected);
    };
    with_bottom("9:a-z*10 8:a-z*10", "nothing");
    with_bottom("9:a-z*10 8:a-z*10 7:a-z*10", "0:9,8,7 > 5 merge");
    with_bottom("9:a-z*10 8:a-z*12 7:a-z*15 6:a-z*90", "0:9,8,7 > 0 merge");
    with_bottom("9:a-z*1 8:a-z*50 7:a-z*50 6:a-z*60", "0:8,7,6 > 5 merge");
    with_bottom("9:a-z*10 8:a-z*20 7:a-z*30 6:a-z*40", "0:9,8,7,6 > 5 merge");
}

#[test]
fn runs_of_ascending_keys_are_moved_out_of_level_0() {
    let check = |level_0: &str, above: &str, expected: &str| {
        let levels = [level_0, "", "", "", above, "", "1:a-z*400"];
        check(&tiered(), &levels, &[], expected);
    };
    check("9:c-d*10 8:a-b*90", "", "nothing");
    check("9:e-f*10 8:c-d*90 7:a-b*10", "", "0:9,8,7 > 5 move");
    check("9:e-f*10 8:c-d*90 7:a-b*10", "6:a-z*90", "0:9,8,7 > 3 move");
    check("9:e-f*10 8:c-d*90 7:a-c*10", "", "nothing");
}

#[test]
fn levels_are_runs_and_places_for_runs() {
    let options = tiered();
    let levels = ["9:a-z*10 8:a-z*10 7:a-z*10", "", "", "", "", "6:a-z*100", "1:a-z*900"];
    check(&options, &levels, &[], "0:9,8,7 > 4 merge");
    let levels = ["", "", "", "7:a-z*60", "6:a-z*70", "5:a-m*30 4:n-z*40", "1:a-z*900"];
    check(&options, &levels, &[], "3:7 4:6 5:5,4 > 5 merge");
    // Above a full level 1 there is only level 0.
    let levels = ["9:a-z*2 8:a-z*2 7:a-z*2", "6:a-z*90", "5:a-z*900"];
    check(&options, &levels, &[], "0:9,8,7 > 0 merge");
}

#[test]
fn too_many_runs_are_merged_where_it_costs_least() {
    let levels = ["9:a-z*1 8:a-z*3 7:a-z*9 6:a-z*30 5:a-z*90", "", "", "", "", "", "1:a-z*900"];
    check(&tiered(), &levels, &[], "0:9,8 > 0 merge");
}

#[test]
fn everything_is_merged_when_the_younger_runs_outweigh_the_oldest() {
    let levels = |bytes| ["9:a-z*50", "", "", "", "", bytes, "1:a-z*100"];
    check(&tiered(), &levels("8:a-z*50"), &[], "nothing");
    check(&tiered(), &levels("8:a-z*51"), &[], "0:9 5:8 6:1 > 6 merge!");
}

#[test]
fn the_oldest_tables_are_dropped_beyond_the_bound() {
    let fifo = |bytes| {
        let style = Style::Fifo(Fifo { bytes_max: Some(bytes), ttl: None });
        Options { style, ..dynamic() }
    };
    let levels = ["3:a-z*10 2:a-z*10", "", "1:a-b*10 9:c-d*10"];
    check(&fifo(40), &levels, &[], "nothing");
    check(&fifo(39), &levels, &[], "2:9 > 0 drop!");
    check(&fifo(19), &levels, &[], "0:2 2:9,1 > 0 drop!");
    check(&fifo(1), &levels, &[], "0:2,3 2:9,1 > 0 drop!");
}

#[test]
fn tables_expire_in_the_order_of_age() {
    let style = Style::Fifo(Fifo { bytes_max: None, ttl: Some(Duration::from_millis(100)) });
    let options = Options { style, ..dynamic() };
    let levels = metas(&["4:a-z*1@50 3:a-z*1@300 2:a-z*1@80 1:a-z*1@70"]);
    let at = |now_ms| {
        pick_in(&levels, &[], &[], now_ms, &options)
            .map_or_else(|| "nothing".to_owned(), |task| show(&task))
    };
    assert_eq!(at(169), "nothing");
    assert_eq!(at(170), "0:1 > 0 drop!");
    // What has expired stays while something older has not: its deletions may hide that.
    assert_eq!(at(399), "0:1,2 > 0 drop!");
    assert_eq!(at(400), "0:1,2,3,4 > 0 drop!");
}

/// What is chosen at a time.
fn chosen_at(now_ms: u64, levels: &[&str], options: &Options) -> String {
    let task = pick_in(&metas(levels), &[], &[], now_ms, options);
    task.map_or_else(|| "nothing".to_owned(), |task| show(&task))
}

#[test]
fn a_table_in_which_all_has_expired_is_dropped_whatever_the_style() {
    let fifo = Options { style: Style::Fifo(Fifo::default()), ..dynamic() };
    for options in [dynamic(), fixed(Choice::InTurn), tiered(), fifo] {
        let alone = ["", "", "", "", "", "", "2:c-d*9~100,50,80"];
        assert_eq!(
            chosen_at(79, &alone, &Options { deletions_percent: 0, ..options.clone() }),
            "nothing"
        );
        assert_eq!(chosen_at(80, &alone, &options), "6:2 > 0 drop!");
        assert_eq!(chosen_at(80, &["2:c-d*9~100,50,80"], &options), "0:2 > 0 drop!");
        // A deletion beside what has expired says no more than that.
        assert_eq!(chosen_at(80, &["", "", "2:c-d*9!1~99,50,80"], &options), "2:2 > 0 drop!");
        // It hides what is older, though not what is younger or has other keys.
        let above = ["5:a-z*9", "", "2:c-d*9~100,50,80 3:e-f*9", "4:e-f*9"];
        assert_eq!(chosen_at(80, &above, &options), "2:2 > 0 drop!");
        // What it hides may go with it.
        let both = ["5:a-z*9~100,1,2 4:b-c*9~100,70,80", "", "", "", "", "", "3:a-c*9~100,5,6"];
        assert_eq!(chosen_at(6, &both, &options), "6:3 > 0 drop!");
        assert_eq!(chosen_at(80, &both, &options), "0:4,5 6:3 > 0 drop!");
    }
}

#[test]
fn a_table_that_has_expired_stays_while_it_hides_something() {
    let never = Options { deletions_percent: 0, ..dynamic() };
    let levels = ["", "", "", "2:c-d*9~100,50,80", "", "", "1:a-z*9"];
    assert_eq!(chosen_at(80, &levels, &Options { deletions_percent: 0, ..tiered() }), "nothing");
    assert_ne!(chosen_at(80, &levels, &never), "3:2 > 0 drop!");
    let levels = ["3:c-d*9~100,50,80 2:d-z*9"];
    assert_eq!(chosen_at(80, &levels, &never), "0:3,2 > 6 merge!");
    // The older one is on its way somewhere else.
    let levels = metas(&["", "2:c-d*9~100,50,80", "1:a-z*9~100,1,2", "", "", "", ""]);
    let mut inputs = Metas::default();
    inputs[2] = vec![&levels[2][0]];
    let all = levels.each_ref().map(|tables| tables.iter().collect());
    let running = Task::new(&all, &inputs, 3, 0, &fixed(Choice::InTurn));
    let options = Options { deletions_percent: 0, ..fixed(Choice::InTurn) };
    assert_eq!(pick_in(&levels, &[], &[running], 80, &options), None);
}

#[test]
fn a_table_of_which_much_has_expired_goes_early() {
    let options = fixed(Choice::LeastOverlap);
    let levels = ["", "1:a-b*9 2:c-d*9~60,100,200", "3:a-z*9"];
    // 60 of 100 expire, so that after five sixths of the time half of all have.
    assert_eq!(chosen_at(183, &levels, &options), "nothing");
    assert_eq!(chosen_at(184, &levels, &options), "1:2 2:3 > 2 merge!");
    let few = ["", "1:a-b*9 2:c-d*9~40,100,200", "3:a-z*9"];
    assert_eq!(chosen_at(1_000, &few, &options), "nothing");
    let with_deletions = ["", "1:a-b*9 2:c-d*9!10~40,100,200", "3:a-z*9"];
    assert_eq!(chosen_at(200, &with_deletions, &options), "1:2 2:3 > 2 merge!");
    // Nothing is left that it could hide.
    assert_eq!(chosen_at(184, &["", "", "", "2:c-d*9~60,100,200"], &options), "3:2 > 3 merge!");
    let never = Options { deletions_percent: 0, ..options };
    assert_eq!(chosen_at(1_000, &["", "", "", "2:c-d*9~60,100,200"], &never), "nothing");
}

#[test]
fn what_is_asked_for_gets_rid_of_what_has_expired() {
    let levels = metas(&["", "", "", "", "", "", "1:a-b*9~1,100,100 2:c-d*9"]);
    let levels: Metas<'_> = levels.each_ref().map(|tables| tables.iter().collect());
    let at = |now_ms| {
        manual::range(&levels, None, None, now_ms, &dynamic())
            .map_or_else(|| "nothing".to_owned(), |task| show(&task))
    };
    assert_eq!(at(99), "nothing");
    assert_eq!(at(100), "6:1,2 > 6 merge!");
}

#[test]
fn nothing_is_begun_that_conflicts_with_what_is_under_way() {
    let options = fixed(Choice::InTurn);
    let levels =
        metas(&["9:a-c*9 8:a-c*9", "1:a-b*60 2:c-d*60 3:x-y*60", "4:a-b*50 5:c-d*50 6:x-z*50"]);
    let mut running = Vec::new();
    let mut shown = Vec::new();
    while let Some(task) = pick_in(&levels, &[], &running, 0, &options) {
        shown.push(show(&task));
        running.push(task);
    }
    // The tables that level 0 needs are taken, so it has to wait.
    assert_eq!(shown, ["1:1 2:4 > 2 merge!", "1:2 2:5 > 2 merge!"]);
    let level_0 = pick_in(
        &levels,
        &[],
        &running[..0],
        0,
        &Options { level_base_bytes: 999, ..options.clone() },
    );
    let level_0 = level_0.unwrap();
    assert_eq!(show(&level_0), "0:9,8 1:1,2 > 1 merge");
    let beside = pick_in(&levels, &[], &[level_0], 0, &Options { level_base_bytes: 50, ..options });
    assert_eq!(beside.map(|task| show(&task)).unwrap(), "1:3 2:6 > 2 merge!");
}

#[test]
fn tasks_whose_results_would_overlap_exclude_each_other() {
    let levels = metas(&["", "1:a-b*9 2:c-d*9 3:e-f*9 4:x-z*9"]);
    let task = |tables: &[usize]| {
        let mut inputs = Metas::default();
        inputs[1] = tables.iter().map(|at| &levels[1][*at]).collect();
        let levels = levels.each_ref().map(|tables| tables.iter().collect());
        Task::new(&levels, &inputs, 2, 0, &fixed(Choice::InTurn))
    };
    let around = task(&[0, 2]);
    assert!(around.conflicts(&task(&[1])) && task(&[1]).conflicts(&around));
    assert!(!around.conflicts(&task(&[3])) && !task(&[3]).conflicts(&around));
}

#[test]
fn deeper_levels_leave_a_thread_to_level_0() {
    let levels = metas(&["9:a-c*9", "1:a-b*60 2:c-d*60 3:x-y*60", "4:a-b*50 5:c-d*50 6:x-z*50"]);
    let begun = |compaction_threads| {
        let options = Options { compaction_threads, ..fixed(Choice::InTurn) };
        let mut running = Vec::new();
        while let Some(task) = pick_in(&levels, &[], &running, 0, &options) {
            running.push(task);
        }
        running.len()
    };
    assert_eq!((begun(1), begun(2), begun(3), begun(4)), (1, 1, 2, 2));
    // Level 2 has tables that level 0 does not need, and is compacted beside it.
    let levels = metas(&["9:a-c*9 8:a-c*9", "1:a-b*9", "4:a-b*500 5:c-d*900", "6:a-z*9"]);
    let options = Options { compaction_threads: 2, ..fixed(Choice::InTurn) };
    let deep = pick_in(&levels, &[], &[], 0, &options).unwrap();
    assert_eq!(show(&deep), "2:4,5 3:6 > 3 merge!");
    let beside = pick_in(&levels, &[], &[deep], 0, &options).unwrap();
    assert_eq!(show(&beside), "0:9,8 1:1 > 1 merge");
}

#[test]
fn level_0_is_not_kept_waiting_by_one_compaction_after_another() {
    let text = |level_0: &'static str| [level_0, "1:a-b*60 2:c-d*60 3:x-y*60", "4:a-d*50 5:e-z*50"];
    let options = fixed(Choice::InTurn);
    let deep = |levels: &PerLevel<Vec<TableMeta>>| {
        let mut inputs = Metas::default();
        (inputs[1], inputs[2]) = (vec![&levels[1][2]], vec![&levels[2][1]]);
        let levels = levels.each_ref().map(|tables| tables.iter().collect());
        Task::new(&levels, &inputs, 2, 0, &options)
    };
    // One table of level 1 is on its way down; another could follow it.
    let next = |level_0| {
        let levels = metas(&text(level_0));
        let task = pick_in(&levels, &[], &[deep(&levels)], 0, &options);
        task.map_or_else(|| "nothing".to_owned(), |task| show(&task))
    };
    assert_eq!(next("9:a-z*9 8:a-z*9"), "1:1,2 2:4 > 2 merge!");
    assert_eq!(next("9:a-z*9 8:a-z*9 7:a-z*9"), "nothing");
}

#[test]
fn debt_is_what_the_levels_are_above_their_targets() {
    let debt = |options: &Options, levels: &[&str]| {
        let levels = metas(levels);
        debt_bytes(&levels.each_ref().map(|tables| tables.iter().collect()), options)
    };
    let fixed = fixed(Choice::InTurn);
    assert_eq!(debt(&fixed, &["1:a-z*9000", "2:a-z*100", "3:a-z*1000"]), 0);
    // 100 too many, each merged with four and a half bytes of the next level.
    assert_eq!(debt(&fixed, &["", "2:a-z*200", "3:a-z*900"]), 550);
    // And 100 too many there, once they have arrived.
    assert_eq!(debt(&fixed, &["", "2:a-z*200", "3:a-z*1000", "4:a-z*2200"]), 600 + 300);
    assert_eq!(debt(&dynamic(), &["", "", "", "", "", "2:a-z*100", "3:a-z*1000"]), 0);
    assert_eq!(debt(&dynamic(), &["", "", "", "", "", "2:a-z*300", "3:a-z*1000"]), 866);
    assert_eq!(debt(&tiered(), &["", "2:a-z*300", "3:a-z*1000"]), 0);
}

#[test]
fn for_scans_the_two_youngest_runs_are_merged() {
    let show_for_scans = |options: &Options, levels: &[&str]| {
        let levels = metas(levels);
        let levels = levels.each_ref().map(|tables| tables.iter().collect());
        let turns = PerLevel::default();
        let situation = Situation { levels: &levels, turns: &turns, running: &[], now_ms: 0 };
        let task = for_scans::pick(&situation, options);
        task.map_or_else(|| "nothing".to_owned(), |task| show(&task))
    };
    let levelled = Options::default();
    let check = |levels: &[&str], expected| assert_eq!(show_for_scans(&levelled, levels), expected);
    check(&[], "nothing");
    check(&["1:a-z*10"], "nothing");
    check(&["2:a-m*10 1:c-z*10"], "0:2,1 > 6 merge!");
    check(&["", "", "", "", "", "", "1:a-f*10 2:g-z*10"], "nothing");
    let deep = ["3:g-k*10", "", "", "", "", "4:a-b*10", "1:a-f*10 2:g-z*10"];
    check(&deep, "0:3 > 5 move");
    let over = ["3:a-c*10", "", "", "", "", "4:a-b*10 5:x-z*10", "1:a-f*10 2:g-z*10"];
    check(&over, "0:3 5:4 > 5 merge");
    check(
        &["", "", "", "", "", "4:a-b*10 5:x-z*10", "1:a-f*10 2:g-z*10"],
        "5:4,5 6:1,2 > 6 merge!",
    );
    let tiered = Options { style: Style::Tiered(Tiered::default()), ..Options::default() };
    assert_eq!(show_for_scans(&tiered, &over), "nothing");
}
