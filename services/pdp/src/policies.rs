//! A set of policies that passed every check that needs no plant: syntax, names, annotations, strict types, level 1.

use crate::engine::{Index, asks_for_country};
use crate::moments::Uses;
use crate::names::Names;
use crate::{Finding, gates, question, validation};
use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    ActionConstraint, Entities, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet as CedarSet, Schema,
};
use model::canonical::Value;
use model::entry::Content;
use model::plant::{Acknowledgement, Demands};
use model::{Action, Digest, Reason};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// Checked policies with their schema. Immutable; shared by snapshots.
#[derive(Debug)]
pub struct PolicySet {
    pub(crate) schema: Schema,
    pub(crate) names: Names,
    /// Action entities with their groups, as every question needs them.
    pub(crate) actions: Entities,
    pub(crate) all: CedarSet,
    /// `None`: every question looks at all policies.
    pub(crate) index: Option<Index>,
    pub(crate) notes: BTreeMap<String, Note>,
    /// The entities that policies name, with the policies.
    pub(crate) literals: Literals,
    pub(crate) uses_of_time: Uses,
    /// By name; of a set that was let in without the gates there is nothing here.
    files: BTreeMap<String, File>,
    policies: Content,
    schema_text: Content,
}

/// A text, and the policies in it.
#[derive(Debug)]
struct File {
    text: Digest,
    policies: Vec<PolicyId>,
}

/// What the code reads of a policy beside Cedar: where it stands and how it explains itself.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub file: String,
    pub line: usize,
    pub reason: Option<Reason>,
    pub ask: Option<String>,
    /// What an answer that it permits waits for in the log.
    pub demands: Demands,
}

/// Annotations with a meaning. Any other is a typing error that would silence an explanation.
const ANNOTATIONS: [&str; 6] = ["id", "reason", "title", "ask", ACKNOWLEDGEMENT, OUTCOME_BEFORE_COMPLETE];
const ACKNOWLEDGEMENT: &str = "acknowledgement";
const OUTCOME_BEFORE_COMPLETE: &str = "outcome_before_complete";
const ID_BYTES_MAX: usize = 64;
const ID_RULE: &str = "use 1 to 64 of a-z, 0-9 and `-`, beginning with a letter";

impl PolicySet {
    /// Checks and joins `files`, each a name and its text, against `schema`, a name and its text in Cedar's syntax.
    ///
    /// # Errors
    /// Everything that is wrong, at once and in order of place: syntax, missing or repeated `@id`, unknown annotations,
    /// strict validation with its warnings, level-1 validation, and what can fail in a `forbid`.
    pub fn load<N: AsRef<str>, T: AsRef<str>>(schema: (&str, &str), files: &[(N, T)]) -> Result<Self, Vec<Finding>> {
        Self::load_through(schema, files, None, gates::check)
    }

    /// [`Self::load`] of what follows on this set: files that are the same, under the same schema, are not checked again. A
    /// policy is good or not by itself and its schema, so the result is the same, and what it costs goes with what changed.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_next<N: AsRef<str>, T: AsRef<str>>(
        &self,
        schema: (&str, &str),
        files: &[(N, T)],
    ) -> Result<Self, Vec<Finding>> {
        Self::load_through(schema, files, Some(self), gates::check)
    }

    /// A set that has decided: what it decides is asked of it again, also where it would not be let in any longer.
    ///
    /// # Errors
    /// As [`Self::load`], but for what can fail in a `forbid`.
    pub(crate) fn load_recorded<N: AsRef<str>, T: AsRef<str>>(
        schema: (&str, &str),
        files: &[(N, T)],
    ) -> Result<Self, Vec<Finding>> {
        let set = Self::load_through(schema, files, None, |_, _| Vec::new())?;
        Ok(Self { files: BTreeMap::new(), ..set })
    }

    /// The same set, whose files have these names where it is recorded. Findings go on to say where each lies.
    #[must_use]
    pub fn recorded_as<N: AsRef<str>, T: AsRef<str>>(self, files: &[(N, T)]) -> Self {
        Self { policies: texts(files), ..self }
    }

    fn load_through<N: AsRef<str>, T: AsRef<str>>(
        schema: (&str, &str),
        files: &[(N, T)],
        before: Option<&Self>,
        gate: impl Fn(&[&Policy], &BTreeMap<String, Note>) -> Vec<Finding>,
    ) -> Result<Self, Vec<Finding>> {
        let schema_text = content(schema.1.as_bytes().to_vec());
        let before = before.filter(|before| before.schema_text.digest == schema_text.digest);
        let (names, parsed) = match before {
            Some(before) => (before.names.clone(), before.schema.clone()),
            None => load_schema(schema.0, schema.1)?,
        };
        let actions = parsed.action_entities().map_err(|e| vec![schema_finding(schema.0, e.to_string())])?;
        let mut reader = Reader::default();
        for (file, text) in files {
            reader.file(file.as_ref(), text.as_ref(), before);
        }
        let new: Vec<&Policy> = reader.new.iter().filter_map(|id| reader.set.policy(id)).collect();
        let mut findings = validation::validate(&parsed, &new, &reader.notes, files);
        findings.extend(useless_demands(&new, &reader.notes, &names, &actions));
        findings.extend(gate(&new, &reader.notes));
        findings.append(&mut reader.findings);
        Finding::check(findings)?;
        let policies = texts(files);
        Ok(Self::assemble(parsed, names, actions, reader, policies, schema_text))
    }

    /// `text` as it is, whatever is wrong with it: for [`crate::generated`] alone.
    pub(crate) fn unchecked(schema: (&str, &str), text: &str) -> Result<Self, Vec<Finding>> {
        let (names, parsed) = load_schema(schema.0, schema.1)?;
        let mut reader = Reader::default();
        reader.read("generated.cedar", text);
        Finding::check(std::mem::take(&mut reader.findings))?;
        let actions = parsed.action_entities().map_err(|e| vec![schema_finding(schema.0, e.to_string())])?;
        Ok(Self::assemble(parsed, names, actions, reader, content(Vec::new()), content(Vec::new())))
    }

    fn assemble(
        schema: Schema,
        names: Names,
        actions: Entities,
        reader: Reader,
        policies: Content,
        schema_text: Content,
    ) -> Self {
        let Reader { set: all, notes, files, .. } = reader;
        let index = Index::build(all.policies(), &names.actions, |p, a| admits(p, a, &actions));
        Self {
            uses_of_time: Uses::of(all.policies()),
            literals: literals(&all),
            schema,
            names,
            actions,
            all,
            index,
            notes,
            files,
            policies,
            schema_text,
        }
    }

    /// The policies of this file, if it is there with this very text.
    fn of_file(&self, file: &str, text: Digest) -> Option<Vec<(&Policy, &Note)>> {
        let known = self.files.get(file).filter(|known| known.text == text)?;
        known.policies.iter().map(|id| Some((self.all.policy(id)?, self.notes.get::<str>(id.as_ref())?))).collect()
    }

    /// A canonical JSON object of file names and texts, under the digest that decisions carry.
    pub fn policies(&self) -> &Content {
        &self.policies
    }

    /// The schema's text, under the digest that decisions carry.
    pub fn schema(&self) -> &Content {
        &self.schema_text
    }

    /// The policy, if there is one, on account of which every decision is made anew: it does something else with
    /// `context.now` than to compare it with a time that stands still.
    pub fn not_remembered_for(&self) -> Option<&str> {
        match &self.uses_of_time {
            Uses::Comparisons(_) => None,
            Uses::Otherwise { policy } => Some(policy),
        }
    }

    /// Whether the policy's scope admits `action`.
    pub(crate) fn admits(&self, policy: &Policy, action: Action) -> bool {
        self.names.actions.get(&action).is_some_and(|uid| admits(policy, uid, &self.actions))
    }

    /// The ids of this type that policies name.
    pub(crate) fn named<T: FromStr + Ord>(&self, ty: &EntityTypeName) -> BTreeSet<T> {
        let named = self.literals.get(ty).into_iter().flat_map(|all| all.keys());
        named.filter_map(|uid| uid.id().unescaped().parse().ok()).collect()
    }

    /// What these permits demand together for an answer of this action.
    pub(crate) fn raised_by<'p>(&self, policies: impl IntoIterator<Item = &'p String>, action: Action) -> Demands {
        let notes = policies.into_iter().filter_map(|id| self.notes.get(id));
        let raised = notes.fold(Demands::default(), |all, note| all.and(note.demands));
        // A page of the log, its tail, or an erasure in it is no exchange with a source.
        let has_source = !matches!(action, Action::ReadAudit | Action::EraseAudit);
        Demands { outcome_before_complete: raised.outcome_before_complete && has_source, ..raised }
    }

    /// Policies that let data out only under the eyes of witnesses: file, line and `@id` of each.
    pub fn demanding_witnesses(&self) -> impl Iterator<Item = (&str, usize, &str)> {
        let wants = |note: &Note| note.demands.acknowledgement == Acknowledgement::Witnessed;
        let demanding = self.notes.iter().filter(move |(_, note)| wants(note));
        demanding.map(|(id, note)| (note.file.as_str(), note.line, id.as_str()))
    }

    /// Policies that look at where a request comes from: file, line and `@id` of each.
    pub fn asking_for_country(&self) -> impl Iterator<Item = (&str, usize, &str)> {
        let asking = self.all.policies().filter(|policy| asks_for_country(policy));
        asking.filter_map(|policy| {
            let (id, note) = self.notes.get_key_value::<str>(policy.id().as_ref())?;
            Some((note.file.as_str(), note.line, id.as_str()))
        })
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }
}

/// Names and texts, as decisions name them.
fn texts<N: AsRef<str>, T: AsRef<str>>(files: &[(N, T)]) -> Content {
    let texts = files.iter().map(|(file, text)| (file.as_ref(), Value::text(text.as_ref())));
    content(Value::object(texts).encode())
}

fn content(bytes: Vec<u8>) -> Content {
    Content { digest: Digest::of(&bytes), bytes: bytes.into() }
}

fn schema_finding(file: &str, message: String) -> Finding {
    Finding::new(message).in_file(file)
}

fn load_schema(file: &str, text: &str) -> Result<(Names, Schema), Vec<Finding>> {
    let names = Names::parse().map_err(|e| vec![schema_finding(file, e.to_string())])?;
    let (schema, warnings) =
        Schema::from_cedarschema_str(text).map_err(|e| Finding::from_cedar(file, text, &DetailedError::from(&e)))?;
    let mut names = names.known_to(&schema);
    names.tells_country = question::knows_countries(&names, &schema);
    let mut findings: Vec<Finding> =
        warnings.flat_map(|w| Finding::from_cedar(file, text, &DetailedError::from(&w))).collect();
    findings.extend(names.compare(&schema).into_iter().map(|f| f.in_file(file)));
    if findings.is_empty() {
        findings.extend(question::check(&names, &schema).into_iter().map(|f| f.in_file(file)));
    }
    Finding::check(findings)?;
    Ok((names, schema))
}

/// Whether the policy's scope admits `action`: named, in a named group, or unconstrained.
fn admits(policy: &Policy, action: &EntityUid, actions: &Entities) -> bool {
    let within = |group: &EntityUid| group == action || actions.is_ancestor_of(group, action);
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(one) => one == *action,
        ActionConstraint::In(several) => several.iter().any(within),
    }
}

/// By type.
pub(crate) type Literals = BTreeMap<EntityTypeName, BTreeMap<EntityUid, Vec<String>>>;

fn literals(set: &CedarSet) -> Literals {
    let mut all = Literals::new();
    for policy in set.policies() {
        for uid in policy.entity_literals().into_iter().collect::<BTreeSet<_>>() {
            let of_type = all.entry(uid.type_name().clone()).or_default();
            of_type.entry(uid).or_default().push(policy.id().to_string());
        }
    }
    all
}

// === reading

#[derive(Default)]
struct Reader {
    set: CedarSet,
    notes: BTreeMap<String, Note>,
    files: BTreeMap<String, File>,
    /// Policies that nobody has checked before.
    new: Vec<PolicyId>,
    findings: Vec<Finding>,
}

impl Reader {
    fn file(&mut self, file: &str, text: &str, before: Option<&PolicySet>) {
        let digest = Digest::of(text.as_bytes());
        let known = before.and_then(|before| before.of_file(file, digest));
        self.files.insert(file.to_owned(), File { text: digest, policies: Vec::new() });
        match known {
            Some(known) => known.into_iter().for_each(|(policy, note)| {
                self.add(policy, note.clone());
            }),
            None => self.read(file, text),
        }
    }

    fn read(&mut self, file: &str, text: &str) {
        let parsed = match CedarSet::from_str(text) {
            Ok(parsed) => parsed,
            Err(e) => {
                self.findings.extend(Finding::from_cedar(file, text, &DetailedError::from(&e)));
                return;
            }
        };
        // Cedar numbers the statements of a text, templates among them.
        let (mut from, mut line) = (0, 1);
        for n in 0..parsed.num_of_policies() + parsed.num_of_templates() {
            let id = PolicyId::new(format!("policy{n}"));
            let source = parsed.policy(&id).and_then(Policy::to_cedar);
            let source = source.or_else(|| parsed.template(&id).map(|t| t.to_cedar())).unwrap_or_default();
            let start = text.get(from..).and_then(|rest| rest.find(source.as_str())).map_or(from, |at| from + at);
            line += newlines(text.get(from..start));
            let begins = line;
            line += newlines(Some(source.as_str()));
            from = start + source.len();
            match parsed.policy(&id) {
                Some(policy) => self.policy(file, begins, policy),
                None => self.findings.push(
                    Finding::new("templates are not used")
                        .at(file, begins)
                        .help("write one generic policy and keep what differs on the agreement"),
                ),
            }
        }
    }

    fn policy(&mut self, file: &str, line: usize, policy: &Policy) {
        // Asking for one by its name parses the name.
        let said: BTreeMap<&str, &str> = policy.annotations().collect();
        let Some(id) = said.get("id").copied() else {
            let missing = Finding::new("policy without `@id`").at(file, line);
            self.findings.push(missing.help("begin it with `@id(\"what-it-does\")`"));
            return;
        };
        let finding = |message: String| Finding::new(message).at(file, line).of(id);
        if !is_id(id) {
            self.findings.push(finding(format!("not a valid id: {ID_RULE}")));
            return;
        }
        let reason = said.get("reason").copied().and_then(Reason::parse);
        let ask = said.get("ask").map(|ask| String::from(*ask));
        let named = policy.new_id(PolicyId::new(id));
        let demands = Demands {
            acknowledgement: said.get(ACKNOWLEDGEMENT).copied().and_then(Acknowledgement::parse).unwrap_or_default(),
            outcome_before_complete: said.get(OUTCOME_BEFORE_COMPLETE) == Some(&"true"),
        };
        if self.add(&named, Note { file: file.to_owned(), line, reason, ask, demands }) {
            self.findings.extend(annotations(policy).into_iter().map(|(m, help)| finding(m).help(help)));
            self.new.push(named.id().clone());
        }
    }

    /// Whether its name was free.
    fn add(&mut self, policy: &Policy, note: Note) -> bool {
        let id: &str = policy.id().as_ref();
        let finding = |message: String| Finding::new(message).at(&note.file, note.line).of(id);
        if let Some(first) = self.notes.get(id) {
            self.findings.push(finding(format!("the id is used twice, first in {}:{}", first.file, first.line)));
            return false;
        }
        if let Err(e) = self.set.add(policy.clone()) {
            self.findings.push(finding(e.to_string()));
            return false;
        }
        if let Some(file) = self.files.get_mut(&note.file) {
            file.policies.push(policy.id().clone());
        }
        self.notes.insert(id.to_owned(), note);
        true
    }
}

fn newlines(text: Option<&str>) -> usize {
    text.map_or(0, |text| text.bytes().filter(|b| *b == b'\n').count())
}

fn is_id(id: &str) -> bool {
    id.len() <= ID_BYTES_MAX
        && id.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Problems with a policy's annotations, each with what to do.
fn annotations(policy: &Policy) -> Vec<(String, String)> {
    let forbids = policy.effect() == cedar_policy::Effect::Forbid;
    let mut problems = Vec::new();
    for (key, value) in policy.annotations() {
        if !ANNOTATIONS.contains(&key) {
            problems.push((format!("annotation `@{key}` has no meaning"), format!("use one of {}", known())));
        } else if matches!(key, "reason" | "ask") && !forbids {
            let help = "move it to a forbid that says what was missing";
            problems.push((format!("annotation `@{key}` has no effect on a permit"), help.to_owned()));
        } else if let Some(problem) = demand(key, value, forbids) {
            problems.push(problem);
        } else if key == "reason" && Reason::parse(value).is_none() {
            let help = "use 1 to 48 of a-z, 0-9 and `_`, beginning with a letter";
            problems.push((format!("`{value}` is not a reason code"), help.to_owned()));
        } else if value.trim().is_empty() {
            problems.push((format!("annotation `@{key}` is empty"), String::from("say something, or leave it out")));
        }
    }
    problems
}

/// What is wrong with an annotation that demands something of the log. A policy can only demand more than the product
/// does, so a value that demands nothing is a misunderstanding.
fn demand(key: &str, value: &str, forbids: bool) -> Option<(String, String)> {
    let (is_good, values) = match key {
        ACKNOWLEDGEMENT => {
            let raises = Acknowledgement::parse(value).is_some_and(|level| level > Acknowledgement::Durable);
            (raises, "`checkpointed` or `witnessed`; a policy raises what the product demands and never lowers it")
        }
        OUTCOME_BEFORE_COMPLETE => (value == "true", "`true`; where the product demands it, no policy can lift it"),
        _ => return None,
    };
    if forbids {
        let help = "move it to the permit that lets the data out";
        return Some((format!("annotation `@{key}` has no effect on a forbid"), help.to_owned()));
    }
    (!is_good).then(|| (format!("`{value}` is no value of `@{key}`"), format!("use {values}")))
}

/// Demands of policies that let nothing out: `discover` alone is no answer, and one about the log has no source.
fn useless_demands(
    policies: &[&Policy],
    notes: &BTreeMap<String, Note>,
    names: &Names,
    actions: &Entities,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for policy in policies {
        let Some(note) = notes.get::<str>(policy.id().as_ref()) else { continue };
        let lets = |wanted: &[Action]| {
            let mut uids = wanted.iter().filter_map(|action| names.actions.get(action));
            uids.any(|uid| admits(policy, uid, actions))
        };
        let data = [Action::Read, Action::ReadSeries, Action::SeeRecord, Action::Reveal];
        let log = [Action::ReadAudit, Action::EraseAudit];
        let mut tell = |key: &str, help: &str| {
            let finding = Finding::new(format!("annotation `@{key}` has no effect on a permit of this action"));
            findings.push(finding.at(&note.file, note.line).of(policy.id().as_ref()).help(help));
        };
        if note.demands.acknowledgement > Acknowledgement::Durable && !lets(&data) && !lets(&log) {
            tell(ACKNOWLEDGEMENT, "move it to the permit that lets the data out");
        }
        if note.demands.outcome_before_complete && !lets(&data) {
            tell(OUTCOME_BEFORE_COMPLETE, "move it to a permit of the plant's data");
        }
    }
    findings
}

fn known() -> String {
    ANNOTATIONS.map(|a| format!("`@{a}`")).join(", ")
}
