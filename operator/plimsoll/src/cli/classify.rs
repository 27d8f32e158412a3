//! What a document of a file is: an object of ours, or of whom.

use plimsoll_api::{API_VERSION, GROUP, Problem, VERSION, shape};

use super::{
    foreign,
    kinds::{self, AnyKind},
};
use crate::source::{
    Node,
    tree::{Data, Entry},
};

/// What a document is.
pub(super) enum Document {
    Object(AnyKind),
    List,
    Foreign,
    /// Foreign, by an API of this name, with a kind of ours.
    Namesake(AnyKind, String),
    /// Of another SLO tool.
    Tool(Problem),
    Wrong(Problem),
}

/// What kind of thing this is, by `apiVersion` and `kind`.
pub(super) fn classify(node: &Node<'_>, named: bool) -> Document {
    let Data::Map(entries) = &node.data else {
        let what = if matches!(node.data, Data::List(_)) { "a list" } else { "text" };
        return if named {
            Document::Wrong(
                Problem::error("", format!("this is {what}, not a Kubernetes object"))
                    .help(format!("begin with apiVersion: {API_VERSION} and kind: SLO, AlertRule or Runbook")),
            )
        } else {
            Document::Foreign
        };
    };
    if let Some(problem) = foreign::problem(node, named) {
        return Document::Tool(problem);
    }
    let text = |key| node.get(key).and_then(Node::as_str).filter(|s| !s.is_empty());
    let kind = text("kind");
    let Some(api_version) = text("apiVersion") else {
        // In a directory, files for other programs are no mistake; an object without apiVersion is.
        let looks_ours = kind.is_none_or(|k| AnyKind::parse(k).is_some())
            && entries.iter().any(|e: &Entry<'_>| matches!(e.key.as_ref(), "apiVersion" | "kind" | "spec"));
        return if named || looks_ours {
            Document::Wrong(
                Problem::error("apiVersion", "apiVersion is missing").help(format!("add apiVersion: {API_VERSION}")),
            )
        } else {
            Document::Foreign
        };
    };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if kind.is_some_and(|k| k == "List" && api_version == "v1") || kind.is_some_and(|k| is_our_list(group, k)) {
        return Document::List;
    }
    if api_version == VERSION {
        return Document::Wrong(
            Problem::error("apiVersion", "apiVersion lacks its group").help(format!("write apiVersion: {API_VERSION}")),
        );
    }
    if group != GROUP {
        let near = shape::suggest(group, &[GROUP]);
        return match kind.and_then(AnyKind::parse) {
            Some(_) if near.starts_with("did you mean") => {
                Document::Wrong(Problem::error("apiVersion", format!("unknown API group {group}")).help(near))
            }
            Some(kind) => Document::Namesake(kind, api_version.to_owned()),
            None => Document::Foreign,
        };
    }
    if version != VERSION {
        return Document::Wrong(
            Problem::error("apiVersion", format!("{GROUP} has no version {version}"))
                .help(format!("write apiVersion: {API_VERSION}")),
        );
    }
    match kind {
        None => Document::Wrong(Problem::error("kind", "kind is missing").help("add kind: SLO, AlertRule or Runbook")),
        Some(kind) => AnyKind::parse(kind).map_or_else(
            || {
                Document::Wrong(
                    Problem::error("kind", format!("{GROUP} has no kind {kind}"))
                        .help(shape::suggest(kind, &kinds::names())),
                )
            },
            Document::Object,
        ),
    }
}

fn is_our_list(group: &str, kind: &str) -> bool {
    group == GROUP && kind.strip_suffix("List").is_some_and(|k| AnyKind::parse(k).is_some())
}
