//! The tokens of a text with templates, as Go's `text/template/parse` cuts them.

use super::Fault;

/// A token of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Where it begins in the whole text.
    pub(super) at: usize,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{{`
    Left,
    /// `}}`
    Right,
    /// Blanks.
    Space,
    /// A string or a number.
    Literal,
    /// The name of a function, a keyword, `true` or `false`.
    Word,
    /// `$` with a name or without.
    Variable,
    /// `.` with a name.
    Field,
    /// `.` alone.
    Dot,
    /// `:=`
    Declare,
    /// Another sign.
    Sign(char),
}

/// The actions of a text, one after the other.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Fault> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    while let Some(next) = lexer.rest().find("{{") {
        lexer.at += next;
        lexer.action()?;
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, kind: Kind, length: usize) {
        let end = self.at + length;
        self.tokens.push(Token { kind, text: self.text.get(self.at..end).unwrap_or_default(), at: self.at });
        self.at = end;
    }

    /// One action, or a comment, with its braces.
    fn action(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let inside = self.rest().get(2..).unwrap_or_default();
        let trimmed = inside.strip_prefix('-').filter(|rest| rest.starts_with(is_space));
        let trimmed = trimmed.map_or(inside, |rest| rest.get(1..).unwrap_or_default());
        if let Some(comment) = trimmed.strip_prefix("/*") {
            let Some((_, after)) = comment.split_once("*/") else {
                return Err(self.fault(start, "a comment is never closed", "close it by */}}"));
            };
            let trim = after.strip_prefix(is_space).and_then(|rest| rest.strip_prefix('-')).unwrap_or(after);
            let Some(rest) = trim.strip_prefix("}}") else {
                return Err(self.fault(start, "a comment has more than itself between its braces", "end it by */}}"));
            };
            self.at = self.text.len() - rest.len();
            return Ok(());
        }
        self.push(Kind::Left, 2);
        self.at = self.text.len() - trimmed.len();
        loop {
            let rest = self.rest();
            let trim = rest.strip_prefix(is_space).and_then(|rest| rest.strip_prefix('-'));
            if trim.is_some_and(|rest| rest.starts_with("}}")) {
                self.at += 2;
                self.push(Kind::Right, 2);
                return Ok(());
            }
            if rest.starts_with("}}") {
                self.push(Kind::Right, 2);
                return Ok(());
            }
            self.token(start)?;
        }
    }

    fn token(&mut self, start: usize) -> Result<(), Fault> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Err(Fault::new("a {{ is never closed", "close it by }}"));
        };
        match first {
            c if is_space(c) => {
                let blank = rest.len() - rest.trim_start_matches(is_space).len();
                // The last blank may belong to the dash of a `-}}`.
                let trims = rest.get(blank..).is_some_and(|rest| rest.starts_with("-}}"));
                self.push(Kind::Space, if trims && blank > 1 { blank - 1 } else { blank });
            }
            quote @ ('"' | '`' | '\'') => {
                let length = string(rest, quote).ok_or_else(|| {
                    self.fault(start, &format!("a {quote} is never closed"), &format!("close it by another {quote}"))
                })?;
                let written = rest.get(..length).unwrap_or_default();
                if let Some(what) = refused_in(written, quote) {
                    let help = match quote {
                        '\'' => "put a text into \" \"; within ' ' is one character",
                        _ => "write \\\\ for a backslash, or put the text into ` `",
                    };
                    return Err(self.fault(start, &what, help));
                }
                self.push(Kind::Literal, length);
            }
            ':' if rest.starts_with(":=") => self.push(Kind::Declare, 2),
            '$' => self.name(start, Kind::Variable, 1)?,
            '.' if !rest.get(1..).is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit())) => {
                let alone = !rest.get(1..).is_some_and(|after| after.starts_with(is_name));
                self.name(start, if alone { Kind::Dot } else { Kind::Field }, 1)?;
            }
            '.' | '+' | '-' | '0'..='9' => {
                let length = number(rest);
                let written = rest.get(..length).unwrap_or_default();
                if matches!(written, "+" | "-") {
                    return Err(self.sign(start, first));
                }
                if !is_number(written) {
                    return Err(self.fault(
                        start,
                        &format!("{written} is no number"),
                        "write a decimal number, as 0.5",
                    ));
                }
                self.push(Kind::Literal, length);
            }
            c if is_name(c) => self.name(start, Kind::Word, 0)?,
            '|' | '=' | '(' | ')' | ',' => self.push(Kind::Sign(first), 1),
            other => return Err(self.sign(start, other)),
        }
        Ok(())
    }

    /// A name, before which are `prefix` bytes of another kind. What follows it must be able to end it.
    fn name(&mut self, start: usize, kind: Kind, prefix: usize) -> Result<(), Fault> {
        let rest = self.rest();
        let name = rest.get(prefix..).unwrap_or_default();
        let length = prefix + name.find(|c| !is_name(c)).unwrap_or(name.len());
        let after = rest.get(length..).unwrap_or_default();
        if let Some(next) = after.chars().next()
            && !is_space(next)
            && !matches!(next, '.' | ',' | '|' | ':' | ')' | '(')
            && !after.starts_with("}}")
        {
            return Err(match next {
                '"' | '`' | '\'' => self.fault(start, &format!("a blank is missing before {next}"), "put one there"),
                _ => self.sign(start, next),
            });
        }
        self.push(kind, length);
        Ok(())
    }

    fn sign(&self, start: usize, sign: char) -> Fault {
        sign_fault(self.text, start, sign)
    }

    fn fault(&self, start: usize, label: &str, help: &str) -> Fault {
        Fault::within(self.text, start, label, help)
    }
}

/// Of a sign that templates do not have there.
pub(super) fn sign_fault(text: &str, start: usize, sign: char) -> Fault {
    let help = match sign {
        '>' => "write gt A B, or ge A B for >=",
        '<' => "write lt A B, or le A B for <=",
        '=' => "write eq A B; := gives a variable its value",
        '!' => "write not A, or ne A B for !=",
        '&' => "write and A B",
        '[' | ']' => "write index A \"KEY\", or A.KEY",
        ',' => "put blanks alone between arguments",
        '+' | '-' | '*' | '/' | '%' | '^' => "templates do not reckon: do it in the expression",
        '“' | '”' | '„' | '‘' | '’' => "write a straight quote",
        _ => "remove it, or put it into \" \"",
    };
    Fault::within(text, start, &format!("{sign} has no place in a template"), help)
}

/// The length of a number as Go's lexer takes it, whatever it is worth.
fn number(rest: &str) -> usize {
    let mut before = ' ';
    let mut part = |c: char| {
        let exponent = matches!(c, '+' | '-') && matches!(before, 'e' | 'E' | 'p' | 'P');
        let first = before == ' ' && matches!(c, '+' | '-');
        before = c;
        is_name(c) || c == '.' || exponent || first
    };
    rest.find(|c| !part(c)).unwrap_or(rest.len())
}

/// A decimal number, or a hexadecimal one. What else Go takes (`0b1`, `1_000`, `2i`) nobody needs here.
fn is_number(written: &str) -> bool {
    let digits = written.strip_prefix(['+', '-']).unwrap_or(written);
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return !hex.is_empty() && hex.len() <= 15 && hex.chars().all(|c| c.is_ascii_hexdigit());
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        let octal = digits.len() > 1 && digits.starts_with('0') && digits.contains(['8', '9']);
        return !octal && written.parse::<i64>().is_ok();
    }
    digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        && written.parse::<f64>().is_ok_and(f64::is_finite)
}

/// The length of a string in quotes at the beginning; `None` when it is never closed.
fn string(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' if quote != '`' => return None,
            '\\' if quote != '`' => {
                chars.next().filter(|(_, c)| *c != '\n')?;
            }
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// What Go would not take in a string, which is given with its quotes.
fn refused_in(written: &str, quote: char) -> Option<String> {
    if quote == '`' {
        return None;
    }
    let inner = written.get(1..written.len() - 1).unwrap_or_default();
    let mut count = 0;
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        count += 1;
        let mut length = c.len_utf8();
        if c == '\\' {
            let Some(taken) = escape(rest, quote) else {
                let escape: String = rest.chars().take(2).collect();
                return Some(format!("{escape} is no escape of strings"));
            };
            length = taken;
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    (quote == '\'' && count != 1).then(|| format!("{written} is not one character"))
}

/// The length of an escape at the beginning, as Go's strings have them.
fn escape(text: &str, quote: char) -> Option<usize> {
    let kind = text.chars().nth(1)?;
    let value = |digits: usize, from: usize, radix: u32| {
        let written = text.get(from..from + digits)?;
        written.chars().all(|c| c.is_digit(radix)).then(|| u32::from_str_radix(written, radix).ok())?
    };
    match kind {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => Some(2),
        _ if kind == quote => Some(2),
        'x' => value(2, 2, 16).map(|_| 4),
        'u' => value(4, 2, 16).filter(|code| char::from_u32(*code).is_some()).map(|_| 6),
        'U' => value(8, 2, 16).filter(|code| char::from_u32(*code).is_some()).map(|_| 10),
        '0'..='7' => value(3, 1, 8).filter(|code| *code <= 255).map(|_| 4),
        _ => None,
    }
}

pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_ascii_digit() || c.is_alphabetic()
}
