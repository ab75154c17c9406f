use super::*;
use model::party::SecretRef;

/// A folder with everything that a configuration names.
fn plant() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["catalog", "registry", "base", "own", "cases"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    for name in ["plant.cedarschema", "tls.pem", "tls.key", "siem.pem", "s3.pem", "networks.csv", "countries.mmdb"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    folder
}

const SMALLEST: &str = r#"
[folders]
catalog = "catalog"
registry = "registry"
policies = "base"
schema = "plant.cedarschema"
[audit]
directory = "audit"
origin = "plant.example/broker-1"
"#;

/// The problems as a person reads them, without the temporary folder's name.
fn problems(text: &str) -> Vec<String> {
    let folder = plant();
    let prefix = format!("{}/", folder.path().display());
    let found = Config::parse(&folder.path().join("millgate.toml"), text).unwrap_err();
    found.iter().map(|p| p.to_string().replace(&prefix, "")).collect()
}

#[test]
fn the_smallest_file_has_defaults_for_everything_else() {
    let folder = plant();
    let config = Config::parse(&folder.path().join("millgate.toml"), SMALLEST).unwrap();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(config.listen, Listen::default());
    assert_eq!(config.tls, None);
    assert_eq!(config.folders.policies, [at("base")]);
    assert_eq!(config.countries, Countries::default());
    assert_eq!(config.identity, Identity::default());
    assert_eq!(config.audit, Audit::new(at("audit"), String::from("plant.example/broker-1")));
    assert_eq!(config.audit.publish_directory, at("audit/published"));
    let expected = Assertion {
        issuer: String::from("plant.example/broker-1"),
        key_file: at("audit/assertion.key"),
        next_key_file: None,
        previous_key_files: Vec::new(),
    };
    assert_eq!(config.assertion, expected);
    assert_eq!((config.limits, config.telemetry), (Limits::default(), Telemetry::default()));
}

#[test]
fn every_key_is_read() {
    let folder = plant();
    let text = r#"
[listen]
data = "0.0.0.0:443"
api = "[::]:444"
operator = "10.0.0.1:0"
operator_exposed = true
data_origins = ["https://Data.plant.example:443", "https://10.0.0.7:8443"]
api_origins = "https://api.plant.example"
[tls]
certificate = "tls.pem"
key = "tls.key"
[folders]
catalog = "catalog"
registry = "registry"
policies = ["base", "own"]
schema = "plant.cedarschema"
cases = "cases"
[countries]
networks_file = "networks.csv"
database_file = "countries.mmdb"
[identity]
key_cache = "issuer-keys"
verified_tokens = 0
[audit]
directory = "/var/lib/millgate"
publish_directory = "/srv/log"
origin = "plant.example/broker-1"
key_file = "keys/log.key"
next_key = { pkcs11 = "/usr/lib/softhsm/libsofthsm2.so", token = "millgate", object = "log 2", pin = { file = "keys/pin" } }
previous_key_files = ["keys/log-0.pub"]
publish_linger = "1h"
checkpoint_interval = "500ms"
heartbeat = "5m"
organisation_summary = "12h"
queue_max = 100
deadline = "1s"
witnesses = "trust.policy"
witnesses_ca_file = "witnesses.pem"
witness_timeout = "2s"
receipts = false
receipt_deadline = "90s"
receipt_wait = "1s"
index = false
refused_logins_per_minute = 5
legal_holds = ["acme/engineer-1", "bolt"]
[audit.store]
url = "postgresql://db.plant.example/audit"
ca_file = "plant-ca.pem"
username = "broker_1"
password = { file = "/run/secrets/audit-db" }
certificate_file = "db.pem"
key_file = "db.key"
connect_timeout = "3s"
standby = true
[audit.retention]
subject = "730d"
network = "90d"
entries = "3650d"
policy = "https://plant.example/retention"
[audit.sinks]
directories = ["mount", "/mnt/worm"]
syslog = "tls://siem.example"
syslog_ca_file = "siem.pem"
[audit.sinks.s3]
endpoint = "https://s3.plant.example:9000"
bucket = "checkpoints"
region = "eu-central-1"
prefix = "munich/"
path_style = false
access_key_id = "broker-1"
secret_access_key = { env = "S3_SECRET" }
retain = "3650d"
interval = "10s"
ca_file = "s3.pem"
[assertion]
issuer = "https://millgate.plant.example"
key_file = "keys/assertion.key"
next_key_file = "keys/next.key"
previous_key_files = ["keys/old.key", "/etc/older.key"]
[masks]
key_file = "keys/masks.key"
[shadow]
policies = "next"
share = 0.5
[limits]
connections_max = 0x10
header_bytes_max = "32KiB"
headers_max = 50
requests_per_organisation = 64
proofs_per_organisation = 5000
header_timeout = "3s"
drain_timeout = "1m"
[telemetry]
log = "pretty"
level = "warn,audit=debug"
otlp_endpoint = "https://otel.example:4317"
sample_ratio = 1
follow_callers = false
"#;
    let config = Config::parse(&folder.path().join("millgate.toml"), text).unwrap();
    let at = |name: &str| folder.path().join(name);
    let seconds = Duration::from_secs;
    let expected = Config {
        listen: Listen {
            data: "0.0.0.0:443".parse().unwrap(),
            api: "[::]:444".parse().unwrap(),
            operator: "10.0.0.1:0".parse().unwrap(),
            data_origins: ["https://data.plant.example", "https://10.0.0.7:8443"]
                .map(|o| Origin::parse(o).unwrap())
                .into(),
            api_origins: vec![Origin::parse("https://api.plant.example").unwrap()],
        },
        tls: Some(Tls { certificate: at("tls.pem"), key: at("tls.key") }),
        folders: Folders {
            catalog: at("catalog"),
            registry: at("registry"),
            policies: vec![at("base"), at("own")],
            schema: at("plant.cedarschema"),
            cases: vec![at("cases")],
        },
        countries: Countries { networks_file: Some(at("networks.csv")), database_file: Some(at("countries.mmdb")) },
        identity: Identity { key_cache: Some(at("issuer-keys")), verified_tokens: 0 },
        audit: Audit {
            directory: "/var/lib/millgate".into(),
            store: Some(Store {
                url: "postgresql://db.plant.example:5432/audit".parse().unwrap(),
                tls: true,
                ca_file: Some(at("plant-ca.pem")),
                client_certificate: Some(Tls { certificate: at("db.pem"), key: at("db.key") }),
                username: String::from("broker_1"),
                password: Some(SecretRef::File("/run/secrets/audit-db".into())),
                connect_timeout: seconds(3),
                standby: true,
            }),
            publish_directory: "/srv/log".into(),
            origin: String::from("plant.example/broker-1"),
            key: LogKey::File(at("keys/log.key")),
            next_key: Some(LogKey::Token(TokenKey {
                module: "/usr/lib/softhsm/libsofthsm2.so".into(),
                token: String::from("millgate"),
                object: String::from("log 2"),
                pin: SecretRef::File(at("keys/pin")),
            })),
            previous_key_files: vec![at("keys/log-0.pub")],
            publish_linger: seconds(3600),
            checkpoint_interval: Duration::from_millis(500),
            heartbeat: seconds(300),
            organisation_summary: Some(seconds(43_200)),
            queue_max: 100,
            deadline: seconds(1),
            witnesses: Some(at("trust.policy")),
            witnesses_ca_file: Some(at("witnesses.pem")),
            witness_timeout: seconds(2),
            sinks: Sinks {
                directories: vec![at("mount"), "/mnt/worm".into()],
                syslog: Some(Syslog {
                    transport: Transport::Tls,
                    host: String::from("siem.example"),
                    port: 6514,
                    ca_file: Some(at("siem.pem")),
                }),
                s3: Some(S3 {
                    endpoint: "https://s3.plant.example:9000".parse().unwrap(),
                    bucket: String::from("checkpoints"),
                    region: String::from("eu-central-1"),
                    prefix: String::from("munich/"),
                    path_style: false,
                    access_key_id: String::from("broker-1"),
                    secret_access_key: SecretRef::Environment(String::from("S3_SECRET")),
                    retain: 3650,
                    interval: seconds(10),
                    ca_file: Some(at("s3.pem")),
                }),
            },
            receipts: false,
            receipt_deadline: seconds(90),
            receipt_wait: seconds(1),
            index: false,
            refused_logins_per_minute: 5,
            legal_holds: vec![String::from("acme/engineer-1"), String::from("bolt")],
            retention: Retention {
                subject: Some(730),
                network: Some(90),
                payload: None,
                entries: Some(3650),
                policy: Some(String::from("https://plant.example/retention")),
            },
        },
        assertion: Assertion {
            issuer: String::from("https://millgate.plant.example"),
            key_file: at("keys/assertion.key"),
            next_key_file: Some(at("keys/next.key")),
            previous_key_files: vec![at("keys/old.key"), "/etc/older.key".into()],
        },
        masks: Masks { key_file: at("keys/masks.key") },
        shadow: Some(Shadow { policies: vec![at("next")], share: 0.5 }),
        limits: Limits {
            connections_max: 16,
            header_bytes_max: 32_768,
            headers_max: 50,
            requests_per_organisation: 64,
            proofs_per_organisation: 5_000,
            header_timeout: seconds(3),
            drain_timeout: seconds(60),
        },
        telemetry: Telemetry {
            log: LogFormat::Pretty,
            level: String::from("warn,audit=debug"),
            otlp_endpoint: Some(String::from("https://otel.example:4317")),
            sample_ratio: 1.0,
            follow_callers: false,
        },
    };
    assert_eq!(config, expected);
}

#[test]
fn everything_wrong_is_said_at_once_in_the_order_of_the_file() {
    let text = r#"lisen = 1
[audit]
directory = ""
orign = "a"
heartbeat = "soon"
queue_max = 0
[limits]
header_bytes_max = "16KB"
colour = "blue"
[telemetry]
sample_ratio = 1.5
log = "xml"
otlp_endpoint = "localhost:4317"
[folders]
catalog = "catalogue"
registry = "tls.pem"
policies = ["base", "base", 3]
"#;
    assert_eq!(
        problems(text),
        [
            "millgate.toml:1:1: unknown key `lisen`; did you mean `listen`?",
            "millgate.toml:2:2: `[audit]` needs `origin`; name this log for auditors, for ever, for example `origin = \"plant.example/broker-1\"`",
            "millgate.toml:3:13: `directory` is `\"\"`; write a path, relative to this file or absolute",
            "millgate.toml:4:1: unknown key `orign` in `[audit]`; did you mean `origin`?",
            "millgate.toml:5:13: `heartbeat` is `\"soon\"`; write a duration from 1s to 1d, such as `\"250ms\"`, `\"10s\"` or `\"5m\"`",
            "millgate.toml:6:13: `queue_max` is `0`; write a whole number from 1 to 1000000",
            "millgate.toml:8:20: `header_bytes_max` is `\"16KB\"`; write a size from 8 KiB to 1 MiB, such as `\"16KiB\"` or a number of bytes",
            "millgate.toml:9:1: unknown key `colour` in `[limits]`; known keys are `header_bytes_max`, `connections_max`, `headers_max`, `requests_per_organisation`, `proofs_per_organisation`, `header_timeout`, `drain_timeout`",
            "millgate.toml:11:16: `sample_ratio` is `1.5`; write a number from 0.0 to 1.0",
            "millgate.toml:12:7: `log` is `\"xml\"`; write `\"json\"` or `\"pretty\"`",
            "millgate.toml:13:17: `otlp_endpoint` is `\"localhost:4317\"`; write a collector's gRPC address, such as `\"http://127.0.0.1:4317\"`",
            "millgate.toml:14:2: `[folders]` needs `schema`; the Cedar schema: `schema = \"plant.cedarschema\"`",
            "millgate.toml:15:11: `catalogue` does not exist; name a folder that this process can read; relative paths begin at this file",
            "millgate.toml:16:12: `tls.pem` is not a folder; name a folder that this process can read; relative paths begin at this file",
            "millgate.toml:17:21: `policies` names `base` twice; remove one",
            "millgate.toml:17:29: `policies` is `3`; write a path, relative to this file or absolute",
        ]
    );
}

#[test]
fn an_empty_file_says_what_is_needed() {
    assert_eq!(
        problems(""),
        [
            "millgate.toml:1:1: `[folders]` needs `catalog`; the folder of sources, products and routes: `catalog = \"catalog\"`",
            "millgate.toml:1:1: `[folders]` needs `registry`; the folder of organisations, issuers and agreements: `registry = \"registry\"`",
            "millgate.toml:1:1: `[folders]` needs `policies`; one folder of Cedar policies or a list: `policies = [\"base\", \"plant\"]`",
            "millgate.toml:1:1: `[folders]` needs `schema`; the Cedar schema: `schema = \"plant.cedarschema\"`",
            "millgate.toml:1:1: `[audit]` needs `directory`; the folder of the audit log: `directory = \"audit\"`",
            "millgate.toml:1:1: `[audit]` needs `origin`; name this log for auditors, for ever, for example `origin = \"plant.example/broker-1\"`",
        ]
    );
}

#[test]
fn several_syntax_errors_are_reported_with_their_places() {
    let found = problems("[listen]\ndata = 127.0.0.1\n[audit\n");
    assert!(found.len() >= 2, "{found:?}");
    assert!(found[0].starts_with("millgate.toml:2:"), "{found:?}");
    assert!(found.iter().any(|p| p.starts_with("millgate.toml:3:")), "{found:?}");
}

#[test]
fn a_key_that_is_not_a_section_says_so() {
    assert_eq!(
        problems(&format!("tls = true\n{SMALLEST}")),
        ["millgate.toml:1:1: `tls` is a boolean; make it a section, `[tls]`"]
    );
}

#[test]
fn plain_listeners_stay_on_loopback_unless_it_is_said() {
    let exposed = format!("[listen]\ndata = \"0.0.0.0:8443\"\n{SMALLEST}");
    assert_eq!(
        problems(&exposed),
        [
            "millgate.toml:1:1: `listen.data` is 0.0.0.0:8443 and there is no certificate: tokens and data would be readable on \
          the network; name `certificate` and `key` in `[tls]`, or say `plain = true` there if something in front ends TLS"
        ]
    );
    let folder = plant();
    let said = Config::parse(&folder.path().join("m.toml"), &format!("{exposed}[tls]\nplain = true\n")).unwrap();
    assert_eq!(said.tls, None);
}

#[test]
fn a_certificate_goes_with_its_key_and_not_with_plain() {
    let text = format!("{SMALLEST}[tls]\nplain = true\ncertificate = \"tls.pem\"\n");
    assert_eq!(
        problems(&text),
        [
            "millgate.toml:10:2: `[tls]` needs `key`; a certificate and its key go together, each a PEM file",
            "millgate.toml:11:9: `plain = true` and a certificate contradict each other; remove one of them",
        ]
    );
}

#[test]
fn the_operator_listener_is_for_loopback_unless_it_is_said() {
    let text = format!("[listen]\noperator = \"0.0.0.0:8445\"\n{SMALLEST}");
    assert_eq!(
        problems(&text),
        [
            "millgate.toml:2:12: `operator` is 0.0.0.0:8445: anybody who reaches it reads metrics and health without a login; \
          bind it to 127.0.0.1, or say `operator_exposed = true` if the network in front keeps strangers out"
        ]
    );
}

#[test]
fn listeners_do_not_share_an_address_but_may_all_take_any_port() {
    let text = format!("[listen]\napi = \"127.0.0.1:8443\"\n{SMALLEST}");
    assert_eq!(
        problems(&text),
        ["millgate.toml:2:7: `api` shares 127.0.0.1:8443 with another listener; give each a port of its own"]
    );
    let any = "data = \"127.0.0.1:0\"\napi = \"127.0.0.1:0\"\noperator = \"127.0.0.1:0\"";
    let folder = plant();
    Config::parse(&folder.path().join("m.toml"), &format!("[listen]\n{any}\n{SMALLEST}")).unwrap();
}

#[test]
fn an_origin_of_a_listener_is_scheme_host_and_port() {
    for (list, problem) in [
        ("\"data.plant.example\"", "millgate.toml:2:16: `data_origins` is `\"data.plant.example\"`; write RULE"),
        ("[\"https://a\", 7]", "millgate.toml:2:30: `data_origins` is `7`; write RULE"),
        ("[\"https://a/x\"]", "millgate.toml:2:17: `data_origins` is `\"https://a/x\"`; write RULE"),
        (
            "[\"https://a\", \"https://A:443\"]",
            "millgate.toml:2:30: `data_origins` names `\"https://A:443\"` twice; remove one",
        ),
    ] {
        let found = problems(&format!("[listen]\ndata_origins = {list}\n{SMALLEST}"));
        assert_eq!(found, [problem.replace("RULE", ORIGIN_RULE)], "{list}");
    }
    let text = format!(
        "[listen]\ndata_origins = \"http://a\"\n[tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\n{SMALLEST}"
    );
    let found = problems(&text);
    assert_eq!(
        found,
        [
            "millgate.toml:4:15: with a certificate nobody reaches a listener as http://a, which `[listen]` names; write \
          `https://` there"
        ]
    );
}

#[test]
fn an_origin_can_be_a_key_name_of_a_signed_note() {
    for origin in ["a b", "a+b", "", "ä"] {
        let found = problems(&SMALLEST.replace("plant.example/broker-1", origin));
        assert_eq!(
            found,
            [format!(
                "millgate.toml:9:10: `origin` is `\"{origin}\"`; write 1 to 128 ASCII characters without spaces and `+`"
            )]
        );
    }
}

#[test]
fn a_receiver_of_syslog_has_a_transport_a_host_and_a_port() {
    for (text, said) in [
        ("udp://10.0.0.1", "udp://10.0.0.1:514"),
        ("tcp://siem.example:1514", "tcp://siem.example:1514"),
        ("tls://[2001:db8::1]", "tls://[2001:db8::1]:6514"),
        ("udp://[::1]:5514", "udp://[::1]:5514"),
    ] {
        let text = format!("{SMALLEST}[audit.sinks]\nsyslog = \"{text}\"\n");
        let config = Config::parse(&plant().path().join("millgate.toml"), &text).unwrap();
        assert_eq!(config.audit.sinks.syslog.unwrap().to_string(), said);
    }
    for text in
        ["siem.example", "http://x", "udp://", "udp://a b", "tcp://x:0", "tcp://x:99999", "udp://[x]", "udp://[::1]9"]
    {
        let found = problems(&format!("{SMALLEST}[audit.sinks]\nsyslog = \"{text}\"\n"));
        assert!(found.len() == 1 && found[0].contains("`syslog` is"), "{text}: {found:?}");
    }
    let found = problems(&format!("{SMALLEST}[audit.sinks]\nsyslog = \"udp://x\"\nsyslogs = 1\n"));
    assert!(found[0].contains("unknown key `syslogs` in `[audit.sinks]`"), "{found:?}");
    let found = problems(&format!("{SMALLEST}sinks = 3\n"));
    assert!(found[0].contains("make it a section, `[audit.sinks]`"), "{found:?}");
}

#[test]
fn a_store_is_not_published() {
    assert_eq!(
        problems(&format!("{SMALLEST}publish_directory = \"audit\"\n")),
        [
            "millgate.toml:10:21: `publish_directory` is the store's own folder: auditors would be given the store; choose \
          another folder, or leave it out"
        ]
    );
}

#[test]
fn a_file_that_is_not_there_is_one_problem() {
    let found = Config::load(Path::new("/nowhere/millgate.toml")).unwrap_err();
    assert_eq!(found.len(), 1);
    let text = found[0].to_string();
    assert!(text.starts_with("/nowhere/millgate.toml: cannot be read: No such file"), "{text}");
}

/// What the chart renders (`tests/tools/chart --write`), with the paths of an image moved into a folder that can be made.
#[test]
fn the_charts_configuration_is_one_that_loads() {
    for rendered in [
        include_str!("../../../../helm/millgate/ci/values.toml"),
        include_str!("../../../../helm/millgate/ci/values-small.toml"),
        include_str!("../../../../helm/millgate/ci/values-token.toml"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in [
            "etc/millgate/catalog",
            "etc/millgate/registry",
            "etc/millgate/policies/0",
            "etc/millgate/cases/0",
            "etc/millgate/countries",
            "etc/millgate/tls",
        ] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::fs::create_dir_all(at("usr/share/millgate/policies/base")).unwrap();
        std::fs::create_dir_all(at("usr/share/millgate/policies/schema")).unwrap();
        let schema = "usr/share/millgate/policies/schema/plant.cedarschema";
        let networks = ["networks.csv", "GeoLite2-Country.mmdb"].map(|name| format!("etc/millgate/countries/{name}"));
        let networks = networks.iter().map(String::as_str);
        for file in [schema, "etc/millgate/tls/tls.crt", "etc/millgate/tls/tls.key"].into_iter().chain(networks) {
            std::fs::write(at(file), "x").unwrap();
        }
        let text = ["etc", "usr"].iter().fold(rendered.to_owned(), |text, top| {
            text.replace(&format!("\"/{top}/"), &format!("\"{}/{top}/", root.path().display()))
        });
        let config = Config::parse(&at("millgate.toml"), &text).unwrap();
        assert_eq!(config.folders.schema, at(schema));
        assert_eq!(config.audit.directory, Path::new("/var/lib/millgate/audit"));
        assert!(!config.listen.operator.ip().is_loopback());
    }
}

#[test]
fn what_is_wrong_with_assertions_is_said() {
    let text = format!(
        "{SMALLEST}[assertion]\nissuer = \"a name\"\nkey_file = \"audit/checkpoint.key\"\n\
         previous_key_files = [\"\"]\nkeys = 1\n"
    );
    assert_eq!(
        problems(&text),
        [
            "millgate.toml:11:10: `issuer` is `\"a name\"`; write a name or URL of 1 to 256 visible ASCII characters",
            "millgate.toml:12:12: `key_file` names another key's file; give each key a file of its own",
            "millgate.toml:13:22: `previous_key_files` is a value of type array; write a list of paths, relative to this \
             file or absolute",
            "millgate.toml:14:1: unknown key `keys` in `[assertion]`; known keys are `issuer`, `key_file`, \
             `next_key_file`, `previous_key_files`",
        ]
    );
}

#[test]
fn what_is_wrong_with_a_key_in_a_token_is_said_and_no_pin_repeated() {
    let audit = |lines: &str| problems(&format!("{SMALLEST}{lines}"));
    assert_eq!(
        audit(
            "key = { pkcs11 = \"m.so\", token = \" t\", object = \"o\", pin = \"1234\", slot = 0 }\nkey_file = \"k\"\n"
        ),
        [
            "millgate.toml:10:7: `key` and `key_file` name two places of one key; remove one",
            "millgate.toml:10:34: `token` is `\" t\"`; write 1 to 32 bytes of text",
            "millgate.toml:10:60: `pin` is written inline; put it in a file, and write `pin = { file = \"…\" }` or `pin = { env \
             = \"NAME\" }`",
            "millgate.toml:10:68: unknown key `slot` in `[audit.key]`; known keys are `pkcs11`, `token`, `object`, `pin`",
        ]
    );
    assert_eq!(
        audit("key = \"checkpoint.key\"\n[audit.next_key]\npkcs11 = \"m.so\"\npin = { env = \"PIN\" }\n"),
        [
            "millgate.toml:10:7: `key` is a string; make it a section, `[audit.key]`",
            "millgate.toml:11:1: `[audit.next_key]` needs `token`; the token's label: `token = \"…\"`",
            "millgate.toml:11:1: `[audit.next_key]` needs `object`; the key's label: `object = \"…\"`",
        ]
    );
    let token = |object: &str, pin: &str| {
        format!("{{ pkcs11 = \"m.so\", token = \"t\", object = \"{object}\", pin = {{ file = \"{pin}\" }} }}")
    };
    let both = |a: String, b: String| audit(&format!("key = {a}\nnext_key = {b}\n"));
    assert_eq!(
        both(token("a", "pin"), token("a", "another")),
        ["millgate.toml:10:7: `key` names another key's object; give each key an object of its own"]
    );
    let folder = plant();
    let text = format!("{SMALLEST}key = {}\nnext_key = {}\n", token("a", "pin"), token("b", "pin"));
    assert!(Config::parse(&folder.path().join("millgate.toml"), &text).is_ok());
}

#[test]
fn what_is_wrong_with_the_store_is_said_and_no_password_repeated() {
    let store = |lines: &str| problems(&format!("{SMALLEST}[audit.store]\n{lines}"));
    assert_eq!(
        store(
            "url = \"postgresql://broker:hunter2@db/audit\"\nusername = \"broker\"\npassword = \"hunter2\"\nca_file = \"ca.pem\"\n"
        ),
        [
            "millgate.toml:11:7: `url` has a user or password in it, which belongs in a file or an environment variable; write \
             `postgresql://HOST:PORT/DATABASE`",
            "millgate.toml:13:12: `password` is written inline; put it in a file, and write `password = { file = \"…\" }` or \
             `password = { env = \"NAME\" }`",
        ]
    );
    assert_eq!(
        store("url = \"mysql://db/audit\"\npassword = { file = \"a\", env = \"B\" }\nstandbys = true\n"),
        [
            "millgate.toml:10:1: `[audit.store]` needs `username`; a role: `username = \"…\"`",
            "millgate.toml:10:1: `[audit.store]` has no `ca_file`, and nobody else vouches for a database; add `ca_file = \
             \"…\"`, or `tls = false` where nobody sits in between",
            "millgate.toml:11:7: `url` does not begin with `postgresql://`; write `postgresql://HOST:PORT/DATABASE`",
            "millgate.toml:12:12: `password` names not one place; write `password = { file = \"…\" }` or `password = { env = \
             \"NAME\" }`",
            "millgate.toml:13:1: unknown key `standbys` in `[audit.store]`; did you mean `standby`?",
        ]
    );
    assert_eq!(
        store(
            "url = \"postgresql://db/audit\"\nusername = \"b\"\ntls = false\nca_file = \"ca.pem\"\nkey_file = \"k\"\n"
        ),
        [
            "millgate.toml:10:1: `certificate_file` and `key_file` belong together; name both",
            "millgate.toml:14:11: `[audit.store]` has a `ca_file` but no TLS; remove `tls = false`",
        ]
    );
    assert_eq!(
        problems(&format!("{SMALLEST}store = \"postgresql://broker:hunter2@db/audit\"\n")),
        ["millgate.toml:10:9: `store` is a string; make it a section, `[audit.store]`"]
    );
}

#[test]
fn what_is_wrong_with_a_bucket_is_said() {
    let section = |lines: &str| format!("{SMALLEST}[audit.sinks.s3]\n{lines}");
    assert_eq!(problems(&section("")).len(), 5, "{:?}", problems(&section("")));
    let good = "endpoint = \"http://127.0.0.1:9000\"\nbucket = \"kept.for-long\"\naccess_key_id = \"a\"\n\
                secret_access_key = { file = \"s\" }\nretain = \"1d\"\n";
    let config = Config::parse(&plant().path().join("millgate.toml"), &section(good)).unwrap();
    let s3 = config.audit.sinks.s3.unwrap();
    assert_eq!((s3.region.as_str(), s3.prefix.as_str(), s3.path_style), ("us-east-1", "", true));
    for (line, changed, said) in [
        ("http://127.0.0.1:9000", "http://s3.example", "`endpoint` is `\"http://s3.example\"`"),
        ("http://127.0.0.1:9000", "https://a:b@s3.example", "`endpoint` is"),
        ("kept.for-long", "Kept", "`bucket` is"),
        ("kept.for-long", "kept-", "`bucket` is"),
        ("\"1d\"", "\"1h\"", "`retain` is"),
        ("{ file = \"s\" }", "\"secret\"", "`secret_access_key` is written inline"),
        ("retain", "prefix = \"a/../\"\nretain", "`prefix` is"),
        ("retain", "prefix = \"a\"\nretain", "`prefix` is"),
        ("retain", "region = \"EU\"\nretain", "`region` is"),
        ("retain", "interval = \"2h\"\nretain", "`interval` is"),
        ("retain", "retention = 3\nretain", "unknown key `retention`"),
    ] {
        let found = problems(&section(&good.replace(line, changed)));
        assert!(found.len() == 1 && found[0].contains(said), "{changed}: {found:?}");
    }
}

#[test]
fn what_is_wrong_with_holds_and_retention_is_said() {
    let text = format!(
        "{SMALLEST}legal_holds = [\"acme/engineer-1\", \"Not An Id\"]\n[audit.retention]\nnetwork = \"90\"\nsubject = \"366d\"\nentries = \"365d\"\npayloads = \"9d\"\n"
    );
    assert_eq!(
        problems(&text),
        [
            "millgate.toml:10:35: `legal_holds` is `\"Not An Id\"`; write `organisation/subject`, or an organisation",
            "millgate.toml:12:11: `network` is `\"90\"`; write whole days, from `\"1d\"` to `\"36500d\"`",
            "millgate.toml:14:11: values of `subject` are kept for 366 days, and go with their entries; keep them longer, or leave it out to keep them for ever",
            "millgate.toml:15:1: unknown key `payloads` in `[audit.retention]`; did you mean `payload`?",
        ]
    );
    let short = problems(&format!("{SMALLEST}[audit.retention]\nentries = \"59d\"\n"));
    assert_eq!(
        short,
        [
            "millgate.toml:11:11: entries are kept for at least 60 days; keep them longer, or leave it out to keep them for ever"
        ]
    );
    let nothing = problems(&format!("{SMALLEST}[audit.retention]\npolicy = \"we keep nothing\"\n"));
    assert_eq!(
        nothing,
        [
            "millgate.toml:11:10: a policy for entries, and they are kept for ever; say for how long with `entries`, or remove it"
        ]
    );
}
