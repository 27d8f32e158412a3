//! Reading the PromQL that users write: bounded, so that no input can exhaust the parser, and with
//! a place for every complaint.

use std::{borrow::Cow, ops::Range};

use plimsoll_api::Problem;
pub use promql_parser::label::Matcher;
use promql_parser::{
    label::MatchOp,
    parser::{Expr, VectorSelector, token, value::ValueType},
};

pub use crate::tree::grouped_by;
pub(crate) use crate::tree::{children, children_mut, each, each_selector, tree, uncompile};
use crate::{
    dialect,
    model::{Selector, Template},
    re2::{self, Complaint},
    slips::{bare_value, between_matchers, curly, escapes, glued_window, slip},
};

/// Longest expression that is parsed, in bytes. The parser's time grows faster than its input, and
/// deep nesting exhausts its stack.
pub const MAX_LEN: usize = 4096;
/// Deepest nesting of brackets that is parsed.
pub const MAX_DEPTH: usize = 64;

/// Functions without a value where their range has one sample.
const NEED_TWO: [&str; 6] = ["rate", "irate", "increase", "delta", "idelta", "deriv"];

/// An expression that parsed, with what rendering and checking need to know of it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The author's text, trimmed and without comments, `$window` still in it.
    pub text: String,
    /// The syntax tree, of the text with `$window` replaced by `5m`.
    pub expr: Expr,
    /// True when the text holds `$window`.
    pub windowed: bool,
}

impl Parsed {
    /// The whole expression as one bare selector: no range, offset or `@`.
    pub fn selector(&self) -> Option<&VectorSelector> {
        match &self.expr {
            Expr::VectorSelector(s) if s.offset.is_none() && s.at.is_none() && s.matchers.or_matchers.is_empty() => {
                Some(s)
            }
            _ => None,
        }
    }

    /// The text as a template.
    pub fn template(&self) -> Template {
        Template(self.text.clone())
    }

    /// The selectors whose rate or increase is taken, which is right of counters alone.
    pub fn rated(&self) -> Vec<VectorSelector> {
        let mut all = Vec::new();
        each(&self.expr, &mut |expr| {
            if let Expr::Call(call) = expr
                && ["rate", "increase", "irate"].contains(&call.func.name)
                && let Some(Expr::MatrixSelector(matrix)) = call.args.args.first().map(AsRef::as_ref)
            {
                all.push(matrix.vs.clone());
            }
        });
        all
    }

    /// Whether it takes what has no value where there is but one sample, such as a rate.
    pub fn needs_two(&self) -> bool {
        let mut found = false;
        each(&self.expr, &mut |expr| {
            found |= matches!(expr, Expr::Call(call) if NEED_TWO.contains(&call.func.name));
        });
        found
    }

    /// Every vector selector in the expression, also inside ranges.
    pub fn selectors(&self) -> Vec<VectorSelector> {
        let mut all = Vec::new();
        each(&self.expr, &mut |expr| match expr {
            Expr::VectorSelector(s) => all.push(s.clone()),
            Expr::MatrixSelector(m) => all.push(m.vs.clone()),
            _ => {}
        });
        all
    }
}

/// Parses `text`, the value of the field at `path`. `wants` is a value type, or `None` for any.
///
/// # Errors
/// The problem, with the part of the text that it is about where that can be told.
pub fn parse(text: &str, path: &str) -> Result<Parsed, Problem> {
    let field = path.rsplit('.').next().unwrap_or(path);
    if text.trim().is_empty() {
        return Err(Problem::error(path, format!("{field} is empty"))
            .help("write a PromQL selector, such as 'http_requests_total{job=\"checkout\"}'"));
    }
    if text.len() > MAX_LEN {
        return Err(Problem::error(path, format!("{field} is too long"))
            .label(format!("{} bytes", text.len()))
            .help(format!("use at most {MAX_LEN} bytes; record a part of it as a rule of its own")));
    }
    let comments = comments(text);
    let written = text;
    let blank = blank(text, &comments);
    let text = blank.as_ref();
    if text.trim().is_empty() {
        return Err(Problem::error(path, format!("{field} is a comment")).help("write an expression below it"));
    }
    if let Some((place, help)) = curly(text) {
        let problem = Problem::error(path, format!("{field} is not valid PromQL")).label("a curly quote is no quote");
        return Err(problem.help(help).span(place));
    }
    brackets(text, path)?;
    if let Some(problem) = dialect::bytes(text, path) {
        return Err(problem);
    }
    let windowed = text.contains("$window");
    if let Some((place, help)) = glued_window(text).filter(|_| path.starts_with("spec.sli.")) {
        let word = text.get(place.clone()).unwrap_or_default();
        return Err(Problem::error(path, format!("{field} does not have $window alone"))
            .label(format!("{word} would become {}", word.replace("$window", "5m")))
            .help(help)
            .span(place));
    }
    let filled = text.replace("$window", "5m");
    let expr = tree(&filled).map_err(|message| {
        let mut problem = Problem::error(path, format!("{field} is not valid PromQL")).label(message.clone());
        if let Some((place, meant)) = bare_value(text) {
            return problem.span(place).help(format!("put the label's value in quotes: {meant}"));
        }
        let known = between_matchers(text);
        let known = known.or_else(|| message.contains("unknown escape").then(|| escapes(text)).flatten());
        if let Some((place, help)) = known {
            return problem.span(place).help(help);
        }
        if let Some(span) = quoted(&message).and_then(|token| find(text, token)) {
            problem = problem.span(span);
        }
        problem.help(hint(&message, text, path))
    })?;
    if let Some(problem) = dialect::refused(&expr, text, path).or_else(|| dialect::endless(text, path)) {
        return Err(problem);
    }
    if let Some((pattern, complaint)) = bad_regex(&expr) {
        let problem = Problem::error(
            path,
            format!("{field} has a regular expression that Prometheus refuses or reads otherwise"),
        )
        .label(complaint.message)
        .help(complaint.help);
        return Err(match find(text, &pattern) {
            Some(span) => problem.span(span),
            None => problem,
        });
    }
    Ok(Parsed { text: without(written, &comments).trim().to_owned(), expr, windowed })
}

/// Comments with the spaces before them; of a line that is nothing else, the whole line.
fn comments(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' | '\'' | '`' => {
                while let Some((_, d)) = chars.next() {
                    if d == '\\' && c != '`' {
                        chars.next();
                    } else if d == c {
                        break;
                    }
                }
            }
            '#' => {
                let before = text.get(..at).unwrap_or_default().trim_end_matches([' ', '\t', '\r']);
                let end = text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |length| at + length);
                let alone = before.is_empty() || before.ends_with('\n');
                found.push(before.len()..if alone { (end + 1).min(text.len()) } else { end });
                while chars.clone().next().is_some_and(|(at, _)| at < end) {
                    chars.next();
                }
            }
            _ => {}
        }
    }
    found
}

/// The text with blanks for the comments, so that every other part stays where it is.
fn blank<'t>(text: &'t str, comments: &[Range<usize>]) -> Cow<'t, str> {
    let mut blank = Cow::Borrowed(text);
    for comment in comments {
        blank.to_mut().replace_range(comment.clone(), &" ".repeat(comment.len()));
    }
    blank
}

/// The text without the comments.
fn without<'t>(text: &'t str, comments: &[Range<usize>]) -> Cow<'t, str> {
    let mut left = Cow::Borrowed(text);
    for comment in comments.iter().rev() {
        left.to_mut().replace_range(comment.clone(), "");
    }
    left
}

/// The first regular expression, in a matcher or in `label_replace`, that Prometheus would refuse or misread.
fn bad_regex(expr: &Expr) -> Option<(String, Complaint)> {
    let mut patterns = Vec::new();
    each(expr, &mut |expr| match expr {
        Expr::VectorSelector(selector) => patterns.extend(regexes(selector)),
        Expr::MatrixSelector(matrix) => patterns.extend(regexes(&matrix.vs)),
        Expr::Call(call) if call.func.name == "label_replace" => {
            if let Some(Expr::StringLiteral(pattern)) = call.args.args.last().map(AsRef::as_ref) {
                patterns.push(pattern.val.as_str());
            }
        }
        _ => {}
    });
    patterns.into_iter().find_map(|pattern| Some((pattern.to_owned(), re2::complaint(pattern)?)))
}

/// The patterns of a selector's matchers.
fn regexes(selector: &VectorSelector) -> impl Iterator<Item = &str> {
    let all = selector.matchers.matchers.iter().chain(selector.matchers.or_matchers.iter().flatten());
    all.filter(|matcher| matches!(matcher.op, MatchOp::Re(_) | MatchOp::NotRe(_))).map(|matcher| matcher.value.as_str())
}

/// Unbalanced brackets and quotes, with their place; the parser tells neither.
fn brackets(text: &str, path: &str) -> Result<(), Problem> {
    let field = path.rsplit('.').next().unwrap_or(path);
    let bad = |at: usize, width: usize, label: String, help: &str| {
        Err(Problem::error(path, format!("{field} is not valid PromQL")).label(label).help(help).span(at..at + width))
    };
    let mut open: Vec<(usize, char)> = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '(' | '[' | '{' => {
                open.push((at, c));
                if open.len() > MAX_DEPTH {
                    return bad(
                        at,
                        1,
                        format!("brackets nested more than {MAX_DEPTH} deep"),
                        "record a part of it as a rule of its own",
                    );
                }
            }
            ')' | ']' | '}' => {
                let opener = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                match open.pop() {
                    Some((_, o)) if o == opener => {}
                    Some((start, o)) => {
                        return bad(start, 1, format!("this {o} is closed by {c}"), "close it by its own kind");
                    }
                    None => return bad(at, 1, format!("this {c} closes nothing"), "remove it, or add the opening one"),
                }
            }
            '"' | '\'' | '`' => {
                let mut closed = false;
                while let Some((_, d)) = chars.next() {
                    if d == '\\' && c != '`' {
                        chars.next();
                    } else if d == c {
                        closed = true;
                        break;
                    }
                }
                if !closed {
                    return bad(at, 1, "this quote is never closed".to_owned(), "close it");
                }
            }
            _ => {}
        }
    }
    match open.pop() {
        Some((at, c)) => bad(at, 1, format!("this {c} is never closed"), "close it"),
        None => Ok(()),
    }
}

/// The first 'word' in single quotes of a parser's message.
fn quoted(message: &str) -> Option<&str> {
    message.split('\'').nth(1).filter(|s| !s.is_empty())
}

/// Where `token` is in `text`, if that is one place only.
pub(crate) fn find(text: &str, token: &str) -> Option<Range<usize>> {
    let mut hits = text.match_indices(token).map(|(at, _)| at..at + token.len());
    let first = hits.next()?;
    // More than one place would be a guess.
    hits.next().is_none().then_some(first)
}

fn hint(message: &str, text: &str, path: &str) -> &'static str {
    if message.contains("in label matching, expected string") {
        "put the label's value in quotes: code=~\"5..\""
    } else if message.contains("at least one non-empty matcher") {
        "name a metric before the brace, or what must be there: job=~\".+\""
    } else if message.contains("illegal regex") {
        "mend the regular expression"
    } else if let Some(help) = slip(text, path) {
        help
    } else if message.contains("expected type matrix") {
        "give it a range: [5m], or [$window] in an SLO"
    } else if message.contains("unknown function") {
        "check the function's name"
    } else {
        "try it in Prometheus' expression browser"
    }
}

/// The kind of value an expression yields, as a person says it.
pub fn kind(expr: &Expr) -> &'static str {
    match expr.value_type() {
        ValueType::Vector => "an instant vector",
        ValueType::Scalar => "a number",
        ValueType::Matrix => "a range vector",
        ValueType::String => "a string",
    }
}

/// Turns a bare selector into its two parts.
pub fn split(selector: &VectorSelector) -> Selector {
    let mut metric = selector.name.clone().unwrap_or_default();
    let mut matchers = Vec::new();
    for m in &selector.matchers.matchers {
        if m.name == "__name__" && m.op == MatchOp::Equal && metric.is_empty() && is_metric(&m.value) {
            metric.clone_from(&m.value);
        } else {
            matchers.push(matcher(m));
        }
    }
    Selector { metric, matchers: matchers.join(",") }
}

/// As PromQL.
pub fn matcher(m: &Matcher) -> String {
    format!("{}{}{}", label_name(&m.name), m.op, quote(&m.value))
}

/// That a label has a value, as PromQL: `region="eu"`.
pub fn equals(label: &str, value: &str) -> String {
    format!("{}={}", label_name(label), quote(value))
}

/// The matchers by which a selector wants labels to have certain values, each once.
pub fn wanted(selector: &str) -> Vec<Matcher> {
    let wants =
        |m: &&Matcher| matches!(m.op, MatchOp::Equal | MatchOp::Re(_)) && !m.value.is_empty() && m.name != "__name__";
    let selectors = parse(selector, "").map(|parsed| parsed.selectors()).unwrap_or_default();
    let mut found: Vec<Matcher> = Vec::new();
    for matcher in selectors.iter().flat_map(|one| one.matchers.matchers.iter().filter(wants)) {
        if !found.contains(matcher) {
            found.push(matcher.clone());
        }
    }
    found
}

/// Whether one of these values fits a matcher. What cannot be understood may fit.
pub fn fits(matcher: &Matcher, values: impl IntoIterator<Item = String>) -> bool {
    let id = match matcher.op {
        MatchOp::Equal => token::T_EQL,
        MatchOp::NotEqual => token::T_NEQ,
        MatchOp::Re(_) => token::T_EQL_REGEX,
        MatchOp::NotRe(_) => token::T_NEQ_REGEX,
    };
    // A syntax tree's patterns are not compiled.
    let compiled = Matcher::new_matcher(id, matcher.name.clone(), matcher.value.clone());
    compiled.map_or(true, |compiled| values.into_iter().any(|value| compiled.is_match(&value)))
}

/// A label's name, in quotes where it needs them.
pub fn label_name(name: &str) -> String {
    if is_label(name) { name.to_owned() } else { quote(name) }
}

/// A PromQL string literal.
pub fn quote(text: &str) -> String {
    // Megabytes go through here, most of it as it is: so it is copied in pieces. 0xC2 begins the controls beyond ASCII.
    let special = |b: &u8| *b < b' ' || matches!(*b, b'"' | b'\\' | 0x7F | 0xC2);
    let mut out = String::with_capacity(text.len() + text.len() / 8 + 2);
    out.push('"');
    let mut rest = text;
    while let Some((plain, tail)) = rest.bytes().position(|b| special(&b)).and_then(|at| rest.split_at_checked(at)) {
        out.push_str(plain);
        let mut chars = tail.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(c) if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            Some(c) => out.push(c),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
    out
}

/// True for a label name that needs no quotes.
pub fn is_label(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// True for a metric name that needs no quotes.
pub fn is_metric(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

#[cfg(test)]
mod tests {
    use promql_parser::parser;

    use super::*;

    #[test]
    fn quoted_text_is_read_as_it_was() {
        for (text, quoted) in [
            ("", r#""""#),
            ("plain", r#""plain""#),
            ("a\"b\\c\nd\re\tf", r#""a\"b\\c\nd\re\tf""#),
            ("\u{1}\u{7f}\u{85}éÂ€\\", r#""\u0001\u007f\u0085éÂ€\\""#),
        ] {
            assert_eq!(quote(text), quoted, "{text:?}");
        }
    }

    #[test]
    fn names_the_place() {
        for (text, span, label) in [
            ("sum(rate(a[5m])", 3..4, "this ( is never closed"),
            ("a}", 1..2, "this } closes nothing"),
            ("a{b=\"x]", 4..5, "this quote is never closed"),
            ("a(b]", 1..2, "this ( is closed by ]"),
            ("nofunc(a)", 0..6, "unknown function with name 'nofunc'"),
            ("sum(mad_over_time(a[5m]))", 4..17, ""),
            ("sum(limitk(1, a))", 4..10, ""),
            ("a{b=~\"(?x) c\"}", 6..12, "Prometheus has only the flags i, m, s and U"),
            ("topk(scalar(x{a=~\"d(\"}), y{b=~\"c\"})", 18..20, "a ( is never closed"),
            ("rate(a{b!~\"c{1001}\"}[5m])", 11..18, "it repeats more than 1000 times"),
            (
                "label_replace(a, \"b\", \"$1\", \"c\", \"(?=d)\")",
                34..39,
                "Prometheus has neither look-around nor back references",
            ),
        ] {
            let problem = parse(text, "spec.sli.events.bad").expect_err(text);
            assert_eq!((problem.span, problem.label.as_str()), (Some(span), label), "{text}");
        }
    }

    #[test]
    fn what_selects_everything_is_refused() {
        for text in [
            r#"{job=~".*"}"#,
            r#"sum(rate({job=~"|a"}[5m]))"#,
            r#"{job!~"a"}"#,
            r#"{a="", b=~"x?"} > 5"#,
            // After a word that is no metric.
            r#"up == 0 and {job=~".*"}"#,
            r#"up == 0 or {__name__=~".*"}"#,
            r#"up == 0 unless {job=~"|x"} > 1"#,
            r#"up == bool {job!~"a"}"#,
            r#"up > on (job) group_left {job=~".*"}"#,
            r#"min_over_time((up == 0 or {instance=~".*"})[5m:]) > 1"#,
            r#"up and {job=~"\\S*"}"#,
        ] {
            let problem = parse(text, "x").expect_err(text);
            assert_eq!(problem.label, "vector selector must contain at least one non-empty matcher", "{text}");
        }
        for text in [
            r#"{job=~".+"}"#,
            r#"{job=~"a.*", b=~".*"}"#,
            r#"a{job=~".*"}"#,
            r#"{job!~".*|a", b=~"|c"}"#,
            r#"up and {job!~".*"}"#,
            r#"up or {"odd.name",job=~".*"}"#,
            r#"up and {path=~"/users/{id}"}"#,
        ] {
            assert_eq!(parse(text, "x").map(|p| p.text).map_err(|p| p.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_pattern_fits_whole_values() {
        for (matcher, fit) in
            [("=\"500\"", true), ("=\"5\"", false), ("=~\"5..\"", true), ("=~\"5\"", false), ("=~\"400|404\"", false)]
        {
            let found: Vec<bool> = wanted(&format!("a{{b{matcher}}}"))
                .iter()
                .map(|one| fits(one, ["200", "500"].map(str::to_owned)))
                .collect();
            assert_eq!(found, [fit], "{matcher}");
        }
    }

    #[test]
    fn patterns_come_back_uncompiled() {
        for text in [
            r#"sum by (a) (rate(b{c=~"5..",d!~`x"y`,e="0",f=~'1'}[5m])) / on (a) g{h=~"0"}"#,
            r#"b{c=~"5..",d!~"x\\.y"}"#,
            r#"label_replace(b{c =~ "5.." }, "d", "$1", "e", "(.*)") or f{g="h"}"#,
        ] {
            let mut plain = parser::parse(text).expect(text);
            each_selector(&mut plain, &mut |selector| {
                selector.matchers.matchers.iter_mut().for_each(|matcher| {
                    uncompile(matcher);
                });
            });
            assert_eq!(tree(text), Ok(plain), "{text}");
        }
    }

    #[test]
    fn comments_are_left_out() {
        for (text, left) in [
            ("up # is it\n== 0", "up\n== 0"),
            (
                "# first\nup{a=\"#\",b='\\'#',c=`#`} # second\n  # third\n  == 0 # last\n",
                "up{a=\"#\",b='\\'#',c=`#`}\n  == 0",
            ),
            ("rate(x[5m]) # per second (\"é\n# > 1\n> 2 #", "rate(x[5m])\n> 2"),
        ] {
            assert_eq!(parse(text, "x").map(|parsed| parsed.text), Ok(left.to_owned()), "{text}");
        }
        let problem = parse("# é\nup ==# x\n 0 and {", "spec.rules[0].expr").expect_err("open");
        assert_eq!((problem.span, problem.label.as_str()), (Some(21..22), "this { is never closed"));
        for nothing in ["#", " # up == 0\n# x"] {
            assert_eq!(parse(nothing, "spec.rules[0].expr").expect_err(nothing).message, "expr is a comment");
        }
    }

    #[test]
    fn what_stands_between_backquotes_is_as_it_is_written() {
        for (text, value) in [
            (r"up{a=~`a\d+\.b`}", r"a\d+\.b"),
            (r"up{a=`C:\new\`}", r"C:\new\"),
            (r#"up{a=~`"\w"|#`}"#, r#""\w"|#"#),
            ("up{a=`x\ny`}", "x\ny"),
        ] {
            let parsed = parse(text, "x").unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert_eq!(parsed.selectors()[0].matchers.matchers[0].value, value, "{text}");
            assert_eq!(parsed.text, text);
        }
        let problem = parse(r"up{a=~`(\d`}", "spec.rules[0].expr").expect_err("a group");
        assert_eq!((problem.span, problem.label.as_str()), (Some(7..10), "a ( is never closed"));
    }

    #[test]
    fn deep_and_long_input_is_refused_before_parsing() {
        for text in ["(".repeat(40_000), "(".repeat(100) + "a" + &")".repeat(100), vec!["a"; 25_600].join("+")] {
            assert!(parse(&text, "x").is_err());
        }
    }

    #[test]
    fn selectors_survive_splitting() {
        for (text, metric, matchers) in [
            (r#"a{b="c",d=~"x|y"}"#, "a", r#"b="c",d=~"x|y""#),
            (r#"{__name__="a",b!='"'}"#, "a", r#"b!="\"""#),
            (r#"{__name__=~"a.*"}"#, "", r#"__name__=~"a.*""#),
            (r#"a{b=~"\\d{3}"}"#, "a", r#"b=~"\\d{3}""#),
        ] {
            let parsed = parse(text, "x").expect(text);
            let got = split(parsed.selector().expect(text));
            assert_eq!((got.metric.as_str(), got.matchers.as_str()), (metric, matchers), "{text}");
        }
    }
}
