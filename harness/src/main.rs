//! The program `kvdyno`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kvdyno_harness::main(&kvdyno_harness::registry())
}
