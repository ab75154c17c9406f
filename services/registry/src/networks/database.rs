//! A vendor's database in the MaxMind DB format, version 2: GeoLite2 Country, DB-IP Country Lite, and whatever else says
//! `country.iso_code` of a network.

use super::problem;
use crate::problem::Problem;
use maxminddb::{MaxMindDbError, Reader, WithinOptions, path};
use model::Country;
use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;

#[derive(Debug)]
pub(super) struct Database(Reader<Vec<u8>>);

impl Database {
    /// Looks at every network of it once, so that no answer can fail later.
    ///
    /// # Errors
    /// Why it is not one.
    pub(super) fn read(path: &Path, bytes: Vec<u8>) -> Result<Self, Vec<Problem>> {
        let refuse = |what: String, help| vec![problem(path, None, what, Some(help))];
        let is_damaged = |error: MaxMindDbError| {
            refuse(format!("cannot be used: {error}"), "it is a MaxMind DB file (`.mmdb`), whole and not packed")
        };
        let reader = Reader::from_source(bytes).map_err(is_damaged)?;
        let (mut records, mut has_countries) = (HashSet::new(), false);
        for network in reader.networks(WithinOptions::default()).map_err(is_damaged)? {
            let network = network.map_err(is_damaged)?;
            // Networks of one country share a record.
            if network.offset().is_some_and(|offset| records.insert(offset)) {
                let code: Option<&str> = network.decode_path(&path!["country", "iso_code"]).map_err(is_damaged)?;
                has_countries |= code.and_then(Country::parse).is_some();
            }
        }
        if !has_countries {
            let what = format!("says the country of no network; it is `{}`", reader.metadata().database_type);
            return Err(refuse(what, "take a database of countries or cities"));
        }
        Ok(Self(reader))
    }

    pub(super) fn country_of(&self, address: IpAddr) -> Option<Country> {
        // An IPv6 address in a database of IPv4 alone is not known, which is an error of it.
        let code: Option<&str> = self.0.lookup(address).ok()?.decode_path(&path!["country", "iso_code"]).ok()?;
        Country::parse(code?)
    }
}
