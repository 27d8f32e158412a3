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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong, and with which part of it.
    pub message: String,
    /// What to write instead.
    pub help: &'static str,
}

/// What Prometheus would say against `pattern`; `None` when it takes it as it is meant.
pub fn complaint(pattern: &str) -> Option<Complaint> {
    let parsed = Parser::new().parse(pattern).or_else(|_| Parser::new().parse(&respelled(pattern)));
    match parsed {
        Ok(ast) => ast::visit(&ast, Check::default()).err(),
        Err(error) => Some(broken(&error)),
    }
}

/// What only Go takes, as the parser here takes it: a brace that begins no count is itself, as in `/users/{id}`; so are what
/// is between `\Q` and `\E`, and a `-` in a class after what is no single character, as in `[\w-.]`. Names of groups may
/// begin with a digit, and be there twice.
fn respelled(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        let taken = match c {
            '\\' if after.starts_with('Q') => {
                let quoted = after.get(1..).unwrap_or_default();
                let length = quoted.find("\\E").unwrap_or(quoted.len());
                out.push_str(&regex_syntax::escape(quoted.get(..length).unwrap_or_default()));
                (2 + length + 2).min(rest.len())
            }
            '\\' => copy(&mut out, rest, escape(rest)),
            '{' if !is_count(after) => {
                out.push_str("\\{");
                1
            }
            '(' if let Some(length) = named(after) => {
                out.push_str("(?:");
                1 + length
            }
            '[' => class(&mut out, rest),
            _ => copy(&mut out, rest, c.len_utf8()),
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

fn copy(out: &mut String, text: &str, length: usize) -> usize {
    out.push_str(text.get(..length).unwrap_or_default());
    length
}

/// The length of an escape at the beginning: `\p{…}` and `\x{…}` have braces of their own.
fn escape(text: &str) -> usize {
    let Some(kind) = text.chars().nth(1) else { return text.len() };
    let length = 1 + kind.len_utf8();
    match text.get(length..) {
        Some(after) if matches!(kind, 'p' | 'P' | 'x') && after.starts_with('{') => {
            after.find('}').map_or(text.len(), |end| length + end + 1)
        }
        // \pL
        Some(after) if matches!(kind, 'p' | 'P') => length + after.chars().next().map_or(0, char::len_utf8),
        _ => length,
    }
}

/// The length of `?P<NAME>` or `?<NAME>` at the beginning, if the name is one for Go.
fn named(text: &str) -> Option<usize> {
    let name = text.strip_prefix("?P<").or_else(|| text.strip_prefix("?<"))?;
    let length = name.find('>').filter(|length| *length > 0)?;
    group_name(name.get(..length)?).is_ok().then_some(text.len() - name.len() + length + 1)
}

/// Takes a class from the beginning of a text; gives its length.
fn class(out: &mut String, text: &str) -> usize {
    let mut at = 1;
    for first in ['^', ']'] {
        at += usize::from(text.get(at..).is_some_and(|rest| rest.starts_with(first)));
    }
    out.push_str(text.get(..at).unwrap_or_default());
    // Whether what comes next follows more than a single character.
    let mut several = false;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        let named = rest.strip_prefix("[:").and_then(|name| name.find(":]")).map(|length| length + 4);
        if c == '-' && several && !rest.starts_with("-]") {
            out.push('\\');
        }
        let length = match c {
            '\\' => escape(rest),
            '[' => named.unwrap_or(1),
            _ => c.len_utf8(),
        };
        several = c == '[' && named.is_some()
            || c == '\\'
                && rest.get(1..).is_some_and(|kind| kind.starts_with(['d', 'D', 's', 'S', 'w', 'W', 'p', 'P']));
        at += copy(out, rest, length);
        if c == ']' {
            break;
        }
    }
    at
}

/// `3}`, `3,}` or `3,5}` at the beginning.
fn is_count(rest: &str) -> bool {
    let Some((count, _)) = rest.split_once('}') else { return false };
    let (low, high) = count.split_once(',').unwrap_or((count, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

const NO_LOOKING: &str = "Prometheus has neither look-around nor back references";
const TOO_OFTEN: (&str, &str) = ("it repeats more than 1000 times", "repeat at most 1000 times, or use * or +");
const GROUP_NAME: (&str, &str) = ("a group's name has letters, digits and _ only", "rename the group");
const UNICODE: (&str, &str) =
    ("Prometheus has only categories and scripts in \\p", "write \\p{Lu} or \\p{Greek}, or list what is meant");

/// Of what cannot be parsed here, though it is spelled for the parser here: Go refuses it as well, or nobody writes it.
fn broken(error: &ast::Error) -> Complaint {
    use ast::ErrorKind as E;
    let (start, end) = (error.span().start.offset, error.span().end.offset);
    let part = error.pattern().get(start..end).unwrap_or_default();
    let fixed = |(message, help): (&str, &'static str)| (message.to_owned(), help);
    let (message, help) = match error.kind() {
        E::ClassUnclosed => fixed(("a [ is never closed", "close it, or write \\[")),
        E::GroupUnclosed | E::FlagUnexpectedEof => fixed(("a ( is never closed", "close it, or write \\(")),
        E::GroupUnopened => fixed(("a ) closes nothing", "remove it, or write \\)")),
        E::RepetitionMissing => fixed(("nothing is there to be repeated", "write \\ before it if it is meant itself")),
        E::EscapeUnexpectedEof if !error.pattern().ends_with('\\') => (
            format!("it ends within {}", escaped(error.pattern(), start, error.pattern().len())),
            "write the escape to its end",
        ),
        E::EscapeUnexpectedEof => fixed(("it ends in a backslash", "write \\\\ for one")),
        E::UnsupportedBackreference | E::UnsupportedLookAround => fixed((NO_LOOKING, "say it by a second matcher")),
        E::ClassRangeInvalid => (
            format!("the range {part} goes backwards"),
            "write the lower character first, as in a-zA-Z; or \\- where the character - is meant",
        ),
        E::ClassRangeLiteral => (format!("{part} cannot end a range"), "write \\- where the character - is meant"),
        E::RepetitionCountInvalid => {
            (format!("{part} is at least more than at most"), "write the smaller number first")
        }
        E::DecimalInvalid => fixed(TOO_OFTEN),
        E::FlagUnrecognized => {
            // `P` says too little: what follows it is what is unknown.
            let part = if part == "P" { error.pattern().get(start..).unwrap_or_default() } else { part };
            let part: String = part.chars().take(if part.starts_with('P') { 2 } else { 1 }).collect();
            (
                format!("Prometheus has no (?{part}"),
                "it has (?:…), (?P<NAME>…) and the flags i, m, s and U; write \\( where a ( is meant",
            )
        }
        E::FlagDanglingNegation => fixed(("a - in (? ) is before no flag", "remove it, or name a flag after it")),
        E::FlagRepeatedNegation { .. } => fixed(("a - in (? ) is there twice", "remove the second one")),
        E::FlagDuplicate { .. } => fixed(("a flag is there twice", "remove the second one")),
        E::GroupNameEmpty => fixed(("a group's name is empty", "name it, or write (?:…) for one without a name")),
        E::GroupNameInvalid => fixed(GROUP_NAME),
        E::GroupNameUnexpectedEof => fixed(("a group's name is never closed", "write (?P<NAME>…)")),
        E::EscapeUnrecognized
        | E::ClassEscapeInvalid
        | E::EscapeHexEmpty
        | E::EscapeHexInvalid
        | E::EscapeHexInvalidDigit => (
            format!("{} is no escape that Prometheus has", escaped(error.pattern(), start, end)),
            "write \\\\ for a backslash, or the character itself",
        ),
        E::UnicodeClassInvalid => fixed(UNICODE),
        E::NestLimitExceeded(_) => fixed(("it is nested too deep", "write it with fewer groups")),
        _ => (format!("Prometheus does not take {part}"), "write \\ before what is meant itself"),
    };
    Complaint { message, help }
}

/// The part between `start` and `end` with the backslash before it.
fn escaped(pattern: &str, start: usize, end: usize) -> &str {
    let part = pattern.get(start..end).unwrap_or_default();
    let from = if part.starts_with('\\') { None } else { pattern.get(..start).and_then(|before| before.rfind('\\')) };
    pattern.get(from.unwrap_or(start)..end).unwrap_or(part)
}

#[derive(Default)]
struct Check {
    /// What each repetition on the way down comes to; 1 for one without a number.
    repeats: Vec<u32>,
}

fn refuse(message: &str, help: &'static str) -> Result<(), Complaint> {
    Err(Complaint { message: message.to_owned(), help })
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
                    return refuse(TOO_OFTEN.0, TOO_OFTEN.1);
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
    refuse(GROUP_NAME.0, GROUP_NAME.1)
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
    refuse(UNICODE.0, UNICODE.1)
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
    let parsed = read(pattern).or_else(|_| read(&respelled(pattern)));
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

    /// `+ PATTERN`, or `- PATTERN` and `~ PATTERN` with what is said below it.
    const TABLE: &str = include_str!("../tests/go/regexes.txt");

    #[test]
    fn what_go_refuses_or_reads_otherwise_is_told_and_nothing_else() {
        let message = |pattern: &str| complaint(pattern).map(|complaint| complaint.message);
        let mut lines = TABLE.lines();
        let mut seen = [0, 0];
        while let Some(line) = lines.next() {
            if let Some(fine) = line.strip_prefix("+ ") {
                assert_eq!(message(fine), None, "{fine}");
                seen[0] += 1;
            } else if let Some(broken) = line.strip_prefix("- ").or_else(|| line.strip_prefix("~ ")) {
                assert_eq!(
                    message(broken).as_deref(),
                    lines.next().and_then(|line| line.strip_prefix("    ")),
                    "{broken}"
                );
                seen[1] += 1;
            }
        }
        assert!(seen[0] > 20 && seen[1] > 50, "{seen:?}");
        assert_eq!(message(""), None);
    }

    /// What the parser here spells otherwise is not taken for more than it is.
    #[test]
    fn what_go_spells_its_own_way_may_be_empty_as_there() {
        for (pattern, empty) in [("[\\w-.]+", false), ("[\\w-.]*", true), ("\\Qa.\\E", false), ("(?<1>a)?", true)] {
            assert_eq!(may_be_empty(pattern), empty, "{pattern}");
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
