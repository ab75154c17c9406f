//! Trust policies (C2SP tlog-policy): which logs count, which witnesses, and how many of them.
//!
//! The file is the auditor's, or whoever's trust it is. A checkpoint counts if one of its logs has signed it and its quorum of
//! witnesses has cosigned it.

use crate::cosignature::CosignerKey;
use crate::note::{KeyError, NoteError, VerifierKey};
use crate::{Checkpoint, CheckpointError};
use std::collections::{BTreeMap, BTreeSet};

/// More than anybody maintains; the specification asks for 32 of each.
const LINES_MAX: usize = 10_000;
/// Groups within groups. A policy can come with an archive, from anybody, and is walked along by recursion.
const DEPTH_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustPolicy {
    pub logs: Vec<Log>,
    pub witnesses: Vec<Witness>,
    quorum: Quorum,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub key: VerifierKey,
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Within the file.
    pub name: String,
    pub key: CosignerKey,
    /// Its submission prefix.
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Quorum {
    None,
    Of(Node),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// By its place in the list.
    Witness(usize),
    Group {
        least: usize,
        members: Vec<Node>,
    },
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("line {0}: {1}")]
    Line(usize, String),
    #[error("there is no `quorum` line; `quorum none` asks for no witness")]
    NoQuorum,
    #[error("more than {LINES_MAX} lines")]
    TooLong,
}

/// Why a checkpoint does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTrusted {
    #[error("none of the policy's logs has signed the checkpoint")]
    NoLog,
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("the checkpoint was cosigned by {}, and that is no quorum of the policy", said(.0))]
    NoQuorum(Vec<String>),
}

fn said(names: &[String]) -> String {
    if names.is_empty() { String::from("no witness of the policy") } else { names.join(", ") }
}

/// A checkpoint that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    pub checkpoint: Checkpoint,
    /// The witnesses that cosigned it, by their names in the policy, and when, in seconds since 1970.
    pub cosigned: Vec<(String, u64)>,
}

impl TrustPolicy {
    /// A policy that trusts one log and asks for no witness.
    pub fn of_log(key: VerifierKey) -> Self {
        Self { logs: vec![Log { key, url: None }], witnesses: Vec::new(), quorum: Quorum::None }
    }

    /// The same of a log that has had several keys.
    pub fn of_keys(keys: impl IntoIterator<Item = VerifierKey>) -> Self {
        let logs = keys.into_iter().map(|key| Log { key, url: None }).collect();
        Self { logs, witnesses: Vec::new(), quorum: Quorum::None }
    }

    /// The log that the policy is about, by its first key; `None` if it names none, or several.
    pub fn one_log(&self) -> Option<&Log> {
        let first = self.logs.first()?;
        self.logs.iter().all(|log| log.key.name() == first.key.name()).then_some(first)
    }

    /// # Errors
    /// The first line (from 1) that is not as specified.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let mut reading = Reading::default();
        for (number, line) in (1..).zip(text.split('\n')) {
            if number > LINES_MAX {
                return Err(PolicyError::TooLong);
            }
            let fault = |what: String| PolicyError::Line(number, what);
            if line.chars().any(|c| c.is_ascii_control() && c != '\t') {
                return Err(fault(String::from("control characters")));
            }
            let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            if words.first().is_some_and(|word| !word.starts_with('#')) {
                reading.line(&words).map_err(fault)?;
            }
        }
        let Reading { logs, witnesses, quorum, .. } = reading;
        Ok(Self { logs, witnesses, quorum: quorum.ok_or(PolicyError::NoQuorum)? })
    }

    /// The policy as a text, for somebody else to judge by: without addresses and comments. Groups have other names.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for log in &self.logs {
            text.push_str(&format!("log {}\n", log.key.to_text()));
        }
        for witness in &self.witnesses {
            text.push_str(&format!("witness {} {}\n", witness.name, witness.key.to_text()));
        }
        let mut groups = 0;
        let quorum = match &self.quorum {
            Quorum::None => String::from("none"),
            Quorum::Of(node) => self.write(node, &mut groups, &mut text),
        };
        text + &format!("quorum {quorum}\n")
    }

    /// The name of a node, behind the lines that it needs.
    fn write(&self, node: &Node, groups: &mut usize, text: &mut String) -> String {
        match node {
            Node::Witness(place) => self.witnesses.get(*place).map(|witness| witness.name.clone()).unwrap_or_default(),
            Node::Group { least, members } => {
                let members: Vec<String> = members.iter().map(|member| self.write(member, groups, text)).collect();
                let name = loop {
                    *groups += 1;
                    let name = format!("group-{groups}");
                    if self.witnesses.iter().all(|witness| witness.name != name) {
                        break name;
                    }
                };
                text.push_str(&format!("group {name} {least} {}\n", members.join(" ")));
                name
            }
        }
    }

    /// Whether the quorum asks for any witness.
    pub fn asks_for_witnesses(&self) -> bool {
        self.quorum != Quorum::None
    }

    /// Reads and judges a signed checkpoint.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn open(&self, note: &str) -> Result<Trusted, NotTrusted> {
        let mut opened = Err(NotTrusted::NoLog);
        for log in &self.logs {
            match Checkpoint::open(note, &log.key) {
                Ok(checkpoint) => {
                    opened = Ok(checkpoint);
                    break;
                }
                // Another log's key says nothing of it.
                Err(CheckpointError::Note(NoteError::NoKnownSignature)) => {}
                Err(error) => opened = Err(error.into()),
            }
        }
        let checkpoint = opened?;
        let cosigned = self.cosigned(note);
        if !self.is_met(&cosigned) {
            return Err(NotTrusted::NoQuorum(cosigned.into_iter().map(|(name, _)| name).collect()));
        }
        Ok(Trusted { checkpoint, cosigned })
    }

    /// The witnesses that cosigned the checkpoint in the note, and when. Whether the log signed it is not looked at.
    pub fn cosigned(&self, note: &str) -> Vec<(String, u64)> {
        let time = |witness: &Witness| Some((witness.name.clone(), witness.key.cosigned(note).ok()??));
        self.witnesses.iter().filter_map(time).collect()
    }

    /// Whether these are a quorum.
    pub fn is_met(&self, cosigned: &[(String, u64)]) -> bool {
        self.holds(|witness| cosigned.iter().any(|(name, _)| *name == witness.name))
    }

    /// Whether every quorum has one of these: without them there is none. Nobody is needed where no witness is asked for.
    pub fn needs_one_of(&self, cosigned: &[(String, u64)]) -> bool {
        !self.holds(|witness| cosigned.iter().all(|(name, _)| *name != witness.name))
    }

    /// Whether any two quorums have a witness in common. If not, each of two histories can have a quorum of its own, and no
    /// witness has done wrong.
    pub fn quorums_overlap(&self) -> bool {
        match &self.quorum {
            Quorum::None => false,
            Quorum::Of(node) => !node.holds_twice(),
        }
    }

    fn holds(&self, has: impl Fn(&Witness) -> bool) -> bool {
        let has = |place: usize| self.witnesses.get(place).is_some_and(&has);
        match &self.quorum {
            Quorum::None => true,
            Quorum::Of(node) => node.holds(&has),
        }
    }
}

impl Node {
    /// Whether two sets without a common witness can both make it hold. A witness has one place in the tree at most
    /// ([`Reading::take`]), so what one member needs no other does: one that holds twice counts for both sets, each other for one.
    fn holds_twice(&self) -> bool {
        match self {
            Self::Witness(_) => false,
            Self::Group { least, members } => {
                let twice = members.iter().filter(|member| member.holds_twice()).count();
                members.len() + twice >= 2 * least
            }
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Witness(_) => 0,
            Self::Group { members, .. } => 1 + members.iter().map(Self::depth).max().unwrap_or_default(),
        }
    }

    fn holds(&self, has: &impl Fn(usize) -> bool) -> bool {
        match self {
            Self::Witness(place) => has(*place),
            Self::Group { least, members } => members.iter().filter(|member| member.holds(has)).count() >= *least,
        }
    }
}

#[derive(Default)]
struct Reading {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    names: BTreeMap<String, Node>,
    /// Names that are a member of some group, or the quorum.
    used: BTreeSet<String>,
    quorum: Option<Quorum>,
}

impl Reading {
    fn line(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["log", vkey, url @ ..] => {
                let key = VerifierKey::parse(vkey).map_err(|e: KeyError| e.to_string())?;
                if self.logs.iter().any(|log| log.key.as_bytes() == key.as_bytes()) {
                    return Err(String::from("the log's key is there already"));
                }
                self.logs.push(Log { key, url: one_url(url)? });
            }
            ["witness", name, vkey, url @ ..] => {
                let key = CosignerKey::parse(vkey).map_err(|e| e.to_string())?;
                if let Some(other) = self.witnesses.iter().find(|other| other.key.as_bytes() == key.as_bytes()) {
                    return Err(format!("`{name}` has the key of `{}`: one witness under two names", other.name));
                }
                self.name(name, Node::Witness(self.witnesses.len()))?;
                self.witnesses.push(Witness { name: (*name).to_owned(), key, url: one_url(url)? });
            }
            ["group", name, least, members @ ..] => {
                let nodes = members.iter().map(|member| self.take(member)).collect::<Result<Vec<_>, _>>()?;
                let least = match *least {
                    "all" => nodes.len(),
                    "any" => 1,
                    number => number.parse().ok().filter(|n: &usize| n.to_string() == number).unwrap_or(0),
                };
                if !(1..=nodes.len()).contains(&least) {
                    return Err(format!("of {} members, say `all`, `any` or a number up to that", nodes.len()));
                }
                let group = Node::Group { least, members: nodes };
                if group.depth() > DEPTH_MAX {
                    return Err(format!("groups within groups, more than {DEPTH_MAX} deep"));
                }
                self.name(name, group)?;
            }
            ["quorum", _] if self.quorum.is_some() => return Err(String::from("a second `quorum`")),
            ["quorum", "none"] => self.quorum = Some(Quorum::None),
            ["quorum", name] => {
                let node = self.names.get(*name).cloned();
                self.quorum = Some(Quorum::Of(node.ok_or_else(|| unknown(name))?));
            }
            _ => {
                let lines =
                    "`log VKEY [URL]`, `witness NAME VKEY [URL]`, `group NAME K|all|any NAME…`, `quorum NAME|none`";
                let word: String = words.iter().copied().next().unwrap_or_default().chars().take(40).collect();
                return Err(format!("a line that begins with `{word}` in this way is none of {lines}"));
            }
        }
        Ok(())
    }

    fn name(&mut self, name: &str, node: Node) -> Result<(), String> {
        if name == "none" || self.names.contains_key(name) {
            return Err(format!("`{name}` has a meaning already"));
        }
        self.names.insert(name.to_owned(), node);
        Ok(())
    }

    /// A member of a group, of one at most: nobody counts twice.
    fn take(&mut self, name: &str) -> Result<Node, String> {
        let node = self.names.get(name).cloned().ok_or_else(|| unknown(name))?;
        if !self.used.insert(name.to_owned()) {
            return Err(format!("`{name}` is a member already, and would count twice"));
        }
        Ok(node)
    }
}

fn unknown(name: &str) -> String {
    format!("`{name}` is not defined above")
}

fn one_url(words: &[&str]) -> Result<Option<String>, String> {
    match words {
        [] => Ok(None),
        [url] => Ok(Some((*url).to_owned())),
        _ => Err(String::from("something stands behind the URL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Note;

    #[test]
    fn a_log_may_have_several_keys_and_is_one_log() {
        let key = |name: &str, seed| SigningKey::generate(name, [seed; 32]).unwrap().verifier().clone();
        let of = |keys: &[VerifierKey]| TrustPolicy::of_keys(keys.iter().cloned());
        let [old, new, other] = [key("a.example", 1), key("a.example", 2), key("b.example", 3)];
        assert_eq!(of(&[old.clone(), new.clone()]).one_log().map(|log| &log.key), Some(&old));
        assert!(of(&[]).one_log().is_none() && of(&[old.clone(), other]).one_log().is_none());
        let text = format!("log {}\nlog {}\nquorum none\n", old.to_text(), new.to_text());
        assert!(TrustPolicy::parse(&text).unwrap().one_log().is_some());
    }

    use crate::{CosigningKey, SigningKey, empty_root};

    fn log() -> SigningKey {
        SigningKey::generate("plant.example/log", [9; 32]).unwrap()
    }

    fn witness(n: u8) -> CosigningKey {
        CosigningKey::generate(&format!("witness.example/w{n}"), [n; 32]).unwrap()
    }

    fn note(by: &[u8]) -> String {
        let note = Checkpoint::new("plant.example/log", 7, empty_root()).sign(&log()).unwrap();
        let text = Note::parse(&note).unwrap().text.to_owned();
        by.iter().fold(note, |note, n| note + &witness(*n).cosign(&text, 1_795_375_200 + u64::from(*n)))
    }

    fn policy(rest: &str) -> Result<TrustPolicy, PolicyError> {
        let mut text = format!("# whom I trust\n\nlog {}\t https://log.example \n", log().verifier().to_text());
        for n in 1..=5 {
            text.push_str(&format!("witness w{n} {}\n", witness(n).verifier().to_text()));
        }
        TrustPolicy::parse(&format!("{text}{rest}\n"))
    }

    #[test]
    fn a_quorum_of_quorums_is_counted_as_it_stands() {
        let policy = policy("group x 2 w1 w2 w3\ngroup y any w4 w5\ngroup both all x y\nquorum both").unwrap();
        assert_eq!((policy.logs.len(), policy.witnesses.len(), policy.asks_for_witnesses()), (1, 5, true));
        for (by, met) in [
            (&[][..], false),
            (&[1, 2], false),
            (&[1, 4], false),
            (&[1, 2, 3], false),
            (&[1, 3, 5], true),
            (&[1, 2, 3, 4, 5], true),
        ] {
            let opened = policy.open(&note(by));
            assert_eq!(opened.is_ok(), met, "{by:?}: {opened:?}");
            match opened {
                Ok(trusted) => assert_eq!((trusted.checkpoint.size, trusted.cosigned.len()), (7, by.len())),
                Err(why) => assert!(matches!(why, NotTrusted::NoQuorum(_)), "{why}"),
            }
        }
        let why = policy.open(&note(&[1, 4])).unwrap_err().to_string();
        assert_eq!(why, "the checkpoint was cosigned by w1, w4, and that is no quorum of the policy");
    }

    /// By trying all sets of witnesses.
    #[test]
    fn whether_quorums_overlap_and_whom_they_need_is_counted_exactly() {
        for (rest, overlap) in [
            ("quorum none", false),
            ("quorum w1", true),
            ("group g any w1\nquorum g", true),
            ("group g any w1 w2\nquorum g", false),
            ("group g all w1 w2\nquorum g", true),
            ("group g 2 w1 w2 w3\nquorum g", true),
            ("group g 2 w1 w2 w3 w4\nquorum g", false),
            ("group g 3 w1 w2 w3 w4 w5\nquorum g", true),
            // One part of it overlaps, and that is enough.
            ("group x 2 w1 w2 w3\ngroup y any w4 w5\ngroup both all x y\nquorum both", true),
            ("group x any w1 w2\ngroup y any w3 w4\ngroup both all x y\nquorum both", false),
            // Two of three, of which one can be met twice.
            ("group x any w1 w2\ngroup g 2 x w3 w4\nquorum g", false),
            ("group x all w1 w2\ngroup g 2 x w3 w4\nquorum g", true),
            ("group x any w1 w2\ngroup g 3 x w3 w4\nquorum g", true),
        ] {
            let policy = policy(rest).unwrap();
            assert_eq!(policy.quorums_overlap(), overlap, "{rest}");
            let set = |bits: u32| -> Vec<(String, u64)> {
                (0..5).filter(|n| bits >> n & 1 == 1).map(|n| (format!("w{}", n + 1), 7)).collect()
            };
            let quorums: Vec<u32> = (0..32).filter(|bits| policy.is_met(&set(*bits))).collect();
            let apart = quorums.iter().any(|one| quorums.iter().any(|other| one & other == 0));
            assert_eq!(policy.quorums_overlap(), !apart, "{rest}");
            for bits in 0..32 {
                let needed = quorums.iter().all(|quorum| quorum & bits != 0);
                assert_eq!(policy.needs_one_of(&set(bits)), needed, "{rest}: {bits:05b}");
                // Where they overlap, a quorum is one that every other needs.
                assert!(!overlap || !quorums.contains(&bits) || needed, "{rest}: {bits:05b}");
            }
        }
    }

    #[test]
    fn groups_within_groups_end_before_the_stack_does() {
        let nested = |depth: usize| {
            let groups: Vec<String> = (1..depth).map(|n| format!("group g{n} any g{}", n - 1)).collect();
            policy(&format!("group g0 any w1\n{}\nquorum g{}", groups.join("\n"), depth - 1))
        };
        assert!(nested(DEPTH_MAX).unwrap().quorums_overlap());
        assert!(nested(DEPTH_MAX + 1).unwrap_err().to_string().contains("groups within groups"));
        assert!(nested(9_000).is_err());
    }

    #[test]
    fn what_is_handed_on_asks_for_the_same_and_tells_no_address() {
        for rest in [
            "quorum none",
            "quorum w3",
            "group x 2 w1 w2 w3\ngroup y any w4 w5\ngroup both all x y\nquorum both",
            "witness group-1 KEY https://internal.example\ngroup g 1 group-1 w1\nquorum g",
        ] {
            let named = policy(&rest.replace("KEY", &witness(9).verifier().to_text())).unwrap();
            let text = named.to_text();
            assert!(!text.contains("https://") && !text.contains('#'), "{text}");
            let again = TrustPolicy::parse(&text).unwrap();
            assert_eq!(again.quorum, named.quorum, "{text}");
            assert!(again.witnesses.iter().zip(&named.witnesses).all(|(a, b)| a.key == b.key && a.name == b.name));
        }
    }

    #[test]
    fn nobody_counts_twice_and_strangers_do_not_count() {
        let two = policy("group two 2 w1 w2\nquorum two").unwrap();
        // The same witness signs again and again.
        let text = Note::parse(&note(&[])).unwrap().text.to_owned();
        let again = note(&[1]) + &witness(1).cosign(&text, 5) + &witness(1).cosign(&text, 6);
        assert!(two.open(&again).is_err());
        // Signed by an unknown key, and under the name of a known one.
        let stranger = CosigningKey::generate("witness.example/w2", [77; 32]).unwrap();
        assert!(two.open(&(note(&[1]) + &stranger.cosign(&text, 5))).is_err());
        assert!(two.open(&note(&[1, 2])).is_ok());
        // A log that the policy does not know, however it was cosigned.
        let other = SigningKey::generate("plant.example/log", [8; 32]).unwrap();
        let forged = Checkpoint::new("plant.example/log", 7, empty_root()).sign(&other).unwrap();
        let forged = forged + &witness(1).cosign(&text, 5) + &witness(2).cosign(&text, 5);
        assert_eq!(two.open(&forged), Err(NotTrusted::NoLog));
    }

    #[test]
    fn without_a_quorum_the_log_alone_decides() {
        let none = policy("quorum none").unwrap();
        assert!(!none.asks_for_witnesses());
        assert!(none.open(&note(&[])).is_ok());
        assert_eq!(none.open(&note(&[4])).unwrap().cosigned, [(String::from("w4"), 1_795_375_204)]);
        assert!(TrustPolicy::of_log(log().verifier().clone()).open(&note(&[])).is_ok());
        assert!(policy("quorum w3").unwrap().open(&note(&[3])).is_ok());
    }

    #[test]
    fn what_is_no_policy_is_said_with_its_line() {
        for (rest, what) in [
            ("", "no `quorum` line"),
            ("quorum w9", "line 9: `w9` is not defined above"),
            ("group g 3 w1 w2\nquorum g", "line 9: of 2 members"),
            ("group g 0 w1 w2\nquorum g", "line 9: of 2 members"),
            ("group g 01 w1 w2\nquorum g", "line 9: of 2 members"),
            ("group g any\nquorum g", "line 9: of 0 members"),
            ("group w1 any w2\nquorum w1", "line 9: `w1` has a meaning already"),
            ("group none any w2\nquorum none", "line 9: `none` has a meaning already"),
            ("group g any w1 none\nquorum g", "line 9: `none` is not defined above"),
            ("group g 2 w1 w1\nquorum g", "line 9: `w1` is a member already"),
            ("group g any w1\ngroup h any w1\nquorum h", "line 10: `w1` is a member already"),
            ("group g any h\ngroup h any w1\nquorum g", "line 9: `h` is not defined above"),
            ("quorum w1\nquorum w2", "line 10: a second `quorum`"),
            ("quorum none none", "line 9: a line that begins with `quorum` in this way is none of `log VKEY"),
            ("quorums w1", "line 9: a line that begins with `quorums`"),
            ("witness w6 nonsense\nquorum none", "line 9: a verifier key is written"),
            ("quorum\u{1}none", "line 9: control characters"),
        ] {
            let error = policy(rest).unwrap_err().to_string();
            assert!(error.contains(what), "{rest}: {error}");
        }
        let twice = format!(
            "witness again {}\nquorum none",
            CosigningKey::generate("other", [1; 32]).unwrap().verifier().to_text()
        );
        assert!(policy(&twice).unwrap_err().to_string().contains("one witness under two names"));
        let log_as_witness = format!("witness w6 {}\nquorum none", log().verifier().to_text());
        assert!(policy(&log_as_witness).unwrap_err().to_string().contains("signature type"));
    }
}
