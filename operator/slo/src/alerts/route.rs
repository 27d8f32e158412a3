//! Who is told: a route, its receiver and what inhibits it, as Alertmanager has them.
//!
//! prometheus-operator lets a route of an AlertmanagerConfig name only receivers of the same object, so
//! the receiver's definition is copied into ours, secrets by reference; a piece of Alertmanager's own
//! configuration names the receiver alone.

use plimsoll_api::{Problem, alert_rule as api};
use serde_json::{Map, Value, json};

use crate::{
    duration,
    model::{SloId, Span},
    names, validate,
};

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Name of the receiver.
    pub receiver: String,
    /// Labels whose values messages are grouped by.
    pub group_by: Vec<String>,
    /// Alerts that keep the others from being sent.
    pub inhibited_by: Vec<String>,
    /// Labels that both must share.
    pub equal: Vec<String>,
    /// See the custom resource.
    pub group_wait: Option<Span>,
    /// See the custom resource.
    pub group_interval: Option<Span>,
    /// See the custom resource.
    pub repeat_interval: Option<Span>,
}

/// Checks a route of the AlertRule `id` that has these alerts.
pub(super) fn route(spec: &api::Route, id: &SloId, alerts: &[&str], problems: &mut Vec<Problem>) -> Route {
    let api::Route { receiver, group_by, inhibited_by, equal, group_wait, group_interval, repeat_interval } = spec;
    const PATH: &str = "spec.route";
    let path = format!("{PATH}.receiver");
    if receiver.trim().is_empty() {
        problems.push(Problem::error(path, "receiver is empty").help("name a receiver of an AlertmanagerConfig here"));
    } else if let Some((elsewhere, _)) = receiver.split_once('/').filter(|(elsewhere, _)| *elsewhere != id.namespace) {
        problems.push(
            Problem::error(path, format!("receiver is in namespace {elsewhere}"))
                .label("a receiver's secrets can be read only in its own namespace")
                .help(format!("define the receiver in an AlertmanagerConfig of namespace {}", id.namespace)),
        );
    }
    for (field, labels) in [("groupBy", group_by.as_deref().unwrap_or_default()), ("equal", equal)] {
        for (i, label) in labels.iter().enumerate() {
            let path = format!("{PATH}.{field}[{i}]");
            if labels.iter().take(i).any(|l| l == label) {
                problems.push(Problem::error(path, format!("label {label} is there twice")).help("remove one"));
            } else if field == "groupBy" && label == "..." {
                if labels.len() > 1 {
                    problems.push(
                        Problem::error(path, "... stands with other labels")
                            .label("it means all labels, and Alertmanager takes it only alone")
                            .help("remove it, or the others"),
                    );
                }
            } else {
                validate::label_syntax(label, &path, problems);
            }
        }
    }
    for (i, name) in inhibited_by.iter().enumerate() {
        let path = format!("{PATH}.inhibitedBy[{i}]");
        if name.trim().is_empty() {
            problems.push(Problem::error(path, "inhibitedBy has an empty name").help("name an alert, or remove it"));
        } else if inhibited_by.iter().take(i).any(|n| n == name) {
            problems.push(Problem::error(path, format!("alert {name} is there twice")).help("remove one"));
        } else if alerts.contains(&name.as_str()) && alerts.iter().all(|a| inhibited_by.iter().any(|n| n == a)) {
            problems.push(
                Problem::error(path, format!("{name} would inhibit itself"))
                    .label("every alert of this object is in inhibitedBy, so none could be sent")
                    .help("leave one alert out of inhibitedBy"),
            );
        }
    }
    if inhibited_by.is_empty() && !equal.is_empty() {
        problems.push(
            Problem::warning(format!("{PATH}.equal"), "equal has nothing to compare")
                .help("add inhibitedBy, or remove equal"),
        );
    }
    let mut time = |text: &Option<String>, field: &str| {
        let text = text.as_deref()?;
        duration::parse(text, &format!("{PATH}.{field}")).map_err(|problem| problems.push(problem)).ok()
    };
    let (group_wait, group_interval) = (time(group_wait, "groupWait"), time(group_interval, "groupInterval"));
    let repeat_interval = time(repeat_interval, "repeatInterval");
    if let (Some(group), Some(repeat)) = (group_interval, repeat_interval)
        && repeat < group
    {
        problems.push(
            Problem::warning(format!("{PATH}.repeatInterval"), "repeatInterval is shorter than groupInterval")
                .label(format!("{repeat} against {group}"))
                .help("Alertmanager looks at a group only every groupInterval: use a multiple of it"),
        );
    }
    let receiver = receiver.split_once('/').map_or(receiver.as_str(), |(_, name)| name).to_owned();
    Route {
        receiver,
        group_by: group_by.clone().unwrap_or_else(|| vec!["alertname".to_owned()]),
        inhibited_by: inhibited_by.clone(),
        equal: equal.clone(),
        group_wait,
        group_interval,
        repeat_interval,
    }
}

impl Route {
    /// `spec` of an AlertmanagerConfig, with the definition of the receiver.
    pub fn config(&self, id: &SloId, receiver: &Value) -> Value {
        let equal = |name: &str, value: &str| json!({"name": name, "value": value, "matchType": "="});
        let mut route = Map::from_iter([
            ("receiver".to_owned(), json!(self.receiver)),
            ("groupBy".to_owned(), json!(self.group_by)),
            // What is told here may be told elsewhere too: another route of the namespace is not cut off.
            ("continue".to_owned(), json!(true)),
            ("matchers".to_owned(), json!([equal(names::ALERT_RULE, &id.to_string())])),
        ]);
        self.times(&mut route, ["groupWait", "groupInterval", "repeatInterval"]);
        let mut receiver = receiver.clone();
        if let Some(map) = receiver.as_object_mut() {
            map.insert("name".to_owned(), json!(self.receiver));
        }
        let mut spec = json!({"route": route, "receivers": [receiver]});
        if !self.inhibited_by.is_empty()
            && let Some(map) = spec.as_object_mut()
        {
            let targets = json!({"name": "alertname", "value": pattern(&self.inhibited_by), "matchType": "!~"});
            let sources = json!({"name": "alertname", "value": pattern(&self.inhibited_by), "matchType": "=~"});
            map.insert(
                "inhibitRules".to_owned(),
                json!([{
                    "sourceMatch": [sources],
                    "targetMatch": [equal(names::ALERT_RULE, &id.to_string()), targets],
                    "equal": self.equal,
                }]),
            );
        }
        spec
    }

    /// A route and its inhibition for Alertmanager's own configuration: `route.routes` and `inhibit_rules`.
    pub fn fragment(&self, id: &SloId) -> (Value, Option<Value>) {
        let own = format!("{}={}", names::ALERT_RULE, crate::promql::quote(&id.to_string()));
        let mut route = Map::from_iter([
            ("receiver".to_owned(), json!(self.receiver)),
            ("matchers".to_owned(), json!([own])),
            ("group_by".to_owned(), json!(self.group_by)),
            ("continue".to_owned(), json!(true)),
        ]);
        self.times(&mut route, ["group_wait", "group_interval", "repeat_interval"]);
        let quoted = crate::promql::quote(&pattern(&self.inhibited_by));
        let namespace = format!("{}={}", names::NAMESPACE, crate::promql::quote(&id.namespace));
        let inhibit = (!self.inhibited_by.is_empty()).then(|| {
            json!({
                "source_matchers": [format!("alertname=~{quoted}"), namespace],
                "target_matchers": [own, format!("alertname!~{quoted}")],
                "equal": self.equal,
            })
        });
        (Value::Object(route), inhibit)
    }

    fn times(&self, route: &mut Map<String, Value>, names: [&str; 3]) {
        for (name, time) in names.into_iter().zip([self.group_wait, self.group_interval, self.repeat_interval]) {
            if let Some(time) = time {
                route.insert(name.to_owned(), json!(time.to_string()));
            }
        }
    }
}

/// A regular expression that matches these names and nothing else.
fn pattern(names: &[String]) -> String {
    names.iter().map(|name| regex_syntax::escape(name)).collect::<Vec<_>>().join("|")
}
