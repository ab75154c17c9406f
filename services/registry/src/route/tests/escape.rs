//! Nothing that a caller writes becomes part of the query language around it.

use super::*;

/// InfluxQL's tokens, read by a second reader that shares nothing with the writer.
#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(char, String),
    Sign(char),
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut chars = text.chars().peekable();
    let mut all = Vec::new();
    while let Some(c) = chars.next() {
        match c {
            ' ' => {}
            '\0' => return None,
            '\'' | '"' => {
                let mut inner = String::new();
                loop {
                    match chars.next()? {
                        end if end == c => break,
                        '\n' | '\0' => return None,
                        '\\' => inner.push(match chars.next()? {
                            'n' => '\n',
                            same @ ('\\' | '\'' | '"') => same,
                            _ => return None,
                        }),
                        other => inner.push(other),
                    }
                }
                all.push(Token::Quoted(c, inner));
            }
            c if c.is_alphanumeric() || c == '_' => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                all.push(Token::Word(word));
            }
            c => all.push(Token::Sign(c)),
        }
    }
    Some(all)
}

/// The decoded values of a query string, by a decoder of its own.
fn decoded(path_and_query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(b) = rest.next() {
            bytes.push(match b {
                b'%' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                b => b,
            });
        }
        String::from_utf8(bytes).unwrap()
    };
    let query = path_and_query.split_once('?').unwrap().1;
    query.split('&').map(|pair| pair.split_once('=').unwrap()).map(|(n, v)| (decode(n), decode(v))).collect()
}

/// All printable characters are allowed here, quotes, backslashes and what not.
const WIDE: &str = r#"
[route.find]
method = "GET"
path = "/find/{name}"
source = "historian"
signal = "force"
parameters.name = { type = "string", max_length = 1024, characters = " -~\u00a0-\ud7ff" }
parameters.tag = { type = "string", max_length = 1024, characters = " -~\u00a0-\ud7ff" }
shape.rows = 1
[route.find.upstream]
path = "/query"
[route.find.upstream.query]
db = "x"
q = 'SELECT {tag|influxql_identifier} FROM "a" WHERE "name" = {name|influxql_string} AND time > 0'
plain = "{name}"
"#;

static FIND: LazyLock<Catalog> = LazyLock::new(|| load(WIDE).unwrap_or_else(|e| panic!("{e:?}")));

fn find(name: &str, tag: &str) -> Result<Resolved, ResolveError> {
    let query = [("tag".to_owned(), tag.to_owned())];
    FIND.resolve("GET", &["find".to_owned(), name.to_owned()], &query, NOW)
}

fn stays_a_value(name: &str, tag: &str) -> Result<(), TestCaseError> {
    let Ok(resolved) = find(name, tag) else { return Ok(()) };
    let pairs = decoded(&resolved.upstream.as_http().unwrap().path_and_query);
    let names: Vec<&str> = pairs.iter().map(|(n, _)| n.as_str()).collect();
    prop_assert_eq!(names, ["db", "q", "plain"]);
    prop_assert_eq!(&pairs[2].1, name);
    let word = |w: &str| Token::Word(w.to_owned());
    let quoted = |c, w: &str| Token::Quoted(c, w.to_owned());
    let expected = vec![
        word("SELECT"),
        quoted('"', tag),
        word("FROM"),
        quoted('"', "a"),
        word("WHERE"),
        quoted('"', "name"),
        Token::Sign('='),
        quoted('\'', name),
        word("AND"),
        word("time"),
        Token::Sign('>'),
        word("0"),
    ];
    prop_assert_eq!(tokens(&pairs[1].1), Some(expected));
    Ok(())
}

proptest! {
    #[test]
    fn any_text_stays_one_literal(name in any::<String>(), tag in any::<String>()) {
        stays_a_value(&name, &tag)?;
    }

    #[test]
    fn text_made_of_grammar_stays_one_literal(
        name in r#"['"\\;/*\- %&=#+a0()\n]{1,24}"#, tag in r#"['"\\;/*\- %&=#+a0()]{1,24}"#,
    ) {
        stays_a_value(&name, &tag)?;
    }

    #[test]
    fn quoting_alone_is_exact_for_any_text_without_nul(text in "[^\0]{0,24}") {
        prop_assert_eq!(tokens(&influxql::string(&text)), Some(vec![Token::Quoted('\'', text.clone())]));
        prop_assert_eq!(tokens(&influxql::identifier(&text)), Some(vec![Token::Quoted('"', text)]));
    }
}

#[test]
fn the_wide_class_really_lets_attacks_through_to_the_quoting() {
    for attack in ["x' OR 'a'='a", r"x\' OR 1=1 --", "a\"; DROP DATABASE x", "%27", "ä\u{2028}ö"] {
        assert!(find(attack, attack).is_ok(), "{attack}");
        stays_a_value(attack, attack).unwrap();
    }
    for refused in ["a\nb", "a\0b", "\u{7f}", "\u{85}"] {
        assert_eq!(find(refused, "t").unwrap_err().reason, Reason::BAD_PARAMETER);
    }
}

#[test]
fn addresses_of_the_catalog_are_quoted_too() {
    let routes = r#"
[route.last]
method = "GET"
path = "/last"
source = "historian"
signal = "force"
shape.rows = 1
upstream = { path = "/query", query = { q = "SELECT last(value) FROM {signal.address|influxql_identifier}" } }
"#;
    let last = get(&load(routes).unwrap(), "/last", &[]).unwrap();
    assert_eq!(decoded(&last.upstream.as_http().unwrap().path_and_query)[0].1, r#"SELECT last(value) FROM "PR\"03""#);
}

#[test]
fn steps_in_a_path_are_refused_however_they_are_written() {
    let routes = r#"
[route.part]
method = "GET"
path = "/part/{id}"
source = "mes"
dataset = "parts"
parameters.id = { type = "string" }
shape.rows = 1
upstream.path = "/api/{id}"
"#;
    let catalog = load(routes).unwrap();
    assert_eq!(get(&catalog, "/part/...", &[]).unwrap().upstream.as_http().unwrap().path_and_query, "/api/...");
    for step in [".", ".."] {
        let refused = get(&catalog, &format!("/part/{step}"), &[]).unwrap_err();
        assert_eq!(refused.reason, Reason::BAD_PARAMETER);
    }
}
