//! Recorded decisions per second that are decided again: see README.md.
//!
//! `cargo bench --workspace --bench replay -- [DECISIONS] [PRINCIPALS]`
#![expect(clippy::print_stdout, reason = "the figures are the program's output")]

use anyhow::{Context as _, anyhow, ensure};
use audit::{Log, LogOptions};
use broker::record::{Circumstances, Slip, admit, deny};
use broker::upstream::Upstreams;
use broker::{Folders, World};
use millgate::policy_cmd::replay;
use model::entry::{Draft, Ended, Kind};
use model::{
    AccessRequest, Action, Assertion, Authenticated, AuthenticationMethod, Binding, Clock as _, Digest, Principal,
    PrincipalKind, RequestId, ResourceRef, Shape, Timestamp, Value,
};
use pdp::{Decision, PolicySet};
use runtime::clock::SystemClock;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// As the executable has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests that are open at a time: so that batches form.
const CALLERS: usize = 256;

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds an option of its own.
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let decisions: usize =
        arguments.next().map_or(Ok(400_000), |a| a.parse()).context("DECISIONS is a whole number")?;
    let principals: usize =
        arguments.next().map_or(Ok(1_000), |a| a.parse()).context("PRINCIPALS is a whole number")?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&folder.path().join("log"), decisions, principals))
}

async fn measure(directory: &Path, decisions: usize, principals: usize) -> anyhow::Result<()> {
    let folders = folders();
    let parts = folders.load().map_err(|p| anyhow!("{p:?}"))?;
    let world = World::join(&parts, 1, Upstreams::new()).map_err(|p| anyhow!("{p:?}"))?;
    let random: audit::Random = Arc::new(runtime::random::fill);
    let mut options = LogOptions::new(directory, "bench.example/replay", Arc::new(SystemClock), random);
    options.queue_max = 2 * CALLERS;
    let (log, _) = Log::open(options).await?;
    // As an activation does.
    let mut activation =
        Draft::new(Kind::Policy, &log.common(), None, [("event", Value::text("activated"))], Vec::new())?;
    activation.content = vec![world.policies.policies().clone(), world.policies.schema().clone()];
    log.append(activation).await?;
    write(&log, Arc::new(world), decisions, principals).await?;
    log.seal().await;
    println!("{} entries of {principals} principals, {} MB", log.size(), log.status().bytes / 1_000_000);
    log.close().await;
    let candidate = candidate(&folders)?;
    for (what, candidate) in [("as recorded", None), ("and by a candidate", Some(candidate))] {
        let (cpu, begun) = (cpu_seconds()?, Instant::now());
        let tally = replay::offline(directory, Timestamp::EPOCH, Timestamp(i64::MAX), candidate.as_ref()).await?;
        let (cpu, elapsed) = (cpu_seconds()? - cpu, begun.elapsed().as_secs_f64());
        ensure!(tally.replayed == decisions as u64 && tally.findings_total == 0, "{tally:?}");
        let replayed = tally.replayed as f64;
        println!(
            "{what}: {:.0} decisions/s, {:.1} us CPU each; {} questions decided, {} would change",
            replayed / elapsed,
            cpu * 1e6 / replayed,
            tally.decided,
            tally.changed()
        );
    }
    Ok(())
}

fn folders() -> Folders {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    Folders {
        catalog: root.join("plants/munich/catalog"),
        registry: root.join("plants/munich/registry"),
        policies: vec![root.join("base")],
        schema: root.join("schema/plant.cedarschema"),
    }
}

/// The base policies and one that takes coarse values away.
fn candidate(folders: &Folders) -> anyhow::Result<Arc<PolicySet>> {
    let text = "@id(\"fine-only\") forbid (principal, action == Plant::Action::\"readSeries\", resource)
                when { context.shape.resolutionMs > 60000 };";
    let more = tempfile::tempdir()?;
    std::fs::write(more.path().join("more.cedar"), text)?;
    let policies: Vec<PathBuf> = folders.policies.iter().cloned().chain([more.path().to_owned()]).collect();
    Folders { policies, ..folders.clone() }.load_policies(None).map_err(|p| anyhow!("{p:?}"))
}

async fn write(log: &Log, world: Arc<World>, decisions: usize, principals: usize) -> anyhow::Result<()> {
    let tasks: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (log, world) = (log.clone(), world.clone());
            tokio::spawn(async move {
                for n in (caller..decisions).step_by(CALLERS) {
                    decide(&log, &world, n, principals).await?;
                }
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// One decision, recorded as the broker records it.
async fn decide(log: &Log, world: &World, n: usize, principals: usize) -> anyhow::Result<()> {
    let request = request(world, n, principals)?;
    let now = request.now;
    let reference = log.principal_reference(request.caller.principal()).0;
    let about = Circumstances {
        country: None,
        request: RequestId::new(now, runtime::random::bytes()),
        kind: Kind::Decision,
        method: "GET",
        peer: Ipv4Addr::LOCALHOST.into(),
        user_agent: Some("bench"),
        route: Some("series"),
        product: Some("press-3-telemetry"),
        source: Some("historian"),
        payload: Value::object([("path", Value::text("/series/press-3.vibration"))]).into(),
        receipt: &Slip::default(),
    };
    let refused = |refusal: broker::respond::Refusal| anyhow!("{}", refusal.detail);
    match world.snapshot.decide(request, &[&reference]) {
        Decision::Permit(permit) => {
            let admitted = admit(log, permit, &about, now, &Default::default()).await.map_err(refused)?;
            admitted.into_exchange().1.end(Ended::Complete);
        }
        Decision::Denied(denial) => {
            deny(log, &denial, &world.catalog.plant.purposes, &about).await.map_err(refused)?;
        }
    }
    Ok(())
}

/// Every signal and dataset, by people of three organisations, in eight shapes, for a purpose that fits or not.
fn request(world: &World, n: usize, principals: usize) -> anyhow::Result<AccessRequest> {
    let plant = &world.catalog.plant;
    let signals = plant.signals.keys().map(|id| (Action::ReadSeries, ResourceRef::Signal(id.clone())));
    let datasets = plant.datasets.keys().map(|id| (Action::Read, ResourceRef::Dataset(id.clone())));
    let (action, resource) =
        signals.chain(datasets).nth(n % (plant.signals.len() + plant.datasets.len())).context("data")?;
    let who = (n / 7) % principals;
    let organisation = ["acme", "bolt", "norden"].get(who % 3).copied().unwrap_or_default();
    let purpose = ["predictive-maintenance", "quality-analysis"].get(n / 3 % 2).copied().unwrap_or_default();
    let hours = 1 << (n / 5 % 4);
    #[expect(clippy::disallowed_methods, reason = "callers of a bench")]
    let caller = Authenticated::assertion(Assertion {
        principal: Principal {
            organisation: organisation.parse()?,
            kind: PrincipalKind::User,
            subject: format!("engineer-{who}").parse()?,
        },
        issuer: format!("{organisation}-login").parse()?,
        method: AuthenticationMethod::Jwt,
        binding: Binding::None,
        expires: Timestamp(i64::MAX),
        fingerprint: Digest::of(b"a token"),
        token_id: None,
        certificate: None,
        assurance: 0,
        roles: BTreeSet::new(),
        actors: Vec::new(),
    });
    let resolution_ms = if (n / 11).is_multiple_of(2) { 60_000 } else { 600_000 };
    let shape =
        Shape { resolution_ms, window_ms: hours * 3_600_000, rows: hours * 3_600_000 / resolution_ms, age_days: 0 };
    let (purpose, now) = (Some(purpose.parse()?), SystemClock.now());
    Ok(AccessRequest { caller, action, resource, purpose, agreement: None, shape, country: None, now })
}

/// User and system time of this process, from proc(5).
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no command in /proc/self/stat")?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|f| f.parse::<f64>().ok()).context("too few fields in /proc/self/stat");
    Ok((ticks()? + ticks()?) / 100.0)
}
