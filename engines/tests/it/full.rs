//! The device is full: at every 4 KiB, reads go on, writes fail with an error that says why, and all is well again once there is room.

use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::{Durability, Engine, Error, Result};

use crate::history::{Map, contents_of, put};
use crate::replay::{assert_count, case};
use crate::subjects::{Subject, for_each_engine};

const STEP_BYTES: u64 = 4 << 10;
const STEPS: u64 = 200;
/// Class `buffered` takes the path of class `os`.
const CLASSES: [Durability; 2] = [Durability::Os, Durability::Sync];

for_each_engine!(a_full_device_refuses_writes_and_nothing_else, deleting_makes_room,);

fn a_full_device_refuses_writes_and_nothing_else<E: Subject>() {
    for class in CLASSES {
        let mut steps = 0;
        for step in 0..STEPS {
            let (disk, room) = (SimulatedDisk::new(), step * STEP_BYTES);
            let context = || format!("class {class}, room {room}; files: {:?}", disk.files());
            let check = || fill::<E>(&disk, class, room);
            steps += u64::from(case(format!("{class}:{step}"), context, check).is_some());
        }
        assert_count("sizes of a device", steps, STEPS);
    }
}

fn key(number: u32) -> Vec<u8> {
    format!("key{number:05}").into_bytes()
}

/// What of a store with the first `count` keys can be read: all of it, by gets and scans.
fn read(engine: &dyn Engine, count: u32) -> Result<Map> {
    let keys: Vec<_> = (0..count).map(key).collect();
    contents_of(engine, keys.iter().map(Vec::as_slice))
}

/// Puts new keys, and some old ones again, until the device is full. Returns how many keys there are, and the error; what was acknowledged goes to `map`.
fn put_until_full(engine: &dyn Engine, map: &mut Map) -> (u32, Error) {
    let mut count = 0;
    loop {
        for number in [count, count / 2] {
            let filler = [200, 9_000][number as usize % 2];
            let value = format!("{count}{:filler$}", "").into_bytes();
            if let Err(error) = put(engine, &key(number), &value) {
                return (count + 1, error);
            }
            map.insert(key(number), value);
        }
        count += 1;
    }
}

fn fill<E: Subject>(disk: &SimulatedDisk, class: Durability, bytes: u64) {
    let mut map = Map::new();
    disk.limit_to(bytes);
    match E::simulated(disk.clone(), class) {
        Err(error) => assert!(error.is_disk_full(), "the store does not open: {error}"),
        Ok(engine) => {
            let (count, error) = put_until_full(&*engine, &mut map);
            assert!(error.is_disk_full(), "{error}");
            assert!(read(&*engine, count).unwrap() == map, "reads are wrong on a full device");
            for _ in 0..3 {
                // What failed may have been large, or have made room by what it merged before.
                match put(&*engine, &key(0), &[b'x'; 9_500]) {
                    Ok(()) => drop(map.insert(key(0), vec![b'x'; 9_500])),
                    Err(error) => assert!(error.is_disk_full(), "{error}"),
                }
            }
            if let Err(error) = engine.settle() {
                assert!(error.is_disk_full(), "{error}");
            }
            assert!(
                read(&*engine, count).unwrap() == map,
                "settling on a full device changes reads"
            );
            disk.limit_to(u64::MAX);
            put(&*engine, b"key00000", b"there is room again").unwrap();
            map.insert(b"key00000".to_vec(), b"there is room again".to_vec());
            // Background work may have an error to tell, once.
            let _ = engine.settle();
            engine.settle().expect("it settles once there is room");
            assert!(read(&*engine, count).unwrap() == map);
            engine.close().expect("it closes once there is room");
        }
    }
    disk.limit_to(u64::MAX);
    let engine = E::simulated(disk.clone(), class).expect("it opens once there is room");
    assert!(read(&*engine, map.len() as u32 + 1).unwrap() == map, "reopening changes something");
}

/// A device is full; room is lent, in which most keys are deleted and files are merged. Then there is room without it.
fn deleting_makes_room<E: Subject>() {
    CLASSES.into_iter().for_each(make_room::<E>);
}

fn make_room<E: Subject>(class: Durability) {
    let disk = SimulatedDisk::new();
    let limit = 50 * STEP_BYTES;
    disk.limit_to(limit);
    let engine = E::simulated_eager(disk.clone(), class).unwrap();
    let mut map = Map::new();
    let (count, _) = put_until_full(&*engine, &mut map);
    disk.limit_to(2 * limit);
    for number in (0..count).filter(|number| number % 10 != 0) {
        engine.session().unwrap().delete(&key(number)).unwrap();
        map.remove(&key(number));
        if number % 50 == 49 {
            engine.settle().unwrap();
        }
    }
    engine.settle().unwrap();
    disk.limit_to(limit);
    let used: u64 = disk.files().values().sum();
    assert!(used < limit / 2, "{used} bytes are still used");
    for number in 0..count / 4 {
        put(&*engine, &key(number), &[b'n'; 2_000]).unwrap();
        map.insert(key(number), vec![b'n'; 2_000]);
    }
    assert!(read(&*engine, count).unwrap() == map);
}
