//! What an open store tells about itself.

use kvdyno_engines::bitcask::{FileState, MergePolicy, MergeState, Options};
use kvdyno_engines::storage::SimulatedDisk;

use super::{Map, churn, open, unmerged};

#[test]
fn files_and_status_add_up() {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &unmerged());
    churn(&store, &mut map, 1, 800);
    let (files, status) = (store.files(), store.status());
    assert_eq!(status.keys, map.len() as u64);
    assert_eq!(files.iter().map(|file| file.live_records).sum::<u64>(), status.keys);
    assert_eq!(files.iter().filter(|file| file.state == FileState::Active).count(), 1);
    assert!(files.iter().filter(|file| file.state == FileState::Sealed).count() > 5);
    assert_eq!(status.files, files.len() as u64);
    assert_eq!(status.bytes, files.iter().map(|file| file.bytes).sum::<u64>());
    let prefaces = 40 * status.files;
    let parts = status.live_bytes + status.tombstone_bytes + status.dead_bytes;
    assert_eq!(parts + prefaces, status.bytes);
    assert!(status.keydir_bytes > 0);
    for file in &files {
        assert!((0.0..=1.0).contains(&file.fragmentation), "{file:?}");
        assert_eq!(file.has_hint, file.state == FileState::Sealed, "{file:?}");
        assert_eq!(file.gone_by_ms, None);
    }
}

#[test]
fn a_merge_that_is_due_is_told_with_its_reason() {
    let disk = SimulatedDisk::new();
    let by_hand = MergePolicy { automatic: false, ..MergePolicy::default() };
    let store = open(&disk, &Options { merge: by_hand, ..unmerged() });
    for i in 0..100_u8 {
        store.put(&[i], &[i; 100]).unwrap();
    }
    assert_eq!(store.status().merge, MergeState::NotDue);
    for i in 0..100_u8 {
        store.put(&[i], &[i; 100]).unwrap();
    }
    let MergeState::Due { files, reason, starts_by_itself } = store.status().merge else {
        panic!("nothing is due: {:?}", store.files());
    };
    assert!(!starts_by_itself && reason.contains("of file 1 "), "{reason}");
    assert_eq!(store.merge_files(&files).unwrap().files_before, files.len() as u64);
    assert_eq!(store.status().merge, MergeState::NotDue);
}
