//! CPU of shaping JSON: fields shown, masked and left out. See README.md.
//!
//! `cargo bench --workspace --bench shape -- [MEGABYTES]`
#![expect(clippy::print_stdout, reason = "the figures are the program's output")]

use anyhow::Context as _;
use broker::shape::json::{Many, Rewriter};
use broker::shape::mask::PseudonymKey;
use broker::shape::rows::RowFilter;
use broker::shape::view::View;
use model::plant::{Dataset, Format, Governance, Mask, RecordAttribute, RecordAttributes, Step, ToldBy};
use model::{FieldClassId, InvalidId, OrganisationId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

/// Of a row: one field of each class.
const FIELDS: [&str; 8] = [
    "serial",
    "plant.country",
    "quality.result",
    "process.force",
    "recipe.setPoint",
    "person.name",
    "order.number",
    "order.cost",
];

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds an option of its own.
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let megabytes: usize = arguments.next().map_or(Ok(500), |a| a.parse()).context("MEGABYTES is a whole number")?;
    let body = body(100);
    let step = |text| Step::parse(text).context("a step");
    let masks = [
        ("person.name", Mask::Pseudonym),
        ("order.number", Mask::Partial { last: 3 }),
        ("order.cost", Mask::Bucket { width: step("100")? }),
    ];
    println!("{} bytes of JSON, 100 rows, 8 field classes, {megabytes} MB each", body.len());
    for (what, shown, masks, filtered) in [
        ("all shown", 8, &masks[..0], false),
        ("four shown, four left out", 4, &masks[..0], false),
        ("four shown, three masked, one left out", 4, &masks[..], false),
        ("the same, and half of the records left out", 4, &masks[..], true),
    ] {
        let dataset = dataset(masks)?;
        let filter = filtered.then(|| filter(&dataset)).flatten();
        let view = view(&dataset, shown, filtered)?;
        let count = megabytes * 1_000_000 / body.len();
        let mut out = Vec::new();
        let begun = cpu_seconds()?;
        for _ in 0..count {
            out.clear();
            let rewriter = Rewriter::new(view.clone(), PseudonymKey::new(&[7; 32], "agreement a"), Many::One);
            let mut rewriter = match &filter {
                Some(filter) => rewriter.filtered(filter.clone(), u64::MAX),
                None => rewriter,
            };
            // As it comes from a socket.
            for piece in body.as_bytes().chunks(16 * 1024) {
                rewriter.push(piece, &mut out)?;
            }
            rewriter.finish(&mut out)?;
        }
        let seconds = cpu_seconds()? - begun;
        let each = seconds * 1e6 / count as f64;
        let rate = (count * body.len()) as f64 / seconds / 1e6;
        println!("{each:>8.1} us CPU per answer, {rate:>6.0} MB/s, {} bytes left: {what}", out.len());
    }
    compiled()
}

/// A filter of as many kinds of records as are ever asked about, and the condition that a database gets.
fn compiled() -> anyhow::Result<()> {
    let mut dataset = dataset(&[])?;
    let ids = (0..20).map(|n| OrganisationId::new(&format!("supplier-{n}")));
    dataset.records.suppliers = ids.collect::<Result<_, _>>()?;
    dataset.records.customers = ["car", "truck"].into_iter().map(str::parse).collect::<Result<_, _>>()?;
    let customer = ToldBy { field: String::from("customer"), values: BTreeMap::new() };
    dataset.records.told_by.insert(RecordAttribute::Customer, customer);
    let kinds = dataset.records.kinds(64).context("few kinds")?;
    let (count, begun) = (10_000, cpu_seconds()?);
    for _ in 0..count {
        let filter = RowFilter::new(&dataset, kinds.get(1..).unwrap_or_default(), None).context("a filter")?;
        std::hint::black_box(filter.condition());
    }
    let each = (cpu_seconds()? - begun) * 1e6 / f64::from(count);
    println!("{each:>8.1} us CPU per filter of {} kinds compiled, for JSON and for a database", kinds.len());
    Ok(())
}

/// Every other record is of a kind that is hidden.
fn filter(dataset: &Dataset) -> Option<Arc<RowFilter>> {
    let kinds = dataset.records.kinds(64)?;
    let hidden: Vec<_> = kinds.into_iter().filter(|kind| kind.get(RecordAttribute::Supplier) == Some("bolt")).collect();
    RowFilter::new(dataset, &hidden, None).map(Arc::new)
}

fn body(rows: usize) -> String {
    let mut body = String::from("[");
    for n in 0..rows {
        let comma = if n > 0 { "," } else { "" };
        let _ = write!(
            body,
            r#"{comma}{{"supplier":"{}","serial":"ACME-20{n:04}-007","plant":{{"country":"DEU","note":"as delivered, {pad}"}},"quality":{{"result":"ok","tests":[1,2,3]}},
            "process":{{"force":{}.25,"unit":"kN"}},"recipe":{{"setPoint":"{} bar"}},"person":{{"name":"inspector-{}"}},
            "order":{{"number":"PO-{}","cost":{}}}}}"#,
            if n % 2 == 0 { "acme" } else { "bolt" },
            1200 + n,
            180 + n,
            n % 7,
            48_000 + n,
            40 + n * 7,
            pad = "x".repeat(200),
        );
    }
    body + "]"
}

fn class(n: usize) -> Result<FieldClassId, InvalidId> {
    FieldClassId::new(&format!("class-{n}"))
}

fn dataset(masks: &[(&str, Mask)]) -> anyhow::Result<Dataset> {
    let mut fields = BTreeMap::new();
    for (n, field) in FIELDS.iter().enumerate() {
        fields.insert((*field).to_owned(), class(n)?);
    }
    let told = ToldBy { field: String::from("supplier"), values: BTreeMap::new() };
    Ok(Dataset {
        id: "d".parse()?,
        title: String::new(),
        product: "p".parse()?,
        source: "s".parse()?,
        equipment: "e".parse()?,
        governance: Governance { sensitivity: 0, export_class: None, trade_secret: false, supplier: None },
        format: Format::Json,
        fields,
        masks: masks.iter().map(|(field, mask)| ((*field).to_owned(), mask.clone())).collect(),
        records: RecordAttributes {
            suppliers: ["acme", "bolt"].into_iter().map(str::parse).collect::<Result<_, _>>()?,
            told_by: BTreeMap::from([(RecordAttribute::Supplier, told)]),
            ..RecordAttributes::default()
        },
    })
}

fn view(dataset: &Dataset, shown: usize, filtered: bool) -> anyhow::Result<Arc<View>> {
    let shown: BTreeSet<FieldClassId> = (0..shown).map(class).collect::<Result<_, _>>()?;
    Ok(Arc::new(View::new(dataset, &shown, filtered)))
}

/// User and system time of this process.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: f64 = stat.split_whitespace().next().context("schedstat")?.parse()?;
    Ok(nanoseconds / 1e9)
}
