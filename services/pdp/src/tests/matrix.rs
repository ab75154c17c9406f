//! The matrix against decisions one by one, and what its changes are called.

use super::world::{World, agreement, base_with, id, now};
use crate::Decision;
use crate::cases::{Asked, Expected};
use crate::matrix::{Change, Matrix, Turn, lines};
use model::party::PrincipalRecord;

fn matrix(world: &World) -> Matrix {
    Matrix::of(&world.snapshot(), now())
}

/// Callers, data and purposes that are asked about together are each decided as the matrix says.
#[test]
fn every_cell_is_what_is_decided_for_it_alone() {
    let mut world = World::with(base_with(
        r#"@id("one-signal") @reason("closed") forbid (principal, action == Plant::Action::"readSeries", resource == Plant::Signal::"press-3.force")
           when { context has purpose && context.purpose == Plant::Purpose::"planning" };
           @id("one-person") @reason("not_you") forbid (principal == Plant::User::"norden/karl", action == Plant::Action::"read", resource);"#,
    ));
    world.parties.revocations.principals.insert((id("bolt"), id("mole")));
    let snapshot = world.snapshot();
    let mut permitted = 0;
    for (key, cell) in matrix(&world).cells() {
        let subject = if key.who.subject.is_empty() { "somebody" } else { &key.who.subject };
        let asked = Asked {
            purpose: key.purpose.clone(),
            agreement: key.names.clone(),
            resolution_ms: if key.resource.starts_with("Signal/") { 86_400_000 } else { 0 },
            ..Asked::new(&key.who.organisation, subject, key.who.service, key.action, &key.resource)
        };
        let decision = snapshot.decide(asked.request(&world.parties, now()).unwrap(), &[]);
        let expected = Expected::of(&decision);
        assert_eq!((&expected.decision, &expected.reasons), (&cell.decision, &cell.reasons), "{key:?}");
        assert_eq!((&expected.agreement, &expected.classes_hidden), (&cell.agreement, &cell.classes_hidden), "{key:?}");
        assert_eq!(expected.records_hidden, cell.records_hidden, "{key:?}");
        permitted += usize::from(matches!(decision, Decision::Permit(_)));
    }
    assert!(permitted > 50, "{permitted}");
    assert_eq!(Matrix::size(&snapshot), matrix(&world).cells().count(), "nothing is ambiguous");
}

fn turns(changes: &[Change]) -> [usize; 3] {
    [Turn::Gains, Turn::Loses, Turn::Differs].map(|turn| changes.iter().filter(|change| change.turn == turn).count())
}

#[test]
fn who_gains_and_who_loses_is_said_for_each_cell() {
    let with = |policy: &str| matrix(&World::with(base_with(policy)));
    let base = matrix(&World::new());
    let closed =
        with(r#"@id("closed") @reason("closed") forbid (principal, action == Plant::Action::"readAudit", resource);"#);
    let [gains, loses, differs] = turns(&base.changes(&closed));
    assert!(gains == 0 && loses > 0 && differs > 0, "who was refused hears another reason: {gains} {loses} {differs}");
    assert_eq!(turns(&closed.changes(&base)), [loses, gains, differs]);
    // Coarser than the agreement allows is less, and so is a field class that is hidden.
    let coarse = with(
        r#"@id("coarse") @reason("r") forbid (principal, action == Plant::Action::"readSeries", resource)
           when { context.shape.resolutionMs < 3600000 && principal.organisation != resource.governance.owner };
           @id("hiding") forbid (principal, action == Plant::Action::"reveal", resource in Plant::FieldClass::"personal");"#,
    );
    let found = base.changes(&coarse);
    let [gains, loses, _] = turns(&found);
    assert!(gains == 0 && loses > 0, "{found:?}");
    let lines = lines(&found);
    assert_eq!(
        lines.first().unwrap(),
        "acme/otto loses: press-3.force (maintenance): sees under acme-maintenance-2026, one value per 1h at the finest, 7d \
         at a time, 1000 rows at the most; before: sees under acme-maintenance-2026, one value per 1s at the finest, 7d at a \
         time, 1000 rows at the most"
    );
    assert!(lines.iter().any(|line| line.contains("without fields of personal")), "{lines:?}");
}

#[test]
fn where_several_agreements_permit_each_is_a_cell_of_its_own() {
    let second = agreement("acme-service-2026", "acme", &["maintenance"], &["machine-signals"]);
    let matrix = matrix(&World::new().add(second));
    let of = |names: Option<&str>| {
        let cell = matrix.cells().find(|(key, _)| {
            key.who.subject == "otto"
                && key.resource == "Signal/press-3.force"
                && key.purpose.as_deref() == Some("maintenance")
                && key.names.as_deref() == names
        });
        cell.map(|(_, cell)| cell.words())
    };
    assert_eq!(of(None).unwrap(), "is refused (agreement_ambiguous)");
    assert!(of(Some("acme-service-2026")).unwrap().starts_with("sees under acme-service-2026"));
}

#[test]
fn somebody_new_is_no_gain() {
    let mut world = World::new();
    let record = PrincipalRecord { ..world.parties.principals.get(&(id("acme"), id("otto"))).unwrap().clone() };
    world.parties.principals.insert((id("acme"), id("ottilie")), record);
    let found = matrix(&World::new()).changes(&matrix(&world));
    assert!(found.iter().all(|change| change.before.is_none() && change.turn == Turn::Differs));
    assert!(!found.is_empty());
}
