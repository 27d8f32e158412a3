//! The registrations, by which the API server knows what to ask the webhook: what they are to be, and whether they are.

use std::fmt::Debug;

use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{
        MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference, ValidatingWebhook,
        ValidatingWebhookConfiguration, WebhookClientConfig,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use plimsoll_api::Kind;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::PATH;
use crate::{
    runbooks::author,
    sinks::kubernetes::{FIELD_MANAGER, says},
};

/// What both registrations have in common.
pub(super) struct Wanted<'a> {
    /// Theirs.
    pub name: &'a str,
    /// The Service that is called, unless there is a `url`.
    pub service: &'a str,
    /// Of the Service.
    pub namespace: &'a str,
    /// What is called instead of a Service.
    pub url: Option<&'a str>,
    /// PEM; without them the registration's are somebody else's.
    pub authorities: Option<&'a str>,
}

impl Wanted<'_> {
    /// Of the webhook that judges objects; with `runbooks`, those too.
    pub(super) fn validating(&self, runbooks: bool) -> ValidatingWebhookConfiguration {
        let mut resources: Vec<String> = Kind::ALL.into_iter().map(|kind| kind.plural().to_owned()).collect();
        if runbooks {
            resources.push("runbooks".to_owned());
        }
        ValidatingWebhookConfiguration {
            metadata: self.metadata(),
            webhooks: Some(vec![ValidatingWebhook {
                name: "slo.plimsoll.dev".to_owned(),
                admission_review_versions: vec!["v1".to_owned()],
                client_config: self.client_config(PATH),
                // The shape is checked by the CRD and everything by the controller: a webhook that is away
                // must not keep anybody from changing an SLO.
                failure_policy: Some("Ignore".to_owned()),
                match_policy: Some("Equivalent".to_owned()),
                side_effects: "None".to_owned(),
                timeout_seconds: Some(5),
                rules: Some(vec![rule(resources)]),
                ..ValidatingWebhook::default()
            }]),
        }
    }

    /// Of the webhook that notes authors. What it has not seen is not acted upon, so that it is away keeps people from
    /// writing runbooks.
    pub(super) fn authors(&self) -> MutatingWebhookConfiguration {
        MutatingWebhookConfiguration {
            metadata: self.metadata(),
            webhooks: Some(vec![MutatingWebhook {
                name: "author.plimsoll.dev".to_owned(),
                admission_review_versions: vec!["v1".to_owned()],
                client_config: self.client_config(author::PATH),
                failure_policy: Some("Fail".to_owned()),
                match_policy: Some("Equivalent".to_owned()),
                side_effects: "None".to_owned(),
                timeout_seconds: Some(5),
                rules: Some(vec![rule(vec!["runbooks".to_owned(), "runbookapprovals".to_owned()])]),
                ..MutatingWebhook::default()
            }]),
        }
    }

    fn metadata(&self) -> ObjectMeta {
        ObjectMeta { name: Some(self.name.to_owned()), ..ObjectMeta::default() }
    }

    fn client_config(&self, path: &str) -> WebhookClientConfig {
        let service = ServiceReference {
            name: self.service.to_owned(),
            namespace: self.namespace.to_owned(),
            path: Some(path.to_owned()),
            port: Some(443),
        };
        let url = self.url.map(|url| format!("{}{path}", url.trim_end_matches('/')));
        WebhookClientConfig {
            ca_bundle: self.authorities.map(|pem| ByteString(pem.as_bytes().to_vec())),
            service: url.is_none().then_some(service),
            url,
        }
    }
}

/// Writes of some of our resources.
fn rule(resources: Vec<String>) -> RuleWithOperations {
    RuleWithOperations {
        api_groups: Some(vec![plimsoll_api::GROUP.to_owned()]),
        api_versions: Some(vec![plimsoll_api::VERSION.to_owned()]),
        operations: Some(vec!["CREATE".to_owned(), "UPDATE".to_owned()]),
        resources: Some(resources),
        scope: Some("Namespaced".to_owned()),
    }
}

/// Why a registration is not what it is to be.
#[derive(Debug)]
pub(super) struct Unkept {
    /// There is none, and the operator may not make one: by what is not there, nobody calls.
    pub missing: bool,
    /// Why.
    pub why: anyhow::Error,
}

/// Makes a registration what it is to be: server-side apply, and only when something differs.
pub(super) async fn keep<K>(client: &Client, wanted: &K) -> Result<(), Unkept>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let name = wanted.name_any();
    let kind = K::kind(&());
    let stored = async {
        let stored = api.get_opt(&name).await?;
        anyhow::Ok(stored.map(serde_json::to_value).transpose()?)
    };
    let failed = |why: anyhow::Error| Unkept { missing: false, why: why.context(format!("{kind} {name}")) };
    let stored = stored.await.map_err(failed)?;
    if stored.as_ref().is_some_and(|stored| is_current(stored, &serde_json::json!(wanted))) {
        return Ok(());
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch(&name, &params, &Patch::Apply(wanted)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if stored.is_none() && status.code == 403 => {
            let help = "it is not there, and the operator has no right to make it: apply the chart or manifests/webhook.yaml again";
            let why = anyhow::Error::new(kube::Error::Api(status)).context(format!("{kind} {name}: {help}"));
            Err(Unkept { missing: true, why })
        }
        Err(error) => Err(failed(error.into())),
    }
}

/// Whether a stored registration is as it is wanted. What others have added, such as a selector, is theirs; authorities
/// that we have written once and write no longer are not.
fn is_current(stored: &Value, wanted: &Value) -> bool {
    const BUNDLE: &str = "/clientConfig/caBundle";
    let webhooks = |object: &Value| object.get("webhooks").and_then(Value::as_array).cloned().unwrap_or_default();
    let all = webhooks(stored);
    webhooks(wanted).iter().all(|wanted| {
        let found = all.iter().find(|stored| stored.get("name") == wanted.get("name"));
        found.is_some_and(|found| says(found, wanted)) && (wanted.pointer(BUNDLE).is_some() || !owns_bundle(stored))
    })
}

/// Whether the authorities in a registration are of ours.
fn owns_bundle(stored: &Value) -> bool {
    let managers = stored.pointer("/metadata/managedFields").and_then(Value::as_array);
    let mut ours = managers.into_iter().flatten().filter(|entry| entry["manager"] == FIELD_MANAGER);
    ours.any(|entry| has_key(&entry["fieldsV1"], "f:caBundle"))
}

fn has_key(fields: &Value, key: &str) -> bool {
    fields.as_object().is_some_and(|fields| fields.iter().any(|(name, below)| name == key || has_key(below, key)))
}
