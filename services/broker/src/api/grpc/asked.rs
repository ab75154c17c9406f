//! What a message asks, in the names and values of the query string: one parser reads both, and the log commits to the
//! same words.

use audit::index::Dimension;
use proto::audit::v1::{Filter, ProveRequest, QueryRequest, SummaryRequest, TailRequest};
use std::fmt::Write as _;

pub type Question = Vec<(String, String)>;

fn put(question: &mut Question, name: &str, value: Option<impl ToString>) {
    question.extend(value.map(|value| (name.to_owned(), value.to_string())));
}

pub fn query(message: &QueryRequest) -> Question {
    let QueryRequest { filter, after, before, limit, oldest_first, open_at } = message;
    let mut question = filtered(filter.as_ref());
    put(&mut question, "after", *after);
    put(&mut question, "before", *before);
    put(&mut question, "limit", *limit);
    put(&mut question, "order", oldest_first.map(|oldest| if oldest { "oldest" } else { "newest" }));
    put(&mut question, "open_at", open_at.as_ref());
    question
}

pub fn tail(message: &TailRequest) -> Question {
    let TailRequest { filter, after } = message;
    let mut question = filtered(filter.as_ref());
    put(&mut question, "after", *after);
    put(&mut question, "follow", Some(true));
    question
}

fn filtered(filter: Option<&Filter>) -> Question {
    let mut question = Question::new();
    let Some(filter) = filter else { return question };
    let Filter {
        from,
        to,
        organisation,
        principal,
        resource,
        decision,
        reason,
        request,
        kind,
        product,
        agreement,
        action,
        purpose,
        policy,
        ended,
        country,
    } = filter;
    for (name, value) in [
        ("from", from),
        ("to", to),
        ("organisation", organisation),
        ("principal", principal),
        ("resource", resource),
        ("decision", decision),
        ("reason", reason),
        ("request", request),
        ("kind", kind),
        ("product", product),
        ("agreement", agreement),
        ("action", action),
        ("purpose", purpose),
        ("policy", policy),
        ("ended", ended),
        ("country", country),
    ] {
        put(&mut question, name, value.as_ref());
    }
    question
}

pub fn summary(message: &SummaryRequest) -> Question {
    let SummaryRequest { by, from, to, organisation, new_only, limit, only } = message;
    let mut question = Question::new();
    put(&mut question, "by", (!by.is_empty()).then(|| by.join(",")));
    put(&mut question, "from", from.as_ref());
    put(&mut question, "to", to.as_ref());
    put(&mut question, "organisation", organisation.as_ref());
    put(&mut question, "new", *new_only);
    put(&mut question, "limit", *limit);
    for filter in only {
        // Nothing else may come in by this way: `from` is a field of its own.
        let is_known = Dimension::parse(&filter.of).is_some();
        let name = if is_known { filter.of.clone() } else { format!("only.{}", filter.of) };
        question.push((name, filter.value.clone()));
    }
    question
}

pub fn proof(message: &ProveRequest) -> Question {
    let ProveRequest { request, kind, index, leaf, organisation, disclose } = message;
    let mut question = Question::new();
    put(&mut question, "request", request.as_ref());
    put(&mut question, "kind", kind.as_ref());
    put(&mut question, "index", *index);
    put(&mut question, "leaf", leaf.as_ref().map(|leaf| hex(leaf)));
    put(&mut question, "organisation", organisation.as_ref());
    put(&mut question, "disclose", (!disclose.is_empty()).then(|| disclose.join(",")));
    question
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
