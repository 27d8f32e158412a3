#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{collections::HashMap, sync::Mutex};

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use futures::{FutureExt, future::BoxFuture};
use plimsoll_api::{AlertRule, Runbook, RunbookExecution, Slo, approval::Decision};
use plimsoll_page::{Kept, assets};
use serde_json::json;
use tower::ServiceExt as _;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::*;
use crate::{
    prometheus::{Prometheus, http_client},
    runbooks::verdict::Verdict,
};

/// One SLO, one execution that waits, and whoever takes decisions about it.
#[derive(Default)]
struct Small {
    taken: Mutex<Vec<Verdict>>,
}

impl Objects for Small {
    fn slos(&self) -> Vec<Kept<Slo>> {
        let slo = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO",
            "metadata": {"name": "a", "namespace": "shop", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x", "own": "y"}},
            "spec": {"objective": "99.9", "sli": {"events": {"bad": "bad", "total": "all"}}}});
        let invalid = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO", "metadata": {"name": "b", "namespace": "shop"},
            "spec": {"objective": "99.9", "sli": {"events": {"bad": "bad(", "total": "all"}}}});
        let unreadable =
            Kept { namespace: "shop".to_owned(), name: "c".to_owned(), object: Err("no objective".to_owned()) };
        let read = |value| serde_json::from_value(value).unwrap();
        vec![Kept::new("shop", "a", read(slo)), Kept::new("shop", "b", read(invalid)), unreadable]
    }

    fn alert_rules(&self) -> Vec<Kept<AlertRule>> {
        let rule = |name: &str, expr: &str| {
            let object = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "AlertRule",
                "metadata": {"name": name, "namespace": "shop"}, "spec": {"rules": [{"alert": "Down", "expr": expr}]}});
            Kept::new("shop", name, serde_json::from_value(object).unwrap())
        };
        let unreadable =
            Kept { namespace: "shop".to_owned(), name: "u".to_owned(), object: Err("no rules".to_owned()) };
        vec![rule("r", "up == 0"), rule("v", "up =="), unreadable]
    }

    fn runbooks(&self) -> Vec<Kept<Runbook>> {
        Vec::new()
    }

    fn executions(&self) -> Vec<Kept<RunbookExecution>> {
        let execution = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
            "metadata": {"name": "x", "namespace": "shop"},
            "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Approve", "serviceAccountName": "s",
                "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"},
                "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"},
            "status": {"phase": "AwaitingApproval", "specHash": "ab".repeat(32)}});
        vec![Kept::new("shop", "x", serde_json::from_value(execution).unwrap())]
    }

    fn revision(&self) -> u64 {
        0
    }
}

impl Decides for Small {
    fn decide<'a>(&'a self, token: &'a str, verdict: &'a Verdict) -> BoxFuture<'a, Result<String, String>> {
        async move {
            if token != "of-eve" {
                return Err("who you are: Unauthorized".to_owned());
            }
            self.taken.lock().unwrap().push(verdict.clone());
            Ok("eve".to_owned())
        }
        .boxed()
    }
}

fn site(decides: Option<&Arc<Small>>) -> axum::Router {
    let mut site = Site::new(Arc::new(Answers::default()), Arc::new(Small::default()), CancellationToken::new());
    site.decides = decides.map(|small| Arc::clone(small) as _);
    app(Arc::new(site))
}

async fn ask(site: &axum::Router, request: Request<Body>) -> (StatusCode, axum::http::HeaderMap, String) {
    let answer = site.clone().oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn post(headers: &[(&str, &str)], form: &str) -> Request<Body> {
    let mut request =
        Request::post("/executions/shop/x/decision").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(form.to_owned())).unwrap()
}

const OURS: &[(&str, &str)] = &[("host", "page.example:8082"), ("origin", "http://page.example:8082")];

/// Each answer goes to the question that was asked, and what fires now is asked about before all else.
#[tokio::test]
async fn what_fires_is_said_and_asked_about_first() {
    let server = MockServer::start().await;
    let fires = |request: &wiremock::Request| {
        let asked: HashMap<_, _> = request.url.query_pairs().into_owned().collect();
        let labels =
            json!({"slo_id": "shop/a", "alertname": "SLOErrorBudgetBurn", "burnrate_tier": "fast", "severity": "page"});
        let now = asked["start"] == asked["end"] && asked["query"].contains("ALERTS{");
        let found = now.then(|| json!({"metric": labels, "values": [[asked["start"].parse::<i64>().unwrap(), "1"]]}));
        let found: Vec<_> = found.into_iter().collect();
        ResponseTemplate::new(200)
            .set_body_json(json!({"status": "success", "data": {"resultType": "matrix", "result": found}}))
    };
    Mock::given(path("/api/v1/query_range")).respond_with(fires).mount(&server).await;
    let prometheus = Prometheus::new(http_client().unwrap(), &server.uri()).unwrap();
    let answers = Answers::new(Some(prometheus));
    let site = app(Arc::new(Site::new(Arc::new(answers), Arc::new(Small::default()), CancellationToken::new())));
    let (status, _, text) = ask(&site, get("/slo/shop/a")).await;
    assert_eq!(status, 200);
    assert!(text.contains("Burning, page"), "{text}");
    let first = &server.received_requests().await.unwrap()[0];
    assert!(first.url.query().unwrap().contains("ALERTS"), "{}", first.url);
}

#[tokio::test]
async fn every_path_answers() {
    let small = Arc::default();
    let site = site(Some(&small));
    for (path, code, said) in [
        ("/", 200, "SLOs, worst first"),
        ("/?q=a&label=x%3Dy&state=page", 200, "is like that"),
        ("/slo/shop/a", 200, "slo:burn_rate:window"),
        ("/slo/shop/a?range=1h", 200, "1 hour"),
        ("/slo/shop/a?range=nonsense", 200, "period"),
        ("/slo/shop/b", 200, "Broken"),
        ("/slo/shop/c", 200, "no objective"),
        ("/slo/shop/none", 404, "There is no SLO none in namespace shop."),
        ("/slo/shop/%3Cscript%3E", 404, "&lt;script&gt;"),
        ("/alertrules", 200, "/alertrules/shop/r"),
        ("/alertrules/shop/r", 200, "alert: Down"),
        ("/alertrules/shop/r?range=1h", 200, "1 hour"),
        ("/alertrules/shop/v", 200, "up =="),
        ("/alertrules/shop/u", 200, "no rules"),
        ("/alertrules/shop/none", 404, "There is no AlertRule none in namespace shop."),
        ("/runbooks", 200, "1 run waits for an approval"),
        ("/executions/shop/x", 200, "Your bearer token"),
        ("/executions/shop/none", 404, "There is no execution none"),
        ("/assets/none/page.css", 404, "There is no such file."),
        ("/nothing", 404, "There is no such page."),
    ] {
        let (status, headers, text) = ask(&site, get(path)).await;
        assert_eq!(status, code, "{path}");
        assert!(text.contains(said), "{path}: {text}");
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-cache", "{path}");
        assert!(!text.contains("<style") && !text.contains(" style=") && !text.contains("<script>"), "{path}");
    }
}

#[tokio::test]
async fn an_slo_is_shown_as_one_would_apply_it() {
    let (_, _, text) = ask(&site(None), get("/slo/shop/a")).await;
    assert!(text.contains("own:") && !text.contains("last-applied"), "{text}");
    // Nobody was asked for numbers, and that is said.
    assert!(text.contains("--prometheus"), "{text}");
}

#[tokio::test]
async fn files_are_kept_and_views_are_asked_for_again() {
    let site = site(None);
    for asset in assets::ALL {
        let (status, headers, text) = ask(&site, get(&assets::path(asset.name))).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, asset.content));
        assert!(headers[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    }
    let (_, headers, _) = ask(&site, get("/assets/none/page.js")).await;
    assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
    for view in ["/", "/slo/shop/a", "/runbooks", "/executions/shop/x"] {
        // Between two questions a minute may end, but not again before the third.
        let mut known = ask(&site, get(view)).await.1[header::ETAG].clone();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let again = Request::get(view).header(header::IF_NONE_MATCH, &known).body(Body::empty()).unwrap();
            let (status, headers, text) = ask(&site, again).await;
            known = headers[header::ETAG].clone();
            answers.push((status, text.is_empty()));
        }
        assert!(answers.contains(&(StatusCode::NOT_MODIFIED, true)), "{view}: {answers:?}");
    }
    let zipped = Request::get("/").header(header::ACCEPT_ENCODING, "gzip").body(Body::empty()).unwrap();
    let answer = site.clone().oneshot(zipped).await.unwrap();
    assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip");
}

#[tokio::test]
async fn nothing_changes_without_a_token_nor_by_another_site() {
    let small: Arc<Small> = Arc::default();
    let page = site(Some(&small));
    let form = format!("decision=Approve&reason=agreed&token=of-eve&spec_hash={}", "ab".repeat(32));
    for (headers, form, code, said) in [
        (&[][..], form.as_str(), 403, "not sent from this page"),
        (&[("host", "page.example"), ("origin", "http://evil.example")], &form, 403, "not sent from this page"),
        (&[("host", "page.example"), ("origin", "null")], &form, 403, "not sent from this page"),
        (&[("host", ""), ("origin", "http://")], &form, 403, "not sent from this page"),
        (&[("sec-fetch-site", "cross-site"), OURS[0], OURS[1]], &form, 403, "not sent from this page"),
        (&[("sec-fetch-site", "same-site"), OURS[0], OURS[1]], &form, 403, "not sent from this page"),
        (OURS, "decision=Approve&reason=agreed", 401, "bearer token is wanted"),
        (OURS, "decision=Approve&reason=agreed&token=+", 401, "bearer token is wanted"),
        (OURS, "decision=Approve&token=of-eve", 400, "a reason is wanted"),
        (OURS, "decision=Maybe&reason=agreed&token=of-eve", 400, "load it again"),
        (OURS, "decision=Approve&reason=agreed&token=guessed", 403, "Unauthorized"),
    ] {
        let (status, _, text) = ask(&page, post(headers, form)).await;
        assert_eq!(status, code, "{headers:?} {form}");
        assert!(text.contains("Nothing was decided") && text.contains(said), "{text}");
        assert!(!text.contains("of-eve") && !text.contains("guessed"), "a token is never shown");
    }
    assert!(small.taken.lock().unwrap().is_empty());
    for headers in [OURS, &[("sec-fetch-site", "same-origin")]] {
        let (status, answered, _) = ask(&page, post(headers, &form)).await;
        assert_eq!(
            (status, answered[header::LOCATION].to_str().unwrap()),
            (StatusCode::SEE_OTHER, "/executions/shop/x")
        );
    }
    let taken = small.taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 2);
    assert_eq!((taken[0].decision, taken[0].spec_hash.clone()), (Decision::Approve, Some("ab".repeat(32))));
}

#[tokio::test]
async fn without_anybody_who_decides_there_is_nothing_to_post_to() {
    let page = site(None);
    let (status, _, _) = ask(&page, post(OURS, "decision=Approve&reason=a&token=of-eve")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, _, text) = ask(&page, get("/executions/shop/x")).await;
    assert!(!text.contains("<form") && text.contains("plimsoll runbook approve x -n shop"), "{text}");
    for path in ["/", "/slo/shop/a", "/runbooks", "/live"] {
        let request = Request::post(path).body(Body::empty()).unwrap();
        assert_eq!(ask(&page, request).await.0, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

#[tokio::test]
async fn readers_that_listen_are_bounded() {
    let page = site(None);
    let mut open = Vec::new();
    for _ in 0..super::LISTENERS {
        let answer = page.clone().oneshot(get("/live")).await.unwrap();
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        open.push(answer);
    }
    let full = page.clone().oneshot(get("/live")).await.unwrap().status();
    assert_eq!(full, StatusCode::SERVICE_UNAVAILABLE);
    open.pop();
    let room = page.clone().oneshot(get("/live")).await.unwrap().status();
    assert_eq!(room, StatusCode::OK, "who goes leaves a place");
}
