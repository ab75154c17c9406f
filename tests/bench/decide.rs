//! What a decision costs, and what a change costs: see README.md.
//!
//! `cargo bench --workspace --bench decide -- [--policies N] [--entities N] [--rounds N]`
#![expect(clippy::print_stdout, reason = "the figures are the program's output")]

#[path = "decide_plant.rs"]
mod plant;

use model::AccessRequest;
use model::party::{Parties, Status};
use model::plant::Plant;
use pdp::{PolicySet, Snapshot};
use plant::Size;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// As the executable has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const REFERENCES: &[&str] = &["0123456789abcdef"];
const REQUESTS: usize = 5_000;
/// The small set that growth is measured from.
const FEW: usize = 100;

fn main() -> Result<(), String> {
    let [policies, entities, rounds] = options([10_000, 100_000, 5])?;
    let size = Size::of(entities);
    println!("{}", size.describe());
    let (plant, parties) = (Arc::new(plant::plant(size)?), Arc::new(plant::parties(size)?));
    let mut few_p50 = None;
    for (what, count, differ) in [("", FEW, false), ("", policies, false), (", all conditions differ", policies, true)]
    {
        let begun = Instant::now();
        let (schema, mut files) = sources(size, count, differ)?;
        let set = Arc::new(PolicySet::load(("plant.cedarschema", &schema), &files).map_err(|f| list(&f))?);
        let loaded = begun.elapsed();
        let begun = Instant::now();
        files.push(("more.cedar", String::from(ONE_MORE)));
        let next = set.load_next(("plant.cedarschema", &schema), &files).map_err(|f| list(&f))?;
        let loaded_next = begun.elapsed();
        drop(next);
        let begun = Instant::now();
        let snapshot = Snapshot::new(set, plant.clone(), parties.clone(), 1).map_err(|f| list(&f))?;
        println!(
            "\n{count} policies and the base policies{what}: loaded in {} ms, with one file more in {} ms, joined with the \
             plant in {} ms",
            loaded.as_millis(),
            loaded_next.as_millis(),
            begun.elapsed().as_millis()
        );
        for (what, public) in [("discover and action", true), ("and one field class", false)] {
            let requests = plant::requests(size, REQUESTS, public)?;
            let p50 = decisions(what, &snapshot, &requests, rounds)?;
            if public && !differ {
                match few_p50 {
                    None => few_p50 = Some(p50),
                    Some(few) => println!("  p50 grows by {:.2} from {FEW} policies", p50 / few),
                }
            }
        }
        if count == policies && !differ {
            changes(&snapshot, &plant, &parties)?;
        }
    }
    Ok(())
}

const ONE_MORE: &str =
    "@id(\"one-more\") forbid (principal, action, resource) when { context.now < datetime(\"2001-01-01\") };";

/// The schema, and files with their names.
type Sources = (String, Vec<(&'static str, String)>);

fn sources(size: Size, policies: usize, differ: bool) -> Result<Sources, String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies");
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).map_err(|e| format!("{name}: {e}"));
    let schema = read("schema/plant.cedarschema")?;
    let mut files = vec![("generated.cedar", plant::policies(size, policies, differ))];
    // The others name roles of another plant.
    for name in ["agreement.cedar", "discover.cedar", "refusals.cedar"] {
        files.push((name, read(&format!("base/{name}"))?));
    }
    Ok((schema, files))
}

fn list(findings: &[pdp::Finding]) -> String {
    findings.iter().take(5).map(|f| format!("{f}\n")).collect()
}

/// Prints what decisions cost and gives the median in microseconds.
fn decisions(what: &str, snapshot: &Snapshot, requests: &[AccessRequest], rounds: usize) -> Result<f64, String> {
    let mut times = Vec::with_capacity(requests.len() * rounds);
    let mut allowed = 0;
    // A first round, to be forgotten.
    for request in requests {
        allowed += usize::from(black_box(snapshot.decide_anew(request.clone(), REFERENCES)).is_permit());
    }
    let mut cpu = 0.0;
    for _ in 0..rounds {
        let asked: Vec<AccessRequest> = requests.to_vec();
        let cpu_before = cpu_seconds()?;
        for request in asked {
            let begun = Instant::now();
            drop(black_box(snapshot.decide_anew(request, REFERENCES)));
            times.push(begun.elapsed().as_nanos() as f64 / 1e3);
        }
        cpu += cpu_seconds()? - cpu_before;
    }
    let one = one_question(snapshot, requests, rounds);
    let remembered = remembered(snapshot, requests)?;
    let scanned = scanned(snapshot, requests)?;
    let mean = cpu / times.len() as f64 * 1e6;
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    println!(
        "  {what}: p50 {p50:.1} us, p99 {p99:.1} us, CPU {mean:.1} us; {allowed} of {} allowed; remembered {remembered:.1} us; \
         is_authorized over all policies {scanned:.0} us; one question alone with its slice: {one}",
        requests.len()
    );
    Ok(p50)
}

/// `discover` under the agreement, from the caller's name to the answer, with the entities that it takes and their record.
fn one_question(snapshot: &Snapshot, requests: &[AccessRequest], rounds: usize) -> String {
    let mut times = Vec::with_capacity(requests.len() * rounds);
    for _ in 0..rounds {
        for request in requests {
            let begun = Instant::now();
            black_box(snapshot.may_discover(&request.caller, &request.resource, None, request.now));
            times.push(begun.elapsed().as_nanos() as f64 / 1e3);
        }
    }
    format!("p50 {:.1} us, p99 {:.1} us", percentile(&mut times, 50), percentile(&mut times, 99))
}

/// CPU in microseconds of a decision that was made before.
fn remembered(snapshot: &Snapshot, requests: &[AccessRequest]) -> Result<f64, String> {
    let few = requests.get(..100).unwrap_or(requests);
    let ask = || few.iter().for_each(|r| drop(black_box(snapshot.decide(r.clone(), REFERENCES))));
    ask();
    let begun = cpu_seconds()?;
    (0..20).for_each(|_| ask());
    Ok((cpu_seconds()? - begun) / (20 * few.len()) as f64 * 1e6)
}

/// The median of the same decisions by Cedar's public interface.
fn scanned(snapshot: &Snapshot, requests: &[AccessRequest]) -> Result<f64, String> {
    let mut times = Vec::new();
    for request in requests.iter().step_by(requests.len() / 20) {
        let begun = Instant::now();
        let full = black_box(snapshot.decide_by_scan(request.clone(), REFERENCES));
        times.push(begun.elapsed().as_nanos() as f64 / 1e3);
        let indexed = snapshot.decide_anew(request.clone(), REFERENCES);
        if format!("{full:?}") != format!("{indexed:?}") {
            return Err(format!("the index is wrong: {indexed:?}, but {full:?}"));
        }
    }
    Ok(percentile(&mut times, 50))
}

type Change<'a> = &'a dyn Fn(&mut Parties);

/// One entry of the registry at a time, until decisions are made from it.
fn changes(snapshot: &Snapshot, plant: &Arc<Plant>, parties: &Arc<Parties>) -> Result<(), String> {
    let person = |p: &mut Parties| p.principals.values_mut().step_by(97).take(1).for_each(|p| p.clearance = 3);
    let agreement = |p: &mut Parties| p.agreements.values_mut().take(1).for_each(|a| a.status = Status::Suspended);
    let organisation = |p: &mut Parties| {
        let suspended = p.organisations.keys().next_back().cloned();
        p.revocations.organisations.extend(suspended);
    };
    let all: [(&str, Change<'_>); 3] =
        [("person", &person), ("agreement", &agreement), ("organisation suspended", &organisation)];
    for (what, change) in all {
        let mut changed = Parties::clone(parties);
        change(&mut changed);
        let changed = Arc::new(changed);
        let mut times = Vec::new();
        for generation in 2..12 {
            let begun = Instant::now();
            let next = snapshot
                .after(snapshot.policies().clone(), plant.clone(), changed.clone(), generation)
                .map_err(|f| list(&f))?;
            times.push(begun.elapsed().as_nanos() as f64 / 1e6);
            drop(next);
        }
        println!("  one {what} changed: visible to decisions after {:.1} ms", percentile(&mut times, 50));
    }
    Ok(())
}

fn percentile(times: &mut [f64], percent: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() * percent / 100).copied().unwrap_or_default()
}

/// User and system time of this process's main thread.
fn cpu_seconds() -> Result<f64, String> {
    let stat = std::fs::read_to_string("/proc/self/schedstat").map_err(|e| e.to_string())?;
    let nanoseconds = stat.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).ok_or("schedstat")?;
    Ok(nanoseconds / 1e9)
}

/// `--policies`, `--entities` and `--rounds`, with these values where they are left out.
fn options(mut values: [usize; 3]) -> Result<[usize; 3], String> {
    // `cargo bench` adds an option of its own.
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(name) = arguments.next() {
        let names = ["--policies", "--entities", "--rounds"];
        let place = names.iter().position(|n| **n == name);
        let slot = place.and_then(|place| values.get_mut(place));
        let slot = slot.ok_or_else(|| format!("unknown option `{name}`; there are {}", names.join(", ")))?;
        let value = arguments.next().ok_or_else(|| format!("`{name}` needs a number"))?;
        *slot = value.parse().map_err(|_| format!("`{name}` needs a whole number, not `{value}`"))?;
    }
    Ok(values)
}
