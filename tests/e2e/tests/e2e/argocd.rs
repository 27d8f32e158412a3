//! Argo CD with our health checks: each of them on its own, and a Git repository of our objects from the first commit on.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::Api;
use plimsoll_api::{AlertRule, Slo, conditions};
use plimsoll_e2e::{Needs, Test, Testbed, operator::Operator, test};
use plimsoll_testbed::{Application, ArgoCd, Component, Folder, Program, Stack, free_port, wait_until};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::{SOON, condition};

const CLI: &[Component] = &[Component::ArgoCd];
const SERVERS: &[Component] = &[
    Component::Prometheus,
    Component::Etcd,
    Component::Kubernetes,
    Component::Alertmanager,
    Component::PrometheusOperator,
    Component::ArgoCd,
];
const NAMESPACE: &str = "shop";
const APPLICATION: &str = "slos";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(CLI, every_state_of_every_kind_has_its_health),
        test(Needs { components: SERVERS, node: false, programs: &["git"] }, a_repository_is_kept_and_judged),
    ]
}

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/argocd")
}

/// A `health_test.yaml`, of the layout that Argo CD's own repository has.
#[derive(Deserialize)]
struct Cases {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    health_status: HealthStatus,
    input_path: PathBuf,
}

#[derive(Deserialize)]
struct HealthStatus {
    status: String,
    message: String,
}

/// The settings that `manifests/argocd/argocd-cm.yaml` adds to Argo CD's own.
fn settings() -> Result<BTreeMap<String, String>> {
    let patch: Value = serde_saphyr::from_str(&std::fs::read_to_string(manifests().join("argocd-cm.yaml"))?)?;
    Ok(serde_json::from_value(patch["data"].clone())?)
}

async fn every_state_of_every_kind_has_its_health(testbed: &Testbed) -> Result<()> {
    let folder = Folder::new("argocd-settings")?;
    let config = folder.join("argocd-cm.yaml");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": settings()?,
        "metadata": {"name": "argocd-cm", "labels": {"app.kubernetes.io/part-of": "argocd"}}});
    std::fs::write(&config, map.to_string())?;
    let (mut kinds, mut seen) = (0, 0);
    for kind in std::fs::read_dir(manifests().join("resource_customizations/plimsoll.dev"))? {
        let kind = kind?.path();
        kinds += 1;
        let cases: Cases = serde_saphyr::from_str(&std::fs::read_to_string(kind.join("health_test.yaml"))?)?;
        let files = std::fs::read_dir(kind.join("testdata"))?.count();
        ensure!(files == cases.tests.len(), "{}: {files} files for {} tests", kind.display(), cases.tests.len());
        for Case { health_status: HealthStatus { status, message }, input_path } in cases.tests {
            let [input, config] = [kind.join(input_path), config.clone()].map(|path| path.display().to_string());
            let command = ["admin", "settings", "resource-overrides", "health"];
            let arguments = [&command[..], &[&input, "--argocd-cm-path", &config]].concat();
            let told = ArgoCd::cli(testbed.bin(), &arguments).await?;
            let wanted = format!("STATUS: {status}\nMESSAGE: {message}");
            ensure!(told.contains(wanted.trim()), "{input}: {told}instead of\n{wanted}");
            seen += 1;
        }
    }
    ensure!(kinds == 5 && seen > 30, "{seen} states of {kinds} kinds");
    Ok(())
}

/// A Git repository that a team would have.
struct Repository(Folder);

impl Repository {
    async fn new() -> Result<Self> {
        let this = Self(Folder::new("repository")?);
        this.git(&["init", "--quiet", "--initial-branch=main"]).await?;
        Ok(this)
    }

    async fn git(&self, arguments: &[&str]) -> Result<String> {
        let program = Program::new("git")
            .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
            .args(arguments)
            .folder(self.0.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        program.run("", Duration::from_secs(30)).await?.success()
    }

    fn write(&self, objects: &[(&str, Value)]) -> Result<()> {
        for (name, object) in objects {
            // JSON is YAML.
            std::fs::write(self.0.join(format!("{name}.yaml")), object.to_string())?;
        }
        Ok(())
    }

    /// Commits what differs; gives the commit.
    async fn commit(&self, message: &str) -> Result<String> {
        self.git(&["add", "--all"]).await?;
        self.git(&["commit", "--quiet", "--message", message]).await?;
        Ok(self.git(&["rev-parse", "HEAD"]).await?.trim().to_owned())
    }
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn slo(name: &str) -> Value {
    let series = format!("{name}_requests_total");
    object(
        "SLO",
        name,
        json!({
            "objective": "99", "period": {"rolling": "10m"},
            "sli": {"events": {"bad": format!("{series}{{job=\"sample\",code=~\"5..\"}}"), "total": format!("{series}{{job=\"sample\"}}")}},
            "alerting": {"tiers": [{"name": "fast", "burnRate": "5", "longWindow": "20s", "shortWindow": "5s"}]},
        }),
    )
}

fn objects() -> Vec<(&'static str, Value)> {
    vec![
        ("account", json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "evidence"}})),
        ("cart", slo("cart")),
        ("checkout", slo("checkout")),
        (
            "pods",
            object(
                "AlertRule",
                "pods",
                json!({"rules": [{"alert": "CartGrows", "expr": "cart_requests_total > 1e12"}]}),
            ),
        ),
        (
            "runbook",
            object(
                "Runbook",
                "pause",
                json!({
                    "serviceAccountName": "evidence", "trigger": {"manual": {}}, "steps": [{"name": "pause", "wait": "1s"}],
                }),
            ),
        ),
    ]
}

/// What Argo CD must say, asked until it does.
struct Judge<'a>(&'a ArgoCd);

impl Judge<'_> {
    async fn says(&self, what: &str, wanted: impl Fn(&Application) -> bool) -> Result<Application> {
        self.0.refresh(APPLICATION).await?;
        let what = format!("Argo CD to say: {what}");
        let found = wait_until(&what, SOON * 2, async || {
            let found = self.0.look(APPLICATION).await?;
            ensure!(wanted(&found), "{}", found.status);
            Ok(Some(found))
        });
        found.await.with_context(|| self.0.log_tail(10))
    }

    /// That everything of a commit is there and works.
    async fn healthy(&self, revision: &str, resources: usize) -> Result<Application> {
        self.says("Synced and Healthy", |found| {
            let all = found
                .resources
                .values()
                .all(|one| one.sync == "Synced" && ["", "Healthy"].contains(&one.health.as_str()));
            found.revision == revision
                && found.sync == "Synced"
                && found.health == "Healthy"
                && found.resources.len() == resources
                && all
        })
        .await
    }
}

async fn a_repository_is_kept_and_judged(testbed: &Testbed) -> Result<()> {
    let stack = Stack::start(testbed.bin()).await?;
    let plane = &stack.control_plane;
    plane.apply_crds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds")).await?;
    for namespace in [NAMESPACE, "plimsoll-system"] {
        plane.kubectl(["create", "namespace", namespace]).await?;
    }
    stack.sample.rate("cart_requests_total", "code=\"200\"", 50.0);
    stack.sample.rate("checkout_requests_total", "code=\"200\"", 50.0);
    let webhook = format!("127.0.0.1:{}", free_port()?);
    let url = format!("https://{webhook}");
    let arguments = ["--prometheus", stack.prometheus.url(), "--runbooks", "--namespace", "plimsoll-system"];
    let arguments = [&arguments[..], &["--webhook-listen", &webhook, "--webhook-url", &url]].concat();
    let operator = Operator::start(testbed.plimsoll()?, plane, &arguments).await?;
    let repository = Repository::new().await?;
    repository.write(&objects())?;
    let first = repository.commit("SLOs of the shop").await?;
    let argo = ArgoCd::start(testbed.bin(), plane, &settings()?).await?;
    argo.application(APPLICATION, repository.0.path(), NAMESPACE).await?;
    let judge = Judge(&argo);
    let found = judge.healthy(&first, 5).await?;
    for name in ["SLO/cart", "SLO/checkout", "AlertRule/pods", "Runbook/pause"] {
        // Not Healthy for want of a check: it has one, and that says so.
        ensure!(found.resources.get(name).is_some_and(|one| one.health == "Healthy"), "{name}: {}", found.status);
    }

    // A service in trouble is no trouble of its SLO's.
    let client = plane.client().await?;
    let slos: Api<Slo> = Api::namespaced(client.clone(), NAMESPACE);
    stack.sample.rate("checkout_requests_total", "code=\"500\"", 50.0);
    wait_until("checkout to burn", SOON, async || {
        let burning = condition(&slos.get("checkout").await?, conditions::BURNING);
        Ok(burning.is_some_and(|(status, ..)| status == "True").then_some(()))
    })
    .await?;
    judge.healthy(&first, 5).await?;

    // What somebody changes by hand is put back.
    plane
        .kubectl(["-n", NAMESPACE, "patch", "slo", "cart", "--type=merge", "-p", r#"{"spec":{"objective":"50"}}"#])
        .await?;
    wait_until("the objective to be put back", SOON, async || {
        Ok((slos.get("cart").await?.spec.objective == "99").then_some(()))
    })
    .await?;

    // What cannot work is Degraded, in our words, and nothing else is.
    let mut broken = slo("cart");
    broken["spec"]["backend"] = json!("mimir");
    repository.write(&[("cart", broken)])?;
    let second = repository.commit("Another backend").await?;
    let message = "spec.backend: no backend is named mimir; configured are default";
    let found = judge
        .says("Degraded, with our message", |found| {
            let cart = found.resources.get("SLO/cart");
            found.revision == second && cart.is_some_and(|one| one.health == "Degraded" && one.message == message)
        })
        .await?;
    ensure!(found.health == "Degraded" && found.sync == "Synced", "{}", found.status);
    let others = found.resources.iter().filter(|(name, _)| *name != "SLO/cart");
    for (name, managed) in others {
        ensure!(["", "Healthy"].contains(&managed.health.as_str()), "{name}: {managed:?}");
    }

    // What leaves the repository leaves the cluster.
    repository.write(&[("cart", slo("cart"))])?;
    repository.git(&["rm", "--quiet", "pods.yaml"]).await?;
    let third = repository.commit("No alert of carts").await?;
    judge.healthy(&third, 4).await?;
    let rules: Api<AlertRule> = Api::namespaced(client, NAMESPACE);
    wait_until("the AlertRule to be gone", SOON, async || Ok(rules.get_opt("pods").await?.is_none().then_some(())))
        .await?;
    drop((argo, operator));
    Ok(())
}
