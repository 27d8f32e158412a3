//! What an answer about rule groups says of the rules of one object. Pure.

use std::collections::HashMap;

use jiff::Timestamp;

use super::observe::{Loaded, Wanted};
use crate::prometheus::{Idle, LoadedGroup};

/// Loaded groups by their names. One name may have several: of a Prometheus each where many are asked as one, or an
/// older copy that was left at another backend.
pub(crate) type ByName<'g> = HashMap<&'g str, Vec<&'g LoadedGroup>>;

/// See [`ByName`].
pub(crate) fn index(found: &[LoadedGroup]) -> ByName<'_> {
    let mut by_name = ByName::new();
    for group in found {
        by_name.entry(group.name.as_str()).or_default().push(group);
    }
    by_name
}

/// What an answer says about the rules. It never says that nobody was asked.
pub(crate) fn judge(wanted: &Wanted, found: &ByName<'_>) -> Loaded {
    let Wanted { groups, revision, labels: _, scope: _, rules: _, language: _ } = wanted;
    let loaded: Vec<&LoadedGroup> =
        groups.iter().filter_map(|name| found.get(name.as_str())).flatten().copied().collect();
    let revisions: Vec<&str> = loaded.iter().filter_map(|group| group.revision()).collect();
    let current = revisions.contains(&revision.as_str());
    let missing = groups.iter().find(|name| !found.contains_key(name.as_str()));
    match missing {
        // Before an edit there may have been fewer groups.
        Some(_) if !revisions.is_empty() && !current => return Loaded::Outdated { overdue: false },
        Some(group) => return Loaded::Missing { group: group.clone(), hint: None },
        // All groups and no revision: written by an operator of a time that had none.
        None if !current => return Loaded::Outdated { overdue: false },
        None => {}
    }
    match loaded.iter().flat_map(|group| &group.rules).find(|rule| rule.health == "err") {
        Some(rule) => Loaded::Failing(format!("{}: {}", rule.name, rule.last_error)),
        None => idle(groups, found).unwrap_or(Loaded::Yes),
    }
}

/// A group that no server evaluates any more, or all of them, if none ever was: a slow one alone is awaited.
fn idle(groups: &[String], found: &ByName<'_>) -> Option<Loaded> {
    let of = |name: &String| -> Option<Option<Timestamp>> {
        let mut latest = None;
        for group in found.get(name.as_str())? {
            match group.idle? {
                Idle::Never => {}
                Idle::Since(at) => latest = latest.max(Some(at)),
            }
        }
        Some(latest)
    };
    let mut never = true;
    for name in groups {
        match of(name) {
            Some(since @ Some(_)) => return Some(Loaded::Idle { group: name.clone(), since }),
            Some(None) => {}
            None => never = false,
        }
    }
    groups.first().filter(|_| never).map(|group| Loaded::Idle { group: group.clone(), since: None })
}
