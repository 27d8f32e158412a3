//! What of a command a shell or an interpreter would run, also behind a program that only starts another one: `timeout 30 sh -c …`.

const SHELLS: [&str; 11] = ["sh", "bash", "ash", "dash", "zsh", "ksh", "mksh", "csh", "tcsh", "fish", "pwsh"];

/// Programs without the number of their version, the letters of their options whose value they run, and the long ones.
const INTERPRETERS: [(&str, &str, &[&str]); 14] = [
    ("python", "c", &[]),
    ("pypy", "c", &[]),
    ("perl", "eE", &[]),
    ("ruby", "e", &[]),
    ("node", "ep", &["--eval", "--print"]),
    ("nodejs", "ep", &["--eval", "--print"]),
    ("php", "rBRE", &["--run", "--process-begin", "--process-code", "--process-end"]),
    ("lua", "e", &[]),
    // These give it to a shell, or do so with a part of it.
    ("su", "c", &["--command"]),
    ("runuser", "c", &["--command"]),
    ("script", "c", &["--command"]),
    ("psql", "c", &["--command"]),
    ("mysql", "e", &["--execute"]),
    ("mariadb", "e", &["--execute"]),
];

/// Endings of files whose own arguments follow them.
const SCRIPTS: [&str; 8] = [".py", ".pyz", ".pl", ".rb", ".js", ".mjs", ".php", ".lua"];

fn program(entry: &str) -> &str {
    entry.rsplit('/').next().unwrap_or(entry)
}

/// The shell that is given a script and a parameter, and which entry it is.
pub(super) fn shell(command: &[String], is_parameter: impl Fn(&String) -> bool) -> Option<(usize, &str)> {
    let mut shells = command.iter().enumerate().filter(|(_, entry)| SHELLS.contains(&program(entry)));
    let asked = |(i, _): &(usize, &String)| {
        let after = || command.iter().skip(i + 1);
        after().any(|entry| entry.starts_with('-') && entry.to_ascii_lowercase().contains('c'))
            && after().any(&is_parameter)
    };
    shells.find(asked).map(|(i, entry)| (i, program(entry)))
}

/// The parameter that an interpreter would run, by its entry, and the interpreter.
pub(super) fn script(command: &[String], is_parameter: impl Fn(&String) -> bool) -> Option<(usize, &str)> {
    command.iter().enumerate().find_map(|(i, entry)| {
        let name = program(entry);
        // python3.12, lua5.4
        let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let (_, letters, words) = INTERPRETERS.iter().find(|(known, ..)| *known == plain)?;
        let runs = |option: &str| match option.strip_prefix('-') {
            Some(_) if option.starts_with("--") => words.contains(&option),
            Some(cluster) => cluster.ends_with(|c| letters.contains(c)),
            None => false,
        };
        // What follows a script or a module is its own.
        let is_python = plain.starts_with("py");
        let ends = |entry: &str| is_python && entry == "-m" || SCRIPTS.iter().any(|end| entry.ends_with(end));
        let options = command.iter().enumerate().skip(i + 1).take_while(|(_, entry)| !ends(entry));
        let mut given = options.filter(|(_, option)| runs(option)).map(|(at, _)| at + 1);
        given.find(|&at| command.get(at).is_some_and(&is_parameter)).map(|at| (at, name))
    })
}
