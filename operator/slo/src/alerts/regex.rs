//! Regular expressions as Prometheus and Loki read them: RE2, anchored, `.` matches everything.

use std::ops::Range;

use regex_syntax::{
    ParserBuilder,
    ast::{self, Ast, Visitor},
    hir::{Hir, HirKind, Look},
};

/// RE2 refuses to repeat something more often.
const MAX_REPEAT: u32 = 1000;

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The part of the expression.
    pub span: Range<usize>,
    /// What is wrong with it.
    pub what: String,
}

/// What an expression matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every text, the empty one included.
    Everything,
    /// Not everything, as far as can be told.
    Something,
}

/// Reads an expression by RE2's rules.
///
/// # Errors
/// The first thing that RE2 would refuse, or would read in another way.
pub fn check(text: &str) -> Result<Extent, Fault> {
    let at = |span: &ast::Span| span.start.offset..span.end.offset.max(span.start.offset + 1).min(text.len());
    let ast = ast::parse::Parser::new()
        .parse(text)
        .map_err(|error| Fault { span: at(error.span()), what: error.kind().to_string() })?;
    if let Err((span, what)) = ast::visit(&ast, Dialect) {
        return Err(Fault { span: at(&span), what });
    }
    let hir = ParserBuilder::new()
        .dot_matches_new_line(true)
        .build()
        .parse(text)
        .map_err(|error| Fault { span: 0..text.len(), what: short(&error.to_string()) })?;
    Ok(if everything(&hir) { Extent::Everything } else { Extent::Something })
}

/// The last line of a message that draws the expression.
fn short(message: &str) -> String {
    let last = message.lines().last().unwrap_or(message);
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Finds what Rust's dialect has and RE2's has not.
struct Dialect;

impl Visitor for Dialect {
    type Output = ();
    type Err = (ast::Span, String);

    fn finish(self) -> Result<(), Self::Err> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        let refuse = |span: &ast::Span, what: &str| Err((*span, format!("RE2 has no {what}")));
        match ast {
            Ast::Flags(set) => flags(&set.flags),
            Ast::Group(group) => match &group.kind {
                ast::GroupKind::NonCapturing(set) => flags(set),
                _ => Ok(()),
            },
            Ast::Literal(literal) => self::literal(literal),
            Ast::ClassUnicode(class) => unicode(class),
            Ast::Assertion(assertion) => match assertion.kind {
                ast::AssertionKind::StartLine
                | ast::AssertionKind::EndLine
                | ast::AssertionKind::StartText
                | ast::AssertionKind::EndText
                | ast::AssertionKind::WordBoundary
                | ast::AssertionKind::NotWordBoundary => Ok(()),
                _ => refuse(&assertion.span, "one-sided word boundaries"),
            },
            Ast::Repetition(repetition) => match &repetition.op.kind {
                ast::RepetitionKind::Range(range) => {
                    let most = match *range {
                        ast::RepetitionRange::Exactly(n) | ast::RepetitionRange::AtLeast(n) => n,
                        ast::RepetitionRange::Bounded(_, n) => n,
                    };
                    if most > MAX_REPEAT {
                        return refuse(&repetition.op.span, &format!("repetitions over {MAX_REPEAT}"));
                    }
                    Ok(())
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), Self::Err> {
        match item {
            ast::ClassSetItem::Bracketed(class) => Err((class.span, "RE2 has no classes within classes".to_owned())),
            ast::ClassSetItem::Literal(one) => literal(one),
            ast::ClassSetItem::Range(range) => literal(&range.start).and_then(|()| literal(&range.end)),
            ast::ClassSetItem::Unicode(class) => unicode(class),
            _ => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, op: &ast::ClassSetBinaryOp) -> Result<(), Self::Err> {
        Err((op.span, "RE2 has no operations on classes".to_owned()))
    }
}

fn flags(flags: &ast::Flags) -> Result<(), (ast::Span, String)> {
    for item in &flags.items {
        if let ast::FlagsItemKind::Flag(flag @ (ast::Flag::Unicode | ast::Flag::CRLF | ast::Flag::IgnoreWhitespace)) =
            item.kind
        {
            let letter = match flag {
                ast::Flag::Unicode => "u",
                ast::Flag::CRLF => "R",
                _ => "x",
            };
            return Err((item.span, format!("RE2 has no flag {letter}")));
        }
    }
    Ok(())
}

fn literal(literal: &ast::Literal) -> Result<(), (ast::Span, String)> {
    use ast::{HexLiteralKind as Hex, LiteralKind as Kind};
    match literal.kind {
        Kind::HexFixed(Hex::UnicodeShort | Hex::UnicodeLong) | Kind::HexBrace(Hex::UnicodeShort | Hex::UnicodeLong) => {
            Err((literal.span, "RE2 has no \\u; write \\x{…}".to_owned()))
        }
        _ => Ok(()),
    }
}

fn unicode(class: &ast::ClassUnicode) -> Result<(), (ast::Span, String)> {
    match class.kind {
        ast::ClassUnicodeKind::NamedValue { .. } => {
            Err((class.span, "RE2 knows categories and scripts by their name only".to_owned()))
        }
        _ => Ok(()),
    }
}

/// True when every text surely matches. Structural: an expression that hides it better is let through.
fn everything(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => everything(&capture.sub),
        HirKind::Repetition(repetition) => {
            repetition.max.is_none()
                && (repetition.min == 0 && any_char(&repetition.sub) || everything(&repetition.sub))
                || repetition.min == 0 && repetition.max == Some(1) && nonempty(&repetition.sub)
                || repetition.max != Some(0) && everything(&repetition.sub)
        }
        HirKind::Concat(parts) => {
            // Anchors at the ends say what holds anyway.
            let parts = match parts.as_slice() {
                [first, rest @ ..] if *first.kind() == HirKind::Look(Look::Start) => rest,
                all => all,
            };
            let parts = match parts {
                [rest @ .., last] if *last.kind() == HirKind::Look(Look::End) => rest,
                all => all,
            };
            parts.iter().any(everything) && parts.iter().all(|part| everything(part) || empty(part))
        }
        HirKind::Alternation(choices) => {
            choices.iter().any(everything) || choices.iter().any(nonempty) && choices.iter().any(empty)
        }
        _ => false,
    }
}

/// True when the empty text surely matches, wherever it is.
fn empty(hir: &Hir) -> bool {
    hir.properties().minimum_len() == Some(0) && hir.properties().look_set().is_empty()
}

/// True when every text of at least one character surely matches.
fn nonempty(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => nonempty(&capture.sub),
        HirKind::Repetition(r) => r.min <= 1 && r.max.is_none() && any_char(&r.sub),
        HirKind::Alternation(choices) => choices.iter().any(nonempty),
        _ => everything(hir),
    }
}

fn any_char(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => any_char(&capture.sub),
        HirKind::Class(class) => {
            *hir == Hir::dot(regex_syntax::hir::Dot::AnyChar) || class.is_utf8() && class_is_full(class)
        }
        HirKind::Alternation(choices) => choices.iter().any(any_char),
        _ => false,
    }
}

fn class_is_full(class: &regex_syntax::hir::Class) -> bool {
    let regex_syntax::hir::Class::Unicode(class) = class else { return false };
    let mut rest = class.clone();
    rest.negate();
    rest.ranges().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_re2_does() {
        for fine in
            ["prod-.*", "a|b", r"\d{3}", r"(?i)x", "[^a-c]+", r"\pL", r"\p{Greek}", "x{1000}", r"\bx\b", r"\x{2603}"]
        {
            assert_eq!(check(fine), Ok(Extent::Something), "{fine}");
        }
        for (broken, span, what) in [
            ("(", 0..1, "unclosed group"),
            ("a**?(", 4..5, "unclosed group"),
            ("[a&&b]", 1..5, "RE2 has no operations on classes"),
            ("[a[b]]", 2..5, "RE2 has no classes within classes"),
            (r"x\u{41}", 1..7, r"RE2 has no \u; write \x{…}"),
            ("(?x)a", 2..3, "RE2 has no flag x"),
            ("a{1001}", 1..7, "RE2 has no repetitions over 1000"),
            (r"\b{start}a", 0..9, "RE2 has no one-sided word boundaries"),
            ("a(?=b)", 1..4, "look-around, including look-ahead and look-behind, is not supported"),
            (r"\p{sc=Greek}", 0..12, "RE2 knows categories and scripts by their name only"),
            (r"(a)\1", 3..5, "backreferences are not supported"),
        ] {
            assert_eq!(check(broken), Err(Fault { span, what: what.to_owned() }), "{broken}");
        }
    }

    #[test]
    fn knows_what_matches_everything() {
        for all in [".*", "(.*)", ".*.*", "(?:.*|x)", "|.+", "(.+)?", ".*|prod", "[\\s\\S]*", "(.*)+", "^.*$|.*"] {
            assert_eq!(check(all), Ok(Extent::Everything), "{all}");
        }
        for some in [".+", "a.*", ".*a", "[a-z]*", "", "a|", ".?", ".{0,9}", r"\b.*", r"\b|.+"] {
            assert_eq!(check(some), Ok(Extent::Something), "{some}");
        }
    }
}
