//! A file that is no TOML, cut so small that what is wrong in it stands beside what is right.

/// Every assignment alone under its header, with the lines that follow it and without.
///
/// A line within a text of several lines may look like an assignment and is taken for one: too much rather than too
/// little.
pub(super) fn of(text: &str) -> Vec<String> {
    let (mut pieces, mut header, mut piece) = (Vec::new(), String::new(), String::new());
    for line in text.split(['\n', '\r']) {
        let line = line.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        if line.starts_with('[') {
            header = header_of(line);
            pieces.push(std::mem::replace(&mut piece, format!("{header}\n")));
            continue;
        }
        if begins_assignment(line) {
            pieces.push(std::mem::replace(&mut piece, format!("{header}\n")));
            pieces.push(format!("{header}\n{line}\n"));
        }
        piece.push_str(line);
        piece.push('\n');
    }
    pieces.push(piece);
    pieces
}

/// The line, or what it means if it is a spelling of `[revoked]`, such as `[[revoked]]` or one without its end.
fn header_of(line: &str) -> String {
    let name = line.trim_start_matches(['[', ' ', '\t', '"', '\'']);
    let rest = name.strip_prefix("revoked").map(|rest| rest.chars().next());
    match rest {
        Some(next) if next.is_none_or(|c| !c.is_alphanumeric() && !"_-.".contains(c)) => String::from("[revoked]"),
        _ => line.to_owned(),
    }
}

fn begins_assignment(line: &str) -> bool {
    let of_a_key = |c: char| c.is_alphanumeric() || "_-.\"' \t".contains(c);
    line.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty() && key.chars().all(of_a_key))
}
