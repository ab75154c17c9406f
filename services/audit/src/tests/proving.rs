//! Which entry a proof is of, and what looking for it costs others.

use super::harness::*;
use crate::evidence::{EvidenceError, Which};
use model::entry::{Common, Draft, Effect, Kind};
use model::{RequestId, Value};

const DAY_MS: i64 = 86_400_000;

pub async fn a_request_is_looked_for_around_its_time_and_its_outcome_where_there_is_one(stand: &Stand) {
    let dir = stand.home().await;
    let log = open(dir.path()).await;
    let id = |days: i64, n: u8| RequestId::new(START.plus_millis(days * DAY_MS), [n; 10]);
    let [denied, allowed, under_way, nobodys] = [1, 2, 3, 4].map(|n| id(0, n));
    // Its entry stands in the log, and not where it could have come from.
    let made_up = id(-1, 5);
    let of_denied = log.append(deny(&log, "acme", &denied.to_string())).await.unwrap().index;
    let of_allowed = log.append(allow(&log, "acme", &allowed.to_string())).await.unwrap().index;
    log.append(allow(&log, "acme", &under_way.to_string())).await.unwrap();
    log.append(deny(&log, "acme", &made_up.to_string())).await.unwrap();
    // A day later.
    let common = Common { time: START.plus_millis(DAY_MS), ..log.common() };
    let members = [
        ("ended", Value::text("complete")),
        ("of", Value::int(of_allowed.try_into().unwrap())),
        ("request", Value::text(allowed.to_string())),
    ];
    let mut outcome = Draft::new(Kind::Outcome, &common, Some(&organisation("acme")), members, vec![]).unwrap();
    outcome.effect = Effect::Closes(of_allowed);
    let of_outcome = log.append_outcome(outcome).await.unwrap().index;
    // Whoever looks further finds out.
    let common = Common { time: START.plus_millis(2 * DAY_MS), ..log.common() };
    let last = Draft::new(Kind::Policy, &common, None, [("event", Value::text("activated"))], vec![]).unwrap();
    let last = log.append(last).await.unwrap().index;
    rewrite(dir.path(), last, |bytes| bytes.fill(0xff)).await;

    let which = async |id: RequestId, kind: Option<Kind>, of: Option<&str>| {
        log.which(&Which::Request { id, kind }, of.map(organisation).as_ref()).await
    };
    let unknown = |found: Result<u64, EvidenceError>| matches!(found, Err(EvidenceError::Unknown));
    assert_eq!(which(denied, None, None).await.unwrap(), of_denied);
    assert_eq!(which(denied, Some(Kind::Decision), Some("acme")).await.unwrap(), of_denied);
    assert_eq!(which(allowed, Some(Kind::Outcome), Some("acme")).await.unwrap(), of_outcome);
    assert!(unknown(which(denied, None, Some("bolt")).await), "another organisation has none");
    assert!(unknown(which(allowed, Some(Kind::Outcome), Some("bolt")).await));
    assert!(unknown(which(nobodys, None, None).await));
    assert!(unknown(which(made_up, None, None).await));
    assert!(unknown(which(denied, Some(Kind::Outcome), None).await), "what was refused has no outcome");
    assert!(unknown(which(under_way, Some(Kind::Outcome), None).await), "nor has what has not ended");
    assert!(unknown(which(nobodys, Some(Kind::Outcome), None).await));
    log.close().await;
}
