//! Which `Prometheus` object of prometheus-operator selects a rule object, and what it would take.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::Namespace,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    core::{Selector, SelectorExt},
};
use plimsoll_api::Kind;

/// A `Prometheus` object, as far as it selects rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Selecting {
    /// Namespace of the object.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `spec.ruleSelector`: nothing selects nothing, an empty one everything.
    pub rules: Option<LabelSelector>,
    /// `spec.ruleNamespaceSelector`: nothing means its own namespace.
    pub namespaces: Option<LabelSelector>,
}

/// Why no `Prometheus` object selects a rule object, and the one thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unselected {
    /// `no Prometheus object selects the labels {app: cart}; prometheus/main selects {release: main}`
    pub why: String,
    /// A command, where one exists: `kubectl label slo cart -n shop release=main`.
    pub remedy: Option<String>,
}

/// Reads the `Prometheus` objects and the labels of a namespace.
///
/// # Errors
/// When they cannot be read, for example because the kind or the right to read it is missing.
pub async fn read(client: &Client, namespace: &str) -> Result<(Vec<Selecting>, BTreeMap<String, String>), kube::Error> {
    let resource = ApiResource {
        group: "monitoring.coreos.com".to_owned(),
        version: "v1".to_owned(),
        api_version: "monitoring.coreos.com/v1".to_owned(),
        kind: "Prometheus".to_owned(),
        plural: "prometheuses".to_owned(),
    };
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let list = api.list(&ListParams::default().limit(200)).await?;
    let selector = |object: &DynamicObject, field: &str| {
        let value = object.data.get("spec").and_then(|spec| spec.get(field)).filter(|value| !value.is_null())?;
        serde_json::from_value(value.clone()).ok()
    };
    let found = list
        .items
        .iter()
        .map(|object| Selecting {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            rules: selector(object, "ruleSelector"),
            namespaces: selector(object, "ruleNamespaceSelector"),
        })
        .collect();
    let labels = Api::<Namespace>::all(client.clone()).get_metadata(namespace).await?.metadata.labels;
    Ok((found, labels.unwrap_or_default()))
}

/// `None` when some object selects it.
pub fn explain(
    all: &[Selecting],
    kind: Kind,
    name: &str,
    namespace: &str,
    namespace_labels: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> Option<Unselected> {
    if all.is_empty() {
        let why = "the cluster has no Prometheus object that could load rules".to_owned();
        return Some(Unselected { why, remedy: None });
    }
    let in_namespace = |p: &Selecting| match &p.namespaces {
        None => p.namespace == namespace,
        Some(selector) => matches(selector, namespace_labels),
    };
    let by_labels = |p: &Selecting| p.rules.as_ref().is_some_and(|selector| matches(selector, labels));
    if all.iter().any(|p| in_namespace(p) && by_labels(p)) {
        return None;
    }
    let id = |p: &Selecting| format!("{}/{}", p.namespace, p.name);
    if let Some(p) = all.iter().find(|p| by_labels(p)) {
        let wanted = p.namespaces.as_ref().map_or_else(|| "its own namespace".to_owned(), show);
        let why = format!("{} selects the labels, but not the namespace {namespace}: it selects {wanted}", id(p));
        let remedy =
            p.namespaces.as_ref().and_then(equalities).map(|l| format!("kubectl label namespace {namespace} {l}"));
        return Some(Unselected { why, remedy });
    }
    let reachable: Vec<&Selecting> = all.iter().filter(|p| in_namespace(p)).collect();
    let near: Vec<&Selecting> = if reachable.is_empty() { all.iter().collect() } else { reachable };
    let others: Vec<String> = near
        .iter()
        .map(|p| match &p.rules {
            Some(selector) => format!("{} selects {}", id(p), show(selector)),
            None => format!("{} has no ruleSelector, which selects nothing", id(p)),
        })
        .collect();
    // The label that every object of ours has says nothing about the user's choice.
    let shown: BTreeMap<&String, &String> =
        labels.iter().filter(|(key, _)| key.as_str() != crate::sinks::kubernetes::MANAGED_BY.0).collect();
    let why = format!("no Prometheus object selects the labels {}; {}", show_map(&shown), others.join(", "));
    let remedy = near
        .iter()
        .find_map(|p| p.rules.as_ref().and_then(equalities))
        .map(|l| format!("kubectl label {} {name} -n {namespace} {l}", kind.name().to_lowercase()));
    Some(Unselected { why, remedy })
}

fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

/// `release=main`, when equalities are all that the selector asks for.
fn equalities(selector: &LabelSelector) -> Option<String> {
    let simple = selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    let labels = selector.match_labels.as_ref().filter(|labels| simple && !labels.is_empty())?;
    Some(labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "))
}

fn show(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|requirement| {
        let LabelSelectorRequirement { key, operator, values } = requirement;
        match values.as_deref() {
            Some(values) if !values.is_empty() => format!("{key} {operator} ({})", values.join(", ")),
            _ => format!("{key} {operator}"),
        }
    });
    format!("{{{}}}", labels.chain(expressions).collect::<Vec<_>>().join(", "))
}

fn show_map(labels: &BTreeMap<&String, &String>) -> String {
    format!("{{{}}}", labels.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn prometheus(rules: Value, namespaces: Value) -> Selecting {
        let read = |value: Value| (!value.is_null()).then(|| serde_json::from_value(value).unwrap());
        Selecting {
            namespace: "prometheus".to_owned(),
            name: "main".to_owned(),
            rules: read(rules),
            namespaces: read(namespaces),
        }
    }

    fn explained(all: &[Selecting], labels: &[(&str, &str)]) -> Option<Unselected> {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        explain(all, Kind::Slo, "cart", "shop", &map(&[("kubernetes.io/metadata.name", "shop")]), &map(labels))
    }

    #[test]
    fn a_missing_label_is_named_with_its_command() {
        let all = [prometheus(json!({"matchLabels": {"release": "main"}}), json!({}))];
        let found = explained(&all, &[("app", "cart")]).unwrap();
        assert_eq!(
            found.why,
            "no Prometheus object selects the labels {app: cart}; prometheus/main selects {release: main}"
        );
        assert_eq!(found.remedy.unwrap(), "kubectl label slo cart -n shop release=main");
        assert_eq!(explained(&all, &[("release", "main")]), None);
    }

    #[test]
    fn namespaces_and_empty_selectors() {
        assert_eq!(explained(&[prometheus(json!({}), json!({}))], &[]), None);
        let other = explained(&[prometheus(json!({}), Value::Null)], &[]).unwrap();
        assert_eq!(
            other.why,
            "prometheus/main selects the labels, but not the namespace shop: it selects its own namespace"
        );
        let labelled = prometheus(json!({}), json!({"matchLabels": {"monitored": "yes"}}));
        let remedy = explained(&[labelled], &[]).unwrap().remedy.unwrap();
        assert_eq!(remedy, "kubectl label namespace shop monitored=yes");
        assert!(explained(&[prometheus(Value::Null, json!({}))], &[]).unwrap().why.contains("selects nothing"));
        assert!(explained(&[], &[]).unwrap().why.contains("no Prometheus object that could"));
        let listed =
            prometheus(json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "c"]}]}), json!({}));
        assert!(explained(&[listed], &[]).unwrap().why.contains("{a In (b, c)}"));
    }
}
