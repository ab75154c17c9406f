//! The broker's side: entries in order, by pages and then as they are written.
//!
//! Each question reads the token anew, so that whoever renews it in its file is understood.

use super::super::{asked, origin, target};
use super::Trouble;
use crate::client::Server;
use anyhow::Context as _;
use formats::{Page, Pruned, Record};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

pub(super) struct Feed<'a> {
    pub(super) server: &'a Server,
    pub(super) pairs: Vec<(&'static str, String)>,
}

/// The longest entry, with all of it escaped, and what stands around it.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Lines as they come.
pub(super) struct Tail {
    body: Incoming,
    pending: Vec<u8>,
    origin: Option<String>,
}

impl Feed<'_> {
    pub(super) async fn page(&self, after: Option<u64>, limit: usize) -> Result<Page, Trouble> {
        let mut pairs = self.pairs.clone();
        pairs.push(("order", String::from("oldest")));
        pairs.push(("limit", limit.to_string()));
        pairs.extend(after.map(|after| ("after", after.to_string())));
        let answer = asked(self.server, &target(&pairs)).await.map_err(Trouble::Again)?;
        Page::read(&answer.body, answer.origin.as_deref()).context("the broker's answer").map_err(Trouble::Again)
    }

    /// The entry at `index`, if it is one of those that are asked for; and what is gone of the log, if it may be among that.
    pub(super) async fn one(&self, index: u64) -> Result<(Option<Record>, Option<Pruned>), Trouble> {
        let mut pairs = self.pairs.clone();
        pairs.push(("order", String::from("oldest")));
        pairs.push(("limit", String::from("1")));
        pairs.push(("before", index.saturating_add(1).to_string()));
        pairs.extend(index.checked_sub(1).map(|after| ("after", after.to_string())));
        let answer = asked(self.server, &target(&pairs)).await.map_err(Trouble::Again)?;
        let page = Page::read(&answer.body, answer.origin.as_deref())
            .context("the broker's answer")
            .map_err(Trouble::Again)?;
        let pruned = page.pruned.filter(|pruned| index < pruned.below);
        Ok((page.records.into_iter().find(|record| record.index == index), pruned))
    }

    pub(super) async fn follow(&self, after: Option<u64>) -> Result<Tail, Trouble> {
        let mut pairs = self.pairs.clone();
        pairs.push(("follow", String::from("true")));
        pairs.extend(after.map(|after| ("after", after.to_string())));
        let response = self.server.get(&target(&pairs)).await.map_err(Trouble::Again)?;
        let origin = origin(response.headers());
        Ok(Tail { body: response.into_body(), pending: Vec::new(), origin })
    }
}

impl Tail {
    /// `Ok(None)`: the broker ended it. Nothing is lost when the caller stops waiting.
    pub(super) async fn next(&mut self) -> Result<Option<Record>, Trouble> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                let record =
                    Record::read(&line, self.origin.as_deref()).context("the broker sent a line that is no entry");
                return record.map(Some).map_err(Trouble::Again);
            }
            if self.pending.len() > LINE_BYTES_MAX {
                return Err(Trouble::Again(anyhow::anyhow!("the broker sent a line without end")));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.context("the broker broke off").map_err(Trouble::Again)?;
            if let Ok(data) = frame.into_data() {
                self.pending.extend_from_slice(&data);
            }
        }
    }
}
