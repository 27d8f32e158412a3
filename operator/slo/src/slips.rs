//! Slips in expressions: what their authors had in mind, and what to write instead. Most do not parse; a `$window` with
//! something beside it does, and means another time.

mod braces;

use std::ops::Range;

pub(crate) use braces::{between_matchers, escapes};

use crate::{meant, promql::quote};

const WINDOW: &str = "$window";

/// Bytes of an expression that a help repeats.
const SHOWN: usize = 120;

/// Whether a text that did not parse has this slip: the text in small letters, without what is in quotes or braces.
type Slip = fn(&str) -> bool;

/// What people write in an indicator who know another language better, and what to write instead.
const SLIPS_OF_SLI: [(Slip, &str); 2] = [
    (
        is_logql,
        "this is LogQL, and an SLO takes PromQL: let a rule of Loki record what it counts, and write the name of that series",
    ),
    // Placeholders of others, and ranges that would be refused once they were right.
    (odd_window, "write the range as [$window]: an SLO is asked for over several windows"),
];

/// The same in any expression; the first that fits is told.
const SLIPS: [(Slip, &str); 10] = [
    (|text| text.contains("&&"), "write and instead of &&"),
    (|text| text.contains("||"), "write or instead of ||"),
    (is_logql, "this is LogQL: write it as logql instead of expr"),
    (assigns, "write == to compare: = stands only between a label and its value, in braces"),
    (percent, "write the number alone, without %: a ratio of 5 % is 0.05"),
    (odd_range, "write the range as a number and one of ms, s, m, h, d, w or y, without a space: [5m]"),
    (
        |text| text.match_indices(")[").any(|(at, _)| !in_brackets(text, at + 1).contains(':')),
        "only a selector has a range: write rate inside, sum(rate(a[5m])), or a subquery, [5m:1m]",
    ),
    (late_group, "write group_left right after on (…), before the right side: a * on (x) group_left () b"),
    (bare_labels, "write the labels in brackets: by (pod), on (pod)"),
    (open_end, "write what comes after the last operator: its right side is missing"),
];

/// What helps who wrote this into the field at `path`, where a slip is known.
pub(crate) fn slip(text: &str, path: &str) -> Option<&'static str> {
    let plain = outside(text);
    let of_sli: &[_] = if path.starts_with("spec.sli.") { &SLIPS_OF_SLI } else { &[] };
    of_sli.iter().chain(&SLIPS).find_map(|(has, help)| has(&plain).then_some(*help))
}

/// The first `$window` that does not stand alone, so that it would become another time: the place of all that is read as
/// one, and what helps. `[$windows]` would be 5 ms, `[$window30s]` 5 m and 30 s.
pub(crate) fn glued_window(text: &str) -> Option<(Range<usize>, &'static str)> {
    let glued = |at: &usize| after(text, at + WINDOW.len()).starts_with(|c: char| c.is_ascii_alphanumeric());
    let (mut range, mut ranges) = (None, Vec::new());
    for (at, c, _) in unquoted(text) {
        match c {
            '[' => range = Some(at),
            ']' => ranges.extend(range.take().map(|open| open..at + 1)),
            _ => {}
        }
    }
    text.match_indices(WINDOW).map(|(at, _)| at).find_map(|at| {
        if let Some(range) = ranges.iter().find(|range| range.contains(&at)) {
            let alone = before(text, at).trim_end().ends_with(['[', ':']) && !glued(&at);
            return (!alone).then(|| (range.clone(), "write [$window], with nothing else beside it"));
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let rest = after(text, at + WINDOW.len());
        let end = text.len() - rest.trim_start_matches(word).len();
        glued(&at).then_some((at..end, "write $window, with no letter or digit after it"))
    })
}

/// The first curly quote that should be a straight one: its place, and what helps.
pub(crate) fn curly(text: &str) -> Option<(Range<usize>, String)> {
    let (at, c, _) = unquoted(text).find(|(_, c, _)| meant::is_curly(*c))?;
    let first = text.lines().next().filter(|line| line.len() == text.len() && line.len() <= SHOWN);
    let help = match first {
        Some(all) => format!("type straight quotes: {}", meant::straight(all.trim())),
        None => format!("type straight quotes, {} instead of {c}", meant::straight(&c.to_string())),
    };
    Some((at..at + c.len_utf8(), help))
}

/// What is outside of quotes, without braces: each character, its place, and in how many braces it stands.
pub(crate) fn unquoted(text: &str) -> impl Iterator<Item = (usize, char, usize)> + '_ {
    let (mut quote, mut depth) = (None, 0_usize);
    let mut chars = text.char_indices();
    std::iter::from_fn(move || {
        loop {
            let (at, c) = chars.next()?;
            match (quote, c) {
                (Some(open), '\\') if open != '`' => drop(chars.next()),
                (Some(open), _) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'' | '`') => quote = Some(c),
                (None, '{') => depth += 1,
                (None, '}') => depth = depth.saturating_sub(1),
                (None, _) => return Some((at, c, depth)),
            }
        }
    })
}

/// The first label's value without quotes, `{code=~5..}`: its place, and the matcher with them.
pub(crate) fn bare_value(text: &str) -> Option<(Range<usize>, String)> {
    let signs = unquoted(text).filter(|(_, c, depth)| matches!(c, '=' | '~') && *depth > 0);
    signs.map(|(at, ..)| at).find_map(|at| {
        let left = before(text, at).trim_end_matches(['=', '!']);
        let right = after(text, at + 1).trim_start_matches(['=', '~']);
        let label = words(left).last().filter(|(at, word)| at + word.len() == left.trim_end().len())?.1;
        let value = right.split([',', '}']).next().unwrap_or_default();
        let from = text.len() - right.len() + value.len() - value.trim_start().len();
        let value = value.trim();
        if !value.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '^' | '*' | '(' | '/')) {
            return None;
        }
        let sign = text.get(left.len()..text.len() - right.len()).unwrap_or_default();
        let sign = if sign == "==" { "=" } else { sign };
        Some((from..from + value.len(), format!("{label}{sign}{}", quote(value))))
    })
}

/// A single `|`, which stands between the stages of LogQL and nowhere in PromQL.
fn is_logql(text: &str) -> bool {
    text.replace("||", "").contains('|')
}

/// A range that is no duration; no subquery.
fn odd_window(text: &str) -> bool {
    odd_range(text) && !text.match_indices('[').any(|(at, _)| in_brackets(text, at).contains(':'))
}

/// The text in small letters, with nothing left in quotes and braces.
fn outside(text: &str) -> String {
    let plain = unquoted(text).filter(|(.., depth)| *depth == 0).flat_map(|(_, c, _)| c.to_lowercase());
    plain.collect::<String>().trim().to_owned()
}

fn before(text: &str, at: usize) -> &str {
    text.get(..at).unwrap_or_default()
}

fn after(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or_default()
}

/// What stands in the brackets that open at this byte.
fn in_brackets(text: &str, at: usize) -> &str {
    after(text, at + 1).split(']').next().unwrap_or_default()
}

/// A single `=`.
fn assigns(text: &str) -> bool {
    text.match_indices('=').any(|(at, _)| {
        !before(text, at).ends_with(['=', '!', '<', '>']) && !after(text, at + 1).starts_with(['=', '~'])
    })
}

/// A number of percent: `5%` and no right side.
fn percent(text: &str) -> bool {
    text.match_indices('%').any(|(at, _)| {
        let rest = after(text, at + 1).trim_start();
        let ends = rest.is_empty() || rest.starts_with([')', '>', '<', '=', '!', ',']) || starts_with_word(rest);
        before(text, at).trim_end().ends_with(|c: char| c.is_ascii_digit()) && ends
    })
}

fn starts_with_word(text: &str) -> bool {
    words(text).next().is_some_and(|(at, word)| at == 0 && ["and", "or", "unless"].contains(&word))
}

/// A range or a step that is no duration.
fn odd_range(text: &str) -> bool {
    text.match_indices('[').any(|(at, _)| {
        let mut parts = in_brackets(text, at).split(':').enumerate();
        parts.any(|(i, part)| {
            let (known, empty) = (part.trim() == WINDOW, i == 1 && part.trim().is_empty());
            !known && !empty && crate::duration::parse(part.trim(), "").is_err()
        })
    })
}

/// Words with their places.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '$');
    text.split(move |c: char| !is_word(c))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// `on (x) b group_left`: something between the two.
fn late_group(text: &str) -> bool {
    words(text).filter(|(_, word)| matches!(*word, "group_left" | "group_right")).any(|(at, _)| {
        let left = before(text, at).trim_end();
        let labels = left.strip_suffix(')').and_then(|rest| rest.rfind('(').and_then(|open| rest.get(..open)));
        !labels.is_some_and(|rest| rest.trim_end().ends_with("on") || rest.trim_end().ends_with("ignoring"))
    })
}

/// `by pod` without brackets.
fn bare_labels(text: &str) -> bool {
    words(text).filter(|(_, word)| matches!(*word, "by" | "without" | "on" | "ignoring")).any(|(at, word)| {
        let rest = after(text, at + word.len()).trim_start();
        rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    })
}

/// An operator at the end of the text or of brackets.
fn open_end(text: &str) -> bool {
    text.split(')').any(|part| {
        let part = part.trim_end();
        part.ends_with(['=', '<', '>', '+', '-', '*', '/', '%', '^'])
            || words(part).last().is_some_and(|(at, word)| {
                at > 0 && at + word.len() == part.len() && ["and", "or", "unless", "bool"].contains(&word)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::{glued_window, slip};
    use crate::promql::parse;

    #[test]
    fn a_slip_has_its_help() {
        for (text, help) in [
            ("up = 0", "write == to compare"),
            ("a{b=\"c\"} == ", "write what comes after the last operator"),
            ("(a > ) and b", "write what comes after the last operator"),
            ("a and", "write what comes after the last operator"),
            ("sum by pod (x)", "write the labels in brackets"),
            ("x > 5%", "write the number alone"),
            ("x > 5 % and y", "write the number alone"),
            ("a && b", "write and"),
            ("a || b", "write or"),
            ("rate(a[5 m])", "write the range as a number"),
            ("rate(a[5min])", "write the range as a number"),
            ("rate(sum(a)[5m])", "only a selector has a range"),
            ("a * on (x) b group_left", "write group_left right after on"),
            ("a{b=c}", "put the label's value in quotes: b=\"c\""),
            ("a{b=~5..}", "put the label's value in quotes: b=~\"5..\""),
            ("rate(a{b=\"c=d\",e!=/f}[5m])", "put the label's value in quotes: e!=\"/f\""),
            ("{app=\"a\"} |= \"error\"", "this is LogQL: write it as logql instead of expr"),
            ("sum(rate({app=\"a\"} | json | level=\"error\" [5m]))", "this is LogQL"),
            ("rate(a)", "give it a range"),
            ("a{b>=\"500\"}", "a label's value is text and has no order: write b=~\"5..\""),
            ("a{b > \"399\"}", "a label's value is text and has no order: write b=~\"[45]..\""),
            ("a{le<0.5}", "a label's value is text and has no order: write the values, le=~\"…|…\""),
            ("a{b=\"c\" and d=\"e\"}", "write a comma instead of and: a series must fit all matchers"),
            ("a{b=\"c\" && d=\"e\"}", "write a comma instead of &&: a series must fit all matchers"),
            ("a{b=\"c\" d=\"e\"}", "put a comma before d"),
            ("a{b=~\"5\\d\\d\"}", "double the backslash: \"5\\\\d\\\\d\""),
            ("a{b=~'\\w\\n'} > 1", "double the backslash: '\\\\w\\n'"),
            ("a{b=“c”}", "type straight quotes: a{b=\"c\"}"),
            ("a{b=‘c’} > 1", "type straight quotes: a{b='c'} > 1"),
            ("a{b=\"c\"}\n  + b{c=”d”}", "type straight quotes, \" instead of ”"),
            ("a b", "try it in Prometheus' expression browser"),
        ] {
            let problem = parse(text, "x").expect_err(text).to_string();
            assert!(problem.contains(&format!("; {help}")), "{text}: {problem}");
        }
        for text in [
            "a % 5 > 1",
            "a{b=\"“c”\"}",
            "a == on (x) group_left () b",
            "a == on (x) group_left b{c=\"d && e\"}",
            "max_over_time(rate(a[$window])[5m:]) >= bool 1",
            "sum by(pod) (rate(b{c!=\"=\"}[1h30m])) or vector(0)",
        ] {
            assert_eq!(slip(text, "spec.sli.events.bad"), None, "{text}");
            assert!(parse(text, "x").is_ok(), "{text}");
        }
    }

    #[test]
    fn a_slip_within_braces_is_pointed_at() {
        for (text, meant) in [
            ("a{b>=\"500\"}", ">="),
            ("sum(rate(a{x=\"y\",b < \"5\"}[5m]))", "<"),
            ("a{b=\"c > d and e\" and d=\"e\"}", "and"),
            ("a{b=\"c\"&&d=\"e\"}", "&&"),
            ("a{b=\"c\" d=\"e\"}", "d"),
            ("a{b=\"\\n\", c=\"x\\.y\"}", "\"x\\.y\""),
        ] {
            let problem = parse(text, "spec.sli.events.bad").expect_err(text);
            let at = text.rfind(meant).unwrap_or_default();
            assert_eq!(problem.span, Some(at..at + meant.len()), "{text}: {problem}");
        }
        for text in ["a{b=\"x > y and z\",and=\"or\"} and b{or!=\"&&\"} > 5", "{\"a b\",and=\"c\"} or b{d=~`\\d`}"] {
            assert_eq!(super::between_matchers(text), None, "{text}");
            assert!(parse(text, "x").is_ok(), "{text}");
        }
    }

    #[test]
    fn a_value_without_quotes_is_pointed_at() {
        for (text, value, meant) in [
            ("parcels_total{job=parcels}", "parcels", "job=\"parcels\""),
            ("parcels_total{job = parcels , code=\"5\"}", "parcels", "job=\"parcels\""),
            ("sum(rate(b{b=\"x\",code!~5..|4..}[5m]))", "5..|4..", "code!~\"5..|4..\""),
            ("a{job==shop}", "shop", "job=\"shop\""),
        ] {
            let problem = parse(text, "spec.sli.events.bad").expect_err(text);
            let at = text.rfind(value).unwrap_or_default();
            assert_eq!(problem.span, Some(at..at + value.len()), "{text}");
            assert_eq!(problem.help, format!("put the label's value in quotes: {meant}"), "{text}");
        }
    }

    #[test]
    fn a_window_stands_alone() {
        for (text, glued) in [
            ("sum(rate(a[$windows]))", "[$windows]"),
            ("sum(rate(a[$window30s]))", "[$window30s]"),
            ("sum(rate(a[1h$window]))", "[1h$window]"),
            ("sum(rate(a[$window])) / sum(rate(b[1h$window]))", "[1h$window]"),
            ("max_over_time(rate(a[$window])[$window:1m$window])", "[$window:1m$window]"),
            ("job:errors:rate$windows", "$windows"),
            ("sum(rate(a[5m] offset $window1s))", "$window1s"),
            ("job:errors:rate{window=\"$window2\"}", "$window2"),
        ] {
            let problem = parse(text, "spec.sli.ratio.errors").expect_err(text);
            assert_eq!(problem.span.map(|span| &text[span]), Some(glued), "{text}");
            assert!(problem.message.contains("does not have $window alone"), "{text}: {}", problem.message);
        }
        for text in [
            "sum(rate(a[ $window ] offset $window))",
            "max_over_time(rate(a[$window])[$window:$window])",
            "max_over_time(rate(a[$window])[1h: $window])",
            "job:errors:ratio_rate$window{job=\"a\"}",
            "job:errors_$window:ratio",
            "errors_$window_ratio{window=\"$window\"}",
            "a{b=~\"[x$window]\"}",
        ] {
            assert_eq!(glued_window(text), None, "{text}");
            assert!(parse(text, "spec.sli.ratio.errors").is_ok(), "{text}");
        }
    }

    #[test]
    fn an_indicator_is_told_of_its_window_at_once() {
        for range in ["$windw", "${window}", "{{.window}}", "$__rate_interval", "5 m", "5min", "window", ""] {
            let text = format!("sum(rate(a{{b=\"c\"}}[{range}]))");
            let help = |path| parse(&text, path).expect_err(&text).help;
            assert!(help("spec.sli.events.bad").starts_with("write the range as [$window]"), "{text}");
            assert!(help("spec.rules[0].expr").starts_with("write the range as a number"), "{text}");
        }
        let subquery = parse("max_over_time(a[5 m:1m])", "spec.sli.timeSlices.good").expect_err("a space").help;
        assert!(subquery.starts_with("write the range as a number"), "{subquery}");
        let logs =
            parse("sum(rate({app=\"a\"} |= \"error\" [$window]))", "spec.sli.events.bad").expect_err("LogQL").help;
        assert!(logs.starts_with("this is LogQL, and an SLO takes PromQL"), "{logs}");
    }
}
