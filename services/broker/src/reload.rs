//! Changes of the folders, taken over while requests flow.
//!
//! Each folder keeps its own last good content: a typo in a policy never holds back a suspension. A change that cannot
//! be taken over is loud (log, metric, entry) and changes nothing, except that what is revoked counts at once.
//! Folders are polled: that also sees a replaced symbolic link, which is how orchestrators swap mounted files.

mod summary;

use crate::handshake::Handshakes;
use crate::world::{Folders, Parts, World, load_authorities, revoke};
use crate::{Broker, cases};
use audit::Log;
use audit::query::Query;
use model::canonical::Value;
use model::entry::{Content, Draft, Entry, Kind};
use pdp::PolicySet;
use registry::{NetworkFiles, Networks, Problem, Source};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

/// A suspension must count within a second; four looks a second leave time to load.
const POLL: Duration = Duration::from_millis(250);
/// Problems named in an entry; the log of the process has all of them.
const PROBLEMS_RECORDED_MAX: usize = 20;

/// A listener's certificate files, watched like the folders.
#[derive(Debug)]
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub shown_by: Arc<Handshakes>,
}

/// Watches the folders of one broker.
#[derive(Debug)]
pub struct Reloader {
    broker: Arc<Broker>,
    folders: Folders,
    /// Folders of cases that a policy set must pass.
    cases: Vec<PathBuf>,
    /// Where callers' networks are.
    networks: NetworkFiles,
    certificate: Option<Certificate>,
    /// What is in use. Nothing at first: what changed while the log was opened must not be missed.
    seen: Marks,
    /// What the last look found.
    last: Marks,
    /// Policies that are being read. A large set takes a second or two. What is revoked does not wait for it; everything else
    /// does, because it may be meant for the policies that come.
    loading: Option<Loading>,
    glances: Glances,
    /// The last content of this folder was refused: it is tried again with any later change.
    refused: Refused,
    /// Generations that requests still hold. A large one takes milliseconds to free, so it is not left to the last request.
    retired: Vec<Arc<World>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Marks {
    policies: Vec<model::Digest>,
    catalog: Option<model::Digest>,
    registry: Option<model::Digest>,
    schema: Option<FileMark>,
    cases: Vec<model::Digest>,
    networks: Vec<Option<FileMark>>,
    /// The listeners' certificate and key, the keys for assertions, the sources' secrets, certificates and authorities.
    files: Vec<Option<FileMark>>,
}

#[derive(Debug)]
struct Loading {
    /// Of the folders that are read.
    marks: Marks,
    /// All else is to be read again with them.
    everything: bool,
    /// Somebody asked for everything to be read since.
    is_stale: bool,
    since: Instant,
    is_told: bool,
    policies: JoinHandle<Loaded>,
}

/// A policy set that takes longer than this is not read any more: its folder hangs.
const LOADING_MAX: Duration = Duration::from_secs(60);

/// Registry and files.
type Glanced = (Option<model::Digest>, Vec<Option<FileMark>>);

/// Looks at what may have been revoked, while policies are read.
#[derive(Debug, Default)]
struct Glances {
    /// Registry and files whose revocations count already, while the rest of them waits.
    last: Option<Glanced>,
    /// Something else than before was seen there.
    any: bool,
}

impl Glances {
    /// Whether this is something else than at the last look; at the first one, than what is in use.
    fn see(&mut self, now: Glanced, in_use: &Glanced) -> bool {
        let is_new = *self.last.as_ref().unwrap_or(in_use) != now;
        self.last = Some(now);
        self.any |= is_new;
        is_new
    }

    /// Whether registry and files are to be read although they may look as they did before: what was revoked meanwhile and is not
    /// any longer must not stay so.
    fn end(&mut self) -> bool {
        std::mem::take(self).any
    }
}

type Loaded = Result<Arc<PolicySet>, Vec<Problem>>;

/// Size, inode, and the times of the content and of the inode, which nobody can set back.
pub(crate) type FileMark = (u64, u64, i128, i128);

#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    policies: bool,
    catalog: bool,
    registry: bool,
    networks: bool,
}

/// What a look takes in.
#[derive(Debug)]
struct Due {
    policies: Option<Loaded>,
    catalog: bool,
    registry: bool,
    networks: bool,
    files: bool,
    /// Nothing but what is revoked: the rest waits.
    only_revoked: bool,
}

/// What one look at the folders came to.
struct Outcome {
    world: Option<World>,
    /// What the log is told of it: finding out what is other in a large policy set takes a while.
    activations: Vec<Record>,
    refused: Refused,
    problems: Vec<(&'static str, Vec<Problem>)>,
}

impl Reloader {
    pub fn new(broker: Arc<Broker>, folders: Folders, certificate: Option<Certificate>) -> Self {
        let (seen, last) = (Marks::default(), Marks::default());
        Self {
            broker,
            folders,
            cases: Vec::new(),
            networks: NetworkFiles::default(),
            certificate,
            seen,
            last,
            loading: None,
            glances: Glances::default(),
            refused: Refused::default(),
            retired: Vec::new(),
        }
    }

    /// A policy set must decide the cases in these folders as they say.
    pub fn with_cases(self, folders: Vec<PathBuf>) -> Self {
        Self { cases: folders, ..self }
    }

    /// Callers are where these files say.
    pub fn with_networks(self, networks: NetworkFiles) -> Self {
        Self { networks, ..self }
    }

    /// Runs until `stop`. A change of `hangups` asks for everything to be read again.
    pub async fn run(mut self, mut hangups: watch::Receiver<u64>, stop: CancellationToken) {
        loop {
            let (everything, loaded) = tokio::select! {
                () = stop.cancelled() => return,
                changed = hangups.changed() => match changed {
                    Ok(()) => (true, None),
                    Err(_) => return, // whoever could ask is gone
                },
                loaded = loaded(self.loading.as_mut()) => (false, Some(loaded)),
                () = tokio::time::sleep(POLL) => (false, None),
            };
            let readiness = self.broker.readiness.clone();
            let looked = tokio::task::spawn_blocking(move || {
                self.retired.retain(|world| Arc::strong_count(world) > 1);
                let outcome = self.due(everything, loaded).map(|due| self.look(due));
                (self, outcome)
            })
            .await;
            let Ok((reloader, outcome)) = looked else {
                // Who is suspended from now on would stay in: nobody should be sent here any longer.
                tracing::error!("the watch over the folders ended; changes need a restart");
                readiness.condition("folders").unmet("the watch over the folders ended; restart the broker");
                return;
            };
            self = reloader;
            if let Some(outcome) = outcome {
                self.take_over(outcome).await;
            }
        }
    }

    /// What was found, without policies, catalog and networks that changed since the last look: somebody may be in the middle
    /// of copying them, and a set without the file that forbids would allow. What is revoked never waits.
    fn settled(&self, found: &Marks) -> Marks {
        let lies_still = found.networks == self.last.networks;
        let networks = if lies_still { &found.networks } else { &self.seen.networks }.clone();
        let found = Marks { networks, ..found.clone() };
        if found.has_folders_of(&self.last) { found } else { found.with_folders_of(&self.seen) }
    }

    /// What there is to do now. Policies are read beside it, and taken in when they are `loaded`.
    fn due(&mut self, mut everything: bool, loaded: Option<Loaded>) -> Option<Due> {
        let found = self.marks();
        let mut began = self.loading.take_if(|_| loaded.is_some()).zip(loaded);
        // What changed while it was read is read again, once it lies still.
        if let Some((stale, _)) = began.take_if(|(began, _)| began.is_stale || !found.has_folders_of(&began.marks)) {
            everything |= stale.everything;
        }
        let settled = if everything { found.clone() } else { self.settled(&found) };
        let any = everything || began.is_some() || self.glances.any || settled != self.seen;
        if let Some(loading) = &mut self.loading {
            loading.everything |= everything;
            loading.is_stale |= everything;
        } else if began.is_none() && any && (everything || self.refused.policies || !settled.is_ruled_as(&self.seen)) {
            self.loading = Some(self.load(settled.clone(), everything));
        }
        if self.loading.is_some() {
            return self.glance(found);
        }
        let is_glanced = self.glances.end();
        let all = everything || began.as_ref().is_some_and(|(began, _)| began.everything);
        let (now, policies) = match began {
            Some((began, loaded)) => (settled.with_folders_of(&began.marks), Some(loaded)),
            None => (settled, None),
        };
        let due = Due {
            policies,
            catalog: all || self.refused.catalog || now.catalog != self.seen.catalog,
            registry: all || is_glanced || self.refused.registry || now.registry != self.seen.registry,
            networks: all || self.refused.networks || now.networks != self.seen.networks,
            files: all || is_glanced || now.files != self.seen.files,
            only_revoked: false,
        };
        (self.seen, self.last) = (now, found);
        any.then_some(due)
    }

    /// While policies are read: whether anything may have been revoked.
    fn glance(&mut self, found: Marks) -> Option<Due> {
        if let Some(loading) = self.loading.as_mut().filter(|l| !l.is_told && l.since.elapsed() > LOADING_MAX) {
            loading.is_told = true;
            tracing::error!(
                seconds = LOADING_MAX.as_secs(),
                "policies have been read for this long; until they are, changes wait, and only what is revoked counts"
            );
        }
        let in_use = (self.seen.registry, self.seen.files.clone());
        let is_new = self.glances.see((found.registry, found.files.clone()), &in_use);
        self.last = found;
        let due =
            Due { policies: None, catalog: false, registry: false, networks: false, files: false, only_revoked: true };
        is_new.then_some(due)
    }

    fn load(&self, marks: Marks, everything: bool) -> Loading {
        let (folders, world) = (self.folders.clone(), self.broker.world());
        let policies = tokio::task::spawn_blocking(move || folders.load_policies(Some(&world.policies)));
        Loading { marks, everything, is_stale: false, since: Instant::now(), is_told: false, policies }
    }

    fn look(&self, due: Due) -> Outcome {
        if due.only_revoked {
            return self.look_at_revocations();
        }
        let mut problems = Vec::new();
        // Sources read their secrets again whenever the world is joined.
        if due.files {
            problems.extend(self.reload_certificate().map(|p| ("certificate", vec![p])));
            problems.extend(self.reload_assertion_keys().map(|p| ("assertion", vec![p])));
        }
        let current = self.broker.world();
        let mut parts = current.parts();
        // What waits stays refused until it is looked at again.
        let mut refused = Refused {
            policies: self.refused.policies && due.policies.is_none(),
            catalog: self.refused.catalog && !due.catalog,
            registry: false,
            networks: self.refused.networks && !due.networks,
        };
        let has_policies = due.policies.is_some();
        match due.policies {
            None => {}
            Some(Ok(policies)) => parts.policies = policies,
            Some(Err(p)) => {
                refused.policies = true;
                problems.push(("policies", p));
            }
        }
        if due.catalog {
            match self.folders.load_catalog() {
                Ok(catalog) => parts.catalog = catalog,
                Err(p) => {
                    refused.catalog = true;
                    problems.push(("catalog", p));
                }
            }
        }
        if due.registry {
            match self.folders.load_parties() {
                Ok(parties) => parts.parties = parties,
                Err(p) => {
                    refused.registry = true;
                    problems.push(("registry", p));
                }
            }
        }
        if due.networks {
            match Networks::load(&self.networks, &current.networks) {
                Ok(networks) => parts.networks = networks,
                Err(p) => {
                    refused.networks = true;
                    problems.push(("networks", p));
                }
            }
        }
        if due.registry || due.files {
            let (authorities, found) = load_authorities(&parts.parties, &current.authorities);
            parts.authorities = authorities;
            problems.extend((!found.is_empty()).then_some(("authorities", found)));
        }
        let before = problems.len();
        let mut world = self.join(&current, parts.clone(), &mut refused, &mut problems);
        if has_policies && !refused.policies {
            let failing = cases::failing(&world.as_ref().unwrap_or(&current).snapshot, &self.cases);
            if !failing.is_empty() {
                refused.policies = true;
                problems.truncate(before);
                problems.push(("cases", failing));
                let parts = Parts { policies: current.policies.clone(), ..parts };
                world = self.join(&current, parts, &mut refused, &mut problems);
            }
        }
        let activations = world.as_ref().map(|world| activations(world, &current)).unwrap_or_default();
        Outcome { world, activations, refused, problems }
    }

    /// What is in use, less what is revoked by now. What is wrong with the rest is said when that is looked at.
    fn look_at_revocations(&self) -> Outcome {
        let current = self.broker.world();
        let mut parts = current.parts();
        parts.parties = revoke(&parts.parties, registry::load_revocations(&self.folders.registry));
        parts.authorities = load_authorities(&parts.parties, &current.authorities).0;
        let mut problems = Vec::new();
        let world = match current.next(&parts, current.upstreams.clone()) {
            Ok(world) => changed(&world, &current).then_some(world),
            Err(found) => {
                problems.push(("revocations", found));
                None
            }
        };
        let activations = world.as_ref().map(|world| activations(world, &current)).unwrap_or_default();
        Outcome { world, activations, refused: self.refused, problems }
    }

    /// The newest world that holds together; whatever had to stay behind, what is revoked counts.
    fn join(
        &self,
        current: &World,
        parts: Parts,
        refused: &mut Refused,
        problems: &mut Vec<(&'static str, Vec<Problem>)>,
    ) -> Option<World> {
        // A new catalog goes with its own connections: routes of one must never lead to the sources of another.
        let mut upstreams = current.upstreams.clone();
        let fitted = fit(&parts, current).map(|(world, kept)| {
            problems.extend((!kept.is_empty()).then_some(("sources", kept)));
            world
        });
        match fitted {
            Ok(world) if !refused.registry => return changed(&world, current).then_some(world),
            Ok(world) => upstreams = world.upstreams,
            Err(p) => {
                *refused = Refused { policies: true, catalog: true, registry: true, ..*refused };
                problems.push(("together", p));
            }
        }
        let mut last_good = if problems.iter().any(|(what, _)| *what == "together") { current.parts() } else { parts };
        // Whom an authority has revoked is out, too.
        last_good.authorities = load_authorities(&last_good.parties, &current.authorities).0;
        last_good.parties = revoke(&last_good.parties, registry::load_revocations(&self.folders.registry));
        match current.next(&last_good, upstreams) {
            Ok(world) => changed(&world, current).then_some(world),
            Err(p) => {
                problems.push(("revocations", p));
                None
            }
        }
    }

    fn reload_certificate(&self) -> Option<Problem> {
        let files = self.certificate.as_ref()?;
        match crate::tls::certified_key(&files.certificate, &files.key) {
            Ok(shown) => {
                files.shown_by.show(shown);
                self.broker.metrics.reload("certificate", true);
                tracing::info!(file = %files.certificate.display(), "the certificate was read again and is in use");
                None
            }
            Err(error) => Some(Problem {
                file: files.certificate.clone(),
                line: None,
                column: None,
                what: error.to_string(),
                help: Some(String::from("the previous certificate stays in use")),
            }),
        }
    }

    fn reload_assertion_keys(&self) -> Option<Problem> {
        let what = match self.broker.assertions.reload() {
            Ok(None) => return None,
            Ok(Some(kid)) => {
                self.broker.metrics.reload("assertion", true);
                tracing::info!(kid, "the keys for assertions were read again and are in use");
                return None;
            }
            Err(error) => error.to_string(),
        };
        let help = Some(String::from("the previous keys stay in use"));
        Some(Problem { file: PathBuf::from("assertion"), line: None, column: None, what, help })
    }

    async fn take_over(&mut self, outcome: Outcome) {
        self.refused = outcome.refused;
        let broker = &self.broker;
        for (what, problems) in &outcome.problems {
            broker.metrics.reload(what, false);
            for problem in problems {
                tracing::error!(folder = what, "{problem}");
            }
            tracing::error!(folder = what, "the change was refused; the last good content stays in use");
            record(broker, refusal(what, problems)).await;
        }
        let Some(world) = outcome.world else { return };
        let old = broker.world();
        let mut recorded = true;
        for activation in outcome.activations {
            recorded &= record(broker, activation).await;
        }
        if !recorded {
            self.hold_back(world, old).await;
            return;
        }
        tracing::info!(generation = world.snapshot.generation(), "a new generation is in use");
        broker.metrics.reload("generation", true);
        broker.replace(world);
        let world = broker.world();
        if world.policies.policies().digest != old.policies.policies().digest {
            summary::follow_up(broker, world, old.clone());
        }
        self.retired.push(old);
    }

    /// Decisions must not name what the log does not hold, so a change that could not be recorded waits for the next
    /// look. What it revokes does not wait.
    async fn hold_back(&mut self, world: World, old: Arc<World>) {
        self.seen = Marks::default();
        self.broker.metrics.reload("generation", false);
        tracing::error!("a change could not be recorded and waits; what is revoked counts");
        self.retired.push(Arc::clone(&old));
        match tokio::task::spawn_blocking(move || only_revoked(&world, &old)).await {
            Ok(Ok(Some(revoked))) => self.broker.replace(revoked),
            Ok(Ok(None)) => {}
            Ok(Err(problems)) => problems.iter().for_each(|p| tracing::error!("{p}")),
            Err(error) => tracing::error!(%error, "what is revoked could not be taken over"),
        }
    }
}

impl Marks {
    fn is_ruled_as(&self, other: &Self) -> bool {
        self.policies == other.policies && self.schema == other.schema && self.cases == other.cases
    }

    fn has_folders_of(&self, other: &Self) -> bool {
        self.is_ruled_as(other) && self.catalog == other.catalog
    }

    /// With policies, cases and catalog of `other`.
    fn with_folders_of(self, other: &Self) -> Self {
        let Self { policies, schema, cases, catalog, .. } = other.clone();
        Self { policies, schema, cases, catalog, ..self }
    }
}

/// Waits for the policies that are being read; for ever, if there are none.
async fn loaded(loading: Option<&mut Loading>) -> Loaded {
    let Some(loading) = loading else { return std::future::pending().await };
    let ended = |error: JoinError| {
        let (file, what) = (PathBuf::from("policies"), format!("could not be read: {error}"));
        Err(vec![Problem { file, line: None, column: None, what, help: None }])
    };
    (&mut loading.policies).await.unwrap_or_else(ended)
}

/// The old world under what the new one revokes, and under what its own authorities revoke by now, if that is any more.
fn only_revoked(world: &World, old: &World) -> Result<Option<World>, Vec<Problem>> {
    let parties = revoke(&old.parties, world.parties.revocations.clone());
    let is_ruled_alike = world.parties.authorities == old.parties.authorities;
    let authorities =
        if is_ruled_alike { world.authorities.clone() } else { load_authorities(&old.parties, &old.authorities).0 };
    let parts = Parts { parties, authorities, ..old.parts() };
    let revoked = old.next(&parts, old.upstreams.clone())?;
    Ok(changed(&revoked, old).then_some(revoked))
}

/// The next world, and what is wrong with sources that stay as they were.
fn fit(parts: &Parts, current: &World) -> Result<(World, Vec<Problem>), Vec<Problem>> {
    let problems = registry::cross_check(&parts.catalog, &parts.parties);
    if !problems.is_empty() {
        return Err(problems);
    }
    let (upstreams, kept) = current.reconnect(&parts.catalog)?;
    Ok((current.next(parts, upstreams)?, kept))
}

fn changed(world: &World, current: &World) -> bool {
    world.policies.policies().digest != current.policies.policies().digest
        || world.catalog.plant.digest != current.catalog.plant.digest
        || world.parties.digest != current.parties.digest
        || world.parties.revocations != current.parties.revocations
        || !world.authorities.is(&current.authorities)
        || world.networks.digest() != current.networks.digest()
        || world.upstreams.len() != current.upstreams.len()
        || world.upstreams.iter().zip(&current.upstreams).any(|(a, b)| !Arc::ptr_eq(a.1, b.1))
}

pub(crate) type Record = (Kind, Vec<(&'static str, Value)>, Vec<Content>);

pub(crate) fn refusal(what: &'static str, problems: &[Problem]) -> Record {
    let kind = if matches!(what, "policies" | "cases" | "shadow") { Kind::Policy } else { Kind::Admin };
    let texts =
        problems.iter().take(PROBLEMS_RECORDED_MAX).map(|p| p.to_string().chars().take(500).collect::<String>());
    let members = vec![
        ("event", Value::text("refused")),
        ("folder", Value::text(what)),
        ("problems", Value::texts(texts)),
        ("problems_total", Value::int(i64::try_from(problems.len()).unwrap_or(i64::MAX))),
    ];
    (kind, members, Vec::new())
}

fn activations(world: &World, old: &World) -> Vec<Record> {
    let generation = Value::int(i64::try_from(world.snapshot.generation()).unwrap_or(i64::MAX));
    let mut records = Vec::new();
    if world.policies.policies().digest != old.policies.policies().digest
        || world.policies.schema().digest != old.policies.schema().digest
    {
        let (kind, mut members, content) = policy_activation(world, Some(old));
        members.extend(summary::policies(world, old));
        records.push((kind, members, content));
    }
    let mut admin = |folder: &'static str, digest: model::Digest, previous: Option<model::Digest>| {
        let mut members = vec![
            ("event", Value::text("activated")),
            ("folder", Value::text(folder)),
            ("digest", Value::text(digest.to_hex())),
            ("generation", generation.clone()),
        ];
        members.extend(previous.map(|previous| ("previous", Value::text(previous.to_hex()))));
        records.push((Kind::Admin, members, Vec::new()));
    };
    if world.catalog.plant.digest != old.catalog.plant.digest {
        admin("catalog", world.catalog.plant.digest, Some(old.catalog.plant.digest));
    }
    if world.parties.digest != old.parties.digest || world.parties.revocations != old.parties.revocations {
        admin("registry", world.parties.digest, Some(old.parties.digest));
    }
    if world.authorities.digest() != old.authorities.digest() {
        admin("authorities", world.authorities.digest(), Some(old.authorities.digest()));
    }
    if let (Some(digest), previous) = (world.networks.digest(), old.networks.digest())
        && previous != Some(digest)
    {
        admin("networks", digest, previous);
    }
    records
}

/// A policy set becomes active; its texts go to the content store, so that decisions can be replayed.
pub(crate) fn policy_activation(world: &World, old: Option<&World>) -> Record {
    if let Some(policy) = world.policies.not_remembered_for() {
        tracing::warn!(
            policy,
            "this policy reckons with `context.now`, so every decision is made anew; comparing it \
            with times that stand still costs far less"
        );
    }
    let mut members = vec![
        ("event", Value::text("activated")),
        ("digest", Value::text(world.policies.policies().digest.to_hex())),
        ("schema", Value::text(world.policies.schema().digest.to_hex())),
        ("policies_total", Value::int(i64::try_from(world.policies.len()).unwrap_or(i64::MAX))),
        ("generation", Value::int(i64::try_from(world.snapshot.generation()).unwrap_or(i64::MAX))),
    ];
    members.extend(old.map(|o| ("previous", Value::text(o.policies.policies().digest.to_hex()))));
    (Kind::Policy, members, vec![world.policies.policies().clone(), world.policies.schema().clone()])
}

/// Digest of the policies that were in use last, as far as the log says so, in what it has still or in what it carries forward of
/// entries that are gone: a set may have been in use for longer than entries are kept.
pub(crate) async fn active_policies(log: &Log) -> Option<String> {
    let mut query = Query { kind: Some(Kind::Policy), ..Query::default() };
    loop {
        let page = log.query(&query).await.ok()?;
        if let Some(digest) = page.entries.iter().find_map(|found| activated(found.entry.as_bytes())) {
            return Some(digest);
        }
        let Some(before) = page.next else { break };
        query.before = Some(before);
    }
    let carried = log.carried().await.ok()?;
    carried.iter().rev().find_map(|(_, bytes)| activated(bytes))
}

/// The digest of the policies of which this entry says that they came into use.
fn activated(entry: &[u8]) -> Option<String> {
    let entry = Entry::parse(entry).ok()?;
    let activates = entry.kind == Kind::Policy && entry.text("event") == Some("activated");
    entry.text("digest").filter(|_| activates).map(str::to_owned)
}

/// Names the catalog and registry that the first decisions are made from.
pub(crate) fn opening(world: &World) -> Record {
    let mut members = vec![
        ("event", Value::text("opening_generation")),
        ("catalog", Value::text(world.catalog.plant.digest.to_hex())),
        ("registry", Value::text(world.parties.digest.to_hex())),
        ("authorities", Value::text(world.authorities.digest().to_hex())),
        ("generation", Value::int(i64::try_from(world.snapshot.generation()).unwrap_or(i64::MAX))),
    ];
    members.extend(world.networks.digest().map(|digest| ("networks", Value::text(digest.to_hex()))));
    (Kind::Admin, members, Vec::new())
}

/// Whether it could be written.
pub(crate) async fn record(broker: &Broker, (kind, members, content): Record) -> bool {
    let draft = match Draft::new(kind, &broker.log.common(), None, members, Vec::new()) {
        Ok(mut draft) => {
            draft.content = content;
            draft
        }
        Err(error) => {
            tracing::error!(%error, "a change could not be recorded");
            return false;
        }
    };
    let written = broker.log.append(draft).await;
    if let Err(error) = &written {
        tracing::error!(%error, "a change could not be recorded");
    }
    written.is_ok()
}

impl Reloader {
    fn marks(&self) -> Marks {
        let (folders, broker) = (&self.folders, &self.broker);
        let world = broker.world();
        let listeners = self.certificate.iter().flat_map(|c| [&*c.certificate, &*c.key]);
        let sources = world.catalog.sources.values().flat_map(Source::files);
        let authorities = world.parties.authorities.values();
        let authorities = authorities.flat_map(|a| a.crl_files.iter().chain([&a.ca_file]).map(PathBuf::as_path));
        Marks {
            policies: folders.policies.iter().map(|p| registry::fingerprint(p)).collect(),
            catalog: Some(registry::fingerprint(&folders.catalog)),
            registry: Some(registry::fingerprint(&folders.registry)),
            schema: file_mark(&folders.schema),
            cases: self.cases.iter().map(|p| registry::fingerprint(p)).collect(),
            networks: self.networks.all().map(file_mark).collect(),
            files: listeners
                .chain(broker.assertions.files())
                .chain(sources)
                .chain(authorities)
                .map(file_mark)
                .collect(),
        }
    }
}

/// Follows links: a replaced link is another inode.
pub(crate) fn file_mark(path: &Path) -> Option<FileMark> {
    use std::os::unix::fs::MetadataExt as _;
    let m = std::fs::metadata(path).ok()?;
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Some((m.size(), m.ino(), nanoseconds(m.mtime(), m.mtime_nsec()), nanoseconds(m.ctime(), m.ctime_nsec())))
}

#[cfg(test)]
mod tests;
