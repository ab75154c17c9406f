//! What is done to an answer before it leaves: settled before the decision is recorded.

use super::csv::CsvRewriter;
use super::json::{Malformed, Many, Rewriter};
use super::mask::PseudonymKey;
use super::rows::{Condition, RowFilter};
use super::series::SeriesReader;
use super::view::View;
use crate::canonical::Canonical;
use crate::database::{Records, Wanted};
use crate::respond::Refusal;
use crate::world::World;
use model::plant::{Alike, Dataset, Format, RecordKind};
use model::{DatasetId, FieldClassId, Reason, ResourceRef, Timestamp};
use pdp::Permit;
use registry::route::parameter::Kind;
use registry::{Parameter, Resolved, Route, SeriesQuestion, SqlQuestion, UpstreamRequest};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

/// What the pseudonyms of all agreements are made with. Whoever has it can tell which value a pseudonym stands for by
/// trying values.
pub struct Pseudonyms([u8; 32]);

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms")
    }
}

impl Pseudonyms {
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Of the agreement, or where none is needed of the organisation. Of all of them where somebody acts: the tools of two
    /// suppliers that act for one owner must not be able to join what they got.
    fn key(&self, permit: &Permit) -> PseudonymKey {
        let agreements =
            std::iter::once(permit.agreement()).chain(permit.actor_agreements().iter().map(Option::as_ref));
        let scopes: BTreeSet<String> = permit
            .request()
            .caller
            .principals()
            .zip(agreements)
            .map(|(principal, agreement)| match agreement {
                Some(agreement) => format!("agreement {agreement}"),
                None => format!("organisation {}", principal.organisation),
            })
            .collect();
        PseudonymKey::new(&self.0, &scopes.into_iter().collect::<Vec<_>>().join("\n"))
    }
}

/// Views that one generation has needed so far. There is one for each set of classes that policies hide together.
#[derive(Debug, Default)]
pub struct Views(Mutex<HashMap<(DatasetId, Hidden), Sight>>);

/// What must not leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Hidden {
    classes: Box<[FieldClassId]>,
    kinds: Box<[RecordKind]>,
    /// What these kinds stand for.
    alike: Option<Arc<Alike>>,
}

/// How it is kept from leaving.
#[derive(Clone, Debug)]
struct Sight {
    view: Arc<View>,
    filter: Option<Arc<RowFilter>>,
    table: Arc<Table>,
}

/// The same for a dataset that is a table.
#[derive(Debug)]
struct Table {
    /// `None`: all.
    columns: Option<BTreeSet<String>>,
    condition: Option<Condition>,
    /// The condition has let other records through than the filter does.
    is_distrusted: Arc<AtomicBool>,
}

/// Policies that hide another set for each caller must not fill the memory.
const VIEWS_MAX: usize = 4_096;

impl Views {
    fn of(&self, world: &World, dataset: &Dataset, permit: &Permit) -> Sight {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (classes, kinds) = (permit.classes_hidden().into(), permit.kinds_hidden().into());
        let hidden = Hidden { classes, kinds, alike: permit.kinds_alike().cloned() };
        let key = (dataset.id.clone(), hidden);
        if let Some(sight) = views.get(&key) {
            return sight.clone();
        }
        let (_, hidden) = &key;
        let all = world.catalog.plant.field_classes.keys();
        let shown: BTreeSet<FieldClassId> = all.filter(|class| !hidden.classes.contains(class)).cloned().collect();
        let filter = RowFilter::new(dataset, &hidden.kinds, hidden.alike.as_ref()).map(Arc::new);
        let view = Arc::new(View::new(dataset, &shown, filter.is_some()));
        let table = Arc::new(Table {
            columns: view.columns(filter.is_some()),
            condition: filter.as_ref().and_then(|filter| filter.condition()),
            is_distrusted: Arc::default(),
        });
        let sight = Sight { view, filter, table };
        if views.len() >= VIEWS_MAX {
            views.clear();
        }
        views.insert(key, sight.clone());
        sight
    }
}

/// How an answer leaves.
#[derive(Debug)]
pub enum Plan {
    /// As it comes: all of it may be seen.
    Whole,
    Shaped(Shaping),
    /// As the series that was asked for, whatever the source makes of it.
    Series(Arc<SeriesQuestion>),
}

#[derive(Debug)]
pub struct Shaping {
    sight: Sight,
    key: PseudonymKey,
    format: Format,
    /// Classes that are not shown as they are.
    hidden: Box<[FieldClassId]>,
    page: Option<Page>,
}

/// A page of records of which some are left out: the source is asked for all that it gives at once, and as many as the caller
/// asked for are taken from what may be seen. So a page is full, and tells nothing of the others.
#[derive(Debug)]
struct Page {
    question: UpstreamRequest,
    rows_max: u64,
}

impl Page {
    /// `None` where the route's parameters do not say how many.
    fn of(world: &World, canonical: &Canonical, resolved: &Resolved, now: Timestamp) -> Option<Self> {
        let route = world.catalog.routes.get(&resolved.route)?;
        let parameter = route.parameters.get(route.shape.rows_parameter()?).filter(|p| !p.is_in_path())?;
        let Kind::Integer { max, .. } = parameter.kind else { return None };
        let others = canonical.query.iter().filter(|(name, _)| *name != parameter.name).cloned();
        let query: Vec<_> = others.chain([(parameter.name.clone(), max.to_string())]).collect();
        let widened = world.catalog.resolve(canonical.method.as_str(), &canonical.segments, &query, now).ok()?;
        Some(Self { question: widened.upstream, rows_max: u64::try_from(resolved.shape.rows).ok()? })
    }
}

impl Plan {
    /// # Errors
    /// 403 where the request could find out what is hidden from its answer: by a filter, or by a body that nobody reads.
    pub fn new(
        world: &World,
        pseudonyms: &Pseudonyms,
        canonical: &Canonical,
        resolved: &Resolved,
        permit: &Permit,
    ) -> Result<Self, Refusal> {
        if let Some(detail) = &resolved.too_long {
            return Err(Refusal::new(Reason::BAD_PARAMETER, detail.clone()));
        }
        if let Some(series) = &resolved.series {
            return Ok(Self::Series(Arc::new(series.clone())));
        }
        let ResourceRef::Dataset(id) = &resolved.resource else { return Ok(Self::Whole) };
        let Some(dataset) = world.catalog.plant.datasets.get(id) else { return Ok(Self::Whole) };
        let hidden = permit.classes_hidden();
        // Whoever may not see all of it was refused.
        if !dataset.can_be_shaped() {
            return Ok(Self::Whole);
        }
        if !hidden.is_empty() || !permit.kinds_hidden().is_empty() {
            let route = world.catalog.routes.get(&resolved.route);
            let route = route.ok_or_else(|| Refusal::new(Reason::SHAPING_REQUIRED, "the route is not known"))?;
            asks_nothing_hidden(route, dataset, hidden, canonical)?;
        }
        let sight = world.views.of(world, dataset, permit);
        let key = if sight.view.has_pseudonyms() { pseudonyms.key(permit) } else { PseudonymKey::none() };
        let format = dataset.format;
        let page = sight.filter.as_ref().and_then(|_| Page::of(world, canonical, resolved, permit.request().now));
        Ok(Self::Shaped(Shaping { sight, key, format, hidden: hidden.into(), page }))
    }

    /// What the source is asked, if it is not what the caller asked.
    pub fn question(&self) -> Option<&UpstreamRequest> {
        match self {
            Self::Shaped(Shaping { page: Some(page), .. }) => Some(&page.question),
            _ => None,
        }
    }

    /// What a database is asked for.
    pub fn wanted(&self, question: &SqlQuestion) -> Wanted<'_> {
        let (rows, rows_widened) = (question.rows_max, question.rows_max);
        match self {
            Self::Whole | Self::Series(_) => Wanted {
                form: Format::Json,
                columns: None,
                records: None,
                series: if let Self::Series(series) = self { Some(series) } else { None },
                rows_widened,
                rows,
            },
            Self::Shaped(shaping) => {
                let Sight { filter, table, .. } = &shaping.sight;
                Wanted {
                    form: shaping.format,
                    columns: table.columns.as_ref(),
                    records: filter.as_ref().map(|filter| Records {
                        filter,
                        condition: table.condition.as_ref(),
                        is_distrusted: &table.is_distrusted,
                    }),
                    series: None,
                    rows_widened,
                    rows: shaping.page.as_ref().map_or(rows, |page| i64::try_from(page.rows_max).unwrap_or(rows)),
                }
            }
        }
    }

    /// In the outcome entry.
    pub fn word(&self) -> &'static str {
        let shaping = match self {
            Self::Whole => return "whole",
            Self::Series(series) if series.step_ms == 0 => return "whole",
            Self::Series(_) => return "coarse",
            Self::Shaped(shaping) => shaping,
        };
        match (shaping.hidden.is_empty(), &shaping.sight.filter) {
            (true, None) => "whole",
            (true, Some(_)) => "filtered",
            (false, None) => "masked",
            (false, Some(_)) => "filtered_masked",
        }
    }

    /// In the header `millgate-view`: a structured field (RFC 9651), the word and the classes that are hidden.
    pub fn header(&self) -> String {
        let mut header = String::from(self.word());
        match self {
            Self::Shaped(shaping) if !shaping.hidden.is_empty() => {
                let hidden: Vec<&str> = shaping.hidden.iter().map(FieldClassId::as_str).collect();
                header.push_str(&format!(";hidden=\"{}\"", hidden.join(" ")));
            }
            Self::Series(series) => header.push_str(&format!(";resolution=\"{}\"", series.resolution())),
            Self::Whole | Self::Shaped(_) => {}
        }
        header
    }

    /// What shapes one answer. `None`: nothing does.
    pub fn shaper(&self) -> Option<Shaper> {
        match self {
            Self::Whole => None,
            Self::Shaped(shaping) => Some(shaping.shaper()),
            Self::Series(series) => Some(Shaper::Series(Box::new(SeriesReader::new(series.clone())))),
        }
    }

    /// Whether an answer says that it is what the catalog declares.
    pub fn is_declared(&self, content_type: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::Shaped(shaping) => is_declared(shaping.format, content_type),
            Self::Series(_) => is_declared(Format::Json, content_type),
        }
    }

    /// Of an answer that is shaped.
    pub fn content_type(&self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Shaped(shaping) => Some(content_type(shaping.format)),
            Self::Series(_) => Some(content_type(Format::Json)),
        }
    }
}

impl Shaping {
    fn shaper(&self) -> Shaper {
        let Sight { view, filter, .. } = self.sight.clone();
        let rows_max = self.page.as_ref().map_or(u64::MAX, |page| page.rows_max);
        let many = match self.format {
            Format::Csv(separator) => {
                let rewriter = CsvRewriter::new(view, self.key.clone(), filter).separated_by(separator);
                return Shaper::Csv(Box::new(rewriter.at_most(rows_max)));
            }
            Format::NdJson => Many::Lines,
            Format::Json | Format::Opaque => Many::One,
        };
        let rewriter = Rewriter::new(view, self.key.clone(), many);
        Shaper::Json(Box::new(match filter {
            Some(filter) => rewriter.filtered(filter, rows_max),
            None => rewriter,
        }))
    }
}

fn is_declared(format: Format, content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let declared = match format {
        Format::Json => {
            essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
        }
        Format::NdJson => ["application/x-ndjson", "application/ndjson", "application/jsonl"].contains(&&*essence),
        Format::Csv(_) => essence == "text/csv",
        Format::Opaque => false,
    };
    // JSON is UTF-8 (RFC 8259 section 8.1), and so is what else is shaped.
    declared && parts.all(|parameter| parameter.split_once('=').is_none_or(|(name, value)| agrees(name, value)))
}

pub fn content_type(format: Format) -> &'static str {
    match format {
        Format::Json | Format::Opaque => "application/json",
        Format::NdJson => "application/x-ndjson",
        Format::Csv(_) => "text/csv; charset=utf-8; header=present",
    }
}

/// What shapes one answer.
#[derive(Debug)]
pub enum Shaper {
    Json(Box<Rewriter>),
    Csv(Box<CsvRewriter>),
    Series(Box<SeriesReader>),
}

impl Shaper {
    /// # Errors
    /// Where the answer is not what was declared.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self {
            Self::Json(json) => json.push(bytes, out),
            Self::Csv(csv) => csv.push(bytes, out),
            Self::Series(series) => series.push(bytes),
        }
    }

    /// # Errors
    /// When the answer has not ended.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self {
            Self::Json(json) => json.finish(out),
            Self::Csv(csv) => csv.finish(out),
            Self::Series(series) => series.finish(out),
        }
    }

    pub fn rows(&self) -> u64 {
        match self {
            Self::Json(json) => json.rows(),
            Self::Csv(csv) => csv.rows(),
            Self::Series(series) => series.rows(),
        }
    }

    /// Whether it was one record that is not seen.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Json(json) if json.is_nothing())
    }
}

/// RFC 4180 section 3: a table may say that it has no names.
fn agrees(name: &str, value: &str) -> bool {
    is_utf8(name, value) && !(name.trim().eq_ignore_ascii_case("header") && value.trim().eq_ignore_ascii_case("absent"))
}

fn is_utf8(name: &str, value: &str) -> bool {
    !name.trim().eq_ignore_ascii_case("charset") || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
}

/// A parameter that chooses by a field tells, by what comes and what does not, what the field holds.
fn asks_nothing_hidden(
    route: &Route,
    dataset: &Dataset,
    hidden: &[FieldClassId],
    canonical: &Canonical,
) -> Result<(), Refusal> {
    if route.body.is_some() {
        let what = "the route's question is a body that nobody reads, and it may choose by fields that you may not see";
        return Err(Refusal::denied(Reason::HIDDEN_FIELD, what));
    }
    let is_hidden = |field: &String| dataset.fields.get(field).is_none_or(|class| hidden.contains(class));
    let chooses = |parameter: &&Parameter| {
        match &parameter.filters {
            Some(fields) => fields.iter().any(is_hidden),
            // What is not declared to choose by anything may choose by all.
            None => !route.is_of_frame(&parameter.name),
        }
    };
    let given = route.parameters.values().filter(|p| p.is_in_path() || canonical.has_query(&p.name));
    match given.into_iter().find(chooses) {
        None => Ok(()),
        Some(parameter) => {
            let what = format!("`{}` chooses by a field that you may not see; leave it out", parameter.name);
            Err(Refusal::denied(Reason::HIDDEN_FIELD, what))
        }
    }
}
