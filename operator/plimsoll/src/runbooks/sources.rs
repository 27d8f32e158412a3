//! Which runbooks an SLO or an AlertRule names.

use std::collections::BTreeMap;

use kube::Client;
use plimsoll_runbook::{
    model::{Model, Trigger},
    parameters::is_dns_name,
};
use plimsoll_slo::names as series;
use serde_json::Value;

use super::read::{entries, get, path, text};

/// Whether a runbook is started by what names it.
pub fn asks_who_names(model: &Model) -> bool {
    matches!(&model.trigger, Trigger::Slo { names, .. } if names.is_empty())
}

/// The path of the SLO or the AlertRule that labels are of.
pub fn source_of(labels: &BTreeMap<String, String>) -> Option<String> {
    let (plural, id) = match (labels.get(series::SLO_ID), labels.get(series::ALERT_RULE)) {
        (Some(id), _) => ("slos", id),
        (None, Some(id)) => ("alertrules", id),
        (None, None) => return None,
    };
    let (namespace, name) = id.split_once('/')?;
    // A label is not trusted to be a part of a path.
    let is_path = is_dns_name(namespace) && is_dns_name(name);
    is_path.then(|| path(plimsoll_api::API_VERSION, Some(namespace), plural, name))
}

/// The runbooks that the object at a path names.
///
/// # Errors
/// When it cannot be read, in words.
pub async fn names_of(client: &Client, at: &str) -> Result<Vec<String>, String> {
    let object = get(client, at).await.map_err(|error| error.to_string())?.unwrap_or(Value::Null);
    let of_rules = entries(&object, "/spec/rules").flat_map(|rule| entries(rule, "/runbooks"));
    Ok(entries(&object, "/spec/runbooks").chain(of_rules).map(|name| text(name, "").to_owned()).collect())
}
