//! From a field's path to the place in the text that a person has to look at.

use super::{
    inner,
    tree::{Data, Node, Pos},
};

/// What a path points at.
#[derive(Clone, Copy, Debug)]
pub struct Found<'n, 'a> {
    /// The value, or the nearest parent that exists.
    pub node: &'n Node<'a>,
    /// The key that leads there; none for the root and for entries of a list.
    pub key: Option<Pos>,
    /// False when only a parent exists.
    pub exact: bool,
}

/// Follows a path such as `spec.alerting.tiers[1].longWindow`. A key may hold dots itself, as label
/// names do, so the longest key that fits is taken.
pub fn find<'n, 'a>(root: &'n Node<'a>, path: &str) -> Found<'n, 'a> {
    let mut found = Found { node: root, key: None, exact: true };
    let mut rest = path;
    while !rest.is_empty() {
        let step = match (&found.node.data, rest.strip_prefix('[')) {
            (Data::List(items), Some(tail)) => tail.split_once(']').and_then(|(index, tail)| {
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((None, item, tail))
            }),
            (Data::Map(entries), _) => entries
                .iter()
                .filter_map(|e| {
                    let tail = rest.strip_prefix(e.key.as_ref())?;
                    (!e.key.is_empty() && (tail.is_empty() || tail.starts_with(['.', '[']))).then_some((
                        Some(e.pos),
                        &e.value,
                        tail,
                    ))
                })
                .min_by_key(|(_, _, tail)| tail.len()),
            _ => None,
        };
        let Some((key, node, tail)) = step else {
            found.exact = false;
            return found;
        };
        found = Found { node, key, exact: true };
        rest = tail.strip_prefix('.').unwrap_or(tail);
    }
    found
}

/// The bytes to underline for a problem at `path`, of which `span` is the part of the value meant.
///
/// A scalar is underlined itself, a list or map by its key, a missing field by its parent's key.
/// With `key`, the key is meant and not the value.
pub fn place(root: &Node<'_>, text: &str, path: &str, span: Option<&std::ops::Range<usize>>, key: bool) -> Pos {
    let found = find(root, path);
    let scalar = matches!(found.node.data, Data::Scalar { .. });
    match found.key {
        Some(pos) if key || !scalar || !found.exact || found.node.is_null() => return pos,
        _ => {}
    }
    if !scalar {
        return opening(found.node, text);
    }
    span.filter(|_| found.exact)
        .and_then(|span| inner::place(found.node, text, span))
        .unwrap_or_else(|| inner::first_line(found.node, text))
}

/// The beginning of a list or map that has no key: of its first line, what belongs to it.
fn opening(node: &Node<'_>, text: &str) -> Pos {
    let start = node.pos.start as usize;
    // Where its end is known, no more is looked at: a line may hold any number of lists.
    let whole = Some(node.pos.end as usize).filter(|end| *end > start);
    let rest = text.get(start..whole.unwrap_or(text.len())).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    let len = line.trim_end().len();
    Pos { end: node.pos.start + u32::try_from(len).unwrap_or(0), ..node.pos }
}
