//! See [`crate::fuzzing`].

use super::entry::{Entry, Layout};
use super::fingerprint::Hasher;
use super::hint::{Hint, HintKey, Summary};
use super::keydir::SHARDS;
use super::keydir_file::{self, Image, Written};
use super::manifest::{Manifest, ManifestFile};
use super::options::VALUE_BYTES_MAX;
use super::record::{self, Preface, Record};
use super::segment::FileId;
use crate::compression::{compressed, decompressed};
use crate::fuzzing::{ID, Outcome, Target, file, with_checksum};
use crate::log::frame;

pub(crate) const TARGETS: [Target; 7] = [
    Target { name: "bitcask_record", decode: record },
    Target { name: "bitcask_hint", decode: hint },
    Target { name: "bitcask_manifest", decode: manifest },
    Target { name: "bitcask_keydir", decode: keydir },
    Target { name: "bitcask_scan", decode: super::fuzzing_data::scan_through },
    Target { name: "bitcask_open", decode: super::fuzzing_data::open },
    Target { name: "compressed_value", decode: compressed_value },
];

pub(super) const HASHER: Hasher = Hasher { seed: 3, mask: u64::MAX };
/// What hints in the corpus belong to.
const HINT_KEY: HintKey = HintKey { id: FileId(ID), data_bytes: 0x1000, hasher: HASHER };

fn record(bytes: &[u8]) -> Outcome {
    let framed = file(&[&frame::header(ID, 0, true, &[bytes])[..], bytes].concat());
    let framed = framed.map_err(|error| error.to_string())?;
    let glance = record::glance(&framed, 0);
    let preface = Preface::decode(bytes, FileId(ID));
    if let Ok(preface) = preface {
        assert_eq!(Preface::decode(&preface.encode(), FileId(ID)), Ok(preface));
        return Ok(());
    }
    let Some(record) = Record::decode(bytes) else {
        let reason = preface.err().filter(|reason| !reason.contains("not a preface"));
        return Err(reason.unwrap_or_else(|| "neither a record nor a preface".to_owned()));
    };
    assert_eq!(record.encode().parts(&record).concat(), bytes);
    assert_eq!(record.payload_bytes(), bytes.len());
    let glance = glance.map_err(|error| error.to_string())?;
    assert_eq!((glance.key(), glance.frame_bytes), (record.key, record.frame_bytes()));
    assert_eq!(glance.expires, record.value.is_some_and(|value| value.expires_ms.is_some()));
    Ok(())
}

fn hint(bytes: &[u8]) -> Outcome {
    let outcome = hint_in(bytes);
    let key = HINT_KEY.encode();
    let rest = bytes.get(key.len()..).unwrap_or_default();
    let _ = hint_in(&with_checksum(&[&key, rest].concat()));
    outcome
}

fn hint_in(bytes: &[u8]) -> Outcome {
    let opened = file(bytes).and_then(|file| Hint::verify(file, HINT_KEY));
    let opened = opened.map_err(|error| error.to_string())?;
    let hint = opened.ok_or("not a whole and valid hint of this data file")?;
    let entries: Result<Vec<_>, _> = (0..hint.len()).map(|number| hint.get(number)).collect();
    let entries = entries.map_err(|error| error.to_string())?;
    for entry in &entries {
        assert_eq!(hint.find(entry.offset).ok().flatten(), Some(*entry));
        let inside = hint.find(entry.offset + entry.frame_bytes / 2 + 1);
        assert_eq!(inside.ok().flatten(), None, "no record begins within another");
    }
    let summary = Summary { entries, gone_by_ms: hint.gone_by_ms };
    assert_eq!(summary.encode(HINT_KEY), bytes);
    Ok(())
}

fn manifest(bytes: &[u8]) -> Outcome {
    let outcome = manifest_in(bytes);
    let _ = manifest_in(&with_checksum(bytes));
    outcome
}

fn manifest_in(bytes: &[u8]) -> Outcome {
    let manifest =
        Manifest::decode(bytes).map_err(|(offset, reason)| format!("byte {offset}: {reason}"))?;
    assert_eq!(manifest.encode(), bytes);
    Ok(())
}

/// The manifest that keydir files in the corpus belong to.
fn closed() -> Manifest {
    let file = |id, len| ManifestFile { id: FileId(id), sealed: Some(len) };
    Manifest {
        next_id: FileId(3),
        seed: HASHER.seed,
        files: vec![file(1, 0x1000), file(2, 0x2000)],
    }
}

fn keydir(bytes: &[u8]) -> Outcome {
    let outcome = keydir_in(bytes);
    let mut ours = bytes.to_vec();
    if let Some(checksum) = ours.get_mut(12..16) {
        checksum.copy_from_slice(&closed().checksum().to_le_bytes());
    }
    let _ = keydir_in(&with_checksum(&ours));
    outcome
}

fn keydir_in(bytes: &[u8]) -> Outcome {
    let (manifest, layout) = (closed(), Layout::new(0x2000));
    let written = keydir_file::decode(bytes, &manifest, HASHER, layout);
    let written = written.ok_or("not a whole and valid keydir of this manifest")?;
    assert_eq!(written.usages.len(), manifest.files.len());
    for shard in 0..SHARDS {
        let table = written.keydir.table(shard);
        assert_eq!(table.iter().count(), table.len());
        for entry in table.iter() {
            let (slot, offset) = layout.place(entry);
            let len = manifest.files[slot as usize].sealed;
            assert!(len.is_some_and(|len| offset < len), "an entry points behind its file");
        }
    }
    let again = keydir_file::decode(&encoded(&written), &manifest, HASHER, layout);
    let Some(again) = again else {
        panic!("what was accepted is refused once it is written again")
    };
    assert_eq!(again.usages, written.usages);
    for shard in 0..SHARDS {
        assert_eq!(entries(&again, shard), entries(&written, shard));
    }
    Ok(())
}

/// The same keydir in another file: the order in a table is that in which its entries came, and empty shards need not be left out.
fn encoded(written: &Written) -> Vec<u8> {
    let mut bytes = Vec::new();
    let image = Image {
        keydir: &written.keydir,
        usages: written.usages.clone(),
        numbers: (0..).take(written.usages.len()).collect(),
        layout: Layout::new(0x2000),
        hasher: HASHER,
        manifest_checksum: closed().checksum(),
    };
    let encoded = image.encode(|piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    assert!(encoded.is_ok(), "nothing can fail");
    bytes
}

fn entries(written: &Written, shard: usize) -> Vec<u64> {
    let mut entries: Vec<_> = written.keydir.table(shard).iter().map(Entry::to_bits).collect();
    entries.sort_unstable();
    entries
}

fn compressed_value(bytes: &[u8]) -> Outcome {
    let unpacked = decompressed(bytes, <[u8]>::to_vec).ok_or("not a compressed value")?;
    assert!(unpacked.len() <= VALUE_BYTES_MAX);
    let again = compressed(&unpacked, |packed| packed.map(<[u8]>::to_vec));
    if let Some(again) = again {
        assert_eq!(decompressed(&again, <[u8]>::to_vec), Some(unpacked));
    }
    Ok(())
}
