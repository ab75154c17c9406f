//! Path templates: `/series/{signal}`. A segment is fixed or a parameter, never both.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Fixed(String),
    /// Named so.
    Parameter(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    pub segments: Vec<Segment>,
}

/// Deeper paths are a mistake.
const SEGMENTS_MAX: usize = 16;

impl PathTemplate {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/').ok_or("it begins with `/`")?;
        let segments: Vec<Segment> = rest.split('/').map(segment).collect::<Result<_, _>>()?;
        if segments.len() > SEGMENTS_MAX {
            return Err(format!("it has more than {SEGMENTS_MAX} segments"));
        }
        let path = Self { segments };
        let mut names: Vec<&str> = path.parameters().collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first());
        match twice {
            Some(name) => Err(format!("`{{{name}}}` stands in it twice")),
            None => Ok(path),
        }
    }

    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|s| match s {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Fixed(_) => None,
        })
    }

    /// The parameters' raw values if `segments`, percent-decoded, have this form.
    pub(crate) fn captures<'a>(&'a self, segments: &'a [String]) -> Option<Vec<(&'a str, &'a str)>> {
        if self.segments.len() != segments.len() {
            return None;
        }
        let mut captures = Vec::new();
        for (template, segment) in self.segments.iter().zip(segments) {
            match template {
                Segment::Fixed(text) if text == segment => {}
                Segment::Fixed(_) => return None,
                // `/parts/` is not `/parts/{serial}` with an empty serial.
                Segment::Parameter(_) if segment.is_empty() => return None,
                Segment::Parameter(name) => captures.push((name.as_str(), segment.as_str())),
            }
        }
        Some(captures)
    }

    /// Some path has both forms.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let meet = |pair: (&Segment, &Segment)| match pair {
            (Segment::Fixed(a), Segment::Fixed(b)) => a == b,
            _ => true,
        };
        self.segments.len() == other.segments.len() && self.segments.iter().zip(&other.segments).all(meet)
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    if let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        return Ok(Segment::Parameter(name.to_owned()));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if text.is_empty() {
        return Err(String::from("it has an empty segment (two slashes together, or one at the end)"));
    }
    if matches!(text, "." | "..") || !text.bytes().all(plain) {
        return Err(format!(
            "the segment `{text}` is neither `{{parameter}}` nor made of letters, digits, `-`, `.`, `_`, `~`"
        ));
    }
    Ok(Segment::Fixed(text.to_owned()))
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Fixed(text) => write!(f, "/{text}")?,
                Segment::Parameter(name) => write!(f, "/{{{name}}}")?,
            }
        }
        Ok(())
    }
}
