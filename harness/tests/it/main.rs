//! The program as a user meets it, and the adapters as the conformance suite does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adapters;
mod bad_input;
mod inspecting;
mod program;
mod recovering;
mod runs;
mod stopping;
mod suites;
