//! A source that misbehaves as told: it writes bytes, not HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What the source does with each connection after it has read a request's head.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Writes these bytes and closes.
    Say(Vec<u8>),
    /// The same, each time that [`Source::let_answer`] lets it.
    SayWhenLet(Vec<u8>),
    /// Writes these bytes and then nothing, without closing.
    SayAndHang(Vec<u8>),
}

/// Listens until dropped.
#[derive(Debug)]
pub struct Source {
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
    heads: Arc<std::sync::Mutex<Vec<String>>>,
    gate: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Source {
    /// # Errors
    /// When no port can be had.
    pub async fn start(address: Option<SocketAddr>, behaviour: Behaviour) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))).await?;
        let address = listener.local_addr()?;
        let (asked, heads) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let gate = Arc::new(Notify::new());
        let (counter, seen, let_in) = (asked.clone(), Arc::clone(&heads), Arc::clone(&gate));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer(stream, behaviour.clone(), counter.clone(), Arc::clone(&seen), Arc::clone(&let_in));
                tokio::spawn(answer);
            }
        });
        Ok(Self { address, asked, heads, gate, task })
    }

    /// How many requests came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Lets one question be answered, one that waits or the next.
    pub fn let_answer(&self) {
        self.gate.notify_one();
    }

    /// Request lines and headers as they came.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().map(|h| h.clone()).unwrap_or_default()
    }

    /// The same, for the next look to begin anew.
    pub fn take_heads(&self) -> Vec<String> {
        self.heads.lock().map(|mut h| std::mem::take(&mut *h)).unwrap_or_default()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut stream: TcpStream,
    behaviour: Behaviour,
    counter: Arc<AtomicUsize>,
    seen: Arc<std::sync::Mutex<Vec<String>>>,
    gate: Arc<Notify>,
) {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    counter.fetch_add(1, Ordering::SeqCst);
    if let Ok(mut seen) = seen.lock() {
        seen.push(String::from_utf8_lossy(&head).into_owned());
    }
    if matches!(behaviour, Behaviour::SayWhenLet(_)) {
        gate.notified().await;
    }
    match behaviour {
        Behaviour::Say(bytes) | Behaviour::SayWhenLet(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Behaviour::SayAndHang(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let mut rest = [0; 1];
            let _ = stream.read(&mut rest).await; // until the broker gives up
        }
    }
}
