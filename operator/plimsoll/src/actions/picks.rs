//! What one answer says that the next request needs: names of objects, as parts of paths.

use plimsoll_runbook::requests::{Call, Pick};
use serde_json::Value;

/// The paths of a call: of one about what was picked, a path for each.
pub(super) fn paths(call: &Call, picked: &[String]) -> Vec<String> {
    const PICKED: &str = "{picked}";
    let path = &call.request.path;
    if path.contains(PICKED) {
        picked.iter().map(|one| path.replace(PICKED, one)).collect()
    } else {
        vec![path.clone()]
    }
}

/// What an answer has at the places that are meant.
pub(super) fn picks_of(answer: &Value, pick: &Pick) -> Vec<String> {
    let list = answer.pointer(pick.list).and_then(Value::as_array).into_iter().flatten();
    let text = |entry: &Value, pointer: &str| entry.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let meant = list
        .filter(|entry| {
            let by = pick.entry.as_ref();
            by.is_none_or(|(field, value)| entry.get(field).and_then(Value::as_str) == Some(value))
        })
        .filter(|entry| {
            let is = |(pointer, values): (&str, &[&str])| {
                text(entry, pointer).is_some_and(|is| values.contains(&is.as_str()))
            };
            pick.only.is_none_or(is)
        })
        .filter_map(|entry| entry.pointer(pick.take))
        .map(|taken| taken.as_str().map_or_else(|| taken.to_string(), str::to_owned))
        // It becomes a part of a path.
        .map(|text| percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string());
    meant.take(if pick.each { usize::MAX } else { 1 }).collect()
}
