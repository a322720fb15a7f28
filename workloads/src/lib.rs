//! Deterministic workloads for key-value stores: YCSB and time series.
//!
//! - A [`WorkloadSpec`] declares a workload: built in ([`WorkloadSpec::builtin`]) or read from a YCSB
//!   property file ([`WorkloadSpec::from_property_file`]).
//! - A [`Workload`] is a spec with a seed. Its [`Loader`]s give the records to load, its
//!   [`OperationStream`]s the operations to measure, and [`Workload::check_value`] tells whether data
//!   that was read back is what was written.
//! - Operations come from a fixed number of logical streams. A stream writes new records in a share of
//!   the key space of its own and picks only among loaded records and its own inserts, so that its
//!   operations are the same whatever the number of threads that serve the streams.
//!   [`Workload::digest`] proves it.
//!
//! This crate knows no storage engine and measures nothing. The same spec and seed give the same bytes
//! on every platform.
//!
//! ```
//! use kvdyno_workloads::{Operation, Workload, WorkloadSpec};
//!
//! # fn main() -> Result<(), kvdyno_workloads::Error> {
//! let mut spec = WorkloadSpec::builtin("ycsb-a").expect("a built-in name");
//! spec.records = 1_000;
//! let workload = Workload::new(spec, 42)?;
//!
//! let mut store = std::collections::BTreeMap::new();
//! let mut loader = workload.loader(0, 1);
//! while let Some((key, value)) = loader.next() {
//!     store.insert(key.to_vec(), value.to_vec());
//! }
//!
//! let mut stream = workload.stream(0);
//! for _ in 0..100 {
//!     match stream.next() {
//!         Operation::Read { key } => {
//!             let stamp = workload.check_value(key, &store[key]).expect("whole");
//!             assert!(stamp.record.is_some());
//!         }
//!         Operation::Update { key, change } => {
//!             let value = store.get_mut(key).expect("a loaded record");
//!             change.apply(value).expect("whole");
//!         }
//!         other => unreachable!("not in this mix: {other:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Sources
//!
//! - B. Cooper et al., "Benchmarking cloud serving systems with YCSB", `SoCC` 2010, and YCSB's
//!   `CoreWorkload` and generators, which the YCSB workloads follow to the digit.
//! - J. Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994.
//! - W. Hörmann and G. Derflinger, "Rejection-inversion to generate variates from monotone discrete
//!   distributions", TOMACS 1996.

mod batch;
mod builtin;
mod chooser;
mod core_properties;
mod digest;
mod error;
mod hash;
mod inserts;
mod keys;
mod lengths;
mod loader;
mod mix;
mod operation;
mod properties;
mod property_keys;
mod random;
mod series;
mod series_stream;
mod shared_counter;
mod skew;
mod spec;
mod stream;
mod validate;
mod values;
mod versions;
mod workload;
mod ycsb_stream;

pub use batch::{KeyBatch, KeySlices};
pub use error::{Error, Result, ValueFault};
pub use inserts::Fate;
pub use loader::Loader;
pub use operation::{Change, Operation, OperationKind};
pub use skew::Skew;
pub use spec::{
    DataSpec, InsertCounter, KeyOrder, KeySpec, LengthDistribution, RequestDistribution,
    SeriesSpec, ValueSpec, WorkloadSpec, YcsbSpec,
};
pub use stream::OperationStream;
pub use values::Stamp;
pub use versions::{LastWrites, Seen};
pub use workload::Workload;
