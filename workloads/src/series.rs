//! Time series: keys, values, and the order in which points arrive, as pure functions.
//!
//! A point is a series and a step; its record number is step · series count + series, so that
//! record numbers run through all series at one time and then through the next time. Records below
//! `records` are loaded; what a stream ingests follows per series.
//!
//! **Key**, 12 bytes, ordered by series and then by time:
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 4 | series, u32, most significant byte first |
//! | 4 | 8 | timestamp in ms since 1970, u64, most significant byte first |
//!
//! **Value** of 16 bytes and more (all numbers least significant byte first); a shorter one is tag bytes
//! alone, which hold no version:
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 8 | sample, f64 |
//! | 8 | 4 | version, u32: 0 as ingested |
//! | 12 | 4 | tag over seed, record, version and length |
//! | 16 | … | half random bytes, half one byte repeated |
//!
//! **Late points.** Behind the loaded steps each series is cut into blocks of B = ⌊1 / late share⌋
//! steps. With probability late share · B, a hash of series and block picks one step *a* of the
//! block and a delay *d* within it: the steps *a*+1 … *a*+*d* arrive before step *a*. So each series
//! still receives one point at each tick, which makes the arrival order and its inverse O(1), and any
//! window can be checked exactly without remembering a point.

use crate::error::{ValueFault, key_text};
use crate::random::{derive_seed, fold, scale, to_unit};
use crate::spec::SeriesSpec;
use crate::values::{Stamp, filler_byte, filler_matches, words_match, write_words};

/// Length of a key, in bytes.
pub(crate) const KEY_BYTES: usize = 12;
/// Length of a sample with its version and tag, in bytes.
const STAMP_BYTES: usize = 16;
const DAY_MS: u64 = 86_400_000;

/// A key of a time series.
pub(crate) type SeriesKey = [u8; KEY_BYTES];

/// One point: a series and a step of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) series: u32,
    pub(crate) step: u64,
}

/// Turns points into keys and values and back, and knows when they arrive.
#[derive(Debug, Clone)]
pub(crate) struct SeriesCodec {
    series: u64,
    records: u64,
    start_ms: u64,
    interval_ms: u64,
    value_bytes: usize,
    seed: u64,
    late: Lateness,
}

impl SeriesCodec {
    pub(crate) fn new(spec: &SeriesSpec, records: u64, seed: u64) -> Self {
        Self {
            series: u64::from(spec.series),
            records,
            start_ms: spec.start_ms,
            interval_ms: spec.interval_ms,
            value_bytes: spec.value_bytes as usize,
            seed: derive_seed(seed, "points", 0),
            late: Lateness::new(spec, derive_seed(seed, "late points", 0)),
        }
    }

    pub(crate) fn series_count(&self) -> u32 {
        self.series as u32
    }

    pub(crate) fn point_of(&self, record: u64) -> Point {
        Point { series: (record % self.series) as u32, step: record / self.series }
    }

    pub(crate) fn record_of(&self, point: Point) -> u64 {
        point.step * self.series + u64::from(point.series)
    }

    /// Key and value bytes of a point.
    pub(crate) fn record_bytes(&self) -> u64 {
        (KEY_BYTES + self.value_bytes) as u64
    }

    /// Steps of a series that are loaded.
    pub(crate) fn loaded_steps(&self, series: u32) -> u64 {
        let rest = u64::from(u64::from(series) < self.records % self.series);
        self.records / self.series + rest
    }

    pub(crate) fn key_of(&self, point: Point) -> SeriesKey {
        let time = self.start_ms.saturating_add(point.step.saturating_mul(self.interval_ms));
        series_key(point.series, time)
    }

    /// The point that `key` is of.
    pub(crate) fn parse(&self, key: &[u8]) -> Option<Point> {
        let (series, time) = split_key(key)?;
        let elapsed = time.checked_sub(self.start_ms)?;
        let known = u64::from(series) < self.series && elapsed % self.interval_ms == 0;
        let step = elapsed / self.interval_ms;
        step.checked_mul(self.series)?.checked_add(u64::from(series))?;
        known.then_some(Point { series, step })
    }

    /// The steps with `start` ≤ time < `end` of the series of `start`.
    pub(crate) fn steps_between(
        &self,
        start: &[u8],
        end: &[u8],
    ) -> Option<(u32, std::ops::Range<u64>)> {
        let (series, start) = split_key(start)?;
        let (_, end) = split_key(end)?;
        let step = |time: u64| time.saturating_sub(self.start_ms).div_ceil(self.interval_ms);
        Some((series, step(start)..step(end)))
    }

    /// What is measured: a daily triangle around a level of the series' own, with noise, to one
    /// decimal.
    fn sample(&self, point: Point) -> f64 {
        let own = fold(self.seed, u64::from(point.series));
        let level = to_unit(own) * 100.0;
        let time = point.step.wrapping_mul(self.interval_ms).wrapping_add(own % DAY_MS);
        let day = (time % DAY_MS) as f64 / DAY_MS as f64;
        let wave = if day < 0.5 { day } else { 1.0 - day };
        let noise = to_unit(fold(own, point.step));
        ((level + 40.0 * wave + noise) * 10.0) as i64 as f64 / 10.0
    }

    fn tag(&self, record: u64, version: u32) -> u64 {
        fold(fold(self.seed ^ record, u64::from(version)), self.value_bytes as u64)
    }

    /// Writes the value of a point in a version, of which the low 32 bits count.
    #[inline]
    pub(crate) fn write_value(&self, point: Point, version: u64, value: &mut Vec<u8>) {
        value.resize(self.value_bytes, 0);
        let record = self.record_of(point);
        let Some((stamp, rest)) = value.split_at_mut_checked(STAMP_BYTES) else {
            return write_words(self.tag(record, 0), value);
        };
        let version = version as u32;
        let tag = self.tag(record, version);
        stamp[..8].copy_from_slice(&self.sample(point).to_le_bytes());
        stamp[8..12].copy_from_slice(&version.to_le_bytes());
        stamp[12..].copy_from_slice(&(tag as u32).to_le_bytes());
        let (random, filler) = rest.split_at_mut(rest.len() / 2);
        write_words(tag, random);
        filler.fill(filler_byte(tag));
    }

    /// Checks that `value` is one of the point that `key` names, and whole.
    pub(crate) fn check(&self, key: &[u8], value: &[u8]) -> Result<Stamp, ValueFault> {
        let point = self.parse(key).ok_or_else(|| ValueFault::ForeignKey { key: key_text(key) })?;
        if value.len() != self.value_bytes {
            let (found, expected) = (value.len(), self.value_bytes);
            return Err(ValueFault::Length { key: key_text(key), found, expected });
        }
        let damaged = || ValueFault::Damaged { key: key_text(key), offset: 0, length: value.len() };
        let record = self.record_of(point);
        let Some((stamp, rest)) = value.split_at_checked(STAMP_BYTES) else {
            let whole = words_match(self.tag(record, 0), value);
            return whole
                .then_some(Stamp { record: Some(record), version: None })
                .ok_or_else(damaged);
        };
        let version = stamp[8..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let tag = self.tag(record, version);
        let (random, filler) = rest.split_at(rest.len() / 2);
        let whole = stamp[..8] == self.sample(point).to_le_bytes()
            && stamp[12..] == (tag as u32).to_le_bytes()
            && words_match(tag, random)
            && filler_matches(tag, filler);
        let stamp = Stamp { record: Some(record), version: Some(u64::from(version)) };
        whole.then_some(stamp).ok_or_else(damaged)
    }

    /// The point that a series receives at a tick, which counts from its first ingested point.
    #[inline]
    pub(crate) fn point_at(&self, series: u32, tick: u64) -> Point {
        Point { series, step: self.loaded_steps(series) + self.late.arriving(series, tick) }
    }

    /// Whether a point is there once its series has received `ticks` points.
    pub(crate) fn is_present(&self, point: Point, ticks: u64) -> bool {
        match point.step.checked_sub(self.loaded_steps(point.series)) {
            None => true,
            Some(ingested) => self.late.arrival(point.series, ingested) < ticks,
        }
    }

    /// The newest step of a series that has received `ticks` points; `None` when it has none at all.
    pub(crate) fn newest_step(&self, series: u32, ticks: u64) -> Option<u64> {
        // A step arrives at most one tick early, so the search ends after a few steps.
        let newest = self.loaded_steps(series) + ticks;
        (0..=newest).rev().find(|&step| self.is_present(Point { series, step }, ticks))
    }
}

/// The key of a series at a time.
pub(crate) fn series_key(series: u32, time_ms: u64) -> SeriesKey {
    let mut key = [0; KEY_BYTES];
    key[..4].copy_from_slice(&series.to_be_bytes());
    key[4..].copy_from_slice(&time_ms.to_be_bytes());
    key
}

fn split_key(key: &[u8]) -> Option<(u32, u64)> {
    let (series, time) = key.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*series), u64::from_be_bytes(time.try_into().ok()?)))
}

/// Which ingested steps arrive late: see the head of this file.
#[derive(Debug, Clone)]
struct Lateness {
    seed: u64,
    /// Steps in a block; 1 when nothing is late.
    block: u64,
    /// Probability that a block has a late step.
    chance: f64,
    delay_max: u64,
}

impl Lateness {
    fn new(spec: &SeriesSpec, seed: u64) -> Self {
        let block = late_block(spec.late_share);
        let chance = spec.late_share * block as f64;
        Self { seed, block, chance, delay_max: u64::from(spec.late_steps_max).min(block - 1) }
    }

    /// The late step of a block and the step that it arrives behind, both within the block.
    #[inline]
    fn late_in(&self, series: u32, block: u64) -> Option<(u64, u64)> {
        if self.delay_max == 0 {
            return None;
        }
        let bits = fold(fold(self.seed, u64::from(series)), block);
        if to_unit(bits) >= self.chance {
            return None;
        }
        let delay = 1 + scale(fold(bits, 1), self.delay_max);
        let step = scale(fold(bits, 2), self.block - delay);
        Some((step, step + delay))
    }

    /// The ingested step that arrives at a tick.
    #[inline]
    fn arriving(&self, series: u32, tick: u64) -> u64 {
        let (block, place) = (tick / self.block, tick % self.block);
        match self.late_in(series, block) {
            Some((late, behind)) if place == behind => tick - place + late,
            Some((late, behind)) if (late..behind).contains(&place) => tick + 1,
            _ => tick,
        }
    }

    /// The tick at which an ingested step arrives: the inverse of [`arriving`](Self::arriving).
    #[inline]
    fn arrival(&self, series: u32, step: u64) -> u64 {
        let (block, place) = (step / self.block, step % self.block);
        match self.late_in(series, block) {
            Some((late, behind)) if place == late => step - place + behind,
            Some((late, behind)) if (late + 1..=behind).contains(&place) => step - 1,
            _ => step,
        }
    }
}

/// Steps of a block for a share of late points: ⌊1 / share⌋, or 1 when nothing is late.
pub(crate) fn late_block(late_share: f64) -> u64 {
    if late_share > 0.0 { (1.0 / late_share) as u64 } else { 1 }
}
