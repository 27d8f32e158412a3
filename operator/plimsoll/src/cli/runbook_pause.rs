//! `plimsoll runbook pause|resume`: the kill switch. It is set where an operator leads, and it is done when that one says on
//! its lease that it goes by it: a pause that nobody obeys is no pause.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::{
    coordination::v1::{Lease, LeaseSpec},
    core::v1::ConfigMap,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    operator::LEASE,
    runbooks::switch::{CONFIG_MAP, OBEYS, PAUSED, REASON, obeys},
};

/// The operator reads the switch each second and says so at once; an API server that is busy takes its time.
const SOON: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(250);
/// A lease that was not renewed for so many of its lengths is of somebody who is gone; the clocks differ a little.
const GONE: i64 = 4;
/// Where the operator is installed by its chart and its manifests.
pub(super) const USUAL: &str = "plimsoll-system";
/// Makes each request another version of the ConfigMap, by which the answer to it is known.
const ASKED: &str = "plimsoll.dev/asked-at";

/// Stops all runbooks of the cluster, keeps them stopped until `resume`, and ends when the operator that leads confirms it,
/// usually within two seconds.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  plimsoll runbook pause --reason \"the cluster is being moved\"

Exit status: 0 an operator confirms it, 2 nobody does, or the cluster refuses")]
pub struct Pause {
    /// Why, for whoever finds it paused; it may be left out
    #[arg(long, short, value_name = "TEXT")]
    reason: Option<String>,
    /// The operator's namespace. Default: wherever an operator leads
    #[arg(long, value_name = "NAMESPACE")]
    operator_namespace: Option<String>,
}

/// Lets runbooks go on after `pause`, and ends when the operator that leads confirms it.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  plimsoll runbook resume

Exit status: 0 an operator confirms it, 2 nobody does, or the cluster refuses")]
pub struct Resume {
    /// The operator's namespace. Default: wherever an operator leads
    #[arg(long, value_name = "NAMESPACE")]
    operator_namespace: Option<String>,
}

impl Pause {
    /// Pauses.
    ///
    /// # Errors
    /// When it cannot be set, or nobody obeys it.
    pub async fn run(&self, client: &Client) -> anyhow::Result<String> {
        self.within(client, SOON).await
    }

    async fn within(&self, client: &Client, patience: Duration) -> anyhow::Result<String> {
        let switch = Switched { paused: true, reason: self.reason.as_deref().unwrap_or_default(), patience };
        let by = switch.set(client, self.operator_namespace.as_deref()).await?;
        Ok(format!("all runbooks are paused, says {by}; go on with: plimsoll runbook resume\n"))
    }
}

impl Resume {
    /// Lets go on.
    ///
    /// # Errors
    /// When it cannot be set, or nobody obeys it.
    pub async fn run(&self, client: &Client) -> anyhow::Result<String> {
        let switch = Switched { paused: false, reason: "", patience: SOON };
        let by = switch.set(client, self.operator_namespace.as_deref()).await?;
        Ok(format!("runbooks go on, says {by}\n"))
    }
}

/// How the switch is to be.
struct Switched<'a> {
    paused: bool,
    reason: &'a str,
    /// How long an operator may take to confirm it.
    patience: Duration,
}

impl Switched<'_> {
    /// Sets it and waits for whoever leads; gives who that is.
    async fn set(&self, client: &Client, given: Option<&str>) -> anyhow::Result<String> {
        let places = match given {
            Some(namespace) => vec![namespace.to_owned()],
            None => find(client).await?,
        };
        let mut written = Vec::new();
        for namespace in places {
            let version = self.write(client, &namespace).await?;
            written.push((namespace, version));
        }
        let (mut confirmed, mut silent) = (Vec::new(), Vec::new());
        for (namespace, version) in &written {
            match confirm(client, namespace, &obeys(self.paused, version), self.patience).await {
                Ok(holder) => confirmed.push(format!("the operator {holder} in namespace {namespace}")),
                Err(why) => silent.push(format!("{namespace}: {why}")),
            }
        }
        if silent.is_empty() {
            return Ok(confirmed.join(" and "));
        }
        let word = if self.paused { "PAUSED" } else { "RESUMED" };
        let elsewhere = others(client, &written).await;
        bail!(
            "NOT {word}, as far as can be seen: ConfigMap {CONFIG_MAP} says so, for an operator that comes, and no operator \
         confirms it in {}{elsewhere}",
            silent.join("; in ")
        )
    }

    /// Sets it in a namespace; gives the version that says so.
    async fn write(&self, client: &Client, namespace: &str) -> anyhow::Result<String> {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "annotations": {ASKED: Timestamp::now().to_string()}},
        "data": {PAUSED: self.paused.to_string(), REASON: self.reason}});
        let params = PatchParams::apply("plimsoll-cli").force();
        match api.patch(CONFIG_MAP, &params, &Patch::Apply(&object)).await {
            Ok(map) => Ok(map.resource_version().unwrap_or_default()),
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                let elsewhere = others(client, &[]).await;
                bail!("nothing was changed: there is no namespace {namespace}{elsewhere}")
            }
            Err(error) => Err(error).with_context(|| format!("ConfigMap {namespace}/{CONFIG_MAP}")),
        }
    }
}

/// Waits until the leader of a namespace says this; gives its name, or why it is not known to obey.
async fn confirm(client: &Client, namespace: &str, wanted: &str, patience: Duration) -> Result<String, String> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let until = Instant::now() + patience;
    loop {
        let why = match api.get_opt(LEASE).await {
            Ok(Some(lease)) => {
                let holder = holder(&lease);
                match (holder, lease.annotations().get(OBEYS)) {
                    (Some(holder), Some(said)) if said == wanted => return Ok(holder.to_owned()),
                    (Some(holder), Some(_)) => format!("{holder} has led there and does not answer"),
                    (Some(holder), None) => {
                        format!(
                            "{holder} has the lease there and runs no runbooks (see --runbooks), or is of an older version"
                        )
                    }
                    (None, _) => "nobody leads there now".to_owned(),
                }
            }
            Ok(None) => "there is none: no lease, unless it runs with --no-leader-election, and then its metric \
                         plimsoll_runbooks_paused says whether it obeys"
                .to_owned(),
            // Whoever may not read it waits in vain.
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                return Err(format!(
                    "you may not read its lease {LEASE}; its metric plimsoll_runbooks_paused says whether it obeys"
                ));
            }
            Err(error) => format!("its lease cannot be read: {error}"),
        };
        if Instant::now() >= until {
            return Err(why);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// Where an operator leads; where none does, wherever one has led, since one may come back there.
async fn find(client: &Client) -> anyhow::Result<Vec<String>> {
    let mut found = leases(client).await?;
    if found.values().any(|leads| *leads) {
        found.retain(|_, leads| *leads);
    }
    if found.is_empty() {
        bail!(
            "nothing was changed: no operator has a lease in this cluster; where one runs with --no-leader-election, or is yet to \
             come, name its namespace with --operator-namespace"
        );
    }
    Ok(found.into_keys().collect())
}

/// Where an operator leads, or has led; `None` where no lease of one is found, or may be looked for.
pub(super) async fn operator_namespace(client: &Client) -> Option<String> {
    find(client).await.ok()?.into_iter().next()
}

/// The namespaces with a lease of an operator, and whether somebody renews it.
async fn leases(client: &Client) -> anyhow::Result<BTreeMap<String, bool>> {
    let named = ListParams::default().fields(&format!("metadata.name={LEASE}"));
    let found = match Api::<Lease>::all(client.clone()).list(&named).await {
        Ok(all) => all.items.into_iter().filter(|lease| lease.name_any() == LEASE).collect(),
        // Whoever may look into some namespaces only looks into those that are likely.
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            let mut found = Vec::new();
            for namespace in [USUAL, client.default_namespace()] {
                let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
                found.extend(api.get_opt(LEASE).await.ok().flatten());
            }
            if found.is_empty() {
                bail!(
                    "nothing was changed: you may not list leases of all namespaces, and there is none of an operator that you \
                     may read in {USUAL} and {}; name the operator's namespace with --operator-namespace",
                    client.default_namespace()
                );
            }
            found
        }
        Err(error) => return Err(error).context("leases of operators"),
    };
    let now = Timestamp::now();
    Ok(found.iter().map(|lease| (lease.namespace().unwrap_or_default(), leads(lease, now))).collect())
}

fn leads(lease: &Lease, now: Timestamp) -> bool {
    let Some(LeaseSpec { renew_time: Some(renewed), lease_duration_seconds, .. }) = &lease.spec else { return false };
    let lasts = i64::from(lease_duration_seconds.unwrap_or(15)) * GONE;
    holder(lease).is_some() && now.duration_since(renewed.0).as_secs() < lasts
}

/// Where an operator leads besides.
async fn others(client: &Client, tried: &[(String, String)]) -> String {
    let mut found = leases(client).await.unwrap_or_default();
    found.retain(|namespace, leads| *leads && tried.iter().all(|(tried, _)| tried != namespace));
    if found.is_empty() {
        return String::new();
    }
    let found: Vec<String> = found.into_keys().collect();
    format!("; an operator leads in {0}: try --operator-namespace {0}", found.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        operator::{
            Leadership,
            election::{self, Terms},
            gate,
            metrics::Metrics,
        },
        runbooks::switch::{Obeyed, Switch},
        testing::FakeApi,
    };

    /// What the operator does about the switch: it holds its lease, and reads the switch where it runs runbooks.
    async fn operator(api: &FakeApi, namespace: &str, runbooks: bool) {
        let (lease, obeyed) = (gate::Lease::default(), Obeyed::default());
        let terms = Terms {
            identity: format!("operator-of-{namespace}"),
            namespace: namespace.to_owned(),
            names: vec![LEASE.to_owned()],
            duration: Duration::from_secs(600),
        };
        let office = Leadership::new(Metrics::new(), &obeyed);
        let switch = Switch::new(api.client(), namespace, Metrics::new()).obeying(obeyed);
        let held = [lease];
        let elected = election::run(api.client(), terms, &held, &office, CancellationToken::new());
        let reads = async {
            if runbooks {
                switch.watch().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::join!(elected, reads);
    }

    async fn led(api: &FakeApi, namespace: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        while api.get(&at(namespace)).is_none_or(|lease| lease["spec"]["holderIdentity"].is_null()) {
            assert!(Instant::now() < until, "nobody leads in {namespace}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn at(namespace: &str) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}")
    }

    async fn pause(client: &Client, namespace: Option<&str>) -> anyhow::Result<String> {
        let pause = Pause { reason: None, operator_namespace: namespace.map(str::to_owned) };
        pause.within(client, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn a_pause_is_one_when_the_operator_that_leads_says_so() {
        let api = FakeApi::default();
        let (client, map) = (api.client(), "/api/v1/namespaces/default/configmaps/plimsoll-runbooks");
        let nobody = pause(&client, None).await.unwrap_err().to_string();
        assert!(nobody.starts_with("nothing was changed: no operator has a lease in this cluster"), "{nobody}");
        assert_eq!(api.count("configmaps"), 0);

        let test = async {
            led(&api, "default").await;
            // It is found wherever it is, and answers before it would renew its lease, which is after 100 s.
            let said = pause(&client, None).await.unwrap();
            assert_eq!(
                said,
                "all runbooks are paused, says the operator operator-of-default in namespace default; \
                 go on with: plimsoll runbook resume\n"
            );
            assert_eq!(api.get(map).unwrap()["data"][PAUSED], "true");
            // A second time is asked again.
            pause(&client, None).await.unwrap();
            let said = Resume { operator_namespace: None }.run(&client).await.unwrap();
            assert_eq!(said, "runbooks go on, says the operator operator-of-default in namespace default\n");
            assert_eq!(api.get(map).unwrap()["data"][PAUSED], "false");

            // Where nobody is, that is said, and where somebody is.
            let wrong = pause(&client, Some("plimsoll-system")).await.unwrap_err().to_string();
            assert!(wrong.starts_with("NOT PAUSED"), "{wrong}");
            assert!(wrong.ends_with("an operator leads in default: try --operator-namespace default"), "{wrong}");
        };
        tokio::select! {
            () = operator(&api, "default", true) => {}
            () = test => {}
        }
        // It is gone: what it said last is no answer to what is asked now.
        let gone = pause(&client, None).await.unwrap_err().to_string();
        assert!(gone.contains("operator-of-default has led there and does not answer"), "{gone}");
    }

    #[tokio::test]
    async fn an_operator_without_runbooks_confirms_nothing() {
        let api = FakeApi::default();
        let client = api.client();
        let test = async {
            led(&api, "ops").await;
            let said = pause(&client, None).await.unwrap_err().to_string();
            assert!(said.contains("in ops: operator-of-ops has the lease there and runs no runbooks"), "{said}");
        };
        tokio::select! {
            () = operator(&api, "ops", false) => {}
            () = test => {}
        }
    }

    #[test]
    fn who_does_not_renew_a_lease_does_not_lead() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let lease = |spec| serde_json::from_value::<Lease>(json!({"metadata": {}, "spec": spec})).unwrap();
        for (spec, wanted) in [
            (
                json!({"holderIdentity": "a", "renewTime": "2026-01-01T00:00:50.000000Z", "leaseDurationSeconds": 15}),
                true,
            ),
            // A clock that is ahead.
            (
                json!({"holderIdentity": "a", "renewTime": "2026-01-01T00:01:30.000000Z", "leaseDurationSeconds": 15}),
                true,
            ),
            (
                json!({"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.000000Z", "leaseDurationSeconds": 15}),
                false,
            ),
            (json!({"holderIdentity": "", "renewTime": "2026-01-01T00:00:50.000000Z"}), false),
            (json!({"leaseDurationSeconds": 15}), false),
        ] {
            assert_eq!(leads(&lease(spec.clone()), now), wanted, "{spec}");
        }
    }
}
