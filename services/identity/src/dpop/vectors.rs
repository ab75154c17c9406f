//! The examples of RFC 9449, RFC 7638 and RFC 8705, as published.

use super::htu::Origins;
use super::proof::{Proof, Wanted, thumbprint};
use crate::PeerCertificate;
use crate::jwk::Jwk;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{Digest, Origin, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// RFC 9449 section 7.1, figure 13.
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklD\
    UkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6Il\
    AtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm9\
    0ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2\
    oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
const MADE: Timestamp = Timestamp(1_562_262_618_000);

/// Section 6.1, figure 9: the thumbprint of the key of these proofs.
const KEY: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

fn digest(text: &str) -> Digest {
    Digest(URL_SAFE_NO_PAD.decode(text).unwrap().try_into().unwrap())
}

#[test]
fn the_proof_of_rfc_9449() {
    let origins = Origins::new(Origin::parse("https://resource.example.org"));
    let (key, token) = (digest(KEY), Digest::of(TOKEN.as_bytes()));
    let wanted = Wanted {
        key: &key,
        token: &token,
        method: "GET",
        origins: &origins,
        path: "/protectedresource",
        leeway_ms: 0,
        now: MADE,
    };
    let proof = Proof::check(PROOF, &wanted).unwrap();
    assert_eq!((proof.end, proof.nonce), (MADE.plus_millis(60_000), None));
    assert!(Proof::check(PROOF, &Wanted { path: "/protectedResource", ..wanted }).is_err());
    assert!(Proof::check(PROOF, &Wanted { now: MADE.plus_millis(60_000), ..wanted }).is_err());
}

#[test]
fn the_thumbprint_of_rfc_7638() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3\
        oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6\
        qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJ\
        zKnqDKgw";
    let key = Jwk { kty: "RSA".into(), n: Some(n.into()), e: Some("AQAB".into()), ..Jwk::default() };
    assert!(key.public_key().is_ok());
    assert_eq!(thumbprint(&key), digest("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
}

#[test]
fn the_thumbprint_of_rfc_8037() {
    // Appendix A.3.
    let x = Some(String::from("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"));
    let key = Jwk { kty: "OKP".into(), crv: Some("Ed25519".into()), x, ..Jwk::default() };
    assert!(key.public_key().is_ok());
    assert_eq!(thumbprint(&key), digest("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
}

#[test]
fn the_certificate_of_rfc_8705() {
    // Appendix A.
    let pem = "-----BEGIN CERTIFICATE-----\n\
        MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx\n\
        ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG\n\
        SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ\n\
        /Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID\n\
        SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV\n\
        bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=\n\
        -----END CERTIFICATE-----\n";
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let certificate = PeerCertificate::new(vec![certificate]).unwrap();
    assert_eq!(certificate.thumbprint(), digest("A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"));
}
