//! Where recorded decisions come from: a running broker, which records the reading, or the files of a log.

use crate::client::Server;
use anyhow::{Context as _, bail};
use audit::StoreAt;
use audit::query::Decisions;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use model::canonical::unhex;
use model::entry::{Entry, Kind, Outline};
use model::erasure::{Erasures, Event};
use model::{Digest, Timestamp};
use pdp::replay::Known;
use serde::Deserialize;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tlog::walk::{Step, Walk};
use tokio::sync::mpsc;

/// See the module.
pub(super) enum Source {
    Online { body: Incoming, pending: Vec<u8>, ended: bool },
    Offline(Box<Decisions>),
    Archive(mpsc::Receiver<anyhow::Result<Part>>),
}

/// Decisions and what they name.
#[derive(Default)]
pub(super) struct Part {
    pub news: News,
    pub decisions: Vec<(u64, Vec<u8>)>,
    /// What is gone of the time, in words.
    pub pruned: Option<String>,
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
    erased: Vec<(String, u64)>,
}

impl News {
    pub(super) fn tell(&self, known: &mut Known) {
        if self.afresh {
            // Erasures come once.
            *known = Known { erased: std::mem::take(&mut known.erased), ..Known::default() };
        }
        known.erased.extend(self.erased.iter().cloned());
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
    Erased { reference: String, erased: u64 },
    Pruned { pruned: formats::Pruned },
    Progress { done: u64, total: u64 },
    Afresh { afresh: bool },
    End { end: bool },
}

impl Source {
    pub(super) async fn offline(store: &StoreAt, from: Timestamp, to: Timestamp) -> anyhow::Result<Self> {
        let decisions = Decisions::open(store, from, to).await;
        let decisions = decisions.with_context(|| match store {
            StoreAt::Directory(directory) => {
                let directory = directory.display();
                format!("`{directory}` cannot be read as a log; name the directory that holds `log.db`")
            }
            store => format!("`{store}` cannot be read as a log"),
        })?;
        Ok(Self::Offline(Box::new(decisions)))
    }

    pub(super) async fn online(server: &Server, from: Timestamp, to: Timestamp) -> anyhow::Result<Self> {
        let target = format!("/v1/audit/decisions?from={}&to={}", from.to_rfc3339(), to.to_rfc3339());
        let body = server.get(&target.replace(':', "%3A")).await?.into_body();
        Ok(Self::Online { body, pending: Vec::new(), ended: false })
    }

    /// An archive that has been verified: it has so many entries, and this size and root.
    pub(super) fn archive(file: PathBuf, total: u64, tree: (u64, String)) -> Self {
        let (sender, parts) = mpsc::channel(PARTS_WAITING_MAX);
        tokio::task::spawn_blocking(move || {
            let read = archive(&file, total, &tree, |part| sender.blocking_send(Ok(part)).is_ok());
            if let Err(error) = read {
                let _ = sender.blocking_send(Err(error.context(format!("`{}` cannot be read", file.display()))));
            }
        });
        Self::Archive(parts)
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
            Self::Archive(parts) => parts.recv().await.transpose(),
        }
    }
}

fn offline(part: audit::query::Part) -> Part {
    let news = News {
        afresh: part.afresh,
        contents: part.contents.into_iter().map(|content| (content.digest, content.bytes)).collect(),
        principals: part.principals.into_iter().map(|row| (row.reference, row.principal)).collect(),
        erased: part.erased,
    };
    let pruned = part.pruned.map(|pruned| pruned.to_string());
    Part { news, decisions: part.decisions, pruned, done: part.done, total: part.total }
}

const PARTS_WAITING_MAX: usize = 4;

/// What entries name stands behind them in an archive, and is needed first. `send` says whether anybody still listens.
fn archive(file: &Path, total: u64, tree: &(u64, String), mut send: impl FnMut(Part) -> bool) -> anyhow::Result<()> {
    let (mut news, mut erasures) = (News::default(), Walk::default());
    for_each(file, |name, bytes| {
        match name.split_once('/') {
            Some(("content", _)) => news.contents.push((Digest::of(bytes), bytes.into())),
            // References stand for persons; whoever made the archive may have shown whom.
            Some(("tree", _)) => news.erased.extend(erased(&mut erasures, bytes)),
            Some(("disclosed", _)) => news.principals.extend(bytes.split(|b| *b == b'\n').filter_map(principal)),
            _ => {}
        }
        true
    })?;
    let mut done = 0;
    let mut news = Some(news);
    let mut walk = Walk::default();
    for_each(file, |name, mut bytes| {
        if !name.starts_with("tree/") {
            return true;
        }
        let mut part = Part { news: news.take().unwrap_or_default(), total, ..Part::default() };
        while let Ok(Some((step, rest))) = Step::decode(bytes) {
            bytes = rest;
            if let (Ok(index), Step::Entry(entry)) = (walk.step(step), step) {
                done += 1;
                let kind = Outline::read(entry).map(|outline| outline.kind);
                if matches!(kind, Ok(Kind::Decision | Kind::AuditRead)) {
                    part.decisions.push((index, entry.to_vec()));
                }
            }
        }
        part.done = done;
        send(part)
    })?;
    if (walk.size(), walk.root().to_base64()) != *tree {
        bail!("it is not the archive any longer that was verified");
    }
    Ok(())
}

/// References that stand for nobody any longer, by the erasures among these steps.
fn erased(walk: &mut Walk, mut bytes: &[u8]) -> Vec<(String, u64)> {
    let mut all = Erasures::default();
    while let Ok(Some((step, rest))) = Step::decode(bytes) {
        bytes = rest;
        let (Ok(index), Step::Entry(entry)) = (walk.step(step), step) else { continue };
        if Outline::read(entry).is_ok_and(|outline| outline.kind == Kind::Erasure)
            && let Ok(entry) = Entry::parse(entry)
            && let Some(Ok(Event::Erased(erasure))) = Event::read(index, &entry)
        {
            all.add(erasure);
        }
    }
    all.forgotten().map(|(reference, under)| (reference.to_owned(), under)).collect()
}

fn for_each(file: &Path, mut take: impl FnMut(&str, &[u8]) -> bool) -> anyhow::Result<()> {
    let mut archive = tar::Archive::new(BufReader::new(std::fs::File::open(file)?));
    for file in archive.entries()? {
        let mut file = file?;
        let name = String::from_utf8_lossy(&file.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if !take(&name, &bytes) {
            break;
        }
    }
    Ok(())
}

/// Whom a line of disclosures shows, by the reference that stands in its entry; the subject alone has one.
fn principal(line: &[u8]) -> Option<(String, String)> {
    let said: serde_json::Value = serde_json::from_slice(line).ok()?;
    let text = |pointer: &str| said.pointer(pointer).and_then(serde_json::Value::as_str).map(str::to_owned);
    Some((text("/reference")?, text("/values/subject/values/principal")?))
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
        Line::Erased { reference, erased } => part.news.erased.push((reference, erased)),
        Line::Afresh { afresh } => part.news.afresh = afresh,
        Line::Pruned { pruned } => part.pruned = Some(pruned.to_string()),
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
