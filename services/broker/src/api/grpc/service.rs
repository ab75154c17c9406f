//! The methods of `millgate.audit.v1.AuditLog`.

use super::{Call, asked, status};
use crate::Broker;
use crate::api::{Over, Wanted, from_what_is_there, next_page, proof, search, summary, unreadable};
use crate::respond::Refusal;
use audit::index::{By, Measures, Table};
use audit::query::{Follow, Found, Page};
use audit::{Publication, ReadError};
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use model::entry::Ended;
use model::{Reason, Timestamp};
use prost::Message;
use proto::audit::v1::audit_log_server::AuditLog;
use proto::audit::v1::{
    CheckpointRequest, CheckpointResponse, Entry, ProveRequest, ProveResponse, Pruned, QueryRequest, QueryResponse,
    SummaryRequest, SummaryResponse, SummaryRow, TailRequest, TailResponse,
};
use std::io::ErrorKind;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct Answers(pub Arc<Broker>);

type Answered<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AuditLog for Answers {
    async fn query(&self, request: Request<QueryRequest>) -> Answered<QueryResponse> {
        let (call, message) = taken(request)?;
        call.answer(query(&self.0, &call, &message).await)
    }

    type TailStream = BoxStream<'static, Result<TailResponse, Status>>;

    async fn tail(&self, request: Request<TailRequest>) -> Answered<Self::TailStream> {
        let (call, message) = taken(request)?;
        call.answer(tail(&self.0, &call, &message).await)
    }

    async fn summary(&self, request: Request<SummaryRequest>) -> Answered<SummaryResponse> {
        let (call, message) = taken(request)?;
        call.answer(summed_up(&self.0, &call, &message).await)
    }

    async fn prove(&self, request: Request<ProveRequest>) -> Answered<ProveResponse> {
        let (call, message) = taken(request)?;
        call.answer(proven(&self.0, &call, &message).await)
    }

    async fn checkpoint(&self, request: Request<CheckpointRequest>) -> Answered<CheckpointResponse> {
        let (call, message) = taken(request)?;
        call.answer(checkpoint(&self.0, &call, &message).await)
    }
}

fn taken<M>(mut request: Request<M>) -> Result<(Arc<Call>, M), Status> {
    let call = request.extensions_mut().remove::<Arc<Call>>();
    let call = call.ok_or_else(|| Status::internal("this call came by no listener"))?;
    Ok((call, request.into_inner()))
}

impl Call {
    fn answer<T>(&self, result: Result<T, Refusal>) -> Answered<T> {
        result.map(Response::new).map_err(|refusal| {
            let status = status::of(status::code(&refusal), &refusal, self.id);
            let _ = self.refusal.set(refusal);
            status
        })
    }
}

/// What clients take unless they are told otherwise is 4 MiB.
const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

async fn query(broker: &Broker, call: &Call, message: &QueryRequest) -> Result<QueryResponse, Refusal> {
    let reader = call.reader(broker, message, asked::query(message)).await?;
    let wanted = reader.understood(broker, &call.receipt, Wanted::parse(reader.query())).await?;
    let organisation = wanted.query.organisation.clone();
    let granted = reader.admitted(broker, &call.receipt, organisation, Some(wanted.query.limit)).await?;
    let (granted, _place) = granted.placed(broker, false).await?;
    let (page, mut exchange) = search(broker, &wanted.query, granted).await?;
    let answer = page_message(page, PAGE_BYTES_MAX);
    exchange.answering(200);
    exchange.sent(answer.encoded_len() as u64);
    exchange.end(Ended::Complete);
    Ok(answer)
}

/// A page ends where it becomes too large for one message; the next one goes on there.
pub(super) fn page_message(page: Page, bytes_max: usize) -> QueryResponse {
    let mut answer = QueryResponse {
        entries: Vec::with_capacity(page.entries.len()),
        next: page.next,
        size: page.size,
        pruned: page.pruned.map(pruned_message),
    };
    let mut bytes = 0;
    for found in page.entries {
        let entry = entry(found);
        bytes += entry.encoded_len();
        if let Some(last) = answer.entries.last().filter(|_| bytes > bytes_max) {
            answer.next = Some(last.index);
            break;
        }
        answer.entries.push(entry);
    }
    answer
}

fn entry(Found { index, entry, principal }: Found) -> Entry {
    Entry { index, entry: entry.into_bytes(), principal }
}

async fn tail(
    broker: &Broker,
    call: &Call,
    message: &TailRequest,
) -> Result<BoxStream<'static, Result<TailResponse, Status>>, Refusal> {
    let reader = call.reader(broker, message, asked::tail(message)).await?;
    let wanted = reader.understood(broker, &call.receipt, Wanted::parse(reader.query())).await?;
    let granted = reader.admitted(broker, &call.receipt, wanted.query.organisation.clone(), Some(wanted.query.limit));
    let (granted, place) = granted.await?.placed(broker, true).await?;
    let granted = from_what_is_there(broker, &wanted.query, granted)?;
    let id = granted.id;
    let size = |message: &TailResponse| message.encoded_len() as u64;
    let answer = crate::api::tail(broker, (granted, place), wanted.query, size, one_by_one);
    let status = move |over: Over| status::of(status::code(&over.refusal), &over.refusal, id);
    Ok(answer.map(move |message| message.map_err(status)).boxed())
}

/// Each entry a message: a caller who takes little at a time is not sent the rest of a page after it was cut off.
fn one_by_one(entries: Follow) -> impl Stream<Item = Result<TailResponse, Over>> + Send {
    let pages = stream::unfold(entries, |mut entries| async move { Some((next_page(&mut entries).await, entries)) });
    let found = pages.map_ok(|page: Page| stream::iter(page.entries).map(Ok::<Found, Over>)).try_flatten();
    found.map_ok(|found| TailResponse { entry: Some(entry(found)) })
}

async fn summed_up(broker: &Broker, call: &Call, message: &SummaryRequest) -> Result<SummaryResponse, Refusal> {
    let reader = call.reader(broker, message, asked::summary(message)).await?;
    let (table, mut exchange) = summary::counted(broker, reader, &call.receipt).await?;
    let answer = table_message(table);
    exchange.answering(200);
    exchange.sent(answer.encoded_len() as u64);
    exchange.end(Ended::Complete);
    Ok(answer)
}

fn pruned_message(pruned: audit::Pruned) -> Pruned {
    Pruned { below: pruned.below, under: pruned.under, before: pruned.before.to_rfc3339() }
}

fn table_message(Table { by, rows, left_out, size, pruned }: Table) -> SummaryResponse {
    let rows = rows.into_iter().map(|row| {
        let Measures { decisions, ended, complete, bytes, rows, first_index, first_time } = row.measures;
        let first_time = Timestamp(first_time).to_rfc3339();
        SummaryRow { group: row.group, decisions, ended, complete, bytes, rows, first_index, first_time }
    });
    SummaryResponse {
        by: by.into_iter().map(By::as_str).map(str::to_owned).collect(),
        rows: rows.collect(),
        left_out,
        size,
        pruned: pruned.map(pruned_message),
    }
}

async fn proven(broker: &Broker, call: &Call, message: &ProveRequest) -> Result<ProveResponse, Refusal> {
    let reader = call.reader(broker, message, asked::proof(message)).await?;
    let evidence = proof::proven(broker, reader, &call.receipt).await?;
    Ok(ProveResponse { proof: evidence.to_text() })
}

async fn checkpoint(broker: &Broker, call: &Call, message: &CheckpointRequest) -> Result<CheckpointResponse, Refusal> {
    let reader = call.reader(broker, message, Vec::new()).await?;
    reader.unrevoked()?;
    let _place = broker.readers.place_of(false, reader.organisation()).await?;
    let published = broker.published.clone();
    let read = tokio::task::spawn_blocking(move || Publication::open(&published).map(|tree| tree.note().to_owned()));
    match read.await.unwrap_or(Err(ReadError::Closed)) {
        Ok(note) => Ok(CheckpointResponse { note }),
        Err(ReadError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Err(Refusal::new(Reason::NOT_PUBLISHED, "there is no checkpoint yet; the first one comes").retry_after(1))
        }
        Err(error) => Err(unreadable(reader.id, &error)),
    }
}
