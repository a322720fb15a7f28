//! What a user of the crate relies on, checked through its public face alone.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod absent;
mod content;
mod determinism;
mod distribution;
mod lifetimes;
mod property_file;
mod shared_counter;
mod support;
mod time_series;
