use super::*;
use crate::source::Address;
use crate::testing::{folder, messages};

/// A minimal good catalog, to be spoilt.
const GOOD: &str = r#"
[equipment.plant]
level = "enterprise"
[equipment.press-3]
level = "equipment"
parent = "plant"
supplier = "acme"
[product.telemetry]
owner = "norden"
steward = "shift-lead"
[source.historian]
url = "http://127.0.0.1:8086/base"
[field_class.process]
title = "Process"
[signal."press-3.force"]
product = "telemetry"
source = "historian"
equipment = "press-3"
address = "PR03.FORCE"
unit = "kN"
class = "process"
sensitivity = "internal"
"#;

fn problems(files: &[(&str, &str)]) -> String {
    let dir = folder(files);
    messages(&load_catalog(dir.path()).expect_err("a problem"), dir.path())
}

#[test]
fn a_small_catalog_loads_and_a_signal_is_its_machines_builders() {
    let dir = folder(&[("a.toml", GOOD)]);
    let catalog = load_catalog(dir.path()).unwrap();
    let signal = catalog.plant.signals.get("press-3.force").unwrap();
    assert_eq!(signal.governance.supplier.as_ref().map(|s| s.as_str()), Some("acme"));
    let Address::Http(url) = &catalog.sources.get("historian").unwrap().address else { panic!("a database") };
    assert_eq!(url.base_path, "/base");
}

#[test]
fn everything_wrong_is_said_at_once_with_its_place_and_the_nearest_name() {
    let things = r#"
[source.mes]
url = "http://anna:hunter2@mes"
pasword = "x"
[source.old]
url = "https://old"
username = "u"
password = "hunter2"
concurrency = 0
connect_timeout = "2 s"
[product.parts]
owner = "Norden"
lifecycle = "aktiv"
[dataset.parts]
product = "part"
source = "messy"
equipment = "press-4"
sensitivity = "hidden"
fields.a.b = "proces"
fields.c = 3
[equipment.area-1]
level = "area"
[equipment.site-1]
level = "site"
parent = "area-1"
[signal.press-3.speed]
address = "X"
[organisation.acme]
kind = "supplier"
[signals.x]
"#;
    let text = problems(&[("a.toml", GOOD), ("b/things.toml", things)]);
    assert!(!text.contains("hunter2"), "{text}");
    insta::assert_snapshot!("catalog_problems", text);
}

#[test]
fn what_stands_twice_names_both_places() {
    let text = problems(&[("a.toml", GOOD), ("b.toml", "[source.historian]\nurl = \"http://127.0.0.1\"\n")]);
    insta::assert_snapshot!(text, @"b.toml:1:9: source `historian` is defined twice, first in a.toml:11");
}

#[test]
fn broken_toml_is_said_without_guesses_about_what_it_hides() {
    let text = problems(&[("a.toml", GOOD.replace("[product.telemetry]", "[product.telemetry").as_str())]);
    assert!(text.contains("a.toml:8:"), "{text}");
    assert!(!text.contains("unknown product"), "{text}");
}

#[test]
fn tag_lists_are_read_with_comma_or_semicolon_and_checked_like_tables() {
    let comma = "# from the historian\n\nid,product,source,equipment,address,class,sensitivity,trade_secret\n\
                 press-3.a,telemetry,historian,press-3,A,process,internal,true\n";
    let semicolon = "\u{feff}id;product;source;equipment;address;class;sensitivity\r\n\
                     press-3.b;telemetry;historian;plant;\"B;1\";process;secret\r\n";
    let dir = folder(&[("a.toml", GOOD), ("signals.csv", comma), ("more/signals-2.csv", semicolon)]);
    let catalog = load_catalog(dir.path()).unwrap_or_else(|e| panic!("{}", messages(&e, dir.path())));
    assert!(catalog.plant.signals.get("press-3.a").unwrap().governance.trade_secret);
    let b = catalog.plant.signals.get("press-3.b").unwrap();
    assert_eq!((b.address.as_str(), b.governance.sensitivity), ("B;1", 3));
    assert_eq!(b.governance.supplier, None);

    let bad = "id,produkt,source,equipment,address,class,sensitivity\n\
               # a comment\n\
               press-3.c,telemetry,historian,press-3,C,process,internal\n\
               press-3.force,telemetry,historian,press-3,C,process\n\
               ,telemetry,historian,press-3,C,process,internal\n\
               press-3.force,telemetry,historian,press-3,C,process,internal\n";
    insta::assert_snapshot!("tag_list_problems", problems(&[("a.toml", GOOD), ("signals.csv", bad), ("tags.csv", "")]));
}

#[test]
fn csv_may_be_separated_otherwise_and_nothing_else_may() {
    let with = |keys: &str| {
        let table = "\n[dataset.parts]\nproduct = \"telemetry\"\nsource = \"historian\"\nequipment = \"press-3\"\n\
                     sensitivity = \"internal\"\n";
        format!("{GOOD}{table}{keys}\n")
    };
    let dir = folder(&[("a.toml", &with("format = \"csv\"\nseparator = \"semicolon\""))]);
    let catalog = load_catalog(dir.path()).unwrap_or_else(|e| panic!("{}", messages(&e, dir.path())));
    let format = catalog.plant.datasets.get("parts").unwrap().format;
    assert_eq!(format, model::plant::Format::Csv(model::plant::Separator::Semicolon));
    let said = |keys| problems(&[("a.toml", with(keys).as_str())]);
    insta::assert_snapshot!(said("separator = \"semicolon\""), @r#"a.toml:29:13: dataset `parts` has a `separator` and is not written in CSV; help: leave it out, or say `format = "csv"`"#);
    insta::assert_snapshot!(said("format = \"csv\"\nseparator = \";\""), @"a.toml:30:13: `separator` of dataset `parts` is `;`; help: known: `comma`, `semicolon`, `tab`");
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_not_followed_and_mounted_config_maps_are_read_once() {
    use std::os::unix::fs::symlink;
    let outside = folder(&[("secret.toml", "[source.evil]\nurl = \"http://evil\"\n")]);
    let dir = folder(&[("..2026/a.toml", GOOD)]);
    symlink("..2026", dir.path().join("..data")).unwrap();
    symlink("..data/a.toml", dir.path().join("a.toml")).unwrap();
    assert!(load_catalog(dir.path()).is_ok());
    symlink(outside.path().join("secret.toml"), dir.path().join("b.toml")).unwrap();
    let text = messages(&load_catalog(dir.path()).expect_err("a link"), dir.path());
    insta::assert_snapshot!(text, @"b.toml: is a symbolic link out of the folder, which is not followed");
}

#[test]
fn the_digest_follows_content_and_names_and_the_fingerprint_any_write() {
    let dir = folder(&[("a.toml", GOOD)]);
    let same = folder(&[("a.toml", GOOD), ("README.md", "not read")]);
    let renamed = folder(&[("b.toml", GOOD)]);
    let digest = |d: &tempfile::TempDir| load_catalog(d.path()).unwrap().digest();
    assert_eq!(digest(&dir), digest(&same));
    assert_ne!(digest(&dir), digest(&renamed));
    let before = crate::fingerprint(dir.path());
    assert_eq!(crate::fingerprint(dir.path()), before);
    std::fs::write(dir.path().join("c.toml"), "").unwrap();
    assert_ne!(crate::fingerprint(dir.path()), before);
    assert_ne!(crate::fingerprint(&dir.path().join("nowhere")), before);
}

#[test]
fn secrets_come_from_files_and_are_never_printed() {
    let source = "[source.mes]\nurl = \"https://mes\"\ntoken = { file = \"mes.token\" }\nca_file = \"ca.pem\"\n";
    let dir = folder(&[("a.toml", GOOD), ("b.toml", source)]);
    let catalog = load_catalog(dir.path()).unwrap();
    let crate::Credentials::Bearer { token } = &catalog.sources.get("mes").unwrap().credentials else {
        panic!("a token");
    };
    assert!(runtime::secret::read(token).is_err());
    std::fs::write(dir.path().join("mes.token"), "s3cret\n").unwrap();
    let secret = runtime::secret::read(token).unwrap();
    assert_eq!(secret.expose(), "s3cret");
    assert_eq!(format!("{secret:?}"), "Secret(…)");
    std::fs::write(dir.path().join("mes.token"), "two\nlines\n").unwrap();
    assert!(runtime::secret::read(token).is_err());
}
