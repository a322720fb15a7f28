//! The program as a user meets it, and the adapters as the conformance suite does.

mod adapters;
mod bad_input;
mod program;
mod runs;
mod stopping;
