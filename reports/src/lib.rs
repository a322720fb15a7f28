//! Result files of kvdyno, and what is made from them.

mod result;

pub use result::*;
