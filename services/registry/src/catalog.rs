//! The catalog folder: what the plant has, where it is, and what may be asked of it.

mod plant;
#[cfg(test)]
mod tests;

pub(crate) use plant::SENSITIVITIES;

use crate::document::Spot;
use crate::folder::Folder;
use crate::folders::{Names, Reading};
use crate::foreign::{Foreign, Kind};
use crate::merge::{Documents, Layout, Merged};
use crate::near;
use crate::problem::{Problem, Problems};
use crate::route::read::route;
use crate::route::{Resource, Route};
use crate::source::Source;
use crate::table::Table;
use model::plant::Plant;
use model::{Digest, RouteId, SourceId};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// A catalog without problems.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// What decisions read.
    pub plant: Arc<Plant>,
    pub sources: BTreeMap<SourceId, Source>,
    pub routes: BTreeMap<RouteId, Route>,
    pub(crate) foreign: Foreign,
    pub(crate) folder: PathBuf,
}

impl Catalog {
    /// SHA-256 over the names and contents of the folder's files.
    pub fn digest(&self) -> Digest {
        self.plant.digest
    }
}

const LAYOUT: Layout = Layout {
    kinds: &["dataset", "equipment", "export_class", "field_class", "product", "purpose", "route", "signal", "source"],
    singles: &[],
    elsewhere: (&["organisation", "authority", "issuer", "principal", "agreement", "revoked"], "registry"),
};

/// Reads all `*.toml` and `signals*.csv` of `dir`.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load_catalog(dir: &Path) -> Result<Catalog, Vec<Problem>> {
    read_catalog(dir).result
}

pub(crate) fn read_catalog(dir: &Path) -> Reading<Catalog> {
    let mut folder = Folder::read(dir, true);
    let problems = Problems::new(std::mem::take(&mut folder.files), std::mem::take(&mut folder.problems));
    let documents = Documents::read(&folder, &problems);
    let merged = Merged::new(&documents, &LAYOUT, &problems);
    let mut uses = Foreign::default();
    let plant = plant::read(&merged, folder.digest, &mut uses);
    let sources = read_all(&merged, "source", |id, table| Source::from_table(id, table, &folder.path));
    let routes = read_all(&merged, "route", |id, table| route(id, table, &merged, &plant, &sources));
    overlaps(&routes, &merged);
    filters(&routes, &plant, &merged);
    let (names, complete) = (names(&merged), merged.complete);
    let result = if problems.is_empty() {
        let foreign = uses.clone();
        Ok(Catalog { plant: Arc::new(plant), sources, routes, foreign, folder: folder.path })
    } else {
        Err(problems.into_sorted())
    };
    Reading { result, uses, names, complete }
}

/// What the registry may name, whatever else is wrong with the tables.
fn names(merged: &Merged<'_>) -> Names {
    let kinds = [
        ("purpose", Kind::Purpose),
        ("product", Kind::Product),
        ("field_class", Kind::FieldClass),
        ("export_class", Kind::ExportClass),
    ];
    kinds.into_iter().map(|(table, kind)| (kind, merged.ids(table).map(str::to_owned).collect())).collect()
}

/// Reads every table of `kind`, complains about keys that nobody asked for, and keeps what is good.
pub(crate) fn read_all<I, T>(
    merged: &Merged<'_>,
    kind: &str,
    mut read: impl FnMut(I, &Table<'_>) -> Option<T>,
) -> BTreeMap<I, T>
where
    I: FromStr<Err: Display> + Clone + Ord,
{
    let mut all = BTreeMap::new();
    for (text, table) in merged.tables(kind) {
        match text.parse::<I>() {
            Ok(id) => {
                all.extend(read(id.clone(), &table).map(|item| (id, item)));
                table.finish();
            }
            Err(e) => table.problem(table.spot, e.to_string(), None),
        }
    }
    all
}

/// What a parameter is said to choose by is a field of what is read.
fn filters(routes: &BTreeMap<RouteId, Route>, plant: &Plant, merged: &Merged<'_>) {
    for (id, table) in merged.tables("route") {
        let Some(route) = routes.get(id) else { continue };
        let Resource::Dataset(dataset) = &route.resource else { continue };
        let Some(dataset) = plant.datasets.get(dataset) else { continue };
        for parameter in route.parameters.values() {
            let unknown = parameter.filters.iter().flatten().filter(|field| !dataset.fields.contains_key(*field));
            for field in unknown {
                let what = format!("parameter `{}` of {} filters by `{field}`", parameter.name, table.what);
                let help = near::help(field, dataset.fields.keys().map(String::as_str));
                let none = format!("`{}` declares no such field", dataset.id);
                table.problem(table.spot_of("parameters"), format!("{what}: {none}"), help);
            }
        }
    }
}

/// Two routes that one request fits would make it a matter of order which of them is decided on.
fn overlaps(routes: &BTreeMap<RouteId, Route>, merged: &Merged<'_>) {
    let spots: BTreeMap<&str, Spot> = merged.tables("route").map(|(id, table)| (id, table.spot)).collect();
    for (i, a) in routes.values().enumerate() {
        for b in routes.values().skip(i + 1).filter(|b| b.method == a.method && a.path.overlaps(&b.path)) {
            let Some(spot) = spots.get(b.id.as_str()) else { continue };
            let what = format!(
                "a {} request can fit route `{}` (`{}`) and route `{}` (`{}`)",
                a.method, a.id, a.path, b.id, b.path
            );
            let help = "give one of them a first segment of its own";
            merged.problems.add(*spot, what, Some(help.into()));
        }
    }
}
