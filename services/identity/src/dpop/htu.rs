//! Whether the address in a proof is the one that was asked, in canonical form.
//!
//! It is compared with what the plant says its listener is called, never with the `Host` header: whoever passes a request
//! on chooses that.

use model::Origin;

/// How a listener is reached, in every way that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

impl Origins {
    pub fn new(origins: impl IntoIterator<Item = Origin>) -> Self {
        Self(origins.into_iter().collect())
    }

    pub fn contains(&self, origin: &Origin) -> bool {
        self.0.contains(origin)
    }

    /// Whether `url` is one of these origins with `path`: decoded segments, each after a `/`, none with a `/` in it, or
    /// `/` alone. Query and fragment of `url` do not count (RFC 9449 section 4.3).
    ///
    /// The path of `url` is decoded once, as that of a request is. One that a request could not have (dot segments, a
    /// doubled `/`, an encoded one) equals no path.
    pub fn lead_to(&self, url: &str, path: &str) -> bool {
        let Some((origin, rest)) = Origin::split(url) else { return false };
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let raw = rest.get(..end).unwrap_or_default();
        self.0.contains(&origin) && decodes_to(if raw.is_empty() { "/" } else { raw }, path)
    }
}

fn decodes_to(raw: &str, path: &str) -> bool {
    let mut rest = raw.bytes();
    let mut wanted = path.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' { escaped(rest.next(), rest.next()) } else { Some(byte) };
        if byte.is_none() || byte != wanted.next() {
            return false;
        }
    }
    wanted.next().is_none()
}

/// `None` for `%2F` too: a `/` that is written so separates nothing.
fn escaped(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let byte = hex(high?)? << 4 | hex(low?)?;
    (byte != b'/').then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins() -> Origins {
        Origins::new(["https://data.plant.example", "http://127.0.0.1:8443"].map(|o| Origin::parse(o).unwrap()))
    }

    #[test]
    fn equivalent_addresses_are_one() {
        for url in [
            "https://data.plant.example/series/press-3.force",
            "HTTPS://DATA.plant.EXAMPLE:443/series/press-3.force",
            "https://data.plant.example/series/press%2D3%2eforce",
            "https://data.plant.example/%73eries/press-3.force",
            "https://data.plant.example/series/press-3.force?from=2026-11-22",
            "https://data.plant.example/series/press-3.force#top",
            "https://data.plant.example/series/press-3.force?a#b?c",
            "http://127.0.0.1:8443/series/press-3.force",
        ] {
            assert!(origins().lead_to(url, "/series/press-3.force"), "{url}");
        }
        for root in ["https://data.plant.example", "https://data.plant.example/", "https://data.plant.example?a=b"] {
            assert!(origins().lead_to(root, "/"), "{root}");
        }
        assert!(origins().lead_to("https://data.plant.example/%C3%BC", "/ü"));
    }

    #[test]
    fn another_address_is_another() {
        for url in [
            "https://data.plant.example/series/press-4.force",
            "https://data.plant.example/series/press-3.forc",
            "https://data.plant.example/series/press-3.force/",
            "https://data.plant.example//series/press-3.force",
            "https://data.plant.example/series/./press-3.force",
            "https://data.plant.example/a/../series/press-3.force",
            "https://data.plant.example/series%2Fpress-3.force",
            "https://data.plant.example/series/press%252D3.force",
            "https://data.plant.example/Series/press-3.force",
            "https://data.plant.example/series/press-3.force%",
            "https://data.plant.example/series/press-3.force%0",
            "https://data.plant.example/series/press-3.force%00",
            "http://data.plant.example/series/press-3.force",
            "https://data.plant.example:8443/series/press-3.force",
            "https://data.plant.example./series/press-3.force",
            "https://data.plant.example.evil.example/series/press-3.force",
            "https://evil@data.plant.example/series/press-3.force",
            "https://evil.example/series/press-3.force",
            "https://localhost:8443/series/press-3.force",
            "/series/press-3.force",
            "",
        ] {
            assert!(!origins().lead_to(url, "/series/press-3.force"), "{url}");
        }
    }
}
