//! Integration tests of kvdyno-reports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::float_cmp,
    unreachable_pub,
    reason = "tests"
)]

mod comparing;
mod files;
mod grouping;
mod page;
mod sample;
mod schema;
mod summary;
mod terminal;
