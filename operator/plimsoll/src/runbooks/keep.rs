//! Executions are kept as long as anything counts them, as long as what started them holds, and as long as people want to
//! read them; artifacts as long as their runbooks say.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
    core::DeserializeGuard,
};
use plimsoll_api::{Runbook, RunbookExecution, execution::Phase, runbook::Artifacts};
use tokio_util::sync::CancellationToken;

use super::{Execution, circumstances, room};
use crate::{
    actions::{Outside, account},
    artifacts::{Archive, ArtifactsConfig, sweep::Whose},
    sinks::kubernetes::chain,
};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(600);
/// Each so many looks everything is looked through that stores grant with their own keys: buckets may be large.
const GRANTED: u32 = 6;
/// How many executions are read at once.
const PAGE: u32 = 200;

/// Removes what is over.
pub struct Keeper {
    /// A client that writes only while this process leads.
    pub client: Client,
    /// The Prometheus that is asked whether what started an execution still holds.
    pub outside: Outside,
    /// Where artifacts are.
    pub artifacts: ArtifactsConfig,
    /// How many days executions are kept.
    pub days: u16,
    /// How many there may be.
    pub most: u64,
}

impl Keeper {
    /// Looks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            let mut ticks = tokio::time::interval(LOOK);
            for n in 0_u32.. {
                ticks.tick().await;
                self.look(Timestamp::now()).await;
                if n % GRANTED == 0 {
                    self.granted(Timestamp::now()).await;
                }
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// Removes what is over at a time.
    pub async fn look(&self, now: Timestamp) {
        let mut places = match self.executions(now).await {
            Ok(places) => places,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "executions could not be looked through");
                BTreeSet::new()
            }
        };
        match self.runbooks().await {
            Ok(more) => places.extend(more),
            Err(error) => tracing::warn!(error = %chain(&error), "runbooks could not be looked through"),
        }
        for name in self.artifacts.volumes.keys() {
            match Archive::volume(name, &self.artifacts) {
                Ok(archive) => sweep(&archive, Whose::All, now, name).await,
                Err(error) => tracing::warn!(%error, "a volume could not be swept"),
            }
        }
        for Place { namespace, account, artifacts } in places {
            let Ok(artifacts) = serde_json::from_str::<Artifacts>(&artifacts) else { continue };
            let Ok(client) = account::client(&self.client, &namespace, &account, None) else { continue };
            match Archive::open(&artifacts, &self.artifacts, &client, &namespace).await {
                Ok(archive) => sweep(&archive, Whose::Namespace(&namespace), now, &account).await,
                Err(error) => tracing::warn!(%error, %namespace, "a bucket could not be swept"),
            }
        }
    }

    /// Looks through all that stores grant with their own keys: what runbooks that are gone have left there goes as well.
    pub async fn granted(&self, now: Timestamp) {
        for (name, store) in &self.artifacts.stores {
            for bucket in &store.buckets {
                match Archive::granted(store, bucket) {
                    Ok(archive) => sweep(&archive, Whose::Below(&bucket.namespaces), now, name).await,
                    Err(error) => tracing::warn!(%error, store = name, "a store could not be swept"),
                }
            }
        }
    }

    /// The buckets of runbooks that have run: their executions may be gone, and what those have left is not.
    async fn runbooks(&self) -> Result<BTreeSet<Place>, kube::Error> {
        let all: Api<DeserializeGuard<Runbook>> = Api::all(self.client.clone());
        let place = |runbook: DeserializeGuard<Runbook>| {
            let runbook = runbook.0.ok()?;
            runbook.status.as_ref()?.last_execution.as_ref()?;
            let namespace = runbook.namespace()?;
            place(namespace, &runbook.spec.service_account_name, runbook.spec.artifacts.as_ref())
        };
        let all = all.list(&ListParams::default()).await?;
        Ok(all.items.into_iter().filter_map(place).collect())
    }

    /// Removes executions; gives the buckets that there may be something in.
    async fn executions(&self, now: Timestamp) -> Result<BTreeSet<Place>, kube::Error> {
        let mut places = BTreeSet::new();
        let is_tight = room::count(&self.client).await?.saturating_mul(4) >= self.most.saturating_mul(3);
        let all: Api<Execution> = Api::all(self.client.clone());
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = all.list(&params).await?;
            // What cannot be read bears no seal, and is not the operator's to remove.
            for execution in page.items.iter().filter_map(|guarded| guarded.0.as_ref().ok()) {
                let namespace = execution.namespace().unwrap_or_default();
                let spec = &execution.spec;
                places.extend(place(namespace.clone(), &spec.service_account_name, spec.artifacts.as_ref()));
                let was_skipped = execution.status.as_ref().is_some_and(|status| status.phase == Phase::Skipped);
                // Of what was skipped nothing was done: it makes room for what may be.
                let days = if is_tight && was_skipped { 1 } else { self.days };
                if is_over(execution, days, now) && !self.holds(execution).await {
                    self.delete(&namespace, execution).await;
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(places),
            }
        }
    }

    /// Whether what started an execution may still hold: once the execution is gone, it would be made and done anew.
    async fn holds(&self, execution: &RunbookExecution) -> bool {
        if execution.spec.trigger.condition.is_none() || self.outside.prometheus.is_none() {
            return false;
        }
        circumstances::holds(&self.outside, execution).await.unwrap_or(true)
    }

    async fn delete(&self, namespace: &str, execution: &RunbookExecution) {
        let api: Api<RunbookExecution> = Api::namespaced(self.client.clone(), namespace);
        let preconditions = Preconditions { uid: execution.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match api.delete(&execution.name_any(), &params).await {
            Ok(_) => tracing::info!(execution = %execution.name_any(), %namespace, "an old execution was removed"),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => tracing::warn!(error = %chain(&error), "an old execution could not be removed"),
        }
    }
}

/// A bucket and who may read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    namespace: String,
    account: String,
    artifacts: String,
}

/// The bucket of a runbook or an execution, if it has one.
fn place(namespace: String, account: &str, artifacts: Option<&Artifacts>) -> Option<Place> {
    let s3 = artifacts?.s3.clone()?;
    // Quota and time are no part of where it is.
    let artifacts = Artifacts { s3: Some(s3), ..Artifacts::default() };
    Some(Place { namespace, account: account.to_owned(), artifacts: serde_json::to_string(&artifacts).ok()? })
}

async fn sweep(archive: &Archive, whose: Whose<'_>, now: Timestamp, name: &str) {
    match archive.sweep(whose, now).await {
        Ok(0) => {}
        Ok(steps) => tracing::info!(steps, name, "artifacts whose time is over were removed"),
        Err(error) => tracing::warn!(%error, name, "artifacts could not be swept"),
    }
}

/// Whether nothing counts an execution any more: it ended, its artifacts are gone, and its cooldown and the days are over.
pub fn is_over(execution: &RunbookExecution, days: u16, now: Timestamp) -> bool {
    let Some(status) = execution.status.as_ref().filter(|status| status.phase.is_terminal()) else { return false };
    let Some(finished) = status.finished_at.as_ref().map(|time| time.0) else { return false };
    let cooldown = plimsoll_slo::duration::parse(&execution.spec.cooldown, "").map_or(0, |span| span.as_seconds());
    let seconds = (u64::from(days) * 86_400).max(cooldown);
    let kept = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    let artifacts = status.steps.iter().flat_map(|step| &step.effect.artifacts);
    let expires = artifacts.filter_map(|artifact| artifact.expires.as_ref()).map(|time| time.0).max();
    finished.saturating_add(kept).is_ok_and(|until| until <= now) && expires.is_none_or(|expires| expires <= now)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use serde_json::{Value, from_value, json};
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{any, method, path},
    };

    use super::*;
    use crate::{
        actions::Endpoint,
        artifacts::config::{Bucket, Store},
        operator::gate::GateLayer,
        testing::FakeApi,
    };

    /// A bucket with the artifacts of one step, at a prefix; gives what was removed of it.
    async fn bucket(prefix: &str) -> MockServer {
        crate::prometheus::http_client().unwrap();
        let server = MockServer::start().await;
        let step = format!("{prefix}shop/crash/gone/heap");
        let manifest = json!({"version": 1, "namespace": "shop", "runbook": "crash", "execution": "gone", "step": "heap",
            "created": "2026-01-01T00:00:00Z", "expires": "2026-01-02T00:00:00Z", "artifacts": []});
        let content = |name: &str| {
            format!(
                "<Contents><Key>{step}/{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>9</Size></Contents>"
            )
        };
        let list = format!(
            "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>{}{}</ListBucketResult>",
            content("heap.pb.gz"),
            content("manifest.json")
        );
        let read = ResponseTemplate::new(200)
            .set_body_json(manifest)
            .insert_header("etag", "\"e\"")
            .insert_header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT");
        Mock::given(path(format!("/dumps/{step}/manifest.json")))
            .and(method("GET"))
            .respond_with(read)
            .mount(&server)
            .await;
        Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_string(list)).mount(&server).await;
        Mock::given(method("DELETE")).respond_with(ResponseTemplate::new(204)).mount(&server).await;
        server
    }

    async fn removed(server: &MockServer) -> Vec<String> {
        let requests = server.received_requests().await.unwrap();
        requests.iter().filter(|r| r.method == "DELETE").map(|r| r.url.path().to_owned()).collect()
    }

    fn keeper(api: &FakeApi, store: Store) -> Keeper {
        let (gate, http) = (GateLayer::open(), crate::prometheus::http_client().unwrap());
        let (prometheus, alertmanager, grafana, destinations) = (None, None, None, BTreeMap::new());
        let outside = Outside { http, gate, prometheus, alertmanager, grafana, destinations };
        let artifacts = ArtifactsConfig { stores: [("minio".to_owned(), store)].into(), ..ArtifactsConfig::default() };
        Keeper { client: api.client(), outside, artifacts, days: 7, most: 1000 }
    }

    /// Somebody has deleted the executions; what they have left has its time all the same.
    #[tokio::test]
    async fn what_deleted_executions_have_left_in_a_bucket_goes_in_its_time() {
        let server = bucket("own/").await;
        let api = FakeApi::default();
        api.put(
            "/api/v1/namespaces/shop/secrets/own",
            json!({"metadata": {"name": "own"},
            "data": {"accessKeyId": "eA==", "secretAccessKey": "eA=="}}),
        );
        let runbook = |last: Value| {
            json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "Runbook", "metadata": {"name": "crash", "namespace": "shop"},
                "spec": {"serviceAccountName": "s", "trigger": {"manual": {}}, "steps": [{"name": "a", "wait": "1s"}],
                    "artifacts": {"s3": {"bucket": "dumps", "prefix": "own", "store": "minio", "secretName": "own"}}},
                "status": {"lastExecution": last}})
        };
        let at = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbooks/crash";
        let keeper = keeper(&api, Store { endpoint: Some(server.uri()), ..Store::default() });
        api.put(at, runbook(Value::Null));
        keeper.look("2026-02-01T00:00:00Z".parse().unwrap()).await;
        assert!(removed(&server).await.is_empty(), "one that never ran has left nothing");
        api.put(at, runbook(json!("gone")));
        keeper.look("2026-01-01T12:00:00Z".parse().unwrap()).await;
        assert!(removed(&server).await.is_empty(), "its time is not over");
        keeper.look("2026-02-01T00:00:00Z".parse().unwrap()).await;
        let step = "/dumps/own/shop/crash/gone/heap";
        assert_eq!(removed(&server).await, [format!("{step}/heap.pb.gz"), format!("{step}/manifest.json")]);
    }

    /// Nor is anything left in what stores grant when runbook and namespace are gone.
    #[tokio::test]
    async fn what_gone_runbooks_have_left_in_a_granted_bucket_goes_in_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, "k").unwrap();
        for (namespaces, count) in [(vec![], 2), (vec!["shop".to_owned()], 2), (vec!["bank".to_owned()], 0)] {
            let server = bucket("shop/deep/").await;
            let store = Store {
                endpoint: Some(server.uri()),
                access_key_id_file: Some(key.clone()),
                secret_access_key_file: Some(key.clone()),
                buckets: vec![Bucket { name: "dumps".to_owned(), prefix: "shop/".to_owned(), namespaces }],
                ..Store::default()
            };
            keeper(&FakeApi::default(), store).granted("2026-02-01T00:00:00Z".parse().unwrap()).await;
            assert_eq!(removed(&server).await.len(), count);
        }
    }

    /// An alert that fires for longer than executions are kept is not acted upon a second time.
    #[tokio::test]
    async fn what_still_holds_is_kept() {
        let at = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/x";
        let series = json!([{"metric": {"alertname": "A"}, "value": [0, "1"]}]);
        let is_kept = async |answer: ResponseTemplate, condition: Option<&str>| {
            let server = MockServer::start().await;
            Mock::given(any()).respond_with(answer).mount(&server).await;
            let prometheus = Endpoint { url: server.uri(), tenant: None, bearer_token_file: None };
            let (gate, http) = (GateLayer::open(), crate::prometheus::http_client().unwrap());
            let (alertmanager, grafana, destinations) = (None, None, BTreeMap::new());
            let outside = Outside { http, gate, prometheus: Some(prometheus), alertmanager, grafana, destinations };
            let api = FakeApi::default();
            let mut execution = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
                "metadata": {"name": "x", "namespace": "shop"},
                "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
                    "trigger": {"kind": "Alert", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"},
                    "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"},
                "status": {"phase": "Failed", "finishedAt": "2026-01-01T00:00:00Z", "steps": []}});
            if let Some(condition) = condition {
                execution["spec"]["trigger"]["condition"] = json!(condition);
            }
            api.put(at, execution);
            api.put_no_execution("broken");
            let keeper =
                Keeper { client: api.client(), outside, artifacts: ArtifactsConfig::default(), days: 7, most: 1000 };
            keeper.look("2026-02-01T00:00:00Z".parse().unwrap()).await;
            assert_eq!(api.count("/broken"), 1, "who has made it removes it");
            api.get(at).is_some()
        };
        let vector = |result: &Value| {
            let answer = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
            ResponseTemplate::new(200).set_body_json(answer)
        };
        let fires = Some("ALERTS{alertname=\"A\",alertstate=\"firing\"}");
        assert!(is_kept(vector(&series), fires).await, "it fires");
        assert!(is_kept(ResponseTemplate::new(503), fires).await, "nobody knows");
        assert!(!is_kept(vector(&json!([])), fires).await, "it is over");
        assert!(!is_kept(vector(&series), None).await, "a schedule has nothing that could hold");
    }

    /// Where there is little room, what was only looked at and left makes room for what may be done.
    #[tokio::test]
    async fn what_was_skipped_goes_after_a_day_where_there_is_little_room() {
        let at = |name: &str| format!("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/{name}");
        for (most, left) in [(5, vec!["acted", "acted-too", "skipped"]), (4, vec!["acted", "acted-too"])] {
            let api = FakeApi::default();
            for (name, phase) in [("acted", "Failed"), ("acted-too", "Succeeded"), ("skipped", "Skipped")] {
                let execution = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
                    "metadata": {"name": name, "namespace": "shop"},
                    "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
                        "trigger": {"kind": "Alert", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"},
                        "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"},
                    "status": {"phase": phase, "finishedAt": "2026-01-01T00:00:00Z"}});
                api.put(&at(name), execution);
            }
            let keeper = Keeper { most, ..keeper(&api, Store::default()) };
            keeper.look("2026-01-02T00:00:00Z".parse().unwrap()).await;
            let names = ["acted", "acted-too", "skipped"];
            assert_eq!(names.into_iter().filter(|name| api.get(&at(name)).is_some()).collect::<Vec<_>>(), left);
        }
    }

    #[test]
    fn what_still_counts_is_kept() {
        let given = |change: fn(&mut Value)| {
            let mut execution = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution", "metadata": {"name": "x"},
                "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
                    "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"},
                    "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"},
                "status": {"phase": "Failed", "finishedAt": "2026-01-01T00:00:00Z", "steps": []}});
            change(&mut execution);
            is_over(&from_value(execution).unwrap(), 1, "2026-01-02T00:00:00Z".parse().unwrap())
        };
        assert!(given(|_| {}));
        assert!(!given(|x| x["status"]["finishedAt"] = json!("2026-01-01T00:00:01Z")));
        assert!(!given(|x| x["status"]["phase"] = json!("Running")));
        assert!(!given(|x| x["status"] = Value::Null));
        assert!(!given(|x| x["spec"]["cooldown"] = json!("2d")));
        assert!(!given(|x| x["status"]["steps"] = json!([{"name": "a", "artifacts": [{"name": "f",
            "location": "volume://v/f", "bytes": 1, "sha256": "", "expires": "2026-01-03T00:00:00Z"}]}])));
    }
}
