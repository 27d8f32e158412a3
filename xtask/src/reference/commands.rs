//! The command line, from what every command says of itself.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::NOTICE;
use crate::command::output;

/// Variables whose values help texts would show.
const SHOWN: [&str; 5] = ["PLIMSOLL_CONFIG", "PLIMSOLL_PROMETHEUS", "PLIMSOLL_STATE_DIR", "POD_NAMESPACE", "HOSTNAME"];

/// The page, asked of the program command by command.
pub(super) fn page(program: &Path) -> Result<String> {
    let mut text = format!(
        "{NOTICE}\n\n# Command line\n\nWhat `plimsoll COMMAND --help` prints, for every command. `NO_COLOR` switches colours off.\n"
    );
    let mut open = vec![Vec::new()];
    while let Some(words) = open.pop() {
        let help = help(program, &words)?;
        let name = std::iter::once("plimsoll").chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        text += &format!("\n## {name}\n\n```text\n{}\n```\n", help.trim_end());
        let inner = subcommands(&help).into_iter().map(|one| [words.clone(), vec![one.to_owned()]].concat());
        open.extend(inner.rev());
    }
    Ok(text)
}

/// The page of the indicators that are ready to use.
pub(super) fn presets(program: &Path) -> Result<String> {
    let mut command = Command::new(program);
    command.arg("presets");
    Ok(format!(
        "{NOTICE}\n\n# Presets\n\nIndicators for `spec.sli.preset`, each with its parameters; `plimsoll presets` prints them.\n\n```text\n{}```\n",
        output(command)?
    ))
}

fn help(program: &Path, words: &[String]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(words).arg("--help");
    for name in SHOWN {
        command.env_remove(name);
    }
    let text = output(command)?;
    Ok(text.lines().map(|line| format!("{}\n", line.trim_end())).collect())
}

/// The commands that a help text lists, but for `help` itself.
fn subcommands(help: &str) -> Vec<&str> {
    let listed = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
    let listed = listed.lines().take_while(|line| !line.is_empty());
    // A name stands two spaces in; what was wrapped stands deeper.
    let names = listed.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_a_help_text() {
        let help = "Runs\n\nUsage: x <COMMAND>\n\nCommands:\n  test  Says\n          more\n  run   Asks\n  help  Print\n\nOptions:\n  -h\n";
        assert_eq!(subcommands(help), ["test", "run"]);
        assert!(subcommands("Options:\n  -h\n").is_empty());
    }
}
