use super::*;
use identity::ClientAuthorities;
use model::issuer::{Authority, CertificateNames};
use model::party::Parties;
use rcgen::{CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber};
use std::fs::{File, FileTimes};

#[test]
fn a_file_whose_time_was_set_back_is_seen_as_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.crl");
    std::fs::write(&path, "one").unwrap();
    let (before, written) = (file_mark(&path), std::fs::metadata(&path).unwrap().modified().unwrap());
    assert_eq!(before, file_mark(&path));
    // As copying with kept times does; until the clock of the file system has moved on.
    while file_mark(&path) == before {
        std::fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_times(FileTimes::new().set_modified(written)).unwrap();
        let now = std::fs::metadata(&path).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        let (size, inode, modified, _) = before.unwrap();
        assert_eq!((now.size(), now.ino()), (size, inode));
        assert_eq!(i128::from(now.mtime()) * 1_000_000_000 + i128::from(now.mtime_nsec()), modified);
    }
}

#[test]
fn what_was_revoked_while_policies_were_read_and_is_not_any_longer_does_not_stay_so() {
    let [as_before, revoked] = [1, 2].map(|n| (Some(model::Digest([n; 32])), Vec::new()));
    let mut glances = Glances::default();
    assert!(!glances.see(as_before.clone(), &as_before) && !glances.end());
    assert!(glances.see(revoked.clone(), &as_before));
    assert!(!glances.see(revoked, &as_before));
    assert!(glances.see(as_before.clone(), &as_before), "it counts once more");
    assert!(glances.end(), "and is read again, although it is as it was");
    assert!(!glances.see(as_before.clone(), &as_before) && !glances.end());
}

fn authority(folder: &Path, organisation: &str) -> Authority {
    Authority {
        id: "acme-machines".parse().unwrap(),
        organisation: organisation.parse().unwrap(),
        ca_file: folder.join("ca.pem"),
        crl_files: vec![folder.join("acme.crl")],
        intermediates_max: 1,
        names: CertificateNames::Dns { domains: vec![String::from("acme.example")] },
        principal_kind: model::PrincipalKind::Service,
    }
}

fn list(issuer: &Issuer<'_, KeyPair>, number: u64) -> String {
    let params = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 11, 1),
        next_update: rcgen::date_time_ymd(2036, 11, 1),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).unwrap().pem().unwrap()
}

/// The example plant under `parties`.
fn world(parties: Parties, authorities: ClientAuthorities, generation: u64) -> World {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let folders = Folders {
        catalog: root.join("plants/munich/catalog"),
        registry: root.join("plants/munich/registry"),
        policies: vec![root.join("base")],
        schema: root.join("schema/plant.cedarschema"),
    };
    let parts = Parts { parties: Arc::new(parties), authorities, ..folders.load().unwrap() };
    World::join(&parts, generation, crate::upstream::Upstreams::new()).unwrap()
}

#[test]
fn a_new_revocation_list_counts_although_a_change_of_the_authorities_is_held_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    std::fs::write(folder.path().join("acme.crl"), list(&issuer, 1)).unwrap();

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let mut parties = registry::load_registry(&root.join("plants/munich/registry")).unwrap();
    let ours = authority(folder.path(), "acme");
    parties.authorities.insert(ours.id.clone(), ours.clone());
    let (authorities, problems) = load_authorities(&parties, &ClientAuthorities::default());
    assert!(problems.is_empty(), "{problems:?}");
    let old = world(parties.clone(), authorities.clone(), 1);
    assert!(only_revoked(&world(parties.clone(), authorities.clone(), 2), &old).unwrap().is_none());

    // The rules of the authority change together with its list, and the log cannot hold the change.
    std::fs::write(folder.path().join("acme.crl"), list(&issuer, 2)).unwrap();
    parties.authorities.insert(ours.id.clone(), Authority { intermediates_max: 0, ..ours.clone() });
    let (changed, problems) = load_authorities(&parties, &authorities);
    assert!(problems.is_empty(), "{problems:?}");
    let held_back = only_revoked(&world(parties, changed, 2), &old).unwrap().expect("the list counts");
    assert_ne!(held_back.authorities.digest(), old.authorities.digest());
    assert_eq!(held_back.parties.authorities.get(&ours.id), Some(&ours), "the rule waits");
}
