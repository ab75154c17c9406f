use crate::load_catalog;
use crate::testing::{folder, messages};

/// What `millgate check` says of a source with these keys.
fn problems(keys: &str) -> String {
    let dir = folder(&[("a.toml", &format!("[source.mes]\n{keys}\n"))]);
    messages(&load_catalog(dir.path()).unwrap_err(), dir.path())
}

fn source(keys: &str) -> crate::Source {
    let dir = folder(&[("a.toml", &format!("[source.mes]\n{keys}\n"))]);
    load_catalog(dir.path()).unwrap().sources.into_values().next().unwrap()
}

#[test]
fn an_assertion_has_an_audience_and_defaults_for_the_rest() {
    let to = source("url = \"http://mes\"\nassertion = { audience = \"https://mes.example\" }").assertion.unwrap();
    assert_eq!(to.audience, "https://mes.example");
    assert_eq!((to.header.as_str(), to.lifetime_ms), ("millgate-assertion", 60_000));
    let keys = "url = \"http://mes\"\nassertion = { audience = \"mes\", header = \"X-Caller\", lifetime = \"5s\" }";
    let to = source(keys).assertion.unwrap();
    assert_eq!((to.header.as_str(), to.lifetime_ms), ("x-caller", 5_000));
    let bearer = source("url = \"http://mes\"\nassertion = { audience = \"mes\", header = \"Authorization\" }");
    assert_eq!(bearer.assertion.unwrap().header, "authorization");
    assert_eq!(source("url = \"http://mes\"").assertion, None);
}

#[test]
fn an_assertion_never_takes_a_header_that_means_something_else() {
    for name in [
        "Host",
        "content-length",
        "Content-Type",
        "transfer-encoding",
        "connection",
        "traceparent",
        "tracestate",
        "user-agent",
        "accept-encoding",
        "cookie",
        "Proxy-Authorization",
        "X-Forwarded-For",
        "X-HTTP-Method-Override",
        "millgate-request-id",
        "millgate-purpose",
        "range",
        "if-none-match",
    ] {
        let text =
            problems(&format!("url = \"http://mes\"\nassertion = {{ audience = \"mes\", header = \"{name}\" }}"));
        assert!(text.contains("has another meaning on the way to a source"), "{name}: {text}");
    }
    for name in ["x caller", "x:caller", "x_caller", "é", "x\\tcaller", &"x".repeat(65)] {
        let text =
            problems(&format!("url = \"http://mes\"\nassertion = {{ audience = \"mes\", header = \"{name}\" }}"));
        assert!(text.contains("is no header name") || text.contains("control characters"), "{name}: {text}");
    }
}

#[test]
fn an_assertion_and_a_credential_never_share_a_header() {
    let own = "url = \"http://mes\"\ntoken = { file = \"mes.token\" }\nassertion = { audience = \"mes\", header = \"authorization\" }";
    insta::assert_snapshot!(problems(own), @"a.toml:4:42: the header `authorization` of `assertion` of source `mes` already holds the source's own credential; help: choose another header, such as `millgate-assertion`");
}

#[test]
fn what_is_wrong_with_an_assertion_is_said() {
    let text = problems(
        "url = \"http://mes\"\nassertion = { audience = \"the mes\", lifetime = \"1h\", headers = \"x\" }\n\
         [source.old]\nurl = \"http://old\"\nassertion = {}",
    );
    insta::assert_snapshot!(text, @r#"
    a.toml:3:26: `audience` of `assertion` of source `mes` is not a name or URL; help: write up to 256 visible ASCII characters without spaces
    a.toml:3:48: `lifetime` of `assertion` of source `mes` is `1h`; help: use 1s to 5m
    a.toml:3:54: `assertion` of source `mes` has the unknown key `headers`; help: did you mean `header`?
    a.toml:6:1: `assertion` of source `old` has no `audience`; help: add `audience = "…"`
    "#);
}

#[test]
fn a_client_certificate_has_its_key_and_goes_over_tls_only() {
    let text = problems(
        "url = \"http://mes\"\ncertificate_file = \"mes.pem\"\nkey_file = \"mes.key\"\n\
         [source.b]\nurl = \"https://b\"\ncertificate_file = \"b.pem\"\n\
         [source.c]\nurl = \"https://c\"\nkey_file = \"c.key\"",
    );
    insta::assert_snapshot!(text, @r#"
    a.toml:3:20: source `mes` has a `certificate_file` but no TLS; help: use `https://`
    a.toml:5:9: source `b` has no `key_file`; help: add `key_file = "…"`
    a.toml:8:9: source `c` has no `certificate_file`; help: add `certificate_file = "…"`
    "#);
}

#[test]
fn every_file_of_a_source_is_watched() {
    let keys = "url = \"https://mes\"\nca_file = \"ca.pem\"\ncertificate_file = \"mes.pem\"\nkey_file = \"mes.key\"\n\
                username = \"millgate\"\npassword = { file = \"mes.password\" }";
    let source = source(keys);
    let mut names: Vec<_> = source.files().filter_map(|f| f.file_name()?.to_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ca.pem", "mes.key", "mes.password", "mes.pem"]);
}
