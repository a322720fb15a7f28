//! Engines that do not keep what they acknowledge: the checks of durability and the recovery experiment find them.
//!
//! This binary is the program `kvdyno` over a registry of such engines when its first argument is one of the program's commands, and a test
//! runner otherwise: its tests start the binary itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says why")]

mod engines;
mod tests;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let is_program = std::env::args()
        .nth(1)
        .is_some_and(|first| ["run", "recover", "check", "cell"].contains(&first.as_str()));
    if is_program {
        return kvdyno_harness::main(&engines::registry());
    }
    let trial = |(name, test): &(&'static str, fn())| {
        let test = *test;
        Trial::test(*name, move || {
            test();
            Ok(())
        })
    };
    let trials = tests::TESTS.iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
