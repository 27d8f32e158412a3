//! First step: everything else that this SLO depends on, looked up. It judges nothing.

use std::{collections::BTreeSet, sync::Arc};

use kube::Resource;

use super::stored::Stored;
use crate::sinks::{RuleSink, Sinks};

/// The backend of an SLO that names none.
pub const DEFAULT_BACKEND: &str = "default";

/// An SLO with what it refers to.
#[derive(Debug)]
pub struct Dereferenced {
    /// The SLO.
    pub stored: Arc<Stored>,
    /// Its backend, or the names of those that exist.
    pub backend: Result<Arc<dyn RuleSink>, Vec<String>>,
    /// Parts that do not exist.
    pub missing: Vec<String>,
    /// The way from this SLO over its parts back to itself, if there is one.
    pub cycle: Option<Vec<String>>,
}

/// Finds SLOs of the cluster by namespace and name.
pub trait Lookup {
    /// Names of the parts of this SLO; `None` when it does not exist.
    fn parts(&self, namespace: &str, name: &str) -> Option<Vec<String>>;
}

/// Looks up what `stored` refers to.
pub fn dereference(stored: Arc<Stored>, sinks: &Sinks, slos: &impl Lookup) -> Dereferenced {
    let metadata = stored.meta();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    let backend = sinks
        .get(stored.backend().unwrap_or(DEFAULT_BACKEND))
        .cloned()
        .ok_or_else(|| sinks.names().into_iter().map(str::to_owned).collect());
    let parts = stored.parts();
    let missing = parts.iter().filter(|part| slos.parts(namespace, part).is_none()).cloned().collect();
    let cycle = find_cycle(name, parts, |part| slos.parts(namespace, part));
    Dereferenced { backend, missing, cycle, stored }
}

/// A depth-first walk; every SLO is visited once, so that it ends also where others form a cycle.
fn find_cycle(start: &str, parts: Vec<String>, children: impl Fn(&str) -> Option<Vec<String>>) -> Option<Vec<String>> {
    let mut path = vec![start.to_owned()];
    let mut open = vec![parts.into_iter()];
    let mut seen: BTreeSet<String> = BTreeSet::new();
    while let Some(level) = open.last_mut() {
        match level.next() {
            Some(part) if part == start => {
                path.push(part);
                return Some(path);
            }
            Some(part) => {
                if seen.insert(part.clone())
                    && let Some(next) = children(&part).filter(|next| !next.is_empty())
                {
                    path.push(part);
                    open.push(next.into_iter());
                }
            }
            None => {
                open.pop();
                path.pop();
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycle_of(start: &str, graph: &[(&str, &[&str])]) -> Option<Vec<String>> {
        let children = |name: &str| {
            graph.iter().find(|(n, _)| *n == name).map(|(_, c)| c.iter().map(|s| (*s).to_owned()).collect())
        };
        find_cycle(start, children(start).unwrap_or_default(), children)
    }

    #[test]
    fn cycles_are_named() {
        let named = |names: &[&str]| Some(names.iter().map(|s| (*s).to_owned()).collect());
        assert_eq!(cycle_of("a", &[("a", &["a"])]), named(&["a", "a"]));
        let graph: &[(&str, &[&str])] = &[("a", &["x", "b"]), ("b", &["c"]), ("c", &["x", "a"]), ("x", &[])];
        assert_eq!(cycle_of("a", graph), named(&["a", "b", "c", "a"]));
        // Leads to a cycle of others, and must end.
        assert_eq!(cycle_of("d", &[("d", &["a"]), ("a", &["b"]), ("b", &["a"])]), None);
        // Twice the same part is no cycle.
        assert_eq!(cycle_of("a", &[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]), None);
    }
}
