//! What becomes of values that have expired: they hide what is older as long as there is any, and then they go.

use std::time::Duration;

use kvdyno_engines::lsm::{Fifo, Lsm, Options, Style, Tiered};
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::{Durability, Result};

use super::super::{Map, contents, key, open_with};
use super::{get, ms, quiet, stored, value};
use crate::hands::{Hands, NOON_MS};

fn files(disk: &SimulatedDisk, kind: &str) -> usize {
    let files = disk.files().into_keys();
    files.filter(|path| path.extension().is_some_and(|found| found == kind)).count()
}

fn compacted_bytes(store: &Lsm<SimulatedDisk>) -> u64 {
    store.metrics().bytes_written.unwrap().compaction
}

/// Values of all keys that are there for ever, and others above them that expire.
fn hide(store: &Lsm<SimulatedDisk>, big: bool) {
    for i in 0..40 {
        store.put(&key(i), &value("older", big)).unwrap();
    }
    store.compact().unwrap();
    for i in 0..40 {
        store.put_expiring(&key(i), &value("newer", big), ms(100)).unwrap();
    }
}

#[test]
fn what_has_expired_hides_what_is_older_wherever_it_is_met() {
    for big in [false, true] {
        for place in 0..3 {
            let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
            let store = open_with(&disk, quiet(&hands)).unwrap();
            hide(&store, big);
            if place == 1 {
                store.flush().unwrap();
            }
            hands.set(NOON_MS + 100);
            assert_eq!(contents(&store).unwrap(), Map::new());
            // A flush cannot drop it, and says that the keys are deleted.
            store.flush().unwrap();
            assert_eq!(contents(&store).unwrap(), Map::new());
            let (of_tables, with_value) = (stored(&disk), |stored: &super::Stored| stored.1);
            let values = of_tables.iter().filter(|stored| with_value(stored)).count();
            assert_eq!((of_tables.len(), values), (80, if place == 1 { 80 } else { 40 }));
            if place == 2 {
                store.close().unwrap();
                let store = open_with(&disk, quiet(&hands)).unwrap();
                assert_eq!(contents(&store).unwrap(), Map::new());
                continue;
            }
            store.compact().unwrap();
            assert_eq!((contents(&store).unwrap(), stored(&disk)), (Map::new(), Vec::new()));
            assert_eq!((files(&disk, "table"), files(&disk, "values")), (0, 0));
            // Set back, the clock brings nothing back that was met, and nothing older.
            hands.set(NOON_MS);
            assert_eq!(contents(&store).unwrap(), Map::new());
        }
    }
}

#[test]
fn a_clock_that_is_set_back_brings_back_what_was_not_met_and_nothing_older() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let store = open_with(&disk, quiet(&hands)).unwrap();
    hide(&store, false);
    hands.set(NOON_MS + 100);
    assert_eq!(contents(&store).unwrap(), Map::new());
    hands.set(NOON_MS + 99);
    assert!(contents(&store).unwrap().values().all(|value| value == b"newer"));
    assert_eq!(contents(&store).unwrap().len(), 40);
}

#[test]
fn a_compaction_into_the_middle_of_the_tree_leaves_deletions_behind() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let store = open_with(&disk, quiet(&hands)).unwrap();
    // Runs of similar size are merged above a much larger one.
    for i in 0..400 {
        store.put(&key(i), &value("older", false)).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    let tiered = Tiered { width: 3, ..Tiered::default() };
    let options = Options { style: Style::Tiered(tiered), ..quiet(&hands) };
    let store = open_with(&disk, options).unwrap();
    for part in 0..3 {
        for i in 0..10 {
            store.put_expiring(&key(i * 3 + part), &value("newer", true), ms(100)).unwrap();
        }
        if part == 2 {
            hands.set(NOON_MS + 100);
        }
        store.flush().unwrap();
    }
    store.settle().unwrap();
    assert!(compacted_bytes(&store) > 0);
    let deletions = stored(&disk).into_iter().filter(|(_, has_value, _)| !has_value).count();
    assert_eq!((deletions, contents(&store).unwrap().len()), (30, 370));
    assert_eq!(files(&disk, "values"), 0, "what nobody will ever read has been let go");
    for i in 0..30 {
        assert_eq!(get(&store, &key(i)), None);
    }
}

#[test]
fn tables_that_have_expired_are_dropped_without_being_read() {
    let fifo = Style::Fifo(Fifo::default());
    for style in [Style::default(), Style::Tiered(Tiered::default()), fifo] {
        let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
        let options = Options { style, ..quiet(&hands) };
        let store = open_with(&disk, options).unwrap();
        for i in 0..100 {
            store.put_expiring(&key(i), &value("short", i % 2 == 0), ms(100)).unwrap();
        }
        store.flush().unwrap();
        for i in 100..110 {
            store.put_expiring(&key(i), &value("long", i % 2 == 0), ms(1_000)).unwrap();
        }
        store.put(b"zz ever", b"value").unwrap();
        store.flush().unwrap();
        hands.set(NOON_MS + 99);
        store.settle().unwrap();
        assert_eq!((files(&disk, "table"), contents(&store).unwrap().len()), (2, 111));
        hands.set(NOON_MS + 100);
        store.settle().unwrap();
        assert_eq!((files(&disk, "table"), compacted_bytes(&store)), (1, 0), "{style:?}");
        assert_eq!(contents(&store).unwrap().len(), 11);
        hands.set(NOON_MS + 1_000);
        store.settle().unwrap();
        assert_eq!(contents(&store).unwrap().len(), 1);
        assert_eq!(files(&disk, "table"), 1, "one value is there for ever");
        store.close().unwrap();
        let store = open_with(&disk, quiet(&hands)).unwrap();
        assert_eq!(contents(&store).unwrap().len(), 1);
    }
}

/// What is dropped in the style that forgets never brings an older version back.
#[test]
fn where_nothing_is_merged_a_table_that_hides_something_waits_for_it() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let ttl = Some(Duration::from_mins(1));
    let style = Style::Fifo(Fifo { bytes_max: None, ttl });
    let store = open_with(&disk, Options { style, ..quiet(&hands) }).unwrap();
    store.put(b"key", b"older").unwrap();
    store.flush().unwrap();
    store.put_expiring(b"key", b"newer", ms(100)).unwrap();
    store.flush().unwrap();
    store.put_expiring(b"other", b"value", ms(100)).unwrap();
    store.flush().unwrap();
    hands.set(NOON_MS + 100);
    store.settle().unwrap();
    assert_eq!((files(&disk, "table"), contents(&store).unwrap()), (2, Map::new()));
    hands.set(NOON_MS + 60_000);
    store.settle().unwrap();
    assert_eq!(files(&disk, "table"), 0);
}

/// Power is lost at every operation while tables are written, expire, and are dropped: what was acknowledged in class `sync` stays what it is, and what is hidden stays hidden.
#[test]
fn a_crash_while_tables_that_have_expired_are_dropped_brings_nothing_back() {
    let (mut recovered, mut dropping) = (0, 0);
    for operation in 0.. {
        let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
        disk.power_off_at(operation);
        let options = Options { durability: Durability::Sync, ..quiet(&hands) };
        let acknowledged = write_and_drop(&disk, &options, &hands);
        hands.set(NOON_MS + 100);
        for crash in [Crash::SyncedOnly, Crash::Everything, Crash::Sectors(operation)] {
            let survivor = disk.survivor(crash);
            for round in 0..2 {
                let store = open_with(&survivor, options.clone()).unwrap();
                let left = contents(&store).unwrap();
                let has = |key: &[u8]| left.contains_key(key);
                assert!(left.values().all(|value| value != b"newer"));
                // Between the two writes the older one is to be seen.
                assert!(acknowledged < 3 || !has(b"hidden"), "{acknowledged}, {crash:?}");
                assert!(acknowledged != 1 || has(b"hidden"), "{crash:?}");
                assert!(acknowledged < 5 || has(b"ever"), "{acknowledged}, {crash:?}");
                assert!(!has(b"alone"));
                store.settle().unwrap();
                assert_eq!(contents(&store).unwrap(), left, "round {round}");
            }
            recovered += 1;
            dropping += u32::from(acknowledged == 5);
            let has_value = |(key, has_value, _): &super::Stored| key == b"alone" && *has_value;
            assert!(!stored(&survivor).iter().any(has_value), "it has been dropped");
        }
        if acknowledged == 6 {
            break;
        }
    }
    assert!(recovered > 100 && dropping > 2, "{recovered} disks, {dropping} while tables went");
}

/// Writes that are hidden, that hide, and that expire alone, each in a table of its own; lets them expire, and settles. Returns how many steps were done.
fn write_and_drop(disk: &SimulatedDisk, options: &Options, hands: &Hands) -> u32 {
    let mut done = 0;
    let mut steps = || -> Result<()> {
        let store = open_with(disk, options.clone())?;
        let mut did = |outcome: Result<()>| outcome.map(|()| done += 1);
        did(store.put(b"hidden", b"older"))?;
        did(store.flush())?;
        did(store.put_expiring(b"hidden", b"newer", ms(100)))?;
        did(store.flush().and_then(|()| store.put_expiring(b"alone", b"newer", ms(100))))?;
        store.flush()?;
        did(store.put(b"ever", b"value"))?;
        hands.set(NOON_MS + 100);
        did(store.settle())
    };
    // Power was lost, or it came to its end.
    let _ = steps();
    done
}

#[test]
fn tables_of_which_much_has_expired_are_compacted_early() {
    let left = |deletions_percent| {
        let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
        let store = open_with(&disk, Options { deletions_percent, ..quiet(&hands) }).unwrap();
        for i in 0..90 {
            if i % 3 == 0 {
                store.put(&key(i), &value("ever", true)).unwrap();
            } else {
                store.put_expiring(&key(i), &value("short", true), ms(u64::from(i))).unwrap();
            }
        }
        store.compact().unwrap();
        let (before, values) = (stored(&disk).len(), store.metrics().counters["value_log_bytes"]);
        hands.set(NOON_MS + 90);
        store.settle().unwrap();
        assert_eq!(contents(&store).unwrap().len(), 30);
        let values_left = store.metrics().counters["value_log_bytes"];
        (before, stored(&disk).len(), values_left < values / 2.0)
    };
    assert_eq!(left(0), (90, 90, false));
    assert_eq!(left(50), (90, 30, true));
}

/// A guess from the first and the last deadline can be wrong; then tables are written a few times in vain, and not for ever.
#[test]
fn deadlines_that_mislead_cost_few_compactions() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = Options { deletions_percent: 50, table_bytes: 1 << 20, ..quiet(&hands) };
    let store = open_with(&disk, options).unwrap();
    for i in 0..100 {
        // A few go one after the other, most in the end.
        let ttl = if i < 10 { 1 << i } else { 4_096 };
        store.put_expiring(&key(i), b"value", ms(ttl)).unwrap();
    }
    store.compact().unwrap();
    let mut compactions = 0;
    for now in 0..4_096 {
        hands.set(NOON_MS + now);
        let before = compacted_bytes(&store);
        store.settle().unwrap();
        compactions += u32::from(compacted_bytes(&store) > before);
    }
    assert!((1..12).contains(&compactions), "{compactions}");
    hands.set(NOON_MS + 4_096);
    store.settle().unwrap();
    assert_eq!(files(&disk, "table"), 0);
}

#[test]
fn values_that_are_moved_in_the_value_log_keep_their_time() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = Options { value_log_dead_percent: 1, ..quiet(&hands) };
    let store = open_with(&disk, options).unwrap();
    for i in 0..100 {
        store.put_expiring(&key(i), &value("first", true), ms(100)).unwrap();
    }
    store.compact().unwrap();
    for i in (0..100).filter(|i| i % 3 != 0) {
        store.delete(&key(i)).unwrap();
    }
    store.compact().unwrap();
    store.settle().unwrap();
    assert!(store.metrics().counters["value_log_relocated_bytes"] > 0.0);
    let expected: Vec<_> = stored(&disk).into_iter().map(|(.., expires_ms)| expires_ms).collect();
    assert_eq!(expected, vec![Some(NOON_MS + 100); 34]);
    assert_eq!(contents(&store).unwrap().len(), 34);
    // What is no longer big enough for the value log moves into the tables.
    store.close().unwrap();
    let options = Options { value_log_min_bytes: None, value_log_dead_percent: 1, ..quiet(&hands) };
    let store = open_with(&disk, options).unwrap();
    for i in (0..100).filter(|i| i % 3 == 0 && i % 2 == 0) {
        store.delete(&key(i)).unwrap();
    }
    store.compact().unwrap();
    store.settle().unwrap();
    store.compact().unwrap();
    let left = contents(&store).unwrap();
    assert!(left.len() == 17 && left.values().all(|found| *found == value("first", true)));
    let times: Vec<_> = stored(&disk).into_iter().map(|(.., expires_ms)| expires_ms).collect();
    assert_eq!(times, vec![Some(NOON_MS + 100); 17]);
    hands.set(NOON_MS + 100);
    assert_eq!(contents(&store).unwrap(), Map::new());
}
