//! Checkpoints in a bucket that keeps objects locked: S3 Object Lock in compliance mode, which nobody shortens, the account's
//! owner included.
//!
//! An object is a signed note, named `PREFIX/LOG/REST.SIZE`: SIZE is its size, and REST what is left of 2^64 - 1, both in
//! twenty digits, so that the largest is listed first. An object is kept at most once in an interval. What was stored is
//! looked at once more: a store that takes the headers of a lock and keeps none is a sink that fails.
//!
//! Reading goes through all versions of all objects: a marker of deletion, or a later version, hides nothing that is locked.
//! What the log has not signed counts for nothing, and where too much of it stands in the way, that is an error. So it is where the list
//! does not end within bounds: whoever may delete in a bucket can put any number of markers in front of what it keeps.

use super::directory::{hidden, prefix};
use anyhow::Context as _;
use audit::Published;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use broker::tls::client_config;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use model::{Clock as _, Timestamp};
use runtime::clock::SystemClock;
use runtime::config::S3 as Settings;
use runtime::secret;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::io;
use std::time::{Duration, Instant};
use tlog::Checkpoint;

/// How long the address of a request, which is what is signed, may be used.
const SIGNED_FOR: Duration = Duration::from_secs(60);
/// A page of names; of a note.
const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Objects that are looked into. Whoever writes there could put any number that nobody signed.
const TRIED_MAX: usize = 500;
/// Pages of the list, of 500 versions and markers each.
const PAGES_MAX: usize = 100;
const DAY_MS: i64 = 86_400_000;
/// The store's clock and the one here may differ.
const LOCK_LATE_MS: i64 = 60_000;

pub(crate) struct S3 {
    settings: Settings,
    bucket: Bucket,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    origin: String,
    kept: Option<Instant>,
    /// Not kept, because another one was a moment ago.
    waiting: Option<Published>,
}

/// A page of `ListObjectVersions`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_version_id_marker: Option<String>,
    #[serde(default)]
    version: Vec<Version>,
    #[serde(default)]
    delete_marker: Vec<IgnoredAny>,
}

/// How far a list was read.
#[derive(Debug, Default)]
struct Listed {
    pages: usize,
    versions: usize,
    markers: usize,
}

impl Listed {
    /// `within`: the bound that ended it.
    fn broken_off(&self, within: &str) -> io::Error {
        let Self { pages, versions, markers } = self;
        hidden(&format!(
            "the list of its versions was not read to the end {within}: {pages} pages with {versions} versions and {markers} markers of \
             deletion, and behind them may be checkpoints of this log"
        ))
    }
}

impl Versions {
    fn read(page: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(page);
        quick_xml::de::from_str(&text).map_err(|error| format!("its list of versions cannot be read: {error}"))
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    key: String,
    version_id: String,
    size: u64,
}

/// Objects that could not be read. Whoever may write to the bucket could put them in front of what it keeps, so they end
/// nothing; whoever owns it could make the last that it keeps such objects, so they are not passed over in silence.
#[derive(Debug, Default)]
struct Unread {
    count: usize,
    first: Option<String>,
}

impl Unread {
    fn add(&mut self, version: &Version, why: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("`{}`: {why}", version.key));
    }

    /// At the end of a sentence.
    fn said(&self) -> String {
        self.first.as_ref().map(|first| format!("; {} cannot be read ({first})", self.count)).unwrap_or_default()
    }

    fn warn(&self, sink: &str) {
        if let Some(first) = &self.first {
            tracing::error!(
                sink,
                objects = self.count,
                first,
                "objects in a sink cannot be read, and may be later checkpoints; it is compared by the largest that can be"
            );
        }
    }
}

/// What a store says that refuses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    code: String,
    #[serde(default)]
    message: String,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl S3 {
    /// # Errors
    /// When the store's authority or its address cannot be used.
    pub(crate) fn new(settings: &Settings, origin: &str) -> anyhow::Result<Self> {
        let roots = super::roots(settings.ca_file.as_deref()).context("ca_file")?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(client_config(&roots))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(hyper_util::rt::TokioExecutor::new()).build(connector);
        let style = if settings.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let endpoint = settings.endpoint.to_string().parse().context("endpoint")?;
        let bucket = Bucket::new(endpoint, style, settings.bucket.clone(), settings.region.clone())
            .context("no bucket of that name can be reached at that endpoint; try `path_style = true`")?;
        Ok(Self { settings: settings.clone(), bucket, client, origin: origin.to_owned(), kept: None, waiting: None })
    }

    /// As it stands in metrics and log lines.
    pub(crate) fn name(&self) -> String {
        format!("s3://{}/{}", self.settings.bucket, self.settings.prefix)
    }

    /// `false`: the interval is not over, and this one waits for its end or for one that stands for it.
    pub(crate) async fn keep(&mut self, published: &Published) -> Result<bool, String> {
        if self.kept.is_some_and(|kept| kept.elapsed() < self.settings.interval) {
            self.waiting = Some(published.clone());
            return Ok(false);
        }
        self.waiting = None;
        self.put(published).await?;
        self.kept = Some(Instant::now());
        Ok(true)
    }

    /// What waits is kept now; `None` if nothing does.
    pub(crate) async fn keep_waiting(&mut self) -> Option<(u64, Result<(), String>)> {
        let published = self.waiting.take()?;
        let kept = self.put(&published).await;
        self.kept = Some(Instant::now());
        Some((published.size, kept))
    }

    /// When what waits is to be kept.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.as_ref().and(self.kept).map(|kept| kept + self.settings.interval)
    }

    fn folder(&self) -> String {
        format!("{}{}/", self.settings.prefix, prefix(&self.origin))
    }

    fn key(&self, size: u64) -> String {
        format!("{}{:020}.{size:020}", self.folder(), u64::MAX - size)
    }

    /// Read anew each time: files are changed by whoever rotates them.
    fn credentials(&self) -> Result<Credentials, String> {
        let secret = secret::read(&self.settings.secret_access_key).map_err(|error| error.to_string())?;
        Ok(Credentials::new(self.settings.access_key_id.as_str(), secret.expose()))
    }

    async fn put(&self, published: &Published) -> Result<(), String> {
        let credentials = self.credentials()?;
        let until = SystemClock.now().plus_millis(i64::from(self.settings.retain) * DAY_MS);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, published.note.as_bytes());
        // Where objects are locked, a request says what it carries. In the order of their names, as they are signed.
        let headers = [
            ("content-type", String::from("text/plain; charset=utf-8")),
            ("x-amz-checksum-sha256", STANDARD.encode(digest)),
            ("x-amz-object-lock-mode", String::from(LOCK)),
            ("x-amz-object-lock-retain-until-date", until.to_rfc3339()),
            ("x-amz-sdk-checksum-algorithm", String::from("SHA256")),
        ];
        let key = self.key(published.size);
        let mut action = self.bucket.put_object(Some(&credentials), &key);
        for (name, value) in &headers {
            action.headers_mut().insert(*name, value.as_str());
        }
        let url = action.sign(SIGNED_FOR);
        let body = Bytes::from(published.note.clone());
        let stored = self.ask(Method::PUT, url.as_str(), &headers, body, NOTE_BYTES_MAX).await?.or_refused()?;
        let version = stored.header("x-amz-version-id").ok_or("the bucket keeps no versions, so it locks nothing")?;
        let mut action = self.bucket.head_object(Some(&credentials), &key);
        action.query_mut().insert("versionId", version);
        let url = action.sign(SIGNED_FOR);
        let found = self.ask(Method::HEAD, url.as_str(), &[], Bytes::new(), NOTE_BYTES_MAX).await?.or_refused()?;
        let locked = found.header("x-amz-object-lock-retain-until-date").and_then(Timestamp::parse_rfc3339);
        let is_locked = found.header("x-amz-object-lock-mode") == Some(LOCK)
            && locked.is_some_and(|locked| locked.millis() >= until.millis() - LOCK_LATE_MS);
        if is_locked {
            return Ok(());
        }
        Err(String::from(
            "the store took the checkpoint and does not say that it is locked: make the bucket with object lock, and let this \
             user see it (`s3:GetObjectRetention`)",
        ))
    }

    /// The largest checkpoint that is kept here and that `hear` takes for one of the log; `None` if nothing of this log is.
    ///
    /// # Errors
    /// When the store cannot be read, or nothing of this log there counts, or not all could be read that may count: within
    /// `patience`, and so many pages.
    pub(crate) async fn largest(
        &self,
        hear: &(impl Fn(&str) -> Option<Checkpoint> + Sync),
        patience: Duration,
    ) -> io::Result<Option<(Checkpoint, String)>> {
        let mut listed = Listed::default();
        let found = tokio::time::timeout(patience, self.find_largest(hear, &mut listed)).await;
        found.unwrap_or_else(|_| Err(listed.broken_off(&format!("within {} s", patience.as_secs_f64()))))
    }

    async fn find_largest(
        &self,
        hear: &(impl Fn(&str) -> Option<Checkpoint> + Sync),
        listed: &mut Listed,
    ) -> io::Result<Option<(Checkpoint, String)>> {
        let (mut tried, mut after, mut unread) = (0, None, Unread::default());
        loop {
            if listed.pages == PAGES_MAX {
                return Err(listed.broken_off(&format!("in {PAGES_MAX} pages")));
            }
            let page = self.versions(after.as_ref()).await.map_err(io::Error::other)?;
            listed.pages += 1;
            listed.versions += page.version.len();
            listed.markers += page.delete_marker.len();
            for version in page.version {
                if tried == TRIED_MAX {
                    return Err(hidden(&format!(
                        "`{}` begins with {TRIED_MAX} objects that the log has not signed",
                        self.name()
                    )));
                }
                tried += 1;
                let note = match self.get(&version).await.map_err(io::Error::other)? {
                    Ok(note) => note,
                    Err(why) => {
                        unread.add(&version, &why);
                        continue;
                    }
                };
                if let Some(checkpoint) = hear(&note)
                    && checkpoint.origin == self.origin
                    // Else an old one under a name that sorts first would stand for all.
                    && self.key(checkpoint.size) == version.key
                {
                    unread.warn(&self.name());
                    return Ok(Some((checkpoint, note)));
                }
            }
            let next = page.next_key_marker.map(|key| (key, page.next_version_id_marker));
            if page.is_truncated && (next.is_none() || next == after) {
                return Err(hidden("the list of its versions does not go on where it says that it does"));
            }
            after = match (page.is_truncated, next) {
                (true, Some(next)) => Some(next),
                _ if tried > 0 => {
                    let unread = unread.said();
                    return Err(hidden(&format!(
                        "there are objects of this log, and it has signed nothing that is in them{unread}"
                    )));
                }
                _ => return Ok(None),
            };
        }
    }

    async fn versions(&self, after: Option<&(String, Option<String>)>) -> Result<Versions, String> {
        let (credentials, folder) = (self.credentials()?, self.folder());
        // An object without a name is the bucket itself.
        let mut action = self.bucket.get_object(Some(&credentials), "");
        let query = action.query_mut();
        query.insert("versions", "");
        query.insert("prefix", folder.as_str());
        query.insert("max-keys", "500");
        if let Some((key, version)) = after {
            query.insert("key-marker", key.as_str());
            if let Some(version) = version {
                query.insert("version-id-marker", version.as_str());
            }
        }
        let url = action.sign(SIGNED_FOR);
        let answer = self.ask(Method::GET, url.as_str(), &[], Bytes::new(), PAGE_BYTES_MAX).await?.or_refused()?;
        Versions::read(&answer.body)
    }

    /// `Ok(Err(_))`: this object cannot be read, whatever others can. It is not the store that fails then.
    async fn get(&self, version: &Version) -> Result<Result<String, String>, String> {
        // What is refused is not fetched.
        if version.size > NOTE_BYTES_MAX as u64 {
            return Ok(Err(format!("it has {} bytes, and a checkpoint at most {NOTE_BYTES_MAX}", version.size)));
        }
        let credentials = self.credentials()?;
        let mut action = self.bucket.get_object(Some(&credentials), &version.key);
        action.query_mut().insert("versionId", version.version_id.as_str());
        let url = action.sign(SIGNED_FOR);
        let answer = self.ask(Method::GET, url.as_str(), &[], Bytes::new(), NOTE_BYTES_MAX).await?;
        let is_refused = answer.status.is_client_error() && answer.status != StatusCode::TOO_MANY_REQUESTS;
        match answer.or_refused() {
            Ok(answer) => Ok(Ok(String::from_utf8_lossy(&answer.body).into_owned())),
            // Encrypted with a key of its own, say, or moved to where it has to be restored first.
            Err(why) if is_refused => Ok(Err(why)),
            Err(why) => Err(why),
        }
    }

    async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
        bytes_max: usize,
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, bytes_max).collect().await.map_err(|error| format!("its answer: {error}"))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

const LOCK: &str = "COMPLIANCE";

impl Answer {
    fn or_refused(self) -> Result<Self, String> {
        if self.status.is_success() {
            return Ok(self);
        }
        let text = String::from_utf8_lossy(&self.body);
        let said = quick_xml::de::from_str(&text).map(|Refusal { code, message }| format!(" {code}: {message}"));
        let said: String = said.unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect();
        Err(format!("{}{said}", self.status))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores name everything in the order of its keys, versions and markers of deletion among each other.
    #[test]
    fn markers_of_deletion_between_the_versions_hide_none_of_them() {
        let marker = |key: &str| format!("<DeleteMarker><Key>{key}</Key><VersionId>m</VersionId></DeleteMarker>");
        let version = |key: &str, size: u64| {
            format!(
                "<Version><Key>{key}</Key><VersionId>v-{key}</VersionId><IsLatest>false</IsLatest><ETag>&quot;e&quot;</ETag>\
                 <Size>{size}</Size><Owner><ID>o</ID></Owner><StorageClass>STANDARD</StorageClass></Version>"
            )
        };
        let page = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Name>locked</Name><Prefix/><KeyMarker/><MaxKeys>500</MaxKeys><IsTruncated>true</IsTruncated>\
             {}{}{}{}{}<NextKeyMarker>c</NextKeyMarker><NextVersionIdMarker>v-c</NextVersionIdMarker></ListVersionsResult>",
            marker("a"),
            version("a", 300),
            marker("b"),
            version("b", 70_000),
            version("c", 5)
        );
        let page = Versions::read(page.as_bytes()).unwrap();
        let expected = [("a", 300), ("b", 70_000), ("c", 5)].map(|(key, size)| Version {
            key: key.into(),
            version_id: format!("v-{key}"),
            size,
        });
        assert_eq!((page.version, page.delete_marker.len()), (expected.into(), 2));
        assert!(page.is_truncated);
        assert_eq!((page.next_key_marker.as_deref(), page.next_version_id_marker.as_deref()), (Some("c"), Some("v-c")));
        assert!(Versions::read(b"<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>").is_ok());
    }
}
