//! Keys on disk: what counts, and what somebody may have laid there.

use super::idp::{Key, key_set};
use super::stand::NOW;
use crate::fetch::Endpoint;
use crate::jwk::KeySet;
use crate::prepare_key_cache;
use crate::stored::{KeyFile, StoredError};
use model::Timestamp;
use model::party::KeyLocation;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * 60_000;

struct Disk {
    folder: tempfile::TempDir,
    file: KeyFile,
    set: KeySet,
}

fn endpoint() -> Endpoint {
    let (issuer, keys) = (String::from("https://idp.acme.example"), KeyLocation::Discovery { at: None });
    Endpoint { issuer, keys, ca_file: None, token_file: None }
}

/// A file with one key, written `NOW`.
fn disk() -> Disk {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::new(folder.path(), &endpoint());
    let set = KeySet::parse(key_set(&[&Key::p256("key-1")]).to_string().as_bytes()).unwrap();
    file.save(&set, NOW).unwrap();
    Disk { folder, file, set }
}

impl Disk {
    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut content: Value = serde_json::from_slice(&fs::read(self.file.path()).unwrap()).unwrap();
        change(&mut content);
        fs::write(self.file.path(), content.to_string()).unwrap();
    }

    fn load_at(&self, now: Timestamp) -> Result<Option<(KeySet, Timestamp)>, StoredError> {
        self.file.load(now, DAY_MS)
    }

    /// Why the file does not count.
    fn refusal(&self) -> String {
        self.load_at(NOW).unwrap_err().to_string()
    }
}

#[test]
fn keys_are_read_as_they_were_written() {
    let disk = disk();
    let (set, at) = disk.load_at(NOW.plus_millis(DAY_MS - 1)).unwrap().unwrap();
    assert_eq!(at, NOW);
    assert!(set.keeping(&disk.set).is_same(&disk.set));
    assert_eq!(fs::metadata(disk.file.path()).unwrap().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(disk.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [disk.file.path().file_name().unwrap()], "no draft stays behind");
}

#[test]
fn no_file_is_no_problem() {
    let folder = tempfile::tempdir().unwrap();
    assert!(KeyFile::new(folder.path(), &endpoint()).load(NOW, DAY_MS).unwrap().is_none());
}

#[test]
fn a_private_part_is_never_written() {
    let disk = disk();
    let secret = "c2VjcmV0c2VjcmV0";
    let keys = json!({"keys": [Key::p256("key-1").jwk_with(&[("d", json!(secret))]), Key::p256("key-2").jwk]});
    disk.file.save(&KeySet::parse(keys.to_string().as_bytes()).unwrap(), NOW).unwrap();
    let text = fs::read_to_string(disk.file.path()).unwrap();
    assert!(!text.contains(secret) && text.contains("key-2"), "{text}");
}

#[test]
fn a_file_that_is_too_old_is_ignored() {
    let error = disk().load_at(NOW.plus_millis(DAY_MS)).unwrap_err().to_string();
    assert!(error.contains("too long ago"), "{error}");
}

#[test]
fn a_clock_set_back_does_not_make_a_file_young() {
    let disk = disk();
    assert!(disk.load_at(NOW.plus_millis(-MINUTE_MS)).unwrap().is_some());
    let error = disk.load_at(NOW.plus_millis(-MINUTE_MS - 1)).unwrap_err().to_string();
    assert!(error.contains("the clock was set back"), "{error}");
}

#[test]
fn a_file_for_another_issuer_place_or_ca_is_ignored() {
    let disk = disk();
    fs::copy(disk.file.path(), disk.folder.path().join("kept")).unwrap();
    let others = [
        Endpoint { issuer: String::from("https://idp.bolt.example"), ..endpoint() },
        Endpoint { keys: KeyLocation::Url(String::from("https://idp.acme.example/keys")), ..endpoint() },
        Endpoint {
            keys: KeyLocation::Discovery { at: Some(String::from("https://10.0.0.1/.well-known/x")) },
            ..endpoint()
        },
        Endpoint { ca_file: Some("acme-ca.pem".into()), ..endpoint() },
    ];
    for other in others {
        let file = KeyFile::new(disk.folder.path(), &other);
        // Under the name that this reader looks for, as somebody would lay it there.
        fs::copy(disk.folder.path().join("kept"), file.path()).unwrap();
        let error = file.load(NOW, DAY_MS).unwrap_err().to_string();
        assert!(error.contains("`https://idp.acme.example` from discovery, not what the registry names"), "{error}");
    }
}

#[test]
fn a_damaged_file_is_ignored() {
    let damages: [fn(&mut Value); 7] = [
        |content| content["version"] = json!(2),
        |content| content["fetched_at"] = json!("yesterday"),
        |content| content["fetched_at"] = json!(0),
        |content| content["keys"] = json!([]),
        |content| content["keys"]["keys"] = json!(vec![json!({}); 65]),
        |content| content["more"] = json!(true),
        |content| *content = json!("keys"),
    ];
    for damage in damages {
        let disk = disk();
        disk.change(damage);
        let error = disk.refusal();
        assert!(error.contains("is damaged"), "{error}");
    }
    let disk = disk();
    let whole = fs::read(disk.file.path()).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 2] {
        fs::write(disk.file.path(), &whole[..length]).unwrap();
        assert!(disk.refusal().contains("is damaged"), "{length} bytes");
    }
    fs::write(disk.file.path(), [&whole[..], &vec![b' '; 256 * 1024]].concat()).unwrap();
    assert!(disk.refusal().contains("more than 262144 bytes"));
}

#[test]
fn a_link_or_a_file_that_anybody_may_write_is_ignored() {
    let linked = disk();
    let elsewhere = linked.folder.path().join("elsewhere");
    fs::rename(linked.file.path(), &elsewhere).unwrap();
    symlink(&elsewhere, linked.file.path()).unwrap();
    assert!(linked.refusal().contains("no plain file"), "{}", linked.refusal());
    // Writing replaces the link and leaves alone what it leads to.
    let before = fs::read(&elsewhere).unwrap();
    linked.file.save(&KeySet::default(), NOW).unwrap();
    assert_eq!(fs::read(&elsewhere).unwrap(), before);

    let open = disk();
    fs::set_permissions(open.file.path(), fs::Permissions::from_mode(0o602)).unwrap();
    assert!(open.refusal().contains("no plain file"), "{}", open.refusal());
}

#[test]
fn a_file_is_written_again_when_keys_change_or_time_has_passed() {
    let disk = disk();
    let is_outdated = |set: &KeySet, ms| disk.file.is_outdated_by(set, NOW.plus_millis(ms), DAY_MS);
    assert!(!is_outdated(&disk.set, DAY_MS / 24 - 1));
    assert!(is_outdated(&disk.set, DAY_MS / 24));
    assert!(is_outdated(&KeySet::default(), 0));
    let next_run = KeyFile::new(disk.folder.path(), &endpoint());
    assert!(next_run.is_outdated_by(&disk.set, NOW, DAY_MS), "nothing is known of what an earlier run wrote");
}

#[test]
fn the_folder_is_made_for_its_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("state/keys");
    prepare_key_cache(&folder).unwrap();
    prepare_key_cache(&folder).unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);

    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let error = prepare_key_cache(&folder).unwrap_err().to_string();
    assert!(error.contains("anybody may write"), "{error}");
    fs::write(parent.path().join("file"), "").unwrap();
    let error = prepare_key_cache(&parent.path().join("file")).unwrap_err().to_string();
    assert!(error.contains("cannot be used"), "{error}");
}
