//! Entries as events of the Open Cybersecurity Schema Framework, version 1.8.0 (<https://schema.ocsf.io/1.8.0>).
//!
//! | entry | class |
//! | --- | --- |
//! | `decision`, `outcome` on a source with an HTTP interface; `audit_read` | API Activity 6003 |
//! | `decision`, `outcome` on a database or historian | Datastore Activity 6005 |
//! | `refused_login`, `refused_logins` | Authentication 3002 |
//! | `policy`, `admin`, `key`, `erasure`, `pruning` | Entity Management 3004 |
//! | `system` | Application Lifecycle 6002 |
//! | all others, later kinds too | Base Event 0 |
//!
//! `raw_data` holds the stored bytes, so nothing is lost, and `unmapped` has index, leaf hash and origin, by which the entry
//! is proven. Where a caller's address is, only its commitment is known: `src_endpoint.uid`.

mod data;
mod others;

use super::Record;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const SCHEMA: &str = "1.8.0";
/// Decisions whose outcome has not been seen. A stream has about as many as there are open exchanges.
const OPEN_MAX: usize = 4_096;

/// Makes events of entries. It remembers decisions, so that their outcomes say whose and of what they are.
#[derive(Clone, Debug, Default)]
pub struct Ocsf {
    datastores: BTreeSet<String>,
    open: BTreeMap<u64, Record>,
}

/// What the classes differ in.
struct Event {
    class: (i64, &'static str),
    category: (i64, &'static str),
    activity: (i64, String),
    severity: i64,
    /// 1 success, 2 failure.
    status: i64,
    more: Map<String, Value>,
}

const APPLICATION: (i64, &str) = (6, "Application Activity");
const IDENTITY: (i64, &str) = (3, "Identity & Access Management");

const INFORMATIONAL: i64 = 1;
const LOW: i64 = 2;
const MEDIUM: i64 = 3;
const HIGH: i64 = 4;

impl Ocsf {
    /// `datastores`: ids of the sources that are databases. A source of signals is a historian, and one in any case.
    pub fn new(datastores: impl IntoIterator<Item = String>) -> Self {
        Self { datastores: datastores.into_iter().collect(), open: BTreeMap::new() }
    }

    /// Remembers it if it is a decision whose outcome is still to come. Entries of a page that has the newest first are all
    /// looked at before the first becomes an event.
    pub fn look(&mut self, record: &Record) {
        let opens = matches!(record.kind(), "decision" | "audit_read") && record.text("decision") == Some("allow");
        if opens {
            self.open.insert(record.index, record.clone());
            while self.open.len() > OPEN_MAX {
                self.open.pop_first();
            }
        }
    }

    /// The event, as one line of JSON without line end.
    pub fn line(&mut self, record: &Record) -> String {
        self.look(record);
        let event = match record.kind() {
            "decision" | "audit_read" => self.decision(record),
            "outcome" => self.outcome(record),
            "refused_login" | "refused_logins" => others::login(record),
            "policy" | "admin" | "key" | "erasure" | "pruning" => others::change(record),
            "system" => others::lifecycle(record),
            _ => others::base(record),
        };
        event.line(record)
    }

    fn is_datastore(&self, record: &Record) -> bool {
        let is_signal = record.text("resource").is_some_and(|resource| resource.starts_with("Signal/"));
        is_signal || record.text("source").is_some_and(|source| self.datastores.contains(source))
    }

    fn decision(&self, record: &Record) -> Event {
        if self.is_datastore(record) { data::datastore(record) } else { data::api(record) }
    }

    fn outcome(&mut self, record: &Record) -> Event {
        let decision = record.int("of").and_then(|of| self.open.remove(&u64::try_from(of).ok()?));
        let event = decision.as_ref().map_or_else(|| data::api(record), |decision| self.decision(decision));
        data::ended(event, record)
    }
}

impl Event {
    fn line(self, record: &Record) -> String {
        let Self { class, category, activity, severity, status, more } = self;
        let severities = ["Unknown", "Informational", "Low", "Medium", "High", "Critical"];
        let severity_name = usize::try_from(severity).ok().and_then(|at| severities.get(at)).unwrap_or(&"Unknown");
        let reasons = record.list("reasons");
        let mut event = json!({
            "class_uid": class.0, "class_name": class.1,
            "category_uid": category.0,
            "activity_id": activity.0, "activity_name": activity.1,
            "type_uid": class.0 * 100 + activity.0, "type_name": format!("{}: {}", class.1, activity.1),
            "time": record.time().millis(),
            "severity_id": severity, "severity": severity_name,
            "status_id": status, "status": if status == 1 { "Success" } else { "Failure" },
            "message": record.sentence(),
            "metadata": metadata(record),
            "raw_data": record.stored(),
            "unmapped": unmapped(record),
        });
        if let Some(event) = event.as_object_mut() {
            if !category.1.is_empty() {
                event.insert("category_name".into(), category.1.into());
            }
            let first = reasons.first().copied().or_else(|| record.text("reason")).or_else(|| record.text("ended"));
            event.extend(first.map(|code| ("status_code".into(), code.into())));
            if !reasons.is_empty() {
                event.insert("status_detail".into(), reasons.join(", ").into());
            }
            event.extend(more);
        }
        event.to_string()
    }
}

fn metadata(record: &Record) -> Value {
    let mut metadata = json!({
        "version": SCHEMA,
        "product": { "name": "Millgate", "vendor_name": "Millgate", "version": env!("CARGO_PKG_VERSION") },
        "profiles": ["security_control"],
        "uid": record.uid(),
        "sequence": record.index,
        "event_code": record.kind(),
        "original_time": record.time_text(),
    });
    let said = [
        ("correlation_uid", record.text("request")),
        ("log_name", record.origin.as_deref()),
        ("log_version", record.text("v")),
    ];
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.extend(present(said));
    }
    metadata
}

/// Everything of an entry that has no place in the schema stands here; with index, leaf hash and origin it is proven.
fn unmapped(record: &Record) -> Value {
    const MEMBERS: [&str; 25] = [
        "agreement",
        "purpose",
        "product",
        "source",
        "route",
        "shape",
        "reveals",
        "hides",
        "records",
        "hidden",
        "errors",
        "authentication",
        "binding",
        "assurance",
        "roles",
        "actors",
        "generation",
        "org_seq",
        "org_last",
        "next",
        "again_ms",
        "view",
        "rows",
        "of",
        "boot",
    ];
    let mut unmapped = json!({ "index": record.index, "leaf_hash": record.leaf_hash() });
    if let Some(unmapped) = unmapped.as_object_mut() {
        unmapped.extend(present([("origin", record.origin.as_deref())]));
        unmapped.extend(MEMBERS.iter().filter_map(|name| Some(((*name).to_owned(), record.get(name)?.clone()))));
    }
    unmapped
}

fn present<const N: usize>(members: [(&str, Option<&str>); N]) -> Vec<(String, Value)> {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(members) = value { members } else { Map::new() }
}

/// A caller's address is not in the log: the commitment to it is, and differs with every entry. Its country may be.
fn endpoint(record: &Record) -> Value {
    let mut endpoint = match record.get("commit").and_then(|commit| commit.get("network")).and_then(Value::as_str) {
        Some(commitment) => json!({ "uid": commitment, "type_id": 0 }),
        None => json!({ "name": "unknown", "type_id": 0 }),
    };
    if let (Some(endpoint), Some(country)) = (endpoint.as_object_mut(), record.text("country")) {
        endpoint.insert("location".into(), json!({ "country": country }));
    }
    endpoint
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples;

    fn event(ocsf: &mut Ocsf, record: &Record) -> Value {
        serde_json::from_str(&ocsf.line(record)).unwrap()
    }

    #[test]
    fn each_entry_has_its_class() {
        let mut ocsf = Ocsf::new([]);
        let class = |event: Value| (event["class_uid"].as_i64().unwrap(), event["activity_id"].as_i64().unwrap());
        assert_eq!(class(event(&mut ocsf, &samples::allowed())), (6005, 4));
        assert_eq!(class(event(&mut ocsf, &samples::outcome())), (6005, 4));
        assert_eq!(class(event(&mut ocsf, &samples::denied())), (6003, 1));
        assert_eq!(class(event(&mut Ocsf::new([String::from("mes")]), &samples::denied())), (6005, 5));
        let classes: Vec<_> = samples::others().iter().map(|record| class(event(&mut ocsf, record))).collect();
        assert_eq!(
            classes,
            [
                (3002, 1),
                (3002, 1),
                (3004, 10),
                (3004, 3),
                (0, 99),
                (3004, 10),
                (3004, 10),
                (6002, 3),
                (6002, 4),
                (0, 99),
                (6003, 2),
                (0, 99)
            ]
        );
    }

    #[test]
    fn a_decision_says_who_what_and_by_which_policies() {
        let said = event(&mut Ocsf::default(), &samples::allowed());
        assert_eq!(said["action_id"], 4, "something is masked");
        assert_eq!(said["actor"]["user"]["name"], "acme/engineer-1");
        assert_eq!(said["actor"]["user"]["org"]["uid"], "acme");
        assert_eq!(said["authorizations"][1]["policy"]["uid"], "reveal-under-agreement");
        assert_eq!(said["policy"]["version"], "5e8312c7beb2");
        assert_eq!(said["unmapped"]["origin"], samples::ORIGIN);
        assert_eq!(said["unmapped"]["leaf_hash"], samples::allowed().leaf_hash());
        assert_eq!(said["raw_data"], samples::allowed().stored());
        let said = event(&mut Ocsf::default(), &samples::denied());
        assert_eq!((&said["action_id"], &said["disposition_id"]), (&2.into(), &26.into()));
        assert_eq!(said["status_detail"], "data_too_old, window_too_wide");
    }

    #[test]
    fn a_request_came_from_a_country_if_that_is_known() {
        let mut ocsf = Ocsf::default();
        let said = event(&mut ocsf, &samples::from_sweden());
        assert_eq!(said["src_endpoint"]["location"], json!({ "country": "SE" }));
        // So did what came of it.
        let outcome = event(&mut ocsf, &samples::outcome());
        assert_eq!(outcome["src_endpoint"]["location"]["country"], "SE");
        assert_eq!(event(&mut ocsf, &samples::allowed())["src_endpoint"].get("location"), None);
    }

    #[test]
    fn an_outcome_is_of_its_decision_as_far_as_that_is_known() {
        let known = {
            let mut ocsf = Ocsf::default();
            ocsf.look(&samples::allowed());
            event(&mut ocsf, &samples::outcome())
        };
        assert_eq!(known["actor"]["user"]["name"], "acme/engineer-1");
        assert_eq!(known["http_response"]["code"], 200);
        let unknown = event(&mut Ocsf::default(), &samples::outcome());
        assert_eq!((&unknown["class_uid"], &unknown["activity_id"]), (&6003.into(), &0.into()));
        assert_eq!(unknown["metadata"]["uid"], known["metadata"]["uid"], "the same event twice has one id");
        assert_eq!(unknown["metadata"]["correlation_uid"], known["metadata"]["correlation_uid"]);
    }

    #[test]
    fn what_is_remembered_does_not_grow_with_the_log() {
        let mut ocsf = Ocsf::default();
        let mut record = samples::allowed();
        for index in 0..(OPEN_MAX as u64 + 10) {
            record.index = index;
            ocsf.look(&record);
        }
        assert_eq!(ocsf.open.len(), OPEN_MAX);
    }
}
