//! Sorted tables: files that are written once, in the order of their keys, and then only read.
//!
//! ```text
//! data blocks, each with its trailer      [`block`]
//! zeros up to a multiple of 64
//! filter, with a trailer                  [`filter`]
//! index, a block with its trailer         [`block`]: separator → handle of a data block
//! ranges of deleted keys, if there are    [`ranges`], a block with its trailer
//! properties, with a trailer              [`meta`]
//! footer                                  [`footer`]
//! ```
//!
//! A table holds one entry per key, the newest; entries have no sequence number. Which of two tables is younger follows from where they
//! are: level 0 is ordered by age, and each level is younger than the next. A reader of the past keeps the tables of its time.
//!
//! Ranges of deleted keys hide what older tables hold, and nothing of their own table.

pub(crate) mod block;
mod builder;
pub(crate) mod compression;
mod cursor;
mod fetch;
pub(crate) mod filter;
pub(crate) mod footer;
mod guide;
pub(crate) mod look;
mod meta;
pub(crate) mod ranges;
mod reader;
mod search;
mod walk;

pub(crate) use builder::{TableBuilder, TableOptions};
pub(crate) use cursor::{Cursor, Start};
pub(crate) use fetch::{Purpose, Reading, longer, with_part};
pub(crate) use meta::TableMeta;
pub(crate) use reader::Table;
