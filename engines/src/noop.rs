//! Accepts everything and stores nothing.
