//! The example in the README is one that runs.

use std::fs;
use std::path::Path;

/// The lines of the first block of code that begins with this fence.
fn block<'a>(fence: &str, lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    lines.skip_while(|line| *line != fence).skip(1).take_while(|line| *line != "```").collect()
}

/// It stands in the crate's documentation as well, with what a test needs around it in lines that are hidden there; and what stands there runs whenever the documentation is tested.
#[test]
fn the_example_is_that_of_the_documentation() {
    let engines = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(engines.join("../README.md")).unwrap();
    let documented = fs::read_to_string(engines.join("src/lib.rs")).unwrap();
    let readme = block("```rust", readme.lines());
    let documented = documented.lines().filter_map(|line| line.strip_prefix("//!"));
    let documented = block("```", documented.map(|line| line.strip_prefix(' ').unwrap_or(line)));
    assert!(readme.iter().any(|line| line.contains("Bitcask::open(")), "{readme:?}");
    assert!(documented.iter().any(|line| line.starts_with("# std::env::set_current_dir(")));
    let shown: Vec<_> = documented.into_iter().filter(|line| !line.starts_with("# ")).collect();
    assert_eq!(readme, shown);
}
