//! The plant's own list: `network,country`, a network a line.

use super::problem;
use crate::problem::Problem;
use model::Country;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Told of one file; a file of another kind has a problem in every line.
const PROBLEMS_MAX: usize = 20;

/// Networks of either family, those with the longest prefix first.
#[derive(Debug, Default)]
pub(super) struct List {
    v4: Family,
    v6: Family,
}

/// By the bits that a network leaves to its hosts, and the address without them. There are 129 lengths at most, and few in
/// any list.
#[derive(Debug, Default)]
struct Family(BTreeMap<u8, HashMap<u128, Row>>);

#[derive(Clone, Copy, Debug)]
struct Row {
    country: Country,
    line: usize,
}

/// An address and the bits that count, IPv4 in IPv6 as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    is_v4: bool,
    bits: u128,
    /// Of 32 or 128.
    hosts: u8,
}

impl List {
    /// # Errors
    /// What is wrong, line by line.
    pub(super) fn read(path: &Path, bytes: Vec<u8>) -> Result<Self, Vec<Problem>> {
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            vec![problem(
                path,
                None,
                format!("is not UTF-8 from byte {at} on"),
                Some("it is a text, `network,country`"),
            )]
        })?;
        let (mut list, mut problems, mut more) = (Self::default(), Vec::new(), 0_usize);
        // Spreadsheets mark UTF-8 with a byte order mark.
        for (line, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let Err((what, help)) = list.line(line, text) else { continue };
            if problems.len() < PROBLEMS_MAX {
                problems.push(problem(path, Some(line), what, help));
            } else {
                more += 1;
            }
        }
        if more > 0 {
            problems.push(problem(path, None, format!("and {more} more lines are not what they must be"), None));
        }
        if problems.is_empty() { Ok(list) } else { Err(problems) }
    }

    fn line(&mut self, line: usize, text: &str) -> Result<(), (String, Option<&'static str>)> {
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            return Ok(());
        }
        let cell = |cell: &str| cell.trim().trim_matches('"').trim().to_owned();
        let cells: Vec<String> = text.split([',', ';']).map(cell).collect();
        let [network, country] = cells.as_slice() else {
            return Err((format!("`{text}` is not a network and a country"), Some("write it as in `192.0.2.0/24,DE`")));
        };
        if (network.as_str(), country.as_str()) == ("network", "country") {
            return Ok(());
        }
        let network = Network::parse(network)?;
        let country = Country::parse(country).filter(Country::is_known).ok_or_else(|| {
            let help = "write two upper-case letters of ISO 3166-1, as in DE (Greece is GR, the United Kingdom GB), \
                or ZZ where nobody can tell";
            (format!("`{country}` is not a country"), Some(help))
        })?;
        let family = if network.is_v4 { &mut self.v4 } else { &mut self.v6 };
        match family.0.entry(network.hosts).or_default().entry(network.bits) {
            Entry::Vacant(place) => {
                place.insert(Row { country, line });
                Ok(())
            }
            Entry::Occupied(row) => {
                let Row { country: other, line } = row.get();
                Err((
                    format!("this network stands in line {line} already, with {other}"),
                    Some("remove one of the two"),
                ))
            }
        }
    }

    /// Of the longest prefix that `address`, which is canonical, is in.
    pub(super) fn country_of(&self, address: IpAddr) -> Option<Country> {
        let (family, bits) = match address {
            IpAddr::V4(v4) => (&self.v4, u128::from(v4.to_bits())),
            IpAddr::V6(v6) => (&self.v6, v6.to_bits()),
        };
        family.0.iter().find_map(|(hosts, networks)| networks.get(&without_hosts(bits, *hosts))).map(|row| row.country)
    }
}

fn without_hosts(bits: u128, hosts: u8) -> u128 {
    bits & u128::MAX.checked_shl(u32::from(hosts)).unwrap_or(0)
}

impl Network {
    /// `192.0.2.0/24`, `2001:db8::/32`, or one address.
    fn parse(text: &str) -> Result<Self, (String, Option<&'static str>)> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let none = || {
            let help = "write it as in `192.0.2.0/24` or `2001:db8::/32`";
            (format!("`{text}` is not a network"), Some(help))
        };
        let address: IpAddr = address.parse().map_err(|_| none())?;
        let width: u8 = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => width,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|length| *length <= width).ok_or_else(none)?
            }
            Some(_) => return Err(none()),
        };
        let hosts = width - length;
        let (is_v4, bits) = match address {
            IpAddr::V4(v4) => (true, u128::from(v4.to_bits())),
            // The IPv4 of an address in IPv6 counts, so it must be the whole of what is left.
            IpAddr::V6(v6) => match v6.to_ipv4_mapped().filter(|_| hosts <= 32) {
                Some(v4) => (true, u128::from(v4.to_bits())),
                None => (false, v6.to_bits()),
            },
        };
        let first = without_hosts(bits, hosts);
        if first != bits {
            let first = match (is_v4, address.is_ipv4(), u32::try_from(first)) {
                (true, true, Ok(first)) => IpAddr::V4(Ipv4Addr::from_bits(first)),
                (true, false, Ok(first)) => IpAddr::V6(Ipv4Addr::from_bits(first).to_ipv6_mapped()),
                _ => IpAddr::V6(Ipv6Addr::from_bits(first)),
            };
            let what = format!("`{text}` is an address in a network; the network is `{first}/{length}`");
            return Err((what, Some("write that, or the address without `/`")));
        }
        Ok(Self { is_v4, bits, hosts })
    }
}
