//! Generated policies, entities and questions, each asked of the index and of all policies: the proof that both answer
//! alike. For tests and `cargo bench --bench equality`; nothing here decides for anybody.
//!
//! What is generated is worse than what is ever loaded: no validation, so that policies overflow, look for attributes
//! and entities that are not there and compare what cannot be compared; stores with holes; contexts with parts missing or of
//! the wrong type; principals and resources that nobody knows; names that are one another's but for the type.

use crate::answer::Answer;
use crate::engine::{Facts, Store};
use crate::policies::PolicySet;
use cedar_policy::{Context, Entities, Entity, EntityUid, RestrictedExpression};
use model::Action;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

/// SplitMix64 (Steele, Lea and Flood 2014): small, and the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % n).unwrap_or_default()
    }

    /// In `percent` of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of.get(self.below(of.len())).copied().unwrap_or_default()
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub decisions: usize,
    pub allowed: usize,
    /// Denied by a `forbid`.
    pub forbidden: usize,
    /// With a policy that failed.
    pub failed: usize,
    /// Questions to which the answers differ; empty, or the index is wrong.
    pub differences: Vec<String>,
}

impl Report {
    pub fn add(&mut self, other: Self) {
        self.decisions += other.decisions;
        self.allowed += other.allowed;
        self.forbidden += other.forbidden;
        self.failed += other.failed;
        self.differences.extend(other.differences);
    }

    fn note(&mut self, answer: &Answer) {
        self.decisions += 1;
        self.allowed += usize::from(answer.allow);
        self.forbidden += usize::from(!answer.allow && !answer.policies.is_empty());
        self.failed += usize::from(!answer.errors.is_empty());
    }
}

/// Asks `questions` of a new set of `policies` policies under `schema`, a name and its text.
///
/// # Errors
/// In words: what was generated could not be read. A fault of this module.
pub fn compare(schema: (&str, &str), seed: u64, policies: usize, questions: usize) -> Result<Report, String> {
    let mut dice = Dice::new(seed);
    let text = policy_texts(&mut dice, policies);
    let set = PolicySet::unchecked(schema, &text).map_err(|findings| format!("{findings:?}"))?;
    compare_in(&set, &mut dice, questions)
}

pub(crate) fn compare_in(set: &PolicySet, dice: &mut Dice, questions: usize) -> Result<Report, String> {
    let mut report = Report::default();
    let (mut store, none) = (Entities::empty(), Entities::empty());
    let mut ready = Store::from(&none);
    for n in 0..questions {
        if n % 20 == 0 {
            store = entities(dice, set)?;
            // A store without actions is one of Cedar's own.
            let actions = if store.get(action_of(set)?).is_some() { &set.actions } else { &none };
            ready = Store::ready(actions, &store)?;
        }
        let (principal, resource) = (uid(PRINCIPALS, dice)?, uid(RESOURCES, dice)?);
        let action = Action::ALL.get(dice.below(Action::ALL.len())).copied().unwrap_or(Action::Read);
        let facts = Facts::from(context(dice)?);
        let entities = Store::from(&store);
        let full = set.scan(&principal, action, &resource, &facts, &entities);
        report.note(&full);
        for entities in [&entities, &ready] {
            let indexed = set.ask(&principal, action, &resource, &facts, entities);
            if !indexed.is_same(&full) {
                report.differences.push(format!("{principal} {action:?} {resource}: {indexed:?}, but {full:?}"));
            }
        }
    }
    Ok(report)
}

fn action_of(set: &PolicySet) -> Result<&EntityUid, String> {
    set.names.actions.values().next().ok_or_else(|| String::from("there are no actions"))
}

// === policies

const PRINCIPALS: &[&str] = &["User", "User", "Service"];
const RESOURCES: &[&str] = &["Signal", "Signal", "Dataset", "FieldClass", "Record", "AuditScope", "User"];
const GROUPS: &[&str] = &["Role", "Organisation", "User"];
const PLACES: &[&str] = &["Site", "Area", "WorkCenter", "Equipment", "DataProduct", "Source", "Dataset", "Signal"];
/// Of each type; the same names for all, so that only the type tells them apart.
const NAMES: usize = 6;

fn literal(types: &[&str], dice: &mut Dice) -> String {
    format!("Plant::{}::\"n{}\"", dice.pick(types), dice.below(NAMES + 2))
}

fn uid(types: &[&str], dice: &mut Dice) -> Result<EntityUid, String> {
    literal(types, dice).parse().map_err(|e| format!("{e}"))
}

fn policy_texts(dice: &mut Dice, policies: usize) -> String {
    // Some conditions are had by many.
    let common: Vec<String> = (0..8).map(|_| condition(dice, 2)).collect();
    let mut text = String::new();
    for n in 0..policies {
        let effect = if dice.chance(70) { "permit" } else { "forbid" };
        let principal = constraint("principal", PRINCIPALS, GROUPS, policies, dice);
        let resource = constraint("resource", RESOURCES, PLACES, policies, dice);
        let _ = write!(text, "@id(\"p{n}\") {effect} ({principal}, {}, {resource})", action(dice));
        for _ in 0..dice.below(3) {
            let one = match common.get(dice.below(common.len() * 2)) {
                Some(shared) => shared.clone(),
                None => condition(dice, 3),
            };
            let _ = write!(text, " {} {{ {one} }}", dice.pick(&["when", "when", "unless"]));
        }
        text.push_str(";\n");
    }
    text
}

/// Large sets leave little unconstrained, as large sets do.
fn constraint(of: &str, types: &[&str], groups: &[&str], policies: usize, dice: &mut Dice) -> String {
    let open = if policies > 100 { 5 } else { 25 };
    if dice.chance(open) {
        return of.to_owned();
    }
    match dice.below(10) {
        0..=2 => format!("{of} == {}", literal(types, dice)),
        3..=7 => format!("{of} in {}", literal(groups, dice)),
        8 => format!("{of} is Plant::{}", dice.pick(types)),
        _ => format!("{of} is Plant::{} in {}", dice.pick(types), literal(groups, dice)),
    }
}

fn action(dice: &mut Dice) -> String {
    let one = |dice: &mut Dice| {
        let names = ["discover", "read", "readSeries", "seeRecord", "reveal", "readAudit", "dataplane", "dataplane"];
        format!("Plant::Action::\"{}\"", dice.pick(&names))
    };
    match dice.below(8) {
        0..=1 => String::from("action"),
        2..=4 => format!("action == {}", one(dice)),
        5 => format!("action in {}", one(dice)),
        _ => format!("action in [{}, {}]", one(dice), one(dice)),
    }
}

const TERMS: &[&str] = &[
    "principal",
    "resource",
    "principal.organisation",
    "principal.clearance",
    "principal.registered",
    "principal.exportAuthorisations",
    "principal.nothing",
    "resource.governance",
    "resource.governance.owner",
    "resource.governance.sensitivity",
    "resource.governance.supplier",
    "resource.public",
    "context",
    "context.agreement",
    "context.agreement.rowsMax",
    "context.agreement.products",
    "context.agreement.notAfter",
    "context.purpose",
    "context.country",
    "context.now",
    "context.shape.rows",
    "context.caller.users",
    "context.caller.binding",
    "Plant::User::\"n1\"",
    "Plant::Organisation::\"n2\"",
    "Plant::User::\"n1\".clearance",
    "Plant::User::\"ghost\".clearance",
    "Plant::User::\"ghost\"",
    "action",
    "1",
    "2",
    "9223372036854775807",
    "\"none\"",
    "\"SE\"",
    "true",
    "false",
    "[1, 2]",
    "[]",
    "[Plant::Organisation::\"n1\", Plant::Organisation::\"n2\"]",
    "[Plant::Organisation::\"n1\", 2]",
    "datetime(\"2026-06-01\")",
    "datetime(\"no time\")",
    "decimal(\"1.5\")",
    "{ a: 1, b: [principal] }.a",
];

const PLAIN: &[&str] = &[
    "true",
    "(context has agreement)",
    "(context.shape has rows)",
    "(principal is Plant::User)",
    "(principal has clearance && principal.clearance < 3)",
    "(context has purpose || resource has governance)",
    "(context has country && [\"DE\", \"SE\"].contains(context.country))",
    "(resource in Plant::Site::\"n1\")",
    "(principal in [Plant::Role::\"n0\", Plant::Role::\"n1\"])",
];

fn condition(dice: &mut Dice, depth: usize) -> String {
    if depth > 0 && dice.chance(60) {
        let (a, b) = (condition(dice, depth - 1), condition(dice, depth - 1));
        return match dice.below(7) {
            0..=2 => format!("{a} && {b}"),
            3 => format!("({a} || {b})"),
            4 => format!("!({a})"),
            5 => format!("(if {a} then {b} else {})", condition(dice, depth - 1)),
            _ => format!("({a} && {b})"),
        };
    }
    let (a, b) = (dice.pick(TERMS), dice.pick(TERMS));
    match dice.below(24) {
        0..=3 => format!("({a} == {b})"),
        4 => format!("({a} != {b})"),
        5 => format!("({a} {} {b})", dice.pick(&["<", "<=", ">", ">="])),
        6..=7 => format!("({a} in {b})"),
        8 => format!(
            "{}.contains({a})",
            dice.pick(&["[1, 2]", "principal.exportAuthorisations", "context.caller.users"])
        ),
        9..=10 => format!("({a} has {})", dice.pick(&["organisation", "governance", "rows", "agreement", "nothing"])),
        11 => format!("({a} has governance.supplier)"),
        12 => format!("(context.shape.rows {} {b} < 3)", dice.pick(&["+", "-", "*"])),
        13 => format!("({a} like \"n*\")"),
        14 => format!("({a} is Plant::User)"),
        15 => a.to_owned(),
        // So that not everything fails.
        _ => dice.pick(PLAIN).to_owned(),
    }
}

// === entities

type Attributes = HashMap<String, RestrictedExpression>;

fn number(dice: &mut Dice) -> RestrictedExpression {
    let numbers = [0, 1, 2, 3, i64::MAX];
    RestrictedExpression::new_long(numbers.get(dice.below(numbers.len())).copied().unwrap_or_default())
}

fn reference(types: &[&str], dice: &mut Dice) -> Result<RestrictedExpression, String> {
    uid(types, dice).map(RestrictedExpression::new_entity_uid)
}

fn references(types: &[&str], dice: &mut Dice) -> Result<RestrictedExpression, String> {
    let count = dice.below(4);
    let all = (0..count).map(|_| reference(types, dice)).collect::<Result<Vec<_>, _>>()?;
    Ok(RestrictedExpression::new_set(all))
}

fn record(fields: Attributes) -> Result<RestrictedExpression, String> {
    RestrictedExpression::new_record(fields).map_err(|e| e.to_string())
}

/// Some fields lost, some of another type.
fn damaged(fields: Vec<(&str, RestrictedExpression)>, dice: &mut Dice) -> Attributes {
    let kept = fields.into_iter().filter_map(|(name, value)| match dice.below(40) {
        0 => None,
        1 => Some((name.to_owned(), RestrictedExpression::new_string(String::from("n1")))),
        _ => Some((name.to_owned(), value)),
    });
    kept.collect()
}

fn governance(dice: &mut Dice) -> Result<RestrictedExpression, String> {
    let mut fields = vec![("owner", reference(&["Organisation"], dice)?), ("sensitivity", number(dice))];
    if dice.chance(60) {
        fields.push(("supplier", reference(&["Organisation"], dice)?));
    }
    record(damaged(fields, dice))
}

fn attributes(ty: &str, dice: &mut Dice) -> Result<Attributes, String> {
    let fields = match ty {
        "User" | "Service" => vec![
            ("organisation", reference(&["Organisation"], dice)?),
            ("clearance", number(dice)),
            ("registered", RestrictedExpression::new_bool(dice.chance(50))),
            ("exportAuthorisations", references(&["ExportClass"], dice)?),
        ],
        "Signal" | "Dataset" | "Record" => vec![("governance", governance(dice)?)],
        "FieldClass" => vec![("public", RestrictedExpression::new_bool(dice.chance(50)))],
        "Agreement" => vec![
            ("rowsMax", number(dice)),
            ("products", references(&["DataProduct"], dice)?),
            ("notAfter", RestrictedExpression::new_datetime(String::from("2026-12-31T00:00:00Z"))),
        ],
        _ => Vec::new(),
    };
    Ok(damaged(fields, dice))
}

/// What an entity can be in; the hierarchy leads from the first types to the last, so that it never leads back.
fn parents(ty: &str) -> &'static [&'static str] {
    match ty {
        "User" | "Service" => &["Role", "Organisation"],
        "Signal" | "Dataset" => &["Equipment", "WorkCenter", "DataProduct", "Source"],
        "Record" => &["Dataset"],
        "Equipment" => &["WorkCenter", "Area"],
        "WorkCenter" => &["Area"],
        "Area" => &["Site"],
        "AuditScope" => &["Organisation"],
        _ => &[],
    }
}

/// A store with holes, its hierarchy as Cedar works it out. Now and then the actions are missing from it.
fn entities(dice: &mut Dice, set: &PolicySet) -> Result<Entities, String> {
    let types = [PRINCIPALS, RESOURCES, GROUPS, PLACES, &["Agreement"]].concat();
    let mut all = Vec::new();
    for ty in types.into_iter().collect::<BTreeSet<_>>() {
        for n in 0..NAMES {
            if dice.chance(8) {
                continue;
            }
            let above = parents(ty);
            let count = if above.is_empty() { 0 } else { dice.below(4) };
            let in_these = (0..count).map(|_| uid(above, dice)).collect::<Result<HashSet<_>, _>>()?;
            let name = format!("Plant::{ty}::\"n{n}\"").parse().map_err(|e| format!("{e}"))?;
            all.push(Entity::new(name, attributes(ty, dice)?, in_these).map_err(|e| e.to_string())?);
        }
    }
    let actions = if dice.chance(3) { Entities::empty() } else { set.actions.clone() };
    actions.add_entities(all, None).map_err(|e| e.to_string())
}

fn context(dice: &mut Dice) -> Result<Context, String> {
    let shape = damaged(vec![("rows", number(dice)), ("windowMs", number(dice))], dice);
    let caller = damaged(
        vec![
            ("binding", RestrictedExpression::new_string(dice.pick(&["none", "dpop"]).to_owned())),
            ("users", references(&["User"], dice)?),
        ],
        dice,
    );
    let mut fields = vec![
        ("now", RestrictedExpression::new_datetime(String::from("2026-06-01T00:00:00Z"))),
        ("shape", record(shape)?),
        ("caller", record(caller)?),
    ];
    if dice.chance(70) {
        fields.push(("agreement", reference(&["Agreement"], dice)?));
    }
    if dice.chance(70) {
        fields.push(("purpose", reference(&["Purpose"], dice)?));
    }
    if dice.chance(70) {
        fields.push(("country", RestrictedExpression::new_string(dice.pick(&["DE", "SE"]).to_owned())));
    }
    Context::from_pairs(damaged(fields, dice)).map_err(|e| e.to_string())
}
