//! What is wrong with an object, in words a person can act on. The command line, the validating
//! webhook and the conditions all print the same `Problem`s, so their messages cannot drift apart.

use std::{fmt, ops::Range};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The object cannot be rendered.
    Error,
    /// The object works, but hardly as its author means.
    Warning,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Error => "error",
            Level::Warning => "warning",
        })
    }
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub level: Level,
    /// The field, as a path from the object's root: `spec.alerting.tiers[1].longWindow`.
    pub path: String,
    /// Bytes of the field's own string value that are meant, where it is a part of it only.
    pub span: Option<Range<usize>>,
    /// True when the field's key is meant, not its value.
    pub of_key: bool,
    /// What is wrong, as a short sentence without a full stop: `objective is a percentage`.
    pub message: String,
    /// What this value does or lacks; stands beside the caret. May be empty.
    pub label: String,
    /// What to do. May be empty only where the message says it already.
    pub help: String,
}

impl Problem {
    /// An error at `path`.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            path: path.into(),
            span: None,
            of_key: false,
            message: message.into(),
            label: String::new(),
            help: String::new(),
        }
    }

    /// A warning at `path`.
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(path, message) }
    }

    /// Adds what this value does or lacks.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// Points at the field's key: its value may be right.
    #[must_use]
    pub fn of_key(mut self) -> Self {
        self.of_key = true;
        self
    }

    /// Points at a part of the field's string value.
    #[must_use]
    pub fn span(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }
}

/// One line, as conditions, events and the webhook print it:
/// `spec.objective: objective is a percentage (0.9995 % would …); write "99.95"`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if !self.label.is_empty() {
            write!(f, " ({})", self.label)?;
        }
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// All problems in one line, errors first: the message of a condition or a refusal.
pub fn summary(problems: &[Problem]) -> String {
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by_key(|p| p.level);
    sorted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}
