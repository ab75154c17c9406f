//! Socket → TLS → connection → requests. One accept loop for all listeners; drains when told to.

use crate::handshake::Handshakes;
use crate::patience::Patient;
use crate::respond::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use identity::PeerCertificate;
use runtime::config::Limits;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What bounds a stranger before anything is known of it.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub connections_max: usize,
    /// Request line and headers together.
    pub header_bytes_max: usize,
    pub headers_max: usize,
    /// From accept, or from the end of the previous request, to the end of the headers; also for the TLS handshake. An
    /// HTTP/2 connection without a request is told to go after once to twice this time.
    pub header_timeout: Duration,
}

/// HTTP/2 streams one connection may have open; each is a request with everything that costs.
const STREAMS_MAX: u32 = 128;
/// Streams that a peer may open and reset before the connection ends (CVE-2023-44487).
const RESET_STREAMS_MAX: usize = 64;
/// A peer that takes not one byte of what is sent to it for this long is gone, whatever its kernel answers.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// How a listener speaks TLS.
#[derive(Clone, Debug)]
pub enum Tls {
    /// Callers may show certificates, which are judged.
    Callers(Arc<Handshakes>),
    /// Nobody is asked for one, because nobody gets anything.
    Anybody(Arc<ServerConfig>),
}

impl Bounds {
    pub fn of(limits: &Limits) -> Self {
        Self {
            connections_max: limits.connections_max,
            header_bytes_max: limits.header_bytes_max,
            headers_max: limits.headers_max,
            header_timeout: limits.header_timeout,
        }
    }
}

/// A listener of one role: data, api or operator.
pub struct Listener {
    pub name: &'static str,
    pub socket: TcpListener,
    /// `None` for plain listeners.
    pub tls: Option<Tls>,
    pub bounds: Bounds,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("name", &self.name).field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// What it has shown in the TLS handshake, if anything.
    pub certificate: Option<Arc<PeerCertificate>>,
}

impl Listener {
    /// Serves until `stop`, then lets open requests finish, but not beyond `cut_off`; `tracker` knows when the last one
    /// has.
    pub async fn run<H, F>(self, handler: H, stop: CancellationToken, cut_off: CancellationToken, tracker: TaskTracker)
    where
        H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.bounds.connections_max));
        let server = Arc::new(builder(&self.bounds));
        loop {
            // A place first: beyond the cap, connections wait in the kernel's queue and cost nothing here.
            let place = tokio::select! {
                () = stop.cancelled() => return,
                place = places.clone().acquire_owned() => place,
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or the peer is gone already. Waiting keeps the loop from spinning.
                    tracing::warn!(listener = self.name, %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let connection = Connection {
                stream,
                peer: Peer { address, certificate: None },
                tls: self.tls.clone(),
                header_timeout: self.bounds.header_timeout,
                server: server.clone(),
                stop: stop.clone(),
            };
            let (handler, cut_off) = (handler.clone(), cut_off.clone());
            tracker.spawn(async move {
                let _place = place;
                cut_off.run_until_cancelled(connection.serve(handler)).await;
            });
        }
    }
}

fn builder(bounds: &Bounds) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_headers(bounds.headers_max)
        // hyper wants room for one read of its own.
        .max_buf_size(bounds.header_bytes_max.max(8_192));
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_header_list_size(u32::try_from(bounds.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    server
}

struct Connection {
    stream: TcpStream,
    peer: Peer,
    tls: Option<Tls>,
    header_timeout: Duration,
    server: Arc<auto::Builder<TokioExecutor>>,
    stop: CancellationToken,
}

impl Connection {
    async fn serve<H, F>(self, handler: H)
    where
        H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let _ = self.stream.set_nodelay(true);
        let Self { stream, peer, tls, header_timeout, server, stop } = self;
        let stream = Patient::new(stream, WRITE_STALL_MAX);
        let rules = Rules { server: &server, stop: &stop, quiet_max: header_timeout };
        match tls {
            Some(Tls::Anybody(config)) => {
                let handshake = tokio_rustls::TlsAcceptor::from(config).accept(stream);
                if let Ok(Ok(stream)) = tokio::time::timeout(header_timeout, handshake).await {
                    exchange(stream, peer, rules, handler).await;
                }
            }
            Some(Tls::Callers(tls)) => {
                let handshake = tls.accept(stream, peer.address.ip());
                match tokio::time::timeout(header_timeout, handshake).await {
                    Ok(Some((stream, certificate))) => {
                        exchange(stream, Peer { certificate, ..peer }, rules, handler).await;
                    }
                    Ok(None) => {}
                    Err(_) => tracing::debug!(peer = %peer.address, "TLS handshake took too long"),
                }
            }
            None => exchange(stream, peer, rules, handler).await,
        }
    }
}

/// What one connection is served by.
#[derive(Clone, Copy)]
struct Rules<'a> {
    server: &'a auto::Builder<TokioExecutor>,
    stop: &'a CancellationToken,
    /// How long a connection may ask nothing.
    quiet_max: Duration,
}

/// Whether a connection asks anything.
#[derive(Debug, Default)]
struct Activity {
    open: AtomicUsize,
    /// Beginnings and ends of requests.
    events: AtomicU64,
}

/// A request whose answer has not begun.
struct Asking(Arc<Activity>);

impl Activity {
    fn begin(self: &Arc<Self>) -> Asking {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(1, Ordering::Relaxed);
        Asking(self.clone())
    }

    /// Returns when nothing was asked for `limit`, at the latest after twice that time.
    async fn quiet(&self, limit: Duration) {
        let mut before = 0;
        loop {
            tokio::time::sleep(limit).await;
            let now = self.events.load(Ordering::Relaxed);
            if now == before && self.open.load(Ordering::Relaxed) == 0 {
                return;
            }
            before = now;
        }
    }

    fn is_silent(&self) -> bool {
        self.events.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.events.fetch_add(1, Ordering::Relaxed);
    }
}

async fn exchange<S, H, F>(stream: S, peer: Peer, rules: Rules<'_>, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let address = peer.address;
    let activity = Arc::new(Activity::default());
    let asked = activity.clone();
    let service = hyper::service::service_fn(move |request| {
        let (asking, answer) = (asked.begin(), handler(peer.clone(), request));
        async move {
            let answer = answer.await;
            drop(asking);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = rules.server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = rules.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = activity.quiet(rules.quiet_max) => {
            if activity.is_silent() {
                // hyper's own timeout begins only when it knows the version, which a stranger may never tell.
                tracing::debug!(peer = %address, "a connection asked nothing");
                return;
            }
            // Answers that still stream go on to their end.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %address, %error, "a connection ended early");
    }
}
