//! `millgate audit print-checkpoint`: a checkpoint on paper, for plants that no network leaves.
//!
//! The page is one HTML file without scripts, fonts or anything else from elsewhere. It holds the signed note twice, as text
//! and as a QR code of its very bytes; whoever scans it has a file for `millgate-verify log … --checkpoint FILE`.

use crate::out::say;
use anyhow::{Context as _, ensure};
use audit::Publication;
use clap::Args;
use model::{Clock as _, Timestamp};
use qrcode::{EcLevel, QrCode};
use runtime::clock::SystemClock;
use std::path::PathBuf;
use std::process::ExitCode;
use tlog::{Checkpoint, VerifierKey};

#[derive(Debug, Args)]
pub struct PrintArgs {
    /// The published directory; its latest checkpoint is printed
    #[arg(long, value_name = "DIR", required_unless_present = "checkpoint", conflicts_with = "checkpoint")]
    published: Option<PathBuf>,
    /// A checkpoint in a file of its own
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The log's public key; nothing else is printed than what it has signed
    #[arg(long, value_name = "VKEY")]
    key: String,
    /// Where the page goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PrintArgs) -> anyhow::Result<ExitCode> {
    let key = VerifierKey::parse(&args.key).context("`--key` is no public key of a log")?;
    let note = match (&args.checkpoint, &args.published) {
        (Some(file), _) => {
            std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?
        }
        (None, Some(dir)) => {
            let published =
                Publication::open(dir).with_context(|| format!("`{}` is no published log", dir.display()))?;
            published.note().to_owned()
        }
        (None, None) => anyhow::bail!("name `--published` or `--checkpoint`"),
    };
    let checkpoint = Checkpoint::open(&note, &key).context("the checkpoint is not signed by this key")?;
    let page = page(&note, &checkpoint, &args.key, SystemClock.now())?;
    std::fs::write(&args.out, page).with_context(|| format!("`{}` cannot be written", args.out.display()))?;
    let (out, size) = (args.out.display(), checkpoint.size);
    if args.json {
        say(serde_json::json!({ "origin": checkpoint.origin, "size": size, "page": args.out }));
    } else {
        say(format_args!(
            "{out}: the checkpoint of `{}` over {size} entries; open it in a browser and print it",
            checkpoint.origin
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Bytes in the largest code (version 40) at [`LEVEL`].
const CODE_BYTES_MAX: usize = 2_331;
/// A tenth to a seventh of the code may be lost to a fold or a stain.
const LEVEL: EcLevel = EcLevel::M;
/// ISO/IEC 18004: four modules of nothing around it.
const QUIET: usize = 4;

fn page(note: &str, checkpoint: &Checkpoint, key: &str, now: Timestamp) -> anyhow::Result<String> {
    let Checkpoint { origin, size, .. } = checkpoint;
    let (code, key, time) = (code(note)?, escaped(key), now.to_rfc3339());
    let origin = escaped(origin);
    // Who types them must see which lines are only continued.
    let shown: String = note.lines().map(|line| format!("<span>{}\n</span>", escaped(line))).collect();
    let time = time.get(..19).unwrap_or_default().replace('T', " ");
    Ok(format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Checkpoint of {origin}, {size} entries</title>
<style>
@page {{ size: A4; margin: 18mm }}
:root {{ color-scheme: light }}
body {{ margin: 0 auto; padding: 2rem 1rem; max-width: 44rem; background: #fff; color: #111; font: 11pt/1.45 system-ui, sans-serif }}
h1 {{ margin: 0; font-size: 17pt; font-weight: 600; overflow-wrap: anywhere }}
p {{ margin: .5rem 0 }}
.of {{ margin: 0 0 .2rem; font-size: 10pt; color: #444 }}
svg {{ display: block; width: 92mm; max-width: 100%; height: auto; margin: 7mm auto }}
pre {{ margin: .3rem 0 1rem; padding: .7rem .8rem; border: .3mm solid #999; font: 8.5pt/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }}
pre span {{ display: block; min-height: 1.5em; padding-left: 2em; text-indent: -2em }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 1rem 0 }}
dt {{ color: #444 }}
dd {{ margin: 0; overflow-wrap: anywhere }}
.line {{ margin-top: 10mm; padding-top: 1.5mm; border-top: .3mm solid #111; width: 75mm; font-size: 9pt; color: #444 }}
@media print {{ body {{ padding: 0; max-width: none }} }}
</style>
<p class="of">Checkpoint of the audit log</p>
<h1>{origin}</h1>
<dl>
<dt>Entries</dt><dd>{size}</dd>
<dt>Printed</dt><dd>{time} UTC, by the clock of the machine that printed it</dd>
<dt>Key</dt><dd>{key}</dd>
</dl>
{code}
<pre>{shown}</pre>
<p>The code holds these lines, byte for byte. Scanned into a file, or typed, they show later that the log was neither cut nor
rewritten below {size} entries:</p>
<pre>millgate-verify log DIRECTORY --key VKEY --checkpoint FILE</pre>
<p>Take the key from whoever gave it to you before, not from this page.</p>
<p class="line">Date, name and signature of who keeps it</p>
</html>
"#
    ))
}

/// The bytes as a QR code in SVG: a path, a run of dark modules at a time.
fn code(note: &str) -> anyhow::Result<String> {
    ensure!(
        note.len() <= CODE_BYTES_MAX,
        "the note has {} bytes, and a QR code holds {CODE_BYTES_MAX}; print one with fewer cosignatures",
        note.len()
    );
    let code = QrCode::with_error_correction_level(note, LEVEL).context("the note does not fit into a QR code")?;
    let width = code.width();
    let colors = code.to_colors();
    let mut path = String::new();
    for (y, row) in colors.chunks(width).enumerate() {
        let mut x = 0;
        while let Some(start) = row.iter().skip(x).position(|color| *color == qrcode::Color::Dark).map(|at| x + at) {
            let run = row.iter().skip(start).take_while(|color| **color == qrcode::Color::Dark).count();
            path.push_str(&format!("M{} {}h{run}v1h-{run}z", start + QUIET, y + QUIET));
            x = start + run;
        }
    }
    let all = width + 2 * QUIET;
    Ok(format!(
        "<svg viewBox=\"0 0 {all} {all}\" role=\"img\" aria-label=\"QR code of the checkpoint below\" shape-rendering=\"crispEdges\">\
         <path fill=\"#fff\" d=\"M0 0h{all}v{all}h-{all}z\"/><path fill=\"#000\" d=\"{path}\"/></svg>"
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tlog::{Hash, SigningKey};

    #[test]
    fn a_page_needs_nothing_from_elsewhere_and_nothing_in_it_is_markup() {
        let key = SigningKey::generate("plant.example/broker-1", [7; 32]).unwrap();
        let hostile = Checkpoint::new("a<script>\"&", 1, Hash([9; 32]));
        let page = page("x<script>\n", &hostile, &key.verifier().to_text(), Timestamp(1_795_375_200_123)).unwrap();
        for absent in ["<script", "http", "src=", "url(", "@import", "<link"] {
            assert!(!page.contains(absent), "{absent}: {page}");
        }
        assert!(
            page.contains("<h1>a&lt;script&gt;&quot;&amp;</h1>") && page.contains("2026-11-22 19:20:00 UTC"),
            "{page}"
        );
    }

    #[test]
    fn what_no_code_can_hold_is_said() {
        assert!(code(&"x".repeat(3_000)).unwrap_err().to_string().contains("fewer cosignatures"));
    }
}
