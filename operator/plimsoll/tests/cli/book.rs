//! What the book and the README show is what happens: their commands are run, their files are checked.
//!
//! A fenced block says by the words after its language what becomes of it:
//!
//! | block | what is done |
//! |---|---|
//! | `sh` | run with bash, page by page from the top, in a folder that has `examples/`, `runbooks/` and `manifests/` |
//! | `sh fails` | the same, and it must fail |
//! | `sh cluster`, `sh data` | it needs servers, or data that is not here: commands of ours must parse, files must be there; of others, and on an API server, by tests/e2e `book` |
//! | `sh developer` | for this repository's developers; not looked at |
//! | `yaml NAME` | written to that file for the commands below, after it was checked |
//! | `yaml` | well-formed; objects of ours are valid, with no warning |
//! | `text output` | what the block before it printed; a line `…` stands for any lines |

use std::collections::BTreeSet;

use clap::error::ErrorKind;

use super::*;

/// Programs of others that blocks may name where they are not run.
const OTHERS: [&str; 7] = ["cargo", "curl", "docker", "helm", "kubectl", "ln", "promtool"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every page: the book's, those of the runbooks, and those that a reader meets first.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)).to_vec();
    for folder in ["docs", "runbooks"] {
        let walked = walkdir::WalkDir::new(root().join(folder)).sort_by_file_name();
        let files = walked.into_iter().map(|entry| entry.unwrap().into_path());
        pages.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    assert!(pages.len() > 30, "{pages:?}");
    pages
}

/// A fenced block.
#[derive(Debug)]
struct Block<'t> {
    line: usize,
    language: &'t str,
    word: &'t str,
    text: String,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for (number, line) in page.lines().enumerate() {
        if let Some(fence) = line.strip_prefix("```") {
            if !open {
                let (language, word) = fence.split_once(' ').unwrap_or((fence, ""));
                blocks.push(Block { line: number + 1, language, word, text: String::new() });
            }
            open = !open;
        } else if open {
            let block = blocks.last_mut().unwrap();
            block.text += line;
            block.text.push('\n');
        }
    }
    assert!(!open, "a block is not closed");
    blocks
}

/// A folder in which a newcomer is: the checkout's, without what no page needs.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["examples", "runbooks", "manifests", "crds"] {
        for entry in walkdir::WalkDir::new(root().join(name)) {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                let path = entry.path().strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                write(folder.path(), &path, fs::read(entry.path()).unwrap());
            }
        }
    }
    folder
}

/// Runs a block; standard output and error go the same way, as in a terminal.
fn bash(folder: &Path, script: &str) -> (String, bool) {
    let binary = Path::new(env!("CARGO_BIN_EXE_plimsoll"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &format!("exec 2>&1\n{script}")])
        .current_dir(folder)
        .env("PATH", path)
        .env("HOME", folder)
        .env_remove("KUBECONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

/// True when what was printed is what is shown, `…` being any number of lines.
fn is_shown(shown: &str, printed: &str) -> bool {
    let mut rest = printed;
    let mut anywhere = false;
    for piece in shown.split_inclusive('\n') {
        if piece.trim() == "…" {
            anywhere = true;
            continue;
        }
        let at = if anywhere { rest.find(piece) } else { rest.starts_with(piece).then_some(0) };
        let Some(at) = at else { return false };
        (rest, anywhere) = (&rest[at + piece.len()..], false);
    }
    anywhere || rest.is_empty()
}

/// One line's words, without what a shell does with them; none where the line is only a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (None, '#') if !begun => break,
            (None, ' ') => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (_, c) => word.push(c),
        }
        begun = true;
    }
    if begun {
        words.push(word);
    }
    words
}

/// Commands that cannot be run here: ours parse, others are known, files that they apply are there.
fn looked_at(folder: &Path, name: &str, text: &str) {
    for line in text.replace("\\\n", " ").lines() {
        let all = words(line);
        for command in all.split(|word| ["|", "&&", "&", ";"].contains(&word.as_str())) {
            let end = command.iter().position(|word| [">", "<"].contains(&word.as_str())).unwrap_or(command.len());
            let command: Vec<&str> =
                command[..end].iter().map(String::as_str).skip_while(|word| word.contains('=')).collect();
            let ours = command.strip_prefix(&["kubectl"]).filter(|rest| rest.first() == Some(&"plimsoll"));
            let command = ours.unwrap_or(&command);
            let Some(program) = command.first() else { continue };
            if *program == "plimsoll" {
                if let Err(error) = plimsoll::cli::command().try_get_matches_from(command) {
                    let asked = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion].contains(&error.kind());
                    assert!(asked, "{name}: {line}: {error}");
                }
            } else {
                assert!(OTHERS.contains(program), "{name}: run {program}, or add it to OTHERS\n{line}");
            }
            for file in command.windows(2).filter(|pair| pair[0] == "-f").map(|pair| pair[1]) {
                // What lies in a folder that is here must be there; other names are the reader's own.
                let ours = file.split_once('/').is_some_and(|(first, _)| folder.join(first).exists());
                assert!(!ours || folder.join(file).exists(), "{name}: {line}: there is no {file}");
            }
        }
    }
}

/// YAML is well-formed, and ours is valid without a warning.
fn valid(folder: &Path, name: &str, block: &Block<'_>) {
    let documents = block.text.split("---\n").filter(|document| !document.trim().is_empty());
    for document in documents {
        let parsed = serde_saphyr::from_str::<serde_json::Value>(document);
        assert!(parsed.is_ok(), "{name}: no YAML: {}\n{document}", parsed.unwrap_err());
    }
    if block.text.contains("apiVersion: plimsoll.dev/") {
        let ran = run_with_input(folder, &["validate", "--strict", "-"], block.text.as_bytes());
        assert_eq!(ran.code, 0, "{name}\n{}", ran.stdout);
    }
}

/// Goes through a page from the top.
fn follow(page: &Path) {
    let text = fs::read_to_string(page).unwrap();
    let folder = workplace();
    // The README's tour is run on servers, by tests/e2e.
    let by_others = page.ends_with("README.md") && page.parent() == Some(&root());
    let mut printed = None;
    for block in blocks(&text) {
        let name = format!("{}:{}", page.strip_prefix(root()).unwrap().display(), block.line);
        match (block.language, block.word) {
            ("sh", "" | "fails") if !by_others => {
                let (output, success) = bash(folder.path(), &block.text);
                assert_eq!(success, block.word.is_empty(), "{name}\n{}\n{output}", block.text);
                printed = Some(output);
            }
            ("sh", "developer") => {}
            ("sh", "" | "cluster" | "data") => looked_at(folder.path(), &name, &block.text),
            ("text", "output") => {
                let output = printed.take().unwrap_or_else(|| panic!("{name}: nothing was run before it"));
                assert!(is_shown(&block.text, &output), "{name}: it printed\n{output}");
            }
            ("yaml", file) => {
                valid(folder.path(), &name, &block);
                if !file.is_empty() {
                    write(folder.path(), file, &block.text);
                }
            }
            ("json", "") => drop(serde_json::from_str::<serde_json::Value>(&block.text).unwrap()),
            ("" | "text" | "promql" | "make" | "toml", "") => {}
            other => panic!("{name}: no block is called {other:?}"),
        }
    }
}

#[test]
fn every_page_is_true() {
    let wrong: Vec<String> = pages()
        .iter()
        .filter(|page| std::panic::catch_unwind(|| follow(page)).is_err())
        .map(|page| page.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_readme_begins_with_what_ci_runs() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    let first = blocks(&readme).into_iter().find(|block| block.language == "sh").unwrap();
    let commands: Vec<String> = first.text.lines().map(|line| words(line).join(" ")).collect();
    assert_eq!(commands.first().map(String::as_str), Some("cargo run --release -- demo"));
    for command in commands {
        assert!(ci.lines().any(|line| line.starts_with(&command)), ".ci/run does not run {command}");
    }
}

/// The name of a heading in links, as mdBook and forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let mut code = false;
    let mut found = BTreeSet::new();
    for line in page.lines() {
        code ^= line.starts_with("```");
        if let Some(heading) = line.strip_prefix('#').filter(|_| !code) {
            found.insert(anchor(heading.trim_start_matches('#')));
        }
    }
    found
}

/// The targets of a page's links; those in code are none.
fn links(page: &str) -> Vec<String> {
    let mut code = false;
    let mut found = Vec::new();
    for line in page.lines() {
        code ^= line.starts_with("```");
        if code {
            continue;
        }
        // What is between backticks goes.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("x");
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        found.extend(targets.map(|(target, _)| target.to_owned()));
    }
    found
}

#[test]
fn every_link_leads_somewhere_and_none_out_of_the_book() {
    let mut followed = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, part) = link.split_once('#').map_or((link.as_str(), None), |(file, part)| (file, Some(part)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            let (docs, target) = (root().join("docs"), target.canonicalize().unwrap());
            assert!(
                !page.starts_with(&docs) || target.starts_with(&docs),
                "{}: {link} leads out of the book: say its path instead",
                page.display()
            );
            if let Some(part) = part {
                let there = fs::read_to_string(&target).unwrap();
                assert!(anchors(&there).contains(part), "{}: {link} has no such heading", page.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 50, "{followed}");
}

#[test]
fn every_page_of_the_book_is_in_its_contents() {
    let docs = root().join("docs");
    let contents = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let listed: BTreeSet<PathBuf> = links(&contents).iter().map(|link| docs.join(link)).collect();
    let there: BTreeSet<PathBuf> =
        pages().into_iter().filter(|page| page.starts_with(&docs) && !page.ends_with("SUMMARY.md")).collect();
    assert_eq!(listed, there);
}

/// Reasons with which all is well.
const WELL: [&str; 5] = ["AsDeclared", "Loaded", "Quiet", "Samples", "Scoring"];

#[test]
fn every_reason_has_something_to_do() {
    let read = |name: &str| fs::read_to_string(root().join("docs").join(name)).unwrap();
    let (reference, advice) = (read("reference/conditions.md"), read("troubleshooting.md"));
    let (_, reasons) = reference.split_once("## Reasons").unwrap();
    let named = reasons.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name);
    let asked: Vec<&str> = named.filter(|name| !WELL.contains(name)).collect();
    assert!(asked.len() > 15, "{asked:?}");
    for reason in asked {
        let row = advice.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{reason}`")));
        assert!(row, "{reason} is not in docs/troubleshooting.md");
    }
}

#[test]
fn what_is_shown_may_leave_lines_out() {
    assert!(is_shown("a\nb\n", "a\nb\n"));
    assert!(is_shown("a\n…\nd\n", "a\nb\nc\nd\n"));
    assert!(is_shown("…\nd\n", "a\nd\n") && is_shown("a\n…\n", "a\nb\n"));
    assert!(!is_shown("a\n", "a\nb\n") && !is_shown("a\n…\nx\n", "a\nb\n") && !is_shown("b\n", "a\nb\n"));
}

#[test]
fn words_are_those_of_a_shell() {
    assert_eq!(words("plimsoll x -p 'a b'   # why"), ["plimsoll", "x", "-p", "a b"]);
    assert_eq!(words("a \"b#c\" d#e"), ["a", "b#c", "d#e"]);
    assert!(words("# only this").is_empty());
}
