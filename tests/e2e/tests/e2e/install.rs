//! What is installed: the chart and what is made of it, on a real API server.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use plimsoll_api::Slo;
use plimsoll_e2e::{Test, Testbed, test};
use plimsoll_testbed::{Component, ControlPlane, ControlPlaneOptions, Folder, Helm, PrometheusOperator, wait_until};
use serde_json::{Value, json};

use crate::cluster::{SOON, apply, slo};

/// etcd, the API server, the kinds of prometheus-operator, Helm.
pub(crate) const SERVERS: &[Component] =
    &[Component::Etcd, Component::Kubernetes, Component::PrometheusOperator, Component::Helm];
const HELM: &[Component] = &[Component::Helm];
pub(crate) const NAMESPACE: &str = "plimsoll-system";
/// A namespace that looks like a number.
const NUMBER: &str = "456";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(HELM, values_that_cannot_be_meant_are_refused),
        test(HELM, no_right_is_for_a_part_that_is_not_used),
        test(SERVERS, the_api_server_takes_whatever_is_installed),
        test(SERVERS, removing_the_chart_leaves_what_is_the_users),
        test(SERVERS, its_pod_is_let_in_where_pods_are_restricted),
    ]
}

pub(crate) fn manifests(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests").join(name)
}

pub(crate) fn chart() -> String {
    manifests("helm/plimsoll").display().to_string()
}

/// Everything that can be turned on, and everything that takes a list; with names that YAML would take for numbers, that are
/// longer than a volume's, and that have a dot.
fn everything() -> Value {
    let from = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    json!({
        "replicas": 1,
        "image": {"repository": "registry.example/plimsoll", "digest": format!("sha256:{}", "0".repeat(64))},
        "imagePullSecrets": [{"name": "registry"}],
        "config": {
            "prometheus": {"url": "http://prometheus:9090", "bearerTokenFile": "/var/run/secrets/plimsoll/prometheus/token"},
            "backends": {"default": {"prometheusRule": {"labels": {"release": "main"}}}, "victoria": {"vmRule": {}},
                "mimir": {"rulerApi": {"url": "http://mimir:8080"}}},
            "runbooks": {"images": ["registry.example/debug/"]},
        },
        "secrets": ["prometheus", "123", "s".repeat(253), "tls.example"],
        "runbooks": {
            "enabled": true, "alertTokenSecrets": ["alertmanager", "0x7", "a".repeat(253), "alertmanager.next"],
            "accounts": [{"name": "evidence", "namespace": "shop", "rules": rules},
                {"name": "123", "namespace": NUMBER, "rules": rules}],
        },
        "page": {"enabled": true}, "anomaly": {"shards": 4},
        "stateClaim": "1e3", "logLevel": "debug",
        "arguments": ["--anomaly-bands=5", "--webhook-cert=/var/run/secrets/plimsoll/tls.example/tls.crt",
            "--webhook-key=/var/run/secrets/plimsoll/tls.example/tls.key", "--webhook-ca=/var/run/secrets/plimsoll/tls.example/ca.crt"],
        "env": [{"name": "TZ", "value": "UTC"}],
        "volumes": [{"name": "evidence", "persistentVolumeClaim": {"claimName": "evidence"}}],
        "volumeMounts": [{"name": "evidence", "mountPath": "/var/lib/plimsoll/evidence"}],
        "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["prometheus"]}],
        "podLabels": {"team": "sre"}, "podAnnotations": {"note": "a"}, "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}}, "priorityClassName": "system-cluster-critical",
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn"}},
        "networkPolicy": {
            "metricsFrom": from, "webhookFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "alertsFrom": from, "pageFrom": from,
            "egress": [{"ports": [{"port": 6443}]}],
        },
        "serviceMonitor": {"enabled": true, "labels": {"release": "main"}},
        "dashboards": {"enabled": true},
    })
}

/// An API server with prometheus-operator's kinds.
pub(crate) async fn bare(testbed: &Testbed) -> Result<ControlPlane> {
    let plane = ControlPlane::start(testbed.bin(), ControlPlaneOptions::api_only()).await?;
    PrometheusOperator::install_crds(testbed.bin(), &plane).await?;
    Ok(plane)
}

/// The same, with the namespaces that everything is in.
async fn plane(testbed: &Testbed) -> Result<ControlPlane> {
    let plane = bare(testbed).await?;
    plane.apply(&std::fs::read_to_string(manifests("kustomize/namespace.yaml"))?).await?;
    for namespace in ["shop", NUMBER] {
        plane.kubectl(["create", "namespace", namespace]).await?;
    }
    Ok(plane)
}

async fn rendered(helm: &Helm, values: &Value) -> Result<String> {
    rendered_in(helm, NAMESPACE, values).await
}

async fn rendered_in(helm: &Helm, namespace: &str, values: &Value) -> Result<String> {
    let folder = Folder::new("values")?;
    let file = folder.join("values.yaml");
    std::fs::write(&file, values.to_string())?;
    let (chart, file) = (chart(), file.display().to_string());
    let arguments = ["template", "plimsoll", &chart, "-n", namespace, "-f", &file, "--kube-version", "1.36.0"];
    helm.run(&arguments, None).await
}

async fn values_that_cannot_be_meant_are_refused(testbed: &Testbed) -> Result<()> {
    let helm = Helm::new(testbed.bin())?;
    for (values, words) in [
        (json!({"replcias": 3}), "replcias"),
        (json!({"replicas": 0}), "replicas"),
        (json!({"image": {"digest": "latest"}}), "digest"),
        (json!({"config": {"promtheus": {}}}), "promtheus"),
        (json!({"config": {"backends": {"a": {"prometheusrule": {}}}}}), "prometheusrule"),
        (json!({"runbooks": {"accounts": [{"name": "evidence"}]}}), "accounts"),
        (
            json!({"runbooks": {"enabled": true}, "webhook": {"enabled": false}}),
            "runbooks.enabled needs webhook.enabled",
        ),
        (json!({"runbooks": {"alertTokenSecrets": ["a"]}}), "nobody takes alerts unless runbooks.enabled is true"),
        (json!({"page": {"enabled": "yes"}}), "page"),
        (json!({"anomaly": {"shards": 17}}), "shards"),
        (json!({"networkPolicy": {"pageFrom": "monitoring"}}), "pageFrom"),
        (json!({"stateClaim": "state"}), "set replicas to 1"),
        (json!({"replicas": 1, "stateClaim": "State"}), "stateClaim"),
        (json!({"secrets": ["-a"]}), "secrets"),
        (json!({"secrets": ["a..b"]}), "secrets"),
        (json!({"secrets": ["a".repeat(254)]}), "secrets"),
        (json!({"secrets": [123]}), "secrets"),
        (json!({"imagePullSecrets": [{"name": "A"}]}), "imagePullSecrets"),
        (json!({"priorityClassName": "a_b"}), "priorityClassName"),
        // The Deployment would not select its own pods.
        (json!({"podLabels": {"app.kubernetes.io/name": "other"}}), "podLabels"),
    ] {
        let refusal = rendered(&helm, &values).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(refusal.contains(words), "{values} was answered: {refusal}");
    }
    Ok(())
}

async fn no_right_is_for_a_part_that_is_not_used(testbed: &Testbed) -> Result<()> {
    let helm = Helm::new(testbed.bin())?;
    let mimir = json!({"config": {"backends": {"default": {"rulerApi": {"url": "http://mimir:8080"}}}}});
    let mut least = mimir.clone();
    least["webhook"] = json!({"enabled": false});
    least["routes"] = json!({"enabled": false});
    const OBJECTS: &str = "resources: [slos, alertrules]\n  verbs: [patch]";
    const PARTS: [&str; 7] = [
        OBJECTS,
        "prometheusrules",
        "vmrules",
        "alertmanagerconfigs",
        "[secrets]",
        "validatingwebhookconfigurations",
        "impersonate",
    ];
    // The last backend of that kind was taken out: its finalizers are still to be removed.
    let left = json!({"backendFinalizers": true, "webhook": {"enabled": false}, "routes": {"enabled": false},
        "config": {"backends": {"default": {"vmRule": {}}}}});
    for (values, rights) in [
        (json!({}), &["prometheusrules", "alertmanagerconfigs", "[secrets]", "validatingwebhookconfigurations"][..]),
        (mimir, &[OBJECTS, "alertmanagerconfigs", "[secrets]", "validatingwebhookconfigurations"]),
        (least, &[OBJECTS]),
        (left, &[OBJECTS, "vmrules"]),
        (everything(), &PARTS),
    ] {
        let text = rendered(&helm, &values).await?;
        // Without the definitions, which speak of everything.
        let roles =
            text.split("\n---\n").filter(|one| one.contains("\nkind: ClusterRole\n") || one.contains("\nkind: Role\n"));
        let rules = roles
            .flat_map(str::lines)
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n");
        let found: Vec<&str> = PARTS.into_iter().filter(|part| rules.contains(part)).collect();
        ensure!(found == rights, "{values} gives rights on {found:?}");
    }
    Ok(())
}

/// What `kubectl apply --server-side --dry-run=server` makes of it, as a list of `kind/name`.
async fn dry_run(plane: &ControlPlane, yaml: &str) -> Result<Vec<String>> {
    let arguments = ["apply", "--server-side", "--dry-run=server", "-o", "name", "-f", "-"];
    let said = plane.kubectl_with_input(arguments, yaml).await?;
    Ok(said.lines().map(str::to_owned).collect())
}

async fn the_api_server_takes_whatever_is_installed(testbed: &Testbed) -> Result<()> {
    let plane = plane(testbed).await?;
    let helm = Helm::new(testbed.bin())?;
    let least = dry_run(&plane, &rendered(&helm, &json!({})).await?).await?;
    let most = dry_run(&plane, &rendered(&helm, &everything()).await?).await?;
    let has = |all: &[String], wanted: &str| all.iter().any(|one| one == wanted);
    for (wanted, in_least) in [
        ("customresourcedefinition.apiextensions.k8s.io/slos.plimsoll.dev", true),
        ("deployment.apps/plimsoll", true),
        ("poddisruptionbudget.policy/plimsoll", true),
        ("networkpolicy.networking.k8s.io/plimsoll", true),
        ("validatingwebhookconfiguration.admissionregistration.k8s.io/plimsoll", true),
        ("service/plimsoll-webhook", true),
        ("service/plimsoll-page", false),
        ("configmap/plimsoll-config", false),
        ("servicemonitor.monitoring.coreos.com/plimsoll", false),
        ("clusterrole.rbac.authorization.k8s.io/plimsoll-runbooks", false),
        ("mutatingwebhookconfiguration.admissionregistration.k8s.io/plimsoll", false),
        ("serviceaccount/evidence", false),
        ("serviceaccount/123", false),
        ("role.rbac.authorization.k8s.io/plimsoll-acts-as-evidence", false),
        ("configmap/plimsoll-dashboard-overview", false),
    ] {
        ensure!(has(&most, wanted), "{wanted} is not among {most:?}");
        ensure!(has(&least, wanted) == in_least, "{wanted} by default: {least:?}");
    }
    dry_run(&plane, &rendered_in(&helm, NUMBER, &everything()).await?).await.context(NUMBER)?;

    // The same without Helm.
    let plain = dry_run(&plane, &std::fs::read_to_string(manifests("install.yaml"))?).await?;
    let folder = manifests("kustomize").display().to_string();
    let kustomized = dry_run(&plane, &plane.kubectl(["kustomize", &folder]).await?).await?;
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all
    };
    let mut wanted = least.clone();
    wanted.push(format!("namespace/{NAMESPACE}"));
    let wanted = sorted(wanted);
    ensure!(sorted(plain) == wanted && sorted(kustomized) == wanted, "not what the chart installs: {wanted:?}");
    for name in ["rbac.yaml", "runbooks.yaml", "webhook.yaml"] {
        dry_run(&plane, &std::fs::read_to_string(manifests(name))?).await.context(name)?;
    }
    Ok(())
}

async fn removing_the_chart_leaves_what_is_the_users(testbed: &Testbed) -> Result<()> {
    let plane = plane(testbed).await?;
    let (helm, chart) = (Helm::new(testbed.bin())?, chart());
    let helm =
        async |arguments: &[&str]| helm.run(&[arguments, &["-n", NAMESPACE]].concat(), Some(plane.kubeconfig())).await;
    helm(&["install", "plimsoll", &chart]).await?;
    let client = plane.client().await?;
    let slos: Api<Slo> = Api::namespaced(client.clone(), "shop");
    wait_until("the kind SLO", SOON, async || Ok(Some(slos.list(&ListParams::default()).await?))).await?;
    apply(&client, "shop", &[slo("checkout")]).await?;

    let values = ["--set", "runbooks.enabled=true", "--set", "config.prometheus.url=http://prometheus:9090"];
    helm(&[&["upgrade", "plimsoll", &chart][..], &values].concat()).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let arguments = arguments(&deployments.get("plimsoll").await?);
    ensure!(arguments.contains(&"--runbooks".to_owned()), "{arguments:?}");

    helm(&["uninstall", "plimsoll"]).await?;
    ensure!(deployments.get_opt("plimsoll").await?.is_none(), "the Deployment stays");
    ensure!(slos.get("checkout").await?.metadata.deletion_timestamp.is_none(), "the SLO is deleted");
    let definitions = plane.kubectl(["get", "crd", "-o", "name"]).await?;
    ensure!(definitions.matches(".plimsoll.dev").count() == 5, "{definitions}");
    // Of a webhook that nobody serves, a registration would keep people from writing their objects.
    for kind in
        ["validatingwebhookconfigurations", "mutatingwebhookconfigurations", "clusterroles", "clusterrolebindings"]
    {
        let left = plane.kubectl(["get", kind, "-o", "name"]).await?;
        ensure!(!left.contains("plimsoll"), "{left}");
    }

    // Who installs it again finds the definitions there, and nothing in the way.
    helm(&["install", "plimsoll", &chart]).await?;
    ensure!(slos.get("checkout").await?.spec.objective == "99.95");
    Ok(())
}

fn arguments(deployment: &Deployment) -> Vec<String> {
    let pod = deployment.spec.iter().filter_map(|spec| spec.template.spec.as_ref());
    pod.flat_map(|pod| &pod.containers).flat_map(|container| container.args.clone().unwrap_or_default()).collect()
}

async fn its_pod_is_let_in_where_pods_are_restricted(testbed: &Testbed) -> Result<()> {
    let plane = plane(testbed).await?;
    let helm = Helm::new(testbed.bin())?;
    let client = plane.client().await?;
    let (deployments, pods): (Api<Deployment>, Api<Pod>) =
        (Api::namespaced(client.clone(), NAMESPACE), Api::namespaced(client, NAMESPACE));
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for values in [json!({}), everything()] {
        plane.apply(&rendered(&helm, &values).await?).await?;
        let deployment = deployments.get("plimsoll").await?;
        // It is given no argument that it does not know.
        let arguments = [vec!["plimsoll".to_owned()], arguments(&deployment)].concat();
        plimsoll::cli::command().try_get_matches_from(&arguments).with_context(|| format!("{arguments:?}"))?;
        for argument in ["--page-listen=0.0.0.0:8082", "--anomaly-shards=4"] {
            ensure!(arguments.iter().any(|one| one == argument) == (values != json!({})), "{argument}: {arguments:?}");
        }
        let template = deployment.spec.context("a Deployment without spec")?.template;
        let mut spec = serde_json::to_value(template.spec)?;
        let pod = |spec: &Value| serde_json::from_value(json!({"metadata": {"name": "try"}, "spec": spec}));
        pods.create(&dry, &pod(&spec)?).await.context("the pod of the Deployment")?;
        // And they are restricted there.
        spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        let refusal = pods.create(&dry, &pod(&spec)?).await.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(refusal.contains("violates PodSecurity \"restricted:latest\""), "a pod that may more: {refusal}");
    }
    Ok(())
}
