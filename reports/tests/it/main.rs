//! Integration tests of kvdyno-reports.
#![allow(clippy::unwrap_used, clippy::float_cmp, unreachable_pub, reason = "tests")]
#![allow(clippy::assigning_clones, reason = "plain is better in a test")]

mod comparing;
mod files;
mod grouping;
mod hdr;
mod merging;
mod page;
mod page_load;
#[allow(dead_code, reason = "shared with an example")]
mod sample;
mod schema;
mod summary;
mod terminal;
mod ycsb;
