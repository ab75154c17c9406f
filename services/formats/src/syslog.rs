//! Entries as messages of RFC 5424, and their framing in a stream (RFC 6587, octet counting).
//!
//! Structured data is `[millgate@32473 …]`. 32473 is the enterprise number that RFC 5612 keeps for documentation: whoever has
//! one of their own takes that ([`SdId`]). A message that carries another format (JSON, CEF) has no structured data, and its
//! text has no byte order mark, which RFC 5424 calls MSG-ANY; the receivers' parsers do not expect one.

use super::{Record, at_most, visible};

/// RFC 5424 6.3.2: name and enterprise number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdId(String);

/// Log audit (RFC 5424, table 1).
const FACILITY: u8 = 13;
/// No receiver needs to hold more of one value.
const VALUE_BYTES_MAX: usize = 4096;

impl Default for SdId {
    fn default() -> Self {
        Self(String::from("millgate@32473"))
    }
}

impl SdId {
    /// `None` unless it is a name, `@` and an enterprise number, in at most 32 characters.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, number) = text.split_once('@')?;
        let is_name =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'=' | b']' | b'"' | b'@'));
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        (is_name && is_number && text.len() <= 32).then(|| Self(text.to_owned()))
    }
}

/// Makes messages.
#[derive(Clone, Debug, Default)]
pub struct Syslog {
    pub id: SdId,
}

impl Syslog {
    /// The entry's members as structured data, and a sentence.
    pub fn message(&self, record: &Record) -> String {
        let text = record.sentence();
        // RFC 5424 6.4: what is not ASCII begins with a byte order mark.
        let mark = if text.is_ascii() { "" } else { "\u{feff}" };
        format!("{} {} {mark}{text}", head(record), self.data(record))
    }

    /// A message that carries `text`, which is one line.
    pub fn carrying(record: &Record, text: &str) -> String {
        format!("{} - {text}", head(record))
    }

    /// For a datagram that does not take the whole: where it is found.
    pub fn short(&self, record: &Record) -> String {
        let pairs = [
            ("index", record.index.to_string()),
            ("leaf", record.leaf_hash()),
            ("origin", record.origin.clone().unwrap_or_default()),
        ];
        format!("{} {} too large for a datagram", head(record), self.element(pairs))
    }

    fn data(&self, record: &Record) -> String {
        const MEMBERS: [(&str, &str); 24] = [
            ("kind", "kind"),
            ("organisation", "org"),
            ("reference", "principal"),
            ("principalKind", "principal_kind"),
            ("issuer", "issuer"),
            ("authentication", "authentication"),
            ("action", "action"),
            ("resource", "resource"),
            ("product", "product"),
            ("source", "source"),
            ("route", "route"),
            ("method", "method"),
            ("country", "country"),
            ("agreement", "agreement"),
            ("purpose", "purpose"),
            ("decision", "decision"),
            ("request", "request"),
            ("ended", "ended"),
            ("reason", "reason"),
            ("view", "view"),
            ("event", "event"),
            ("folder", "folder"),
            ("digest", "digest"),
            ("version", "v"),
        ];
        let own = [
            ("index", Some(record.index.to_string())),
            ("leaf", Some(record.leaf_hash())),
            ("origin", record.origin.clone()),
            ("principal", record.principal.clone()),
        ];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let texts = MEMBERS.iter().filter_map(|(name, member)| Some((*name, record.text(member)?.to_owned())));
        let lists =
            ["reasons", "policies", "reveals", "hides"].into_iter().map(|name| (name, record.list(name).join(" ")));
        let lists = lists.filter(|(_, value)| !value.is_empty());
        let numbers =
            [("of", "of"), ("status", "status"), ("bytes", "bytes"), ("rows", "rows"), ("durationMs", "duration_ms")];
        let numbers = numbers.into_iter().filter_map(|(name, member)| Some((name, record.int(member)?.to_string())));
        self.element(own.chain(texts).chain(lists).chain(numbers))
    }

    fn element<'a>(&self, pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
        let each =
            pairs.into_iter().map(|(name, value)| format!(" {name}=\"{}\"", escaped(at_most(&value, VALUE_BYTES_MAX))));
        format!("[{}{}]", self.id.0, each.collect::<String>())
    }
}

/// `LENGTH SPACE MESSAGE`: a message cannot end another, whatever stands in it.
pub fn octet_counted(message: &str) -> Vec<u8> {
    [message.len().to_string().as_bytes(), b" ", message.as_bytes()].concat()
}

fn head(record: &Record) -> String {
    let priority = FACILITY * 8 + severity(record);
    let host = record.origin.as_deref().and_then(|origin| origin.split('/').next()).unwrap_or("-");
    format!(
        "<{priority}>1 {} {} millgate {} {}",
        record.time_text(),
        ascii(host, 255),
        ascii(record.text("boot").unwrap_or("-"), 128),
        ascii(record.kind(), 32),
    )
}

fn severity(record: &Record) -> u8 {
    let (error, warning, notice, informational) = (3, 4, 5, 6);
    match (record.kind(), record.result()) {
        _ if record.get("errors").is_some() => error,
        ("policy" | "admin", "refused") | ("outcome", "unknown_after_crash") | ("gap", _) => error,
        ("refused_login" | "refused_logins", _) | ("decision" | "audit_read", "deny") => warning,
        ("policy" | "admin" | "key" | "erasure" | "pruning" | "system", _) | ("outcome", "withdrawn") => notice,
        _ => informational,
    }
}

/// A field of the header: visible ASCII, bounded, never empty.
fn ascii(text: &str, bytes: usize) -> String {
    let kept: String = text.chars().filter(char::is_ascii_graphic).take(bytes).collect();
    if kept.is_empty() { String::from("-") } else { kept }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(visible(c));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples;

    #[test]
    fn an_entry_is_a_message_of_known_form() {
        insta::assert_snapshot!(Syslog::default().message(&samples::allowed()), @r#"<110>1 2026-11-22T21:21:07.064Z plant.example millgate ba664a962845c186 decision [millgate@32473 index="9611" leaf="b037bdc6549d26c2013a53e469fac9b981b30f523fc939a0034d0a43a81abd32" origin="plant.example/broker-1" principal="acme/engineer-1" kind="decision" organisation="acme" reference="96579bff89d3d3d326a75c5d3d3b6ae1" principalKind="user" issuer="acme-login" authentication="jwt" action="readSeries" resource="Signal/press-3.vibration" product="press-3-telemetry" source="historian" route="series" method="GET" agreement="acme-maintenance-2026" purpose="predictive-maintenance" decision="allow" request="01a20522-59ec-7312-8079-6642e2582ffb" version="1.3" policies="read-series-under-agreement reveal-under-agreement" reveals="process.condition" hides="process.recipe"] decision allow by acme/engineer-1 of acme to readSeries Signal/press-3.vibration"#);
        insta::assert_snapshot!(Syslog::default().message(&samples::outcome()), @r#"<110>1 2026-11-22T21:21:08.001Z plant.example millgate ba664a962845c186 outcome [millgate@32473 index="9612" leaf="c7d49c2885fc997f2a99e3f69a2499c93ef32907d47b9bf231f4179e305ef8a3" origin="plant.example/broker-1" kind="outcome" organisation="acme" request="01a20522-59ec-7312-8079-6642e2582ffb" ended="complete" view="masked" version="1.3" of="9611" status="200" bytes="4711" rows="60" durationMs="12"] outcome complete of acme"#);
        insta::assert_snapshot!(Syslog::carrying(&samples::outcome(), "{}"), @r#"<110>1 2026-11-22T21:21:08.001Z plant.example millgate ba664a962845c186 outcome - {}"#);
        insta::assert_snapshot!(Syslog::default().short(&samples::denied()), @r#"<108>1 2026-11-22T21:22:07.064Z plant.example millgate ba664a962845c186 decision [millgate@32473 index="9613" leaf="41d06779602fddcb7fcdfd418bbcb91beefa357458e568e952bd89fa9329c722" origin="plant.example/broker-1"] too large for a datagram"#);
    }

    #[test]
    fn a_name_with_a_bracket_or_a_line_end_stays_in_its_place() {
        let evil = "acme/a\"]\\ [x@1 b=\"\n<1>1 - - - - - - gone\u{2028}";
        let record = Record::new(7, Some(evil.into()), Some("öri gin/x"), samples::denied().stored()).unwrap();
        let line = Syslog::default().message(&record);
        assert!(!line.contains(['\n', '\u{2028}']), "{line}");
        let expected = " principal=\"acme/a\\\"\\]\\\\ [x@1 b=\\\"\u{fffd}<1>1 - - - - - - gone\u{fffd}\" kind=";
        assert!(line.contains(expected), "{line}");
        assert!(
            line.starts_with("<108>1 2026-11-22T21:22:07.064Z rigin millgate ba664a962845c186 decision ["),
            "{line}"
        );
        assert!(line.contains("] \u{feff}decision"), "{line}");
    }

    #[test]
    fn frames_count_bytes() {
        assert_eq!(octet_counted("é!"), "3 é!".as_bytes());
    }

    #[test]
    fn an_identifier_is_a_name_and_a_number() {
        assert!(SdId::parse("millgate@54321").is_some() && SdId::parse("a@1.2").is_some());
        for bad in ["millgate", "@1", "a@", "a b@1", "a]@1", "a@b", "a@1\"", "abcdefghijklmnopqrstuvwxyz@1234567"] {
            assert!(SdId::parse(bad).is_none(), "{bad}");
        }
    }
}
