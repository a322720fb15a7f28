//! Proof that two runs issue the same operations.

use xxhash_rust::xxh3::Xxh3;

use crate::operation::{Change, Operation};
use crate::workload::Workload;

/// A hash over the first `operations` operations of each stream, stream after stream.
pub(crate) fn digest_streams(workload: &Workload, operations: u64) -> String {
    let mut hash = Xxh3::new();
    hash.update(b"kvdyno-operations/1");
    for index in 0..workload.spec().streams {
        let mut stream = workload.stream(index);
        hash.update(&index.to_le_bytes());
        for _ in 0..operations {
            add_operation(&mut hash, &stream.next());
        }
    }
    format!("{:032x}", hash.digest128())
}

/// Each part goes in behind its length, so that no two operations give the same bytes.
fn add_operation(hash: &mut Xxh3, operation: &Operation<'_>) {
    add(hash, operation.kind().name().as_bytes());
    match *operation {
        Operation::Read { key } => add(hash, key),
        Operation::Insert { key, value } => {
            add(hash, key);
            add(hash, value);
        }
        Operation::Update { key, change } | Operation::ReadModifyWrite { key, change } => {
            add(hash, key);
            match change {
                Change::Whole(value) => add(hash, value),
                Change::Field { index, bytes } => {
                    add(hash, &index.to_le_bytes());
                    add(hash, bytes);
                }
            }
        }
        Operation::Scan { start, limit } => {
            add(hash, start);
            add(hash, &(limit as u64).to_le_bytes());
        }
        Operation::Latest { first, start } => {
            add(hash, first);
            add(hash, start);
        }
        Operation::Window { start, end } => {
            add(hash, start);
            add(hash, end);
        }
    }
}

fn add(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}
