//! What a chart consists of, before it is an SVG or a PNG: a list of marks in a plane of 640 units'
//! width. Charts are computed into it; `render.rs` hands it to plotters.

use crate::palette::{Color, INK, MUTED, Shape, Style};

/// Width of every chart.
pub(crate) const WIDTH: f64 = 640.0;
/// Size of ticks and labels.
pub(crate) const TEXT: f64 = 13.0;

/// A place: to the right, and down.
pub(crate) type Point = (f64, f64);

/// Where a text lies about its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Left,
    Middle,
    Right,
}

/// One thing to draw.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    Line { points: Vec<Point>, color: Color, width: f64, opacity: f64 },
    Area { points: Vec<Point>, color: Color, opacity: f64 },
    Text { at: Point, text: String, size: f64, color: Color, anchor: Anchor },
    Dot { at: Point, radius: f64, color: Color },
}

/// A chart as marks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drawing {
    pub(crate) height: f64,
    pub(crate) marks: Vec<Mark>,
}

impl Drawing {
    pub(crate) fn new(height: f64) -> Self {
        Self { height, marks: Vec::new() }
    }

    pub(crate) fn line(&mut self, from: Point, to: Point, color: Color, width: f64) {
        self.marks.push(Mark::Line { points: vec![from, to], color, width, opacity: 1.0 });
    }

    /// A line through all points, in an engine's colour and dash.
    pub(crate) fn curve(&mut self, points: &[Point], style: Style) {
        let mut push = |points| {
            self.marks.push(Mark::Line { points, color: style.color, width: 2.0, opacity: 1.0 });
        };
        if style.dash.is_empty() {
            push(points.to_vec());
        } else {
            dashes(points, style.dash).into_iter().for_each(push);
        }
    }

    pub(crate) fn area(&mut self, points: Vec<Point>, color: Color, opacity: f64) {
        self.marks.push(Mark::Area { points, color, opacity });
    }

    pub(crate) fn rect(&mut self, (x0, y0): Point, (x1, y1): Point, color: Color, opacity: f64) {
        self.area(vec![(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, opacity);
    }

    pub(crate) fn text(&mut self, at: Point, text: impl Into<String>, anchor: Anchor) {
        self.colored_text(at, text, anchor, INK);
    }

    pub(crate) fn muted(&mut self, at: Point, text: impl Into<String>, anchor: Anchor) {
        self.colored_text(at, text, anchor, MUTED);
    }

    fn colored_text(&mut self, at: Point, text: impl Into<String>, anchor: Anchor, color: Color) {
        self.marks.push(Mark::Text { at, text: text.into(), size: TEXT, color, anchor });
    }

    /// An engine's mark.
    pub(crate) fn mark(&mut self, (x, y): Point, radius: f64, style: Style) {
        let r = radius;
        let points = match style.shape {
            Shape::Circle => {
                self.marks.push(Mark::Dot { at: (x, y), radius, color: style.color });
                return;
            }
            Shape::Square => {
                let r = r * 0.89;
                vec![(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)]
            }
            Shape::Triangle => {
                vec![(x, y - r * 1.15), (x + r * 1.1, y + r * 0.85), (x - r * 1.1, y + r * 0.85)]
            }
            Shape::Inverted => {
                vec![(x, y + r * 1.15), (x + r * 1.1, y - r * 0.85), (x - r * 1.1, y - r * 0.85)]
            }
            Shape::Diamond => {
                let r = r * 1.2;
                vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)]
            }
        };
        self.area(points, style.color, 1.0);
    }

    /// A range as a thin line with caps across `(x0, y)` to `(x1, y)`.
    pub(crate) fn whisker(&mut self, x0: f64, x1: f64, y: f64) {
        if (x1 - x0).abs() < 1.5 {
            return;
        }
        self.line((x0, y), (x1, y), INK, 1.0);
        for x in [x0, x1] {
            self.line((x, y - 3.0), (x, y + 3.0), INK, 1.0);
        }
    }

    /// The same drawing under lines of heading, for files that stand alone.
    pub(crate) fn headed(&self, lines: &[(String, f64, Color)]) -> Self {
        let mut marks = Vec::with_capacity(self.marks.len() + lines.len());
        let mut y = 14.0;
        for (text, size, color) in lines {
            y += size * 0.75;
            marks.push(Mark::Text {
                at: (16.0, y),
                text: text.clone(),
                size: *size,
                color: *color,
                anchor: Anchor::Left,
            });
            y += size * 0.75;
        }
        let down = y + 8.0;
        marks.extend(self.marks.iter().map(|mark| mark.moved(down)));
        Self { height: self.height + down, marks }
    }
}

impl Mark {
    fn moved(&self, down: f64) -> Self {
        let mut mark = self.clone();
        match &mut mark {
            Self::Line { points, .. } | Self::Area { points, .. } => {
                for point in points {
                    point.1 += down;
                }
            }
            Self::Text { at, .. } | Self::Dot { at, .. } => at.1 += down,
        }
        mark
    }
}

/// Cuts a line into strokes; `pattern` holds lengths of strokes and gaps in turn.
fn dashes(points: &[Point], pattern: &[f64]) -> Vec<Vec<Point>> {
    let mut strokes: Vec<Vec<Point>> = Vec::new();
    let mut stroke: Vec<Point> = points.first().copied().into_iter().collect();
    let (mut at, mut left) = (0, pattern[0]);
    for pair in points.windows(2) {
        let ((mut x, mut y), (x1, y1)) = (pair[0], pair[1]);
        loop {
            let length = (x1 - x).hypot(y1 - y);
            let drawing = at % 2 == 0;
            if length <= left {
                left -= length;
                if drawing {
                    stroke.push((x1, y1));
                }
                break;
            }
            x += (x1 - x) * left / length;
            y += (y1 - y) * left / length;
            if drawing {
                stroke.push((x, y));
                strokes.push(std::mem::take(&mut stroke));
            } else {
                stroke = vec![(x, y)];
            }
            at = (at + 1) % pattern.len();
            left = pattern[at];
        }
    }
    if stroke.len() > 1 {
        strokes.push(stroke);
    }
    strokes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_cover_the_line_in_strokes_and_gaps() {
        let strokes = dashes(&[(0.0, 0.0), (10.0, 0.0), (20.0, 0.0)], &[8.0, 4.0]);
        assert_eq!(strokes, [vec![(0.0, 0.0), (8.0, 0.0)], vec![(12.0, 0.0), (20.0, 0.0)],]);
    }

    #[test]
    fn dashes_follow_corners_and_survive_repeated_points() {
        let strokes = dashes(&[(0.0, 0.0), (0.0, 0.0), (4.0, 0.0), (4.0, 4.0)], &[6.0, 4.0]);
        assert_eq!(strokes, [vec![(0.0, 0.0), (0.0, 0.0), (4.0, 0.0), (4.0, 2.0)]]);
        assert!(dashes(&[], &[1.0, 1.0]).is_empty());
    }
}
