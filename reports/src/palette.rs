//! Colours: one per engine, the same in all charts, and the few that everything else is drawn in.
//!
//! Charts are drawn once, in the colours of the light theme. In the page, a style sheet made from
//! [`DARK`] repaints exactly these colours for the dark theme, so that the drawing code knows one theme only.

/// A colour as red, green and blue.
pub(crate) type Color = (u8, u8, u8);

/// Text that is to be read first.
pub(crate) const INK: Color = (0x1B, 0x1F, 0x24);
/// Text beside it: ticks, units, remarks.
pub(crate) const MUTED: Color = (0x5B, 0x67, 0x75);
/// Axes and what is outlined.
pub(crate) const AXIS: Color = (0x9A, 0xA5, 0xB1);
/// Grid lines.
pub(crate) const GRID: Color = (0xE4, 0xE8, 0xED);
/// The page behind a chart.
pub(crate) const PAPER: Color = (0xFF, 0xFF, 0xFF);
/// Background work on the time line.
pub(crate) const WORK: Color = (0xC9, 0xD3, 0xDE);
/// Stalls on the time line.
pub(crate) const STALL: Color = (0xD6, 0x3A, 0x2E);

/// Colours of engines.
pub(crate) const COLORS: usize = 7;

/// Okabe and Ito's colours, which most colour-blind people can tell apart.
const ENGINES: [Color; COLORS] = [
    (0x00, 0x72, 0xB2),
    (0xE6, 0x9F, 0x00),
    (0x00, 0x9E, 0x73),
    (0xD5, 0x5E, 0x00),
    (0x56, 0xB4, 0xE9),
    (0xCC, 0x79, 0xA7),
    (0x00, 0x00, 0x00),
];

/// Colours of the dark theme for those that would be lost on a dark page.
pub(crate) const DARK: [(Color, Color); 12] = [
    (INK, (0xE8, 0xEC, 0xF1)),
    (MUTED, (0x9D, 0xA9, 0xB7)),
    (AXIS, (0x66, 0x72, 0x80)),
    (GRID, (0x2A, 0x31, 0x3A)),
    (PAPER, (0x15, 0x19, 0x1F)),
    (WORK, (0x3C, 0x47, 0x54)),
    (STALL, (0xF0, 0x6A, 0x5E)),
    ((0x00, 0x72, 0xB2), (0x2F, 0x8F, 0xDC)),
    ((0x56, 0xB4, 0xE9), (0x96, 0xD3, 0xF7)),
    ((0x00, 0x9E, 0x73), (0x1F, 0xB8, 0x8C)),
    ((0xD5, 0x5E, 0x00), (0xE8, 0x7A, 0x2A)),
    ((0x00, 0x00, 0x00), (0xF2, 0xF4, 0xF7)),
];

/// Shape of an engine's marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Inverted,
}

/// In this order: the style sheet has the same.
pub(crate) const SHAPES: [Shape; 5] =
    [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond, Shape::Inverted];

/// Lengths of strokes and gaps; the first engine's line is whole.
const DASHES: [&[f64]; 4] = [&[], &[8.0, 4.0], &[2.5, 3.0], &[10.0, 3.0, 2.5, 3.0]];

/// How an engine looks in every chart: with more engines than colours, shape and dash tell them apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) color: Color,
    pub(crate) shape: Shape,
    pub(crate) dash: &'static [f64],
}

/// The style of the engine with this index in the report.
pub(crate) fn style(engine: usize) -> Style {
    Style {
        color: ENGINES[engine % ENGINES.len()],
        shape: SHAPES[engine % SHAPES.len()],
        dash: DASHES[engine % DASHES.len()],
    }
}

/// Sources of written bytes, in the order in which bars stack them.
pub(crate) const SOURCES: [(&str, Color); 8] = [
    ("log", (0x77, 0xAA, 0xDD)),
    ("flush", (0x44, 0xBB, 0x99)),
    ("compaction", (0xEE, 0x88, 0x66)),
    ("merge", (0xE5, 0xC4, 0x5C)),
    ("manifest", (0xAA, 0xAA, 0x44)),
    ("hint", (0xBB, 0x99, 0xCC)),
    ("value_log", (0xFF, 0xAA, 0xBB)),
    ("other", (0xB4, 0xB8, 0xBE)),
];

/// The colour of a source of written bytes; those without a name of their own are `other`.
pub(crate) fn source(name: &str) -> (&'static str, Color) {
    let other = SOURCES[SOURCES.len() - 1];
    SOURCES.into_iter().find(|(known, _)| *known == name).unwrap_or(other)
}

/// As CSS and SVG write it.
pub(crate) fn hex((red, green, blue): Color) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}
