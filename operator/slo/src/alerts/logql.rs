//! As much of LogQL as an alert needs: where its stream selectors are, and whether it yields numbers.
//!
//! In LogQL a brace outside of strings and comments always begins or ends a stream selector: filters,
//! parsers and templates keep theirs in strings. So reading the tokens is reading the selectors.

use std::ops::Range;

use plimsoll_api::Problem;

use super::matchers::Matcher;
use crate::re2;

/// Longest expression that is read, in bytes.
const MAX_LEN: usize = crate::promql::MAX_LEN;

/// An expression whose stream selectors are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQl {
    text: String,
    selectors: Vec<Selector>,
}

/// One stream selector: where it ends, and its matchers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Selector {
    /// After the last matcher.
    end: usize,
    matchers: Vec<(String, String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word,
    /// Its content, unquoted.
    Text(String),
    /// One of `( ) [ ] { } ,` or an operator.
    Sign,
}

type Spanned = (Range<usize>, Token);

impl LogQl {
    /// Reads the value of the field at `path`.
    ///
    /// # Errors
    /// What keeps it from being an alert's expression.
    pub fn parse(text: &str, path: &str) -> Result<Self, Problem> {
        let field = path.rsplit('.').next().unwrap_or(path);
        let example =
            "write numbers over a stream, such as sum(count_over_time({app=\"checkout\"} |= \"error\" [5m])) > 10";
        if text.trim().is_empty() {
            return Err(Problem::error(path, format!("{field} is empty")).help(example));
        }
        if text.len() > MAX_LEN {
            return Err(Problem::error(path, format!("{field} is too long"))
                .label(format!("{} bytes", text.len()))
                .help(format!("use at most {MAX_LEN} bytes; record a part of it as a rule of its own")));
        }
        let wrong = |span: Range<usize>, label: String, help: &str| {
            Problem::error(path, format!("{field} is not valid LogQL")).label(label).help(help).span(span)
        };
        let tokens = tokens(text).map_err(|(at, what)| wrong(at..at + 1, what.to_owned(), "close it"))?;
        let sign = |i: usize| tokens.get(i).filter(|(_, t)| *t == Token::Sign).map(|(span, _)| &text[span.clone()]);

        let mut open: Vec<(usize, &str)> = Vec::new();
        let mut selectors = Vec::new();
        let mut i = 0;
        while let Some((span, _)) = tokens.get(i) {
            match sign(i) {
                Some("{") => {
                    let (selector, next) = selector(text, &tokens, i).map_err(|(span, label)| {
                        wrong(span, label, "write a selector like {app=\"checkout\", level=~\"error|fatal\"}")
                    })?;
                    selectors.push(selector);
                    i = next;
                    continue;
                }
                Some("}") => {
                    return Err(wrong(
                        span.clone(),
                        "this } closes nothing".to_owned(),
                        "remove it, or add the opening one",
                    ));
                }
                Some(opener @ ("(" | "[")) => open.push((span.start, opener)),
                Some(closer @ (")" | "]")) => match open.pop() {
                    Some((_, "(")) if closer == ")" => {}
                    Some((_, "[")) if closer == "]" => {}
                    Some((at, opener)) => {
                        return Err(wrong(
                            at..at + 1,
                            format!("this {opener} is closed by {closer}"),
                            "close it by its own kind",
                        ));
                    }
                    None => {
                        return Err(wrong(
                            span.clone(),
                            format!("this {closer} closes nothing"),
                            "remove it, or add the opening one",
                        ));
                    }
                },
                _ => {}
            }
            i += 1;
        }
        if let Some((at, opener)) = open.pop() {
            return Err(wrong(at..at + 1, format!("this {opener} is never closed"), "close it"));
        }
        if selectors.is_empty() {
            return Err(wrong(0..text.len(), "it has no stream selector".to_owned(), example));
        }
        if sign(0) == Some("{") || !(0..tokens.len()).any(|i| sign(i) == Some("[")) {
            return Err(Problem::error(path, format!("{field} yields log lines instead of numbers")).help(example));
        }
        for (label, op, value) in selectors.iter().flat_map(|s| &s.matchers) {
            if (op == "=~" || op == "!~")
                && let Some(complaint) = re2::complaint(value)
            {
                return Err(Problem::error(path, format!("{field} has a broken regular expression"))
                    .label(format!("{label}{op}: {}", complaint.message))
                    .help(complaint.help));
            }
        }
        Ok(Self { text: text.trim_end().to_owned(), selectors })
    }

    /// The expression with every matcher in every stream selector; without any, as it was written.
    pub fn inject(&self, matchers: &[Matcher]) -> String {
        let added: String = matchers.iter().map(|m| format!(", {m}")).collect();
        let mut out = String::with_capacity(self.text.len() + added.len() * self.selectors.len());
        let mut from = 0;
        for selector in &self.selectors {
            out.push_str(self.text.get(from..selector.end).unwrap_or_default());
            out.push_str(&added);
            from = selector.end;
        }
        out.push_str(self.text.get(from..).unwrap_or_default());
        out
    }

    /// The matchers of each stream selector: label, operator, value.
    pub fn matchers(&self) -> impl Iterator<Item = &[(String, String, String)]> {
        self.selectors.iter().map(|s| s.matchers.as_slice())
    }
}

/// Reads `{label op "text", …}` from the brace at `i`; gives it and the token after it.
fn selector(text: &str, tokens: &[Spanned], i: usize) -> Result<(Selector, usize), (Range<usize>, String)> {
    let opening = tokens.get(i).map_or(0..0, |(span, _)| span.clone());
    let raw = |i: usize| tokens.get(i).map_or("", |(span, _)| text.get(span.clone()).unwrap_or_default());
    let mut matchers = Vec::new();
    let (mut at, mut end) = (i + 1, opening.end);
    loop {
        match (tokens.get(at), tokens.get(at + 1), tokens.get(at + 2)) {
            (Some((span, Token::Sign)), ..) if raw(at) == "}" => {
                return match matchers.is_empty() {
                    true => Err((opening.start..span.end, "an empty selector reads every stream".to_owned())),
                    false => Ok((Selector { end, matchers }, at + 1)),
                };
            }
            (Some((_, Token::Word)), Some((_, Token::Sign)), Some((span, Token::Text(value))))
                if matches!(raw(at + 1), "=" | "!=" | "=~" | "!~") =>
            {
                matchers.push((raw(at).to_owned(), raw(at + 1).to_owned(), value.clone()));
                end = span.end;
                at += 3;
                match raw(at) {
                    "," if raw(at + 1) != "}" => at += 1,
                    "}" => {}
                    _ => break,
                }
            }
            _ => break,
        }
    }
    match tokens.get(at) {
        Some((span, _)) => Err((span.clone(), format!("{} is unexpected in a selector", raw(at)))),
        None => Err((opening, "this { is never closed".to_owned())),
    }
}

/// The tokens; a fault is the place of a quote that is never closed.
fn tokens(text: &str) -> Result<Vec<Spanned>, (usize, &'static str)> {
    let mut all = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        match c {
            '#' => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            '"' | '`' => {
                let mut value = String::new();
                let end = loop {
                    match chars.next() {
                        Some((at, d)) if d == c => break at + 1,
                        Some((_, '\\')) if c == '"' => match chars.next() {
                            Some((_, 'n')) => value.push('\n'),
                            Some((_, 't')) => value.push('\t'),
                            Some((_, 'r')) => value.push('\r'),
                            Some((_, d)) => value.push(d),
                            None => return Err((start, "this quote is never closed")),
                        },
                        Some((_, '\n')) if c == '"' => return Err((start, "this quote is never closed")),
                        Some((_, d)) => value.push(d),
                        None => return Err((start, "this quote is never closed")),
                    }
                };
                all.push((start..end, Token::Text(value)));
            }
            c if c.is_alphanumeric() || c == '_' => {
                let mut end = start + c.len_utf8();
                while let Some((at, d)) = chars.next_if(|(_, d)| d.is_alphanumeric() || *d == '_') {
                    end = at + d.len_utf8();
                }
                all.push((start..end, Token::Word));
            }
            c if c.is_whitespace() => {}
            '=' | '!' | '|' | '<' | '>' => {
                let two = chars
                    .next_if(|(_, d)| matches!((c, d), (_, '=') | ('=' | '!' | '|', '~') | ('|', '>') | ('!', '>')));
                all.push((start..two.map_or(start + 1, |(at, _)| at + 1), Token::Sign));
            }
            c => all.push((start..start + c.len_utf8(), Token::Sign)),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::matchers::Op;

    fn cluster() -> Vec<Matcher> {
        vec![Matcher { label: "cluster".to_owned(), op: Op::Equal, value: "a\"b".to_owned() }]
    }

    #[test]
    fn only_stream_selectors_get_matchers() {
        for (text, injected) in [
            (
                r#"sum(rate({app="x"} |= "{not}" | json | line_format "{{.a}}" [5m])) > 1"#,
                r#"sum(rate({app="x", cluster="a\"b"} |= "{not}" | json | line_format "{{.a}}" [5m])) > 1"#,
            ),
            (
                "count_over_time({ a=~`x{2}` , b!=\"}\" } # {no=\"}\n[1m]) / count_over_time({c=\"d\"}[1m])",
                "count_over_time({ a=~`x{2}` , b!=\"}\", cluster=\"a\\\"b\" } # {no=\"}\n[1m]) / count_over_time({c=\"d\", cluster=\"a\\\"b\"}[1m])",
            ),
            (
                r#"count_over_time({a="b"} | pattern `<_> {"k": <v>}` | v > 2 [5m]) > 0"#,
                r#"count_over_time({a="b", cluster="a\"b"} | pattern `<_> {"k": <v>}` | v > 2 [5m]) > 0"#,
            ),
        ] {
            let read = LogQl::parse(text, "x").expect(text);
            assert_eq!(read.inject(&cluster()), injected);
            assert_eq!(read.inject(&[]), text);
            assert_eq!(LogQl::parse(injected, "x").expect(injected).selectors.len(), read.selectors.len());
        }
    }

    #[test]
    fn says_where_it_is_wrong() {
        for (text, line, span) in [
            (r#"rate({app="x"}[5m]"#, "x is not valid LogQL (this ( is never closed); close it", Some(4..5)),
            (r#"rate({app="x}[5m])"#, "x is not valid LogQL (this quote is never closed); close it", Some(10..11)),
            (
                r"rate({app=x}[5m])",
                "x is not valid LogQL (app is unexpected in a selector); write a selector like {app=\"checkout\", level=~\"error|fatal\"}",
                Some(6..9),
            ),
            (
                r"rate({}[5m])",
                "x is not valid LogQL (an empty selector reads every stream); write a selector like {app=\"checkout\", level=~\"error|fatal\"}",
                Some(5..7),
            ),
            (
                r#"{app="x"} |= "error""#,
                "x yields log lines instead of numbers; write numbers over a stream, such as sum(count_over_time({app=\"checkout\"} |= \"error\" [5m])) > 10",
                None,
            ),
            (
                r#"rate({app=~"("}[5m])"#,
                "x has a broken regular expression (app=~: a ( is never closed); close it, or write \\(",
                None,
            ),
        ] {
            let problem = LogQl::parse(text, "x").expect_err(text);
            assert_eq!((problem.to_string().trim_start_matches("x: "), problem.span.clone()), (line, span), "{text}");
        }
    }
}
