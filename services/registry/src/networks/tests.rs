use super::*;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Reads `text` as the plant's list.
fn listed(text: &str) -> Result<Networks, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("networks.csv");
    fs::write(&path, text).unwrap();
    let files = NetworkFiles { list: Some(path), database: None };
    Networks::load(&files, &Networks::default()).map_err(|problems| {
        let prefix = format!("{}/", folder.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    })
}

fn of(networks: &Networks, address: &str) -> Option<String> {
    networks.country_of(address.parse().unwrap()).map(|country| country.to_string())
}

/// Made by a writer that is not ours, from `tests.csv`: see `tests/tools/countries.py`.
const DATABASE: &[u8] = include_bytes!("tests.mmdb");

/// The database as it is given, beside a list.
fn with_database(bytes: &[u8], list: &str) -> Result<Networks, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("countries.mmdb"), bytes).unwrap();
    fs::write(at("networks.csv"), list).unwrap();
    let files = NetworkFiles { list: Some(at("networks.csv")), database: Some(at("countries.mmdb")) };
    Networks::load(&files, &Networks::default()).map_err(|problems| {
        let prefix = format!("{}/", folder.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    })
}

#[test]
fn the_list_counts_before_the_database() {
    let networks = with_database(DATABASE, "192.0.2.0/28,DE\n192.0.2.16/28,ZZ\n10.0.0.0/8,FR\n").unwrap();
    for (address, country) in [
        ("192.0.2.1", Some("DE")),
        // The plant says that nobody can tell, whatever the vendor thinks.
        ("192.0.2.17", None),
        ("192.0.2.32", Some("SE")),
        ("::ffff:192.0.2.32", Some("SE")),
        ("198.51.100.1", Some("NO")),
        ("198.51.100.200", None),
        ("203.0.113.7", None),
        ("10.9.9.9", Some("FR")),
        ("2001:db8:7::1", Some("FI")),
        ("2001:db9::1", None),
        ("127.0.0.1", None),
    ] {
        assert_eq!(of(&networks, address).as_deref(), country, "{address}");
    }
}

#[test]
fn a_database_that_is_cut_off_packed_or_of_something_else_is_refused() {
    for length in [0, 1, 100, DATABASE.len() / 2, DATABASE.len() - 1] {
        let cut = with_database(&DATABASE[..length], "").unwrap_err();
        assert!(cut[0].starts_with("countries.mmdb: cannot be used: "), "{length}: {cut:?}");
        assert!(cut[0].ends_with("help: it is a MaxMind DB file (`.mmdb`), whole and not packed"), "{cut:?}");
    }
    // One of systems' numbers: the same tree, in which nobody has a country.
    let at = DATABASE.windows(7).position(|bytes| bytes == b"country").unwrap();
    let mut other = DATABASE.to_vec();
    other[at..at + 7].copy_from_slice(b"network");
    let told = with_database(&other, "").unwrap_err();
    assert_eq!(
        told,
        [
            "countries.mmdb: says the country of no network; it is `Test-Country`; help: take a database of countries or cities"
        ]
    );
}

#[test]
fn what_is_wrong_with_both_files_is_said_at_once() {
    let told = with_database(b"not this", "192.0.2.0/24,Sweden\n").unwrap_err();
    assert!(told[0].starts_with("networks.csv:1: `Sweden` is not a country"), "{told:?}");
    assert!(told[1].starts_with("countries.mmdb: cannot be used"), "{told:?}");
    let missing = NetworkFiles { list: Some("nowhere/networks.csv".into()), database: None };
    let told = Networks::load(&missing, &Networks::default()).unwrap_err();
    assert!(told[0].to_string().starts_with("nowhere/networks.csv: cannot be read: "), "{}", told[0]);
}

#[test]
fn a_digest_names_what_is_in_use() {
    let list = |text: &str| listed(text).unwrap().digest();
    let digests = [list("10.0.0.0/8,DE\n"), list("10.0.0.0/8,FR\n"), with_database(DATABASE, "").unwrap().digest()];
    assert!(digests.iter().all(Option::is_some), "{digests:?}");
    assert!(digests[0] != digests[1] && digests[1] != digests[2]);
    assert_eq!(list("10.0.0.0/8,DE\n"), digests[0]);
    assert_eq!(Networks::default().digest(), None);
}

#[test]
fn the_longest_prefix_of_the_list_counts() {
    let networks = listed(
        "\u{feff}network,country\n\
         # the plant, and who comes by VPN\n\
         10.0.0.0/8,DE\r\n\
         10.20.0.0/16 ; \"FR\"   # bolt's gateway\n\
         10.20.30.0/24,ZZ\n\
         10.20.30.7,PL\n\
         \n\
         2001:db8::/32,SE\n\
         2001:db8:0:1::/64,NO\n\
         ::ffff:192.0.2.0/120,CH\n",
    )
    .unwrap();
    for (address, country) in [
        ("10.1.2.3", Some("DE")),
        ("10.20.1.1", Some("FR")),
        // Nobody can tell, whatever the wider networks say.
        ("10.20.30.8", None),
        ("10.20.30.7", Some("PL")),
        ("11.0.0.1", None),
        ("::ffff:10.20.1.1", Some("FR")),
        ("192.0.2.200", Some("CH")),
        ("2001:db8::1", Some("SE")),
        ("2001:db8:0:1::1", Some("NO")),
        ("2001:db9::1", None),
        // The same bits in another family.
        ("::a14:101", None),
    ] {
        assert_eq!(of(&networks, address).as_deref(), country, "{address}");
    }
}

#[test]
fn what_is_wrong_with_a_list_is_said_line_by_line() {
    let problems = listed(
        "10.0.0.0/8,DE\n10.1.0.0/8,DE\n10.0.0.0/33,DE\nhost.example,DE\n10.0.0.0/8,FR\n192.0.2.0/24,UK\n\
         192.0.2.0/24,de\n192.0.2.0/24\n::ffff:10.1.0.1/112,DE\n10.0.0.0/+8,DE\n2001:db8::1/32,DE\n",
    )
    .unwrap_err();
    let told: Vec<&str> = problems.iter().map(|problem| problem.split("; help").next().unwrap()).collect();
    assert_eq!(
        told,
        [
            "networks.csv:2: `10.1.0.0/8` is an address in a network; the network is `10.0.0.0/8`",
            "networks.csv:3: `10.0.0.0/33` is not a network",
            "networks.csv:4: `host.example` is not a network",
            "networks.csv:5: this network stands in line 1 already, with DE",
            "networks.csv:6: `UK` is not a country",
            "networks.csv:7: `de` is not a country",
            "networks.csv:8: `192.0.2.0/24` is not a network and a country",
            "networks.csv:9: `::ffff:10.1.0.1/112` is an address in a network; the network is `::ffff:10.1.0.0/112`",
            "networks.csv:10: `10.0.0.0/+8` is not a network",
            "networks.csv:11: `2001:db8::1/32` is an address in a network; the network is `2001:db8::/32`",
        ]
    );
    let other = listed(&"no list\n".repeat(1_000)).unwrap_err();
    assert_eq!(
        (other.len(), other.last().unwrap().as_str()),
        (21, "networks.csv: and 980 more lines are not what they must be")
    );
    assert!(listed("10.0.0.0/8,UK\n").unwrap_err()[0].contains("the United Kingdom GB"));
}

/// A network with its bits and its length, of either family.
fn network() -> impl Strategy<Value = (IpAddr, u8)> {
    // Few bits, so that networks lie within each other.
    let v4 = (0..64_u32, 0..=32_u8).prop_map(|(n, length)| {
        let bits = n << 26 | n;
        let mask = u32::MAX.checked_shl(u32::from(32 - length)).unwrap_or(0);
        (IpAddr::V4(Ipv4Addr::from_bits(bits & mask)), length)
    });
    let v6 = (0..64_u128, 0..=128_u8).prop_map(|(n, length)| {
        let bits = n << 122 | n << 60 | n;
        let mask = u128::MAX.checked_shl(u32::from(128 - length)).unwrap_or(0);
        (IpAddr::V6(Ipv6Addr::from_bits(bits & mask)), length)
    });
    prop_oneof![v4, v6]
}

/// Said anew, bit by bit.
fn is_in(address: IpAddr, (network, length): (IpAddr, u8)) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().iter().flat_map(|o| (0..8).rev().map(move |n| o >> n & 1)).collect::<Vec<u8>>(),
        IpAddr::V6(v6) => v6.octets().iter().flat_map(|o| (0..8).rev().map(move |n| o >> n & 1)).collect(),
    };
    let (address, network) = (bits(address), bits(network));
    address.len() == network.len() && address.iter().zip(&network).take(length.into()).all(|(a, b)| a == b)
}

proptest! {
    #[test]
    fn an_address_is_in_the_country_of_its_longest_listed_network(
        networks in prop::collection::vec(network(), 0..40),
        address in network(),
        as_mapped: bool,
    ) {
        let countries = ["DE", "FR", "PL", "SE", "NO", "CH"];
        let mut list: Vec<((IpAddr, u8), &str)> = Vec::new();
        for (n, network) in networks.into_iter().enumerate() {
            // `::ffff:0:0/96` and narrower is IPv4, which the other half of the strategy makes.
            let is_mapped = matches!(network.0, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
            if !is_mapped && !list.iter().any(|(other, _)| *other == network) {
                list.push((network, countries[n % countries.len()]));
            }
        }
        let row = |((network, length), country): &((IpAddr, u8), &str)| match network {
            // Written either way, it is the same network.
            IpAddr::V4(v4) if as_mapped => format!("{}/{},{country}\n", v4.to_ipv6_mapped(), length + 96),
            _ => format!("{network}/{length},{country}\n"),
        };
        let text: String = list.iter().map(row).collect();
        let networks = listed(&text).unwrap();
        let address = match address.0 {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => return Ok(()),
            other => other,
        };
        let expected = list.iter().filter(|(network, _)| is_in(address, *network)).max_by_key(|((_, length), _)| *length);
        let found = networks.country_of(address).map(|country| country.to_string());
        prop_assert_eq!(found.as_deref(), expected.map(|(_, country)| *country), "{} in\n{}", address, text);
        if let IpAddr::V4(v4) = address {
            prop_assert_eq!(networks.country_of(v4.to_ipv6_mapped().into()), networks.country_of(address));
        }
    }

    #[test]
    fn no_text_is_taken_for_more_than_it_says(text in "[0-9a-f:./,;# A-Z\n]{0,80}") {
        // Whatever it is, it is read or refused, and never both.
        let _ = listed(&text).map(|networks| networks.country_of(Ipv4Addr::LOCALHOST.into()));
    }
}
