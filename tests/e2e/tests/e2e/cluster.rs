//! What the operator's tests share: a control plane with the kinds, SLOs, and looks at what became of them.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use kube::{
    Api, Client, CustomResourceExt, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use plimsoll_api::{AlertRule, Slo, conditions};
use plimsoll_e2e::Testbed;
use plimsoll_testbed::{ControlPlane, ControlPlaneOptions, PrometheusOperator, client_from, wait_until};
use serde_json::{Value, json};

pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A control plane of one's own with both kinds.
pub(crate) async fn start(testbed: &Testbed, options: ControlPlaneOptions) -> Result<(ControlPlane, Client)> {
    let plane = ControlPlane::start(testbed.bin(), options).await?;
    PrometheusOperator::install_crds(testbed.bin(), &plane).await?;
    let client = install(&plane).await?;
    Ok((plane, client))
}

/// Makes the kinds known, and waits until they are served.
pub(crate) async fn install(plane: &ControlPlane) -> Result<Client> {
    for definition in [Slo::crd(), AlertRule::crd()] {
        plane.apply(&serde_json::to_string(&definition)?).await?;
    }
    let client = plane.client().await?;
    let slos: Api<Slo> = Api::all(client.clone());
    let rules: Api<AlertRule> = Api::all(client.clone());
    wait_until("the kind AlertRule", SOON, async || Ok(Some(rules.list(&ListParams::default().limit(1)).await?)))
        .await?;
    wait_until("the kind SLO", SOON, async || Ok(Some(slos.list(&ListParams::default().limit(1)).await?))).await?;
    Ok(client)
}

/// Waits until a user may do this: of roles and bindings the API server learns by watches of its own, of each kind apart.
/// Each right is a verb, a kind of a group, and a namespace, or none for all.
pub(crate) async fn may(kubeconfig: &Path, rights: &[(&str, &str, &str, &str)]) -> Result<()> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client_from(kubeconfig).await?);
    for (verb, group, resource, namespace) in rights {
        let attributes = json!({"verb": verb, "group": group, "resource": resource, "namespace": namespace});
        let review = serde_json::from_value(json!({"spec": {"resourceAttributes": attributes}}))?;
        wait_until(&format!("the right to {verb} {resource}"), SOON, async || {
            let answer = reviews.create(&PostParams::default(), &review).await?;
            Ok(answer.status.is_some_and(|status| status.allowed).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// What the roles of `manifests/rbac.yaml` give, by the one that is bound everywhere and the one of a namespace.
pub(crate) const OF_THE_MANIFEST: [(&str, &str, &str, &str); 2] =
    [("list", "plimsoll.dev", "slos", ""), ("create", "coordination.k8s.io", "leases", "plimsoll-system")];

/// The shortest SLO.
pub(crate) fn slo(name: &str) -> Value {
    json!({
        "apiVersion": plimsoll_api::API_VERSION,
        "kind": "SLO",
        "metadata": {"name": name},
        "spec": {"objective": "99.95", "sli": {"events": {
            "bad": format!("http_requests_total{{job=\"{name}\",code=~\"5..\"}}"),
            "total": format!("http_requests_total{{job=\"{name}\"}}"),
        }}},
    })
}

/// Applies objects as a person does.
pub(crate) async fn apply(client: &Client, namespace: &str, objects: &[Value]) -> Result<()> {
    let api: Api<Slo> = Api::namespaced(client.clone(), namespace);
    for object in objects {
        let name = object["metadata"]["name"].as_str().context("name")?;
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await?;
    }
    Ok(())
}

pub(crate) fn rules(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "monitoring.coreos.com".to_owned(),
        version: "v1".to_owned(),
        api_version: "monitoring.coreos.com/v1".to_owned(),
        kind: "PrometheusRule".to_owned(),
        plural: "prometheusrules".to_owned(),
    };
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Status, reason and message of a condition.
pub(crate) fn condition(slo: &Slo, type_: &str) -> Option<(String, String, String)> {
    let found = slo.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((found.status.clone(), found.reason.clone(), found.message.clone()))
}

/// Waits until all SLOs of a namespace are Ready in their newest version.
pub(crate) async fn all_ready(client: &Client, namespace: &str, deadline: Duration) -> Result<Vec<Slo>> {
    let api: Api<Slo> = Api::namespaced(client.clone(), namespace);
    wait_until("all SLOs to be Ready", deadline, async || {
        let all = api.list(&ListParams::default()).await?.items;
        for slo in &all {
            let current = slo.status.as_ref().and_then(|status| status.observed_generation) == slo.metadata.generation;
            let ready = condition(slo, conditions::READY);
            // While an edit is on its way, Ready speaks of the generation before it.
            let all = slo.status.iter().flat_map(|status| &status.conditions);
            let about = all.filter(|one| one.type_ == conditions::READY).find_map(|one| one.observed_generation);
            let current = current && about == slo.metadata.generation;
            if !current || ready.as_ref().is_none_or(|(status, ..)| status != "True") {
                anyhow::bail!("{} is {ready:?}", slo.name_any());
            }
        }
        Ok(Some(all))
    })
    .await
}

/// Waits for a reason of an SLO's condition Ready; gives its message.
pub(crate) async fn reason(client: &Client, namespace: &str, name: &str, wanted: &str) -> Result<String> {
    let api: Api<Slo> = Api::namespaced(client.clone(), namespace);
    wait_until(&format!("{name} to be {wanted}"), SOON, async || {
        let found = condition(&api.get(name).await?, conditions::READY);
        match found {
            Some((_, reason, message)) if reason == wanted => Ok(Some(message)),
            other => anyhow::bail!("{name} is {other:?}"),
        }
    })
    .await
}

/// What must be equal at the end, however it came about: rules, and statuses without their times.
pub(crate) async fn outcome(client: &Client, namespace: &str) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for rule in rules(client, namespace).list(&ListParams::default()).await? {
        let owners = rule.owner_references().iter().map(|owner| owner.name.clone()).collect::<Vec<_>>();
        let text = serde_json::to_string(&json!([rule.data["spec"], rule.labels(), owners]))?;
        // Namespaces are part of the rules, and each try has its own; so has the revision, which is of all there is.
        let groups = rule.data["spec"]["groups"].as_array().into_iter().flatten();
        let mut expressions = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let revision = expressions.find_map(|rule| plimsoll_slo::revision::read(rule["expr"].as_str()?));
        let text = text.replace(namespace, "NAMESPACE").replace(revision.context("a revision")?, "REVISION");
        all.insert(format!("rule {}", rule.name_any()), Value::String(text));
    }
    for slo in Api::<Slo>::namespaced(client.clone(), namespace).list(&ListParams::default()).await? {
        let mut status = serde_json::to_value(&slo.status)?;
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = Value::Null;
        }
        let text = serde_json::to_string(&json!([status, slo.finalizers()]))?;
        all.insert(format!("slo {}", slo.name_any()), Value::String(text.replace(namespace, "NAMESPACE")));
    }
    Ok(all)
}

/// Versions of all SLOs and rules: equal ones mean that nothing was written.
pub(crate) async fn versions(client: &Client, namespace: &str) -> Result<BTreeMap<String, Option<String>>> {
    let mut all = BTreeMap::new();
    for rule in rules(client, namespace).list(&ListParams::default()).await? {
        all.insert(format!("rule {}", rule.name_any()), rule.resource_version());
    }
    for slo in Api::<Slo>::namespaced(client.clone(), namespace).list(&ListParams::default()).await? {
        all.insert(format!("slo {}", slo.name_any()), slo.resource_version());
    }
    Ok(all)
}
