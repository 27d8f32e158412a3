//! Files of other SLO tools, told by name: who gives them to us is about to move, or has named the wrong one.

use plimsoll_api::{Level, Problem};

use crate::source::{Node, tree::Data};

/// The page that says how to move.
const PAGE: &str = "docs/recipes/migrate.md";

/// A tool, and what its files are.
struct Tool {
    /// With its article.
    name: &'static str,
    /// Groups of its API.
    groups: &'static [&'static str],
    /// Whether a file without an API is its.
    is_plain: fn(&Node<'_>) -> bool,
}

const TOOLS: [Tool; 3] = [
    Tool { name: "a Sloth", groups: &["sloth.slok.dev"], is_plain: is_sloth },
    Tool { name: "a Pyrra", groups: &["pyrra.dev"], is_plain: |_| false },
    Tool { name: "an OpenSLO", groups: &["openslo", "openslo.com"], is_plain: |_| false },
];

/// Sloth's own form: `version: prometheus/v1` and a list of SLOs.
fn is_sloth(node: &Node<'_>) -> bool {
    let version = node.get("version").and_then(Node::as_str).unwrap_or_default();
    version.starts_with("prometheus/") && node.get("slos").is_some_and(|slos| matches!(slos.data, Data::List(_)))
}

/// What is said of a document of another SLO tool: an error where its file was named itself, since nothing comes of it.
pub(super) fn problem(node: &Node<'_>, named: bool) -> Option<Problem> {
    let api = node.get("apiVersion").and_then(Node::as_str);
    let group = api.map(|api| api.split('/').next().unwrap_or_default());
    let tool = TOOLS.iter().find(|tool| match group {
        Some(group) => tool.groups.contains(&group),
        None => (tool.is_plain)(node),
    })?;
    let field = if api.is_some() { "apiVersion" } else { "version" };
    let problem = Problem::warning(field, format!("this is {} file, which Plimsoll does not read", tool.name))
        .help(format!("write it as an SLO: {PAGE} says which field becomes which"));
    Some(if named { Problem { level: Level::Error, ..problem } } else { problem })
}
