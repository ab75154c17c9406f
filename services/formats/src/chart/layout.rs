//! Lines of SVG, from top to bottom.

use super::percent;
use crate::at_most;
use std::fmt::Write as _;

/// Okabe and Ito's colours, which readers who see few colours can tell apart, a little darker or lighter for the ground.
const STYLE: &str = "\
:root{color-scheme:light dark}\
svg{--ground:#fff;--text:#1b1f24;--quiet:#59636e;--line:#d8dee4}\
.ground{fill:var(--ground)}\
text{font:12px/1.3 system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;fill:var(--quiet)}\
.title{font-size:15px;font-weight:600;fill:var(--text)}.strong{fill:var(--text)}\
.scale{paint-order:stroke;stroke:var(--ground);stroke-width:4px;stroke-linejoin:round}\
line{stroke:var(--line);stroke-width:1}\
.s0{fill:#0072b2}.s1{fill:#d55e00}.s2{fill:#009e73}.s3{fill:#cc79a7}.s4{fill:#b58900}.s5{fill:#56b4e9}.s6{fill:#8c959f}\
@media (prefers-color-scheme: dark){svg{--ground:#0d1117;--text:#e6edf3;--quiet:#9198a1;--line:#30363d}\
.s0{fill:#4aa3df}.s1{fill:#f0883e}.s2{fill:#2fbf95}.s3{fill:#dd9bc0}.s4{fill:#e3b341}.s5{fill:#9bd3f5}.s6{fill:#6e7681}}\
@media (max-width: 480px){.minor{display:none}}";

const MARGIN: i32 = 16;

#[derive(Debug)]
pub(super) struct Canvas {
    title: String,
    description: String,
    body: String,
    y: i32,
}

impl Canvas {
    pub(super) fn new(title: &str, description: &str) -> Self {
        let mut canvas = Self { title: escaped(title), description: escaped(description), body: String::new(), y: 0 };
        canvas.text("0", 16, "start", "title", title);
        canvas.advance(32);
        canvas
    }

    /// What comes next begins so much lower.
    pub(super) fn advance(&mut self, pixels: i32) {
        self.y += pixels;
    }

    pub(super) fn text(&mut self, x: &str, y: i32, anchor: &str, class: &str, text: &str) {
        let (y, text) = (self.y + y, escaped(text));
        let _ = writeln!(self.body, r#"<text class="{class}" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>"#);
    }

    pub(super) fn line(&mut self, y: f64) {
        let y = f64::from(self.y) + y;
        let _ = writeln!(self.body, r#"<line x1="0" x2="100%" y1="{y:.1}" y2="{y:.1}"/>"#);
    }

    /// `[x, y, width, height]`: shares of the width in per cent, heights in pixels.
    pub(super) fn bar(&mut self, [x, y, width, height]: [f64; 4], series: usize, said: &str) {
        let (y, height) = (f64::from(self.y) + y, height.max(1.0));
        let (x, width, said) = (percent(x), percent(width.max(0.1)), escaped(said));
        let _ = writeln!(
            self.body,
            r#"<rect class="s{series}" x="{x}" y="{y:.1}" width="{width}" height="{height:.1}"><title>{said}</title></rect>"#
        );
    }

    pub(super) fn key(&mut self, x: i32, series: usize, name: &str) {
        let (y, name) = (self.y, escaped(&shortened(name)));
        let _ = writeln!(
            self.body,
            r#"<rect class="s{series}" x="{x}%" y="{}" width="10" height="10" rx="2"/><text class="label strong" x="{x}%" dx="16" y="{}">{name}</text>"#,
            y + 4,
            y + 13
        );
    }

    pub(super) fn finish(self) -> String {
        let Self { title, description, body, y } = self;
        let height = y + 2 * MARGIN;
        // The inner picture leaves a margin whose width is a share, because lengths cannot be subtracted from shares.
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100%\" height=\"{height}\" role=\"img\" \
             aria-labelledby=\"chart-title chart-desc\">\n<title id=\"chart-title\">{title}</title>\n\
             <desc id=\"chart-desc\">{description}</desc>\n<style>{STYLE}</style>\n\
             <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n\
             <svg x=\"3%\" y=\"{MARGIN}\" width=\"94%\" height=\"{y}\" overflow=\"visible\">\n{body}</svg>\n</svg>\n"
        )
    }
}

const SCALE_MAX: f64 = 4e15;

/// A round number that is not smaller, and whose quarters are short.
pub(super) fn scale(largest: f64) -> f64 {
    // Beyond what can be counted, or no number at all.
    if largest.is_nan() || largest > SCALE_MAX {
        return SCALE_MAX;
    }
    let mut unit = 1.0;
    loop {
        for step in [4.0, 8.0, 10.0, 20.0, 40.0] {
            // Quarters of ten are not whole.
            let top: f64 = step * unit;
            if top >= largest && (top / 4.0).fract() == 0.0 {
                return top;
            }
        }
        unit *= 10.0;
    }
}

#[expect(clippy::cast_precision_loss, reason = "places on an axis, a few thousand")]
pub(super) fn count(n: usize) -> f64 {
    n as f64
}

pub(super) fn shortened(text: &str) -> String {
    const BYTES_MAX: usize = 36;
    if text.len() <= BYTES_MAX { text.to_owned() } else { format!("{}…", at_most(text, BYTES_MAX)) }
}

/// XML 1.0 has no place for most control characters, not even escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(crate::visible(c)),
        }
    }
    out
}
