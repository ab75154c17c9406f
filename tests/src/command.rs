//! Programs of this workspace as stories run them: to their end, and with what they have said in hand.
#![expect(clippy::unwrap_used, reason = "a story ends where a program is not there or says no JSON")]

use crate::process;
use serde_json::Value;
use std::path::Path;
use std::process::Output;

/// Runs it while the other threads of the test's runtime go on, which may have to answer it.
pub fn run(name: &str, arguments: &[&str]) -> Output {
    tokio::task::block_in_place(|| process::run(name, arguments).unwrap())
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it said with `--json`.
pub fn json(output: &Output) -> Value {
    let read = serde_json::from_slice(&output.stdout);
    assert!(read.is_ok(), "{}{}", text(&output.stdout), text(&output.stderr));
    read.unwrap()
}

/// What `millgate-verify` says of a file under a key: its exit status, and its JSON or else why there is none.
pub fn verify(command: &str, file: &Path, key: &str, more: &[&str]) -> (Option<i32>, Value) {
    let fixed = [command, file.to_str().unwrap(), "--key", key, "--json"];
    let output = run("millgate-verify", &[&fixed[..], more].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|_| text(&output.stderr).into()))
}
