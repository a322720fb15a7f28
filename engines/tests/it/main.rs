//! Integration tests of the engines crate.

mod simulated;
