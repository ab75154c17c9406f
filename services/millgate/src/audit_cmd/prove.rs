//! `millgate audit prove`: the proof of one entry, for whoever trusts neither the broker nor this command.

use super::encode_query;
use crate::client::{Refused, Server};
use crate::out::say;
use anyhow::{Context as _, bail};
use audit::evidence::{EvidenceError, Which, of_published};
use clap::Args;
use http_body_util::BodyExt as _;
use model::entry::{CommitmentClass, Kind};
use model::{OrganisationId, RequestId};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tlog::{Checkpoint, Evidence, Receipt, leaf_hash};

#[derive(Debug, Args)]
#[group(id = "entry", required = true, multiple = false, args = ["request", "index", "receipt"])]
pub struct ProveArgs {
    #[command(flatten)]
    server: Server,
    /// The entry of this request id: its decision, if `--kind` does not say otherwise
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// The entry of this index
    #[arg(long, value_name = "INDEX")]
    index: Option<u64>,
    /// The entry that the receipt in this file promises; `-` reads it from standard input. Needs no permission to read the log
    #[arg(long, value_name = "FILE", conflicts_with_all = ["organisation", "disclose"])]
    receipt: Option<PathBuf>,
    /// With `--request`: the entry of this kind, e.g. outcome
    #[arg(long, value_name = "KIND", value_parser = super::kind, conflicts_with_all = ["index", "receipt"])]
    kind: Option<Kind>,
    /// Only if it is an entry of this organisation; for those who may read no others
    #[arg(long, value_name = "ID")]
    organisation: Option<OrganisationId>,
    /// Show what is behind these commitments too: subject, network, payload
    #[arg(long, value_name = "CLASSES", value_delimiter = ',', value_parser = class, conflicts_with_all = ["organisation", "offline"])]
    disclose: Vec<CommitmentClass>,
    /// Read a published directory instead; this reading is not recorded
    #[arg(long, value_name = "DIR", conflicts_with_all = ["token_file", "organisation"])]
    offline: Option<PathBuf>,
    /// Write the proof here; to standard output if left out
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn class(text: &str) -> Result<CommitmentClass, String> {
    CommitmentClass::parse(text).ok_or_else(|| String::from("there are subject, network, payload"))
}

/// A checkpoint comes once a second; a broker that takes longer than this has another problem.
const ATTEMPTS: u32 = 10;

pub(super) async fn run(args: &ProveArgs) -> anyhow::Result<ExitCode> {
    let receipt = args.receipt.as_deref().map(read_receipt).transpose()?;
    let text = match &args.offline {
        Some(directory) => offline(args, directory, receipt.as_ref())?,
        None => online(args, receipt.as_ref()).await?,
    };
    let evidence = Evidence::parse(&text).context("the broker's answer is no proof")?;
    let contradiction = receipt.as_ref().and_then(|receipt| contradicts(receipt, &evidence));
    if let Some(what) = contradiction {
        eprintln!("{what}: keep both, and see with `millgate-verify receipt` whether the log has signed the receipt");
    }
    let code = ExitCode::from(u8::from(contradiction.is_some()));
    let tree = evidence.note.split("\n\n").next().map(|text| format!("{text}\n"));
    let tree = tree.and_then(|text| Checkpoint::parse(&text).ok()).context("the proof holds no checkpoint")?;
    if let Some(file) = &args.out {
        std::fs::write(file, &text).with_context(|| format!("`{}` cannot be written", file.display()))?;
    }
    if args.json {
        let proof = args.out.is_none().then_some(&text);
        say(serde_json::json!({
            "index": evidence.index, "origin": tree.origin, "size": tree.size, "file": args.out, "proof": proof,
        }));
        return Ok(code);
    }
    match &args.out {
        None => say(text.trim_end_matches('\n')),
        Some(file) => {
            say(format_args!(
                "{}: entry {} of log {}, which has {}",
                file.display(),
                evidence.index,
                tree.origin,
                tree.size
            ));
            eprintln!(
                "to verify it: millgate-verify proof {} --key 'the public key of {}'",
                file.display(),
                tree.origin
            );
        }
    }
    Ok(code)
}

/// A header's value, or the header.
fn read_receipt(file: &Path) -> anyhow::Result<Receipt> {
    let name = file.display();
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("the receipt cannot be read from standard input")?
    } else {
        std::fs::read_to_string(file).with_context(|| format!("the receipt `{name}` cannot be read"))?
    };
    Receipt::of_header(&text).with_context(|| format!("`{name}` holds no receipt"))
}

/// What a proof says against a receipt, if it does. Of one that holds hashes alone only the verifier, who has the key, can tell.
fn contradicts(receipt: &Receipt, evidence: &Evidence) -> Option<&'static str> {
    if evidence.index != receipt.index {
        return Some("the proof is of another index than the receipt");
    }
    let entry = evidence.extra.as_deref()?.split(|byte| *byte == b'\n').next()?;
    if leaf_hash(entry) != receipt.leaf {
        return Some("the log has another entry at this index than the receipt says");
    }
    let differs = verify::receipt::compare(receipt, entry).is_err();
    differs.then_some("the entry that stands there is not of the request that the receipt says")
}

fn offline(args: &ProveArgs, directory: &Path, receipt: Option<&Receipt>) -> anyhow::Result<String> {
    eprintln!("reading published files: nobody records this reading");
    let which = match (&args.request, args.index, receipt) {
        (Some(id), ..) => {
            let id = RequestId::parse(id).with_context(|| format!("`{id}` is not the id of a request"))?;
            Which::Request { id, kind: args.kind }
        }
        (None, Some(index), _) | (None, None, Some(&Receipt { index, .. })) => Which::Index(index),
        (None, None, None) => bail!("say which entry: `--request ID`, `--index INDEX` or `--receipt FILE`"),
    };
    let evidence = of_published(directory, &which).map_err(|error| match error {
        EvidenceError::Read(cause) => anyhow::Error::new(cause),
        error => anyhow::Error::new(error),
    });
    let failed = || format!("`{}` gives no proof", directory.display());
    let evidence = evidence.with_context(failed)?;
    Ok(evidence.to_text())
}

async fn online(args: &ProveArgs, receipt: Option<&Receipt>) -> anyhow::Result<String> {
    let mut pairs = Vec::new();
    let mut add = |name: &'static str, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
    add("request", args.request.clone());
    add("index", args.index.or(receipt.map(|receipt| receipt.index)).map(|index| index.to_string()));
    add("leaf", receipt.map(|receipt| receipt.leaf.to_string()));
    add("kind", args.kind.map(|kind| kind.as_str().to_owned()));
    add("organisation", args.organisation.as_ref().map(ToString::to_string));
    let classes: Vec<&str> = args.disclose.iter().map(|class| class.as_str()).collect();
    add("disclose", (!classes.is_empty()).then(|| classes.join(",")));
    let target = format!("/v1/audit/proof?{}", encode_query(&pairs));
    let mut attempt = 1;
    let response = loop {
        match args.server.get(&target).await {
            Err(error) if attempt < ATTEMPTS && error.downcast_ref::<Refused>().is_some_and(Refused::is_too_early) => {
                attempt += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            answer => break answer?,
        }
    };
    let body = response.into_body().collect().await.context("the answer broke off")?;
    String::from_utf8(body.to_bytes().into()).context("the broker's answer is no proof")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Value;
    use model::entry::{Common, Draft};
    use tlog::receipt::{Promised, Signed};

    #[test]
    fn a_proof_that_shows_another_entry_or_another_request_is_told_from_the_receipts_own() {
        let common = Common { nonce: [7; 16], time: model::Timestamp(0), boot: "b".into() };
        let entry = |request: &str| {
            Draft::new(Kind::Admin, &common, None, [("request", Value::text(request))], vec![]).unwrap().seal(None)
        };
        let receipt = |entry: &[u8], request: &str| {
            let key = tlog::SigningKey::generate("plant.example/log", [9; 32]).unwrap();
            let promised = Promised { leaf: leaf_hash(entry), request: Some(request.into()) };
            Signed::new(&key, 7, vec![promised], 0, 1).unwrap().receipt(7).unwrap()
        };
        let shown = |index, entry: Option<&[u8]>| Evidence {
            extra: entry.map(<[u8]>::to_vec),
            index,
            proof: vec![],
            note: String::new(),
        };
        let (own, other) = (entry("r"), entry("s"));
        let with_values = [&own[..], b"\n{}"].concat();
        for good in [shown(7, None), shown(7, Some(&own)), shown(7, Some(&with_values))] {
            assert_eq!(contradicts(&receipt(&own, "r"), &good), None);
        }
        for (receipt, shown, why) in [
            (receipt(&own, "r"), shown(8, None), "another index"),
            (receipt(&own, "r"), shown(7, Some(&other)), "another entry"),
            (receipt(&own, "s"), shown(7, Some(&own)), "not of the request"),
        ] {
            assert!(contradicts(&receipt, &shown).is_some_and(|what| what.contains(why)), "{why}");
        }
    }
}
