//! The page's style sheet, and the rules that repaint charts in the dark theme.

use std::fmt::Write as _;

use crate::palette::{self, DARK, hex};

/// The whole style sheet.
pub(super) fn css() -> String {
    let mut css = include_str!("style.css").to_owned();
    let engines = |dark: bool| {
        (0..7).fold(String::new(), |mut rules, engine| {
            let light = palette::style(engine).color;
            let repainted = DARK.iter().find(|(from, _)| *from == light).map(|(_, to)| *to);
            let color = if dark { repainted.unwrap_or(light) } else { light };
            let _ = write!(rules, "--e{engine}:{};", hex(color));
            rules
        })
    };
    let _ = writeln!(css, ":root{{{}}}", engines(false));
    // Rules of a style sheet are stronger than the attributes that the drawing library writes.
    let _ =
        writeln!(css, "@media screen and (prefers-color-scheme:dark){{:root{{{}}}", engines(true));
    for (light, dark) in DARK {
        let (light, dark) = (hex(light), hex(dark));
        let _ = writeln!(
            css,
            "svg [fill=\"{light}\"]{{fill:{dark}}}svg [stroke=\"{light}\"]{{stroke:{dark}}}"
        );
    }
    css.push_str("}\n");
    css
}
