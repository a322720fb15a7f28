//! From marks to SVG and PNG, both by plotters and by the same code.
//!
//! plotters counts in whole pixels, so an SVG is drawn at twice its size and scaled by its `viewBox`. A PNG is
//! drawn at four times its size and each 2 × 2 pixels are averaged, which smooths every edge.

use std::sync::Once;

use image::codecs::png::PngEncoder;
use image::{ColorType, ImageEncoder};
use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, IntoFont, RGBColor, ShapeStyle, TextStyle, register_font};

use super::drawing::{Anchor, Drawing, Mark, WIDTH};
use crate::error::{Error, Result};
use crate::palette::{Color, PAPER};

/// Pixels of an SVG and of a PNG per unit.
const SCALE: f64 = 2.0;
/// Pixels drawn for one pixel of a PNG, in each direction.
const OVERSAMPLING: u32 = 2;
/// plotters' font sizes are line heights: this many times the size that SVG means.
const LINE_HEIGHT: f64 = 1.24;

/// The widest common font of a system against the bundled one.
const WIDER_FONTS: f64 = 1.12;
/// plotters sets a bitmap's text too high by this share of its size.
const TEXT_DROP: f64 = 0.2;

/// Roboto, under the Apache licence in `reports/assets/`.
static FONT: &[u8] = include_bytes!("../../assets/Roboto-Regular.ttf");
const FAMILY: &str = "sans-serif";

fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // The font is part of the program; a test draws with it.
        register_font(FAMILY, FontStyle::Normal, FONT).ok();
    });
}

/// Width of a text in units, with room for the wider fonts that a page may bring.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    register();
    let font = (FAMILY, size * LINE_HEIGHT * 10.0).into_font();
    font.box_size(text).map_or(0.0, |(width, _)| f64::from(width) / 10.0 * WIDER_FONTS)
}

/// The drawing as an SVG for a page: without a size, a namespace, or a font of its own.
pub(crate) fn svg(drawing: &Drawing) -> Result<String> {
    register();
    let mut text = String::new();
    {
        let size = pixels(drawing, 1);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw(&area, drawing, SCALE, 0.0)?;
        area.present().map_err(failed)?;
    }
    // What is left is smaller and takes the page's font; the page's style sheet does the rest.
    let (_, inner) = text.split_once(">\n").unwrap_or_default();
    let (width, height) = pixels(drawing, 1);
    let inner = inner
        .replace(" opacity=\"1\"", "")
        .replace(" font-family=\"sans-serif\"", "")
        .replace(" text-anchor=\"start\"", "")
        .replace(" \"/>", "\"/>")
        .replace(">\n", ">")
        .replace("\n</text>", "</text>");
    Ok(format!("<svg viewBox=\"0 0 {width} {height}\" aria-hidden=\"true\">{inner}"))
}

/// The drawing as a PNG.
pub(crate) fn png(drawing: &Drawing) -> Result<Vec<u8>> {
    register();
    let (width, height) = pixels(drawing, OVERSAMPLING);
    let mut large = vec![0xFF; width as usize * height as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut large, (width, height)).into_drawing_area();
        area.fill(&rgb(PAPER)).map_err(failed)?;
        draw(&area, drawing, SCALE * f64::from(OVERSAMPLING), TEXT_DROP)?;
        area.present().map_err(failed)?;
    }
    let small = averaged(&large, width as usize);
    let (width, height) = pixels(drawing, 1);
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(&small, width, height, ColorType::Rgb8)
        .map_err(failed)?;
    Ok(bytes)
}

fn pixels(drawing: &Drawing, factor: u32) -> (u32, u32) {
    let size = |units: f64| (units * SCALE).round() as u32 * factor;
    (size(WIDTH), size(drawing.height))
}

/// Averages each 2 × 2 pixels of a picture in RGB.
fn averaged(large: &[u8], width: usize) -> Vec<u8> {
    let factor = OVERSAMPLING as usize;
    let row = width * 3;
    let mut small = Vec::with_capacity(large.len() / (factor * factor));
    for rows in large.chunks_exact(row * factor) {
        for x in 0..width / factor {
            for channel in 0..3 {
                let pixel = |dx: usize, dy: usize| {
                    u32::from(rows[dy * row + (x * factor + dx) * 3 + channel])
                };
                let sum = pixel(0, 0) + pixel(1, 0) + pixel(0, 1) + pixel(1, 1);
                small.push(((sum + 2) / 4) as u8);
            }
        }
    }
    small
}

fn draw<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    drawing: &Drawing,
    scale: f64,
    text_drop: f64,
) -> Result<()> {
    let place = |(x, y): (f64, f64)| ((x * scale).round() as i32, (y * scale).round() as i32);
    let filled = |color, opacity: f64| ShapeStyle {
        color: rgba(color, opacity),
        filled: true,
        stroke_width: 0,
    };
    for mark in &drawing.marks {
        match mark {
            Mark::Line { points, color, width, opacity } => {
                let style = ShapeStyle {
                    color: rgba(*color, *opacity),
                    filled: false,
                    stroke_width: (width * scale).round().max(1.0) as u32,
                };
                let points: Vec<_> = points.iter().copied().map(place).collect();
                area.draw(&PathElement::new(points, style)).map_err(failed)?;
            }
            Mark::Area { points, color, opacity } => {
                let points: Vec<_> = points.iter().copied().map(place).collect();
                area.draw(&Polygon::new(points, filled(*color, *opacity))).map_err(failed)?;
            }
            Mark::Dot { at, radius, color } => {
                let radius = (radius * scale).round() as i32;
                area.draw(&Circle::new(place(*at), radius, filled(*color, 1.0))).map_err(failed)?;
            }
            Mark::Text { at, text, size, color, anchor } => {
                let horizontal = match anchor {
                    Anchor::Left => HPos::Left,
                    Anchor::Middle => HPos::Center,
                    Anchor::Right => HPos::Right,
                };
                let color = rgb(*color);
                let style = TextStyle::from((FAMILY, size * scale * LINE_HEIGHT).into_font())
                    .color(&color)
                    .pos(Pos::new(horizontal, VPos::Center));
                area.draw(&Text::new(text.as_str(), place((at.0, at.1 + size * text_drop)), style))
                    .map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn rgb((red, green, blue): Color) -> RGBColor {
    RGBColor(red, green, blue)
}

fn rgba((red, green, blue): Color, alpha: f64) -> plotters::style::RGBAColor {
    plotters::style::RGBAColor(red, green, blue, alpha)
}

/// The chart's name is filled in by whoever knows it.
fn failed(error: impl std::fmt::Display) -> Error {
    Error::Chart { name: String::new(), reason: error.to_string() }
}
