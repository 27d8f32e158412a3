//! `plimsoll validate`: everything that is wrong, where, and what to do.

use std::{collections::HashMap, fmt::Write as _};

use clap::{Args, ValueEnum};
use plimsoll_api::Level;
use serde_json::json;

use super::{
    Exit, Paths,
    check::{self, Checked},
    out::{self, Stop},
    report::{Diagnostic, count, one_line},
};

/// Form of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
    /// Annotations of GitHub Actions
    Github,
}

/// Checks SLOs, AlertRules and Runbooks without a server: shape, names, PromQL, and SLOs against each other.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll validate slo/                     every *.yaml, *.yml and *.json below slo/
  plimsoll validate --strict slo.yaml        warnings fail too
  plimsoll validate --output github slo/     annotations in a pull request
  helm template chart/ | plimsoll validate -

Objects of other API groups are left alone, but a file that is named holds one of ours.
Of a warning that many objects have, the first few are told; the other forms of the report tell all.

Exit status: 0 fine, 1 problems found, 2 wrong usage or something cannot be read")]
pub struct Validate {
    #[command(flatten)]
    paths: Paths,
    /// Form of the report
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// Warnings fail too
    #[arg(long)]
    strict: bool,
}

/// Runs it.
///
/// # Errors
/// When the report cannot be written.
pub fn run(args: &Validate) -> Result<Exit, Stop> {
    let checked = check::check(&args.paths.paths, args.paths.namespace());
    let report = match args.output {
        Output::Text => {
            let colour = super::colour(&std::io::stdout());
            format!("{}{}\n", text(&checked, colour), summary(&checked))
        }
        Output::Json => format!("{:#}\n", json(&checked)),
        Output::Github => {
            let mut out: String = checked.diagnostics.iter().map(|d| d.github()).collect();
            let _ = writeln!(out, "{}", summary(&checked));
            out
        }
    };
    out::verdict(|writer| writer.write_all(report.as_bytes()))?;
    Ok(exit(&checked, args.strict))
}

/// The status that tells a script what was found.
pub fn exit(checked: &Checked, strict: bool) -> Exit {
    if checked.unread {
        Exit::Unusable
    } else if checked.count(Level::Error) > 0 || (strict && checked.count(Level::Warning) > 0) {
        Exit::Problems
    } else {
        Exit::Fine
    }
}

/// Warnings of one kind that are all told to a person.
const FEW: usize = 5;
/// How many are told where there are more.
const FIRST: usize = 3;

/// The problems for people, an empty line between them: of a warning that many objects have, the first ones and how many more
/// there are, so that it hides nothing else. Of errors each is told, since each has to be mended.
pub fn text(checked: &Checked, colour: bool) -> String {
    let mut all: HashMap<(&str, &str), (usize, usize)> = HashMap::new();
    let warnings = checked.diagnostics.iter().filter(|one| one.level == Level::Warning);
    warnings.for_each(|one| all.entry(kind(one)).or_default().0 += 1);
    let mut told = Vec::new();
    for one in &checked.diagnostics {
        let Some((of_kind, before)) = all.get_mut(&kind(one)).filter(|(n, _)| one.level == Level::Warning && *n > FEW)
        else {
            told.push(one.text(colour));
            continue;
        };
        *before += 1;
        if *before <= FIRST {
            told.push(one.text(colour));
        }
        if *before == FIRST {
            let (more, message) = (*of_kind - FIRST, one_line(&one.message));
            told.push(format!(
                "… and {more} more of this kind: {message} (plimsoll validate --output json tells all)\n"
            ));
        }
    }
    told.join("\n")
}

/// What two warnings have in common that say the same of different objects.
fn kind(one: &Diagnostic) -> (&str, &str) {
    (&one.message, &one.help)
}

/// `checked 14 objects in 9 files: 1 error, 0 warnings`
pub fn summary(checked: &Checked) -> String {
    let mut line = format!(
        "checked {} in {}: {}, {}",
        count(checked.objects, "object"),
        count(checked.files, "file"),
        count(checked.count(Level::Error), "error"),
        count(checked.count(Level::Warning), "warning")
    );
    if checked.skipped > 0 {
        let namesake = checked.namesake.as_ref().map(|who| format!(": {who}")).unwrap_or_default();
        let _ = write!(line, " ({} of other kinds skipped{namesake})", checked.skipped);
    }
    line
}

fn json(checked: &Checked) -> serde_json::Value {
    json!({
        "files": checked.files,
        "objects": checked.objects,
        "skipped": checked.skipped,
        "errors": checked.count(Level::Error),
        "warnings": checked.count(Level::Warning),
        "problems": checked.diagnostics.iter().map(|d| d.json()).collect::<Vec<_>>(),
    })
}
