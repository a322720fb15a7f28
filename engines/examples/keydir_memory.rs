//! Anonymous memory that a Bitcask takes per key while keys are put, at the worst and at the end.
//!
//! ```text
//! cargo run --release -p kvdyno-engines --example keydir_memory
//! cargo run --release -p kvdyno-engines --example keydir_memory -- 20000000 200 /mnt/somewhere
//! ```
//!
//! The arguments are the number of keys, the bytes of a key, and where the store is put for as long as it takes (a temporary folder, unless said). Values have 100 bytes.
//! Linux only, as it asks `/proc`.

#![allow(clippy::print_stdout, reason = "a program talks to people")]

use std::error::Error;
use std::fs;

use kvdyno_engines::bitcask::{Bitcask, Options};
use kvdyno_engines::storage::Disk;

const STEP: u64 = 50_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let keys: u64 = arguments.next().map_or(Ok(20_000_000), |keys| keys.parse())?;
    let key_bytes: usize = arguments.next().map_or(Ok(24), |bytes| bytes.parse())?;
    let dir = match arguments.next() {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let before = anonymous_bytes()?;
    let store = Bitcask::open(Disk, dir.path(), Options::default())?;
    let mut worst = (0.0, 0);
    for number in 0..keys {
        // An odd factor: no key comes twice, and neighbours are far from each other.
        let digits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        store.put(format!("{digits:0>key_bytes$}").as_bytes(), &[7; 100])?;
        // Of fewer keys, what a store takes without any would weigh too much.
        if number >= keys / 4 && number % STEP == 0 {
            let per_key = (anonymous_bytes()? - before) as f64 / number as f64;
            if per_key > worst.0 {
                worst = (per_key, number);
            }
        }
    }
    store.settle()?;
    let settled = (anonymous_bytes()? - before) as f64 / keys as f64;
    println!("worst from {} keys on: {:.2} bytes per key, at {}", keys / 4, worst.0, worst.1);
    println!("settled, {keys} keys: {settled:.2} bytes per key");
    store.close()?;
    Ok(())
}

/// Anonymous memory of this process.
fn anonymous_bytes() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = kibibytes.and_then(|text| text.trim().strip_suffix(" kB"));
    Ok(kibibytes.ok_or("no RssAnon in /proc/self/status")?.parse::<u64>()? * 1024)
}
