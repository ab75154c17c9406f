//! Countries by their two letters (ISO 3166-1 alpha-2).

use std::fmt;

/// Two upper-case letters, as in `DE`. Which of them stand for a country [`Country::is_known`] says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

/// Officially assigned codes of ISO 3166-1, in their order.
const ASSIGNED: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT \
    BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK \
    FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE \
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ \
    MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO \
    RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW \
    TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";

impl Country {
    /// What lists of networks write where nobody knows (user-assigned in ISO 3166-1, "unknown" in CLDR).
    pub const UNKNOWN: Self = Self(*b"ZZ");

    /// `None` for anything but two upper-case ASCII letters.
    pub fn parse(text: &str) -> Option<Self> {
        let code: [u8; 2] = text.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Self(code))
    }

    pub fn as_str(&self) -> &str {
        // Letters alone, so this never fails.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether the code is assigned, or one of those that ISO 3166-1 leaves to its users: `AA`, `QM` to `QZ`, `XA` to `XZ`,
    /// `ZZ`. `UK` and `EL` are neither.
    pub fn is_known(&self) -> bool {
        let is_users = match self.0 {
            [b'A', b'A'] | [b'Z', b'Z'] | [b'X', _] => true,
            [b'Q', second] => second >= b'M',
            _ => false,
        };
        is_users || ASSIGNED.split_ascii_whitespace().any(|code| code == self.as_str())
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for Country {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_two_upper_case_letters() {
        assert_eq!(Country::parse("DE").map(|country| country.to_string()).as_deref(), Some("DE"));
        for text in ["", "D", "de", "De", "DEU", "D1", "Ä", "D ", "Д"] {
            assert_eq!(Country::parse(text), None, "{text}");
        }
    }

    #[test]
    fn codes_that_stand_for_no_country_are_told_apart() {
        assert_eq!(ASSIGNED.split_ascii_whitespace().count(), 249);
        let sorted: Vec<&str> = ASSIGNED.split_ascii_whitespace().collect();
        assert!(sorted.is_sorted_by(|a, b| a < b));
        for (text, known) in
            [("DE", true), ("GB", true), ("UK", false), ("EL", false), ("XK", true), ("QL", false), ("QZ", true)]
        {
            assert_eq!(Country::parse(text).unwrap().is_known(), known, "{text}");
        }
    }
}
