//! The grammar of templates, as Go's `text/template/parse` has it. Named templates are left out: an annotation is one text.

use plimsoll_api::shape::suggest;

use super::{
    FUNCTIONS, Fault, VARIABLES,
    lex::{Kind, Token, sign_fault},
};

/// Parentheses within each other. Go takes more; nobody can read them.
const MAX_DEPTH: usize = 32;

/// Checks that the tokens of `text` make a template.
pub(super) fn parse(text: &str, tokens: &[Token<'_>]) -> Result<(), Fault> {
    let mut parser =
        Parser { text, tokens, at: 0, action: 0, depth: 0, variables: VARIABLES.to_vec(), open: Vec::new() };
    while parser.next(true).is_some() {
        parser.action()?;
    }
    match parser.open.last() {
        None => Ok(()),
        Some(block) => Err(Fault::within(text, block.at, "a block has no end", "add {{ end }}")),
    }
}

/// A block that is not ended yet.
struct Block<'a> {
    kind: &'a str,
    /// Where its action begins.
    at: usize,
    /// What follows is its `{{ else }}`.
    otherwise: bool,
    /// How many variables there were before it.
    variables: usize,
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token<'a>],
    at: usize,
    /// Where the action in hand begins in the text.
    action: usize,
    depth: usize,
    variables: Vec<&'a str>,
    open: Vec<Block<'a>>,
}

impl<'a> Parser<'a> {
    /// The next token, blanks left out if `solid`.
    fn next(&mut self, solid: bool) -> Option<Token<'a>> {
        let token = self.peek(solid)?;
        while self.tokens.get(self.at).is_some_and(|at| at.at != token.at) {
            self.at += 1;
        }
        self.at += 1;
        if token.kind == Kind::Left {
            self.action = token.at;
        }
        Some(token)
    }

    fn peek(&self, solid: bool) -> Option<Token<'a>> {
        self.tokens.get(self.at..)?.iter().find(|token| !solid || token.kind != Kind::Space).copied()
    }

    fn fault<T>(&self, label: &str, help: &str) -> Result<T, Fault> {
        Err(Fault::within(self.text, self.action, label, help))
    }

    fn unexpected<T>(&self, token: Option<Token<'_>>) -> Result<T, Fault> {
        let Some(token) = token else { return Err(Fault::new("a {{ is never closed", "close it by }}")) };
        match token.kind {
            Kind::Sign('(') => self.fault("a blank is missing before (", "put one there"),
            Kind::Sign(')') => self.fault("a ) closes nothing", "remove it, or open it before"),
            Kind::Sign('|') => {
                self.fault("nothing is before a |", "write or A B for either of two, or the value itself")
            }
            Kind::Sign(sign) => Err(sign_fault(self.text, self.action, sign)),
            Kind::Right => self.fault("a ( is never closed", "close it before }}"),
            Kind::Word if !FUNCTIONS.contains(&token.text) && !KEYWORDS.contains(&token.text) => {
                self.unknown(token.text)
            }
            _ => self.fault(&format!("{} has no place there", token.text), "remove it, or put a blank before it"),
        }
    }

    fn unknown<T>(&self, function: &str) -> Result<T, Fault> {
        let label = format!("function {function} is unknown");
        let near = suggest(function, &FUNCTIONS);
        let listed = near.starts_with("use one of");
        let help = match function {
            "define" | "template" | "block" => "an annotation is one text: write here what it is to say",
            _ if listed => "use a function of Prometheus' templates",
            _ => &near,
        };
        Err(Fault::new(&label, help))
    }

    /// What follows `{{`, with the `}}`.
    fn action(&mut self) -> Result<(), Fault> {
        let word = self.peek(true).filter(|token| token.kind == Kind::Word).map_or("", |token| token.text);
        match word {
            "if" | "with" | "range" => {
                self.next(true);
                let (variables, at) = (self.variables.len(), self.action);
                self.pipeline(word, false)?;
                self.open.push(Block { kind: word, at, otherwise: false, variables });
                Ok(())
            }
            "else" => self.otherwise(),
            "end" => {
                self.next(true);
                match self.open.pop() {
                    Some(block) => self.variables.truncate(block.variables),
                    None => return self.fault("an end ends nothing", "remove it"),
                }
                self.nothing_more("end")
            }
            "break" | "continue" => {
                self.next(true);
                if !self.open.iter().any(|block| block.kind == "range" && !block.otherwise) {
                    return self.fault(&format!("{word} is outside of a range"), "remove it");
                }
                self.nothing_more(word)
            }
            _ => self.pipeline("{{", false),
        }
    }

    fn otherwise(&mut self) -> Result<(), Fault> {
        self.next(true);
        let next = self.peek(true).filter(|token| token.kind == Kind::Word).map_or("", |token| token.text);
        let Some(block) = self.open.last_mut() else {
            return self.fault("an else belongs to nothing", "remove it, or begin by {{ if … }}");
        };
        if block.otherwise {
            return self.fault("a second else", "end the block before, or write else if in the place of the first");
        }
        if !matches!(next, "if" | "with") {
            block.otherwise = true;
            return self.nothing_more("else");
        }
        let kind = block.kind;
        if kind != next {
            let help = format!("write {{{{ else }}}}, and a block with its own end within: here is a {kind}");
            return self.fault(&format!("else {next} is only in a block of {next}"), &help);
        }
        self.next(true);
        self.pipeline(next, false)
    }

    fn nothing_more(&mut self, word: &str) -> Result<(), Fault> {
        match self.next(true) {
            Some(token) if token.kind == Kind::Right => Ok(()),
            _ => self.fault(&format!("more than {word} is in its action"), &format!("write {{{{ {word} }}}}")),
        }
    }

    /// Declarations and commands up to `}}`, or to `)` where it is `within` parentheses.
    fn pipeline(&mut self, of: &str, within: bool) -> Result<(), Fault> {
        self.declarations(of)?;
        let end = if within { Kind::Sign(')') } else { Kind::Right };
        let mut commands = 0_usize;
        loop {
            match self.peek(true) {
                Some(token) if token.kind == end => {
                    self.next(true);
                    if commands == 0 {
                        let (label, help) = match of {
                            "{{" => (
                                "nothing is between the braces".to_owned(),
                                "write what is to stand there, or remove them",
                            ),
                            "(" => ("nothing is between ( and )".to_owned(), "remove them"),
                            word => (format!("nothing follows {word}"), "write what it is to look at"),
                        };
                        return self.fault(&label, help);
                    }
                    return Ok(());
                }
                Some(token) if is_operand(token) => {
                    let value = matches!(token.kind, Kind::Literal | Kind::Dot) || CONSTANTS.contains(&token.text);
                    if commands > 0 && value {
                        return self
                            .fault(&format!("{} after a | takes nothing", token.text), "put a function after a |");
                    }
                    self.command()?;
                    commands += 1;
                }
                other => return self.unexpected(other),
            }
        }
    }

    /// `$x :=`, `$x =`, and of a range `$i, $x :=`.
    fn declarations(&mut self, of: &str) -> Result<(), Fault> {
        let mut declared = 0;
        while let Some(variable) = self.peek(true).filter(|token| token.kind == Kind::Variable) {
            let before = self.at;
            self.next(true);
            match self.peek(true).map(|token| token.kind) {
                Some(Kind::Declare | Kind::Sign('=')) => {
                    self.next(true);
                    self.variables.push(variable.text);
                    return Ok(());
                }
                Some(Kind::Sign(',')) => {
                    self.next(true);
                    declared += 1;
                    let more = self.peek(true).is_some_and(|token| token.kind == Kind::Variable);
                    if of != "range" || declared > 1 || !more {
                        return Err(sign_fault(self.text, self.action, ','));
                    }
                    self.variables.push(variable.text);
                }
                _ => {
                    self.at = before;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Operands with blanks between them, and the `|` after them.
    fn command(&mut self) -> Result<(), Fault> {
        loop {
            if self.peek(true).is_some_and(is_operand) {
                self.operand()?;
            }
            match self.peek(false) {
                Some(token) if token.kind == Kind::Space => {
                    self.next(false);
                }
                Some(token) if matches!(token.kind, Kind::Right | Kind::Sign(')')) => return Ok(()),
                Some(token) if token.kind == Kind::Sign('|') => {
                    self.next(false);
                    return Ok(());
                }
                other => return self.unexpected(other),
            }
        }
    }

    /// A term and the fields of it.
    fn operand(&mut self) -> Result<(), Fault> {
        let Some(token) = self.next(true) else { return self.unexpected(None) };
        match token.kind {
            Kind::Variable if token.text != "$" && !self.variables.contains(&token.text) => {
                let label = format!("variable {} is unknown", token.text);
                return Err(Fault::new(&label, &suggest(token.text, &VARIABLES)));
            }
            Kind::Sign(_) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return self.fault("too many parentheses within each other", "give parts of it to variables by :=");
                }
                self.pipeline("(", true)?;
                self.depth -= 1;
            }
            _ => {}
        }
        let fixed = matches!(token.kind, Kind::Literal | Kind::Dot) || CONSTANTS.contains(&token.text);
        while let Some(field) = self.peek(false).filter(|token| token.kind == Kind::Field) {
            if fixed {
                return self
                    .fault(&format!("{} has no {}", token.text, field.text), "put a blank before, or remove it");
            }
            self.next(false);
        }
        Ok(())
    }
}

/// Words that stand at the beginning of an action.
const KEYWORDS: [&str; 7] = ["if", "with", "range", "else", "end", "break", "continue"];

/// Words that are values.
const CONSTANTS: [&str; 3] = ["true", "false", "nil"];

/// Whether an operand begins here. Keywords do not.
fn is_operand(token: Token<'_>) -> bool {
    match token.kind {
        Kind::Literal | Kind::Variable | Kind::Field | Kind::Dot | Kind::Sign('(') => true,
        Kind::Word => FUNCTIONS.contains(&token.text) || CONSTANTS.contains(&token.text),
        _ => false,
    }
}
