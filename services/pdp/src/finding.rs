//! What is wrong with a policy set, or with a plant and a registry as policies see them.

use cedar_policy::ffi::DetailedError;
use serde::Serialize;
use std::fmt;

/// One thing to be put right before the set can be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// As named by whoever loaded it; `None` when it concerns catalog or registry rather than a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// `@id` of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Finding {
    /// A broken schema makes every policy wrong in many ways; nobody reads further than this.
    pub(crate) const MAX: usize = 100;

    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { file: None, line: None, policy: None, message: message.into(), help: None }
    }

    pub(crate) fn at(mut self, file: &str, line: usize) -> Self {
        self.file = Some(file.to_owned());
        self.line = Some(line);
        self
    }

    pub(crate) fn in_file(mut self, file: &str) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    pub(crate) fn of(mut self, policy: &str) -> Self {
        self.policy = Some(policy.to_owned());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What Cedar says about `text`, and all that it says beside it.
    pub(crate) fn from_cedar(file: &str, text: &str, error: &DetailedError) -> Vec<Self> {
        let mut finding = Self::new(error.message.clone()).in_file(file);
        finding.line = error.source_locations.first().map(|at| line_of(text, at.loc.start));
        finding.help.clone_from(&error.help);
        let label = error.source_locations.first().and_then(|at| at.label.clone());
        if let Some(label) = label {
            finding.message = format!("{}: {label}", finding.message);
        }
        let mut all = vec![finding];
        all.extend(error.related.iter().flat_map(|e| Self::from_cedar(file, text, e)));
        all
    }

    /// `Ok` when there are none; otherwise sorted by place, without repetitions, at most a hundred.
    pub(crate) fn check(mut findings: Vec<Self>) -> Result<(), Vec<Self>> {
        if findings.is_empty() {
            return Ok(());
        }
        findings.sort();
        findings.dedup();
        if findings.len() > Self::MAX {
            let more = findings.len() - Self::MAX;
            findings.truncate(Self::MAX);
            findings.push(Self::new(format!("{more} more findings are not shown")));
        }
        Err(findings)
    }
}

/// The line that holds the byte at `offset`, counted from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|b| *b == b'\n').count()
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, _) => {}
        }
        if let Some(policy) = &self.policy {
            write!(f, "policy `{policy}`: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; help: {help}")?;
        }
        Ok(())
    }
}
