//! What is YAML and yet no JSON: other programs read a file of JSON more strictly than it is read here.

use serde_json::Value;

use super::tree::{Fault, Pos};

/// More commas than this are told one by one by nobody.
const MOST: usize = 20;

/// Whether a file of this name and text is meant as JSON: kubectl too judges by the first character.
pub fn is_meant(name: &str, text: &str) -> bool {
    name.ends_with(".json") && text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '['])
}

/// What a reader of JSON refuses: each comma too many, and the first of everything else.
pub fn faults(text: &str) -> Vec<Fault> {
    let mut text = text.replacen('\u{feff}', " ", usize::from(text.starts_with('\u{feff}')));
    let mut faults = Vec::new();
    while faults.len() < MOST {
        let error = serde_json::Deserializer::from_str(&text).into_iter::<Value>().find_map(Result::err);
        let Some(error) = error else { break };
        let at = offset(&text, error.line(), error.column());
        let comma = (error.to_string().starts_with("trailing comma"))
            .then(|| text.get(..at).and_then(|before| before.rfind(',')))
            .flatten();
        let place = |at: usize, width: usize| {
            let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
            let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            Pos { start: clamp(at), end: clamp(at + width), line: clamp(line) }
        };
        let Some(comma) = comma else {
            let words = error.to_string();
            let words = words.split(" at line ").next().unwrap_or_default();
            faults.push(Fault {
                pos: place(at, 1),
                message: "this is not JSON".to_owned(),
                label: words.to_owned(),
                help: "mend it, or let the file's name end in .yaml if it is meant as YAML".to_owned(),
            });
            break;
        };
        faults.push(Fault {
            pos: place(comma, 1),
            message: "a comma follows the last entry".to_owned(),
            label: "JSON has none before a closing bracket".to_owned(),
            help: "remove it".to_owned(),
        });
        text.replace_range(comma..=comma, " ");
    }
    faults
}

/// The byte at a line and column, both from one.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_comma_too_many_is_found() {
        let text = "{\n  \"ä\": [1, 2,],\n  \"b\": {\"c\": \"x,\",},\n}\n";
        let found: Vec<(u32, &str)> = faults(text)
            .iter()
            .map(|fault| (fault.pos.line, &text[fault.pos.start as usize..fault.pos.end as usize]))
            .collect();
        assert_eq!(found, [(2, ","), (3, ","), (3, ",")]);
        let columns: Vec<u32> = faults(text).iter().map(|fault| fault.pos.start).collect();
        assert_eq!(columns, [15, 36, 38], "{text}");
    }

    #[test]
    fn json_and_what_is_not() {
        for text in ["{}", "\u{feff}{\"a\": 1}", "{\"a\": 1}\n{\"b\": 2}", "[]", "{\"a\": \",}\"}"] {
            assert_eq!(faults(text), [], "{text}");
        }
        for (text, label) in [
            ("{'a': 1}", "key must be a string"),
            ("{\"a\": 1 # why\n}", "expected `,` or `}`"),
            ("{\"a\": yes}", "expected value"),
            ("{\"a\": 1", "EOF while parsing an object"),
        ] {
            let labels: Vec<String> = faults(text).into_iter().map(|fault| fault.label).collect();
            assert_eq!(labels, [label], "{text}");
        }
        assert!(is_meant("a.json", "\u{feff} {") && !is_meant("a.json", "a: 1") && !is_meant("a.yaml", "{}"));
    }
}
