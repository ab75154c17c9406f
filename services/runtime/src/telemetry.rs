//! Logs to standard error, and traces to an OpenTelemetry collector over OTLP/gRPC.
//!
//! Traces leave only when an endpoint is configured. The exporter takes further settings (headers with a collector's
//! credential, timeouts, batch sizes) from the standard `OTEL_…` environment variables, so no secret is in the file.

use crate::config::{LogFormat, Telemetry as Settings};
use crate::trace::Tracer;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::io::IsTerminal;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// A collector that is gone must not hold up the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("logs are set up already")]
    AlreadyLogging(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("`{level}` is not a log level or a list of directives")]
    Level { level: String },
    #[error("traces cannot be exported to `{endpoint}`")]
    Exporter { endpoint: String, source: ExporterBuildError },
}

/// Sends the process's log lines to standard error. Once per process.
///
/// # Errors
/// When logs were set up before, or `level` is not a filter.
pub fn init_logs(settings: &Settings) -> Result<(), TelemetryError> {
    let level = || TelemetryError::Level { level: settings.level.clone() };
    let filter = EnvFilter::try_new(&settings.level).map_err(|_| level())?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log {
        LogFormat::Json => logs.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
        LogFormat::Pretty => logs.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
    }
    .map_err(TelemetryError::AlreadyLogging)
}

/// The trace exporter, if one is configured. Several may live in one process.
#[derive(Debug)]
pub struct Telemetry {
    tracer: Tracer,
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// No exporter: callers' trace contexts pass through untouched.
    pub fn off() -> Self {
        Self { tracer: Tracer::off(), provider: None }
    }

    /// Begins to export, if an endpoint is configured. `instance` tells brokers apart, best by the log's origin. Call it
    /// within the runtime that will live as long as the process: the connection to the collector is its task.
    ///
    /// # Errors
    /// When the endpoint cannot be used. A collector that does not answer is no error: spans are dropped and logged.
    pub fn start(settings: &Settings, instance: &str) -> Result<Self, TelemetryError> {
        let Some(endpoint) = &settings.otlp_endpoint else { return Ok(Self::off()) };
        let exporter =
            exporter(endpoint).map_err(|source| TelemetryError::Exporter { endpoint: endpoint.clone(), source })?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource(instance))
            // Only spans that are wanted are begun: see `Tracer::request`.
            .with_sampler(Sampler::AlwaysOn)
            .build();
        let tracer = Tracer::new(provider.tracer("millgate"), settings.sample_ratio, settings.follow_callers);
        Ok(Self { tracer, provider: Some(provider) })
    }

    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Sends what is buffered, for at most five seconds.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("the last traces did not reach the collector");
        }
    }
}

fn exporter(endpoint: &str) -> Result<SpanExporter, ExporterBuildError> {
    let builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
    if endpoint.starts_with("https://") {
        builder.with_tls_config(ClientTlsConfig::new().with_native_roots()).build()
    } else {
        builder.build()
    }
}

fn resource(instance: &str) -> Resource {
    use opentelemetry::KeyValue;
    Resource::builder()
        .with_service_name("millgate")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .build()
}

pub(crate) fn is_filter(level: &str) -> bool {
    // A lone word that is no level would be taken for a target and silence everything else.
    let lone_word = !level.contains(['=', ',', '[']);
    let known = ["off", "error", "warn", "info", "debug", "trace"].contains(&level);
    !level.is_empty() && (known || !lone_word) && EnvFilter::try_new(level).is_ok()
}

/// `http://host[:port]` or `https://host[:port]`, without path, user or spaces.
pub(crate) fn is_endpoint(text: &str) -> bool {
    let authority = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let authority = authority.map(|a| a.strip_suffix('/').unwrap_or(a));
    authority.is_some_and(|a| {
        !a.is_empty()
            && a.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']' | b'_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_filters_and_stray_words_are_not() {
        for good in ["info", "off", "warn,audit=debug", "audit=trace"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "verbose", "INFORMATION", "info=;", "audit=loud"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        for good in
            ["http://127.0.0.1:4317", "https://otel.example", "http://[::1]:4317/", "http://otel_collector:4317"]
        {
            assert!(is_endpoint(good), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:4317",
            "http://",
            "grpc://a:1",
            "http://a b:1",
            "http://user:secret@a:1",
            "http://a:1/v1/traces",
        ] {
            assert!(!is_endpoint(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn without_an_endpoint_nothing_is_exported() {
        let telemetry = Telemetry::start(&Settings::default(), "test").unwrap();
        assert!(!telemetry.tracer().request(None, "request").is_sampled());
        telemetry.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_collector_that_is_not_there_delays_nothing_but_the_end() {
        for endpoint in ["http://127.0.0.1:9", "https://127.0.0.1:9"] {
            let settings =
                Settings { otlp_endpoint: Some(endpoint.to_owned()), sample_ratio: 1.0, ..Settings::default() };
            let telemetry = Telemetry::start(&settings, "test").unwrap();
            let trace = telemetry.tracer().request(None, "request");
            assert!(trace.is_sampled());
            trace.end(200);
        }
    }
}
