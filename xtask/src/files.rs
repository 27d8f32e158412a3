//! What holds for tracked files: a length that a person can read, and nothing of the machine that they were written on.

use std::path::{Component, Path};

use anyhow::{Result, bail};

use crate::command::{output, program, root};

const LINES: usize = 600;

/// Folders that every system has: a path into one says nothing of the machine.
const EVERYWHERE: &[&str] =
    &["bin", "dev", "etc", "lib", "mnt", "opt", "proc", "run", "srv", "sys", "tmp", "usr", "var"];

pub(crate) fn check() -> Result<()> {
    let root = root()?;
    let mut git = program("git")?;
    git.args(["ls-files", "-z"]);
    let listed = output(git)?;
    let foreign = foreign_paths(&root);
    let mut problems = Vec::new();
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        // Deleted, or not text.
        let Ok(text) = std::fs::read_to_string(root.join(name)) else {
            continue;
        };
        problems.extend(problems_of(name, &text, &foreign));
    }
    if !problems.is_empty() {
        bail!("\n  {}", problems.join("\n  "));
    }
    Ok(())
}

fn problems_of(name: &str, text: &str, foreign: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if name.ends_with(".rs") && lines > LINES {
        problems.push(format!("{name} has {lines} lines, and {LINES} is the most"));
    }
    for (number, line) in text.lines().enumerate() {
        if let Some(path) = foreign.iter().find(|path| has_path(line, path)) {
            problems.push(format!("{name}:{}: a path of somebody's machine ({path})", number + 1));
        }
    }
    problems
}

/// Home folders, and whatever this checkout is in.
fn foreign_paths(root: &Path) -> Vec<String> {
    let mut paths: Vec<_> = ["root", "home", "Users"].iter().map(|name| format!("/{name}/")).collect();
    let first = root.components().find_map(|component| match component {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    paths.extend(first.filter(|name| !EVERYWHERE.contains(name)).map(|name| format!("/{name}/")));
    paths
}

/// Whether a line has a path that begins so: one inside a longer path (or a web address) is another.
fn has_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|c| !(c.is_alphanumeric() || "._-}/~".contains(c)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_counts_at_its_start_only() {
        let home = format!("/{}/", "home");
        assert!(has_path(&format!("see {home}me/x"), &home));
        assert!(has_path(&format!("{home}me"), &home));
        assert!(!has_path(&format!("https://example.com{home}page"), &home));
        assert!(!has_path(&format!("$DIR}}{home}page"), &home));
    }

    #[test]
    fn long_files_and_machine_paths_are_told_with_their_place() {
        let foreign = foreign_paths(Path::new("/checkouts/plimsoll"));
        let text = format!("fine\n\"/{}/plimsoll/x\"\n", "checkouts");
        assert_eq!(problems_of("a.md", &text, &foreign).len(), 1);
        assert!(problems_of("a.rs", &"//\n".repeat(600), &foreign).is_empty());
        assert_eq!(problems_of("a.rs", &"//\n".repeat(601), &foreign).len(), 1);
        assert!(!foreign_paths(Path::new("/tmp/x")).contains(&"/tmp/".to_owned()));
    }
}
