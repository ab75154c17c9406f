//! Entries in ArcSight's Common Event Format (CEF:0), for collectors that know nothing else.
//!
//! `\` and `|` are escaped in the header, `\` and `=` in the extension; line ends become `\n` there. What the format bounds
//! is cut. So this is a message about an entry and not the entry.

use super::{Record, at_most, visible};
use std::fmt::Write as _;

/// One line without its end.
pub fn cef(record: &Record) -> String {
    let id = match record.kind() {
        kind @ ("decision" | "audit_read") => format!("{kind}:{}", record.result()),
        kind => kind.to_owned(),
    };
    let name = record.sentence();
    let version = env!("CARGO_PKG_VERSION");
    let mut line = format!(
        "CEF:0|Millgate|Millgate|{version}|{}|{}|{}|",
        header(&id),
        header(at_most(&name, 512)),
        severity(record)
    );
    let pairs = extension(record);
    let written: Vec<String> =
        pairs.iter().map(|(key, value, bytes)| format!("{key}={}", escaped(at_most(value, *bytes)))).collect();
    let _ = write!(line, "{}", written.join(" "));
    line
}

/// 0 to 10.
fn severity(record: &Record) -> u8 {
    match (record.kind(), record.result()) {
        _ if record.get("errors").is_some() => 8,
        ("policy" | "admin", "refused") => 7,
        ("outcome", "unknown_after_crash") | ("gap", _) => 7,
        ("refused_login" | "refused_logins", _) | ("decision" | "audit_read", "deny") => 5,
        ("policy" | "admin" | "key" | "erasure" | "pruning", _) | ("outcome", "withdrawn") => 3,
        _ => 1,
    }
}

/// Key, value, and how many bytes of it the format takes.
fn extension(record: &Record) -> Vec<(&'static str, String, usize)> {
    let mut pairs = vec![
        ("rt", record.time().millis().to_string(), 20),
        ("externalId", record.index.to_string(), 40),
        ("cat", record.kind().to_owned(), 1023),
        ("outcome", record.result().to_owned(), 63),
    ];
    let mut add = |key, value: Option<String>, bytes| pairs.extend(value.map(|value| (key, value, bytes)));
    let text = |member| record.text(member).map(str::to_owned);
    let list = |member| Some(record.list(member).join(" ")).filter(|text| !text.is_empty());
    let number = |member| record.int(member).map(|number| number.to_string());
    add("deviceExternalId", record.origin.clone(), 255);
    add("act", text("action"), 63);
    add("suser", record.who().map(str::to_owned), 1023);
    add("suid", text("principal"), 1023);
    add("sntdom", text("org"), 255);
    add("requestMethod", text("method"), 1023);
    add("destinationServiceName", text("source"), 1023);
    add("reason", list("reasons").or_else(|| text("reason")), 1023);
    add("out", number("bytes"), 20);
    // No key of the format's own means it.
    add("millgateCountry", text("country"), 2);
    let labelled = [
        ("cs1Label", "cs1", "organisation", text("org"), 4000),
        ("cs2Label", "cs2", "resource", text("resource"), 4000),
        ("cs3Label", "cs3", "agreement", text("agreement"), 4000),
        ("cs4Label", "cs4", "purpose", text("purpose"), 4000),
        ("cs5Label", "cs5", "policies", list("policies"), 4000),
        ("cs6Label", "cs6", "leafHash", Some(record.leaf_hash()), 4000),
        ("cn1Label", "cn1", "status", number("status"), 20),
        ("cn2Label", "cn2", "rows", number("rows"), 20),
        ("cn3Label", "cn3", "durationMs", number("duration_ms"), 20),
        ("flexString1Label", "flexString1", "request", text("request"), 1023),
        ("flexString2Label", "flexString2", "product", text("product"), 1023),
    ];
    for (label, key, name, value, bytes) in labelled {
        if let Some(value) = value {
            pairs.push((label, name.to_owned(), 1023));
            pairs.push((key, value, bytes));
        }
    }
    pairs
}

fn header(text: &str) -> String {
    text.chars().map(visible).collect::<String>().replace('\\', "\\\\").replace('|', "\\|")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '=' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(visible(c)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples;

    #[test]
    fn an_entry_is_one_line_of_known_form() {
        insta::assert_snapshot!(cef(&samples::allowed()), @r#"CEF:0|Millgate|Millgate|0.1.0|decision:allow|decision allow by acme/engineer-1 of acme to readSeries Signal/press-3.vibration|1|rt=1795382467064 externalId=9611 cat=decision outcome=allow deviceExternalId=plant.example/broker-1 act=readSeries suser=acme/engineer-1 suid=96579bff89d3d3d326a75c5d3d3b6ae1 sntdom=acme requestMethod=GET destinationServiceName=historian cs1Label=organisation cs1=acme cs2Label=resource cs2=Signal/press-3.vibration cs3Label=agreement cs3=acme-maintenance-2026 cs4Label=purpose cs4=predictive-maintenance cs5Label=policies cs5=read-series-under-agreement reveal-under-agreement cs6Label=leafHash cs6=b037bdc6549d26c2013a53e469fac9b981b30f523fc939a0034d0a43a81abd32 flexString1Label=request flexString1=01a20522-59ec-7312-8079-6642e2582ffb flexString2Label=product flexString2=press-3-telemetry"#);
        insta::assert_snapshot!(cef(&samples::denied()), @r#"CEF:0|Millgate|Millgate|0.1.0|decision:deny|decision deny by acme/engineer-1 of acme to read Dataset/acme-parts because data_too_old window_too_wide|5|rt=1795382527064 externalId=9613 cat=decision outcome=deny deviceExternalId=plant.example/broker-1 act=read suser=acme/engineer-1 suid=96579bff89d3d3d326a75c5d3d3b6ae1 sntdom=acme requestMethod=POST destinationServiceName=mes reason=data_too_old window_too_wide cs1Label=organisation cs1=acme cs2Label=resource cs2=Dataset/acme-parts cs5Label=policies cs5=limits cs6Label=leafHash cs6=41d06779602fddcb7fcdfd418bbcb91beefa357458e568e952bd89fa9329c722 flexString1Label=request flexString1=01a20522-59ec-7312-8079-6642e2582ff0 flexString2Label=product flexString2=parts"#);
    }

    #[test]
    fn where_a_request_came_from_is_a_field_of_our_own() {
        assert!(cef(&samples::from_sweden()).contains(" millgateCountry=SE cs1Label="));
        assert!(!cef(&samples::allowed()).contains("Country"));
    }

    #[test]
    fn a_name_makes_no_further_fields_and_no_second_line() {
        let evil = "acme/x|9| act=allow\\ suser=root\nCEF:0|y|\r\u{2028}\u{1b}[2J";
        let record = Record::new(7, Some(evil.into()), Some("o|1"), samples::denied().stored()).unwrap();
        let line = cef(&record);
        assert!(!line.contains(['\n', '\r', '\u{2028}', '\u{1b}']), "{line}");
        assert!(
            line.contains("suser=acme/x|9| act\\=allow\\\\ suser\\=root\\nCEF:0|y|\\r\u{fffd}\u{fffd}[2J suid="),
            "{line}"
        );
        // The header has seven bars that are not escaped.
        let mut bars = 0;
        let mut escaped = false;
        for c in line.split(" rt=").next().unwrap().split("|rt=").next().unwrap().chars() {
            bars += usize::from(c == '|' && !escaped);
            escaped = c == '\\' && !escaped;
        }
        assert_eq!(bars, 6, "{line}");
    }
}
