//! Checkpoints as messages of RFC 5424, over UDP (RFC 5426), TCP (RFC 6587, octets counted) or TLS (RFC 5425).
//!
//! The message is one JSON object in ASCII with `origin`, `size`, `root` and `note`, the signed note as it is: whoever receives
//! it can verify it. No structured data: that would need an enterprise number of ours.
//!
//! Syslog confirms nothing. A message that was handed to a connection may not have arrived, which the next one makes good.

use anyhow::Context as _;
use audit::Published;
use broker::tls::client_config;
use model::Clock as _;
use runtime::clock::SystemClock;
use runtime::config::{Syslog as Settings, Transport};
use rustls_pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;

/// Facility 13 (log audit), severity 5 (notice): RFC 5424 section 6.2.1.
const PRIORITY: u8 = 13 * 8 + 5;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

pub(crate) struct Syslog {
    settings: Settings,
    origin: String,
    host: String,
    tls: Option<TlsConnector>,
    stream: Option<Box<dyn Stream>>,
}

impl Syslog {
    /// # Errors
    /// When the receiver's authority cannot be read.
    pub(crate) fn new(settings: &Settings, origin: &str) -> anyhow::Result<Self> {
        let roots = super::roots(settings.ca_file.as_deref()).context("[audit.sinks] syslog_ca_file")?;
        let tls = match settings.transport {
            Transport::Tls => Some(TlsConnector::from(Arc::new(client_config(&roots)))),
            Transport::Udp | Transport::Tcp => None,
        };
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(Self {
            settings: settings.clone(),
            origin: origin.to_owned(),
            host: header_field(host.trim()),
            tls,
            stream: None,
        })
    }

    /// As it stands in metrics and log lines.
    pub(crate) fn name(&self) -> String {
        self.settings.to_string()
    }

    pub(crate) async fn send(&mut self, published: &Published) -> Result<(), String> {
        let message = message(&self.host, &self.origin, published, &SystemClock.now().to_rfc3339());
        let sent = match self.settings.transport {
            Transport::Udp => self.datagram(&message).await,
            Transport::Tcp | Transport::Tls => self.framed(&message).await,
        };
        sent.map_err(|error| error.to_string())
    }

    fn address(&self) -> (&str, u16) {
        (self.settings.host.as_str(), self.settings.port)
    }

    async fn datagram(&self, message: &str) -> io::Result<()> {
        let mut last = None;
        for address in tokio::net::lookup_host(self.address()).await? {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).await?;
            match async {
                socket.connect(address).await?;
                socket.send(message.as_bytes()).await
            }
            .await
            {
                Ok(_) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable)))
    }

    async fn framed(&mut self, message: &str) -> io::Result<()> {
        let frame = format!("{} {message}", message.len());
        // Not in `self` while it is written: a write that was given up leaves half a frame, behind which nothing can follow.
        if let Some(mut stream) = self.stream.take()
            && is_open(&mut stream).await
            && write(&mut stream, &frame).await.is_ok()
        {
            self.stream = Some(stream);
            return Ok(());
        }
        let mut stream = self.connect().await?;
        write(&mut stream, &frame).await?;
        self.stream = Some(stream);
        Ok(())
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address()).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.settings.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }
}

async fn write(stream: &mut Box<dyn Stream>, frame: &str) -> io::Result<()> {
    stream.write_all(frame.as_bytes()).await?;
    stream.flush().await
}

/// A receiver says nothing; what can be read is its end.
async fn is_open(stream: &mut Box<dyn Stream>) -> bool {
    let mut bytes = [0; 256];
    tokio::select! {
        biased;
        read = stream.read(&mut bytes) => matches!(read, Ok(n) if n > 0),
        () = std::future::ready(()) => true,
    }
}

/// Printable ASCII without spaces, at most 255 of it; `-` for nothing (RFC 5424 section 6).
fn header_field(text: &str) -> String {
    let field: String = text.chars().filter(char::is_ascii_graphic).take(255).collect();
    if field.is_empty() { String::from("-") } else { field }
}

fn message(host: &str, origin: &str, published: &Published, time: &str) -> String {
    let root = published.note.lines().nth(2).unwrap_or_default();
    let object = serde_json::json!({ "origin": origin, "size": published.size, "root": root, "note": published.note })
        .to_string();
    format!("<{PRIORITY}>1 {time} {host} millgate {} checkpoint - {}", std::process::id(), ascii(&object))
}

/// Without a byte order mark a message is ASCII (RFC 5424 section 6.4); JSON can say the rest so.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_ascii_of_one_line_and_holds_the_note_as_it_is() {
        let note = String::from("plant.example/log\n7\ncm9vdA==\n\n— plant.example/log Az3grlgt\n— w 😀\n");
        let published = Published { size: 7, note: note.clone() };
        let text = message("broker-1", "plant.example/log", &published, "2026-11-29T15:00:00.123Z");
        assert!(text.starts_with("<109>1 2026-11-29T15:00:00.123Z broker-1 millgate "), "{text}");
        assert!(text.is_ascii() && !text.contains('\n'), "{text}");
        let (_, json) = text.split_once(" checkpoint - ").unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!((json["note"].as_str().unwrap(), json["root"].as_str().unwrap()), (note.as_str(), "cm9vdA=="));
    }

    #[test]
    fn header_fields_hold_nothing_that_ends_them() {
        assert_eq!(header_field("plant 1\n"), "plant1");
        assert_eq!(header_field("  "), "-");
        assert_eq!(header_field(&"x".repeat(300)).len(), 255);
    }
}
