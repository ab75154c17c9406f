//! Whatever bytes come as a token: an answer, never a panic, never a login.

use super::stand::{NOW, Stand};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use std::sync::LazyLock;
use tokio::runtime::{Builder, Runtime};

/// Keys are fetched once; after that nothing in here waits for anything.
static STAND: LazyLock<(Runtime, Stand)> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let stand = runtime.block_on(Stand::new());
    assert!(runtime.block_on(stand.login(&stand.token())).is_ok());
    (runtime, stand)
});

fn logs_in(credential: &[u8]) -> bool {
    let (runtime, stand) = &*STAND;
    let Ok(value) = HeaderValue::from_bytes(credential) else { return false };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    runtime.block_on(stand.ask(&headers, false, NOW)).is_ok()
}

fn config() -> Config {
    Config { cases: 500, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn arbitrary_bytes_never_log_in(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(!logs_in(&[b"Bearer ", bytes.as_slice()].concat()));
    }

    #[test]
    fn arbitrary_json_in_three_parts_never_logs_in(header in ".{0,80}", claims in ".{0,200}", signature in any::<[u8; 64]>()) {
        use super::idp::b64;
        let token = format!("Bearer {}.{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()), b64(&signature));
        prop_assert!(!logs_in(token.as_bytes()));
    }

    #[test]
    fn one_changed_character_never_logs_in(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.=-]") {
        let token = STAND.1.token();
        let at = at.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != token);
        let credential = ["Bearer ", changed.as_str()].concat();
        prop_assert!(!logs_in(credential.as_bytes()));
    }
}
