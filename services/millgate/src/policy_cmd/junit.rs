//! The report that build servers read: JUnit's XML, as far as they agree on it.

use super::test::Report;
use std::fmt::Write as _;

pub(super) fn report(report: &Report) -> String {
    let failed = report.cases.iter().filter(|tried| !tried.ok).count();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"policies\" tests=\"{}\" failures=\"{failed}\">\n",
        report.cases.len()
    );
    for tried in &report.cases {
        let _ = write!(out, "  <testcase classname=\"{}\" name=\"{}\"", escaped(&tried.file), escaped(&tried.title));
        if tried.ok {
            out.push_str("/>\n");
            continue;
        }
        let what: Vec<String> = tried.expected.differences(&tried.got).collect();
        let _ = write!(out, ">\n    <failure>{}</failure>\n  </testcase>\n", escaped(&what.join("\n")));
    }
    out + "</testsuite>\n"
}

/// XML 1.0 has no way to write most control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
