//! The receiver's side: a connection for each batch, a datagram for each message, or a file.

use super::ensure;
use anyhow::{Context as _, bail};
use formats::octet_counted;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

/// When a receiver has taken something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Confirm {
    Closed,
    Sent,
}

pub(super) enum Destination {
    Stream {
        address: String,
        tls: Option<(TlsConnector, ServerName<'static>)>,
        confirm: Confirm,
        open: Option<Connection>,
    },
    Datagrams {
        address: String,
    },
    File(PathBuf),
}

pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

pub(super) struct Connection {
    stream: Box<dyn Duplex>,
    /// The same socket, to be asked for errors that no reading shows.
    socket: std::net::TcpStream,
    /// More than it takes to hear from the other side.
    distance: Duration,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A receiver that takes nothing for so long is down.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// It has everything, and only needs to read to the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);
const DISTANCE_MIN: Duration = Duration::from_millis(20);

impl Destination {
    pub(super) fn parse(text: &str, ca: Option<&Path>, confirm: Confirm) -> anyhow::Result<Self> {
        let forms = "write syslog+tcp://HOST:PORT, syslog+tls://HOST:PORT, syslog+udp://HOST:PORT or file:PATH";
        if let Some(path) = text.strip_prefix("file:") {
            ensure!(!path.is_empty(), "`{text}` names no file; {forms}");
            return Ok(Self::File(path.into()));
        }
        let Some((scheme, address)) = text.split_once("://") else { bail!("`{text}` is no destination; {forms}") };
        let port = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let (host, _) = port
            .filter(|(host, port)| !host.is_empty() && *port > 0)
            .with_context(|| format!("`{text}` has no host or no port; {forms}"))?;
        ensure!(ca.is_none() || scheme == "syslog+tls", "`--to-ca` is for syslog+tls");
        let address = address.to_owned();
        match scheme {
            "syslog+udp" => Ok(Self::Datagrams { address }),
            "syslog+tcp" => Ok(Self::Stream { address, tls: None, confirm, open: None }),
            "syslog+tls" => {
                let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(bare).with_context(|| format!("`{host}` is no host name"))?;
                Ok(Self::Stream { address, tls: Some((connector(ca)?, name)), confirm, open: None })
            }
            _ => bail!("`{text}` is no destination; {forms}"),
        }
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    pub(super) fn is_datagram(&self) -> bool {
        matches!(self, Self::Datagrams { .. })
    }

    /// Returns when the receiver has taken all of them, as far as that can be known.
    pub(super) async fn deliver(&mut self, messages: &[String]) -> anyhow::Result<()> {
        match self {
            Self::File(path) => {
                append(path, messages).with_context(|| format!("`{}` cannot be written", path.display()))
            }
            Self::Datagrams { address } => {
                datagrams(address, messages).await.with_context(|| format!("`{address}` takes nothing"))
            }
            Self::Stream { address, tls, confirm, open } => {
                let bytes: Vec<u8> = messages.iter().flat_map(|message| octet_counted(message)).collect();
                let mut kept = open.take();
                if let Some(connection) = &mut kept
                    && is_closed(connection).await
                {
                    kept = None;
                }
                let connection = match kept {
                    Some(connection) => connection,
                    None => connect(address, tls.as_ref())
                        .await
                        .with_context(|| format!("`{address}` cannot be reached"))?,
                };
                let sent = send(connection, &bytes, *confirm).await;
                *open = sent.with_context(|| format!("`{address}` did not take everything"))?;
                Ok(())
            }
        }
    }
}

fn connector(ca: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let roots = match ca {
        None => broker::tls::Roots::Machine,
        Some(path) => broker::tls::Roots::Own(
            CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .with_context(|| format!("the CA file `{}` cannot be read", path.display()))?,
        ),
    };
    Ok(TlsConnector::from(Arc::new(broker::tls::client_config(&roots))))
}

async fn connect(address: &str, tls: Option<&(TlsConnector, ServerName<'static>)>) -> anyhow::Result<Connection> {
    let connecting = async {
        let began = Instant::now();
        let stream = TcpStream::connect(address).await?;
        let distance = DISTANCE_MIN.max(began.elapsed() * 2);
        let stream = stream.into_std()?;
        let socket = stream.try_clone()?;
        let stream = TcpStream::from_std(stream)?;
        let stream: Box<dyn Duplex> = match tls {
            None => Box::new(stream),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
        };
        Ok::<_, std::io::Error>(Connection { stream, socket, distance })
    };
    Ok(timeout(CONNECT_TIMEOUT, connecting).await.context("no connection in ten seconds")??)
}

/// Receivers say nothing; one that has gone says that.
async fn is_closed(connection: &mut Connection) -> bool {
    let mut some = [0; 64];
    let reading = connection.stream.read(&mut some);
    timeout(Duration::from_millis(1), reading).await.is_ok_and(|read| !matches!(read, Ok(1..)))
}

/// Gives the connection back if it goes on.
async fn send(mut connection: Connection, bytes: &[u8], confirm: Confirm) -> anyhow::Result<Option<Connection>> {
    let writing = async {
        connection.stream.write_all(bytes).await?;
        connection.stream.flush().await
    };
    timeout(WRITE_TIMEOUT, writing).await.context("it takes nothing")??;
    if confirm == Confirm::Sent {
        return Ok(Some(connection));
    }
    // One that has gone before we have said that this is all has not read it all.
    ensure!(!is_closed(&mut connection).await, "it closed the connection in the middle");
    connection.stream.shutdown().await?;
    let closed = timeout(CLOSE_TIMEOUT, read_to_end(&mut *connection.stream)).await;
    closed.context("it does not close the connection; if it never does, take `--confirm sent`")??;
    // One that died while our last bytes were on the way has closed, too, and answers them with a reset.
    tokio::time::sleep(connection.distance).await;
    match connection.socket.take_error()? {
        Some(error) => Err(error).context("it went before it had read everything"),
        None => Ok(None),
    }
}

async fn read_to_end(stream: &mut dyn Duplex) -> std::io::Result<()> {
    let mut some = [0; 1024];
    loop {
        match stream.read(&mut some).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // TLS without its own farewell, which many receivers leave out.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

async fn datagrams(address: &str, messages: &[String]) -> std::io::Result<()> {
    let target = tokio::net::lookup_host(address).await?.next().ok_or(ErrorKind::NotFound)?;
    let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).await?;
    socket.connect(target).await?;
    for message in messages {
        socket.send(message.as_bytes()).await?;
    }
    Ok(())
}

/// Opened anew each time, so that whoever moves it away gets a new one.
fn append(path: &Path, messages: &[String]) -> std::io::Result<()> {
    let mut options = std::fs::File::options();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let mut text = String::new();
    if file.seek(SeekFrom::End(0))? > 0 {
        // A line that was cut off by the end of the power ends here.
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    for message in messages {
        text.push_str(message);
        text.push('\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_that_is_none_says_how_to_write_one() {
        for (text, why) in [
            ("siem:514", "is no destination"),
            ("syslog://siem:514", "is no destination"),
            ("syslog+tcp://siem", "no host or no port"),
            ("syslog+tcp://:514", "no host or no port"),
            ("file:", "names no file"),
        ] {
            let error = Destination::parse(text, None, Confirm::Closed).err().unwrap();
            assert!(error.to_string().contains(why) && error.to_string().contains("file:PATH"), "{error}");
        }
        assert!(Destination::parse("syslog+tls://[::1]:6514", None, Confirm::Closed).is_ok());
        let misplaced = Destination::parse("syslog+tcp://a:1", Some(Path::new("ca.pem")), Confirm::Closed);
        assert!(misplaced.is_err());
    }

    fn messages() -> Vec<String> {
        vec![String::from("<110>1 first"), String::from("<110>1 second")]
    }

    #[tokio::test]
    async fn a_receiver_that_goes_before_it_has_read_everything_has_not_taken_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = format!("syslog+tcp://{}", listener.local_addr().unwrap());
        let mut destination = Destination::parse(&to, None, Confirm::Closed).unwrap();
        let batch = messages();
        for read in [0, 5, 20] {
            let receiver = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut some = vec![0; read];
                stream.read_exact(&mut some).await.unwrap();
            };
            let (delivered, ()) = tokio::join!(destination.deliver(&batch), receiver);
            assert!(delivered.is_err(), "{read} bytes read");
        }
        let receiver = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        let (delivered, text) = tokio::join!(destination.deliver(&batch), receiver);
        delivered.unwrap();
        assert_eq!(text, "12 <110>1 first13 <110>1 second");
    }

    #[tokio::test]
    async fn a_datagram_is_one_message() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = format!("syslog+udp://{}", socket.local_addr().unwrap());
        let mut destination = Destination::parse(&to, None, Confirm::Closed).unwrap();
        destination.deliver(&messages()).await.unwrap();
        for message in messages() {
            let mut some = [0; 100];
            let length = socket.recv(&mut some).await.unwrap();
            assert_eq!(std::str::from_utf8(&some[..length]).unwrap(), message);
        }
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_spoil_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        append(&path, &["a".into()]).unwrap();
        std::fs::write(&path, "a\n{\"half").unwrap();
        append(&path, &["b".into(), "c".into()]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\n{\"half\nb\nc\n");
    }
}
