//! Positions: what is underlined is what the value was written as.

use std::{fmt::Write as _, ops::Range};

use proptest::prelude::*;

use super::{
    Documents, Fault, Node,
    path::{find, place},
    tree::Data,
};

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
    Folded,
}

#[derive(Clone, Debug)]
enum Tree {
    Scalar(String, Style),
    List(Vec<Tree>, bool),
    Map(Vec<(String, Tree)>, bool),
}

fn tree() -> impl Strategy<Value = Tree> {
    let plain = "[a-z(][a-z0-9(){}=~ü🧀/*+-]{0,12}( [a-z(][a-z0-9()/]{0,5}){0,3}";
    let wild = "[ -~\u{e4}\u{1F9C0}\\n\\t\u{85}\u{2028}]{0,20}";
    let line = "[a-z(][ -~\u{e4}\u{1F9C0}]{0,14}[a-z)]";
    let lines = proptest::collection::vec(line, 1..4).prop_map(|l| l.join("\n"));
    let leaf = prop_oneof![
        plain.prop_map(|t: String| Tree::Scalar(t, Style::Plain)),
        "[ -~\u{e4}\u{1F9C0}]{0,20}".prop_map(|t: String| Tree::Scalar(t, Style::Single)),
        wild.prop_map(|t: String| Tree::Scalar(t, Style::Double)),
        lines.clone().prop_map(|t| Tree::Scalar(t, Style::Literal)),
        lines.prop_map(|t| Tree::Scalar(t, Style::Folded)),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let key = "[a-z]{1,5}([./][a-z]{1,4})?";
        prop_oneof![
            (proptest::collection::vec(inner.clone(), 1..5), any::<bool>()).prop_map(|(l, f)| Tree::List(l, f)),
            (proptest::collection::btree_map(key, inner, 1..5), any::<bool>())
                .prop_map(|(m, f)| Tree::Map(m.into_iter().collect(), f)),
        ]
    })
}

/// A leaf as it was written.
struct Leaf {
    path: String,
    value: String,
    style: Style,
    at: Range<usize>,
}

/// Writes YAML and notes where each leaf went.
#[derive(Default)]
struct Writer {
    out: String,
    leaves: Vec<Leaf>,
}

impl Writer {
    fn value(&mut self, tree: &Tree, path: &str, indent: usize, flow: bool) {
        match tree {
            Tree::Scalar(text, style) => self.scalar(text, *style, path, indent, flow),
            Tree::List(items, brackets) if flow || *brackets => {
                self.out.push('[');
                for (i, item) in items.iter().enumerate() {
                    self.out += if i > 0 { ", " } else { "" };
                    self.value(item, &format!("{path}[{i}]"), indent, true);
                }
                self.out.push(']');
            }
            Tree::Map(entries, braces) if flow || *braces => {
                self.out.push('{');
                for (i, (key, item)) in entries.iter().enumerate() {
                    self.out += if i > 0 { ",  " } else { "" };
                    let _ = write!(self.out, "{key}: ");
                    self.value(item, &join(path, key), indent, true);
                }
                self.out.push('}');
            }
            Tree::List(items, _) => {
                for (i, item) in items.iter().enumerate() {
                    let _ = write!(self.out, "\n{}- ", " ".repeat(indent));
                    self.value(item, &format!("{path}[{i}]"), indent + 2, false);
                }
            }
            Tree::Map(entries, _) => {
                for (key, item) in entries {
                    let _ = write!(self.out, "\n{}{key}: ", " ".repeat(indent));
                    self.value(item, &join(path, key), indent + 2, false);
                }
            }
        }
    }

    fn scalar(&mut self, text: &str, style: Style, path: &str, indent: usize, flow: bool) {
        let block = matches!(style, Style::Literal | Style::Folded);
        let style = match style {
            Style::Literal | Style::Folded if flow => Style::Double,
            Style::Plain if flow && text.contains(['{', '}', ',', '[', ']']) => Style::Single,
            other => other,
        };
        let mut start = self.out.len();
        match style {
            Style::Plain => self.out += text,
            Style::Single => {
                let _ = write!(self.out, "'{}'", text.replace('\'', "''"));
            }
            Style::Double => {
                let escaped: String = text
                    .chars()
                    .map(|c| match c {
                        '"' | '\\' => format!("\\{c}"),
                        '\n' => "\\n".to_owned(),
                        '\u{85}' => "\\N".to_owned(),
                        '\u{2028}' => "\\u2028".to_owned(),
                        '\u{1F9C0}' => "\\ud83e\\uddc0".to_owned(),
                        c => c.to_string(),
                    })
                    .collect();
                let _ = write!(self.out, "\"{escaped}\"");
            }
            Style::Literal | Style::Folded => {
                self.out += if style == Style::Literal { "|-" } else { ">-" };
                let pad = " ".repeat(indent + 2);
                let gap = if style == Style::Literal { "\n" } else { "\n\n" };
                let body = text.split('\n').map(|l| format!("{pad}{l}")).collect::<Vec<_>>().join(gap);
                let _ = write!(self.out, "\n{body}");
                start = self.out.len() - body.len() + pad.len();
            }
        }
        let _ = block;
        let at = start..self.out.len();
        self.leaves.push(Leaf { path: path.to_owned(), value: text.to_owned(), style, at });
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn read(text: &str) -> Node<'_> {
    let read = Documents::new(text).next().unwrap_or_else(|| panic!("nothing in {text}"));
    assert_eq!(read.faults, [], "{text}");
    read.node.unwrap_or_else(|| panic!("nothing in {text}"))
}

/// Takes the notation off a part of a scalar.
fn unquote(part: &str, style: Style) -> String {
    match style {
        Style::Single => part.replace("''", "'"),
        Style::Double => serde_saphyr::from_str(&format!("\"{part}\"")).unwrap(),
        Style::Plain | Style::Literal | Style::Folded => part.to_owned(),
    }
}

proptest! {
    #[test]
    fn every_value_is_found_where_it_was_written(tree in tree(), cut in (0.0f64..1.0, 0.0f64..1.0)) {
        // A file holds a map; a key that is the beginning of another with a dot is ambiguous.
        let mut writer = Writer::default();
        writer.value(&Tree::Map(vec![("root".to_owned(), tree)], false), "", 0, false);
        let Writer { out, leaves } = writer;
        let root = read(&out);
        for leaf in &leaves {
            let found = find(&root, &leaf.path);
            prop_assert!(found.exact, "{} in\n{out}", leaf.path);
            let Data::Scalar { text, .. } = &found.node.data else { panic!("{} in\n{out}", leaf.path) };
            prop_assert_eq!(text.as_ref(), leaf.value.as_str(), "{} in\n{}", leaf.path, out);
            prop_assert_eq!(found.node.pos.start as usize, leaf.at.start, "{} in\n{}", leaf.path, out);
            prop_assert_eq!(found.node.pos.line as usize, out[..leaf.at.start].matches('\n').count() + 1);

            // A part of one line of the value.
            let chars: Vec<(usize, char)> = leaf.value.char_indices().collect();
            if chars.is_empty() { continue; }
            let pick = |f: f64| ((f * chars.len() as f64) as usize).min(chars.len() - 1);
            let (a, b) = (pick(cut.0.min(cut.1)), pick(cut.0.max(cut.1)));
            let span = chars[a].0..chars[b].0 + chars[b].1.len_utf8();
            let part = &leaf.value[span.clone()];
            if part.contains('\n') && leaf.style != Style::Double { continue; }
            let pos = place(&root, &out, &leaf.path, Some(&span), false);
            let shown = &out[pos.start as usize..pos.end as usize];
            prop_assert_eq!(unquote(shown, leaf.style), part, "{:?} of {} in\n{}", span, leaf.path, out);
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in "[ -~\\n\\t\u{feff}\u{e4}&*|>{}\\[\\]\"'#:-]{0,200}", at in 0usize..300, len in 0usize..50) {
        for node in Documents::new(&text).filter_map(|read| read.node) {
            let _ = node.to_json();
            for path in ["", "a", "a.b", "[0]", "[0].a[1]"] {
                let pos = place(&node, &text, path, Some(&(at..at + len)), false);
                prop_assert!(pos.start as usize <= text.len());
            }
        }
    }
}

#[test]
fn folded_lines_are_followed() {
    let text = "\
a: >-
  one two
  three

  four
b: 'it''s
  here'
c: \"x \\
  y\"
d: plain
  words
";
    let root = read(text);
    for (path, part, shown) in [
        ("a", "three", "three"),
        ("a", "four", "four"),
        ("b", "'s", "''s"),
        ("b", "here", "here"),
        ("c", "y", "y"),
        ("d", "words", "words"),
        ("a", " three", " three"),
    ] {
        let Data::Scalar { text: value, .. } = &find(&root, path).node.data else { panic!("{path}") };
        let at = value.find(part).unwrap();
        let pos = place(&root, text, path, Some(&(at..at + part.len())), false);
        let found = text[pos.start as usize..pos.end as usize].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(found, shown.trim(), "{path} {part}");
    }
}

#[test]
fn the_nearest_parent_stands_for_what_is_missing() {
    let text = "a:\n  b:\n  - c: 1\n  x.y/z: 2\n";
    let root = read(text);
    for (path, shown) in [
        ("a.b[0].c", "1"),
        ("a.b[0].d", "c: 1"),
        ("a.b[3].c", "b"),
        ("a.nothing.at.all", "a"),
        ("a.x.y/z", "2"),
        ("", "a:"),
    ] {
        let pos = place(&root, text, path, None, false);
        assert_eq!(&text[pos.start as usize..pos.end as usize], shown, "{path}");
    }
    let pos = place(&root, text, "a.x.y/z", None, true);
    assert_eq!(&text[pos.start as usize..pos.end as usize], "x.y/z");
}

#[test]
fn huge_maps_take_no_time() {
    let text: String = (0..100_000).map(|i| format!("k{i}: 1\n")).collect::<String>() + "k7: 2\n";
    let read = Documents::new(&text).next().unwrap();
    assert_eq!(read.faults[0].label, "first on line 8");
    assert!(read.node.is_some(), "the rest is read all the same");
}

/// To look through all of a text for a merge conflict at each of its faults takes minutes.
#[test]
fn a_text_of_nothing_but_faults_is_read_once() {
    const MANY: usize = 60_000;
    let faults: Vec<Vec<Fault>> = Documents::new(&"---\n]\n".repeat(MANY)).map(|read| read.faults).collect();
    assert_eq!(faults.len(), MANY);
    assert!(
        faults.iter().all(|faults| faults.len() == 1 && faults.iter().all(|fault| fault.message != "a merge conflict"))
    );
    // One at the end is what all of them are.
    let text = format!("{}<<<<<<< ours\n", "---\n]\n".repeat(3));
    let faults: Vec<Fault> = Documents::new(&text).flat_map(|read| read.faults).collect();
    assert!(
        !faults.is_empty() && faults.iter().all(|fault| fault.message == "a merge conflict" && fault.pos.line == 7)
    );
}

/// Each one costs the length of its line, which is all of the text, so that their number must have a bound.
#[test]
fn very_many_faults_of_a_document_are_counted() {
    const MANY: usize = 5000;
    let text = format!("{{{}}}", "[a]: 1, ".repeat(MANY));
    let read = Documents::new(&text).next().unwrap();
    assert!(read.node.is_none());
    assert_eq!(read.faults.len(), 101);
    let last = read.faults.last().unwrap();
    assert_eq!(last.message, format!("{} more mistakes in this document", MANY - 100));
    assert_eq!(read.faults.iter().filter(|fault| fault.pos == last.pos).count(), 2);
}

/// Prose beside Prometheus' own templates may include any word: what is wrong elsewhere must be told.
#[test]
fn only_what_a_chart_fills_in_makes_a_text_its_template() {
    for (braces, template) in [
        ("{{ $labels.pod }} is down; alerts include pods of a .Release that never began", false),
        ("{{ $labels.pod }} has {{ .Values.limit }}", true),
        ("{{ include \"x.name\" . }} {{", true),
        ("{{", false),
    ] {
        let text = format!("rules:\n  - summary: '{braces}'\n    oops\n    a: b\n");
        let faults: Vec<Fault> = Documents::new(&text).flat_map(|read| read.faults).collect();
        let told = faults.iter().any(|fault| fault.message == "a template that was not rendered");
        assert_eq!((told, faults.is_empty()), (template, false), "{braces}: {faults:?}");
    }
}
