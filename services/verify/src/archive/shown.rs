//! Values and contents that an archive shows of its entries: they are what was recorded, and what is not there was erased.

use super::{Check, LINE_BYTES_MAX};
use crate::disclosed::{self, Verdict};
use crate::findings::printable;
use crate::verdict::Point;
use model::Digest;
use model::canonical::{self, Value};
use model::entry::CommitmentClass;
use model::erasure::People;

impl Check<'_> {
    /// No more disclosures come for the entries of the last part: those of which nothing was shown lack all of it.
    pub(super) fn settle_part(&mut self) {
        let disclose = self.asked.as_ref().map(|asked| asked.disclose.clone()).unwrap_or_default();
        let told = std::mem::take(&mut self.told);
        for (index, entry) in std::mem::take(&mut self.part).into_iter().filter(|(index, _)| !told.contains(index)) {
            let committed = |class: &CommitmentClass| entry.get("commit").and_then(|c| c.get(class.as_str())).is_some();
            let lacks: Vec<_> = disclose.iter().copied().filter(committed).collect();
            self.missing.add(index, &lacks, || People::of(&entry));
        }
    }

    /// Whatever is not shown was erased, or is missing.
    pub(super) fn settle_missing(&mut self) {
        let missing = std::mem::take(&mut self.missing);
        missing.for_each(|index, class, people| match self.erasures.of(index, people, class) {
            Some(under) => *self.report.erased.entry(under).or_default() += 1,
            None => {
                let class = class.as_str();
                let what = format!("the values of `{class}` are missing, and no entry here says that they were erased");
                self.findings.of(Point::Disclosures).add(index..index + 1, what);
            }
        });
        let unproven = std::mem::take(&mut self.unproven);
        for under in unproven.into_iter().filter(|under| self.report.erased.contains_key(under)) {
            let what = "whether somebody has asked for the erasure in entry";
            self.report.limits.push(format!("{what} {under}: the request is not in the archive"));
        }
    }

    pub(super) fn disclosed(&mut self, name: &str, bytes: &[u8]) {
        let mut findings = self.findings.of(Point::Disclosures);
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if line.len() > LINE_BYTES_MAX {
                findings.add(0..0, format!("`{name}` has a line of {} bytes", line.len()));
                continue;
            }
            let said = canonical::parse(line).ok();
            let index = said.as_ref().and_then(|v| v.get("index")).and_then(Value::as_int);
            let index = index.and_then(|index| u64::try_from(index).ok());
            let values = said.as_ref().and_then(|v| v.get("values")).map(Value::encode);
            let (Some(index), Some(values)) = (index, values) else {
                return findings.add(0..0, format!("`{name}` holds a line that is none of disclosures"));
            };
            let at = index..index + 1;
            let Some(entry) = self.part.get(&index) else {
                findings.add(at, "values are shown of it, and it is not in the file of the same number");
                continue;
            };
            if !self.told.insert(index) {
                findings.add(at.clone(), "values are shown of it twice");
            }
            if let Some(values) = said.as_ref().and_then(|v| v.get("values")) {
                for class in self.salts.reused(values) {
                    let what = format!("the salt of `{}` is that of another value", printable(&class));
                    findings.add(at.clone(), what);
                }
            }
            let reference = said.as_ref().and_then(|v| v.get("reference"));
            if reference.is_some() && reference != entry.get("principal") {
                findings.add(at.clone(), "values are shown of another principal than the entry's");
            }
            match disclosed::compare(entry, Some(&values)) {
                Ok(classes) => {
                    for one in classes.iter().filter(|one| one.verdict.is_fault()) {
                        findings.add(at.clone(), format!("what is shown as `{}` is not what was recorded", one.class));
                    }
                    let shown = classes.iter().filter(|one| one.verdict == Verdict::Matches);
                    self.report.disclosed += shown.count() as u64;
                    let disclose = self.asked.as_ref().map(|asked| asked.disclose.as_slice()).unwrap_or_default();
                    let lacks = classes.iter().filter(|one| one.verdict == Verdict::NotShown);
                    let lacks = lacks.filter_map(|one| CommitmentClass::parse(&one.class));
                    let lacks: Vec<_> = lacks.filter(|class| disclose.contains(class)).collect();
                    self.missing.add(index, &lacks, || People::of(entry));
                }
                Err(what) => findings.add(at, what),
            }
        }
    }

    pub(super) fn content(&mut self, name: &str, bytes: &[u8]) {
        let (digest, mut findings) = (Digest::of(bytes), self.findings.of(Point::Contents));
        if name.strip_prefix("content/") != Some(digest.to_hex().as_str()) {
            return findings.add(0..0, format!("`{name}` is not what its name says"));
        }
        // All entries have come before.
        match self.named.remove(&digest) {
            Some(index) => {
                self.report.contents += 1;
                if self.report.organisation.is_some() {
                    let what = "policies and entities are shown that it was decided from, and may name others";
                    self.warnings.of(Point::Contents).add(index..index + 1, what);
                }
            }
            None => findings.add(0..0, format!("`{name}` is named by no entry here")),
        }
    }
}
