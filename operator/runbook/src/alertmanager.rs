//! What Alertmanager says: posts of its webhook (version 4) and answers of its API, read tolerantly where they may grow,
//! strictly where they are acted upon. One reader for the operator and the command line, so that what a dry run takes is
//! what the webhook takes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::{matching, names::whole};

/// Alerts in one post. Alertmanager's `max_alerts` limits them, and the rest is told by `truncatedAlerts`.
pub const MOST_ALERTS: usize = 5000;
/// Labels of one alert, as many as an execution stores.
const MOST_LABELS: usize = 64;
/// Bytes of the labels of one alert.
const MOST_LABEL_BYTES: usize = 16 << 10;
/// Runbooks that an annotation names.
const MOST_NAMED: usize = 32;
/// Clocks of servers differ; more than this is no clock.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Alertmanager's hash of the labels: hexadecimal digits.
    pub fingerprint: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// Since when it does not any more; none while it fires.
    pub resolved_at: Option<Timestamp>,
    /// The runbooks that its annotation `runbooks` names. In a cluster the SLO itself is asked which it names.
    pub named: Vec<String>,
}

impl Alert {
    /// As what happened, for runbooks of these names among others.
    pub fn occurred(self, runbooks: Vec<String>) -> matching::Alert {
        let Self { fingerprint, labels, starts_at, resolved_at, named: _ } = self;
        matching::Alert {
            labels,
            fingerprint,
            starts_at,
            firing: resolved_at.is_none(),
            ends_at: resolved_at,
            runbooks,
        }
    }
}

/// A post that was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// Its alerts.
    pub alerts: Vec<Alert>,
    /// Why some of them cannot be acted upon: `alerts[3].startsAt: …`.
    pub malformed: Vec<String>,
    /// How many more there are that it does not contain.
    pub truncated: u64,
}

/// What a file of a person holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Its alerts.
    pub alerts: Vec<Alert>,
    /// Those that start nothing, each with why.
    pub quiet: Vec<(Alert, &'static str)>,
}

/// Why a post is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// It can never be.
    #[error("{0}")]
    Malformed(String),
    /// It has more alerts than are stored at once.
    #[error("it has {0} alerts, more than {MOST_ALERTS}; set max_alerts in Alertmanager's webhook_config")]
    TooMany(usize),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    version: String,
    // Go writes an empty list as null.
    alerts: Option<Vec<RawAlert>>,
    #[serde(default)]
    truncated_alerts: u64,
}

/// An alert as the webhook and the API of Alertmanager write it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAlert {
    status: RawStatus,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: Annotations,
    starts_at: String,
    #[serde(default)]
    ends_at: String,
    #[serde(default)]
    fingerprint: String,
}

/// What is said about an alert; only which runbooks are for it is read.
#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(default)]
    runbooks: Option<Value>,
}

/// `"firing"` in a post, `{"state": "active"}` in the API.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawStatus {
    Word(String),
    Object { state: String },
}

/// Reads a post.
///
/// # Errors
/// When nothing of it can be used.
pub fn read(body: &[u8], now: Timestamp) -> Result<Post, PayloadError> {
    message(body, Some(now))
}

fn message(body: &[u8], now: Option<Timestamp>) -> Result<Post, PayloadError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let raw: Raw = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        PayloadError::Malformed(format!("{path}: {}", error.inner()))
    })?;
    reader.end().map_err(|error| PayloadError::Malformed(format!("after the payload: {error}")))?;
    if raw.version != "4" {
        let version: String = raw.version.chars().take(32).collect();
        return Err(PayloadError::Malformed(format!("version: {version:?} is not known; Alertmanager sends \"4\"")));
    }
    let alerts = raw.alerts.unwrap_or_default();
    if alerts.len() > MOST_ALERTS {
        return Err(PayloadError::TooMany(alerts.len()));
    }
    Ok(post(alerts, raw.truncated_alerts, now))
}

/// The path by which Alertmanager is asked for its active alerts: those that it routes to a receiver, where one is named.
pub fn path(receiver: Option<&str>) -> String {
    let of_receiver = receiver.map(|name| {
        // Alertmanager reads a regular expression for the whole name. A name in a class of one is the name itself.
        let exact: String = name
            .chars()
            .map(|c| match c {
                '\\' | '^' => format!("\\{c}"),
                c if c.is_ascii_punctuation() => format!("[{c}]"),
                c => c.to_string(),
            })
            .collect();
        format!("&receiver={}", percent_encoding::utf8_percent_encode(&exact, percent_encoding::NON_ALPHANUMERIC))
    });
    let all = "/api/v2/alerts?active=true&silenced=false&inhibited=false&unprocessed=false";
    format!("{all}{}", of_receiver.unwrap_or_default())
}

/// Reads what Alertmanager's `GET /api/v2/alerts` answers.
///
/// # Errors
/// When it is no such answer.
pub fn read_api(body: &[u8], now: Timestamp) -> Result<Post, serde_json::Error> {
    // Several times as many as a post may have; the answer's bytes are bounded before.
    Ok(post(serde_json::from_slice(body)?, 0, Some(now)))
}

/// Reads a file that a person has: a post, a list of alerts as the API has them, or one alert. Nothing in it is compared
/// with a clock: it may be of any time.
///
/// # Errors
/// A sentence without a full stop, when anything of it cannot be used.
pub fn read_any(body: &[u8]) -> Result<Given, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("this is no JSON: {error}"))?;
    let of_api = |list: Value| {
        let raw: Vec<RawAlert> = serde_path_to_error::deserialize(list)
            .map_err(|error| format!("this is no alert of Alertmanager: alerts{}: {}", error.path(), error.inner()))?;
        let mut given = Given::default();
        for (i, mut raw) in raw.into_iter().enumerate() {
            let why = quiet(&raw.status);
            if why.is_some() {
                raw.status = RawStatus::Word("firing".to_owned());
            }
            let alert = alert(raw, None).map_err(|message| format!("alerts[{i}].{message}"))?;
            match why {
                Some(why) => given.quiet.push((alert, why)),
                None => given.alerts.push(alert),
            }
        }
        Ok::<_, String>(given)
    };
    match value {
        Value::Array(_) => of_api(value),
        value if value.get("alerts").is_some() => {
            let post = message(body, None).map_err(|error| format!("this is no message of Alertmanager: {error}"))?;
            match post.malformed.into_iter().next() {
                Some(malformed) => Err(malformed),
                None => Ok(Given { alerts: post.alerts, quiet: Vec::new() }),
            }
        }
        value => of_api(Value::Array(vec![value])),
    }
}

/// Why an alert starts nothing that Alertmanager's API has in this state.
fn quiet(status: &RawStatus) -> Option<&'static str> {
    match status {
        RawStatus::Object { state } if state == "suppressed" => Some("it is silenced or inhibited"),
        RawStatus::Object { state } if state == "unprocessed" => Some("Alertmanager has not looked at it yet"),
        _ => None,
    }
}

fn post(raw: Vec<RawAlert>, truncated: u64, now: Option<Timestamp>) -> Post {
    let mut post = Post { truncated, ..Post::default() };
    for (i, raw) in raw.into_iter().enumerate() {
        match alert(raw, now) {
            Ok(alert) => post.alerts.push(alert),
            Err(message) => post.malformed.push(format!("alerts[{i}].{message}")),
        }
    }
    post
}

fn alert(raw: RawAlert, now: Option<Timestamp>) -> Result<Alert, String> {
    let RawAlert { status, labels, annotations, starts_at, ends_at, fingerprint } = raw;
    let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if fingerprint.is_empty() || fingerprint.len() > 32 || !fingerprint.chars().all(hexadecimal) {
        return Err("fingerprint: hexadecimal digits are wanted".to_owned());
    }
    if labels.is_empty() {
        return Err("labels: there are none".to_owned());
    }
    if labels.len() > MOST_LABELS {
        return Err(format!("labels: {} of them, more than {MOST_LABELS}", labels.len()));
    }
    let bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MOST_LABEL_BYTES {
        return Err(format!("labels: {bytes} bytes, more than {MOST_LABEL_BYTES}"));
    }
    let time = |field: &str, text: &str| -> Result<Timestamp, String> {
        text.parse().map_err(|_| format!("{field}: a time like 2026-01-31T12:00:00Z is wanted"))
    };
    // A post has nanoseconds, the API milliseconds, an execution seconds: it is one alert.
    let starts_at = whole(time("startsAt", &starts_at)?);
    if now.is_some_and(|now| starts_at.duration_since(now) > AHEAD) {
        return Err(format!("startsAt: {starts_at} is in the future; compare the clocks"));
    }
    if starts_at < Timestamp::UNIX_EPOCH {
        return Err("startsAt: it is not set".to_owned());
    }
    // Go's zero time stands for none.
    let ends_at = if ends_at.is_empty() { None } else { Some(time("endsAt", &ends_at)?) };
    let ends_at = ends_at.filter(|at| *at > Timestamp::UNIX_EPOCH);
    let resolved_at = match status {
        RawStatus::Word(word) if word == "firing" => ends_at.filter(|at| now.is_some_and(|now| *at <= now)),
        RawStatus::Word(word) if word == "resolved" => ends_at.or(now).or(Some(starts_at)),
        RawStatus::Word(_) => return Err("status: firing or resolved is wanted".to_owned()),
        // `suppressed` is silenced or inhibited: nobody is told, so nothing is done either; `unprocessed` is new.
        RawStatus::Object { state } if state == "active" => None,
        RawStatus::Object { .. } => return Err("status.state: only active alerts are acted upon".to_owned()),
    };
    let named = annotations.runbooks.as_ref().and_then(Value::as_str).unwrap_or_default().split(',').map(str::trim);
    let named = named.filter(|name| !name.is_empty()).take(MOST_NAMED).map(str::to_owned).collect();
    Ok(Alert { fingerprint, labels, starts_at, resolved_at, named })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-11-26T12:00:00Z";

    fn given(change: impl FnOnce(&mut Value)) -> Result<Post, PayloadError> {
        let mut payload = json!({"version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing",
            "receiver": "plimsoll", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
            "externalURL": "http://am", "future": {"a": [1]},
            "alerts": [{"status": "firing", "labels": {"alertname": "PodRestarting", "pod": "a"}, "annotations": {},
                "startsAt": "2026-11-26T11:59:00.5Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "x",
                "fingerprint": "fed0123456789abc", "later": 1}]});
        change(&mut payload);
        read(payload.to_string().as_bytes(), NOW.parse().unwrap())
    }

    #[test]
    fn what_is_not_known_is_tolerated() {
        let post = given(|_| {}).unwrap();
        assert_eq!((post.malformed.len(), post.truncated), (0, 0));
        let alert = &post.alerts[0];
        assert_eq!((alert.fingerprint.as_str(), alert.resolved_at), ("fed0123456789abc", None));
        assert_eq!(alert.starts_at.to_string(), "2026-11-26T11:59:00Z");
        assert!(given(|p| p["alerts"] = Value::Null).unwrap().alerts.is_empty());
        assert!(given(|p| p["alerts"] = json!([])).unwrap().alerts.is_empty());
        assert_eq!(given(|p| p["truncatedAlerts"] = json!(7)).unwrap().truncated, 7);
    }

    #[test]
    fn what_is_routed_elsewhere_is_not_asked_for() {
        assert!(path(None).ends_with("unprocessed=false"));
        let of = |name: &str| path(Some(name)).rsplit_once("&receiver=").unwrap().1.to_owned();
        assert_eq!(of("plimsoll"), "plimsoll");
        assert_eq!(of("a.b/c^"), "a%5B%2E%5Db%5B%2F%5Dc%5C%5E");
    }

    /// Alertmanager posts nanoseconds and answers milliseconds: whoever compares or hashes them sees one alert.
    #[test]
    fn a_post_and_the_api_tell_the_same_start() {
        let posted = given(|p| p["alerts"][0]["startsAt"] = json!("2026-11-26T11:59:00.123456789Z")).unwrap();
        let answer = json!([{"labels": {"alertname": "PodRestarting", "pod": "a"}, "annotations": {},
            "startsAt": "2026-11-26T11:59:00.123Z", "endsAt": "2026-11-26T12:04:00.000Z",
            "fingerprint": "fed0123456789abc", "status": {"state": "active"}}]);
        let asked = read_api(answer.to_string().as_bytes(), NOW.parse().unwrap()).unwrap();
        assert_eq!(posted.alerts, asked.alerts);
    }

    #[test]
    fn resolved_is_what_says_so_or_has_ended() {
        let resolved = |change: fn(&mut Value)| given(|p| change(&mut p["alerts"][0])).unwrap().alerts[0].resolved_at;
        let now: Timestamp = NOW.parse().unwrap();
        assert_eq!(resolved(|a| a["status"] = json!("resolved")), Some(now));
        let ended = resolved(|a| a["endsAt"] = json!("2026-11-26T11:59:30Z"));
        assert_eq!(ended.unwrap().to_string(), "2026-11-26T11:59:30Z");
        // Prometheus says when an alert would end if it heard no more of it.
        assert_eq!(resolved(|a| a["endsAt"] = json!("2026-11-26T12:04:00Z")), None);
    }

    #[test]
    fn one_bad_alert_keeps_no_other_back() {
        for (field, value, wanted) in [
            ("startsAt", json!("yesterday"), "alerts[0].startsAt: a time like"),
            ("startsAt", json!("2027-01-01T00:00:00Z"), "alerts[0].startsAt: 2027-01-01T00:00:00Z is in the future"),
            ("startsAt", json!("0001-01-01T00:00:00Z"), "alerts[0].startsAt: it is not set"),
            ("endsAt", json!("never"), "alerts[0].endsAt: a time like"),
            ("status", json!("odd"), "alerts[0].status: firing or resolved"),
            ("fingerprint", json!("../etc"), "alerts[0].fingerprint: hexadecimal"),
            ("labels", json!({}), "alerts[0].labels: there are none"),
            ("fingerprint", json!(""), "alerts[0].fingerprint: hexadecimal"),
            ("labels", json!({"a": "x".repeat(MOST_LABEL_BYTES)}), "alerts[0].labels: 16385 bytes"),
            ("labels", (0..65).map(|i| (format!("l{i}"), json!("x"))).collect(), "alerts[0].labels: 65 of them"),
        ] {
            let post = given(|p| {
                let good = p["alerts"][0].clone();
                p["alerts"][0][field] = value;
                p["alerts"].as_array_mut().unwrap().push(good);
            });
            let post = post.unwrap();
            assert_eq!(post.alerts.len(), 1, "{field}");
            assert!(post.malformed[0].starts_with(wanted), "{:?}", post.malformed);
        }
    }

    #[test]
    fn a_file_is_a_post_a_list_or_an_alert() {
        let alert = json!({"labels": {"alertname": "A"}, "annotations": {"runbooks": "a, b", "summary": "x"},
            "startsAt": "2026-11-26T11:59:00Z", "endsAt": "2026-11-26T12:04:00Z", "fingerprint": "f",
            "status": {"state": "active", "silencedBy": []}, "receivers": [{"name": "x"}]});
        let of_post = json!({"status": "firing"});
        let mut posted = alert.clone();
        posted["status"] = of_post["status"].clone();
        let whole = json!({"version": "4", "alerts": [posted.clone()]});
        let read = |value: &Value| read_any(value.to_string().as_bytes());
        for file in [&alert, &json!([alert.clone()]), &posted, &whole] {
            let Given { alerts, quiet } = read(file).unwrap();
            assert_eq!((alerts.len(), quiet.len()), (1, 0), "{file}");
            assert_eq!(
                (alerts[0].named.as_slice(), alerts[0].resolved_at),
                (&["a".to_owned(), "b".to_owned()][..], None)
            );
        }
        // One that is silenced keeps no other back.
        let mut silenced = alert.clone();
        silenced["status"] = json!({"state": "suppressed", "silencedBy": ["s"]});
        let both = read(&json!([silenced, alert])).unwrap();
        assert_eq!((both.alerts.len(), both.quiet.len()), (1, 1));
        assert_eq!(both.quiet[0].1, "it is silenced or inhibited");
        for (value, wanted) in [
            (json!("x"), "this is no alert of Alertmanager: alerts[0]: invalid type: string \"x\""),
            (json!([{}]), "this is no alert of Alertmanager: alerts[0]: missing field `status`"),
            (json!({"version": "3", "alerts": []}), "this is no message of Alertmanager: version: \"3\" is not known"),
            (
                json!([alert, {"status": "odd", "labels": {"a": "b"}, "startsAt": NOW, "fingerprint": "f"}]),
                "alerts[1].status: firing or resolved",
            ),
        ] {
            let error = read(&value).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        }
        assert!(read_any(b"{").unwrap_err().starts_with("this is no JSON: EOF"));
    }

    #[test]
    fn what_cannot_be_read_names_the_field() {
        let message = |change: fn(&mut Value)| given(change).unwrap_err().to_string();
        assert_eq!(message(|p| p["version"] = json!("5")), "version: \"5\" is not known; Alertmanager sends \"4\"");
        let wrong = message(|p| p["alerts"][0]["labels"]["pod"] = json!(1));
        assert!(wrong.starts_with("alerts[0].labels.pod: invalid type: integer"), "{wrong}");
        let many = message(|p| p["alerts"] = vec![p["alerts"][0].clone(); MOST_ALERTS + 1].into());
        assert!(many.starts_with("it has 5001 alerts, more than 5000; set max_alerts"), "{many}");
        for body in ["", "{", "{}", "[]", "null", "{\"version\":\"4\",\"alerts\":[]} x"] {
            assert!(matches!(read(body.as_bytes(), NOW.parse().unwrap()), Err(PayloadError::Malformed(_))), "{body}");
        }
        // However deep: what is not known is skipped without a stack, what is known is not so deep.
        let deep =
            |field: &str| format!("{{\"version\":\"4\",\"{field}\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(deep("x").as_bytes(), NOW.parse().unwrap()), Ok(Post::default()));
        assert!(read(deep("alerts").as_bytes(), NOW.parse().unwrap()).is_err());
    }
}
