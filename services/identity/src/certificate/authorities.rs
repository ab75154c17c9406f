//! All authorities with their anchors and revocation lists, found by the name of an issuer.

use super::chain::Shown;
use super::files::{Anchor, Anchors, List, Lists};
use super::{AuthorityProblem, Verified};
use model::party::Authority;
use model::{Digest, IssuerId, OrganisationId, Timestamp};
use rustls::pki_types::TrustAnchor;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Authorities whose anchors share one name are all tried. More of them would let a stranger choose how long that takes.
const SAME_NAME_MAX: usize = 16;
/// Verified certificates that are remembered, some 400 bytes each.
const REMEMBERED_MAX: usize = 8_192;

/// An authority with the content of its files.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) authority: Authority,
    anchors: Vec<TrustAnchor<'static>>,
    validity: Vec<(i64, i64)>,
    files: Vec<Arc<Lists>>,
}

#[derive(Debug)]
pub(super) struct Index {
    digest: Digest,
    authorities: BTreeMap<IssuerId, Arc<Trust>>,
    /// The most that any of them allows for; `None` if there is none.
    intermediates_max: Option<u8>,
    /// By the anchor's name (DER, without the outer header).
    by_name: HashMap<Vec<u8>, Vec<Arc<Trust>>>,
    anchors: BTreeMap<PathBuf, Arc<Anchors>>,
    lists: BTreeMap<PathBuf, Arc<Lists>>,
    /// By what was shown.
    remembered: Mutex<HashMap<Digest, Arc<Verified>>>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            digest: Digest::of(b""),
            authorities: BTreeMap::new(),
            intermediates_max: None,
            by_name: HashMap::new(),
            anchors: BTreeMap::new(),
            lists: BTreeMap::new(),
            remembered: Mutex::default(),
        }
    }
}

// === impl Trust ===

impl Trust {
    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Seconds, from and until before.
    pub(super) fn validity_of(&self, anchor: &TrustAnchor<'_>) -> (i64, i64) {
        let found = self.anchors.iter().zip(&self.validity).find(|(known, _)| *known == anchor);
        found.map_or((0, 0), |(_, validity)| *validity)
    }

    /// Sets of revocation lists to try, one of each issuer's in each; one empty set if there are no lists at all.
    ///
    /// Of two issues of one list the newer counts. Two lists of one name by different keys are what a change of an
    /// authority's key looks like: each is in a set of its own, because webpki looks at the first of a name only.
    pub(super) fn lists(&self) -> Vec<Vec<&List>> {
        let newest = self.newest();
        let mut sets: Vec<Vec<&List>> = vec![Vec::new()];
        let keys: BTreeSet<_> = newest.iter().map(|list| &list.key).collect();
        if newest.iter().any(|a| newest.iter().any(|b| a.parsed.issuer() == b.parsed.issuer() && a.key != b.key)) {
            // The lists of one key first, then those of the others.
            sets = keys.iter().map(|key| in_order(&newest, key)).collect();
        } else if let Some(set) = sets.first_mut() {
            *set = newest;
        }
        sets
    }

    /// Of each list the issue that counts.
    fn newest(&self) -> Vec<&List> {
        let mut newest: Vec<&List> = Vec::new();
        for list in self.files.iter().flat_map(|file| &file.all) {
            match newest.iter_mut().find(|known| list.replaces(known)) {
                Some(known) if known.this_update < list.this_update => *known = list,
                Some(_) => {}
                None => newest.push(list),
            }
        }
        newest
    }

    /// Lists that count and are out of date, each in its file.
    fn overdue(&self, now: Timestamp) -> impl Iterator<Item = AuthorityProblem> {
        let newest = self.newest();
        let counts = move |list: &List| newest.iter().any(|known| std::ptr::eq(*known, list));
        let in_file = self.authority.crl_files.iter().zip(&self.files);
        let lists = in_file.flat_map(|(path, file)| file.all.iter().map(move |list| (path, list)));
        let overdue = lists.filter(move |(_, list)| list.next_update <= now.seconds() && counts(list));
        overdue.map(|(path, list)| {
            let since = Timestamp(list.next_update.saturating_mul(1_000));
            let what = format!(
                "a revocation list in it is past its next update, {since}: certificates of its issuer are refused"
            );
            AuthorityProblem { authority: self.authority.id.clone(), file: path.clone(), what }
        })
    }
}

/// Subject and key.
type AnchorName = (Vec<u8>, Vec<u8>);

fn name_of(anchor: &TrustAnchor<'_>) -> AnchorName {
    (anchor.subject.to_vec(), anchor.subject_public_key_info.to_vec())
}

fn claims(all: &[&Trust]) -> HashSet<(OrganisationId, AnchorName)> {
    let of = |trust: &Trust, anchor| (trust.authority.organisation.clone(), name_of(anchor));
    all.iter().flat_map(|trust| trust.anchors.iter().map(|anchor| of(trust, anchor))).collect()
}

/// An anchor that one organisation had before stays its own. Another one that comes with the same goes without it: who
/// takes somebody's anchor into a file must not lock them out.
fn leave_out_newcomers(all: &mut [Trust], previous: &Index, problems: &mut Vec<AuthorityProblem>) {
    let before = claims(&previous.authorities.values().map(Arc::as_ref).collect::<Vec<_>>());
    let mut owners: HashMap<AnchorName, OrganisationId> = HashMap::new();
    for (organisation, anchor) in claims(&all.iter().collect::<Vec<_>>()).intersection(&before) {
        owners.insert(anchor.clone(), organisation.clone());
    }
    for trust in all {
        let organisation = &trust.authority.organisation;
        let taken = |anchor: &TrustAnchor<'_>| {
            let name = name_of(anchor);
            let owner = owners.get(&name).filter(|owner| *owner != organisation)?;
            (!before.contains(&(organisation.clone(), name))).then_some(owner)
        };
        let both = std::mem::take(&mut trust.anchors).into_iter().zip(std::mem::take(&mut trust.validity));
        let (out, kept): (Vec<_>, Vec<_>) = both.partition(|(anchor, _)| taken(anchor).is_some());
        if let Some(owner) = out.iter().find_map(|(anchor, _)| taken(anchor)) {
            let what = format!("has an anchor that is in use for `{owner}`; it is left out here");
            let (authority, file) = (trust.authority.id.clone(), trust.authority.ca_file.clone());
            problems.push(AuthorityProblem { authority, file, what });
        }
        (trust.anchors, trust.validity) = kept.into_iter().unzip();
    }
}

fn in_order<'l>(lists: &[&'l List], first: &Option<Vec<u8>>) -> Vec<&'l List> {
    let (mut set, others): (Vec<_>, Vec<_>) = lists.iter().partition(|list| list.key == *first);
    set.extend(others);
    set
}

// === impl Index ===

impl Index {
    pub(super) fn load(authorities: &BTreeMap<IssuerId, Authority>, previous: &Self) -> (Self, Vec<AuthorityProblem>) {
        let mut index = Self::default();
        let mut problems = Vec::new();
        let mut content = Vec::new();
        let mut all: Vec<Trust> =
            authorities.values().filter_map(|authority| index.read(authority, previous, &mut problems)).collect();
        leave_out_newcomers(&mut all, previous, &mut problems);
        for trust in all {
            let authority = &trust.authority;
            content.extend(authority.id.as_str().bytes().chain([0]));
            let anchors = index.anchors.get(&authority.ca_file).map(|anchors| anchors.digest);
            let digests = anchors.into_iter().chain(trust.files.iter().map(|file| file.digest));
            content.extend(digests.flat_map(|digest| digest.0));
            index.add(Arc::new(trust));
        }
        index.digest = Digest::of(&content);
        problems.extend(index.overlaps());
        (index, problems)
    }

    /// With the content of its files, or of the last one of them that was good. Without one of them it is nothing: a list
    /// that is missing must not let in whom it names.
    fn read(&mut self, authority: &Authority, previous: &Self, problems: &mut Vec<AuthorityProblem>) -> Option<Trust> {
        let mut problem = |file: &Path, what: String| {
            problems.push(AuthorityProblem { authority: authority.id.clone(), file: file.to_owned(), what });
        };
        let anchors = Anchors::read(&authority.ca_file);
        let anchors = anchors.map(Arc::new).map_err(|what| problem(&authority.ca_file, what));
        let anchors = anchors.ok().or_else(|| previous.anchors.get(&authority.ca_file).cloned());
        let mut files = Vec::new();
        for path in &authority.crl_files {
            let old = previous.lists.get(path);
            let read = Lists::read(path).and_then(|new| {
                let is_older = old.is_some_and(|old| new.is_older_than(old));
                if is_older { Err(String::from("is older than what is in use")) } else { Ok(Arc::new(new)) }
            });
            let read = read.map_err(|what| problem(path, what)).ok().or_else(|| old.cloned());
            if let Some(lists) = &read {
                self.lists.insert(path.clone(), lists.clone());
            }
            files.push(read);
        }
        let anchors = anchors?;
        self.anchors.insert(authority.ca_file.clone(), anchors.clone());
        let files = files.into_iter().collect::<Option<Vec<_>>>()?;
        let of = |anchor: &Anchor| (anchor.trusted.clone(), (anchor.begins, anchor.ends));
        let (anchors, validity) = anchors.all.iter().map(of).unzip();
        Some(Trust { authority: authority.clone(), anchors, validity, files })
    }

    fn add(&mut self, trust: Arc<Trust>) {
        let names: BTreeSet<Vec<u8>> = trust.anchors.iter().map(|anchor| anchor.subject.to_vec()).collect();
        for name in names {
            self.by_name.entry(name).or_default().push(trust.clone());
        }
        self.intermediates_max = self.intermediates_max.max(Some(trust.authority.intermediates_max));
        self.authorities.insert(trust.authority.id.clone(), trust);
    }

    /// Anchors that stand for two organisations, and names that too many anchors have.
    fn overlaps(&self) -> Vec<AuthorityProblem> {
        let mut problems = Vec::new();
        let mut problem = |trust: &Trust, what: String| {
            let (authority, file) = (trust.authority.id.clone(), trust.authority.ca_file.clone());
            problems.push(AuthorityProblem { authority, file, what });
        };
        for same in self.by_name.values() {
            if let Some(last) = same.last().filter(|_| same.len() > SAME_NAME_MAX) {
                problem(last, format!("more than {SAME_NAME_MAX} authorities have an anchor of one name"));
            }
        }
        let mut first: HashMap<(&[u8], &[u8]), &Trust> = HashMap::new();
        for trust in self.authorities.values() {
            let shared = trust.anchors.iter().find_map(|anchor| {
                let first = *first.entry((&anchor.subject, &anchor.subject_public_key_info)).or_insert(trust);
                (first.authority.organisation != trust.authority.organisation).then_some(&first.authority)
            });
            if let Some(Authority { id, organisation, .. }) = shared {
                problem(trust, format!("has an anchor of authority `{id}`, of `{organisation}`; neither can use it"));
            }
        }
        problems
    }

    pub(super) fn overdue(&self, now: Timestamp) -> Vec<AuthorityProblem> {
        self.authorities.values().flat_map(|trust| trust.overdue(now)).collect()
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// The most that any authority allows for; `None` if there is none.
    pub(super) fn intermediates_max(&self) -> Option<u8> {
        self.intermediates_max
    }

    pub(super) fn is_empty(&self) -> bool {
        self.authorities.is_empty()
    }

    /// Whether it would say the same of every certificate.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let rules = |index: &'_ Self| index.authorities.values().map(|t| t.authority.clone()).collect::<Vec<_>>();
        self.digest == other.digest && rules(self) == rules(other)
    }

    /// Authorities with an anchor that signed, by its name, anything that was shown.
    pub(super) fn candidates(&self, shown: &Shown<'_>) -> Vec<&Arc<Trust>> {
        let mut found: Vec<&Arc<Trust>> = Vec::new();
        for trust in shown.issuers().iter().filter_map(|name| self.by_name.get(name)).flatten() {
            if !found.iter().any(|known| Arc::ptr_eq(known, trust)) {
                found.push(trust);
            }
        }
        found
    }

    pub(super) fn remembered(&self, shown: &Digest) -> Option<Arc<Verified>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(shown).cloned()
    }

    pub(super) fn remember(&self, shown: Digest, verified: &Arc<Verified>) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(shown, verified.clone());
    }
}
