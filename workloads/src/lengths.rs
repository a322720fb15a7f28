//! Lengths drawn from a [`LengthDistribution`]: of scans, fields and windows.

use crate::chooser::Zipfian;
use crate::random::{scale, to_unit};
use crate::spec::LengthDistribution;

/// A length distribution with its constants worked out. One draw takes 64 random bits, so that a
/// length can come from a generator as well as from a hash.
#[derive(Debug, Clone)]
pub(crate) enum Lengths {
    Constant(u64),
    Uniform { min: u64, count: u64 },
    Zipfian { min: u64, ranks: Zipfian },
}

impl Lengths {
    pub(crate) fn new(distribution: LengthDistribution) -> Self {
        match distribution {
            LengthDistribution::Constant { value } => Self::Constant(value),
            LengthDistribution::Uniform { min, max } => Self::Uniform { min, count: max - min + 1 },
            LengthDistribution::Zipfian { min, max } => {
                Self::Zipfian { min, ranks: Zipfian::new(max - min + 1) }
            }
        }
    }

    #[inline]
    pub(crate) fn draw(&self, bits: u64) -> u64 {
        match self {
            Self::Constant(value) => *value,
            Self::Uniform { min, count } => min + scale(bits, *count),
            Self::Zipfian { min, ranks } => min + ranks.rank(to_unit(bits)),
        }
    }
}
