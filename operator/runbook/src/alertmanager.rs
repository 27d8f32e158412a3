//! What Alertmanager's webhook sends (version 4), as far as it is read. Unknown fields are left alone; what is read
//! must be what it should be.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::matching::Alert;

/// The version that is understood.
pub const VERSION: &str = "4";

/// A message that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Received {
    /// Its alerts, in its order.
    pub alerts: Vec<Alert>,
    /// How many alerts of the group were left out: they must be asked for.
    pub truncated: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    version: Option<String>,
    alerts: Option<Vec<Value>>,
    truncated_alerts: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    status: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    #[serde(default)]
    fingerprint: String,
}

/// Reads a message.
///
/// # Errors
/// What it is not, a sentence without a full stop; then nothing of it is taken.
pub fn message(value: Value) -> Result<Received, String> {
    let Message { version, alerts, truncated_alerts } =
        serde_json::from_value(value).map_err(|error| format!("this is no message of Alertmanager: {error}"))?;
    match version.as_deref() {
        Some(VERSION) => {}
        Some(other) => return Err(format!("this is version {other} of Alertmanager's webhook, not {VERSION}")),
        None => return Err("this is no message of Alertmanager: it has no version".to_owned()),
    }
    let alerts = alerts.unwrap_or_default();
    let alerts =
        alerts.into_iter().enumerate().map(|(i, item)| alert(item).map_err(|why| format!("alerts[{i}]: {why}")));
    Ok(Received { alerts: alerts.collect::<Result<_, _>>()?, truncated: truncated_alerts.unwrap_or(0) })
}

/// Reads one alert, of a message or of Alertmanager's API.
///
/// # Errors
/// What it is not, a sentence without a full stop.
pub fn alert(value: Value) -> Result<Alert, String> {
    let Item { status, labels, annotations, starts_at, ends_at, fingerprint } =
        serde_json::from_value(value).map_err(|error| format!("this is no alert: {error}"))?;
    if labels.is_empty() {
        return Err("this is no alert: it has no labels".to_owned());
    }
    let firing = match status.as_deref() {
        Some("firing") | None => true,
        Some("resolved") => false,
        Some(other) => return Err(format!("status is firing or resolved, not {other}")),
    };
    let starts_at = starts_at.ok_or("startsAt is missing")?;
    let named = annotations.get("runbooks").map(String::as_str).unwrap_or_default();
    let runbooks = named.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    // While an alert fires, its end is in the year 1 or in the future: a guess of when it would be over.
    let ends_at = ends_at.filter(|_| !firing);
    Ok(Alert { labels, fingerprint, starts_at, firing, ends_at, runbooks })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Change<'c> = &'c dyn Fn(&mut Value);

    #[test]
    fn messages_are_taken_whole_or_not_at_all() {
        let item = json!({
            "status": "firing", "labels": {"alertname": "A"}, "annotations": {"runbooks": "a, b"},
            "startsAt": "2026-11-26T12:00:00.5Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "f", "new": 1,
        });
        let with = |change: Change<'_>| {
            let mut whole = json!({"version": "4", "alerts": [item.clone()], "truncatedAlerts": 2, "groupKey": "{}"});
            change(&mut whole);
            message(whole)
        };
        let read = with(&|_| ()).expect("a message");
        assert_eq!((read.truncated, read.alerts.len()), (2, 1));
        let first = read.alerts.first().expect("an alert");
        assert_eq!((first.firing, first.ends_at, first.runbooks.len()), (true, None, 2));
        assert_eq!(with(&|m| m["alerts"] = json!(null)).map(|read| read.alerts), Ok(Vec::new()));
        let resolved = with(&|m| {
            m["alerts"][0]["status"] = json!("resolved");
            m["alerts"][0]["endsAt"] = json!("2026-11-26T12:05:00Z");
        });
        assert_eq!(resolved.map(|r| r.alerts.first().and_then(|a| a.ends_at).is_some()), Ok(true));
        let cases: [(Change<'_>, &str); 5] = [
            (&|m| m["version"] = json!("3"), "this is version 3 of Alertmanager's webhook, not 4"),
            (&|m| m["version"] = json!(null), "this is no message of Alertmanager: it has no version"),
            (&|m| m["alerts"][0]["labels"] = json!({}), "alerts[0]: this is no alert: it has no labels"),
            (&|m| m["alerts"][0]["startsAt"] = json!(null), "alerts[0]: startsAt is missing"),
            (&|m| m["alerts"][0]["status"] = json!("odd"), "alerts[0]: status is firing or resolved, not odd"),
        ];
        for (change, why) in cases {
            assert_eq!(with(change), Err(why.to_owned()));
        }
        assert!(with(&|m| m["alerts"][0]["startsAt"] = json!("yesterday")).is_err());
    }
}
