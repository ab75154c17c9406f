//! The last gate of a policy set: a plant's own cases, which it must decide as they say.
//!
//! Cases gate policies and nothing else. A change of the registry is never held back by them: whoever is suspended is
//! out, whatever a case expects of it.

use crate::World;
use crate::reload::active_policies;
use audit::Log;
use model::Timestamp;
use pdp::Snapshot;
use pdp::cases::Case;
use registry::Problem;
use std::path::{Path, PathBuf};

/// A case and the file that it stands in.
#[derive(Clone, Debug)]
pub struct Filed {
    pub file: PathBuf,
    /// Of its title, counted from 1.
    pub line: usize,
    pub case: Case,
}

/// The cases of `folders`, in the order of folders, files and their lists.
///
/// # Errors
/// Every file that cannot be read or is no list of cases, and a folder without any case: a test of nothing would pass
/// whatever the policies say.
pub fn load(folders: &[PathBuf]) -> Result<Vec<Filed>, Vec<Problem>> {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for folder in folders {
        let before = all.len() + problems.len();
        match files(folder) {
            Ok(files) => files.iter().for_each(|file| match read(file) {
                Ok(cases) => all.extend(cases),
                Err(problem) => problems.push(problem),
            }),
            Err(problem) => problems.push(problem),
        }
        if all.len() + problems.len() == before {
            let what = "there is no case here: a test of nothing would pass whatever the policies say";
            problems.push(problem(folder, what));
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let unreadable = |e: std::io::Error| problem(folder, format!("the folder of cases cannot be read: {e}"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        files.extend(path.extension().is_some_and(|end| end == "json").then_some(path));
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<Vec<Filed>, Problem> {
    let text = std::fs::read_to_string(file).map_err(|e| problem(file, format!("cannot be read: {e}")))?;
    let cases = Case::read(&text).map_err(|e| Problem {
        line: Some(e.line()),
        help: Some(String::from("policies/README.md has the form of a case")),
        ..problem(file, format!("is no list of cases: {e}"))
    })?;
    let mut from = 0;
    let filed = cases.into_iter().map(|case| {
        let title = serde_json::to_string(&case.title).unwrap_or_default();
        // In order, so that a title that stands twice has two lines.
        from += text.get(from..).and_then(|rest| rest.find(&title)).map_or(0, |at| at + title.len());
        let line = 1 + text.bytes().take(from).filter(|b| *b == b'\n').count();
        Filed { file: file.to_owned(), line, case }
    });
    Ok(filed.collect())
}

/// The cases of `folders` that `snapshot` decides otherwise than they say, or that cannot gate.
pub fn failing(snapshot: &Snapshot, folders: &[PathBuf]) -> Vec<Problem> {
    match load(folders) {
        Ok(cases) => cases.iter().filter_map(|filed| fault(snapshot, filed)).collect(),
        Err(problems) => problems,
    }
}

fn fault(snapshot: &Snapshot, filed: &Filed) -> Option<Problem> {
    let case = &filed.case;
    let at = |what: String, help: &str| Problem {
        line: Some(filed.line),
        help: Some(help.to_owned()),
        ..problem(&filed.file, format!("case `{}`: {what}", case.title))
    };
    if !case.says_when() {
        let what = "it does not say when it is asked, so the set would be good on one day and bad on another";
        return Some(at(what.to_owned(), "add `at` to its request, as in `\"at\": \"2026-11-22T08:00:00Z\"`"));
    }
    match case.decide(snapshot, Timestamp::EPOCH) {
        Ok(got) if got == case.expect => None,
        Ok(got) => {
            let differences: Vec<String> = case.expect.differences(&got).collect();
            Some(at(differences.join("; "), "change the policies, or the case if it is no longer what is wanted"))
        }
        Err(error) => Some(at(error.to_string(), "correct its request")),
    }
}

/// Whether a broker may begin to serve with `world`: its cases pass, or it decides by the policies that were in use last,
/// and what has changed since is the registry or the catalog. A supplier that was suspended must not keep the plant from
/// starting again.
///
/// # Errors
/// The cases that fail.
pub async fn admit_at_start(world: &World, folders: &[PathBuf], log: &Log) -> Result<(), Vec<Problem>> {
    let failing = failing(&world.snapshot, folders);
    if failing.is_empty() {
        return Ok(());
    }
    if active_policies(log).await != Some(world.policies.policies().digest.to_hex()) {
        return Err(failing);
    }
    failing.iter().for_each(|problem| tracing::error!(folder = "cases", "{problem}"));
    tracing::error!("cases fail; the policies are those that were in use last, and go on serving");
    Ok(())
}

fn problem(file: &Path, what: impl Into<String>) -> Problem {
    Problem { file: file.to_owned(), line: None, column: None, what: what.into(), help: None }
}

#[cfg(test)]
mod tests;
