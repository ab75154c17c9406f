//! The trace of one request: W3C trace context in and out, spans only for requests that are sampled.
//!
//! Spans are made explicitly, not from log macros: a request that is not sampled costs the parsing of one header and, if
//! there is an exporter, sixteen random bytes and one comparison.
//!
//! Without an exporter a caller's context goes on to the source as it came. With one, the source sees a span of ours as
//! its parent, marked sampled exactly when we record it. `tracestate` ends here: it is text from a stranger that no
//! source needs.

mod context;

pub use context::{TraceContext, Traceparent};

use crate::random;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
};
use opentelemetry::trace::{TraceId, TraceState};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Begins traces. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracer(Option<Arc<Exporting>>);

#[derive(Debug)]
struct Exporting {
    tracer: SdkTracer,
    /// A random 64-bit number below it says yes.
    threshold: u64,
    follow_callers: bool,
}

impl Tracer {
    pub fn off() -> Self {
        Self(None)
    }

    /// Records `ratio` (0 to 1) of the requests, and those whose caller records if `follow_callers`.
    pub fn new(tracer: SdkTracer, ratio: f64, follow_callers: bool) -> Self {
        // The product lies within 0 and 2^64, and a cast to an integer saturates.
        let threshold = (ratio * 18_446_744_073_709_551_616.0) as u64;
        Self(Some(Arc::new(Exporting { tracer, threshold, follow_callers })))
    }

    /// Begins the trace of a request. A `traceparent` that does not follow the specification counts as none.
    pub fn request(&self, traceparent: Option<&str>, name: &'static str) -> RequestTrace {
        let caller = traceparent.and_then(TraceContext::parse);
        let Some(exporting) = &self.0 else { return RequestTrace { context: caller, recording: None } };
        if exporting.wants(caller) {
            return exporting.record(caller, name);
        }
        let trace_id = caller.map_or_else(random_id, |c| c.trace_id);
        let context = TraceContext { trace_id, span_id: random_id(), sampled: false };
        RequestTrace { context: Some(context), recording: None }
    }
}

impl Exporting {
    fn wants(&self, caller: Option<TraceContext>) -> bool {
        match caller.filter(|_| self.follow_callers) {
            Some(context) => context.sampled,
            None => self.threshold == u64::MAX || u64::from_ne_bytes(random::bytes()) < self.threshold,
        }
    }

    fn record(&self, caller: Option<TraceContext>, name: &'static str) -> RequestTrace {
        let parent = caller.map_or_else(Context::new, |c| Context::new().with_remote_span_context(remote(c)));
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server);
        let span = builder.start_with_context(&self.tracer, &parent);
        let context = context_of(&span);
        let own = Context::new().with_remote_span_context(span.span_context().clone());
        let recording = Recording { tracer: self.tracer.clone(), span: Mutex::new(span), own };
        RequestTrace { context: Some(context), recording: Some(Box::new(recording)) }
    }
}

/// The caller as a parent. Marked sampled whatever it said: the decision has been made here, and a sampler of the SDK is not
/// to make another.
fn remote(context: TraceContext) -> SpanContext {
    let (trace, span) = (TraceId::from_bytes(context.trace_id), SpanId::from_bytes(context.span_id));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE)
}

fn context_of(span: &Span) -> TraceContext {
    let context = span.span_context();
    TraceContext {
        trace_id: context.trace_id().to_bytes(),
        span_id: context.span_id().to_bytes(),
        sampled: context.is_sampled(),
    }
}

/// An identifier of all zeros is invalid; its first byte is kept from being zero.
fn random_id<const N: usize>() -> [u8; N] {
    let mut id: [u8; N] = random::bytes();
    if let Some(first) = id.first_mut() {
        *first |= 1;
    }
    id
}

/// The trace of one request. Dropping it ends its span.
pub struct RequestTrace {
    context: Option<TraceContext>,
    recording: Option<Box<Recording>>,
}

struct Recording {
    tracer: SdkTracer,
    span: Mutex<Span>,
    /// Parent of the steps.
    own: Context,
}

impl fmt::Debug for RequestTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestTrace").field("context", &self.context).finish_non_exhaustive()
    }
}

impl RequestTrace {
    pub fn is_sampled(&self) -> bool {
        self.recording.is_some()
    }

    /// What the source is told, if there is anything to tell.
    pub fn traceparent(&self) -> Option<Traceparent> {
        self.context.map(|c| c.to_traceparent())
    }

    /// 32 hexadecimal digits, for log lines.
    pub fn trace_id(&self) -> Option<String> {
        self.context.map(|c| TraceId::from_bytes(c.trace_id).to_string())
    }

    /// Records a property of the request, if it is sampled. Never a token, a body or a name of a person.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        self.with_span(|span| span.set_attribute(KeyValue::new(key, value.into())));
    }

    /// Gives the span a name that is known only now, such as the route. `name` runs only if the request is sampled.
    pub fn rename(&self, name: impl FnOnce() -> String) {
        self.with_span(|span| span.update_name(name()));
    }

    /// Begins a step of the request. It ends when dropped.
    pub fn child(&self, name: &'static str) -> Step {
        self.step(name, SpanKind::Internal)
    }

    /// Begins the call to the source; the source is told of this step as its parent.
    pub fn upstream(&self, name: &'static str) -> Step {
        self.step(name, SpanKind::Client)
    }

    /// Ends the trace with the status that the caller got.
    pub fn end(self, status: u16) {
        self.with_span(|span| {
            span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
            if status >= 500 {
                span.set_status(Status::error(""));
            }
            span.end();
        });
    }

    fn with_span(&self, act: impl FnOnce(&mut Span)) {
        if let Some(recording) = &self.recording {
            act(&mut recording.span.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn step(&self, name: &'static str, kind: SpanKind) -> Step {
        let span = self.recording.as_ref().map(|recording| {
            SpanBuilder::from_name(name).with_kind(kind).start_with_context(&recording.tracer, &recording.own)
        });
        Step { context: span.as_ref().map(context_of).or(self.context), span }
    }
}

/// A step of a request. Dropping it ends it.
pub struct Step {
    context: Option<TraceContext>,
    span: Option<Span>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("context", &self.context).finish_non_exhaustive()
    }
}

impl Step {
    pub fn traceparent(&self) -> Option<Traceparent> {
        self.context.map(|c| c.to_traceparent())
    }

    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new(key, value.into()));
        }
    }

    /// Marks the step as failed. `reason` is a code, not a sentence.
    pub fn fail(&mut self, reason: &'static str) {
        if let Some(span) = &mut self.span {
            span.set_status(Status::error(reason));
        }
    }
}

#[cfg(test)]
mod tests;
