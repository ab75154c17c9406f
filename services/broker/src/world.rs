//! What one request sees from start to record: policies, catalog, registry and connections of one generation.

use crate::shape::Views;
use crate::upstream::{self, UpstreamError, Upstreams};
use identity::{AuthorityProblem, ClientAuthorities};
use model::Country;
use model::party::{Parties, Revocations, Status};
use pdp::{PolicySet, Snapshot};
use registry::{Catalog, Networks, Problem};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The three folders (policies may be several, and their schema stands apart).
#[derive(Clone, Debug)]
pub struct Folders {
    pub catalog: PathBuf,
    pub registry: PathBuf,
    pub policies: Vec<PathBuf>,
    pub schema: PathBuf,
}

/// One generation.
#[derive(Debug)]
pub struct World {
    pub policies: Arc<PolicySet>,
    pub catalog: Arc<Catalog>,
    pub parties: Arc<Parties>,
    pub snapshot: Snapshot,
    pub authorities: ClientAuthorities,
    pub networks: Networks,
    pub upstreams: Upstreams,
    /// What has been needed of this generation.
    pub views: Views,
}

/// The parts of a generation, each versioned by its own digest.
#[derive(Clone, Debug)]
pub struct Parts {
    pub policies: Arc<PolicySet>,
    pub catalog: Arc<Catalog>,
    pub parties: Arc<Parties>,
    /// The files that the parties' authorities name.
    pub authorities: ClientAuthorities,
    /// Where callers' networks are. None of the folders' business: [`Folders::load`] leaves it empty.
    pub networks: Networks,
}

impl Folders {
    /// Reads everything.
    ///
    /// # Errors
    /// Everything that is wrong, in all folders.
    pub fn load(&self) -> Result<Parts, Vec<Problem>> {
        let policies = self.load_policies(None);
        // Together, so that a name that stands in one folder and not in the other is reported with its place.
        match (policies, registry::load_folders(&self.catalog, &self.registry)) {
            (Ok(policies), Ok((catalog, parties))) => {
                let (authorities, problems) = load_authorities(&parties, &ClientAuthorities::default());
                if !problems.is_empty() {
                    return Err(problems);
                }
                let (catalog, parties) = (Arc::new(catalog), Arc::new(parties));
                Ok(Parts { policies, catalog, parties, authorities, networks: Networks::default() })
            }
            (policies, folders) => {
                let mut problems = policies.err().unwrap_or_default();
                problems.extend(folders.err().unwrap_or_default());
                Err(problems)
            }
        }
    }

    /// What is as it is in `before` is not checked again.
    ///
    /// # Errors
    /// Everything that is wrong with the policy set.
    pub fn load_policies(&self, before: Option<&PolicySet>) -> Result<Arc<PolicySet>, Vec<Problem>> {
        let schema = read(&self.schema).map_err(|p| vec![p])?;
        let (mut files, mut recorded) = (Vec::new(), Vec::new());
        for folder in &self.policies {
            let paths = cedar_files(folder).map_err(|p| vec![p])?;
            if paths.is_empty() {
                // A volume that is not mounted yet must not take its `forbid`s with it.
                return Err(vec![problem(
                    folder,
                    "there is no `*.cedar` file here; take the folder out of `policies`, or mount it",
                )]);
            }
            for path in paths {
                let text = read(&path).map_err(|p| vec![p])?;
                let below = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
                recorded.push((below, text.clone()));
                files.push((path.display().to_string(), text));
            }
        }
        let name = self.schema.display().to_string();
        let schema = (name.as_str(), schema.as_str());
        let loaded = match before {
            Some(before) => before.load_next(schema, &files),
            None => PolicySet::load(schema, &files),
        };
        let loaded = loaded.map_err(|f| f.iter().map(finding).collect::<Vec<_>>())?;
        tell_apart(&mut recorded);
        Ok(Arc::new(loaded.recorded_as(&recorded)))
    }

    /// # Errors
    /// Everything that is wrong with the catalog.
    pub fn load_catalog(&self) -> Result<Arc<Catalog>, Vec<Problem>> {
        registry::load_catalog(&self.catalog).map(Arc::new)
    }

    /// # Errors
    /// Everything that is wrong with the registry.
    pub fn load_parties(&self) -> Result<Arc<Parties>, Vec<Problem>> {
        registry::load_registry(&self.registry).map(Arc::new)
    }
}

/// The authorities' files, as far as they are good, and what is wrong with the others.
pub fn load_authorities(parties: &Parties, previous: &ClientAuthorities) -> (ClientAuthorities, Vec<Problem>) {
    let (authorities, problems) = ClientAuthorities::load(parties, previous);
    let named = |p: &AuthorityProblem| Problem {
        help: Some(format!("it is of `authority.{}` in the registry", p.authority)),
        ..problem(&p.file, p.what.clone())
    };
    (authorities, problems.iter().map(named).collect())
}

fn merge(mut a: Revocations, b: Revocations) -> Revocations {
    a.organisations.extend(b.organisations);
    a.agreements.extend(b.agreements);
    a.principals.extend(b.principals);
    a.tokens.extend(b.tokens);
    a.certificates.extend(b.certificates);
    a
}

/// The last good registry under what is revoked now, when the registry as a whole cannot be read.
pub fn revoke(parties: &Arc<Parties>, now: Revocations) -> Arc<Parties> {
    let merged = merge(parties.revocations.clone(), now);
    if merged == parties.revocations {
        return parties.clone();
    }
    let mut revoked = Parties::clone(parties);
    for id in &merged.organisations {
        if let Some(organisation) = revoked.organisations.get_mut(id) {
            organisation.status = Status::Suspended;
        }
    }
    for id in &merged.agreements {
        if let Some(agreement) = revoked.agreements.get_mut(id).filter(|a| a.status == Status::Active) {
            agreement.status = Status::Suspended;
        }
    }
    revoked.revocations = merged;
    Arc::new(revoked)
}

impl World {
    /// Joins the parts under one generation number.
    ///
    /// # Errors
    /// What does not fit together: a policy that names what does not exist.
    pub fn join(parts: &Parts, generation: u64, upstreams: Upstreams) -> Result<Self, Vec<Problem>> {
        let plant = parts.catalog.plant.clone();
        let snapshot = Snapshot::new(parts.policies.clone(), plant, parts.parties.clone(), generation);
        Ok(Self::of(parts, snapshot.map_err(|f| findings(&f))?, upstreams))
    }

    /// The next generation, from `parts`: what did not change costs nothing.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub fn next(&self, parts: &Parts, upstreams: Upstreams) -> Result<Self, Vec<Problem>> {
        let plant = parts.catalog.plant.clone();
        let generation = self.snapshot.generation() + 1;
        let snapshot = self.snapshot.after(parts.policies.clone(), plant, parts.parties.clone(), generation);
        Ok(Self::of(parts, snapshot.map_err(|f| findings(&f))?, upstreams))
    }

    fn of(parts: &Parts, snapshot: Snapshot, upstreams: Upstreams) -> Self {
        let Parts { policies, catalog, parties, authorities, networks } = parts.clone();
        Self { policies, catalog, parties, snapshot, authorities, networks, upstreams, views: Views::default() }
    }

    /// Connections for the catalog's sources.
    ///
    /// # Errors
    /// All sources that cannot be used, because a credential or a CA file is missing.
    pub fn connect(catalog: &Catalog) -> Result<Upstreams, Vec<Problem>> {
        upstream::connect(&catalog.sources, None).map(|(upstreams, _)| upstreams).map_err(|e| upstream_problems(&e))
    }

    /// The same under way: unchanged ones are taken over, and those whose files are at fault, with their problems.
    ///
    /// # Errors
    /// All new or changed sources that cannot be used.
    pub fn reconnect(&self, catalog: &Catalog) -> Result<(Upstreams, Vec<Problem>), Vec<Problem>> {
        upstream::connect(&catalog.sources, Some(&self.upstreams))
            .map(|(upstreams, kept)| (upstreams, upstream_problems(&kept)))
            .map_err(|e| upstream_problems(&e))
    }

    pub fn parts(&self) -> Parts {
        Parts {
            policies: self.policies.clone(),
            catalog: self.catalog.clone(),
            parties: self.parties.clone(),
            authorities: self.authorities.clone(),
            networks: self.networks.clone(),
        }
    }

    /// The country that a caller with this address is in, as far as the plant knows. The address is that of the connection.
    pub fn country_of(&self, peer: IpAddr) -> Option<Country> {
        self.networks.country_of(peer)
    }
}

fn upstream_problems(errors: &[UpstreamError]) -> Vec<Problem> {
    errors.iter().map(|e| problem(Path::new("catalog"), e.to_string())).collect()
}

fn problem(file: &Path, what: impl Into<String>) -> Problem {
    Problem { file: file.to_owned(), line: None, column: None, what: what.into(), help: None }
}

fn findings(all: &[pdp::Finding]) -> Vec<Problem> {
    all.iter().map(finding).collect()
}

fn finding(f: &pdp::Finding) -> Problem {
    let what = match &f.policy {
        Some(id) => format!("policy `{id}`: {}", f.message),
        None => f.message.clone(),
    };
    let file = f.file.as_ref().map_or_else(|| PathBuf::from("policies"), PathBuf::from);
    Problem { file, line: f.line, column: None, what, help: f.help.clone() }
}

fn read(path: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(path).map_err(|e| problem(path, format!("cannot be read: {e}")))
}

/// Files of several folders may have the same name below them. These are numbered in the order of their texts, so that the digest of a
/// set depends on what is in its folders, and not on where these lie or which of them is named first.
fn tell_apart(files: &mut [(String, String)]) {
    files.sort();
    let (mut last, mut count) = (String::new(), 1);
    for (name, _) in files {
        count = if *name == last { count + 1 } else { 1 };
        if count == 1 {
            last.clone_from(name);
        } else {
            name.push_str(&format!(" ({count})"));
        }
    }
}

/// All `*.cedar` files below a folder, sorted, so that problems are told in the order of their places. Hidden names and links to folders
/// are passed over: a mounted Kubernetes ConfigMap (`..data` and links into it) is read once.
fn cedar_files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| problem(&folder, format!("cannot be read: {e}")))?;
        for entry in entries {
            let path = entry.map_err(|e| problem(&folder, format!("cannot be read: {e}")))?.path();
            let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
            let linked = path.is_symlink();
            match path.extension() {
                _ if hidden => {}
                _ if path.is_dir() => folders.extend((!linked).then_some(path)),
                Some(extension) if extension == "cedar" => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_mounted_config_map_is_read_once_and_a_loop_of_links_ends() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["..2026/a.cedar", "plain/b.cedar", "plain/.#b.cedar", "plain/notes.txt"] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), "").unwrap();
        }
        symlink("..2026", at("..data")).unwrap();
        symlink("..data/a.cedar", at("a.cedar")).unwrap();
        symlink(folder.path(), at("plain/loop")).unwrap();
        assert_eq!(cedar_files(folder.path()).unwrap(), [at("a.cedar"), at("plain/b.cedar")]);
    }

    /// A replay, and whoever compares two plants, goes by the digest.
    #[test]
    fn a_set_of_policies_has_the_same_digest_wherever_its_folders_lie() {
        let permit = |id: &str| {
            format!("@id(\"{id}\")\npermit (principal, action == Plant::Action::\"readSeries\", resource);\n")
        };
        let set = |root: &Path, order: [&str; 2], last: &str| {
            for (name, text) in
                [("base/a.cedar", permit("a")), ("base/more/b.cedar", permit("b")), ("own/a.cedar", permit(last))]
            {
                let path = root.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            let folders = Folders { policies: order.map(|name| root.join(name)).into(), ..munich() };
            folders.load_policies(None).unwrap()
        };
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = set(here.path(), ["base", "own"], "c");
        let digest = |set: &PolicySet| set.policies().digest;
        let text = String::from_utf8(first.policies().bytes.to_vec()).unwrap();
        for name in ["\"a.cedar\":", "\"a.cedar (2)\":", "\"more/b.cedar\":"] {
            assert!(text.contains(name), "{text}");
        }
        assert_eq!(digest(&set(there.path(), ["base", "own"], "c")), digest(&first));
        assert_eq!(digest(&set(there.path(), ["own", "base"], "c")), digest(&first));
        assert_ne!(digest(&set(there.path(), ["base", "own"], "d")), digest(&first));
        // What is wrong is told with its place all the same.
        std::fs::write(there.path().join("own/a.cedar"), "permit").unwrap();
        let folders = Folders { policies: vec![there.path().join("own")], ..munich() };
        assert_eq!(folders.load_policies(None).unwrap_err()[0].file, there.path().join("own/a.cedar"));
    }

    fn munich() -> Folders {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
        Folders {
            catalog: root.join("plants/munich/catalog"),
            registry: root.join("plants/munich/registry"),
            policies: vec![root.join("base")],
            schema: root.join("schema/plant.cedarschema"),
        }
    }

    #[test]
    fn an_agreement_suspended_in_a_broken_folder_is_suspended_in_the_last_good_registry() {
        let parties = munich().load_parties().unwrap();
        let broken = tempfile::tempdir().unwrap();
        let text =
            "[agreement.acme-maintenance-2026]\nstatus = \"suspended\"\n[agreement.bolt-commissioning-2025]\n= [";
        std::fs::write(broken.path().join("agreements.toml"), text).unwrap();
        assert!(registry::load_registry(broken.path()).is_err());
        let revoked = revoke(&parties, registry::load_revocations(broken.path()));
        let status = |id: &str| revoked.agreements.get(id).unwrap().status;
        assert_eq!(status("acme-maintenance-2026"), Status::Suspended);
        assert_eq!(status("bolt-quality-2026"), Status::Active);
        let again = revoke(&revoked, registry::load_revocations(broken.path()));
        assert!(Arc::ptr_eq(&revoked, &again), "nothing new is no new registry");
    }

    #[test]
    fn a_policy_folder_that_lost_its_files_is_refused_and_not_left_out() {
        let empty = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
        let folders = Folders {
            catalog: PathBuf::new(),
            registry: PathBuf::new(),
            policies: vec![root.join("base"), empty.path().to_owned()],
            schema: root.join("schema/plant.cedarschema"),
        };
        let problems = folders.load_policies(None).unwrap_err();
        assert!(problems[0].to_string().contains("no `*.cedar` file"), "{}", problems[0]);
    }
}
