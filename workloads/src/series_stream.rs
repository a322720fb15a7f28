//! The stream of a time-series workload: ordered ingest over its own series, and reads of them.
//!
//! A series belongs to one stream (series modulo the number of streams). The stream's inserts go
//! through its series in turn, one point each, then again: a tick. Which step arrives at a tick is
//! decided by [`crate::series`]. Because nobody else writes to the series, the stream knows at any
//! time which points are there.
//!
//! Range deletes go through the series in turn as well. Each leaves the newest points of one series, as
//! many as the retention says: more than a point can be late, so that none arrives behind the cut. While
//! a range delete is in doubt because it was not acknowledged, the points of its range may be there or
//! not.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{ValueFault, key_text};
use crate::inserts::Fate;
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
    last: Last,
    /// Where each of the own series begins; empty without range deletes.
    cuts: Vec<Cut>,
    /// Which of the own series the next range delete is for.
    drop_turn: u32,
    /// The series whose range delete is under way.
    drop_pending: Option<u32>,
    /// Points that the last range delete removed.
    dropped: u64,
    /// The next point was tried before and refused: it may be there or not.
    next_is_doubtful: bool,
    /// The series of the last read of a latest value.
    latest_series: u32,
    start: SeriesKey,
    end: SeriesKey,
    value: Vec<u8>,
    record: u64,
}

/// What the last operation is; its keys and value are in the buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Insert,
    Latest,
    Window,
    DeleteRange,
}

/// Where a series begins.
#[derive(Debug, Clone, Copy, Default)]
struct Cut {
    /// Steps below are certainly gone.
    gone: u64,
    /// Steps from here on are kept; between the two they may be there or not.
    kept: u64,
}

impl SeriesStream {
    pub(crate) fn new(resolved: Arc<Resolved>, data: &SeriesData, seed: u64, index: u32) -> Self {
        let (series, streams) = (data.codec.series_count(), resolved.spec.streams);
        let own = series.saturating_sub(index).div_ceil(streams);
        let cuts = if data.retention_points.is_some() { own as usize } else { 0 };
        Self {
            random: Random::new(seed, "operations", u64::from(index)),
            index,
            own,
            tick: 0,
            turn: 0,
            inserted: 0,
            insert_pending: false,
            last: Last::Latest,
            cuts: vec![Cut::default(); cuts],
            drop_turn: 0,
            drop_pending: None,
            dropped: 0,
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
    pub(crate) fn advance(&mut self, data: &SeriesData) {
        self.acknowledge();
        self.last = match self.resolved.mix.draw(&mut self.random) {
            OperationKind::Latest => self.latest(),
            OperationKind::Window => self.window(data),
            OperationKind::DeleteRange => self.delete_range(data),
            _ => self.insert(data),
        };
    }

    #[inline]
    pub(crate) fn operation(&self) -> Operation<'_> {
        let (start, end) = (self.start.as_slice(), self.end.as_slice());
        match self.last {
            Last::Insert => Operation::Insert { key: start, value: &self.value },
            Last::Latest => Operation::Latest { first: start, start: end },
            Last::Window => Operation::Window { start, end },
            Last::DeleteRange => Operation::DeleteRange { start, end },
        }
    }

    pub(crate) fn acknowledge(&mut self) {
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
        if let Some(series) = self.drop_pending.take() {
            let cut = self.cut_mut(series);
            cut.gone = cut.kept;
        }
    }

    fn insert(&mut self, data: &SeriesData) -> Last {
        let point = data.codec.point_at(self.own_series(self.turn), self.tick);
        self.insert_pending = true;
        self.record = data.codec.record_of(point);
        self.start = data.codec.key_of(point);
        data.codec.write_value(point, 0, &mut self.value);
        Last::Insert
    }

    fn latest(&mut self) -> Last {
        self.latest_series = self.any_series();
        self.start = series_key(self.latest_series, 0);
        self.end = series_key(self.latest_series, u64::MAX);
        Last::Latest
    }

    fn window(&mut self, data: &SeriesData) -> Last {
        let series = self.any_series();
        let length = data.window_points.draw(self.random.bits());
        let steps = self.newest_step(&data.codec, series).map_or(0, |newest| newest + 1);
        let first = self.cut(series).kept;
        let recent = self.random.unit() < data.window_recent_share;
        let end = if recent || steps - first <= length {
            steps.max(length)
        } else {
            first + length + self.random.below(steps - first - length + 1)
        };
        self.start = data.codec.key_of(Point { series, step: end - length });
        self.end = data.codec.key_of(Point { series, step: end });
        Last::Window
    }

    /// Drops what is older than the retention from the next series; an insert when nothing is.
    fn delete_range(&mut self, data: &SeriesData) -> Last {
        let series = self.own_series(self.drop_turn);
        let steps = self.newest_step(&data.codec, series).map_or(0, |newest| newest + 1);
        let kept = steps.saturating_sub(data.retention_points.unwrap_or(u64::MAX));
        let before = self.cut(series);
        if kept <= before.gone {
            return self.insert(data);
        }
        self.dropped = kept - before.gone;
        self.cut_mut(series).kept = kept;
        self.drop_pending = Some(series);
        self.drop_turn = (self.drop_turn + 1) % self.own;
        self.start = series_key(series, 0);
        self.end = data.codec.key_of(Point { series, step: kept });
        Last::DeleteRange
    }

    /// Where an own series begins.
    fn cut(&self, series: u32) -> Cut {
        self.cuts.get(self.turn_of(series) as usize).copied().unwrap_or_default()
    }

    fn cut_mut(&mut self, series: u32) -> &mut Cut {
        let turn = self.turn_of(series) as usize;
        &mut self.cuts[turn]
    }

    /// Steps of an own series that may be there or not, because their range delete was not
    /// acknowledged. One that is under way counts as acknowledged.
    fn doubtful_cut(&self, series: u32) -> Range<u64> {
        let Cut { gone, kept } = self.cut(series);
        if self.drop_pending == Some(series) { kept..kept } else { gone..kept }
    }

    fn own_series(&self, turn: u32) -> u32 {
        self.index + turn * self.resolved.spec.streams
    }

    fn any_series(&mut self) -> u32 {
        let turn = self.random.below(u64::from(self.own)) as u32;
        self.own_series(turn)
    }

    pub(crate) fn failed(&mut self) {
        if let Some(series) = self.drop_pending.take() {
            self.drop_turn = self.turn_of(series);
        }
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

    fn turn_of(&self, series: u32) -> u32 {
        (series - self.index) / self.resolved.spec.streams
    }

    /// Key and value bytes of the points that the last operation removed.
    pub(crate) fn removed_bytes(&self, data: &SeriesData) -> u64 {
        let Last::DeleteRange = self.last else { return 0 };
        self.dropped * data.codec.record_bytes()
    }

    /// Key and value bytes that this stream has added to those of the loaded points; negative when it has
    /// dropped more than it has ingested. Linear in the number of its series.
    pub(crate) fn added_bytes(&self, data: &SeriesData) -> i64 {
        let dropped: u64 = self.cuts.iter().map(|cut| cut.kept).sum();
        (self.inserted() as i64 - dropped as i64) * data.codec.record_bytes() as i64
    }

    /// What became of a point of this stream's series.
    pub(crate) fn fate(&self, codec: &SeriesCodec, record: u64) -> Fate {
        let point = codec.point_of(record);
        if !self.owns(point.series) {
            return Fate::Unknown;
        }
        if self.doubtful(codec) == Some(point)
            || self.doubtful_cut(point.series).contains(&point.step)
        {
            return Fate::Unknown;
        }
        if self.is_there(codec, point) { Fate::Present } else { Fate::Absent }
    }

    /// Whether a point of an own series has been ingested and not been dropped.
    fn is_there(&self, codec: &SeriesCodec, point: Point) -> bool {
        point.step >= self.cut(point.series).kept
            && codec.is_present(point, self.ticks_of(point.series))
    }

    /// How many points a series of this stream has received, a pending insert included.
    fn ticks_of(&self, series: u32) -> u64 {
        let turn = self.turn_of(series);
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
        let doubtful = self.doubtful(codec);
        let doubtful_cut = self.doubtful_cut(series);
        let kept = self.cut(series).kept;
        let first_missing = |steps: Range<u64>| {
            let present = |step: &u64| self.is_there(codec, Point { series, step: *step });
            match (steps.start.max(kept)..steps.end).find(present) {
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
            let in_doubt = doubtful == Some(point) || doubtful_cut.contains(&point.step);
            if !self.is_there(codec, point) && !in_doubt {
                let dropped = point.step < kept;
                return Err(surplus(key, if dropped { "deleted" } else { "never written" }));
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
