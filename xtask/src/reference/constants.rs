//! Tables of names from constants: each is said once, in the code, with what it means.

use anyhow::{Result, bail};

use super::NOTICE;
use super::markdown::table;

/// `pub const NAME: &str = "value";` and the comment above it.
#[derive(Debug, PartialEq, Eq)]
struct Constant<'t> {
    name: &'t str,
    value: &'t str,
    meaning: String,
}

fn constants(source: &str) -> Result<Vec<Constant<'_>>> {
    let mut found = Vec::new();
    let mut meaning = Vec::new();
    for line in source.lines() {
        if let Some(words) = line.strip_prefix("/// ") {
            meaning.push(words);
            continue;
        }
        let constant = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(": &str = \""));
        if let Some((name, rest)) = constant {
            let value = rest.trim_end_matches("\";");
            found.push(Constant { name, value, meaning: meaning.join(" ") });
        }
        meaning.clear();
    }
    if found.is_empty() {
        bail!("no constants are found where their tables are made from");
    }
    // A link of the code's documentation is a name for the reader.
    let values: Vec<(String, String)> =
        found.iter().map(|one| (format!("[`{}`]", one.name), format!("`{}`", one.value))).collect();
    for one in &mut found {
        for (link, value) in &values {
            one.meaning = one.meaning.replace(link, value);
        }
    }
    Ok(found)
}

fn rows<'t>(
    constants: &'t [Constant<'_>],
    keep: impl Fn(&Constant<'_>) -> bool + 't,
) -> impl Iterator<Item = [String; 2]> {
    let kept = constants.iter().filter(move |one| keep(one));
    kept.map(|one| [format!("`{}`", one.value), one.meaning.clone()])
}

/// The page of condition types and reasons.
pub(super) fn conditions(source: &str) -> Result<String> {
    let all = constants(source)?;
    let reason = |one: &Constant<'_>| one.name.starts_with("REASON_");
    Ok(format!(
        "{NOTICE}\n\n# Conditions and reasons\n\n\
        In `status.conditions` of SLOs and AlertRules. What to do about each reason: [Troubleshooting](../troubleshooting.md).\n\n\
        ## Types\n\n{}\n## Reasons\n\n{}\n\
        Runbooks and executions have their own: [Runbooks](../runbooks.md#what-is-told).\n",
        table(["type", "true when"], rows(&all, |one| !reason(one))),
        table(["reason", "means"], rows(&all, reason)),
    ))
}

/// The page of series, labels and alerts.
pub(super) fn series(source: &str) -> Result<String> {
    let all = constants(source)?;
    let is_series = |one: &Constant<'_>| one.value.starts_with("slo:") || one.value == "slo_info";
    let exported = |one: &Constant<'_>| one.value.starts_with("plimsoll_");
    let alert = |one: &Constant<'_>| one.name.starts_with("ALERT_") && one.value.starts_with("SLO");
    Ok(format!(
        "{NOTICE}\n\n# Series, labels and alerts\n\n\
        Every recorded series has `slo_id` and the labels of the SLO's `groupBy`. [Rules](../rules.md) says how they are made.\n\n\
        ## Recorded series\n\n{}\n## Series of AlertRules and of the anomaly scorer\n\n{}\n## Alerts\n\n{}\n## Labels\n\n{}",
        table(["series", "what"], rows(&all, is_series)),
        table(["series", "what"], rows(&all, exported)),
        table(["alert", "what"], rows(&all, alert)),
        table(["label", "what"], rows(&all, move |one| !is_series(one) && !exported(one) && !alert(one))),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_has_the_comment_above_it() {
        let source = "/// All events,\n/// per second.\npub const TOTAL: &str = \"slo:total\";\n\n/// Like [`TOTAL`].\npub const BAD: &str = \"slo:bad\";\npub const N: u8 = 1;\n";
        let found = constants(source).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].meaning, "All events, per second.");
        assert_eq!((found[1].value, found[1].meaning.as_str()), ("slo:bad", "Like `slo:total`."));
        assert!(constants("fn main() {}").is_err());
    }
}
