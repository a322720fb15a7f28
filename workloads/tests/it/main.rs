//! What a user of the crate relies on, checked through its public face alone.

mod content;
// mod determinism;
// mod distribution;
mod property_file;
mod support;
// mod time_series;
