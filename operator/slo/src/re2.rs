//! What Prometheus' regular expressions (RE2, as Go has them) refuse or read otherwise than the parser here does.
//!
//! One such expression makes Prometheus refuse the whole rule file, so it has to be told before.
//! Source: the syntax page of RE2 and the package `regexp/syntax` of Go.

use regex_syntax::ast::{
    self, Ast, ClassSetBinaryOp, ClassSetItem, ClassUnicode, ClassUnicodeKind, Flag, Flags, FlagsItemKind, GroupKind,
    HexLiteralKind, Literal, LiteralKind, Repetition, RepetitionKind, RepetitionOp, RepetitionRange, Visitor,
    parse::Parser,
};

/// The most that a counted repetition may come to, all that enclose each other multiplied.
const MAX_REPEAT: u32 = 1000;

/// Why Prometheus would not take an expression, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong.
    pub message: &'static str,
    /// What to write instead.
    pub help: &'static str,
}

/// What Prometheus would say against `pattern`; `None` when it takes it as it is meant.
pub fn complaint(pattern: &str) -> Option<Complaint> {
    match Parser::new().parse(pattern) {
        Ok(ast) => ast::visit(&ast, Check::default()).err(),
        Err(error) => broken(error.kind()),
    }
}

/// Of what cannot be parsed here: whether Go agrees. It reads some things that are errors here, such as `a{b}`.
fn broken(kind: &ast::ErrorKind) -> Option<Complaint> {
    let (message, help) = match kind {
        ast::ErrorKind::ClassUnclosed => ("a [ is never closed", "close it, or write \\["),
        ast::ErrorKind::GroupUnclosed => ("a ( is never closed", "close it, or write \\("),
        ast::ErrorKind::GroupUnopened => ("a ) closes nothing", "remove it, or write \\)"),
        ast::ErrorKind::RepetitionMissing => {
            ("nothing is there to be repeated", "write \\ before it if it is meant itself")
        }
        ast::ErrorKind::EscapeUnexpectedEof => ("it ends in a backslash", "write \\\\ for one"),
        ast::ErrorKind::UnsupportedBackreference | ast::ErrorKind::UnsupportedLookAround => {
            ("Prometheus has neither look-around nor back references", "say it by a second matcher")
        }
        _ => return None,
    };
    Some(Complaint { message, help })
}

#[derive(Default)]
struct Check {
    /// What each repetition on the way down comes to; 1 for one without a number.
    repeats: Vec<u32>,
}

fn refuse(message: &'static str, help: &'static str) -> Result<(), Complaint> {
    Err(Complaint { message, help })
}

impl Visitor for Check {
    type Output = ();
    type Err = Complaint;

    fn finish(self) -> Result<(), Complaint> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Complaint> {
        match ast {
            Ast::Flags(set) => flags(&set.flags),
            Ast::Group(group) => match &group.kind {
                GroupKind::NonCapturing(set) => flags(set),
                GroupKind::CaptureName { name, .. } => group_name(&name.name),
                GroupKind::CaptureIndex(_) => Ok(()),
            },
            Ast::Literal(it) => literal(it),
            Ast::Assertion(it) => assertion(&it.kind),
            Ast::ClassUnicode(class) => unicode(class),
            Ast::Repetition(repetition) => {
                self.repeats.push(times(&repetition.op));
                stacked(repetition)?;
                let product = self.repeats.iter().fold(1u32, |all, n| all.saturating_mul(*n));
                if product > MAX_REPEAT {
                    return refuse("it repeats more than 1000 times", "repeat at most 1000 times, or use * or +");
                }
                Ok(())
            }
            Ast::Empty(_)
            | Ast::Dot(_)
            | Ast::ClassPerl(_)
            | Ast::ClassBracketed(_)
            | Ast::Alternation(_)
            | Ast::Concat(_) => Ok(()),
        }
    }

    fn visit_post(&mut self, ast: &Ast) -> Result<(), Complaint> {
        if matches!(ast, Ast::Repetition(_)) {
            self.repeats.pop();
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Complaint> {
        match item {
            ClassSetItem::Literal(it) => literal(it),
            ClassSetItem::Range(range) => literal(&range.start).and_then(|()| literal(&range.end)),
            ClassSetItem::Unicode(class) => unicode(class),
            ClassSetItem::Bracketed(_) => {
                refuse("Prometheus has no classes within classes", "write \\[ for a bracket within a class")
            }
            ClassSetItem::Empty(_) | ClassSetItem::Ascii(_) | ClassSetItem::Perl(_) | ClassSetItem::Union(_) => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ClassSetBinaryOp) -> Result<(), Complaint> {
        refuse("Prometheus has no &&, -- or ~~ in classes", "write \\ before the characters, or list what is meant")
    }
}

fn flags(flags: &Flags) -> Result<(), Complaint> {
    let known = |kind: &FlagsItemKind| match kind {
        FlagsItemKind::Negation => true,
        FlagsItemKind::Flag(flag) => match flag {
            Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed => true,
            Flag::Unicode | Flag::CRLF | Flag::IgnoreWhitespace => false,
        },
    };
    if flags.items.iter().all(|item| known(&item.kind)) {
        return Ok(());
    }
    refuse("Prometheus has only the flags i, m, s and U", "remove the other flags")
}

fn group_name(name: &str) -> Result<(), Complaint> {
    if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    refuse("a group's name has letters, digits and _ only", "rename the group")
}

fn literal(literal: &Literal) -> Result<(), Complaint> {
    match &literal.kind {
        LiteralKind::HexFixed(HexLiteralKind::X) | LiteralKind::HexBrace(HexLiteralKind::X) => Ok(()),
        LiteralKind::HexFixed(_) | LiteralKind::HexBrace(_) => {
            refuse("Prometheus has no \\u and \\U", "write \\x{10FFFF} or the character itself")
        }
        LiteralKind::Verbatim
        | LiteralKind::Meta
        | LiteralKind::Superfluous
        | LiteralKind::Octal
        | LiteralKind::Special(_) => Ok(()),
    }
}

fn assertion(kind: &ast::AssertionKind) -> Result<(), Complaint> {
    use ast::AssertionKind as A;
    match kind {
        A::StartLine | A::EndLine | A::StartText | A::EndText | A::WordBoundary | A::NotWordBoundary => Ok(()),
        A::WordBoundaryStart
        | A::WordBoundaryEnd
        | A::WordBoundaryStartAngle
        | A::WordBoundaryEndAngle
        | A::WordBoundaryStartHalf
        | A::WordBoundaryEndHalf => refuse("Prometheus has no word boundaries but \\b and \\B", "use \\b"),
    }
}

fn unicode(class: &ClassUnicode) -> Result<(), Complaint> {
    let known = match &class.kind {
        ClassUnicodeKind::OneLetter(letter) => "CLMNPSZ".contains(*letter),
        // General categories (Lu) and scripts (Greek), spelled as Unicode spells them.
        ClassUnicodeKind::Named(name) => {
            name.starts_with(|c: char| c.is_ascii_uppercase()) && !PROPERTIES.contains(&name.as_str())
        }
        ClassUnicodeKind::NamedValue { .. } => false,
    };
    if known {
        return Ok(());
    }
    refuse("Prometheus has only categories and scripts in \\p", "write \\p{Lu} or \\p{Greek}, or list what is meant")
}

/// Properties of characters that are neither categories nor scripts.
const PROPERTIES: [&str; 12] = [
    "Alphabetic",
    "ASCII",
    "Assigned",
    "Emoji",
    "Hex_Digit",
    "ID_Continue",
    "ID_Start",
    "Lowercase",
    "Math",
    "Uppercase",
    "White_Space",
    "XID_Start",
];

fn times(op: &RepetitionOp) -> u32 {
    match &op.kind {
        RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
        RepetitionKind::Range(range) => match range {
            RepetitionRange::Exactly(n) | RepetitionRange::AtLeast(n) => (*n).max(1),
            RepetitionRange::Bounded(low, high) => (*low).max(*high).max(1),
        },
    }
}

fn stacked(repetition: &Repetition) -> Result<(), Complaint> {
    if matches!(*repetition.ast, Ast::Repetition(_)) {
        return refuse("a repetition is repeated", "put the inner one into (?: )");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_refuses_is_told() {
        for (pattern, message) in [
            ("(?x) 5 . .", "Prometheus has only the flags i, m, s and U"),
            ("(?u:a)", "Prometheus has only the flags i, m, s and U"),
            ("a{1001}", "it repeats more than 1000 times"),
            ("(?:a{32}){32}", "it repeats more than 1000 times"),
            ("a**", "a repetition is repeated"),
            ("a{2}{3}", "a repetition is repeated"),
            ("[a-z&&[^aeiou]]", "Prometheus has no &&, -- or ~~ in classes"),
            ("[a[b]]", "Prometheus has no classes within classes"),
            ("\\u0041", "Prometheus has no \\u and \\U"),
            ("\\b{start}a", "Prometheus has no word boundaries but \\b and \\B"),
            ("\\<a", "Prometheus has no word boundaries but \\b and \\B"),
            ("\\p{script=Greek}", "Prometheus has only categories and scripts in \\p"),
            ("\\p{Alphabetic}", "Prometheus has only categories and scripts in \\p"),
            ("(?P<a.b>x)", "a group's name has letters, digits and _ only"),
            ("(a", "a ( is never closed"),
            ("a)", "a ) closes nothing"),
            ("[a", "a [ is never closed"),
            ("*a", "nothing is there to be repeated"),
            ("(?=a)", "Prometheus has neither look-around nor back references"),
            ("(a)\\1", "Prometheus has neither look-around nor back references"),
            ("a\\", "it ends in a backslash"),
        ] {
            assert_eq!(complaint(pattern).map(|c| c.message), Some(message), "{pattern}");
        }
    }

    #[test]
    fn what_go_takes_passes() {
        for pattern in [
            "",
            "5..",
            "GET|POST",
            "(?i)error",
            "(?s-m:a.b)",
            "(?:a{31}){32}",
            "a{1000}",
            "a*?b+?",
            "(?:a*)*",
            "[[:alpha:]]+",
            "[\\[\\]]",
            "\\x41\\x{1F600}",
            "\\bword\\B",
            "\\pL\\p{Lu}\\p{Greek}",
            "(?P<a_b>x)(?<c>y)",
            "a{b}",
            "a\\.b\\-c\\%",
            "\\Qa.b\\E",
        ] {
            assert_eq!(complaint(pattern), None, "{pattern}");
        }
    }
}
