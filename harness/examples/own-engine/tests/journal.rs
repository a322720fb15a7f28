//! The engine does what the interface says, and comes back from torn and damaged files.

use std::fs::{self, File};

use kvdyno_engines::{Durability, Engine, Error, conformance};
use own_engine::Journal;

#[test]
fn journal_conforms() {
    conformance::check(|| {
        let folder = tempfile::tempdir().unwrap();
        move |durability| {
            if durability == Durability::Buffered {
                let (name, value) = ("durability", durability.to_string());
                return Err(Error::InvalidOption { name, value, expected: "os or sync" });
            }
            Ok(Box::new(Journal::open(folder.path(), durability)?) as Box<dyn Engine>)
        }
    });
}

#[test]
fn a_torn_tail_is_cut_away_and_damage_before_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let open = || Journal::open(folder.path(), Durability::Os);
    let put = |key: &[u8]| open().unwrap().session().unwrap().put(key, b"value").unwrap();
    put(b"first");
    let first_bytes = fs::metadata(&path).unwrap().len();
    put(b"second");
    let all_bytes = fs::metadata(&path).unwrap().len();
    for torn in (first_bytes..all_bytes).rev() {
        File::options().write(true).open(&path).unwrap().set_len(torn).unwrap();
        let store = open().unwrap();
        let mut session = store.session().unwrap();
        let mut value = Vec::new();
        assert!(session.get(b"first", &mut value).unwrap());
        assert!(!session.get(b"second", &mut value).unwrap(), "cut off at {torn}");
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), first_bytes);
    put(b"second");
    let mut bytes = fs::read(&path).unwrap();
    bytes[12] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(open(), Err(Error::Corrupt { offset: 0, .. })));
}
