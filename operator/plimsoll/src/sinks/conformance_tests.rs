#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::{
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    extract::{Path, Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    operator::gate::GateLayer,
    prometheus::http_client,
    sinks::{
        kubernetes::{KubeSink, Objects, Readiness},
        prometheus_rule,
        rule_files::RuleFiles,
        ruler_api::{Credentials, RulerApi},
        vm_rule,
    },
    testing::FakeApi,
};

/// An HTTP server in this process.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let limits = crate::serving::Limits::default();
    tokio::spawn(crate::serving::serve(listener, None, router, limits, tokio_util::sync::CancellationToken::new()));
    url
}

struct Files {
    gate: GateLayer,
    folder: TempDir,
    sink: Arc<RuleFiles>,
    reloads: Arc<AtomicU64>,
    fails: Arc<AtomicBool>,
}

impl Files {
    async fn new() -> Self {
        let (reloads, fails) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, failing) = (Arc::clone(&reloads), Arc::clone(&fails));
        let url = serve(Router::new().fallback(move || async move {
            if failing.load(Ordering::SeqCst) {
                return (StatusCode::INTERNAL_SERVER_ERROR, "a rule file is broken");
            }
            counted.fetch_add(1, Ordering::SeqCst);
            (StatusCode::OK, "")
        }))
        .await;
        let folder = tempfile::tempdir().unwrap();
        let gate = GateLayer::open();
        let reload = Some(format!("{url}/-/reload"));
        let sink = RuleFiles::new(folder.path().to_owned(), reload, http_client().unwrap(), gate.clone());
        Self { gate, folder, sink, reloads, fails }
    }

    fn path(&self, target: &Target) -> PathBuf {
        self.folder.path().join(format!("plimsoll_{}_{}.yaml", target.namespace, target.name))
    }
}

impl Fixture for Files {
    fn sink(&self) -> Arc<dyn RuleSink> {
        Arc::clone(&self.sink) as _
    }

    async fn writes(&self) -> u64 {
        self.reloads.load(Ordering::SeqCst)
    }

    fn lease(&self) -> &Lease {
        &self.gate.lease
    }

    async fn held(&self, target: &Target) -> Option<RuleSet> {
        let text = std::fs::read_to_string(self.path(target)).ok()?;
        // Nothing half-written stays behind.
        let others = std::fs::read_dir(self.folder.path())
            .unwrap()
            .filter(|e| !e.as_ref().unwrap().file_name().to_str().unwrap().ends_with(".yaml"));
        assert_eq!(others.count(), 0);
        serde_saphyr::from_str(&text).unwrap()
    }

    async fn tamper(&self, target: &Target) {
        let text = std::fs::read_to_string(self.path(target)).unwrap();
        std::fs::write(self.path(target), text.replace("30s", "1s")).unwrap();
    }

    async fn plant(&self, target: &Target) {
        std::fs::write(self.path(target), "groups: []\n").unwrap();
    }

    async fn planted(&self, target: &Target) -> bool {
        std::fs::read_to_string(self.path(target)).unwrap() == "groups: []\n"
    }

    async fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
        // The failed write has renamed the file already; the next one must still reload.
        if !fails {
            for entry in std::fs::read_dir(self.folder.path()).unwrap() {
                let path = entry.unwrap().path();
                let text = std::fs::read_to_string(&path).unwrap();
                if text.contains("conformance-a") {
                    std::fs::write(path, text.replace("30s", "2s")).unwrap();
                }
            }
        }
    }
}

#[tokio::test]
async fn rule_files() {
    check(&Files::new().await).await.unwrap();
}

#[tokio::test]
async fn a_reload_that_failed_is_repeated_though_the_file_is_right() {
    let files = Files::new().await;
    let a = target("a");
    files.fails.store(true, Ordering::SeqCst);
    let error = files.sink.write(&a, &rules(&a, "vector(1)")).await.unwrap_err();
    assert!(error.to_string().contains("500 Internal Server Error a rule file is broken"), "{error}");
    files.fails.store(false, Ordering::SeqCst);
    files.sink.write(&a, &rules(&a, "vector(1)")).await.unwrap();
    assert_eq!(files.reloads.load(Ordering::SeqCst), 1);
}

/// Where the folder cannot be made durable, say, the file is there all the same.
#[tokio::test]
async fn a_file_of_a_write_that_failed_is_loaded_though_it_is_found_unchanged() {
    let files = Files::new().await;
    let a = target("a");
    files.sink.write(&a, &rules(&a, "vector(1)")).await.unwrap();
    let path = files.path(&a);
    let (old, away) = (std::fs::read_to_string(&path).unwrap(), files.folder.path().with_extension("away"));
    std::fs::rename(files.folder.path(), &away).unwrap();
    let error = files.sink.write(&a, &rules(&a, "vector(2)")).await.unwrap_err();
    assert!(matches!(error, SinkError::Unavailable { .. }), "{error}");
    std::fs::rename(away, files.folder.path()).unwrap();
    std::fs::write(path, old.replace("vector(1)", "vector(2)")).unwrap();
    assert_eq!(files.sink.write(&a, &rules(&a, "vector(2)")).await.unwrap(), Written::Unchanged);
    assert_eq!(files.reloads.load(Ordering::SeqCst), 2);
}

/// Of a rule file that Prometheus refuses, it is not said that the address is wrong.
#[tokio::test]
async fn what_to_do_after_a_reload_that_failed_is_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    let a = target("a");
    for (status, body, wanted) in [
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed to reload config: one or more errors",
            "its log names the file that it refuses",
        ),
        (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.", "start Prometheus with --web.enable-lifecycle"),
        (StatusCode::NOT_FOUND, "404 page not found", "correct reloadUrl"),
    ] {
        let url = serve(Router::new().fallback(move || async move { (status, body) })).await;
        let client = http_client().unwrap();
        let sink = RuleFiles::new(folder.path().to_owned(), Some(url), client, GateLayer::open());
        let error = sink.write(&a, &rules(&a, "vector(1)")).await.unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains(body), "{error}");
        assert_eq!(error.contains("reloadUrl"), status != StatusCode::INTERNAL_SERVER_ERROR, "{error}");
    }
    let refused = Some("http://127.0.0.1:1/-/reload".to_owned());
    let sink = RuleFiles::new(folder.path().to_owned(), refused, http_client().unwrap(), GateLayer::open());
    let error = sink.write(&a, &rules(&a, "vector(1)")).await.unwrap_err().to_string();
    assert!(error.contains("correct reloadUrl"), "{error}");
}

/// Whoever has asked before a reload begins shares what becomes of it, also where it fails, and it may take longer than other
/// requests may.
#[tokio::test]
async fn many_writes_share_a_slow_reload_whether_it_fails_or_not() {
    const MANY: usize = 300;
    let (asked, fails) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
    let (counted, failing) = (Arc::clone(&asked), Arc::clone(&fails));
    let url = serve(Router::new().fallback(move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
        if failing.load(Ordering::SeqCst) { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    }))
    .await;
    let folder = tempfile::tempdir().unwrap();
    let impatient = reqwest::Client::builder().timeout(Duration::from_millis(100)).build().unwrap();
    let sink = RuleFiles::new(folder.path().to_owned(), Some(format!("{url}/-/reload")), impatient, GateLayer::open());
    let targets: Vec<Target> = (0..MANY).map(|n| target(&format!("slo-{n}"))).collect();
    let all = async || {
        let before = asked.load(Ordering::SeqCst);
        let writes = targets.iter().map(async |target| sink.write(target, &rules(target, "vector(1)")).await);
        let results = tokio::task::unconstrained(futures::future::join_all(writes)).await;
        let failed = results.iter().filter(|result| result.is_err()).count();
        (failed, asked.load(Ordering::SeqCst) - before)
    };
    // One that asked between the beginning of a reload and its count has another one.
    let (failed, reloads) = all().await;
    assert_eq!(failed, MANY);
    assert!((1..=3).contains(&reloads), "{reloads} reloads");
    fails.store(false, Ordering::SeqCst);
    let (failed, reloads) = all().await;
    assert_eq!((failed, reloads), (0, 1));
    assert!(!sink.is_reloading());
}

/// Behaves as Mimir documents its ruler API: groups by namespace, YAML in and out, durations rewritten.
#[derive(Default)]
struct Ruler {
    namespaces: Mutex<BTreeMap<String, Vec<Group>>>,
    writes: AtomicU64,
    fails: AtomicBool,
}

async fn ruler(State(ruler): State<Arc<Ruler>>, Path(path): Path<String>, request: Request) -> Response {
    assert_eq!(request.headers()["X-Scope-OrgID"], "shop");
    let write = request.method() != Method::GET;
    if write {
        ruler.writes.fetch_add(1, Ordering::SeqCst);
    }
    if ruler.fails.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many unhealthy instances in the ring").into_response();
    }
    let method = request.method().clone();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let mut namespaces = ruler.namespaces.lock().unwrap();
    let (namespace, group) = match path.split_once('/') {
        Some((namespace, group)) => (namespace.to_owned(), Some(group.to_owned())),
        None => (path, None),
    };
    match (method, group) {
        (Method::GET, None) => match namespaces.get(&namespace).filter(|groups| !groups.is_empty()) {
            Some(groups) => serde_saphyr::to_string(&BTreeMap::from([(namespace, groups)])).unwrap().into_response(),
            None => (StatusCode::NOT_FOUND, "no rule groups found").into_response(),
        },
        (Method::POST, None) => {
            let mut new: Group = serde_saphyr::from_str(std::str::from_utf8(&body).unwrap()).unwrap();
            for rule in &mut new.rules {
                rule.hold = rule.hold.take().map(|hold| if hold == "1m" { "1m0s".to_owned() } else { hold });
            }
            let groups = namespaces.entry(namespace).or_default();
            groups.retain(|group| group.name != new.name);
            groups.push(new);
            (StatusCode::ACCEPTED, r#"{"status":"success"}"#).into_response()
        }
        (Method::DELETE, Some(group)) => {
            namespaces.entry(namespace).or_default().retain(|g| g.name != group);
            (StatusCode::ACCEPTED, r#"{"status":"success"}"#).into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

struct RulerFixture {
    gate: GateLayer,
    server: Arc<Ruler>,
    sink: Arc<RulerApi>,
}

impl RulerFixture {
    fn namespace(target: &Target) -> String {
        format!("plimsoll.{}.{}", target.namespace, target.name)
    }

    fn foreign(target: &Target) -> Vec<Group> {
        let mut groups = rules(target, "vector(99)").groups;
        groups[0].rules[0].labels.clear();
        groups.truncate(1);
        groups
    }
}

impl Fixture for RulerFixture {
    fn sink(&self) -> Arc<dyn RuleSink> {
        Arc::clone(&self.sink) as _
    }

    async fn writes(&self) -> u64 {
        self.server.writes.load(Ordering::SeqCst)
    }

    fn lease(&self) -> &Lease {
        &self.gate.lease
    }

    async fn held(&self, target: &Target) -> Option<RuleSet> {
        let mut groups = self.server.namespaces.lock().unwrap().get(&Self::namespace(target))?.clone();
        for rule in groups.iter_mut().flat_map(|group| &mut group.rules) {
            rule.hold = rule.hold.take().map(|hold| hold.replace("1m0s", "1m"));
        }
        (!groups.is_empty()).then_some(RuleSet { groups })
    }

    async fn tamper(&self, target: &Target) {
        self.server.namespaces.lock().unwrap().get_mut(&Self::namespace(target)).unwrap()[0].rules[0].expr =
            "vector(0)".to_owned();
    }

    async fn plant(&self, target: &Target) {
        let groups = Self::foreign(target);
        self.server.namespaces.lock().unwrap().insert(Self::namespace(target), groups);
    }

    async fn planted(&self, target: &Target) -> bool {
        self.server.namespaces.lock().unwrap()[&Self::namespace(target)] == Self::foreign(target)
    }

    async fn fail(&self, fails: bool) {
        self.server.fails.store(fails, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn ruler_api() {
    let server = Arc::new(Ruler::default());
    let router = Router::new()
        .route("/prometheus/config/v1/rules/{*path}", axum::routing::any(ruler))
        .with_state(Arc::clone(&server));
    let base = format!("{}/prometheus/config/v1/rules", serve(router).await);
    let gate = GateLayer::open();
    let tenant = Some("shop".to_owned());
    let prefix = "plimsoll".to_owned();
    let sink = RulerApi::new(http_client().unwrap(), &base, tenant, Credentials::None, prefix, gate.clone());
    check(&RulerFixture { gate, server, sink }).await.unwrap();
}

struct Kube {
    gate: GateLayer,
    api: FakeApi,
    objects: Arc<Objects>,
    sink: Arc<KubeSink>,
    _watch: tokio::task::JoinHandle<()>,
    touched: tokio::sync::Mutex<tokio::sync::mpsc::UnboundedReceiver<crate::sinks::kubernetes::Touched>>,
}

impl Kube {
    async fn new(resource: kube::api::ApiResource) -> Self {
        let api = FakeApi::default();
        let gate = GateLayer::open();
        let objects = Objects::new(api.gated(&gate), resource);
        let (sender, touched) = tokio::sync::mpsc::unbounded_channel();
        let watch = tokio::spawn(Arc::clone(&objects).watch(sender));
        objects.readiness().wait_for(|r| *r == Readiness::Ready).await.unwrap();
        let sink = KubeSink::new(Arc::clone(&objects), BTreeMap::from([("release".to_owned(), "main".to_owned())]));
        Self { gate, api, objects, sink, _watch: watch, touched: tokio::sync::Mutex::new(touched) }
    }

    fn path(&self, target: &Target) -> String {
        let resource = self.objects.resource();
        format!(
            "/apis/{}/namespaces/{}/{}/{}",
            resource.api_version,
            target.namespace,
            resource.plural,
            target.object_name()
        )
    }

    /// Puts an object and waits until the backend says that it saw it.
    async fn put(&self, target: &Target, object: serde_json::Value) {
        let mut touched = self.touched.lock().await;
        while touched.try_recv().is_ok() {}
        self.api.put(&self.path(target), object);
        assert_eq!(touched.recv().await.unwrap(), (target.kind, target.namespace.clone(), target.name.clone()));
    }
}

impl Fixture for Kube {
    fn sink(&self) -> Arc<dyn RuleSink> {
        Arc::clone(&self.sink) as _
    }

    async fn writes(&self) -> u64 {
        u64::try_from(self.api.writes().len()).unwrap()
    }

    fn lease(&self) -> &Lease {
        &self.gate.lease
    }

    async fn held(&self, target: &Target) -> Option<RuleSet> {
        let object = self.api.get(&self.path(target))?;
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], json!(target.uid));
        assert_eq!(object["metadata"]["labels"]["release"], "main");
        Some(serde_json::from_value(object["spec"].clone()).unwrap())
    }

    async fn tamper(&self, target: &Target) {
        let mut object = self.api.get(&self.path(target)).unwrap();
        object["spec"]["groups"][0]["interval"] = json!("1s");
        self.put(target, object).await;
    }

    async fn plant(&self, target: &Target) {
        let object =
            json!({"metadata": {"name": target.object_name(), "namespace": target.namespace}, "spec": {"groups": []}});
        self.put(target, object).await;
    }

    async fn planted(&self, target: &Target) -> bool {
        self.api.get(&self.path(target)).unwrap()["spec"] == json!({"groups": []})
    }

    async fn fail(&self, fails: bool) {
        self.api.fail(fails);
    }
}

#[tokio::test]
async fn prometheus_rule() {
    check(&Kube::new(prometheus_rule::resource()).await).await.unwrap();
}

#[tokio::test]
async fn vm_rule() {
    check(&Kube::new(vm_rule::resource()).await).await.unwrap();
}
