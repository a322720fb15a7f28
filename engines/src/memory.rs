//! An ordered map in memory.
