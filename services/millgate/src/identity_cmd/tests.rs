//! What is said of good and bad credentials, word for word; and that no word of it is secret.

use super::*;
use crate::demo::AUDIENCE;
use crate::demo::files::Home;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

const NOW: &str = "2026-11-22T12:00:00Z";
const ACME: &str = "http://127.0.0.1:9/acme";

#[derive(Debug, clap::Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The example plant, with acme's keys in a file and groups, and an authority of acme's.
struct Desk {
    folder: tempfile::TempDir,
    key: EncodingKey,
    authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(Some(folder.path().to_owned())).unwrap();
        home.write("127.0.0.1:9".parse().unwrap(), "127.0.0.1:9".parse().unwrap()).unwrap();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "key-1", "x": x, "y": y});
        let registry = folder.path().join("policies/plants/munich/registry");
        std::fs::write(registry.join("acme.jwks.json"), json!({"keys": [jwk]}).to_string()).unwrap();
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "ACME machines");
        let authority = rcgen::CertifiedIssuer::self_signed(ca, rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(registry.join("acme-ca.pem"), authority.pem()).unwrap();
        let file = registry.join("organisations.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let text =
            text.replace("title = \"ACME Presses\"", "title = \"ACME Presses\"\nroles = [\"maintenance-engineer\"]");
        let groups = "keys_file = \"acme.jwks.json\"\n\
             groups = { claim = \"groups\", roles = { \"Plant Maintenance\" = \"maintenance-engineer\" } }";
        let text = text.replace(&format!("url = \"{ACME}\""), &format!("url = \"{ACME}\"\n{groups}"));
        let machines = "\n[authority.acme-machines]\norganisation = \"acme\"\nca_file = \"acme-ca.pem\"\n\
             dns = [\"machines.acme.example\"]\nkind = \"service\"\n";
        std::fs::write(&file, text + machines).unwrap();
        Self { folder, key: EncodingKey::from_ec_der(pkcs8.as_ref()), authority }
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Another content of a file of the registry; nothing is in one that is new.
    fn change(&self, name: &str, change: impl FnOnce(String) -> String) {
        let path = self.folder.path().join("policies/plants/munich/registry").join(name);
        let text = if path.exists() { std::fs::read_to_string(&path).unwrap() } else { String::new() };
        std::fs::write(path, change(text)).unwrap();
    }

    /// Acme's opaque tokens begin with `acme_`, and this is where to ask about them.
    fn introspects(&self, endpoint: &str) {
        let secret = self.file("secret", "s3cret");
        let table = format!(
            "[issuer.acme-login.introspection]\nurl = \"{endpoint}\"\nprefix = \"acme_\"\n\
             client_id = \"millgate\"\nclient_secret = {{ file = \"{secret}\" }}\n"
        );
        self.change("organisations.toml", |text| text + "\n" + &table);
    }

    /// Acme's token, with changes; `null` takes a member away.
    fn token(&self, changes: &[(&str, Value)]) -> String {
        let now = Timestamp::parse_rfc3339(NOW).unwrap().seconds();
        let mut claims = json!({"iss": ACME, "aud": AUDIENCE, "sub": "engineer-1", "iat": now - 60, "exp": now + 600,
            "jti": "token-1", "groups": ["Plant Maintenance"]});
        for (name, value) in changes {
            claims[*name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let header = Header { typ: Some("at+jwt".into()), kid: Some("key-1".into()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }

    fn certificate(&self) -> String {
        let mut own = rcgen::CertificateParams::new(["press-3.machines.acme.example".to_owned()]).unwrap();
        own.serial_number = Some(vec![0x0a, 0x1b].into());
        own.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        own.not_before = rcgen::date_time_ymd(2026, 1, 1);
        own.not_after = rcgen::date_time_ymd(2027, 1, 1);
        own.signed_by(&rcgen::KeyPair::generate().unwrap(), &self.authority).unwrap().pem()
    }

    async fn ask(&self, arguments: &[&str]) -> anyhow::Result<Report> {
        let config = self.folder.path().join("millgate.toml").display().to_string();
        let all =
            ["millgate", "explain", "--config", &config, "--at", NOW].into_iter().chain(arguments.iter().copied());
        let Command::Explain(args) = Cli::try_parse_from(all)?.command;
        explain(&args).await
    }

    /// What is said of this token, after a look that nothing of it is said.
    async fn said_of(&self, token: &str) -> String {
        let file = self.file("token", token);
        let report = self.ask(&["--token", &file]).await.unwrap();
        self.without_secrets(&report, token)
    }

    fn without_secrets(&self, report: &Report, token: &str) -> String {
        let (text, json) = (report.text(), report.json().to_string());
        for secret in token.split('.').chain([token]).filter(|part| part.len() > 8) {
            assert!(
                !text.contains(secret) && !json.contains(secret) && !format!("{report:?}").contains(secret),
                "{text}"
            );
        }
        let volatile = report.explanation.outcome.as_ref().map(|caller| caller.fingerprint().to_string());
        text.replace(&volatile.unwrap_or_else(|_| "-".repeat(64)), "FINGERPRINT")
    }
}

/// An endpoint that takes nobody's secret.
async fn refusing() -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/ask", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(async || http::StatusCode::UNAUTHORIZED);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

#[tokio::test]
async fn a_good_token() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.said_of(&desk.token(&[])).await);
}

#[tokio::test]
async fn an_expired_token() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.said_of(&desk.token(&[("exp", json!(1_700_000_000))])).await);
}

#[tokio::test]
async fn a_token_for_another_service() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.said_of(&desk.token(&[("aud", json!("https://other.example"))])).await);
}

#[tokio::test]
async fn a_group_of_another_organisation() {
    let desk = Desk::new();
    let token = desk.token(&[("groups", json!(["press-shop-steward", "BOLT Quality"]))]);
    insta::assert_snapshot!(desk.said_of(&token).await);
}

#[tokio::test]
async fn a_certificate() {
    let desk = Desk::new();
    let file = desk.file("own.pem", &desk.certificate());
    let report = desk.ask(&["--certificate", &file]).await.unwrap();
    insta::assert_snapshot!(desk.without_secrets(&report, ""));
}

#[tokio::test]
async fn an_issuer_that_cannot_be_reached() {
    let desk = Desk::new();
    let said = desk.said_of(&desk.token(&[("iss", json!("http://127.0.0.1:9/bolt"))])).await;
    assert!(
        said.contains("issuer_unavailable") && said.contains("note: the issuer's keys could not be fetched: "),
        "{said}"
    );
}

/// The secret for questions about opaque tokens is another matter than the way to the issuer.
#[tokio::test]
async fn an_endpoint_that_refuses_our_secret() {
    let desk = Desk::new();
    desk.introspects(&refusing().await);
    let said = desk.said_of("acme_of-no-account").await;
    let note = "note: the issuer could not be asked about the token: `http://127.0.0.1:";
    let answer = "/ask` answered 401 Unauthorized: it refuses our `client_id` and `client_secret`";
    assert!(said.contains("issuer_unavailable") && said.contains(note) && said.contains(answer), "{said}");
    assert!(said.contains("  what to do  compare `client_id` and `client_secret`") && !said.contains("CA"), "{said}");
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached() {
    let desk = Desk::new();
    desk.introspects("http://127.0.0.1:9/ask");
    let said = desk.said_of("acme_of-no-account").await;
    assert!(said.contains("`http://127.0.0.1:9/ask` cannot be reached") && said.contains("by which CA"), "{said}");
}

#[tokio::test]
async fn an_unbound_token_where_a_bound_one_is_wanted() {
    let desk = Desk::new();
    desk.change("organisations.toml", |text| {
        text.replace("title = \"ACME Presses\"", "title = \"ACME Presses\"\nbinding = [\"dpop\"]")
    });
    let said = desk.said_of(&desk.token(&[])).await;
    assert!(said.contains("binding_required"), "{said}");
    assert!(said.contains("what to do  get a token from the provider that is bound in one of these ways"), "{said}");
}

#[tokio::test]
async fn whoever_is_revoked_may_be_so_by_their_authority() {
    let desk = Desk::new();
    desk.change("revoked.toml", |_| String::from("[revoked]\nprincipals = [\"acme/engineer-1\"]\n"));
    let said = desk.said_of(&desk.token(&[])).await;
    assert!(said.contains("at 2026-11-22T12:00:00.000Z: revoked"), "{said}");
    assert!(said.contains("look under `[revoked]`") && said.contains("the revocation lists (`crl_files`)"), "{said}");
}

#[tokio::test]
async fn a_token_without_a_name_in_it() {
    let desk = Desk::new();
    let said = desk.said_of(&desk.token(&[("sub", Value::Null)])).await;
    assert!(said.contains("why         the claim that names the principal, `sub`, is missing"), "{said}");
}

#[tokio::test]
async fn clearance_is_said_in_the_registrys_words() {
    let desk = Desk::new();
    let words = ["public", "internal", "confidential", "secret"];
    let principals = words.map(|word| format!("[principal.\"acme/{word}-reader\"]\nclearance = \"{word}\"\n"));
    desk.change("readers.toml", |_| principals.concat());
    for word in words {
        let said = desk.said_of(&desk.token(&[("sub", json!(format!("{word}-reader")))])).await;
        assert!(said.contains(&format!("\n  clearance          {word}\n")), "{said}");
    }
}

#[tokio::test]
async fn nothing_of_any_token_is_ever_said() {
    let desk = Desk::new();
    let good = desk.token(&[]);
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let cut: String = signature.chars().take(40).collect();
    let other = URL_SAFE_NO_PAD.encode([7; 64]);
    for token in [
        desk.token(&[("act", json!("not an object, and long enough"))]),
        desk.token(&[("cnf", json!({"jkt": "not a thumbprint, and long enough"}))]),
        desk.token(&[("iss", json!("https://unknown.example/and-long-enough"))]),
        desk.token(&[("sub", json!("somebody with spaces and quotes \" in it"))]),
        format!("{header}.{claims}.{cut}"),
        format!("{header}.{claims}.{other}"),
        format!("{header}.{claims}.{signature}!"),
        format!("{header}.{claims}"),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{claims}.{header}.{signature}"),
        String::from("opaque-token-of-nobody-that-is-known"),
        "x".repeat(9_000),
    ] {
        let said = desk.said_of(&token).await;
        assert!(said.contains("refused at "), "{said}");
    }
}

#[tokio::test]
async fn a_token_on_the_command_line_is_refused_and_not_repeated() {
    let desk = Desk::new();
    let token = desk.token(&[]);
    for arguments in [vec!["--token", &token], vec![token.as_str()], vec!["--token", "token", token.as_str()]] {
        let error = format!("{:#}", desk.ask(&arguments).await.unwrap_err());
        assert!(error.contains("shell's history"), "{error}");
        assert!(!error.contains(&token) && !error.contains(token.split('.').next_back().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn usage_that_makes_no_sense() {
    let desk = Desk::new();
    let token = desk.file("token", &desk.token(&[]));
    let empty = desk.file("empty", " \n");
    for (arguments, said) in [
        (vec![], "nothing to explain"),
        (vec!["--token", &empty], "the token is empty: the file holds nothing"),
        (vec!["--certificate", &empty], "the certificate is empty: the file holds nothing"),
        (vec!["--token", "-", "--certificate", "-"], "standard input holds one thing"),
        (vec!["--certificate", &token], "there is no certificate"),
        (vec!["--token", &token, "--url", "ftp://x/y"], "`--url` must be like"),
        (vec!["--token", &token, "--url", "https://data.plant.example/a//b"], "no request can have this `--url`"),
    ] {
        let error = format!("{:#}", desk.ask(&arguments).await.unwrap_err());
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn the_brokers_folder_of_keys_is_left_as_it_is() {
    let desk = Desk::new();
    let keys = desk.folder.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    std::fs::write(keys.join("one"), "what the broker keeps").unwrap();
    let config = desk.folder.path().join("millgate.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[identity]\nkey_cache = \"keys\"\n")).unwrap();
    assert!(desk.said_of(&desk.token(&[])).await.contains("accepted at "));
    let left: Vec<_> = std::fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["one"]);
}
