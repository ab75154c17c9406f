//! A policy in its parts: the scope, and the conditions that must all hold, each as it stands in its file.
//!
//! A `when` is parted at its `&&`, an `unless` at its `||`: what is left are conditions that decide alone. They are found
//! in the text, so that they can be quoted with their lines, and put together again by Cedar's parser: where that is not
//! the policy, the whole condition counts as one.

use crate::finding::line_of;
use crate::policies::Note;
use cedar_policy::{
    Entities, EvalResult, Expression, Policy, PolicySet, PrincipalConstraint, Request, ResourceConstraint,
    eval_expression,
};
use serde_json::Value as Json;
use std::ops::Range;

/// One condition.
#[derive(Clone, Debug)]
pub(crate) struct Clause {
    /// On one line: `context has agreement`, `unless resource.divided`.
    pub text: String,
    pub line: usize,
    expression: Option<Expression>,
}

/// Whether a policy applies to a question, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Applies,
    /// By the number of the first condition that does not hold.
    Stopped {
        clause: usize,
    },
    Failed {
        clause: usize,
        error: String,
    },
}

/// The conditions of a policy in the order in which they stand, those of its scope first.
pub(crate) fn of(policy: &Policy, note: &Note) -> Vec<Clause> {
    let source = without_comments(&policy.to_cedar().unwrap_or_default());
    let scope = scope(policy).into_iter().map(|text| clause(text.clone(), &text, note.line));
    let written = blocks(&source);
    let parsed: Vec<Json> =
        policy.to_json().ok().and_then(|json| json.get("conditions")?.as_array().cloned()).unwrap_or_default();
    let conditions = written.into_iter().zip(&parsed).flat_map(|(block, json)| {
        let mut pieces = pieces(&source, &block);
        if !block.is(&pieces, &source, json) {
            pieces = vec![block.inner.clone()];
        }
        let line = |at: &Range<usize>| {
            let piece = source.get(at.clone()).unwrap_or_default();
            note.line + line_of(&source, at.end - piece.trim_start().len()) - 1
        };
        let clauses = pieces.iter().map(|at| block.clause(source.get(at.clone()).unwrap_or_default(), line(at)));
        clauses.collect::<Vec<_>>()
    });
    scope.chain(conditions).collect()
}

/// How `clauses` stand to a question. Later ones may lean on earlier ones, so the first that does not hold decides.
pub(crate) fn standing(clauses: &[Clause], request: &Request, entities: &Entities) -> Standing {
    for (n, clause) in clauses.iter().enumerate() {
        match clause.holds(request, entities) {
            Ok(true) => {}
            Ok(false) => return Standing::Stopped { clause: n },
            Err(error) => return Standing::Failed { clause: n, error },
        }
    }
    Standing::Applies
}

impl Clause {
    pub(crate) fn holds(&self, request: &Request, entities: &Entities) -> Result<bool, String> {
        let expression = self.expression.as_ref().ok_or("it cannot be evaluated by itself")?;
        match eval_expression(request, entities, expression) {
            Ok(EvalResult::Bool(holds)) => Ok(holds),
            Ok(_) => Err(String::from("it is neither true nor false")),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn clause(text: String, expression: &str, line: usize) -> Clause {
    Clause { text, line, expression: expression.parse().ok() }
}

/// What the scope asks of principal and resource. Policies whose scope does not admit the action are not looked at.
fn scope(policy: &Policy) -> Vec<String> {
    let principal = match policy.principal_constraint() {
        PrincipalConstraint::Any => None,
        PrincipalConstraint::In(uid) => Some(format!("principal in {uid}")),
        PrincipalConstraint::Eq(uid) => Some(format!("principal == {uid}")),
        PrincipalConstraint::Is(ty) => Some(format!("principal is {ty}")),
        PrincipalConstraint::IsIn(ty, uid) => Some(format!("principal is {ty} in {uid}")),
    };
    let resource = match policy.resource_constraint() {
        ResourceConstraint::Any => None,
        ResourceConstraint::In(uid) => Some(format!("resource in {uid}")),
        ResourceConstraint::Eq(uid) => Some(format!("resource == {uid}")),
        ResourceConstraint::Is(ty) => Some(format!("resource is {ty}")),
        ResourceConstraint::IsIn(ty, uid) => Some(format!("resource is {ty} in {uid}")),
    };
    principal.into_iter().chain(resource).collect()
}

// === the text

/// `when { … }` or `unless { … }`.
struct Block {
    unless: bool,
    inner: Range<usize>,
}

impl Block {
    /// Between what it is parted, and joined again.
    fn operator(&self) -> &'static str {
        if self.unless { "||" } else { "&&" }
    }

    /// Whether the pieces put together are the condition that Cedar has read.
    fn is(&self, pieces: &[Range<usize>], source: &str, read: &Json) -> bool {
        let texts = pieces.iter().map(|at| format!("({})", source.get(at.clone()).unwrap_or_default()));
        let joined = texts.collect::<Vec<_>>().join(self.operator());
        let text = format!("permit (principal, action, resource) when {{ {joined} }};");
        let again = text.parse::<PolicySet>().ok().and_then(|set| set.policies().next()?.to_json().ok());
        again.is_some_and(|json| json.pointer("/conditions/0/body") == read.get("body"))
    }

    fn clause(&self, piece: &str, line: usize) -> Clause {
        let quoted = piece.split_whitespace().collect::<Vec<_>>().join(" ");
        if self.unless {
            clause(format!("unless {quoted}"), &format!("!({piece})"), line)
        } else {
            clause(quoted, piece, line)
        }
    }
}

/// The same text with blanks in place of its comments.
fn without_comments(source: &str) -> String {
    let (mut quoted, mut escaped, mut comment) = (false, false, false);
    let mut rest = source.chars().peekable();
    let mut out = String::with_capacity(source.len());
    while let Some(c) = rest.next() {
        comment = c != '\n' && (comment || !quoted && c == '/' && rest.peek() == Some(&'/'));
        if comment {
            out.extend(std::iter::repeat_n(' ', c.len_utf8()));
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        out.push(c);
    }
    out
}

/// The bytes of `text` that do not stand in quotes, each with how many brackets are open around it.
fn code(text: &str) -> impl Iterator<Item = (usize, u8, usize)> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    text.bytes().enumerate().filter_map(move |(at, byte)| {
        let ends = quoted && byte == b'"' && !escaped;
        escaped = quoted && byte == b'\\' && !escaped;
        if quoted {
            quoted = !ends;
            return None;
        }
        quoted = byte == b'"';
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                Some((at, byte, depth - 1))
            }
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                Some((at, byte, depth))
            }
            _ => Some((at, byte, depth)),
        }
    })
}

fn blocks(source: &str) -> Vec<Block> {
    let (mut blocks, mut open, mut since) = (Vec::new(), 0, 0);
    for (at, byte, _) in code(source).filter(|(_, _, depth)| *depth == 0) {
        match byte {
            b'{' => open = at + 1,
            b'}' => {
                let unless = source.get(since..open).is_some_and(|before| before.contains("unless"));
                blocks.push(Block { unless, inner: open..at });
                since = at + 1;
            }
            // The end of an annotation or of the scope: before it may stand any word.
            b')' => since = at + 1,
            _ => {}
        }
    }
    blocks
}

/// The inner part at its operators.
fn pieces(source: &str, block: &Block) -> Vec<Range<usize>> {
    let inner = source.get(block.inner.clone()).unwrap_or_default();
    let operator = if block.unless { b'|' } else { b'&' };
    let (mut pieces, mut start, mut previous) = (Vec::new(), 0, None);
    for (at, byte, _) in code(inner).filter(|(_, byte, depth)| *depth == 0 && *byte == operator) {
        if previous == at.checked_sub(1) && byte == operator {
            pieces.push(block.inner.start + start..block.inner.start + at - 1);
            (start, previous) = (at + 1, None);
        } else {
            previous = Some(at);
        }
    }
    pieces.push(block.inner.start + start..block.inner.end);
    pieces
}
