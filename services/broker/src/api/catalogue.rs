//! `GET /v1/catalogue`: what the caller may know of, and how it may have it.
//!
//! Made of decisions alone: what is here is what a request would be told. Nothing that may not be discovered has a trace in
//! it, not even as a number, and of what may be discovered no field that would be left out.

use crate::respond::Refusal;
use crate::world::World;
use model::plant::{Dataset, Mask, Signal};
use model::{
    AccessRequest, Action, AgreementId, Authenticated, Country, FieldClassId, ProductId, PurposeId, Reason,
    ResourceRef, Shape, Timestamp,
};
use pdp::{Decision, Permit};
use registry::route::{Kind as ParameterKind, Resource};
use registry::{Parameter, Route};
use serde::Serialize;
use std::collections::BTreeSet;

/// One page.
#[derive(Debug, Serialize)]
pub struct Catalogue<'w> {
    /// Of the caller's organisation.
    agreements: Vec<Terms<'w>>,
    items: Vec<Item<'w>>,
    /// Give it as `after` for what follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What an agreement allows at the most.
#[derive(Debug, Serialize)]
struct Terms<'w> {
    id: &'w AgreementId,
    title: &'w str,
    status: &'static str,
    purposes: Vec<&'w PurposeId>,
    not_before: String,
    not_after: String,
    resolution_min: String,
    window_max: String,
    rows_max: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_max_days: Option<i64>,
}

/// Something that may be asked for.
#[derive(Debug, Serialize)]
struct Item<'w> {
    resource: String,
    title: &'w str,
    product: &'w ProductId,
    product_title: &'w str,
    /// The role of who decides about more.
    steward: &'w str,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'w str,
    access: Vec<Access<'w>>,
    routes: Vec<Way<'w>>,
}

/// How it may be had under one agreement, or without one.
#[derive(Debug, Serialize)]
struct Access<'w> {
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<&'w AgreementId>,
    allowed: bool,
    /// With each of which it is allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    purposes: Vec<&'w PurposeId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<String>,
    /// Steps of a series, from fine to coarse.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resolutions: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Field<'w>>,
    /// Classes of which something is hidden: ask the steward for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hidden: Vec<FieldClassId>,
    /// `all`, or `some`: those of others are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Field<'w> {
    name: &'w str,
    class: &'w FieldClassId,
    /// What stands in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    mask: Option<String>,
}

/// A route to it.
#[derive(Debug, Serialize)]
struct Way<'w> {
    method: &'w str,
    path: String,
    title: &'w str,
    parameters: Vec<Asks<'w>>,
}

#[derive(Debug, Serialize)]
struct Asks<'w> {
    name: &'w str,
    title: &'w str,
    takes: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<String>,
}

/// What is wanted of the catalogue.
#[derive(Debug, Default)]
pub struct Wanted {
    pub product: Option<ProductId>,
    /// The last resource of the page before.
    pub after: Option<String>,
    pub limit: usize,
}

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

impl Wanted {
    /// # Errors
    /// 400 for what is not known, stands twice, or is not what it takes.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self, Refusal> {
        let mut wanted = Self { limit: LIMIT_DEFAULT, ..Self::default() };
        for (n, (name, value)) in pairs.iter().enumerate() {
            if pairs.iter().take(n).any(|(earlier, _)| earlier == name) {
                return Err(Refusal::new(Reason::DUPLICATE_PARAMETER, format!("`{name}` stands more than once")));
            }
            let bad = |takes: &str| Refusal::new(Reason::BAD_PARAMETER, format!("`{name}` takes {takes}"));
            match name.as_str() {
                "product" => wanted.product = Some(value.parse().map_err(|_| bad("a product's id"))?),
                "after" => wanted.after = Some(value.clone()),
                "limit" => {
                    let limit = value.parse().ok().filter(|n| (1..=LIMIT_MAX).contains(n));
                    wanted.limit = limit.ok_or_else(|| bad("a number from 1 to 1000"))?;
                }
                _ => {
                    let detail = format!("`{name}` is not known here; there are product, after, limit");
                    return Err(Refusal::new(Reason::UNDECLARED_PARAMETER, detail));
                }
            }
        }
        Ok(wanted)
    }
}

/// A page for `caller`. `given_up`: nobody waits for it any longer.
pub fn page<'w>(
    world: &'w World,
    caller: &Authenticated,
    wanted: &Wanted,
    (country, now): (Option<Country>, Timestamp),
    given_up: impl Fn() -> bool,
) -> Catalogue<'w> {
    let looking = Looking { world, caller, country, now };
    let plant = &world.catalog.plant;
    let datasets = plant.datasets.values().map(Described::Dataset);
    let all = datasets.chain(plant.signals.values().map(Described::Signal));
    let after = wanted.after.as_deref();
    // In the order of their texts: `Dataset/…` comes before `Signal/…`, and each in the order of ids.
    // What is asked for comes after what may be known: otherwise the time of an answer would tell of things between two names,
    // or of a product.
    let mut all = all
        .take_while(|_| !given_up())
        .map(|one| (one.resource(), one))
        .filter(|(resource, _)| world.snapshot.may_discover(caller, resource, country, now))
        .filter(|(_, one)| wanted.product.as_ref().is_none_or(|product| product == one.product()))
        .skip_while(|(resource, _)| after.is_some_and(|after| resource.to_text().as_str() <= after));
    let mut items = Vec::new();
    let mut next = None;
    while let Some((resource, one)) = all.next() {
        let text = resource.to_text();
        items.extend(looking.item(&resource, one));
        if items.len() >= wanted.limit {
            next = all.next().map(|_| text);
            all.by_ref().for_each(drop);
            break;
        }
    }
    Catalogue { agreements: looking.agreements(), items, next }
}

#[derive(Clone, Copy)]
enum Described<'w> {
    Dataset(&'w Dataset),
    Signal(&'w Signal),
}

impl<'w> Described<'w> {
    fn resource(self) -> ResourceRef {
        match self {
            Self::Dataset(d) => ResourceRef::Dataset(d.id.clone()),
            Self::Signal(s) => ResourceRef::Signal(s.id.clone()),
        }
    }

    fn product(self) -> &'w ProductId {
        match self {
            Self::Dataset(d) => &d.product,
            Self::Signal(s) => &s.product,
        }
    }

    fn title(self) -> &'w str {
        match self {
            Self::Dataset(d) => &d.title,
            Self::Signal(s) => &s.title,
        }
    }
}

struct Looking<'w, 'c> {
    world: &'w World,
    caller: &'c Authenticated,
    /// That the caller is in now: what it may see from another can be something else.
    country: Option<Country>,
    now: Timestamp,
}

impl<'w> Looking<'w, '_> {
    /// Of its organisation; a tool of another that acts for it has no business with them.
    fn agreements(&self) -> Vec<Terms<'w>> {
        let organisation = self.caller.organisation();
        if self.caller.actors().iter().any(|actor| actor.principal.organisation != *organisation) {
            return Vec::new();
        }
        let own = self.world.parties.agreements.values().filter(|a| a.consumer == *self.caller.organisation());
        let duration = model::time::format_duration_ms;
        own.map(|a| Terms {
            id: &a.id,
            title: &a.title,
            status: a.status.as_str(),
            purposes: a.purposes.iter().collect(),
            not_before: a.not_before.to_rfc3339(),
            not_after: a.not_after.to_rfc3339(),
            resolution_min: duration(a.resolution_min_ms),
            window_max: duration(a.window_max_ms),
            rows_max: a.rows_max,
            // Nobody has a hundred years of data.
            age_max_days: (a.age_max_days < 36_500).then_some(a.age_max_days),
        })
        .collect()
    }

    fn item(&self, resource: &ResourceRef, one: Described<'w>) -> Option<Item<'w>> {
        let product = self.world.catalog.plant.products.get(one.product())?;
        let routes: Vec<&'w Route> =
            self.world.catalog.routes.values().filter(|route| self.leads_to(route, one)).collect();
        let steps = steps(&routes);
        let covering = self.world.parties.agreements.values();
        let covering =
            covering.filter(|a| a.consumer == *self.caller.organisation() && a.products.contains(&product.id));
        let mut access: Vec<Access<'w>> =
            covering.map(|a| self.access(resource, one, &steps, Some((&a.id, &a.purposes)))).collect();
        let without = self.access(resource, one, &steps, None);
        // Whoever needs an agreement hears of its own, or that there is none.
        if without.allowed || access.is_empty() {
            access.push(without);
        }
        // Hidden under each of them; where nothing may be read, all is.
        let mut allowed = access.iter().filter(|access| access.allowed).map(|access| access.hidden.iter().collect());
        let hidden: Option<BTreeSet<&FieldClassId>> =
            allowed.next().map(|first: BTreeSet<_>| allowed.fold(first, |all, next: BTreeSet<_>| &all & &next));
        let ways = routes.iter().map(|route| way(route, one, hidden.as_ref())).collect();
        Some(Item {
            resource: resource.to_text(),
            title: one.title(),
            product: &product.id,
            product_title: &product.title,
            steward: product.steward.as_str(),
            unit: if let Described::Signal(signal) = one { &signal.unit } else { "" },
            access,
            routes: ways,
        })
    }

    fn leads_to(&self, route: &Route, one: Described<'_>) -> bool {
        let fits = |name: &str, source: &model::SourceId, product: &ProductId| {
            let wanted = match route.parameters.get(name).map(|p| &p.kind) {
                Some(ParameterKind::Signal { product } | ParameterKind::Dataset { product }) => product.as_ref(),
                _ => None,
            };
            route.source == *source && wanted.is_none_or(|wanted| wanted == product)
        };
        match (&route.resource, one) {
            (Resource::Dataset(id), Described::Dataset(d)) => *id == d.id,
            (Resource::Signal(id), Described::Signal(s)) => *id == s.id,
            (Resource::DatasetParameter(name), Described::Dataset(d)) => fits(name, &d.source, &d.product),
            (Resource::SignalParameter(name), Described::Signal(s)) => fits(name, &s.source, &s.product),
            _ => false,
        }
    }

    fn access(
        &self,
        resource: &ResourceRef,
        one: Described<'w>,
        steps: &[i64],
        under: Option<(&'w AgreementId, &'w BTreeSet<PurposeId>)>,
    ) -> Access<'w> {
        let agreement = under.map(|(id, _)| id);
        let ask = |purpose: Option<&PurposeId>, resolution_ms| {
            // As little as can be asked for: what the terms limit is said with them.
            let shape = Shape { resolution_ms, rows: 1, ..Shape::default() };
            self.decide(resource, agreement, purpose, shape)
        };
        let coarsest = steps.last().copied().unwrap_or_default();
        let mut allowed: Option<Permit> = None;
        let mut purposes = Vec::new();
        let mut denied = None;
        let tried = under.map(|(_, purposes)| purposes.iter().map(Some).collect()).unwrap_or_else(|| vec![None]);
        for purpose in tried {
            match ask(purpose, coarsest) {
                Decision::Permit(permit) => {
                    purposes.extend(purpose);
                    allowed.get_or_insert(permit);
                }
                Decision::Denied(denial) => drop(denied.get_or_insert(denial)),
            }
        }
        let Some(permit) = allowed else {
            let (reasons, ask) = denied.map(|d| (d.reasons, d.ask)).unwrap_or_default();
            let reasons = reasons.iter().map(ToString::to_string).collect();
            return Access { ask, reasons, ..Access::none(agreement) };
        };
        let purpose = purposes.first().copied();
        let permitted = steps.iter().filter(|step| ask(purpose, **step).is_permit());
        let resolutions = permitted.map(|step| registry::route::parameter::Value::Step(*step).to_text()).collect();
        let (fields, records) = match one {
            Described::Signal(_) => (Vec::new(), None),
            Described::Dataset(d) => {
                let records = if permit.kinds_hidden().is_empty() { "all" } else { "some" };
                (fields(d, permit.classes_hidden()), Some(records))
            }
        };
        let hidden = permit.classes_hidden().to_vec();
        Access { allowed: true, purposes, resolutions, fields, hidden, records, ..Access::none(agreement) }
    }

    fn decide(
        &self,
        resource: &ResourceRef,
        agreement: Option<&AgreementId>,
        purpose: Option<&PurposeId>,
        shape: Shape,
    ) -> Decision {
        let action = if matches!(resource, ResourceRef::Signal(_)) { Action::ReadSeries } else { Action::Read };
        let request = AccessRequest {
            caller: self.caller.clone(),
            action,
            resource: resource.clone(),
            purpose: purpose.cloned(),
            agreement: agreement.cloned(),
            shape,
            country: self.country,
            now: self.now,
        };
        // Not remembered: a page would push out what requests are answered from.
        self.world.snapshot.decide_anew(request, &[])
    }
}

impl<'w> Access<'w> {
    fn none(agreement: Option<&'w AgreementId>) -> Self {
        Self {
            agreement,
            allowed: false,
            purposes: Vec::new(),
            reasons: Vec::new(),
            ask: None,
            resolutions: Vec::new(),
            fields: Vec::new(),
            hidden: Vec::new(),
            records: None,
        }
    }
}

/// Of all series routes, from fine to coarse.
fn steps(routes: &[&Route]) -> Vec<i64> {
    let steps: BTreeSet<i64> = routes
        .iter()
        .flat_map(|route| match route.upstream.as_series() {
            Some(rule) => rule.steps.clone(),
            None => route.shape.resolution.as_ref().and_then(|name| route.parameters.get(name)).map_or_else(
                Vec::new,
                |parameter| match &parameter.kind {
                    ParameterKind::Steps(steps) => steps.clone(),
                    _ => Vec::new(),
                },
            ),
        })
        .collect();
    steps.into_iter().collect()
}

/// Those of which something is shown.
fn fields<'w>(dataset: &'w Dataset, hidden: &[FieldClassId]) -> Vec<Field<'w>> {
    let field = |(name, class): (&'w String, &'w FieldClassId)| {
        let is_hidden = hidden.contains(class);
        let mask = match dataset.masks.get(name) {
            _ if !is_hidden => None,
            None | Some(Mask::Drop) => return None,
            Some(mask) => Some(mask.to_string()),
        };
        Some(Field { name, class, mask })
    };
    dataset.fields.iter().filter_map(field).collect()
}

fn way<'w>(route: &'w Route, one: Described<'_>, hidden: Option<&BTreeSet<&FieldClassId>>) -> Way<'w> {
    let id = match one {
        Described::Dataset(d) => d.id.as_str(),
        Described::Signal(s) => s.id.as_str(),
    };
    let resource = match &route.resource {
        Resource::SignalParameter(name) | Resource::DatasetParameter(name) => Some(name.as_str()),
        Resource::Signal(_) | Resource::Dataset(_) => None,
    };
    let path = route.path.to_string();
    let path = resource.map_or(path.clone(), |name| path.replace(&format!("{{{name}}}"), id));
    let is_of_hidden = |parameter: &Parameter| match (one, hidden, &parameter.filters) {
        (Described::Signal(_), ..) => false,
        (_, None, _) => !route.is_of_frame(&parameter.name),
        (Described::Dataset(d), Some(hidden), Some(fields)) => {
            fields.iter().any(|field| d.fields.get(field).is_none_or(|class| hidden.contains(class)))
        }
        (_, Some(hidden), None) => !hidden.is_empty() && !route.is_of_frame(&parameter.name),
    };
    let parameters = route.parameters.values();
    let parameters = parameters.filter(|p| Some(p.name.as_str()) != resource && (p.is_in_path() || !is_of_hidden(p)));
    Way {
        method: route.method,
        path,
        title: &route.title,
        parameters: parameters
            .map(|p| Asks {
                name: &p.name,
                title: &p.title,
                takes: p.kind.accepted(),
                default: p.default.as_ref().map(|value| value.to_text()),
            })
            .collect(),
    }
}
