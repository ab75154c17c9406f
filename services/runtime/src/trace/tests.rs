use super::*;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CALLER_UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Keeps what is exported, in the order in which spans end.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn tracer(ratio: f64, follow_callers: bool) -> (Tracer, Kept) {
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
    (Tracer::new(provider.tracer("test"), ratio, follow_callers), kept)
}

fn text(traceparent: Option<Traceparent>) -> String {
    traceparent.map(|t| t.to_string()).unwrap_or_default()
}

#[test]
fn without_an_exporter_the_callers_context_goes_on_as_it_came() {
    let trace = Tracer::off().request(Some(CALLER), "request");
    assert!(!trace.is_sampled());
    assert_eq!(text(trace.traceparent()), CALLER);
    assert_eq!(text(trace.upstream("forward").traceparent()), CALLER);
    assert!(Tracer::off().request(None, "request").traceparent().is_none());
    assert!(Tracer::off().request(Some("junk"), "request").traceparent().is_none());
}

#[test]
fn a_sampled_request_exports_its_steps_as_children_of_its_span_and_that_of_the_caller() {
    let (tracer, kept) = tracer(0.0, true);
    let trace = tracer.request(Some(CALLER), "request");
    trace.set("http.route", "press-series");
    trace.rename(|| String::from("GET press-series"));
    let mut step = trace.upstream("forward");
    let told = text(step.traceparent());
    step.fail("source_timeout");
    drop(step);
    trace.end(504);

    let spans = kept.0.lock().unwrap();
    let [forward, request] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((forward.name.as_ref(), request.name.as_ref()), ("forward", "GET press-series"));
    assert_eq!(request.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(forward.parent_span_id, request.span_context.span_id());
    assert_eq!(forward.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(told, format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", forward.span_context.span_id()));
    assert_eq!((&forward.status, &request.status), (&Status::error("source_timeout"), &Status::error("")));
    let code = KeyValue::new("http.response.status_code", 504);
    assert!(request.attributes.contains(&code) && request.attributes.len() == 2);
}

#[test]
fn an_unsampled_request_keeps_the_trace_and_exports_nothing() {
    let (tracer, kept) = tracer(1.0, true);
    let trace = tracer.request(Some(CALLER_UNSAMPLED), "request");
    let told = text(trace.traceparent());
    assert!(told.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && told.ends_with("-00"), "{told}");
    assert!(!told.contains("b7ad6b7169203331"), "{told}");
    trace.rename(|| unreachable!("names are made for sampled requests only"));
    trace.end(200);
    assert!(kept.0.lock().unwrap().is_empty());
}

#[test]
fn a_callers_wish_counts_only_if_it_is_to_be_followed() {
    let (deaf, _) = tracer(0.0, false);
    assert!(!deaf.request(Some(CALLER), "request").is_sampled());
    let (eager, kept) = tracer(1.0, false);
    drop(eager.request(Some(CALLER_UNSAMPLED), "request"));
    assert_eq!(kept.0.lock().unwrap().len(), 1, "dropping a trace ends its span");
}

#[test]
fn the_ratio_is_the_share_that_is_recorded() {
    let (half, _) = tracer(0.5, true);
    let sampled = (0..2000).filter(|_| half.request(None, "request").is_sampled()).count();
    // Twelve standard deviations: chance below 10^-30.
    assert!((730..1270).contains(&sampled), "{sampled}");
    let (none, _) = tracer(0.0, true);
    let trace = none.request(None, "request");
    assert!(!trace.is_sampled() && text(trace.traceparent()).ends_with("-00"));
    assert_eq!(trace.trace_id().unwrap().len(), 32);
}
