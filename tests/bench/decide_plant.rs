//! A plant of the size that is asked for: ISA-95 levels, signals, suppliers with agreements, people in roles, and policies in
//! the mix that large sets have.

use model::issuer::Issuer;
use model::party::{Agreement, Organisation, OrganisationKind, Parties, PrincipalRecord, Revocations, Status};
use model::plant::{Acknowledgement, Equipment, FieldClass, Governance, Level, Lifecycle, Plant, Product, Signal};
use model::{
    AccessRequest, Action, Assertion, Authenticated, AuthenticationMethod, Binding, Digest, Principal, PrincipalKind,
    ResourceRef, Shape, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const SITES: usize = 4;
const AREAS: usize = 40;
const WORK_CENTERS: usize = 400;
const PRODUCTS: usize = 50;
const ROLES: usize = 100;
const AGREEMENTS_EACH: usize = 3;
pub const DAY: i64 = 86_400_000;
pub const NOW: Timestamp = Timestamp(1_795_375_200_000);

/// How much there is of what.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    suppliers: usize,
    principals: usize,
    units: usize,
    signals: usize,
}

impl Size {
    /// About `entities` in all; most of them signals, a twentieth principals.
    pub fn of(entities: usize) -> Self {
        let suppliers = (entities / 500).clamp(4, 200);
        let (principals, units) = (entities / 20, (entities / 50).max(suppliers));
        let others = principals + units + suppliers * (2 + AGREEMENTS_EACH) + SITES + AREAS + WORK_CENTERS;
        Self {
            suppliers,
            principals,
            units,
            signals: entities.saturating_sub(others + PRODUCTS + ROLES).max(units * 2),
        }
    }

    pub fn describe(&self) -> String {
        let Self { suppliers, principals, units, signals } = self;
        format!(
            "{signals} signals on {units} machines, {suppliers} suppliers with {} agreements, {principals} people",
            suppliers * AGREEMENTS_EACH
        )
    }

    fn product_of(&self, signal: usize) -> usize {
        self.supplier_of_unit(signal % self.units) % PRODUCTS
    }

    fn supplier_of_unit(&self, unit: usize) -> usize {
        unit % self.suppliers
    }
}

fn id<T: std::str::FromStr<Err = model::InvalidId>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: model::InvalidId| e.to_string())
}

fn keyed<K: Ord, V>(values: Vec<V>, key: impl Fn(&V) -> K) -> BTreeMap<K, V> {
    values.into_iter().map(|v| (key(&v), v)).collect()
}

// === plant

pub fn plant(size: Size) -> Result<Plant, String> {
    let signals = (0..size.signals).map(|n| signal(size, n)).collect::<Result<_, String>>()?;
    let classes = [("public", None), ("process", None), ("process.recipe", Some("process")), ("personal", None)];
    let classes = classes.into_iter().map(|(name, parent)| {
        let parent = parent.map(id).transpose()?;
        Ok(FieldClass { id: id(name)?, title: String::new(), parent, public: name == "public" })
    });
    Ok(Plant {
        digest: Digest::of(b"catalog"),
        equipment: keyed(equipment(size)?, |e| e.id.clone()),
        products: keyed((0..PRODUCTS).map(product).collect::<Result<_, String>>()?, |p| p.id.clone()),
        datasets: BTreeMap::new(),
        signals: keyed(signals, |s| s.id.clone()),
        field_classes: keyed(classes.collect::<Result<_, String>>()?, |c| c.id.clone()),
        purposes: BTreeMap::from([(id("maintenance")?, String::new()), (id("quality")?, String::new())]),
        export_classes: BTreeMap::from([(id("dual-use")?, String::new())]),
    })
}

fn equipment(size: Size) -> Result<Vec<Equipment>, String> {
    let one = |name: String, level, parent: Option<String>| {
        let parent = parent.as_deref().map(id).transpose()?;
        Ok(Equipment { id: id(&name)?, title: String::new(), level, parent, supplier: None })
    };
    let top = std::iter::once(one(String::from("group"), Level::Enterprise, None));
    let sites = (0..SITES).map(|n| one(format!("site-{n}"), Level::Site, Some(String::from("group"))));
    let areas = (0..AREAS).map(|n| one(format!("area-{n}"), Level::Area, Some(format!("site-{}", n % SITES))));
    let centers =
        (0..WORK_CENTERS).map(|n| one(format!("center-{n}"), Level::WorkCenter, Some(format!("area-{}", n % AREAS))));
    let units = (0..size.units)
        .map(|n| one(format!("unit-{n}"), Level::WorkUnit, Some(format!("center-{}", n % WORK_CENTERS))));
    top.chain(sites).chain(areas).chain(centers).chain(units).collect()
}

fn product(n: usize) -> Result<Product, String> {
    Ok(Product {
        id: id(&format!("product-{n}"))?,
        title: String::new(),
        owner: id("owner")?,
        steward: id(&format!("role-{}", n % ROLES))?,
        lifecycle: Lifecycle::Active,
        listed: false,
        acknowledgement: Acknowledgement::Durable,
        outcome_before_complete: false,
    })
}

fn signal(size: Size, n: usize) -> Result<Signal, String> {
    let unit = n % size.units;
    let supplier = size.supplier_of_unit(unit);
    Ok(Signal {
        id: id(&format!("signal-{n}"))?,
        title: String::new(),
        product: id(&format!("product-{}", size.product_of(n)))?,
        source: id(&format!("historian-{}", n % 3))?,
        equipment: id(&format!("unit-{unit}"))?,
        governance: Governance {
            sensitivity: 1,
            export_class: None,
            trade_secret: n.is_multiple_of(7),
            supplier: Some(id(&format!("supplier-{supplier}"))?),
        },
        // Every other one: of a public class there is nothing more to ask.
        field_class: id(if class_is_public(size, n) { "public" } else { "process" })?,
        unit: String::from("1"),
        address: String::new(),
    })
}

fn class_is_public(size: Size, signal: usize) -> bool {
    (signal / size.units).is_multiple_of(2)
}

// === parties

pub fn parties(size: Size) -> Result<Parties, String> {
    let organisation = |name: &str, kind| {
        Ok::<_, String>(Organisation {
            id: id(name)?,
            title: String::new(),
            kind,
            country: String::from("DE"),
            status: Status::Active,
            roles: BTreeSet::new(),
            bindings: BTreeSet::new(),
        })
    };
    let suppliers = (0..size.suppliers).map(|n| organisation(&format!("supplier-{n}"), OrganisationKind::Supplier));
    let owner = std::iter::once(organisation("owner", OrganisationKind::Owner));
    let agreements = (0..size.suppliers * AGREEMENTS_EACH).map(agreement);
    Ok(Parties {
        digest: Digest::of(b"registry"),
        organisations: keyed(owner.chain(suppliers).collect::<Result<_, String>>()?, |o| o.id.clone()),
        issuers: BTreeMap::from([(id("login")?, Issuer::new(id("login")?, id("owner")?, "https://login.example"))]),
        authorities: BTreeMap::new(),
        principals: keyed((0..size.principals).map(|n| person(size, n)).collect::<Result<_, String>>()?, |p| {
            (p.organisation.clone(), p.subject.clone())
        }),
        agreements: keyed(agreements.collect::<Result<_, String>>()?, |a| a.id.clone()),
        revocations: Revocations::default(),
    })
}

/// Every fifth is the owner's.
fn organisation_of(size: Size, person: usize) -> String {
    if person.is_multiple_of(5) { String::from("owner") } else { format!("supplier-{}", person % size.suppliers) }
}

fn person(size: Size, n: usize) -> Result<PrincipalRecord, String> {
    let roles = [n % ROLES, (n * 7 + 3) % ROLES];
    Ok(PrincipalRecord {
        organisation: id(&organisation_of(size, n))?,
        subject: id(&format!("person-{n}"))?,
        kind: PrincipalKind::User,
        title: String::new(),
        roles: roles.iter().map(|role| id(&format!("role-{role}"))).collect::<Result<_, String>>()?,
        clearance: 2,
        export_authorisations: BTreeSet::new(),
    })
}

/// The first of each supplier covers the product of its own machines, the others neighbours'.
fn agreement(n: usize) -> Result<Agreement, String> {
    let (supplier, which) = (n / AGREEMENTS_EACH, n % AGREEMENTS_EACH);
    Ok(Agreement {
        id: id(&format!("agreement-{n}"))?,
        title: String::new(),
        provider: id("owner")?,
        consumer: id(&format!("supplier-{supplier}"))?,
        status: Status::Active,
        purposes: BTreeSet::from([id(if which == 0 { "maintenance" } else { "quality" })?]),
        products: BTreeSet::from([id(&format!("product-{}", (supplier + which * 17) % PRODUCTS))?]),
        reveals: BTreeSet::from([id("process")?]),
        not_before: NOW.plus_millis(-DAY),
        not_after: NOW.plus_millis(DAY),
        resolution_min_ms: 1_000,
        window_max_ms: 7 * DAY,
        age_max_days: 365,
        rows_max: 100_000,
    })
}

// === policies

/// Of a hundred: 20 permits by role and area, 20 of those with conditions, 10 for a supplier's own machines, 10 that forbid
/// what is not well proven, 10 for one person and one signal, 5 by type, 5 that forbid by role and site, 20 for a supplier and a
/// product that are alike but for their names; and twelve that are for everybody.
pub fn policies(size: Size, count: usize, all_differ: bool) -> String {
    let mut text = String::new();
    for n in 0..count {
        let (scope, condition) = if n < 12 { guard(n) } else { policy(size, n) };
        let condition = if all_differ {
            // The forbids must not hold.
            let than = if scope.starts_with("forbid") { ">" } else { "<" };
            let (rows, window) = (1_000_000 + n, 4_000_000_000_i64 + n as i64);
            format!("context.shape.rows {than} {rows} && context.shape.windowMs {than} {window}")
        } else {
            condition
        };
        let _ = writeln!(
            text,
            "@id(\"generated-{n}\") {scope} {}",
            match condition.as_str() {
                "" => String::from(";"),
                condition => format!("when {{ {condition} }};"),
            }
        );
    }
    text
}

fn guard(n: usize) -> (String, String) {
    let scope = String::from("forbid (principal, action in Plant::Action::\"dataplane\", resource)");
    (scope, format!("resource.governance.sensitivity > 2 && context.caller.assurance < {}", n % 3 + 1))
}

fn policy(size: Size, n: usize) -> (String, String) {
    let dataplane = "action in Plant::Action::\"dataplane\"";
    let series = "action == Plant::Action::\"readSeries\"";
    // Every kind of policy goes through all roles, areas and so on.
    let k = n / 100 * 20 + n % 20;
    let role = format!("principal in Plant::Role::\"role-{}\"", k % ROLES);
    let supplier = format!("principal in Plant::Organisation::\"supplier-{}\"", k % size.suppliers);
    let area = format!("resource in Plant::Area::\"area-{}\"", k / 3 % AREAS);
    let unit = k * 31 % size.units;
    match n % 100 {
        0..20 => (format!("permit ({role}, {dataplane}, {area})"), String::new()),
        20..40 => (
            format!("permit ({role}, {dataplane}, {area})"),
            format!(
                "principal.clearance >= resource.governance.sensitivity && context.shape.rows <= {}",
                1_000 * (n % 5)
            ),
        ),
        40..50 => (
            format!("permit ({supplier}, {series}, resource in Plant::WorkUnit::\"unit-{unit}\")"),
            String::from(
                "resource.governance has supplier && resource.governance.supplier == principal.organisation && \
                 context has purpose && context.purpose == Plant::Purpose::\"quality\"",
            ),
        ),
        50..60 => (
            format!(
                "forbid ({supplier}, {dataplane}, resource in Plant::WorkCenter::\"center-{}\")",
                k * 7 % WORK_CENTERS
            ),
            String::from("context.caller.binding == \"none\" && context.caller.assurance < 1"),
        ),
        60..70 => {
            let person = k * 13 % size.principals;
            let who = format!("{}/person-{person}", organisation_of(size, person));
            let what = k * 17 % size.signals;
            let scope = format!(
                "(principal == Plant::User::\"{who}\", {series}, resource == Plant::Signal::\"signal-{what}\")"
            );
            (format!("permit {scope}"), String::new())
        }
        70..75 => (
            format!("permit ({role}, {series}, resource is Plant::Signal in Plant::Area::\"area-{}\")", k % AREAS),
            String::from("resource.governance.sensitivity < 1"),
        ),
        75..80 => (
            format!("forbid ({role}, {dataplane}, resource in Plant::Site::\"site-{}\")", k % SITES),
            String::from("principal.clearance < 1 && resource.governance.tradeSecret"),
        ),
        _ => (
            format!(
                "permit ({supplier}, {dataplane}, resource in Plant::DataProduct::\"product-{}\")",
                k * 3 % PRODUCTS
            ),
            String::from("context has agreement && context.agreement.status == \"active\" && principal.clearance > 2"),
        ),
    }
}

// === requests

/// Suppliers' people, known to the registry or not, ask under their agreement for a signal of their own machine: of a public
/// class, or of one that has to be revealed.
pub fn requests(size: Size, count: usize, public: bool) -> Result<Vec<AccessRequest>, String> {
    let mut all = Vec::with_capacity(count);
    let mut n = 0;
    while all.len() < count {
        n += 1;
        let signal = n * 7_919 % size.signals;
        if class_is_public(size, signal) != public {
            continue;
        }
        all.push(request(size, n, signal)?);
    }
    Ok(all)
}

#[expect(clippy::disallowed_methods, reason = "figures are made for callers that nobody authenticated")]
fn request(size: Size, n: usize, signal: usize) -> Result<AccessRequest, String> {
    let supplier = size.supplier_of_unit(signal % size.units);
    let person = supplier + size.suppliers * (n % 4);
    let is_registered = n.is_multiple_of(2) && person < size.principals && !person.is_multiple_of(5);
    let subject = if is_registered { format!("person-{person}") } else { format!("visitor-{n}") };
    let caller = Authenticated::assertion(Assertion {
        principal: Principal {
            organisation: id(&format!("supplier-{supplier}"))?,
            kind: PrincipalKind::User,
            subject: id(&subject)?,
        },
        issuer: id("login")?,
        method: AuthenticationMethod::Jwt,
        binding: Binding::None,
        expires: NOW.plus_millis(DAY),
        fingerprint: Digest::of(b"credential"),
        token_id: None,
        certificate: None,
        assurance: 2,
        roles: BTreeSet::new(),
        actors: Vec::new(),
    });
    Ok(AccessRequest {
        caller,
        action: Action::ReadSeries,
        resource: ResourceRef::Signal(id(&format!("signal-{signal}"))?),
        purpose: Some(id("maintenance")?),
        agreement: None,
        shape: Shape { resolution_ms: 1_000, window_ms: 3_600_000, rows: 3_600, age_days: 0 },
        country: None,
        now: NOW.plus_millis(n as i64),
    })
}
