//! What the rules of its kind say of one object.

use std::collections::HashSet;

use jiff::Timestamp;
use plimsoll_api::{AlertRule, Kind, Level, Problem, Runbook, RunbookApproval, RunbookExecution, Slo};
use plimsoll_slo::{AnyModel, AnyValid, alerts, validate::distant_exclusions};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{kinds::AnyKind, mend};

/// A usable object of a kind that is more than its shape.
pub(super) enum Usable {
    /// It becomes rules.
    Rules(AnyModel),
    /// It becomes executions.
    Runbook(Box<plimsoll_runbook::Model>),
}

/// What can be used of an object, or why nothing can; nothing of a kind that is only its shape.
pub(super) fn judge(kind: AnyKind, value: &Value, problems: &mut Vec<Problem>, mended: &[String]) -> Option<Usable> {
    let of_rules = |AnyValid { model, warnings }| (Usable::Rules(model), warnings);
    let judged = match kind {
        AnyKind::Rules(Kind::Slo) => plimsoll_slo::validate(&deserialize::<Slo>(value, problems)?).map(|mut valid| {
            valid.warnings.extend(distant_exclusions(&valid.model, Timestamp::now()));
            of_rules(valid.into())
        }),
        AnyKind::Rules(Kind::AlertRule) => {
            alerts::validate(&deserialize::<AlertRule>(value, problems)?).map(|valid| of_rules(valid.into()))
        }
        AnyKind::Runbook => plimsoll_runbook::validate(&deserialize::<Runbook>(value, problems)?)
            .map(|valid| (Usable::Runbook(Box::new(valid.model)), valid.warnings)),
        AnyKind::RunbookExecution => return deserialize::<RunbookExecution>(value, problems).and(None),
        AnyKind::RunbookApproval => return deserialize::<RunbookApproval>(value, problems).and(None),
    };
    let (usable, more) = match judged {
        Ok((usable, warnings)) => (Some(usable), warnings),
        Err(more) => (None, more),
    };
    rules(more, problems, mended);
    let refused = problems.iter().any(|p| p.level == Level::Error);
    if usable.is_none() && !refused {
        // Whoever drops an object without a word has its working rules removed.
        problems.push(
            Problem::error("spec", "this object is refused, and nothing says why")
                .help("please report it together with the object: Plimsoll has a fault that it brings out"),
        );
    }
    usable.filter(|_| !refused)
}

/// The typed object. What the schema could not say is said by the type.
fn deserialize<T: DeserializeOwned>(value: &Value, problems: &mut Vec<Problem>) -> Option<T> {
    match T::deserialize(value) {
        Ok(object) => Some(object),
        Err(_) if problems.iter().any(|p| p.level == Level::Error) => None,
        Err(_) => {
            if let Err(error) = serde_path_to_error::deserialize::<_, T>(value) {
                problems.push(Problem::error(error.path().to_string(), error.inner().to_string()));
            }
            None
        }
    }
}

/// Takes what the rules of the kind say. Where they say more about a field than that it is no string, or
/// which field of an entry makes it the second of its name, they are heard; what is due to a field that was mended is not.
fn rules(more: Vec<Problem>, problems: &mut Vec<Problem>, mended: &[String]) {
    let due = |path: &str| mended.iter().any(|m| mend::concerns(path, m));
    let more: Vec<Problem> = more.into_iter().filter(|p| !due(&p.path)).collect();
    let said = |path: &str| more.iter().any(|m| m.level == Level::Error && m.path == path);
    let named = |path: &str| more.iter().any(|m| mend::is_twice(m) && m.path.starts_with(&format!("{path}.")));
    problems.retain(|p| !(mend::is_no_string(p) && said(&p.path) || mend::is_twice(p) && named(&p.path)));
    let known: HashSet<String> = problems.iter().map(|p| p.path.clone()).collect();
    problems.extend(more.into_iter().filter(|p| !known.contains(&p.path)));
}
