use super::*;
use crate::api::{Wanted, summary};
use audit::query::{Found, Page};
use proto::audit::v1::{Filter, ProveRequest, QueryRequest, SummaryFilter, SummaryRequest, TailRequest};

fn page(lengths: &[usize], next: Option<u64>) -> Page {
    let found =
        |(index, length): (usize, &usize)| Found { index: index as u64, entry: "x".repeat(*length), principal: None };
    Page { entries: lengths.iter().enumerate().map(found).collect(), next, size: 9, pruned: None }
}

#[test]
fn a_page_is_cut_where_a_message_becomes_too_large_and_goes_on_there() {
    let whole = service::page_message(page(&[60, 60, 60], None), 250);
    assert_eq!((whole.entries.len(), whole.next), (3, None));
    let cut = service::page_message(page(&[60, 60, 60], Some(7)), 150);
    assert_eq!((cut.entries.len(), cut.next), (2, Some(1)));
    let one = service::page_message(page(&[60, 60], None), 10);
    assert_eq!((one.entries.len(), one.next), (1, Some(0)), "a page that cannot hold one would go on for ever");
}

#[tokio::test]
async fn a_message_that_does_not_come_is_not_waited_for() {
    use futures_util::stream::{self, StreamExt as _};
    let begun = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from_static(&[0, 0, 0, 0, 9, 1]))]);
    let body = Body::from_stream(begun.chain(stream::pending()));
    let refusal = message(body, Duration::from_millis(10)).await.unwrap_err();
    assert_eq!((&refusal.reason, status::code(&refusal)), (&Reason::BAD_PARAMETER, Code::InvalidArgument));
    let whole = message(Body::from(vec![0, 0, 0, 0, 1, 7]), Duration::from_secs(60)).await.unwrap();
    assert_eq!(whole[..], [0, 0, 0, 0, 1, 7]);
}

fn refused<M: Message + Default>(bytes: &[u8]) -> Option<String> {
    let message = M::decode(bytes).unwrap();
    one_reading(&message, bytes.len(), &[]).err().map(|refusal| refusal.reason.to_string())
}

#[test]
fn a_message_with_a_second_reading_is_refused() {
    let filter = Filter { organisation: Some(String::from("acme")), from: Some(String::new()), ..Filter::default() };
    let query = QueryRequest { filter: Some(filter), after: Some(0), oldest_first: Some(false), ..Default::default() };
    let bytes = query.encode_to_vec();
    assert_eq!(refused::<QueryRequest>(&bytes), None, "values that are defaults are values");
    for (more, what) in [
        (&[0x78, 1][..], "a field that is not known"),
        (&[0x10, 5], "a field twice"),
        (&[0x0a, 0], "a message twice, which would be merged"),
        (&[0x18, 0x81, 0x00], "a number in more bytes than it needs"),
    ] {
        let bytes = [&bytes, more].concat();
        assert_eq!(refused::<QueryRequest>(&bytes).as_deref(), Some("undeclared_parameter"), "{what}");
    }
    // Within a message within it: what would narrow the question in a later release must not be passed over.
    assert_eq!(refused::<QueryRequest>(&[0x0a, 3, 0xa0, 0x06, 1]).as_deref(), Some("undeclared_parameter"));
    let control = [(String::from("principal"), String::from("acme/a\0"))];
    let refusal = one_reading(&QueryRequest::default(), 0, &control).unwrap_err();
    assert_eq!(refusal.reason, Reason::BAD_PARAMETER);
}

#[test]
fn what_a_message_asks_is_what_the_query_string_would() {
    let all = Filter {
        from: Some("2026-11-22T00:00:00Z".into()),
        to: Some("2026-11-23T00:00:00Z".into()),
        organisation: Some("acme".into()),
        principal: Some("acme/engineer-1".into()),
        resource: Some("Dataset/acme-parts".into()),
        decision: Some("allow".into()),
        reason: Some("revoked".into()),
        request: Some("r".into()),
        kind: Some("decision".into()),
        product: Some("press-3-telemetry".into()),
        agreement: Some("acme-maintenance-2026".into()),
        action: Some("readSeries".into()),
        purpose: Some("quality-analysis".into()),
        policy: Some("p".into()),
        ended: Some("complete".into()),
        country: Some("DE".into()),
    };
    let message = QueryRequest {
        filter: Some(all.clone()),
        after: Some(3),
        before: Some(9),
        limit: Some(7),
        oldest_first: Some(true),
        open_at: Some("2026-11-22T00:00:00Z".into()),
    };
    let Wanted { query, follow } = Wanted::parse(&asked::query(&message)).map_err(|refusal| refusal.detail).unwrap();
    assert!(!follow && !query.newest_first);
    assert_eq!((query.after, query.before, query.limit), (Some(3), Some(9), 7));
    let text = format!("{query:?}");
    assert!(!text.contains("None"), "a field got nowhere: {text}");
    let message = TailRequest { filter: Some(all), after: Some(0) };
    let Wanted { query, follow } = Wanted::parse(&asked::tail(&message)).map_err(|refusal| refusal.detail).unwrap();
    assert!(follow && query.after == Some(0) && query.ended.is_some());

    let nobody = QueryRequest {
        filter: Some(Filter { organisation: Some(String::new()), ..Filter::default() }),
        ..QueryRequest::default()
    };
    let refusal = Wanted::parse(&asked::query(&nobody)).err().unwrap();
    assert_eq!(refusal.reason, Reason::BAD_PARAMETER, "an empty organisation is not all of them");

    let only = |of: &str| SummaryRequest {
        by: vec!["agreement".into(), "day".into()],
        from: Some("2026-11-22T00:00:00Z".into()),
        organisation: Some("acme".into()),
        limit: Some(5),
        new_only: Some(true),
        only: vec![SummaryFilter { of: of.into(), value: String::new() }],
        ..SummaryRequest::default()
    };
    let wanted = summary::parse(&asked::summary(&only("product"))).map_err(|refusal| refusal.detail).unwrap();
    assert_eq!((wanted.by.len(), wanted.limit, wanted.new, wanted.only.len()), (2, 5, true, 1));
    for of in ["to", "limit", "colour", "new"] {
        let refusal = summary::parse(&asked::summary(&only(of))).err().unwrap();
        assert_eq!(refusal.reason, Reason::UNDECLARED_PARAMETER, "{of}");
    }
    assert_eq!(
        summary::parse(&asked::summary(&only("organisation"))).err().unwrap().reason,
        Reason::DUPLICATE_PARAMETER
    );

    let proof = ProveRequest { index: Some(7), leaf: Some(vec![0x0a; 2]), ..ProveRequest::default() };
    let said = [("index", "7"), ("leaf", "0a0a")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(asked::proof(&proof), said);
}

#[test]
fn every_method_of_the_contract_has_a_name_in_the_log() {
    let contract = include_str!("../../../../../proto/millgate/audit/v1/audit.proto");
    let methods: Vec<&str> =
        contract.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next()).collect();
    assert_eq!(methods.len(), 5);
    for method in methods {
        assert!(route(&format!("{SERVICE}{method}")).is_some(), "{method}");
    }
    for path in
        ["/millgate.audit.v1.AuditLog/query", "/millgate.audit.v1.AuditLog/", "/millgate.audit.v2.AuditLog/Query"]
    {
        assert_eq!(route(path), None, "{path}");
    }
}

#[test]
fn every_reason_of_ours_has_a_code() {
    let table = Reason::OWN.iter().map(|reason| {
        let refusal = Refusal::new(reason.clone(), "");
        format!("{:?} {reason}", status::code(&refusal))
    });
    insta::assert_snapshot!(table.collect::<Vec<_>>().join("\n"));
}
