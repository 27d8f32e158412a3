//! What a message says to write is accepted when it is written.

use crate::{run, write};

/// Lines of a spec that other tools have, and what stands for them here: `None` where only the form can be told.
const ELSEWHERE: [(&str, Option<&str>); 18] = [
    ("target: \"99\"", Some("objective: \"99\"")),
    ("target: 0.999", Some("objective: \"99.9\"")),
    ("target: 99,95 %", Some("objective: \"99.95\"")),
    ("target: five nines", None),
    ("targetPercent: 99.5", Some("objective: \"99.5\"")),
    ("slo: 99.0", Some("objective: \"99.0\"")),
    ("objectives: [{target: 0.995}]", Some("objective: \"99.5\"")),
    ("objectives: [{target: 0.995}, {target: 0.9}]", None),
    ("window: 2w", Some("period: {rolling: 2w}")),
    ("window: 28 days", Some("period: {rolling: 28d}")),
    ("window: 400d", None),
    ("timeWindow: [{duration: 28d, isRolling: true}]", Some("period: {rolling: 28d}")),
    ("timeWindow: [{duration: 1w, isRolling: false}]", None),
    ("timeWindow: {duration: 1M}", None),
    ("period: monthly", Some("period: {calendar: Month}")),
    ("period: 30 days", Some("period: {rolling: 30d}")),
    ("period: 1 month", Some("period: {rolling: 30d} or period: {calendar: Month}")),
    ("serviceName: ferry", Some("service")),
];

/// Names that Kubernetes refuses, and what is like them.
const NAMES: [(&str, Option<&str>); 5] =
    [("Ferry_Avail", Some("ferry-avail")), ("-ferry.", Some("ferry")), ("a..b", None), ("a.-b", None), ("'__'", None)];

#[test]
fn names_that_are_proposed_are_names() {
    let good = |name: &str| crate::GOOD.replace("name: good", &format!("name: {name}"));
    for (name, meant) in NAMES {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a.yaml", good(name));
        let ran = run(directory.path(), &["validate"]);
        assert_eq!(ran.code, 1, "{name}: {}", ran.stdout);
        let help = ran.stdout.lines().find_map(|line| line.split_once("└ help: write ")).map(|(_, help)| help);
        assert_eq!(help, meant, "{name}: {}", ran.stdout);
        if let Some(meant) = meant {
            write(directory.path(), "a.yaml", good(meant));
            assert_eq!(run(directory.path(), &["validate"]).code, 0, "{name}: {meant}");
        }
    }
}

#[test]
fn what_stands_for_other_words() {
    let spec = |line: &str| {
        let objective = if line.contains("objective:") || is_objective(line) { "" } else { "  objective: \"99\"\n" };
        format!(
            "apiVersion: plimsoll.dev/v1alpha1\nkind: SLO\nmetadata: {{name: a}}\nspec:\n{objective}  sli: {{up: {{series: up}}}}\n  {line}\n"
        )
    };
    for (line, meant) in ELSEWHERE {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a.yaml", spec(line));
        let ran = run(directory.path(), &["validate"]);
        assert_eq!(ran.code, 1, "{line}: {}", ran.stdout);
        let help = ran.stdout.lines().find_map(|line| Some(line.split_once("└ help: ")?.1)).unwrap_or_default();
        let Some(meant) = meant else {
            assert!(help.contains('…'), "{line}: {help}");
            continue;
        };
        let wants = if meant == "service" { "did you mean service?".to_owned() } else { format!("write {meant}") };
        assert_eq!(help, wants, "{line}");
        let (_, value) = line.split_once(':').unwrap();
        let all: Vec<String> = match meant {
            "service" => vec![format!("service:{value}")],
            _ => meant.split(" or ").map(str::to_owned).collect(),
        };
        for followed in all {
            write(directory.path(), "a.yaml", spec(&followed));
            let ran = run(directory.path(), &["validate"]);
            assert_eq!(ran.stdout, "checked 1 object in 1 file: 0 errors, 0 warnings\n", "{line}: {followed}");
        }
    }
}

fn is_objective(line: &str) -> bool {
    ["target", "slo", "objectives"].iter().any(|word| line.starts_with(word))
}
