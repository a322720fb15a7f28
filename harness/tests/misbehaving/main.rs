//! Engines that misbehave, each costing its own cell only.
//!
//! This binary is the program `kvdyno` over a registry of such engines when its first argument is one of the program's commands, and a test
//! runner otherwise: its tests start the binary itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod engines;
mod isolation;
mod program;
mod resuming;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let is_program = std::env::args()
        .nth(1)
        .is_some_and(|first| ["run", "cell", "list"].contains(&first.as_str()));
    if is_program {
        return kvdyno_harness::main(&engines::registry());
    }
    let tests = isolation::TESTS.iter().chain(resuming::TESTS);
    let trials = tests
        .map(|(name, test)| {
            let test = *test;
            Trial::test(*name, move || {
                test();
                Ok(())
            })
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
