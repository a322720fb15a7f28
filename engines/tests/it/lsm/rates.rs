//! A limit to what flushes and compactions write per second, to tables and to the value log.

use std::time::{Duration, Instant};

use kvdyno_engines::lsm::{Background, Lsm, Options};
use kvdyno_engines::storage::Disk;
use kvdyno_engines::{Durability, Error};

use super::{Map, contents, fill, small};

fn limited(background_bytes_per_s: u64) -> Options {
    Options {
        background_bytes_per_s,
        memtable_bytes: 256 << 10,
        level_base_bytes: 1 << 20,
        table_bytes: 256 << 10,
        background: Background::Threads,
        ..small(Durability::Os)
    }
}

#[test]
fn background_writes_keep_the_limit_and_nothing_is_lost() {
    for value_log_min_bytes in [None, Some(35)] {
        let folder = tempfile::tempdir().unwrap();
        let rate = 3 << 20;
        let start = Instant::now();
        let options = Options { value_log_min_bytes, ..limited(rate) };
        let store = Lsm::open(Disk, folder.path(), options).unwrap();
        let mut model = Map::new();
        fill(&store, &mut model, (0..20_000).map(|i| i * 7_919 % 20_000), 1);
        store.settle().unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let written = store.metrics().bytes_written.unwrap();
        let bytes = (written.flush + written.compaction + written.value_log) as f64;
        assert!(bytes > 2e6, "{bytes}");
        assert!(value_log_min_bytes.is_none() || written.value_log > 1 << 20, "{written:?}");
        // A tenth of a second is granted at once, and pieces that are under way.
        let least = bytes / rate as f64 - 0.3;
        assert!(seconds >= least, "{bytes} bytes in {seconds} s, and not {least}");
        assert_eq!(contents(&store).unwrap(), model);
    }
}

#[test]
fn a_store_that_waits_for_its_limit_can_be_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Lsm::open(Disk, folder.path(), limited(64 << 10)).unwrap();
    let mut model = Map::new();
    fill(&store, &mut model, 0..5_000, 1);
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    store.close().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let store = Lsm::open(Disk, folder.path(), limited(0)).unwrap();
    assert_eq!(contents(&store).unwrap(), model);
}

#[test]
fn a_limit_that_would_stop_everything_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = Lsm::open(Disk, folder.path(), limited(100)).err().unwrap();
    assert!(
        matches!(error, Error::InvalidOption { name: "background_bytes_per_s", .. }),
        "{error}"
    );
}
