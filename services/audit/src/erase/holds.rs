//! Legal holds: whose values must stay, whoever asks.

use model::OrganisationId;
use std::collections::BTreeSet;

/// Persons, as `organisation/subject`, and whole organisations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds(BTreeSet<String>);

impl Holds {
    /// # Errors
    /// The first of `holds` that is neither a principal nor an organisation.
    pub fn new(holds: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let all: BTreeSet<String> = holds.into_iter().collect();
        let is_good = |hold: &String| match hold.split_once('/') {
            Some((organisation, subject)) => {
                OrganisationId::new(organisation).is_ok() && model::Subject::new(subject).is_ok()
            }
            None => OrganisationId::new(hold).is_ok(),
        };
        match all.iter().find(|hold| !is_good(hold)) {
            Some(bad) => Err(bad.clone()),
            None => Ok(Self(all)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether values of this principal, `organisation/subject`, must stay.
    pub fn hold(&self, principal: &str) -> bool {
        let organisation = principal.split('/').next().unwrap_or_default();
        self.0.contains(principal) || self.0.contains(organisation)
    }

    pub(crate) fn principals(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str).filter(|hold| hold.contains('/'))
    }

    pub(super) fn organisations(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str).filter(|hold| !hold.contains('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_of_a_person_or_of_a_whole_organisation() {
        let holds = Holds::new(["acme/anna".into(), "bolt".into()]).unwrap();
        let held = ["acme/anna", "acme/anna-2", "bolt/otto", "acme"].map(|who| holds.hold(who));
        assert_eq!(held, [true, false, true, false]);
        assert_eq!(Holds::new(["Not An Id".into()]).err().as_deref(), Some("Not An Id"));
    }
}
