//! The stream of a time-series workload: ordered ingest over its own series, and reads of them.
//!
//! A series belongs to one stream (series modulo the number of streams). The stream's inserts go
//! through its series in turn, one point each, then again: a tick. Which step arrives at a tick is
//! decided by [`crate::series`]. Because nobody else writes to the series, the stream knows at any
//! time which points are there.

use std::sync::Arc;

use crate::error::{ValueFault, key_text};
use crate::operation::{Operation, OperationKind};
use crate::random::Random;
use crate::series::{Point, SeriesCodec, SeriesKey, series_key};
use crate::workload::{Resolved, SeriesData};

#[derive(Debug, Clone)]
pub(crate) struct SeriesStream {
    resolved: Arc<Resolved>,
    random: Random,
    index: u32,
    /// How many series the stream owns.
    own: u32,
    /// Points that each series has received, or one more for the series before `turn`.
    tick: u64,
    /// Which of the own series is next to receive a point.
    turn: u32,
    inserted: u64,
    insert_pending: bool,
    /// The next point was tried before and refused: it may be there or not.
    next_is_doubtful: bool,
    /// The series of the last read of a latest value.
    latest_series: u32,
    start: SeriesKey,
    end: SeriesKey,
    value: Vec<u8>,
    record: u64,
}

impl SeriesStream {
    pub(crate) fn new(resolved: Arc<Resolved>, data: &SeriesData, seed: u64, index: u32) -> Self {
        let (series, streams) = (data.codec.series_count(), resolved.spec.streams);
        Self {
            random: Random::new(seed, "operations", u64::from(index)),
            index,
            own: series.saturating_sub(index).div_ceil(streams),
            tick: 0,
            turn: 0,
            inserted: 0,
            insert_pending: false,
            next_is_doubtful: false,
            latest_series: index,
            start: series_key(0, 0),
            end: series_key(0, 0),
            value: Vec::with_capacity(resolved.spec.value_bytes_max() as usize),
            record: 0,
            resolved,
        }
    }

    #[inline]
    pub(crate) fn next(&mut self, data: &SeriesData) -> Operation<'_> {
        self.acknowledge();
        match self.resolved.mix.draw(&mut self.random) {
            OperationKind::Latest => self.latest(),
            OperationKind::Window => self.window(data),
            _ => self.insert(data),
        }
    }

    fn acknowledge(&mut self) {
        if self.insert_pending {
            self.insert_pending = false;
            self.next_is_doubtful = false;
            self.inserted += 1;
            self.turn += 1;
            if self.turn == self.own {
                self.turn = 0;
                self.tick += 1;
            }
        }
    }

    fn insert(&mut self, data: &SeriesData) -> Operation<'_> {
        let point = data.codec.point_at(self.own_series(self.turn), self.tick);
        self.insert_pending = true;
        self.record = data.codec.record_of(point);
        self.start = data.codec.key_of(point);
        data.codec.write_value(point, 0, &mut self.value);
        Operation::Insert { key: &self.start, value: &self.value }
    }

    fn latest(&mut self) -> Operation<'_> {
        self.latest_series = self.any_series();
        self.start = series_key(self.latest_series, 0);
        self.end = series_key(self.latest_series, u64::MAX);
        Operation::Latest { first: &self.start, start: &self.end }
    }

    fn window(&mut self, data: &SeriesData) -> Operation<'_> {
        let series = self.any_series();
        let length = data.window_points.draw(self.random.bits());
        let steps = self.newest_step(&data.codec, series).map_or(0, |newest| newest + 1);
        let recent = self.random.unit() < data.window_recent_share;
        let end = if recent || steps <= length {
            steps.max(length)
        } else {
            length + self.random.below(steps - length + 1)
        };
        self.start = data.codec.key_of(Point { series, step: end - length });
        self.end = data.codec.key_of(Point { series, step: end });
        Operation::Window { start: &self.start, end: &self.end }
    }

    fn own_series(&self, turn: u32) -> u32 {
        self.index + turn * self.resolved.spec.streams
    }

    fn any_series(&mut self) -> u32 {
        let turn = self.random.below(u64::from(self.own)) as u32;
        self.own_series(turn)
    }

    pub(crate) fn failed(&mut self) {
        if self.insert_pending {
            self.insert_pending = false;
            self.next_is_doubtful = true;
        }
    }

    pub(crate) fn inserted(&self) -> u64 {
        self.inserted + u64::from(self.insert_pending)
    }

    pub(crate) fn inserted_record(&self, data: &SeriesData, i: u64) -> u64 {
        let own = u64::from(self.own);
        let series = self.own_series((i % own) as u32);
        data.codec.record_of(data.codec.point_at(series, i / own))
    }

    pub(crate) fn record(&self) -> u64 {
        self.record
    }

    /// How many points a series of this stream has received, a pending insert included.
    fn ticks_of(&self, series: u32) -> u64 {
        let turn = (series - self.index) / self.resolved.spec.streams;
        let turns_done = self.turn + u32::from(self.insert_pending);
        self.tick + u64::from(turn < turns_done)
    }

    fn newest_step(&self, codec: &SeriesCodec, series: u32) -> Option<u64> {
        codec.newest_step(series, self.ticks_of(series))
    }

    /// The point that may be there or not.
    fn doubtful(&self, codec: &SeriesCodec) -> Option<Point> {
        self.next_is_doubtful.then(|| codec.point_at(self.own_series(self.turn), self.tick))
    }

    fn owns(&self, series: u32) -> bool {
        series < self.resolved.spec.streams * self.own + self.index
            && series % self.resolved.spec.streams == self.index
    }

    pub(crate) fn check_window<'a>(
        &self,
        codec: &SeriesCodec,
        start: &[u8],
        end: &[u8],
        items: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), ValueFault> {
        let foreign = |key: &[u8]| ValueFault::ForeignKey { key: key_text(key) };
        let surplus = |key: &[u8], reason| ValueFault::Surplus { key: key_text(key), reason };
        let (series, steps) = codec.steps_between(start, end).ok_or_else(|| foreign(start))?;
        if !self.owns(series) {
            return Err(foreign(start));
        }
        let ticks = self.ticks_of(series);
        let doubtful = self.doubtful(codec);
        let first_missing = |steps: std::ops::Range<u64>| {
            let present = |step: &u64| codec.is_present(Point { series, step: *step }, ticks);
            match steps.into_iter().find(present) {
                Some(step) => {
                    let key = codec.key_of(Point { series, step });
                    Err(ValueFault::Missing { key: key_text(&key) })
                }
                None => Ok(()),
            }
        };
        let mut expected = steps.start;
        for (key, value) in items {
            let point = codec.parse(key).ok_or_else(|| foreign(key))?;
            if point.series != series || !steps.contains(&point.step) {
                return Err(surplus(key, "outside of the window"));
            }
            if point.step < expected {
                return Err(surplus(key, "out of order or given twice"));
            }
            if !codec.is_present(point, ticks) && doubtful != Some(point) {
                return Err(surplus(key, "never written"));
            }
            first_missing(expected..point.step)?;
            codec.check(key, value)?;
            expected = point.step + 1;
        }
        // Steps beyond the newest cannot be missing, however far the window reaches.
        let newest = self.newest_step(codec, series).map_or(0, |newest| newest + 1);
        first_missing(expected..steps.end.min(newest))
    }

    pub(crate) fn check_latest(
        &self,
        codec: &SeriesCodec,
        item: Option<(&[u8], &[u8])>,
    ) -> Result<(), ValueFault> {
        let series = self.latest_series;
        let newest = self.newest_step(codec, series).map(|step| Point { series, step });
        let missing = |point| Err(ValueFault::Missing { key: key_text(&codec.key_of(point)) });
        let Some((key, value)) = item else { return newest.map_or(Ok(()), missing) };
        let found =
            codec.parse(key).ok_or_else(|| ValueFault::ForeignKey { key: key_text(key) })?;
        let surplus = |reason| Err(ValueFault::Surplus { key: key_text(key), reason });
        if found.series != series {
            return surplus("of another series");
        }
        match newest {
            Some(newest) if found.step < newest.step => return missing(newest),
            Some(newest) if found == newest => {}
            _ if self.doubtful(codec) == Some(found) => {}
            _ => return surplus("never written"),
        }
        codec.check(key, value).map(|_| ())
    }
}
