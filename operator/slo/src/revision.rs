//! By which a rule set is known again once a server has loaded it.
//!
//! The mark is a string inside the expression of `slo_info` or `plimsoll_alertrule_info`: servers rewrite the spaces and numbers of an
//! expression, and show their own words for a group, but a string comes back as it was sent. It is no label,
//! so that an edit does not begin a new series of `slo_info`.

use sha2::{Digest, Sha256};

use crate::{
    names,
    rules::{Rule, RuleSet},
};

/// The label that the marked expression would set if its regular expression, the mark, matched the empty string.
const MARK: &str = "plimsoll_revision";

/// Writes into `rules` which rules they are. The mark belongs to the last rule of the last group: where groups
/// are written one by one, it comes when the others are there.
pub(crate) fn mark(rules: &mut RuleSet) {
    let revision = hash(rules);
    if let Some(info) = rules.groups.iter_mut().flat_map(|group| &mut group.rules).find(|rule| is_info(rule)) {
        info.expr = format!("label_replace({}, \"{MARK}\", \"\", \"\", \"{revision}\")", info.expr);
    }
}

fn is_info(rule: &Rule) -> bool {
    matches!(rule.record.as_deref(), Some(names::INFO | names::ALERT_RULE_INFO))
}

/// Twelve hexadecimal digits, of everything in the rules.
fn hash(rules: &RuleSet) -> String {
    let mut hasher = Sha256::new();
    // Lengths keep `ab` + `c` and `a` + `bc` apart.
    let mut text = |text: &str| {
        hasher.update(text.len().to_le_bytes());
        hasher.update(text);
    };
    for group in &rules.groups {
        text("group");
        text(&group.name);
        text(&group.interval);
        text(&group.limit.unwrap_or_default().to_string());
        for Rule { record, alert, expr, hold, keep_firing_for, labels, annotations } in &group.rules {
            text("rule");
            for part in [record, alert, hold, keep_firing_for] {
                text(part.as_deref().unwrap_or_default());
            }
            text(expr);
            for map in [labels, annotations] {
                text("map");
                for (key, value) in map {
                    text(key);
                    text(value);
                }
            }
        }
    }
    hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

impl RuleSet {
    /// Which rules these are: rules that differ in anything have different revisions. `None` when they bear no mark.
    pub fn revision(&self) -> Option<&str> {
        self.groups.iter().flat_map(|group| &group.rules).find(|rule| is_info(rule)).and_then(|rule| read(&rule.expr))
    }
}

/// The revision in an expression of `slo_info`, also as a server gives it back.
pub fn read(expr: &str) -> Option<&str> {
    let (_, marked) = expr.split_once(MARK)?;
    // After the mark's own closing quote: two empty strings, and then the revision.
    let revision = marked.split(['"', '\'', '`']).filter(|part| part.chars().all(|c| c.is_ascii_hexdigit()));
    revision.into_iter().find(|part| part.len() == 12)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_mark_is_read_in_any_hand() {
        for expr in [
            r#"label_replace(vector(1), "plimsoll_revision", "", "", "0123456789ab")"#,
            r#"label_replace(vector(1),"plimsoll_revision","","","0123456789ab")"#,
            "label_replace(\n  vector(1), 'plimsoll_revision',\n  '', '', '0123456789ab'\n)",
        ] {
            assert_eq!(read(expr), Some("0123456789ab"), "{expr}");
        }
        assert_eq!(read("vector(1)"), None);
    }
}
