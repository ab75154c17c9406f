//! Where recorded decisions come from: a running broker, which records the reading, or the files of a log.

use crate::client::Server;
use anyhow::{Context as _, bail};
use audit::query::Decisions;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use model::canonical::unhex;
use model::{Digest, Timestamp};
use pdp::replay::Known;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// See the module.
pub(super) enum Source {
    Online { body: Incoming, pending: Vec<u8>, ended: bool },
    Offline(Box<Decisions>),
}

/// Decisions and what they name.
#[derive(Default)]
pub(super) struct Part {
    pub news: News,
    pub decisions: Vec<(u64, Vec<u8>)>,
    pub done: u64,
    pub total: u64,
}

/// What entries name that did not come before.
#[derive(Default)]
pub(super) struct News {
    /// What came before is not needed any longer.
    afresh: bool,
    contents: Vec<(Digest, Arc<[u8]>)>,
    principals: Vec<(String, String)>,
}

impl News {
    pub(super) fn tell(&self, known: &mut Known) {
        if self.afresh {
            *known = Known::default();
        }
        known.contents.extend(self.contents.iter().cloned());
        known.principals.extend(self.principals.iter().cloned());
    }
}

/// A line of the broker's answer; decisions are not read in this way, because their bytes are the record.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Content { content: String, text: String },
    Principal { reference: String, principal: String },
    Progress { done: u64, total: u64 },
    Afresh { afresh: bool },
    End { end: bool },
}

impl Source {
    pub(super) async fn offline(directory: &Path, from: Timestamp, to: Timestamp) -> anyhow::Result<Self> {
        let decisions = Decisions::open(directory, from, to).await;
        let decisions = decisions.with_context(|| {
            let directory = directory.display();
            format!("`{directory}` cannot be read as a log; name the directory that holds `log.db`")
        })?;
        Ok(Self::Offline(Box::new(decisions)))
    }

    pub(super) async fn online(server: &Server, from: Timestamp, to: Timestamp) -> anyhow::Result<Self> {
        let target = format!("/v1/audit/decisions?from={}&to={}", from.to_rfc3339(), to.to_rfc3339());
        let body = server.get(&target.replace(':', "%3A")).await?.into_body();
        Ok(Self::Online { body, pending: Vec::new(), ended: false })
    }

    /// `None` at the end.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Part>> {
        match self {
            Self::Online { body, pending, ended } => {
                while !*ended {
                    if let Some(part) = online(body, pending, ended).await? {
                        return Ok(Some(part));
                    }
                }
                Ok(None)
            }
            Self::Offline(decisions) => {
                let part = decisions.next().await.context("the log cannot be read")?;
                Ok(part.map(offline))
            }
        }
    }
}

fn offline(part: audit::query::Part) -> Part {
    let news = News {
        afresh: part.afresh,
        contents: part.contents.into_iter().map(|content| (content.digest, content.bytes)).collect(),
        principals: part.principals.into_iter().map(|row| (row.reference, row.principal)).collect(),
    };
    Part { news, decisions: part.decisions, done: part.done, total: part.total }
}

/// The lines up to the next that says how far the reading has come.
async fn online(body: &mut Incoming, pending: &mut Vec<u8>, ended: &mut bool) -> anyhow::Result<Option<Part>> {
    let mut part = Part::default();
    let mut read = 0;
    loop {
        while let Some(end) = pending.iter().skip(read).position(|b| *b == b'\n').map(|at| read + at) {
            let line = pending.get(read..end).unwrap_or_default();
            read = end + 1;
            if take(line, &mut part, ended)? {
                pending.drain(..read);
                return Ok(if *ended { None } else { Some(part) });
            }
        }
        pending.drain(..std::mem::take(&mut read));
        match body.frame().await {
            Some(frame) => {
                let frame = frame.context("the broker broke off")?;
                pending.extend_from_slice(&frame.into_data().unwrap_or_default());
            }
            None => bail!(
                "the broker ended its answer before its end: the token has expired, the permission was taken back, or the broker is going down"
            ),
        }
    }
}

/// Whether the part is complete.
fn take(line: &[u8], part: &mut Part, ended: &mut bool) -> anyhow::Result<bool> {
    if let Some(decision) = decision(line) {
        part.decisions.push(decision);
        return Ok(false);
    }
    match serde_json::from_slice(line).context("the broker sent a line that it does not send")? {
        Line::Content { content, text } => {
            let digest =
                unhex(&content).and_then(|bytes| bytes.try_into().ok()).context("the broker sent no digest")?;
            part.news.contents.push((Digest(digest), text.into_bytes().into()));
        }
        Line::Principal { reference, principal } => part.news.principals.push((reference, principal)),
        Line::Afresh { afresh } => part.news.afresh = afresh,
        Line::Progress { done, total } => {
            (part.done, part.total) = (done, total);
            return Ok(true);
        }
        Line::End { end } => {
            *ended = end;
            return Ok(end);
        }
    }
    Ok(false)
}

/// `{"index":7,"entry":{…}}`
fn decision(line: &[u8]) -> Option<(u64, Vec<u8>)> {
    let text = std::str::from_utf8(line).ok()?;
    let (index, entry) = text.strip_prefix("{\"index\":")?.split_once(",\"entry\":")?;
    Some((index.parse().ok()?, entry.strip_suffix('}')?.as_bytes().to_vec()))
}
