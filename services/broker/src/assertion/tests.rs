use super::*;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use model::{Action, Assertion, Authenticated, Binding, PrincipalKind, ResourceRef, Shape};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

const NOW: Timestamp = Timestamp(1_795_375_200_999);

fn files(dir: &Path) -> KeyFiles {
    let others = ["next.key", "previous.key"].map(|n| dir.join(n)).into();
    KeyFiles { signing: dir.join("keys/assertion.key"), others }
}

fn open(dir: &Path) -> Assertions {
    Assertions::open(String::from("plant.example/broker-1"), files(dir)).unwrap()
}

fn principal(organisation: &str, kind: PrincipalKind, subject: &str) -> Principal {
    Principal { organisation: organisation.parse().unwrap(), kind, subject: subject.parse().unwrap() }
}

#[expect(clippy::disallowed_methods, reason = "a caller of the test")]
fn asked(actors: &[Principal]) -> AccessRequest {
    let issuer: model::IssuerId = "acme-login".parse().unwrap();
    let actor = |p: &Principal| Actor { principal: p.clone(), issuer: issuer.clone(), token_id: None };
    let caller = Authenticated::assertion(Assertion {
        principal: principal("acme", PrincipalKind::User, "engineer-1"),
        issuer: issuer.clone(),
        method: model::AuthenticationMethod::Jwt,
        binding: Binding::None,
        expires: NOW.plus_millis(60_000),
        fingerprint: model::Digest::of(b"the caller's token"),
        token_id: Some(String::from("token-7")),
        certificate: None,
        assurance: 2,
        roles: ["maintenance-engineer".parse().unwrap()].into(),
        actors: actors.iter().map(actor).collect(),
    });
    AccessRequest {
        caller,
        action: Action::ReadSeries,
        resource: ResourceRef::Signal("press-3.vibration".parse().unwrap()),
        purpose: Some("predictive-maintenance".parse().unwrap()),
        agreement: None,
        shape: Shape::default(),
        country: None,
        now: NOW,
    }
}

fn addressee(header: &str) -> Addressee {
    let to = AssertionTo { audience: String::from("https://mes.example"), header: header.into(), lifetime_ms: 30_000 };
    Addressee::new(&to).unwrap()
}

fn signed(assertions: &Assertions, header: &str, asked: &AccessRequest) -> String {
    let (to, request) = (addressee(header), RequestId::new(NOW, [7; 10]));
    let agreement = "acme-2026".parse().unwrap();
    let value = assertions.signed(&to, &assertions.claims(&to.to, asked, Some(&agreement), request, NOW)).unwrap();
    assert!(value.is_sensitive());
    assert!(!format!("{value:?}").contains("ey"), "a header's value must not be printed");
    value.to_str().unwrap().to_owned()
}

fn decode(part: &str) -> serde_json::Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Header and claims, if the published key of its `kid` verifies it.
fn verified(assertions: &Assertions, token: &str) -> Option<[serde_json::Value; 2]> {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let header = decode(header);
    let set: serde_json::Value = serde_json::from_str(&assertions.published()).unwrap();
    let key = set["keys"].as_array().unwrap().iter().find(|k| k["kid"] == header["kid"])?;
    let mut point = vec![4];
    for name in ["x", "y"] {
        point.extend(URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap());
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(message.as_bytes(), &signature).ok()?;
    Some([header, decode(claims)])
}

#[test]
fn it_says_for_whom_to_whom_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let assertions = open(dir.path());
    let token = signed(&assertions, "millgate-assertion", &asked(&[]));
    let [header, claims] = verified(&assertions, &token).unwrap();
    assert_eq!((&header["typ"], &header["alg"]), (&"millgate-assertion+jwt".into(), &"ES256".into()));
    let request = RequestId::new(NOW, [7; 10]).to_string();
    let expected = serde_json::json!({
        "iss": "plant.example/broker-1", "aud": "https://mes.example", "jti": request,
        "iat": 1_795_375_200, "nbf": 1_795_375_200, "exp": 1_795_375_230,
        "sub": "acme/engineer-1", "organisation": "acme", "kind": "user",
        "action": "readSeries", "resource": "Signal/press-3.vibration",
        "purpose": "predictive-maintenance", "agreement": "acme-2026",
    });
    assert_eq!(claims, expected, "nothing of the caller's token: no `token_id`, no roles");
}

#[test]
fn whoever_sends_the_request_is_the_outermost_actor() {
    let dir = tempfile::tempdir().unwrap();
    let assertions = open(dir.path());
    let chain = [principal("bolt", PrincipalKind::Service, "agent"), principal("acme", PrincipalKind::Service, "desk")];
    let [_, claims] = verified(&assertions, &signed(&assertions, "x-caller", &asked(&chain))).unwrap();
    assert_eq!(claims["sub"], "acme/engineer-1");
    let expected = serde_json::json!({
        "sub": "bolt/agent", "organisation": "bolt", "kind": "service",
        "act": { "sub": "acme/desk", "organisation": "acme", "kind": "service" },
    });
    assert_eq!(claims["act"], expected);
}

#[test]
fn in_authorization_it_is_a_bearer_token() {
    let dir = tempfile::tempdir().unwrap();
    let assertions = open(dir.path());
    let value = signed(&assertions, "authorization", &asked(&[]));
    assert!(verified(&assertions, value.strip_prefix("Bearer ").unwrap()).is_some());
}

#[test]
fn a_key_is_made_once_for_the_owner_alone_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let mode = std::fs::metadata(&first.files.signing).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(open(dir.path()).published(), first.published());
    let token = signed(&first, "x-caller", &asked(&[]));
    assert!(verified(&open(dir.path()), &token).is_some(), "a restart keeps the key");
}

#[test]
fn a_rotation_leaves_no_moment_without_the_right_key() {
    let dir = tempfile::tempdir().unwrap();
    let (assertions, made) = (open(dir.path()), tempfile::tempdir().unwrap());
    let at = |name: &str| dir.path().join(name);
    let old = signed(&assertions, "x-caller", &asked(&[]));
    assert_eq!(assertions.reload().unwrap(), None, "nothing changed");
    std::fs::copy(open(made.path()).files.signing, at("next.key")).unwrap();
    let unchanged = assertions.keys.load().id.clone();
    assert_eq!(assertions.reload().unwrap(), Some(unchanged.clone()), "published, not signed with");
    std::fs::copy(at("keys/assertion.key"), at("previous.key")).unwrap();
    std::fs::rename(at("next.key"), at("keys/assertion.key")).unwrap();
    let kid = assertions.reload().unwrap().unwrap();
    assert_ne!(kid, unchanged);
    let new = signed(&assertions, "x-caller", &asked(&[]));
    assert_eq!(verified(&assertions, &new).unwrap()[0]["kid"], kid.as_str());
    assert!(verified(&assertions, &old).is_some());
    std::fs::remove_file(at("previous.key")).unwrap();
    assert!(assertions.reload().unwrap().is_some());
    assert!(verified(&assertions, &old).is_none());
}

#[test]
fn a_file_that_holds_no_key_changes_nothing_and_is_never_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let assertions = open(dir.path());
    let before = assertions.published();
    for text in ["c3VwZXJzZWNyZXQ=", "", "-----BEGIN PRIVATE KEY-----\nc3VwZXJzZWNyZXQ=\n-----END PRIVATE KEY-----\n"] {
        std::fs::write(&assertions.files.signing, text).unwrap();
        let error = assertions.reload().unwrap_err();
        assert!(error.to_string().contains("holds no private P-256 key"), "{error}");
        assert!(!format!("{error} {error:?}").contains("c3VwZX"), "{error:?}");
        assert_eq!(assertions.published(), before);
        assert!(assertions.files.check().is_err());
    }
    std::fs::remove_file(&assertions.files.signing).unwrap();
    assert!(matches!(assertions.reload(), Err(KeyError::File { .. })), "a reload makes no key");
    assert!(!assertions.files.signing.exists());
}

#[test]
fn what_is_published_and_printed_has_no_private_part() {
    let dir = tempfile::tempdir().unwrap();
    let assertions = open(dir.path());
    let set: serde_json::Value = serde_json::from_str(&assertions.published()).unwrap();
    assert_eq!(set["keys"][0].get("d"), None);
    let pem = std::fs::read_to_string(&assertions.files.signing).unwrap();
    let printed = format!("{assertions:?}");
    for line in pem.lines().filter(|l| !l.starts_with('-')) {
        assert!(!printed.contains(line), "{printed}");
    }
}

#[test]
fn keys_of_openssl_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys/assertion.key");
    let run = |arguments: &[&str]| {
        let command = std::process::Command::new("openssl").args(arguments).arg("-out").arg(&path).output();
        assert!(command.unwrap().status.success());
        std::fs::read(&path).unwrap()
    };
    std::fs::create_dir(dir.path().join("keys")).unwrap();
    run(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    open(dir.path());
    run(&["ecparam", "-name", "prime256v1", "-genkey", "-noout"]);
    open(dir.path());
    for other in [
        &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"][..],
        &["genpkey", "-algorithm", "ED25519"],
        &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    ] {
        run(other);
        let files = KeyFiles { signing: PathBuf::from(&path), others: Vec::new() };
        assert!(matches!(files.check(), Err(KeyError::Form { .. })), "{other:?}");
    }
}
