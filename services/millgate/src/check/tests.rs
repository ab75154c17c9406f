//! What is found before the plant notices.

use super::*;
use crate::demo::files::Home;
use rcgen::{CertificateRevocationListParams, CertifiedIssuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use serde_json::json;

/// The example plant.
struct Plant {
    folder: tempfile::TempDir,
}

impl Plant {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(Some(folder.path().to_owned())).unwrap();
        home.write("127.0.0.1:9".parse().unwrap(), "127.0.0.1:9".parse().unwrap()).unwrap();
        Self { folder }
    }

    /// Writes a file beside those of the registry.
    fn registry(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join("policies/plants/munich/registry").join(name), content).unwrap();
    }

    /// What is found, without the folder that the files are in.
    fn problems(&self) -> Vec<String> {
        let args = Args { config: self.folder.path().join("millgate.toml"), json: false };
        let problems = examine(&args, &mut Vec::new()).err().unwrap_or_default();
        let folder = format!("{}/policies/plants/munich/registry/", self.folder.path().display());
        problems.into_iter().map(|problem| problem.replace(&folder, "")).collect()
    }
}

#[test]
fn what_stands_once_is_counted_in_the_singular() {
    let one = Counts {
        sources: 1,
        products: 1,
        datasets: 1,
        signals: 1,
        routes: 1,
        organisations: 1,
        issuers: 1,
        authorities: 1,
        agreements: 1,
        agreements_in_force: 1,
        policies: 1,
    };
    assert_eq!(
        summary(&one),
        "1 source, 1 product, 1 dataset, 1 signal, 1 route; 1 organisation, 1 issuer, 1 authority, 1 agreement (1 in \
         force); 1 policy"
    );
    assert_eq!(
        summary(&Counts { authorities: 2, ..Counts::default() }),
        "0 sources, 0 products, 0 datasets, 0 signals, 0 routes; 0 organisations, 0 issuers, 2 authorities, 0 agreements \
         (0 in force); 0 policies"
    );
}

#[test]
fn a_key_file_that_verifies_nothing() {
    let plant = Plant::new();
    let issuer = "[issuer.acme-cells]\norganisation = \"acme\"\nurl = \"https://cells.acme.example\"\n\
         audiences = [\"millgate\"]\nalgorithms = [\"ES256\"]\nkeys_file = \"cells.json\"\n";
    plant.registry("cells.toml", issuer);
    assert_eq!(plant.problems().len(), 1, "one that cannot be read is said once");

    // The example of RFC 7515 appendix A.3.
    let [x, y] = ["f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"];
    let key = |usage: &str| json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": usage});
    for (content, said) in [
        (json!({"keys": [key("enc")]}), "none of its keys can be used: its `use` is not `sig`"),
        (key("sig"), "not a JSON object with a list `keys`"),
    ] {
        plant.registry("cells.json", &content.to_string());
        assert_eq!(plant.problems(), [format!("cells.json: `keys_file` of issuer `acme-cells`: {said}")]);
    }
    plant.registry("cells.json", &json!({"keys": [key("sig")]}).to_string());
    assert_eq!(plant.problems(), [""; 0]);
}

/// Before the plant is stopped for it.
#[test]
fn a_key_of_the_log_that_is_not_there_or_stands_twice() {
    let plant = Plant::new();
    let config = plant.folder.path().join("millgate.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let (head, rest) = text.split_once("[audit]\n").unwrap();
    let with = |more: &str| std::fs::write(&config, format!("{head}[audit]\n{more}\n{rest}")).unwrap();
    with("next_key_file = \"next.key\"");
    let problems = plant.problems();
    assert!(problems.len() == 1 && problems[0].contains("next.key"), "{problems:?}");
    let origin = Config::load(&config).unwrap().audit.origin;
    let random: audit::Random = std::sync::Arc::new(|bytes| bytes.fill(7));
    let key = audit::signer::create(&plant.folder.path().join("next.key"), &origin, &random).unwrap();
    assert_eq!(plant.problems(), [""; 0]);
    assert!(!Config::load(&config).unwrap().audit.key.file().unwrap().exists(), "nothing is made by a check");
    std::fs::write(plant.folder.path().join("old.key"), key.verifier().to_text()).unwrap();
    with("key_file = \"next.key\"\nprevious_key_files = [\"old.key\"]");
    let problems = plant.problems();
    assert!(problems.len() == 1 && problems[0].contains("is named twice"), "{problems:?}");
}

#[test]
fn a_revocation_list_past_its_next_update() {
    let plant = Plant::new();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let list_until = |year| {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: vec![1].into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&ca).unwrap().pem().unwrap()
    };
    plant.registry("cells-ca.pem", &ca.pem());
    let authority = "[authority.acme-cells]\norganisation = \"acme\"\nca_file = \"cells-ca.pem\"\n\
         crl_files = [\"cells.crl\"]\ndns = [\"cells.acme.example\"]\n";
    plant.registry("cells.toml", authority);
    plant.registry("cells.crl", &list_until(2021));
    assert_eq!(
        plant.problems(),
        ["cells.crl: a revocation list in it is past its next update, 2021-01-01T00:00:00.000Z: certificates of its \
          issuer are refused; help: it is of `authority.acme-cells` in the registry"]
    );
    plant.registry("cells.crl", &list_until(2400));
    assert_eq!(plant.problems(), [""; 0]);
}

#[test]
fn a_product_that_waits_for_witnesses_is_a_fault_where_the_quorum_asks_for_none() {
    let plant = Plant::new();
    let at = |name: &str| plant.folder.path().join(name);
    let product = "[product.x]\ntitle = \"X\"\nowner = \"norden\"\nsteward = \"press-shop-steward\"\n";
    let product = format!("{product}acknowledgement = \"witnessed\"\n");
    std::fs::write(at("policies/plants/munich/catalog/seen.toml"), product).unwrap();
    let text = std::fs::read_to_string(at("millgate.toml")).unwrap();
    std::fs::write(at("millgate.toml"), text.replace("[audit]\n", "[audit]\nwitnesses = \"trust.policy\"\n")).unwrap();
    let key = tlog::CosigningKey::generate("w1.example", [7; 32]).unwrap();
    let said = |quorum: &str| {
        let policy = format!("witness w1 {} http://127.0.0.1:9/\nquorum {quorum}\n", key.verifier().to_text());
        std::fs::write(at("trust.policy"), policy).unwrap();
        plant.problems().into_iter().filter(|problem| problem.contains("product `x`")).collect::<Vec<_>>()
    };
    let none = said("none");
    assert!(none.len() == 1 && none[0].contains("`quorum none` in the log's trust policy asks for none"), "{none:?}");
    assert_eq!(said("w1"), Vec::<String>::new());
}

#[test]
fn a_witness_without_tls_beyond_this_machine_is_a_warning_and_no_problem() {
    let plant = Plant::new();
    let config = plant.folder.path().join("millgate.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[audit]\n", "[audit]\nwitnesses = \"trust.policy\"\n")).unwrap();
    let key = tlog::CosigningKey::generate("w1.example", [7; 32]).unwrap().verifier().to_text();
    for (url, count) in
        [("https://witness.acme.example", 0), ("http://127.0.0.1:8080", 0), ("http://witness.acme.example", 1)]
    {
        let policy = format!("witness w1 {key} {url}\nquorum w1\n");
        std::fs::write(plant.folder.path().join("trust.policy"), policy).unwrap();
        let mut warnings = Vec::new();
        let args = Args { config: config.clone(), json: false };
        assert!(examine(&args, &mut warnings).is_ok(), "{url}");
        assert_eq!(warnings.len(), count, "{url}: {warnings:?}");
        assert!(
            warnings.iter().all(|warning| warning.contains(&format!("witness `w1` is asked over `{url}`"))),
            "{warnings:?}"
        );
    }
}
