//! What Prometheus' regular expressions (RE2, as Go has them) refuse or read otherwise than the parser here does.
//!
//! One such expression makes Prometheus refuse the whole rule file, so it has to be told before.
//! Source: the syntax page of RE2 and the package `regexp/syntax` of Go.

use regex_syntax::{
    ParserBuilder,
    ast::{
        self, Ast, ClassSetBinaryOp, ClassSetItem, ClassUnicode, ClassUnicodeKind, Flag, Flags, FlagsItemKind,
        GroupKind, HexLiteralKind, Literal, LiteralKind, Repetition, RepetitionKind, RepetitionOp, RepetitionRange,
        Visitor, parse::Parser,
    },
    hir::{self, Hir, HirKind, Look},
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
    let parsed = Parser::new().parse(pattern).or_else(|_| Parser::new().parse(&escape_braces(pattern)));
    match parsed {
        Ok(ast) => ast::visit(&ast, Check::default()).err(),
        Err(error) => broken(error.kind()),
    }
}

/// Go takes a brace that begins no count as itself, as in `/users/{id}`; the parser here wants it escaped.
fn escape_braces(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                out.push(c);
                let escaped = chars.next().map(|(_, next)| next);
                out.extend(escaped);
                // \p{…} and \x{…} have braces of their own.
                if matches!(escaped, Some('p' | 'P' | 'x')) && chars.as_str().starts_with('{') {
                    out.extend(chars.by_ref().map(|(_, c)| c).take_while(|c| *c != '}'));
                    out.push('}');
                }
            }
            '{' if !is_count(pattern.get(at + 1..).unwrap_or_default()) => out.push_str("\\{"),
            _ => out.push(c),
        }
    }
    out
}

/// `3}`, `3,}` or `3,5}` at the beginning.
fn is_count(rest: &str) -> bool {
    let Some((count, _)) = rest.split_once('}') else { return false };
    let (low, high) = count.split_once(',').unwrap_or((count, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

/// Of what cannot be parsed here: whether Go agrees. It reads some things that are errors here, such as `\\Q.\\E`.
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
        ClassUnicodeKind::Named(name) => {
            name == "Any" || CATEGORIES.split(' ').chain(SCRIPTS.split(' ')).any(|known| known == name)
        }
        ClassUnicodeKind::NamedValue { .. } => false,
    };
    if known {
        return Ok(());
    }
    refuse("Prometheus has only categories and scripts in \\p", "write \\p{Lu} or \\p{Greek}, or list what is meant")
}

/// General categories of Unicode, as every version of Go spells them.
const CATEGORIES: &str = "\
    C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs";

/// Scripts of Unicode.
const SCRIPTS: &str = "\
    Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki \
    Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee \
    Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra \
    Duployan Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati \
    Gunjala_Gondi Gurmukhi Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited \
    Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi \
    Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian \
    Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui \
    Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari \
    Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic \
    Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage \
    Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan \
    Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Syloti_Nagri \
    Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan \
    Tifinagh Tirhuta Toto Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square";

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

/// True when `pattern`, anchored at both ends as in a matcher, surely matches every text, the empty one included.
pub fn matches_everything(pattern: &str) -> bool {
    let parsed = ParserBuilder::new().dot_matches_new_line(true).build().parse(pattern);
    parsed.is_ok_and(|hir| everything(&hir))
}

/// True when `pattern` may match the empty text; also when it cannot be read.
pub fn may_be_empty(pattern: &str) -> bool {
    let read = |pattern: &str| ParserBuilder::new().build().parse(pattern);
    let parsed = read(pattern).or_else(|_| read(&escape_braces(pattern)));
    parsed.map_or(true, |hir| hir.properties().minimum_len().is_none_or(|least| least == 0))
}

/// Structural: an expression that hides it better is let through.
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
        HirKind::Class(class) => *hir == Hir::dot(hir::Dot::AnyChar) || class.is_utf8() && class_is_full(class),
        HirKind::Alternation(choices) => choices.iter().any(any_char),
        _ => false,
    }
}

fn class_is_full(class: &hir::Class) -> bool {
    let hir::Class::Unicode(class) = class else { return false };
    let mut rest = class.clone();
    rest.negate();
    rest.ranges().is_empty()
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
            ("\\p{Latn}", "Prometheus has only categories and scripts in \\p"),
            ("\\p{Dash}", "Prometheus has only categories and scripts in \\p"),
            ("/users/{id}/a{1001}", "it repeats more than 1000 times"),
            ("{id}[a-z&&[^x]]", "Prometheus has no &&, -- or ~~ in classes"),
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
            "/users/{id}/\\p{Lu}x{2,3}{",
            "a\\.b\\-c\\%",
            "\\Qa.b\\E",
        ] {
            assert_eq!(complaint(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn knows_what_matches_everything() {
        for all in [".*", "(.*)", ".*.*", "(?:.*|x)", "|.+", "(.+)?", ".*|prod", "[\\s\\S]*", "(.*)+", "^.*$|.*"] {
            assert!(matches_everything(all), "{all}");
        }
        for some in [".+", "a.*", ".*a", "[a-z]*", "", "a|", ".?", ".{0,9}", "\\b.*", "\\b|.+", "("] {
            assert!(!matches_everything(some), "{some}");
        }
    }
}
