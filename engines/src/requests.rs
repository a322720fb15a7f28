//! Which records a simulated load overwrites.

use crate::random::Random;

/// Which records are overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requests {
    /// All alike.
    Uniform,
    /// As YCSB's `zipfian`: ranks of 10¹⁰ items, hashed onto the records, which is far less skewed than its name says.
    Zipfian,
    /// A Zipf distribution over the records themselves, scrambled by a hash.
    Zipf,
}

/// Draws records.
///
/// Source of the skewed ones: Gray et al., "Quickly Generating Billion-Record Synthetic Databases", SIGMOD 1994, with YCSB's constants.
pub(crate) enum Draw {
    Uniform { records: u32 },
    Skewed { records: u32, items: f64, zeta: f64, eta: f64 },
}

const THETA: f64 = 0.99;
/// YCSB's `zipfian` draws among so many items, whose generalised harmonic number is this.
const YCSB_ITEMS: f64 = 1e10;
const YCSB_ZETA: f64 = 26.469_028_201_783_02;

impl Draw {
    /// Draws among records with numbers below `records`.
    pub(crate) fn new(requests: Requests, records: u32) -> Self {
        let harmonic = |n: u32| (1..=n).map(|rank| f64::from(rank).powf(-THETA)).sum::<f64>();
        let (items, zeta) = match requests {
            Requests::Uniform => return Self::Uniform { records },
            Requests::Zipfian => (YCSB_ITEMS, YCSB_ZETA),
            Requests::Zipf => (f64::from(records), harmonic(records)),
        };
        let eta = (1.0 - (2.0 / items).powf(1.0 - THETA)) / (1.0 - harmonic(2) / zeta);
        Self::Skewed { records, items, zeta, eta }
    }

    /// The number of a record.
    pub(crate) fn record(&self, random: &mut Random) -> u32 {
        match *self {
            Self::Uniform { records } => random.below(u64::from(records)) as u32,
            Self::Skewed { records, items, zeta, eta } => {
                let unit = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
                let rank = match unit * zeta {
                    at if at < 1.0 => 0,
                    at if at < 1.0 + 0.5_f64.powf(THETA) => 1,
                    _ => (items * (eta * unit - eta + 1.0).powf(1.0 / (1.0 - THETA))) as u64,
                };
                (Random::of(0, &[rank]).next() % u64::from(records)) as u32
            }
        }
    }
}
