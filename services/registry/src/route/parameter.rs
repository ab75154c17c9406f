//! What a caller may say: a name, a type with bounds, and a default or none.

use super::characters::Characters;
use super::series::{FINEST, RAW};
use crate::near;
use model::time::{format_duration_ms, parse_duration_ms};
use model::{DatasetId, ProductId, SignalId, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub title: String,
    pub place: Place,
    pub kind: Kind,
    /// Without one the parameter must be given.
    pub default: Option<Value>,
    /// Fields of the dataset by which it filters, sorts or chooses; `None` where nobody has said, so it may be any.
    pub filters: Option<Vec<String>>,
}

impl Parameter {
    pub fn is_in_path(&self) -> bool {
        self.place == Place::Path
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Path,
    Query,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1 to `length_max` of `characters`.
    Text {
        characters: Characters,
        length_max: usize,
    },
    /// One of a closed list.
    Choice(Vec<String>),
    /// Inclusive.
    Integer {
        min: i64,
        max: i64,
    },
    Boolean,
    /// RFC 3339 with offset.
    Timestamp,
    /// Milliseconds, inclusive.
    Duration {
        min_ms: i64,
        max_ms: i64,
    },
    /// Milliseconds, one of a closed list from fine to coarse.
    Steps(Vec<i64>),
    /// The same for a series, where 0 is raw, or the finest that is permitted.
    Ladder(Vec<i64>),
    /// The route's resource: a signal of the route's source, of this product if one is named.
    Signal {
        product: Option<ProductId>,
    },
    /// The same for a dataset.
    Dataset {
        product: Option<ProductId>,
    },
}

/// A parameter's value, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Timestamp(Timestamp),
    /// Milliseconds.
    Duration(i64),
    /// Of a series, in milliseconds; 0 is raw.
    Step(i64),
    /// The finest step that is permitted.
    Finest,
    Signal(SignalId),
    Dataset(DatasetId),
}

impl Value {
    /// The one spelling for the audit log.
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Integer(n) => n.to_string(),
            Self::Boolean(b) => b.to_string(),
            Self::Timestamp(t) => t.to_rfc3339(),
            Self::Duration(ms) => format_duration_ms(*ms),
            Self::Step(0) => RAW.to_owned(),
            Self::Step(ms) => format_duration_ms(*ms),
            Self::Finest => FINEST.to_owned(),
            Self::Signal(id) => id.to_string(),
            Self::Dataset(id) => id.to_string(),
        }
    }
}

impl Kind {
    /// Reads what a caller wrote. Whether a signal or dataset exists is the route's question.
    pub(crate) fn read(&self, text: &str) -> Option<Value> {
        match self {
            Self::Text { characters, length_max } => {
                let fits = !text.is_empty() && text.chars().count() <= *length_max;
                (fits && text.chars().all(|c| characters.allows(c))).then(|| Value::Text(text.to_owned()))
            }
            Self::Choice(values) => values.iter().find(|v| *v == text).cloned().map(Value::Text),
            Self::Integer { min, max } => integer(text).filter(|n| (min..=max).contains(&n)).map(Value::Integer),
            Self::Boolean => match text {
                "true" => Some(Value::Boolean(true)),
                "false" => Some(Value::Boolean(false)),
                _ => None,
            },
            Self::Timestamp => Timestamp::parse_rfc3339(text).map(Value::Timestamp),
            Self::Duration { min_ms, max_ms } => {
                parse_duration_ms(text).filter(|ms| (min_ms..=max_ms).contains(&ms)).map(Value::Duration)
            }
            Self::Steps(steps) => parse_duration_ms(text).filter(|ms| steps.contains(ms)).map(Value::Duration),
            Self::Ladder(_) if text == FINEST => Some(Value::Finest),
            Self::Ladder(steps) => {
                let step = if text == RAW { Some(0) } else { parse_duration_ms(text).filter(|ms| *ms > 0) };
                step.filter(|ms| steps.contains(ms)).map(Value::Step)
            }
            Self::Signal { .. } => SignalId::new(text).ok().map(Value::Signal),
            Self::Dataset { .. } => DatasetId::new(text).ok().map(Value::Dataset),
        }
    }

    /// What is accepted, to follow "takes".
    pub fn accepted(&self) -> String {
        match self {
            Self::Text { characters, length_max } => format!("1 to {length_max} characters of `{characters}`"),
            Self::Choice(values) => format!("one of {}", near::list(values)),
            Self::Integer { min, max } => format!("an integer from {min} to {max}"),
            Self::Boolean => String::from("`true` or `false`"),
            Self::Timestamp => {
                String::from("an RFC 3339 time with offset such as `2026-01-31T08:00:00Z` (a `+` is written `%2B`)")
            }
            Self::Duration { min_ms, max_ms } => {
                format!("a duration from `{}` to `{}`", format_duration_ms(*min_ms), format_duration_ms(*max_ms))
            }
            Self::Steps(steps) => {
                let steps: Vec<String> = steps.iter().map(|ms| format_duration_ms(*ms)).collect();
                format!("one of {}", near::list(&steps))
            }
            Self::Ladder(steps) => {
                let steps = steps.iter().map(|ms| Value::Step(*ms).to_text());
                let steps: Vec<String> = std::iter::once(FINEST.to_owned()).chain(steps).collect();
                format!("one of {}", near::list(&steps))
            }
            Self::Signal { .. } => String::from("the id of a signal"),
            Self::Dataset { .. } => String::from("the id of a dataset"),
        }
    }
}

/// One spelling only: no `+1`, no `01`, no `-0`.
fn integer(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|n| n.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_one_reading_and_bounds() {
        let integer = Kind::Integer { min: -5, max: 10 };
        assert_eq!(integer.read("10"), Some(Value::Integer(10)));
        for bad in ["11", "-6", "+1", "01", "-0", "1.0", "", " 1", "٣"] {
            assert_eq!(integer.read(bad), None, "{bad}");
        }
        let text = Kind::Text { characters: Characters::default(), length_max: 3 };
        assert_eq!(text.read("a-1"), Some(Value::Text("a-1".into())));
        for bad in ["", "a'b", "abcd", "ä", "a/b"] {
            assert_eq!(text.read(bad), None, "{bad}");
        }
        let steps = Kind::Steps(vec![60_000, 3_600_000]);
        assert_eq!(steps.read("60s").map(|v| v.to_text()).as_deref(), Some("1m"));
        assert_eq!(steps.read("61s"), None);
        assert_eq!(Kind::Boolean.read("TRUE"), None);
        assert_eq!(Kind::Timestamp.read("2026-01-31T08:00:00"), None);
        let cet = Kind::Timestamp.read("2026-01-31T09:00:00+01:00").map(|v| v.to_text());
        assert_eq!(cet.as_deref(), Some("2026-01-31T08:00:00.000Z"));
    }
}
