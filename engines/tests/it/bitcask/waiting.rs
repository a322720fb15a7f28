//! Who waits for whom: a read for nobody who waits for the device.

use std::ops::ControlFlow;

use kvdyno_engines::bitcask::{Bitcask, FileState, Options};
use kvdyno_engines::{Direction, Engine};

use super::{DIR, unmerged};
use crate::gated::{Gated, Held};

/// Every way to read, and to ask for figures.
fn read_in_every_way(store: &Bitcask<Gated>, keys: usize) {
    let mut value = Vec::new();
    assert!(store.get(&[1], &mut value).unwrap() && !store.get(b"absent", &mut value).unwrap());
    assert_eq!(store.get_with(&[2], <[u8]>::to_vec).unwrap().unwrap(), [2; 100]);
    assert!(store.contains(&[3]).unwrap());
    assert_eq!((store.len(), store.keys().unwrap().len()), (keys, keys));
    assert_eq!(store.iter().count(), keys);
    let mut folded = 0;
    let count = |_: &[u8], _: &[u8]| {
        folded += 1;
        ControlFlow::Continue(())
    };
    store.fold(count).unwrap();
    assert_eq!(folded, keys);
    let mut session = store.session().unwrap();
    let everything = &mut |_: &[u8], _: &[u8]| ControlFlow::Continue(());
    let scanned = session.scan(b"", Direction::Forward, usize::MAX, everything).unwrap();
    assert_eq!(scanned, keys);
    assert_eq!(store.status().keys, keys as u64);
    assert!(!store.files().is_empty() && store.metrics().keydir_entries == Some(keys as u64));
}

fn reads_go_on_while(held: Held, work: impl FnOnce(&Bitcask<Gated>) + Send) {
    let storage = Gated::default();
    let options = Options { ordered_scans: true, ..unmerged() };
    let store = Bitcask::open(storage.clone(), DIR, options).unwrap();
    overwrite(&store);
    storage.reads_go_on_while(held, || work(&store), || read_in_every_way(&store, 30));
}

/// Overwrites until at least two data files are full.
fn overwrite(store: &Bitcask<Gated>) {
    for key in (0..30).cycle().take(100) {
        store.put(&[key], &[key; 100]).unwrap();
    }
}

#[test]
fn reads_go_on_while_a_writer_creates_a_data_file() {
    reads_go_on_while(Held::CreateLog, overwrite);
}

#[test]
fn reads_go_on_while_a_writer_replaces_the_manifest() {
    reads_go_on_while(Held::Rename, overwrite);
}

#[test]
fn reads_go_on_while_a_merge_replaces_the_manifest() {
    reads_go_on_while(Held::Rename, |store| {
        let sealed = store.files().into_iter().filter(|file| file.state == FileState::Sealed);
        let sealed: Vec<u32> = sealed.map(|file| file.id).collect();
        assert!(store.merge_files(&sealed).unwrap().bytes_reclaimed > 0);
    });
}
