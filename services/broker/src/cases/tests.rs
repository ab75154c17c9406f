//! The gate, the example plant's cases and matrix, and everything that the documents promise of policies.

use super::*;
use crate::reload::policy_activation;
use crate::upstream::Upstreams;
use crate::{Folders, World};
use audit::prune::Bounds;
use audit::{Kept, LogOptions, PublishOptions, Publisher, Retention};
use model::Clock;
use model::entry::{Draft, Kind};
use pdp::matrix::Matrix;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const MATRIX_AT: &str = "2026-11-22T12:00:00Z";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A copy of the example plant, with a folder of policies of its own.
struct Plant {
    folder: TempDir,
}

impl Plant {
    fn new() -> Self {
        let plant = Self { folder: tempfile::tempdir().unwrap() };
        for part in ["catalog", "registry"] {
            let from = root().join("policies/plants/munich").join(part);
            std::fs::create_dir(plant.at(part)).unwrap();
            for file in std::fs::read_dir(from).unwrap() {
                let path = file.unwrap().path();
                std::fs::copy(&path, plant.at(part).join(path.file_name().unwrap())).unwrap();
            }
        }
        std::fs::create_dir(plant.at("cases")).unwrap();
        plant
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        std::fs::write(self.at(name), text).unwrap();
    }

    fn load(&self) -> Result<World, Vec<Problem>> {
        let own = self.at("own");
        let policies = [root().join("policies/base")].into_iter().chain(own.exists().then_some(own)).collect();
        let schema = root().join("policies/schema/plant.cedarschema");
        let folders = Folders { catalog: self.at("catalog"), registry: self.at("registry"), policies, schema };
        World::join(&folders.load()?, 1, Upstreams::new())
    }

    /// What keeps its policies from being used, without the folder's name.
    fn problems(&self) -> String {
        let problems = match self.load() {
            Ok(world) => failing(&world.snapshot, &[self.at("cases")]),
            Err(problems) => problems,
        };
        let [folder, base] = [self.folder.path(), &root()].map(|path| format!("{}/", path.display()));
        problems.iter().map(|p| format!("{p}\n").replace(&folder, "").replace(&base, "")).collect()
    }
}

fn munich() -> World {
    Plant::new().load().unwrap()
}

#[test]
fn the_example_plants_cases_pass() {
    let folder = root().join("policies/plants/munich/cases");
    assert!(load(std::slice::from_ref(&folder)).unwrap().len() > 15);
    let failing = failing(&munich().snapshot, &[folder]);
    assert!(failing.is_empty(), "{}", failing.iter().map(|p| format!("{p}\n")).collect::<String>());
}

/// `millgate policy matrix --config FILE --at 2026-11-22T12:00:00Z > policies/matrix.txt`, with the example plant's folders.
#[test]
fn the_committed_matrix_is_what_is_decided() {
    let matrix = Matrix::of(&munich().snapshot, Timestamp::parse_rfc3339(MATRIX_AT).unwrap()).to_string();
    let file = root().join("policies/matrix.txt");
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    if committed.trim_end() != matrix.trim_end() {
        let new = root().join("target/matrix.txt");
        std::fs::write(&new, &matrix).unwrap();
        panic!("policies decide otherwise than {} says; compare it with {}", file.display(), new.display());
    }
}

const CASE: &str = r#"[
  {
    "title": "the press is seen",
    "request": { "organisation": "acme", "subject": "engineer-1", "action": "readSeries", "resource": "Signal/press-3.force",
                 "purpose": "predictive-maintenance", "resolution_ms": 60000, "at": "2026-11-22T08:00:00Z" },
    "expect": { "decision": "permit", "agreement": "acme-maintenance-2026",
                "policies": ["read-series-under-agreement", "reveal-under-agreement"] }
  }
]"#;

#[test]
fn a_failing_case_says_where_it_stands_and_what_is_other() {
    let plant = Plant::new();
    plant.write("cases/one.json", CASE);
    assert_eq!(plant.problems(), "");
    plant.write(
        "own/stop.cedar",
        "@id(\"stop\")\n@reason(\"stopped\")\nforbid (principal, action in Plant::Action::\"dataplane\", resource);",
    );
    assert_eq!(
        plant.problems(),
        "cases/one.json:3: case `the press is seen`: decision: expected permit; got deny; reasons: expected none; got stopped; \
         policies: expected read-series-under-agreement, reveal-under-agreement; got stop; help: change the policies, or the \
         case if it is no longer what is wanted\n"
    );
}

#[test]
fn a_case_that_cannot_gate_is_refused() {
    let plant = Plant::new();
    assert_eq!(
        plant.problems(),
        "cases: there is no case here: a test of nothing would pass whatever the policies say\n"
    );
    plant.write("cases/one.json", &CASE.replace(", \"at\": \"2026-11-22T08:00:00Z\"", ""));
    assert_eq!(
        plant.problems(),
        "cases/one.json:3: case `the press is seen`: it does not say when it is asked, so the set would be good on one day and \
         bad on another; help: add `at` to its request, as in `\"at\": \"2026-11-22T08:00:00Z\"`\n"
    );
    plant.write("cases/one.json", &CASE.replace("Signal/press-3.force", "press-3.force"));
    assert!(
        plant.problems().starts_with("cases/one.json:3: case `the press is seen`: `press-3.force` is not a resource")
    );
    plant.write("cases/one.json", &CASE.replace("\"expect\"", "\"expects\""));
    assert!(plant.problems().starts_with("cases/one.json:6: is no list of cases: unknown field `expects`"));
}

#[test]
fn folders_that_do_not_fit_each_other_say_what_does_not() {
    let plant = Plant::new();
    plant.write("cases/one.json", CASE);
    let break_and_tell = |name: &str, change: &dyn Fn(&str) -> String| {
        let good = std::fs::read_to_string(plant.at(name)).unwrap();
        let changed = change(&good);
        assert_ne!(changed, good, "{name}");
        plant.write(name, &changed);
        let problems = plant.problems();
        plant.write(name, &good);
        problems
    };
    let equipment = break_and_tell("catalog/equipment.toml", &|text| {
        text.replacen(
            "level = \"equipment\"\nparent = \"press-station-3\"",
            "level = \"equipment\"\nparent = \"die-cushion-3\"",
            1,
        )
    });
    let classes = break_and_tell("catalog/vocabulary.toml", &|text| {
        text.replacen("[field_class.process]\n", "[field_class.process]\nparent = \"process.recipe\"\n", 1)
    });
    let orphan = break_and_tell("catalog/products.toml", &|text| {
        text.replace("[product.press-3-telemetry]", "[product.press-4-telemetry]")
    });
    let role =
        break_and_tell("registry/principals.toml", &|text| text.replace("\"plant-analytics\"", "\"plant-analysis\""));
    insta::assert_snapshot!(format!("{equipment}---\n{classes}---\n{orphan}---\n{role}"), @r#"
    catalog/equipment.toml:31:10: equipment `press-3` stands below itself, or too deep; help: remove one `parent`
    catalog/equipment.toml:37:10: equipment `die-cushion-3` stands below itself, or too deep; help: remove one `parent`
    ---
    catalog/vocabulary.toml:27:10: field class `process` stands below itself, or too deep; help: remove one `parent`
    catalog/vocabulary.toml:32:10: field class `process.condition` stands below itself, or too deep; help: remove one `parent`
    catalog/vocabulary.toml:36:10: field class `process.recipe` stands below itself, or too deep; help: remove one `parent`
    ---
    catalog/signals.csv:3:1: signal `press-3.force` names the unknown product `press-3-telemetry`; help: did you mean `press-4-telemetry`?
    catalog/signals.csv:4:1: signal `press-3.vibration` names the unknown product `press-3-telemetry`; help: did you mean `press-4-telemetry`?
    catalog/signals.csv:5:1: signal `press-3.oil-temperature` names the unknown product `press-3-telemetry`; help: did you mean `press-4-telemetry`?
    catalog/signals.csv:6:1: signal `press-3.stroke-rate` names the unknown product `press-3-telemetry`; help: did you mean `press-4-telemetry`?
    catalog/signals.csv:7:1: signal `press-3.motor-current` names the unknown product `press-3-telemetry`; help: did you mean `press-4-telemetry`?
    catalog/signals.csv:8:1: signal `press-3.cushion-pressure` names the unknown product `press-3-telemetry`; help: did you mean `press-4-telemetry`?
    registry/agreements.toml:8:13: `products` of agreement `acme-maintenance-2026` names the unknown product `press-3-telemetry`; help: did you mean `press-4-telemetry`?
    ---
    policies/base/internal.cedar:11: policy `analytics-reads`: `Plant::Role::"plant-analytics"` does not exist, so this policy never applies to it; help: did you mean `Plant::Role::"plant-analysis"`?
    policies/base/internal.cedar:32: policy `analytics-sees-fields`: `Plant::Role::"plant-analytics"` does not exist, so this policy never applies to it; help: did you mean `Plant::Role::"plant-analysis"`?
    "#);
}

// === documents

/// A fenced block: its info string, its text.
type Block = (String, String);

fn blocks(text: &str) -> Vec<Block> {
    let fences: Vec<&str> = text.split("\n```").collect();
    let blocks = fences.iter().skip(1).step_by(2).filter_map(|fence| fence.split_once('\n'));
    blocks.map(|(info, text)| (info.trim().to_owned(), format!("{text}\n"))).collect()
}

/// The sections (`## `) of a document that have cases, with their blocks.
fn sections(document: &str) -> Vec<(String, Vec<Block>)> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let sections = text.split("\n## ").map(|section| {
        let title = section.lines().next().unwrap_or_default().to_owned();
        (title, blocks(section))
    });
    sections.filter(|(_, blocks)| blocks.iter().any(|(info, _)| info == "json")).collect()
}

fn try_out(document: &str, title: &str, blocks: &[Block]) {
    let plant = Plant::new();
    for (n, (info, text)) in blocks.iter().enumerate() {
        match info.as_str() {
            "cedar" => plant.write(&format!("own/{n}.cedar"), text),
            "json" => plant.write(&format!("cases/{n}.json"), text),
            "toml catalog" => plant.write(&format!("catalog/own-{n}.toml"), text),
            "toml registry" => plant.write(&format!("registry/own-{n}.toml"), text),
            _ => {}
        }
    }
    assert_eq!(plant.problems(), "", "{document}, `{title}`");
}

/// A snippet that is not tried would rot. Policies that nobody tests are none to copy.
#[test]
fn every_recipe_of_the_cookbook_does_what_it_says() {
    let recipes = sections("docs/policy-cookbook.md");
    assert_eq!(recipes.len(), 7);
    for (title, blocks) in &recipes {
        assert!(blocks.iter().any(|(info, _)| info == "cedar"), "{title}");
        try_out("docs/policy-cookbook.md", title, blocks);
    }
}

/// The guide is one story: its blocks belong together.
#[test]
fn the_first_policy_does_what_its_guide_says() {
    let document = "docs/guides/first-policy.md";
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let blocks = blocks(&text);
    let count = |kind: &str| blocks.iter().filter(|(info, _)| info == kind).count();
    assert_eq!([count("toml registry"), count("cedar"), count("json")], [1, 1, 1]);
    try_out(document, "all of it", &blocks);
}

/// It stands where it is put.
#[derive(Debug)]
struct Put(AtomicI64);

impl Clock for Put {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).unsigned_abs())
    }
}

async fn append(log: &Log, (kind, members, content): crate::reload::Record) {
    let mut draft = Draft::new(kind, &log.common(), None, members, Vec::new()).unwrap();
    draft.content = content;
    log.append(draft).await.unwrap();
}

#[tokio::test]
async fn policies_that_were_in_use_for_longer_than_entries_are_kept_start_again_although_cases_fail() {
    const ORIGIN: &str = "millgate.example/test";
    let (folder, plant) = (tempfile::tempdir().unwrap(), Plant::new());
    plant.write("cases/no.json", "[]");
    let (world, cases) = (plant.load().unwrap(), [plant.at("cases")]);
    assert!(!failing(&world.snapshot, &cases).is_empty());
    let (home, published) = (folder.path().join("log"), folder.path().join("out"));
    let clock = Arc::new(Put(AtomicI64::new(1_606_072_800_000)));
    let next = std::sync::atomic::AtomicU64::new(0);
    let random: audit::Random = Arc::new(move |bytes: &mut [u8]| {
        let digest = model::Digest::of(&next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        bytes.iter_mut().zip(digest.0).for_each(|(byte, random)| *byte = random);
    });
    let options = LogOptions { heartbeat_ms: 0, ..LogOptions::new(&home, ORIGIN, clock.clone(), random) };
    let retention = Retention { entries: Some(Kept { days: 60, statement: None }), ..Retention::default() };
    let publishing = PublishOptions { retention: retention.clone(), ..PublishOptions::new(&published) };
    let key = || tlog::SigningKey::generate(ORIGIN, [9; 32]).unwrap();

    let (log, _) = Log::open(options.clone()).await.unwrap();
    let publisher = Publisher::start(&log, key(), publishing.clone()).await.unwrap();
    assert!(admit_at_start(&world, &cases, &log).await.is_err(), "nothing was in use yet");
    append(&log, policy_activation(&world, None)).await;
    for _ in 0..300 {
        append(&log, (Kind::Admin, vec![("event", model::Value::text("activated"))], Vec::new())).await;
    }
    clock.0.fetch_add(100 * 86_400_000, Ordering::Relaxed);
    // A set that was not taken into use is none that was.
    append(&log, crate::reload::refusal("policies", &[])).await;
    publisher.publish_now().await.unwrap();
    let bounds = Bounds { published: published.clone(), is_witnessed: false };
    assert_eq!(log.prune(&retention, &bounds).await.unwrap(), 256);
    log.seal().await;
    publisher.stop().await.unwrap();
    log.close().await;

    let (log, _) = Log::open(options).await.unwrap();
    let publisher = Publisher::start(&log, key(), publishing).await.unwrap();
    assert_eq!(admit_at_start(&world, &cases, &log).await, Ok(()));
    plant.write(
        "own/stop.cedar",
        "@id(\"stop\")\n@reason(\"stopped\")\nforbid (principal, action in Plant::Action::\"dataplane\", resource);",
    );
    let other = plant.load().unwrap();
    assert!(admit_at_start(&other, &cases, &log).await.is_err(), "these were never in use");
    log.seal().await;
    publisher.stop().await.unwrap();
    log.close().await;
}
