//! Between the fourth step and the fifth: the route of an AlertRule becomes an AlertmanagerConfig of
//! prometheus-operator, with a copy of the receiver's definition; secrets stay where they are.
//!
//! Receivers are looked up when the AlertRule is reconciled, and again every ten minutes: nobody tells
//! when one of them changes.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, Preconditions},
};
use plimsoll_api::conditions as c;
use plimsoll_slo::{SloId, alerts::route::Route};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::stored::Stored;
use crate::sinks::{
    Target, Written,
    kubernetes::{FIELD_MANAGER, MANAGED_BY, chain, owner_reference, says},
};

/// Which words were written, on the AlertmanagerConfig: what is no longer among them must go, and beside the defaults
/// that the API server adds it cannot be seen.
const WRITTEN: &str = "plimsoll.dev/written";

/// Why alerts do not reach the receiver.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RouteError {
    /// Nobody defines it in the namespace.
    #[error("spec.route.receiver: no AlertmanagerConfig of namespace {namespace} defines the receiver {receiver}{}; {}", elsewhere.as_ref().map(|other| format!(" (one of namespace {other} does)")).unwrap_or_default(), remedy(elsewhere.as_deref(), namespace))]
    ReceiverMissing {
        /// The name.
        receiver: String,
        /// Where it was looked for.
        namespace: String,
        /// Another namespace where it is.
        elsewhere: Option<String>,
    },
    /// It reads a key that is not there.
    #[error("spec.route.receiver: receiver {receiver} reads key {key} of Secret {secret}, {}", if *.exists { "which has no such key; add it" } else { "which does not exist; create it" })]
    SecretKeyMissing {
        /// The receiver.
        receiver: String,
        /// Name of the Secret.
        secret: String,
        /// The key.
        key: String,
        /// Whether the Secret is there.
        exists: bool,
    },
    /// An object of that name belongs to somebody else.
    #[error("AlertmanagerConfig {namespace}/{name} exists and is not owned by this AlertRule; it is left alone")]
    NotOurs {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The cluster has no such kind.
    #[error(
        "spec.route: this cluster has no AlertmanagerConfig; install prometheus-operator, or route with what plimsoll generate --format alertmanager prints"
    )]
    NoKind,
    /// The API server refused or did not answer.
    #[error("AlertmanagerConfig could not be written: {0}")]
    Failed(String),
}

fn remedy(elsewhere: Option<&str>, namespace: &str) -> String {
    match elsewhere {
        Some(_) => format!(
            "copy it into one of namespace {namespace}, which is found in about ten minutes, with its Secrets: they can be read only in their own namespace"
        ),
        None => "define it in one, which is found in about ten minutes, or correct the name".to_owned(),
    }
}

impl RouteError {
    /// The condition's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            RouteError::ReceiverMissing { .. } => c::REASON_RECEIVER_MISSING,
            RouteError::SecretKeyMissing { .. } => c::REASON_SECRET_KEY_MISSING,
            RouteError::NotOurs { .. } => c::REASON_NOT_OURS,
            RouteError::NoKind | RouteError::Failed(_) => c::REASON_BACKEND_FAILED,
        }
    }
}

/// `AlertmanagerConfig`.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("monitoring.coreos.com", "v1alpha1", "AlertmanagerConfig"))
}

/// Makes the AlertmanagerConfig say what the route says; gives where it is.
///
/// # Errors
/// Why the alerts do not reach the receiver.
pub async fn apply(client: &Client, stored: &Stored, route: &Route) -> Result<(String, Written), RouteError> {
    let target = Target::of(stored.kind_of(), stored.meta());
    let id = SloId { namespace: target.namespace.clone(), name: target.name.clone() };
    let name = target.object_name();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &target.namespace, &resource());
    let all = api.list(&ListParams::default()).await.map_err(failed)?.items;
    let ours = all.iter().find(|object| object.name_any() == name);
    if let Some(known) = ours
        && !known.owner_references().iter().any(|owner| owner.uid == target.uid)
    {
        return Err(RouteError::NotOurs { namespace: target.namespace, name });
    }
    let others = all.iter().filter(|object| object.name_any() != name && !is_copy(object));
    let Some(receiver) = others.flat_map(receivers).find(|receiver| named(receiver, &route.receiver)).cloned() else {
        let elsewhere = elsewhere(client, &route.receiver).await;
        let (receiver, namespace) = (route.receiver.clone(), target.namespace);
        return Err(RouteError::ReceiverMissing { receiver, namespace, elsewhere });
    };
    secrets(client, &target.namespace, &route.receiver, &receiver).await?;
    let spec = route.config(&id, &receiver);
    let place = format!("AlertmanagerConfig {}/{name}", target.namespace);
    // An earlier version gave it another name: two of them would notify twice.
    let owned = |object: &&DynamicObject| object.owner_references().iter().any(|owner| owner.uid == target.uid);
    let former: Vec<&DynamicObject> =
        all.iter().filter(|object| object.name_any() != name && is_copy(object)).filter(owned).collect();
    let body = body(&target, &name, &spec);
    let holds = ours.is_some_and(|known| holds(known, &body));
    if !holds {
        // What this manager applied before and does not any more is removed by the server.
        let params = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(&name, &params, &Patch::Apply(&body)).await.map_err(failed)?;
    }
    for object in &former {
        delete(&api, object).await?;
    }
    Ok((place, if holds && former.is_empty() { Written::Unchanged } else { Written::Changed }))
}

fn body(target: &Target, name: &str, spec: &Value) -> Value {
    let mut labels = target.labels.clone();
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    let words = json!([labels, spec]).to_string();
    let written: String = Sha256::digest(words).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    json!({
        "apiVersion": resource().api_version,
        "kind": resource().kind,
        "metadata": {
            "name": name,
            "namespace": target.namespace,
            "labels": labels,
            "annotations": {WRITTEN: written},
            "ownerReferences": [owner_reference(target)],
        },
        "spec": spec,
    })
}

/// Removes what a route before this one left.
///
/// # Errors
/// When it is there and cannot be removed.
pub async fn remove(client: &Client, stored: &Stored) -> Result<(), RouteError> {
    let target = Target::of(stored.kind_of(), stored.meta());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &target.namespace, &resource());
    for name in [Some(target.object_name()), target.former_object_name()].into_iter().flatten() {
        let Some(known) = api.get_opt(&name).await.map_err(failed)? else { continue };
        if known.owner_references().iter().any(|owner| owner.uid == target.uid) {
            delete(&api, &known).await?;
        }
    }
    Ok(())
}

async fn delete(api: &Api<DynamicObject>, known: &DynamicObject) -> Result<(), RouteError> {
    let preconditions = Some(Preconditions { uid: known.metadata.uid.clone(), resource_version: None });
    match api.delete(&known.name_any(), &DeleteParams { preconditions, ..DeleteParams::background() }).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: kube::Error) -> RouteError {
    match error {
        kube::Error::Api(status) if status.code == 404 => RouteError::NoKind,
        other => RouteError::Failed(chain(&other)),
    }
}

/// True for what this operator made from other definitions.
fn is_copy(object: &DynamicObject) -> bool {
    object.labels().get(MANAGED_BY.0).is_some_and(|value| value == MANAGED_BY.1)
}

fn receivers(object: &DynamicObject) -> impl Iterator<Item = &Value> {
    object.data.pointer("/spec/receivers").and_then(Value::as_array).into_iter().flatten()
}

fn named(receiver: &Value, name: &str) -> bool {
    receiver.get("name").and_then(Value::as_str) == Some(name)
}

/// Another namespace that defines the receiver, for the message.
async fn elsewhere(client: &Client, receiver: &str) -> Option<String> {
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource());
    let found = all.list(&ListParams::default()).await.ok()?;
    let mut others = found.items.iter().filter(|object| !is_copy(object));
    others.find(|object| receivers(object).any(|r| named(r, receiver))).and_then(ResourceExt::namespace)
}

/// Finds a key that the receiver reads and that is not there. Who may not read Secrets does not look.
async fn secrets(client: &Client, namespace: &str, receiver: &str, definition: &Value) -> Result<(), RouteError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for (secret, key) in keys(definition) {
        let exists = match api.get_opt(&secret).await {
            Ok(Some(found)) if has(&found, &key) => continue,
            Ok(found) => found.is_some(),
            Err(_) => return Ok(()),
        };
        return Err(RouteError::SecretKeyMissing { receiver: receiver.to_owned(), secret, key, exists });
    }
    Ok(())
}

fn has(secret: &Secret, key: &str) -> bool {
    secret.data.as_ref().is_some_and(|data| data.contains_key(key))
}

/// Names and keys of all Secrets that a definition refers to.
fn keys(definition: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![definition];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => {
                let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
                if let (Some(name), Some(key), true) = (text("name"), text("key"), map.len() <= 3)
                    && map.get("optional") != Some(&Value::Bool(true))
                {
                    found.push((name, key));
                }
                open.extend(map.iter().filter(|(key, _)| *key != "configMap").map(|(_, value)| value));
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    found.sort();
    found.dedup();
    found
}

/// True when the stored object was written with these very words and still says them.
fn holds(known: &DynamicObject, wanted: &Value) -> bool {
    let written = known.annotations().get(WRITTEN).map(String::as_str);
    let annotations = wanted.pointer("/metadata/annotations");
    let same = written == annotations.and_then(|all| all.get(WRITTEN)).and_then(Value::as_str);
    same && known.data.get("spec").zip(wanted.get("spec")).is_some_and(|(spec, wanted)| says(spec, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_of_a_receiver_is_found() {
        let definition = json!({
            "name": "pager",
            "pagerdutyConfigs": [{"routingKey": {"name": "pagerduty", "key": "routing"}, "details": [{"key": "a", "value": "b"}]}],
            "webhookConfigs": [{"urlSecret": {"name": "hook", "key": "url", "optional": true}, "httpConfig": {
                "tlsConfig": {"ca": {"configMap": {"name": "ca", "key": "pem"}, "secret": {"name": "tls", "key": "ca"}}}}}]
        });
        let pair = |name: &str, key: &str| (name.to_owned(), key.to_owned());
        assert_eq!(keys(&definition), [pair("pagerduty", "routing"), pair("tls", "ca")]);
    }

    #[test]
    fn what_the_api_server_adds_is_no_difference() {
        let wanted = json!({"route": {"receiver": "a", "matchers": [{"name": "x"}]}});
        assert!(says(
            &json!({"route": {"receiver": "a", "matchers": [{"name": "x", "regex": false}], "continue": true}}),
            &wanted
        ));
        assert!(!says(&json!({"route": {"receiver": "b", "matchers": [{"name": "x"}]}}), &wanted));
        assert!(!says(&json!({"route": {"receiver": "a", "matchers": []}}), &wanted));
    }

    #[test]
    fn the_messages_say_what_to_do() {
        let missing = |elsewhere: Option<&str>| RouteError::ReceiverMissing {
            receiver: "pager".to_owned(),
            namespace: "shop".to_owned(),
            elsewhere: elsewhere.map(str::to_owned),
        };
        assert_eq!(
            missing(None).to_string(),
            "spec.route.receiver: no AlertmanagerConfig of namespace shop defines the receiver pager; define it in one, which is found in about ten minutes, or correct the name"
        );
        assert_eq!(
            missing(Some("ops")).to_string(),
            "spec.route.receiver: no AlertmanagerConfig of namespace shop defines the receiver pager (one of namespace ops does); copy it into one of namespace shop, which is found in about ten minutes, with its Secrets: they can be read only in their own namespace"
        );
        let key = |exists| RouteError::SecretKeyMissing {
            receiver: "pager".to_owned(),
            secret: "pagerduty".to_owned(),
            key: "routing".to_owned(),
            exists,
        };
        assert_eq!(
            key(true).to_string(),
            "spec.route.receiver: receiver pager reads key routing of Secret pagerduty, which has no such key; add it"
        );
        assert_eq!(
            key(false).to_string(),
            "spec.route.receiver: receiver pager reads key routing of Secret pagerduty, which does not exist; create it"
        );
    }
}
