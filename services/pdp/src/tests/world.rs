//! A small plant: an owner, two suppliers that compete, one that is suspended, an auditing company.

use crate::{Decision, Denial, Permit, PolicySet, Snapshot};
use model::party::{
    Agreement, Authority, CertificateNames, Organisation, OrganisationKind, Parties, PrincipalRecord, Revocations,
    Status,
};
use model::plant::{
    Acknowledgement, Dataset, Equipment, FieldClass, Format, Governance, Level, Lifecycle, Plant, Product,
    RecordAttributes, Signal,
};
use model::{
    AccessRequest, Action, Actor, Assertion, Authenticated, AuthenticationMethod, Binding, Digest, IssuerId, Principal,
    PrincipalKind, ResourceRef, Shape, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Of the subject and its actors.
pub const REFERENCES: &[&str] = &["p-0001", "p-0002", "p-0003"];
pub const DAY: i64 = 86_400_000;

pub fn id<T: std::str::FromStr<Err = model::InvalidId>>(text: &str) -> T {
    text.parse().unwrap()
}

pub fn ids<T: std::str::FromStr<Err = model::InvalidId> + Ord>(texts: &[&str]) -> BTreeSet<T> {
    texts.iter().map(|t| id(t)).collect()
}

pub fn time(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

pub fn now() -> Timestamp {
    time("2026-06-01T12:00:00Z")
}

// === files

pub fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

/// Files of a folder below `policies/`, sorted.
pub fn files(under: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder().join(under)).unwrap();
    let mut files: Vec<_> = entries
        .map(|e| e.unwrap().path())
        .map(|path| {
            let name = format!("{under}/{}", path.file_name().unwrap().to_str().unwrap());
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

pub fn schema() -> (String, String) {
    files("schema").remove(0)
}

pub fn base_with(more: &str) -> Arc<PolicySet> {
    let mut all = files("base");
    all.push((String::from("extra.cedar"), more.to_owned()));
    let (name, text) = schema();
    Arc::new(PolicySet::load_recorded((&name, &text), &all).unwrap_or_else(|findings| panic!("{}", lines(&findings))))
}

pub fn base() -> Arc<PolicySet> {
    base_with("")
}

pub fn lines(findings: &[crate::Finding]) -> String {
    findings.iter().map(|f| format!("{f}\n")).collect()
}

// === plant

fn equipment(name: &str, level: Level, parent: Option<&str>, supplier: Option<&str>) -> Equipment {
    let title = name.to_owned();
    Equipment { id: id(name), title, level, parent: parent.map(id), supplier: supplier.map(id) }
}

fn product(name: &str, steward: &str, lifecycle: Lifecycle, listed: bool) -> Product {
    Product {
        id: id(name),
        title: name.to_owned(),
        owner: id("norden"),
        steward: id(steward),
        lifecycle,
        listed,
        acknowledgement: Acknowledgement::Durable,
        outcome_before_complete: false,
    }
}

pub fn governance(supplier: Option<&str>, export_class: Option<&str>) -> Governance {
    Governance { sensitivity: 1, export_class: export_class.map(id), trade_secret: false, supplier: supplier.map(id) }
}

fn signal(name: &str, product: &str, at: &str, class: &str, governance: Governance) -> Signal {
    Signal {
        id: id(name),
        title: name.to_owned(),
        product: id(product),
        source: id("historian"),
        equipment: id(at),
        governance,
        field_class: id(class),
        unit: String::from("1"),
        address: name.to_owned(),
    }
}

fn dataset(name: &str, product: &str, fields: &[(&str, &str)], supplier: Option<&str>) -> Dataset {
    Dataset {
        id: id(name),
        title: name.to_owned(),
        product: id(product),
        source: id("mes"),
        equipment: id("press-line"),
        governance: governance(supplier, None),
        format: Format::Json,
        masks: BTreeMap::new(),
        fields: fields.iter().map(|(f, c)| ((*f).to_owned(), id(c))).collect(),
        records: RecordAttributes::default(),
    }
}

fn with_records(mut d: Dataset, suppliers: &[&str], export_classes: &[&str], unassigned: bool) -> Dataset {
    d.records = RecordAttributes {
        suppliers: ids(suppliers),
        customers: BTreeSet::new(),
        export_classes: ids(export_classes),
        unassigned,
        ..RecordAttributes::default()
    };
    d
}

fn class(name: &str, parent: Option<&str>, public: bool) -> FieldClass {
    FieldClass { id: id(name), title: name.to_owned(), parent: parent.map(id), public }
}

fn keyed<K: Ord, V>(values: Vec<V>, key: impl Fn(&V) -> K) -> BTreeMap<K, V> {
    values.into_iter().map(|v| (key(&v), v)).collect()
}

pub fn plant() -> Plant {
    let plain = [("part_id", "public"), ("verdict", "quality")];
    let parts = |name, supplier| dataset(name, "traceability", &plain, supplier);
    let mut controlled = dataset("controlled-drawings", "traceability", &[("id", "public")], Some("acme"));
    controlled.governance.export_class = Some(id("dual-use"));
    Plant {
        digest: Digest::of(b"catalog"),
        equipment: keyed(
            vec![
                equipment("norden-group", Level::Enterprise, None, None),
                equipment("munich", Level::Site, Some("norden-group"), None),
                equipment("press-shop", Level::Area, Some("munich"), None),
                equipment("press-line", Level::WorkCenter, Some("press-shop"), None),
                equipment("press-3", Level::WorkUnit, Some("press-line"), Some("acme")),
                equipment("gripper-7", Level::Equipment, Some("press-3"), Some("bolt")),
            ],
            |e| e.id.clone(),
        ),
        products: keyed(
            vec![
                product("machine-signals", "press-shop-steward", Lifecycle::Active, false),
                product("traceability", "press-shop-steward", Lifecycle::Active, false),
                product("plant-calendar", "press-shop-steward", Lifecycle::Active, true),
                product("press-pilot", "press-shop-steward", Lifecycle::Draft, false),
                product("old-press", "press-shop-steward", Lifecycle::Retired, false),
            ],
            |p| p.id.clone(),
        ),
        datasets: keyed(
            vec![
                with_records(parts("acme-parts", Some("acme")), &["acme"], &[], false),
                with_records(parts("all-parts", None), &["acme", "bolt"], &[], true),
                with_records(parts("marked-parts", None), &["acme"], &["dual-use"], false),
                dataset(
                    "inspections",
                    "traceability",
                    &[("verdict", "quality"), ("inspector", "personal")],
                    Some("acme"),
                ),
                dataset("recipes", "traceability", &[("pressure", "process.recipe")], Some("acme")),
                dataset("undeclared", "traceability", &[], None),
                dataset("shifts", "plant-calendar", &[("start", "public")], None),
                controlled,
            ],
            |d| d.id.clone(),
        ),
        signals: keyed(
            vec![
                signal("press-3.force", "machine-signals", "press-3", "process", governance(Some("acme"), None)),
                signal("gripper-7.torque", "machine-signals", "gripper-7", "process", governance(Some("bolt"), None)),
                signal("hall.temperature", "plant-calendar", "press-shop", "public", governance(None, None)),
                signal("press-9.force", "press-pilot", "press-3", "process", governance(Some("acme"), None)),
                signal("press-1.force", "old-press", "press-3", "process", governance(Some("acme"), None)),
            ],
            |s| s.id.clone(),
        ),
        field_classes: keyed(
            vec![
                class("public", None, true),
                class("process", None, false),
                class("process.recipe", Some("process"), false),
                class("quality", None, false),
                class("personal", None, false),
            ],
            |c| c.id.clone(),
        ),
        purposes: ["maintenance", "quality-analysis", "planning"].map(|p| (id(p), p.to_owned())).into(),
        export_classes: BTreeMap::from([(id("dual-use"), String::from("dual use"))]),
    }
}

// === parties

fn organisation(name: &str, kind: OrganisationKind, status: Status) -> Organisation {
    Organisation {
        id: id(name),
        title: name.to_owned(),
        kind,
        country: String::from("DE"),
        status,
        roles: BTreeSet::new(),
        bindings: BTreeSet::new(),
    }
}

fn principal(organisation: &str, subject: &str, kind: PrincipalKind, roles: &[&str]) -> PrincipalRecord {
    PrincipalRecord {
        organisation: id(organisation),
        subject: id(subject),
        kind,
        title: subject.to_owned(),
        roles: ids(roles),
        clearance: 2,
        export_authorisations: BTreeSet::new(),
    }
}

pub fn agreement(name: &str, consumer: &str, purposes: &[&str], products: &[&str]) -> Agreement {
    Agreement {
        id: id(name),
        title: name.to_owned(),
        provider: id("norden"),
        consumer: id(consumer),
        status: Status::Active,
        purposes: ids(purposes),
        products: ids(products),
        reveals: ids(&["quality", "process"]),
        not_before: time("2026-01-01T00:00:00Z"),
        not_after: time("2027-01-01T00:00:00Z"),
        resolution_min_ms: 1_000,
        window_max_ms: 7 * DAY,
        age_max_days: 365,
        rows_max: 1_000,
    }
}

pub fn parties() -> Parties {
    use {OrganisationKind as Kind, PrincipalKind as Who};
    Parties {
        authorities: BTreeMap::new(),
        digest: Digest::of(b"registry"),
        organisations: keyed(
            vec![
                organisation("norden", Kind::Owner, Status::Active),
                organisation("acme", Kind::Supplier, Status::Active),
                organisation("bolt", Kind::Supplier, Status::Active),
                organisation("dorn", Kind::Supplier, Status::Suspended),
                organisation("audax", Kind::Auditor, Status::Active),
            ],
            |o| o.id.clone(),
        ),
        issuers: BTreeMap::new(),
        principals: keyed(
            vec![
                principal("norden", "line-analytics", Who::Service, &["plant-analytics"]),
                principal("norden", "ida", Who::User, &["press-shop-steward"]),
                principal("norden", "karl", Who::User, &[]),
                principal("bolt", "mole", Who::User, &["plant-analytics", "press-shop-steward"]),
                principal("acme", "otto", Who::User, &["auditor"]),
                principal("audax", "vera", Who::User, &["auditor"]),
                principal("norden", "petra", Who::User, &["data-protection"]),
                principal("norden", "eraser", Who::Service, &["data-protection"]),
                principal("acme", "paul", Who::User, &["data-protection"]),
            ],
            |p| (p.organisation.clone(), p.subject.clone()),
        ),
        agreements: keyed(
            vec![
                agreement("acme-maintenance-2026", "acme", &["maintenance"], &["machine-signals", "traceability"]),
                agreement("bolt-quality-2026", "bolt", &["quality-analysis"], &["traceability", "machine-signals"]),
                agreement("dorn-quality-2026", "dorn", &["quality-analysis"], &["traceability", "plant-calendar"]),
                agreement("acme-old-press-2026", "acme", &["maintenance"], &["old-press", "press-pilot"]),
                agreement("bolt-planning-2026", "bolt", &["planning"], &["plant-calendar"]),
                Agreement {
                    status: Status::Suspended,
                    ..agreement("bolt-calendar-2026", "bolt", &["planning"], &["plant-calendar"])
                },
            ],
            |a| a.id.clone(),
        ),
        revocations: Revocations::default(),
    }
}

/// Authorities of acme.
pub fn authorities(names: &[&str]) -> BTreeMap<IssuerId, Authority> {
    let authority = |name: &&str| Authority {
        id: id(name),
        organisation: id("acme"),
        ca_file: "ca.pem".into(),
        crl_files: Vec::new(),
        intermediates_max: 0,
        names: CertificateNames::Dns { domains: Vec::new() },
        principal_kind: PrincipalKind::Service,
    };
    names.iter().map(|name| (id(name), authority(name))).collect()
}

// === requests

#[derive(Clone, Debug)]
pub struct World {
    pub policies: Arc<PolicySet>,
    pub plant: Plant,
    pub parties: Parties,
}

impl World {
    pub fn new() -> Self {
        Self::with(base())
    }

    pub fn with(policies: Arc<PolicySet>) -> Self {
        Self { policies, plant: plant(), parties: parties() }
    }

    pub fn agree(mut self, change: impl FnOnce(&mut Agreement), name: &str) -> Self {
        change(self.parties.agreements.get_mut(name).unwrap());
        self
    }

    pub fn add(mut self, agreement: Agreement) -> Self {
        self.parties.agreements.insert(agreement.id.clone(), agreement);
        self
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.policies.clone(), Arc::new(self.plant.clone()), Arc::new(self.parties.clone()), 7)
            .unwrap_or_else(|findings| panic!("{}", lines(&findings)))
    }

    pub fn decide(&self, request: AccessRequest) -> Decision {
        self.snapshot().decide(request, REFERENCES)
    }

    pub fn permit(&self, request: AccessRequest) -> Permit {
        match self.decide(request) {
            Decision::Permit(permit) => permit,
            Decision::Denied(denial) => panic!("{denial:#?}"),
        }
    }

    pub fn deny(&self, request: AccessRequest) -> Denial {
        match self.decide(request) {
            Decision::Permit(permit) => panic!("{permit:#?}"),
            Decision::Denied(denial) => denial,
        }
    }
}

pub fn somebody(organisation: &str, subject: &str, kind: PrincipalKind) -> Principal {
    Principal { organisation: id(organisation), kind, subject: id(subject) }
}

/// A caller with a plain token, for whom nobody acts.
pub fn assertion(organisation: &str, subject: &str, kind: PrincipalKind) -> Assertion {
    Assertion {
        principal: somebody(organisation, subject, kind),
        issuer: id(&format!("{organisation}-login")),
        method: AuthenticationMethod::Jwt,
        binding: Binding::None,
        expires: now().plus_millis(DAY),
        fingerprint: Digest::of(b"credential"),
        token_id: Some(format!("token-of-{subject}")),
        certificate: None,
        assurance: 0,
        roles: BTreeSet::new(),
        actors: Vec::new(),
    }
}

#[expect(clippy::disallowed_methods, reason = "tests decide for callers that nobody authenticated")]
pub fn vouched(assertion: Assertion) -> Authenticated {
    Authenticated::assertion(assertion)
}

pub fn caller(organisation: &str, subject: &str, kind: PrincipalKind) -> Authenticated {
    vouched(assertion(organisation, subject, kind))
}

pub fn actor(organisation: &str, subject: &str) -> Actor {
    let kind = PrincipalKind::Service;
    Actor {
        principal: somebody(organisation, subject, kind),
        issuer: id(&format!("{organisation}-login")),
        token_id: Some(format!("token-of-{subject}")),
    }
}

/// The same request, by a caller changed in some way.
pub fn by(mut request: AccessRequest, change: impl FnOnce(&mut Assertion)) -> AccessRequest {
    let principal = request.caller.principal();
    let mut assertion = assertion(principal.organisation.as_str(), principal.subject.as_str(), principal.kind);
    change(&mut assertion);
    request.caller = vouched(assertion);
    request
}

/// The same request, with `actors` who act for its caller.
pub fn through(request: AccessRequest, actors: &[Actor]) -> AccessRequest {
    by(request, |assertion| assertion.actors = actors.to_vec())
}

pub fn resource(text: &str) -> ResourceRef {
    match text.split_once('/').unwrap() {
        ("Dataset", name) => ResourceRef::Dataset(id(name)),
        ("Signal", name) => ResourceRef::Signal(id(name)),
        ("AuditScope", "*") => ResourceRef::AuditScope(None),
        ("AuditScope", name) => ResourceRef::AuditScope(Some(id(name))),
        _ => panic!("{text} is not a resource"),
    }
}

/// Somebody of `organisation` asks for `what`, one minute of ten rows, for maintenance.
pub fn ask(organisation: &str, subject: &str, what: &str) -> AccessRequest {
    let resource = resource(what);
    let (action, shape) = match &resource {
        ResourceRef::Dataset(_) => (Action::Read, Shape { resolution_ms: 0, window_ms: 0, rows: 10, age_days: 0 }),
        ResourceRef::Signal(_) => {
            (Action::ReadSeries, Shape { resolution_ms: 1_000, window_ms: 60_000, rows: 60, age_days: 0 })
        }
        ResourceRef::AuditScope(_) => (Action::ReadAudit, Shape::default()),
    };
    AccessRequest {
        caller: caller(organisation, subject, PrincipalKind::User),
        action,
        resource,
        purpose: Some(id("maintenance")),
        agreement: None,
        shape,
        country: None,
        now: now(),
    }
}

/// Anna of acme asks for the force of acme's press, as her company's agreement allows.
pub fn anna() -> AccessRequest {
    ask("acme", "anna", "Signal/press-3.force")
}

pub fn reasons(denial: &Denial) -> Vec<&str> {
    denial.reasons.iter().map(model::Reason::as_str).collect()
}
