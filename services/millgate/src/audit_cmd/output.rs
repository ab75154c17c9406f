//! Where an answer goes and in which form: the screen, a stream for another program, a file.
//!
//! A file appears whole or not at all: it is written under another name and renamed. What is there is not written over
//! unless that is asked for.

use super::{COLUMNS, row};
use crate::table;
use anyhow::{Context as _, bail, ensure};
use formats::{Format, Measure, Ocsf, Page, Pruned, SdId, Syslog, WriteError};
use serde::Deserialize as _;
use serde_json::Value;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tempfile::NamedTempFile;

#[derive(Debug, clap::Args)]
pub(super) struct Output {
    /// table, json, csv, parquet; entries also ocsf, cef, syslog; summaries also svg
    #[arg(long, value_name = "FORMAT", value_parser = format, help_heading = "Output")]
    format: Option<Format>,
    /// One JSON object on standard output: the same as `--format json`
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    pub(super) json: bool,
    /// Write it here; to standard output if left out, which Parquet cannot do
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long, requires = "out", help_heading = "Output")]
    force: bool,
}

/// What some formats of entries want to know.
#[derive(Debug, clap::Args)]
pub(super) struct Forms {
    /// OCSF: a source that is a database, as an id of the catalog; may be repeated. Sources of signals are known to be
    #[arg(long = "datastore", value_name = "SOURCE", help_heading = "Output")]
    datastores: Vec<String>,
    /// Syslog: name and enterprise number of the structured data (RFC 5424 6.3.2); 32473 is the one for documentation
    #[arg(long, value_name = "NAME@NUMBER", default_value = "millgate@32473", value_parser = sd_id, help_heading = "Output")]
    sd_id: SdId,
}

fn format(text: &str) -> Result<Format, String> {
    Format::parse(text).ok_or_else(|| format!("there are {}", Format::ALL.map(Format::as_str).join(", ")))
}

fn sd_id(text: &str) -> Result<SdId, String> {
    SdId::parse(text)
        .ok_or_else(|| String::from("write a name and a number, as in millgate@32473, of at most 32 characters"))
}

pub(super) fn measure(text: &str) -> Result<Measure, String> {
    Measure::parse(text).ok_or_else(|| format!("there are {}", Measure::ALL.map(Measure::as_str).join(", ")))
}

impl Forms {
    pub(super) fn ocsf(&self) -> Ocsf {
        Ocsf::new(self.datastores.iter().cloned())
    }

    pub(super) fn syslog(&self) -> Syslog {
        Syslog { id: self.sd_id.clone() }
    }
}

impl Output {
    fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format.unwrap_or(Format::Table) }
    }

    /// Whether nothing but the answer may be on the screen.
    pub(super) fn is_for_a_program(&self) -> bool {
        self.format() != Format::Table
    }

    pub(super) fn entries(&self, forms: &Forms) -> anyhow::Result<Entries> {
        let format = self.format();
        ensure!(
            formats::is_for_entries(format),
            "`{}` is for summaries; entries have ocsf, cef, syslog",
            format.as_str()
        );
        let (out, target) = self.open()?;
        let form = if matches!(format, Format::Table | Format::Json) {
            Form::Screen { out, json: format == Format::Json, all: Value::Null }
        } else {
            let begun = formats::Entries::begin(format, out, forms.ocsf(), forms.syslog())?;
            Form::Stream(begun.context("this format is for a screen")?)
        };
        Ok(Entries { form, target })
    }

    pub(super) fn summary(&self, answer: &Value, measure: Measure, title: Option<&str>) -> anyhow::Result<()> {
        let format = self.format();
        ensure!(
            formats::is_for_summaries(format),
            "`{}` is for entries; summaries have csv, parquet, svg",
            format.as_str()
        );
        let (mut out, target) = self.open()?;
        let written = match format {
            Format::Table => writeln!(out, "{}", super::summary::table(answer)).map_err(WriteError::from),
            Format::Json => writeln!(out, "{answer}").map_err(WriteError::from),
            format => formats::summary(format, &mut out, answer, (measure, title)).map(|_| ()),
        };
        written.and_then(|()| Ok(out.flush()?))?;
        drop(out);
        target.keep()
    }

    fn open(&self) -> anyhow::Result<(Out, Target)> {
        let Some(path) = &self.out else {
            ensure!(
                self.format() != Format::Parquet,
                "Parquet is written to a file, because its end says where its beginning is: name one with `--out`"
            );
            return Ok((Box::new(io::stdout()), Target::Standard));
        };
        let name = path.display();
        if path.exists() && !self.force {
            bail!("`{name}` is there already; choose another name, or `--force` to write over it");
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
        // For its owner alone, as what is read here is.
        let file = NamedTempFile::new_in(folder).with_context(|| format!("`{name}` cannot be made"))?;
        let out = BufWriter::new(file.as_file().try_clone().with_context(|| format!("`{name}` cannot be written"))?);
        Ok((Box::new(out), Target::File { file, path: path.clone(), force: self.force }))
    }
}

type Out = Box<dyn Write + Send>;

#[derive(Debug)]
enum Target {
    Standard,
    File { file: NamedTempFile, path: PathBuf, force: bool },
}

impl Target {
    fn keep(self) -> anyhow::Result<()> {
        let Self::File { file, path, force } = self else { return Ok(()) };
        let name = path.display();
        file.as_file().sync_all().with_context(|| format!("`{name}` cannot be flushed"))?;
        let kept = if force { file.persist(&path) } else { file.persist_noclobber(&path) };
        kept.with_context(|| format!("`{name}` cannot be put in its place"))?;
        eprintln!("{name}: written");
        Ok(())
    }
}

/// Whoever reads the other end of a pipe may have had enough: that is no failure, and nothing more is asked for.
pub(super) fn enough(ended: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match ended {
        Err(error) if error.downcast_ref().is_some_and(is_closed_pipe) => Ok(ExitCode::SUCCESS),
        ended => ended,
    }
}

fn is_closed_pipe(error: &WriteError) -> bool {
    matches!(error, WriteError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

/// Entries on their way out.
pub(super) struct Entries {
    form: Form,
    target: Target,
}

enum Form {
    Screen { out: Out, json: bool, all: Value },
    Stream(formats::Entries<Out>),
}

/// What the broker said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    /// The log, if the broker said.
    pub(super) origin: Option<String>,
}

impl Answer {
    pub(super) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).context("the broker's answer is not JSON")
    }
}

impl Entries {
    /// Takes the next page, and says where to go on and how many entries the log had.
    pub(super) fn page(&mut self, answer: &Answer) -> anyhow::Result<(Option<u64>, u64)> {
        match &mut self.form {
            Form::Screen { all, .. } => {
                let page = answer.json()?;
                let number = |name: &str| page.get(name).and_then(Value::as_u64);
                let place = (number("next"), number("size").unwrap_or_default());
                tell_pruned(page.get("pruned"));
                joined(all, page);
                Ok(place)
            }
            Form::Stream(entries) => {
                let page = Page::read(&answer.body, answer.origin.as_deref()).context("the broker's answer")?;
                entries.page(&page.records)?;
                if let Some(pruned) = &page.pruned {
                    eprintln!("{pruned}; what was asked for begins among them");
                }
                Ok((page.next, page.size))
            }
        }
    }

    /// `next`: where there may be more, and the option that goes on there.
    pub(super) fn finish(self, next: Option<u64>, option: &str) -> anyhow::Result<()> {
        match self.form {
            Form::Screen { mut out, json, all } => {
                let rows: Vec<Vec<String>> =
                    all.get("entries").and_then(Value::as_array).into_iter().flatten().map(row).collect();
                let text = if json { all.to_string() } else { table::render(&COLUMNS, &rows) };
                writeln!(out, "{text}").and_then(|()| out.flush()).map_err(WriteError::from)?;
                if !json {
                    let size = all.get("size").and_then(Value::as_u64).unwrap_or_default();
                    eprintln!("{} of {size} entries", rows.len());
                }
                if let Some(next) = next.filter(|_| !json) {
                    eprintln!("there may be more: go on with `--{option} {next}`, or take `--all`");
                }
            }
            Form::Stream(entries) => {
                let counts = entries.finish()?;
                eprintln!("{} entries", counts.entries);
                if let Some(next) = next {
                    eprintln!("there may be more: go on with `--{option} {next}`, or take `--all`");
                }
            }
        }
        self.target.keep()
    }

    pub(super) fn progress(&self, done: u64) {
        if io::stderr().is_terminal() {
            eprint!("\r{done} pages\r");
        }
    }
}

/// An answer that lacks what is gone must not look whole.
pub(super) fn tell_pruned(pruned: Option<&Value>) {
    if let Some(pruned) = pruned.and_then(|pruned| Pruned::deserialize(pruned).ok()) {
        eprintln!("{pruned}; what was asked for begins among them");
    }
}

/// One answer of several: the entries of all, and the rest of the last.
fn joined(all: &mut Value, mut page: Value) {
    if let (Some(before), Some(entries)) =
        (all.get_mut("entries").and_then(Value::as_array_mut), page.get_mut("entries").and_then(Value::as_array_mut))
    {
        before.append(entries);
        *entries = std::mem::take(before);
    }
    *all = page;
}
