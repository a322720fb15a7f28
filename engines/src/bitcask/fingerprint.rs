//! What stands for a key where the key itself would be too long: 128 bits of hash, of which the keydir knows 34.
//!
//! 1. The *hash* chooses a key's shard and its tag in the keydir. Two keys may share both: gets compare the keys themselves.
//! 2. Hash and *check* together stand for the key in hints, and so in recovery and in writes that replace a value whose record is not read. With n keys, two of them share all 128 bits with a probability
//!    of about n² / 2¹²⁹: at ten thousand million keys 10⁻¹⁹, far below that of damage that a 32-bit checksum lets pass.
//! 3. Both depend on the store's seed, which is drawn when the store is made, so that nobody can choose keys that collide.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The hash functions of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hasher {
    /// The store's own, from its manifest.
    pub(crate) seed: u64,
    /// Bits of the hash that count; fewer make collisions frequent, for tests. Those of the check always all count.
    pub(crate) mask: u64,
}

/// Stands for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) hash: u64,
    pub(crate) check: u64,
}

impl Hasher {
    #[inline]
    pub(crate) fn hash(self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed) & self.mask
    }

    pub(crate) fn check(self, key: &[u8]) -> u64 {
        /// Makes a second seed of the first; any number with many bits does.
        const OTHER: u64 = 0x9e37_79b9_7f4a_7c15;
        xxh3_64_with_seed(key, self.seed.wrapping_mul(OTHER) ^ OTHER)
    }

    pub(crate) fn fingerprint(self, key: &[u8]) -> Fingerprint {
        Fingerprint { hash: self.hash(key), check: self.check(key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_hashes_of_its_own() {
        let (one, other) = (Hasher { seed: 1, mask: u64::MAX }, Hasher { seed: 2, mask: u64::MAX });
        for key in [&b"k"[..], b"user7", &[7; 24], &[7; 200], &[7; 500]] {
            let prints = [one.fingerprint(key), other.fingerprint(key)];
            let numbers: Vec<u64> = prints.iter().flat_map(|p| [p.hash, p.check]).collect();
            assert!((1..4).all(|i| !numbers[..i].contains(&numbers[i])), "{numbers:x?}");
        }
    }

    #[test]
    fn a_mask_leaves_the_check_alone() {
        let (full, few) = (Hasher { seed: 1, mask: u64::MAX }, Hasher { seed: 1, mask: 7 });
        assert_eq!(few.hash(b"key"), full.hash(b"key") & 7);
        assert_eq!(few.check(b"key"), full.check(b"key"));
    }
}
