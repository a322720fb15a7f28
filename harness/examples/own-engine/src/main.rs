//! kvdyno with one engine more: everything that `kvdyno` can do, this program can, for `journal` as well.

use std::process::ExitCode;

fn main() -> ExitCode {
    kvdyno_harness::main(&kvdyno_harness::registry().with(Box::new(own_engine::Adapter)))
}
