//! One entry as the broker hands it over, with the stored bytes.

use model::Timestamp;
use model::canonical::hex;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An entry that was found in a log.
#[derive(Clone, Debug)]
pub struct Record {
    pub index: u64,
    /// `organisation/subject`, while the directory of the log has it.
    pub principal: Option<String>,
    /// The log that it is of, if the broker said.
    pub origin: Option<String>,
    stored: String,
    entry: Value,
}

/// Entries that the broker found.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub records: Vec<Record>,
    /// Where to go on.
    pub next: Option<u64>,
    /// Entries in the log.
    pub size: u64,
    /// What is gone of the log, if some of that was asked for.
    pub pruned: Option<Pruned>,
}

/// Why an answer holds no entries.
#[derive(Debug, thiserror::Error)]
pub enum NotARecord {
    #[error("not JSON of the expected form: {0}")]
    Form(#[from] serde_json::Error),
    #[error("entry {index} has no {member}")]
    Member { index: u64, member: &'static str },
}

#[derive(Deserialize)]
struct Found<'a> {
    index: u64,
    principal: Option<String>,
    #[serde(borrow)]
    entry: &'a RawValue,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    entries: Vec<Found<'a>>,
    next: Option<u64>,
    #[serde(default)]
    size: u64,
    pruned: Option<Pruned>,
}

/// Entries that are not kept in the log any longer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Pruned {
    /// Entries before this index.
    pub below: u64,
    /// The entry that says so.
    pub under: u64,
    /// All of them are of before this time.
    pub before: String,
}

impl std::fmt::Display for Pruned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { below, under, before } = self;
        // It comes from elsewhere.
        let before: String = before.chars().filter(|c| !c.is_control()).take(40).collect();
        write!(f, "entries before {below}, of before {before}, were pruned under entry {under}")
    }
}

impl Page {
    /// Reads `{"entries":[{"index","principal"?,"entry"}],"next"?,"pruned"?,"size"}`.
    ///
    /// # Errors
    /// When it is not that.
    pub fn read(answer: &[u8], origin: Option<&str>) -> Result<Self, NotARecord> {
        let Answer { entries, next, size, pruned } = serde_json::from_slice(answer)?;
        let records = entries.into_iter().map(|found| found.record(origin)).collect::<Result<_, _>>()?;
        Ok(Self { records, next, size, pruned })
    }
}

impl Found<'_> {
    fn record(self, origin: Option<&str>) -> Result<Record, NotARecord> {
        Record::new(self.index, self.principal, origin, self.entry.get())
    }
}

impl Record {
    /// `stored`: the bytes in the log, which are JSON.
    ///
    /// # Errors
    /// When they are not, or without a kind or a time.
    pub fn new(index: u64, principal: Option<String>, origin: Option<&str>, stored: &str) -> Result<Self, NotARecord> {
        let entry = serde_json::from_str(stored)?;
        let record = Self { index, principal, origin: origin.map(str::to_owned), stored: stored.to_owned(), entry };
        for member in ["kind", "time"] {
            record.text(member).ok_or(NotARecord::Member { index, member })?;
        }
        Timestamp::parse_rfc3339(record.time_text()).ok_or(NotARecord::Member { index, member: "time" })?;
        Ok(record)
    }

    /// Reads `{"index","principal"?,"entry"}`.
    ///
    /// # Errors
    /// When it is not that.
    pub fn read(line: &[u8], origin: Option<&str>) -> Result<Self, NotARecord> {
        serde_json::from_slice::<Found<'_>>(line)?.record(origin)
    }

    /// The bytes of the log.
    pub fn stored(&self) -> &str {
        &self.stored
    }

    /// `{"index","origin"?,"principal"?,"leaf_hash","entry"}` in one line, with the stored bytes in it.
    pub fn json_line(&self) -> String {
        let member = |name: &str, text: Option<&String>| {
            text.map(|text| format!("\"{name}\":{},", Value::from(text.as_str()))).unwrap_or_default()
        };
        let origin = member("origin", self.origin.as_ref());
        let principal = member("principal", self.principal.as_ref());
        let (index, leaf, entry) = (self.index, self.leaf_hash(), &self.stored);
        format!("{{\"index\":{index},{origin}{principal}\"leaf_hash\":\"{leaf}\",\"entry\":{entry}}}")
    }

    /// RFC 6962: what a proof of this entry is about.
    pub fn leaf_hash(&self) -> String {
        hex(&tlog::leaf_hash(self.stored.as_bytes()).0)
    }

    /// One in the world, as far as the log is known.
    pub fn uid(&self) -> String {
        match &self.origin {
            Some(origin) => format!("{origin}#{}", self.index),
            None => self.index.to_string(),
        }
    }

    pub fn kind(&self) -> &str {
        self.text("kind").unwrap_or_default()
    }

    pub fn time(&self) -> Timestamp {
        Timestamp::parse_rfc3339(self.time_text()).unwrap_or(Timestamp::EPOCH)
    }

    pub(crate) fn time_text(&self) -> &str {
        self.text("time").unwrap_or_default()
    }

    pub(crate) fn get(&self, member: &str) -> Option<&Value> {
        self.entry.get(member)
    }

    pub(crate) fn text(&self, member: &str) -> Option<&str> {
        self.entry.get(member).and_then(Value::as_str)
    }

    pub(crate) fn int(&self, member: &str) -> Option<i64> {
        self.entry.get(member).and_then(Value::as_i64)
    }

    pub(crate) fn list(&self, member: &str) -> Vec<&str> {
        self.entry.get(member).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Who asked: by name, else by reference.
    pub(crate) fn who(&self) -> Option<&str> {
        self.principal.as_deref().or_else(|| self.text("principal"))
    }

    pub(crate) fn is_denied(&self) -> bool {
        self.text("decision") == Some("deny")
    }

    /// What became of it, in a word.
    pub(crate) fn result(&self) -> &str {
        let member = match self.kind() {
            "decision" | "audit_read" => "decision",
            "outcome" => "ended",
            "refused_login" | "refused_logins" => return "refused",
            _ => "event",
        };
        self.text(member).unwrap_or_default()
    }

    /// One sentence for a person who reads a screen full of them.
    pub(crate) fn sentence(&self) -> String {
        let mut parts = vec![self.kind().replace('_', " ")];
        let mut add = |before: &str, text: Option<&str>| {
            parts.extend(text.filter(|text| !text.is_empty()).map(|text| format!("{before}{text}")));
        };
        add("", Some(self.result()));
        add("by ", self.who());
        add("of ", self.text("org"));
        add("to ", self.text("action"));
        add("", self.text("resource").or_else(|| self.text("folder")));
        let reasons = self.list("reasons").join(" ");
        add("because ", Some(&reasons));
        parts.join(" ").chars().map(super::visible).collect()
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::Record;

    pub(crate) const ORIGIN: &str = "plant.example/broker-1";

    pub(crate) fn record(index: u64, entry: &str) -> Record {
        Record::new(index, Some(String::from("acme/engineer-1")), Some(ORIGIN), entry).unwrap()
    }

    pub(crate) fn allowed() -> Record {
        record(
            9611,
            r#"{"action":"readSeries","agreement":"acme-maintenance-2026","authentication":"jwt","binding":"none","boot":"ba664a962845c186","commit":{"network":"fff158e7820a","payload":"53031fa6ae3e","subject":"255db59529cb"},"decision":"allow","digests":{"policies":"5e8312c7beb2"},"generation":1,"hides":["process.recipe"],"issuer":"acme-login","kind":"decision","method":"GET","nonce":"fbf039ff3229ca28c6c0708a6c86c36d","org":"acme","org_prev":9610,"org_seq":9577,"policies":["read-series-under-agreement","reveal-under-agreement"],"principal":"96579bff89d3d3d326a75c5d3d3b6ae1","principal_kind":"user","product":"press-3-telemetry","purpose":"predictive-maintenance","request":"01a20522-59ec-7312-8079-6642e2582ffb","resource":"Signal/press-3.vibration","reveals":["process.condition"],"route":"series","shape":{"resolution_ms":60000,"rows":60,"window_ms":3600000},"source":"historian","time":"2026-11-22T21:21:07.064Z","v":"1.3"}"#,
        )
    }

    /// Of a plant that knows where networks are.
    pub(crate) fn from_sweden() -> Record {
        let allowed = allowed();
        record(allowed.index, &allowed.stored().replacen(",\"decision\"", ",\"country\":\"SE\",\"decision\"", 1))
    }

    pub(crate) fn denied() -> Record {
        record(
            9613,
            r#"{"action":"read","authentication":"certificate","binding":"certificate","boot":"ba664a962845c186","commit":{"network":"aa"},"decision":"deny","digests":{"policies":"5e8312c7beb2"},"generation":1,"issuer":"acme-login","kind":"decision","method":"POST","nonce":"00f039ff3229ca28c6c0708a6c86c36d","org":"acme","org_prev":9611,"org_seq":9578,"policies":["limits"],"principal":"96579bff89d3d3d326a75c5d3d3b6ae1","principal_kind":"service","product":"parts","reasons":["data_too_old","window_too_wide"],"request":"01a20522-59ec-7312-8079-6642e2582ff0","resource":"Dataset/acme-parts","route":"parts","source":"mes","time":"2026-11-22T21:22:07.064Z","v":"1.3"}"#,
        )
    }

    pub(crate) fn outcome() -> Record {
        let entry = r#"{"boot":"ba664a962845c186","bytes":4711,"duration_ms":12,"ended":"complete","kind":"outcome","nonce":"0a","of":9611,"org":"acme","org_prev":9611,"org_seq":9578,"request":"01a20522-59ec-7312-8079-6642e2582ffb","rows":60,"status":200,"time":"2026-11-22T21:21:08.001Z","v":"1.3","view":"masked"}"#;
        Record::new(9612, None, Some(ORIGIN), entry).unwrap()
    }

    pub(crate) fn others() -> Vec<Record> {
        let head = r#""boot":"ba664a962845c186","nonce":"0b","time":"2026-11-22T21:21:09.001Z","v":"1.3""#;
        let entries = [
            r#""kind":"refused_login","issuer":"acme-login","method":"GET","reasons":["token_expired"],"request":"01a2","commit":{"network":"ab"}"#,
            r#""kind":"refused_logins","counts":{"bad_signature":40,"token_expired":2}"#,
            r#""kind":"policy","event":"activated","digest":"5e83","previous":"5e82","policies_total":12,"generation":2,"added":["a"]"#,
            r#""kind":"policy","event":"refused","folder":"policies","problems":["x.cedar:3: what is this"],"problems_total":1"#,
            r#""kind":"policy","event":"shadow_difference","direction":"would_gain","request":"01a3""#,
            r#""kind":"admin","event":"activated","folder":"registry","digest":"77","previous":"76","generation":3"#,
            r#""kind":"admin","event":"opening_generation","catalog":"1","registry":"2","authorities":"3","generation":1"#,
            r#""kind":"system","event":"opened","origin":"plant.example/broker-1","size":0,"unknown_outcomes":0,"version":"0.1.0""#,
            r#""kind":"system","event":"closed","open":0"#,
            r#""kind":"heartbeat","open":2"#,
            r#""kind":"audit_read","action":"readAudit","decision":"allow","method":"GET","org":"audax","org_seq":1,"principal":"cc","principal_kind":"user","issuer":"audax-login","authentication":"jwt","binding":"none","policies":["auditors"],"request":"01a4","resource":"AuditScope/*","route":"audit-entries","commit":{"network":"ac"}"#,
            r#""kind":"something_new","event":"later""#,
        ];
        let each = entries.iter().zip(9614..);
        each.map(|(members, index)| Record::new(index, None, Some(ORIGIN), &format!("{{{members},{head}}}")).unwrap())
            .collect()
    }
}
