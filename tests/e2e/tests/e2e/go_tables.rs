//! What is written in Go's own languages, templates and regular expressions, is taken here where Prometheus takes it, and
//! refused where it refuses it: one that it refuses takes away all rules that are loaded with it.

use anyhow::{Context, Result, ensure};
use plimsoll_e2e::{PROMETHEUS, Test, Testbed, test};
use plimsoll_slo::re2;
use plimsoll_testbed::{Folder, Promtool};
use serde_json::{Value, json};

use crate::traffic::slo;

pub(crate) fn tests() -> Vec<Test> {
    vec![test(PROMETHEUS, templates_of_go), test(PROMETHEUS, regular_expressions_of_go)]
}

const TEMPLATES: &str = include_str!("../../../../operator/slo/tests/go/templates.txt");
const REGEXES: &str = include_str!("../../../../operator/slo/tests/go/regexes.txt");

async fn templates_of_go(testbed: &Testbed) -> Result<()> {
    let rule = |text: &str| json!({"expr": "up == 0", "annotations": {"summary": text}});
    let refused = |text: &str| {
        let events = json!({"events": {"bad": "a", "total": "b"}});
        validate(json!({"sli": events, "alerting": {"annotations": {"summary": text}}}))
    };
    agree(testbed, TEMPLATES, rule, refused).await
}

async fn regular_expressions_of_go(testbed: &Testbed) -> Result<()> {
    let selector = |pattern: &str| format!("a_total{{b=~{}}}", json!(pattern));
    let rule = |pattern: &str| json!({"expr": selector(pattern)});
    let refused = |pattern: &str| {
        let found = validate(json!({"sli": {"events": {"bad": selector(pattern), "total": "a_total"}}}))?;
        // The parser of PromQL that is used here reads less than Go: it may refuse more than is complained of, and no less.
        let complaint = re2::complaint(pattern);
        ensure!(found.is_some() || complaint.is_none(), "{pattern} passes");
        Ok(complaint.map(|complaint| complaint.message))
    };
    agree(testbed, REGEXES, rule, refused).await
}

/// What is said against an SLO with this spec.
fn validate(mut spec: Value) -> Result<Option<String>> {
    spec["objective"] = json!("99");
    let slo = serde_json::from_value(slo("go", &spec))?;
    Ok(plimsoll_slo::validate(&slo).err().map(|problems| format!("{problems:?}")))
}

/// Each line of the table as a rule for promtool, and what is said against it here.
async fn agree(
    testbed: &Testbed,
    table: &str,
    rule: impl Fn(&str) -> Value,
    ours: impl Fn(&str) -> Result<Option<String>>,
) -> Result<()> {
    let lines: Vec<(char, String)> = table
        .lines()
        .filter_map(|line| Some((line.chars().next()?, line.get(1..)?.strip_prefix(' ')?.replace('⏎', "\n"))))
        .filter(|(sign, _)| matches!(sign, '+' | '-' | '~'))
        .collect();
    ensure!(lines.len() > 50, "the table has {} lines", lines.len());
    let numbered = |(i, (_, text)): (usize, &(char, String))| {
        let mut rule = rule(text);
        rule["alert"] = json!(format!("Number{i}"));
        // No two are the same.
        rule["labels"] = json!({"number": i.to_string()});
        rule
    };
    let rules: Vec<Value> = lines.iter().enumerate().map(numbered).collect();
    let folder = Folder::new("go")?;
    let file = folder.join("rules.json");
    std::fs::write(&file, json!({"groups": [{"name": "a", "rules": rules}]}).to_string())?;
    let told = Promtool::new(testbed.bin())?.check_rules(&[&file]).await;
    let told = format!("{:#}", told.err().context("promtool takes them all")?);
    for (i, (sign, text)) in lines.iter().enumerate() {
        let refused = told.contains(&format!("\"Number{i}\":"));
        ensure!(refused == (*sign == '-'), "{sign} {text}: promtool says otherwise: {told}");
        let found = ours(text)?;
        ensure!(found.is_some() == (*sign != '+'), "{sign} {text}: {found:?}");
    }
    Ok(())
}
