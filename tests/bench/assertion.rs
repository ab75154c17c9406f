//! CPU of one statement to a source: claims, encoding, signature. See README.md.
//!
//! `cargo bench --workspace --bench assertion -- [COUNT]`
#![expect(clippy::print_stdout, reason = "the figures are the program's output")]
#![expect(clippy::disallowed_methods, reason = "a caller of the bench")]

use anyhow::{Context as _, bail};
use broker::assertion::{Addressee, Assertions, KeyFiles};
use broker::{Folders, World};
use model::{AccessRequest, Action, Assertion, Authenticated, AuthenticationMethod, Binding, Clock as _};
use model::{Digest, Principal, PrincipalKind, RequestId, ResourceRef, Shape, Timestamp};
use pdp::{Decision, Permit};
use registry::AssertionTo;
use runtime::SystemClock;
use std::path::Path;

fn main() -> anyhow::Result<()> {
    // `cargo bench` adds an option of its own.
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let count: u32 = arguments.next().map_or(Ok(100_000), |a| a.parse()).context("COUNT is a whole number")?;
    let now = SystemClock.now();
    let permit = permit(now)?;
    let folder = tempfile::tempdir()?;
    let files = KeyFiles { signing: folder.path().join("assertion.key"), others: Vec::new() };
    let assertions = Assertions::open(String::from("plant.example/broker-1"), files)?;
    let to = Addressee::new(&AssertionTo {
        audience: String::from("https://mes.plant.example"),
        header: String::from("millgate-assertion"),
        lifetime_ms: 60_000,
    })?;
    let (mut bytes, begun) = (0, cpu_seconds()?);
    for _ in 0..count {
        let request = RequestId::new(now, runtime::random::bytes());
        bytes += assertions.sign(&to, &permit, request, now)?.len();
    }
    let each = (cpu_seconds()? - begun) * 1e6 / f64::from(count);
    println!("{each:.1} us CPU per statement, {} bytes each", bytes / count as usize);
    Ok(())
}

/// What the example plant permits an engineer of a supplier.
fn permit(now: Timestamp) -> anyhow::Result<Permit> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let folders = Folders {
        catalog: root.join("plants/munich/catalog"),
        registry: root.join("plants/munich/registry"),
        policies: vec![root.join("base")],
        schema: root.join("schema/plant.cedarschema"),
    };
    let wrong = |problems: Vec<registry::Problem>| anyhow::anyhow!("{problems:?}");
    let parts = folders.load().map_err(wrong)?;
    let upstreams = World::connect(&parts.catalog).map_err(wrong)?;
    let world = World::join(&parts, 1, upstreams).map_err(wrong)?;
    let caller = Authenticated::assertion(Assertion {
        principal: Principal {
            organisation: "acme".parse()?,
            kind: PrincipalKind::User,
            subject: "engineer-1".parse()?,
        },
        issuer: "acme-login".parse()?,
        method: AuthenticationMethod::Jwt,
        binding: Binding::None,
        expires: now.plus_millis(60_000),
        fingerprint: Digest::of(b"a token"),
        token_id: None,
        certificate: None,
        assurance: 0,
        roles: Default::default(),
        actors: Vec::new(),
    });
    let request = AccessRequest {
        caller,
        action: Action::ReadSeries,
        resource: ResourceRef::Signal("press-3.vibration".parse()?),
        purpose: Some("predictive-maintenance".parse()?),
        agreement: None,
        shape: Shape { resolution_ms: 60_000, window_ms: 3_600_000, rows: 60, age_days: 0 },
        country: None,
        now,
    };
    match world.snapshot.decide(request, &["p-1"]) {
        Decision::Permit(permit) => Ok(permit),
        Decision::Denied(denial) => bail!("denied: {:?}", denial.reasons),
    }
}

/// User and system time of this process, from proc(5).
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no command in /proc/self/stat")?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|f| f.parse::<f64>().ok()).context("too few fields in /proc/self/stat");
    Ok((ticks()? + ticks()?) / 100.0)
}
