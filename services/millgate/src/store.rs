//! Where the store of a log is: as the configuration says, or as the command line does.

use anyhow::{Context as _, anyhow, bail};
use audit::StoreAt;
use audit::postgres::Access;
use clap::Args;
use model::party::SecretRef;
use model::url::DatabaseUrl;
use runtime::config::{Audit, Config, Store};
use runtime::secret;
use std::path::{Path, PathBuf};

/// The database that the configuration names, with its secret.
pub(crate) fn access(store: &Store) -> anyhow::Result<Access> {
    let password = store.password.as_ref().map(secret::read).transpose().context("[audit.store] password")?;
    Ok(Access {
        url: store.url.clone(),
        tls: store.tls,
        ca_file: store.ca_file.clone(),
        certificate: store.client_certificate.as_ref().map(|c| (c.certificate.clone(), c.key.clone())),
        username: store.username.clone(),
        password: password.map(|password| password.expose().to_owned()),
        connect_timeout: store.connect_timeout,
        standby: store.standby,
    })
}

/// The store that the configuration names.
pub(crate) fn of(audit: &Audit) -> anyhow::Result<StoreAt> {
    let Some(store) = &audit.store else { return Ok(StoreAt::Directory(audit.directory.clone())) };
    Ok(StoreAt::Postgres { access: Box::new(access(store)?), origin: Some(audit.origin.clone()) })
}

/// What a store needs and cannot be read now.
pub(crate) fn problems(store: &Store) -> Vec<String> {
    let secret = access(store).err().map(|error| format!("{error:#}"));
    let certificate = store.client_certificate.as_ref();
    let files = [("ca_file", store.ca_file.as_ref())]
        .into_iter()
        .chain([("certificate_file", certificate.map(|c| &c.certificate)), ("key_file", certificate.map(|c| &c.key))]);
    let unreadable = files.filter_map(|(key, file)| {
        let error = std::fs::File::open(file?).err()?;
        Some(format!("[audit.store] {key}: `{}` cannot be read: {error}", file?.display()))
    });
    secret.into_iter().chain(unreadable).collect()
}

/// A database in PostgreSQL.
#[derive(Clone, Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// The database in PostgreSQL that holds the log, as postgresql://HOST:PORT/DATABASE
    #[arg(long, value_name = "URL", help_heading = "Store")]
    store: Option<String>,
    /// The role to log in as
    #[arg(long, value_name = "ROLE", requires = "store", help_heading = "Store")]
    username: Option<String>,
    /// File that holds its password
    #[arg(long, value_name = "FILE", requires = "store", help_heading = "Store")]
    password_file: Option<PathBuf>,
    /// PEM file with the authorities that vouch for the server
    #[arg(long, value_name = "FILE", requires = "store", help_heading = "Store")]
    store_ca: Option<PathBuf>,
    /// Log in and read without TLS, where nobody sits in between
    #[arg(long, requires = "store", conflicts_with = "store_ca", help_heading = "Store")]
    no_tls: bool,
}

impl DatabaseArgs {
    /// `None` when no database was named.
    pub(crate) fn access(&self) -> anyhow::Result<Option<Access>> {
        let Some(url) = &self.store else { return Ok(None) };
        // Read here and not by the parser of the command line, which repeats what it does not understand: it may hold a password.
        let url: DatabaseUrl = url.parse().map_err(|_| {
            anyhow!("`--store` is no address of a database: write postgresql://HOST:PORT/DATABASE, without user and settings")
        })?;
        if !self.no_tls && self.store_ca.is_none() {
            bail!(
                "name who vouches for the database with `--store-ca FILE`, or say `--no-tls` where nobody sits in between"
            );
        }
        let password = self.password_file.clone().map(|file| secret::read(&SecretRef::File(file))).transpose()?;
        Ok(Some(Access {
            url,
            tls: !self.no_tls,
            ca_file: self.store_ca.clone(),
            certificate: None,
            username: self.username.clone().context("name the role to log in as with `--username`")?,
            password: password.map(|password| password.expose().to_owned()),
            connect_timeout: Store::CONNECT_TIMEOUT,
            standby: false,
        }))
    }
}

/// The store of one log: exactly one of the three.
#[derive(Clone, Debug, Args)]
pub(crate) struct StoreArgs {
    /// The log's own directory, which holds `log.db`
    #[arg(long, value_name = "DIR", help_heading = "Store")]
    pub directory: Option<PathBuf>,
    /// The broker's configuration, whose store and published directory are meant
    #[arg(long, value_name = "FILE", conflicts_with_all = ["directory", "store"], help_heading = "Store")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Which log of the database; needed if it holds several
    #[arg(long, value_name = "ORIGIN", requires = "store", help_heading = "Store")]
    pub origin: Option<String>,
}

/// A store, and where its log is published if that is known.
#[derive(Debug)]
pub(crate) struct Located {
    pub store: StoreAt,
    pub published: Option<PathBuf>,
    /// Where the broker keeps the index.
    pub index: Option<PathBuf>,
    /// Everything else that the configuration says of the log.
    pub audit: Option<Box<Audit>>,
}

impl StoreArgs {
    pub(crate) fn locate(&self) -> anyhow::Result<Located> {
        if let Some(file) = &self.config {
            let config = read(file)?;
            let (store, audit) = (of(&config.audit)?, config.audit);
            let (index, published) = (Some(audit.directory.clone()), Some(audit.publish_directory.clone()));
            return Ok(Located { store, published, index, audit: Some(Box::new(audit)) });
        }
        match (&self.directory, self.database.access()?) {
            (Some(_), Some(_)) => bail!("`--directory` and `--store` name two stores; keep one"),
            (None, Some(access)) => {
                let store = StoreAt::Postgres { access: Box::new(access), origin: self.origin.clone() };
                Ok(Located { store, published: None, index: None, audit: None })
            }
            (Some(directory), None) => {
                if !directory.join("log.db").exists() {
                    bail!("`{}` holds no `log.db`; name the log's own directory", directory.display());
                }
                Ok(Located {
                    store: StoreAt::Directory(directory.clone()),
                    published: Some(directory.join("published")),
                    index: Some(directory.clone()),
                    audit: None,
                })
            }
            (None, None) => bail!("name the log: `--directory DIR`, `--store URL`, or the broker's `--config FILE`"),
        }
    }
}

/// The configuration in this file.
pub(crate) fn read(file: &Path) -> anyhow::Result<Config> {
    Config::load(file).map_err(|p| anyhow!("{}", p.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}
