//! The routes. Each view is a function of what is stored and recorded at that moment.

use std::sync::Arc;

use axum::{
    Form, Router,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use plimsoll_api::{AlertRule, RunbookExecution, Slo, approval::Decision};
use plimsoll_page::{
    Kept,
    ask::History,
    assets, html,
    overview::{self, Filter, Overview},
    rules::{self, Rules},
    runs::Runs,
    slo::{self, Plan, Range, Texts, View},
};
use plimsoll_slo::RuleSet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tower_http::compression::CompressionLayer;

use super::{Site, live, requests};
use crate::{cli::yaml, runbooks::verdict::Verdict};

/// No script, style, picture, form or frame but our own, and none of them in the text.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";
/// A form has a token, a reason and a hash.
const FORM: usize = 64 << 10;
/// How long a decision is valid.
const MINUTES: u16 = 60;

type Shared = State<Arc<Site>>;

/// All routes of a site. Those that change something are there only where decisions are taken.
pub fn app(site: Arc<Site>) -> Router {
    let mut routes = Router::new()
        .route("/", get(overview))
        .route("/slo/{namespace}/{name}", get(slo_view))
        .route("/alertrules", get(alert_rules))
        .route("/alertrules/{namespace}/{name}", get(alert_rule))
        .route("/runbooks", get(runbooks))
        .route("/executions/{namespace}/{name}", get(execution))
        .route("/assets/{version}/{name}", get(asset));
    if site.decides.is_some() {
        // Who loads a refusal again is back at the execution.
        let decision = post(decision).get(to_execution).layer(DefaultBodyLimit::max(FORM));
        routes = routes.route("/executions/{namespace}/{name}/decision", decision);
    }
    routes
        // What comes as it happens must not wait to be compressed.
        .layer(CompressionLayer::new())
        .route("/live", get(live::live))
        .fallback(nothing)
        .layer(middleware::from_fn(headers))
        .with_state(site)
}

/// What every answer says.
async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let all = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        all.insert(name, HeaderValue::from_static(value));
    }
    all.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    response
}

/// A view, or that it is the one which the browser has.
fn page(asked: &HeaderMap, text: String) -> Response {
    let hash = Sha256::digest(text.as_bytes());
    let tag = format!("W/\"{}\"", hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>());
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let Ok(value) = HeaderValue::from_str(&tag) else { return html_of(StatusCode::OK, text) };
    let mut response = if known == Some(tag.as_str()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        html_of(StatusCode::OK, text)
    };
    response.headers_mut().insert(header::ETAG, value);
    response
}

fn html_of(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

fn frame(site: &Site) -> html::Frame {
    html::Frame { now: Timestamp::now(), notice: site.notice.as_ref().map(|notice| notice()) }
}

fn missing(site: &Site, what: &str) -> Response {
    html_of(StatusCode::NOT_FOUND, html::missing(&frame(site), what))
}

async fn nothing(State(site): Shared) -> Response {
    missing(&site, "There is no such page.")
}

/// What the overview is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    q: String,
    label: String,
    state: String,
}

async fn overview(State(site): Shared, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let Asked { q, label, state } = asked;
    let frame = frame(&site);
    let (questions, sparks) = (overview::questions(), overview::sparks());
    let grid = overview::sparks_grid(frame.now.as_second());
    let (reading, sparks) = tokio::join!(site.recorded.now(&questions), site.recorded.range(&sparks, None, grid));
    let filter = Filter { text: q, label, state };
    let view = Overview::new(&site.objects.slos(), site.objects.complete(), &reading, &sparks, filter);
    page(&headers, html::overview(&frame, &view))
}

/// What an SLO's view is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Time {
    range: String,
}

async fn slo_view(
    State(site): Shared,
    Path((namespace, name)): Path<(String, String)>,
    Query(time): Query<Time>,
    headers: HeaderMap,
) -> Response {
    let Some(slo) = site.objects.slo(&namespace, &name) else {
        return missing(&site, &format!("There is no SLO {name} in namespace {namespace}."));
    };
    let frame = frame(&site);
    let view = view(&site, &slo, &time.range, frame.now.as_second()).await;
    page(&headers, html::slo(&frame, &view))
}

async fn view(site: &Site, slo: &Kept<Slo>, range: &str, now: i64) -> View {
    let Ok(object) = &slo.object else { return View::without_charts(slo, Texts::default()) };
    let explaining = async {
        match &site.explains {
            Some(explains) => Some(explains.explain(object).await),
            None => None,
        }
    };
    let yaml = applied("SLO", &object.metadata, &object.spec);
    let Ok(valid) = plimsoll_slo::validate(object) else {
        let texts = Texts { explanation: explaining.await, yaml, rules: String::new() };
        return View::without_charts(slo, texts);
    };
    let model = valid.model;
    let mut plan = Plan::new(&model, Range::of(range), now);
    let id = slo.id();
    let ask = |question, grid| site.recorded.range(question, Some(&id), grid);
    // In this order: where many wait, what is now comes first.
    let of_now = plan.now.iter().map(|question| ask(question, Plan::moment(now)));
    let over = plan.over.iter().enumerate().map(|(place, question)| ask(question, plan.grid_of(place)));
    let asking = futures::future::join_all(of_now.chain(over));
    let (mut of_now, explanation) = tokio::join!(asking, explaining);
    let mut over = of_now.split_off(plan.now.len());
    while range.is_empty()
        && let Some(range) = plan.shorter(&over)
    {
        plan = Plan::new(&model, range, now);
        over = over_of(site, &id, &plan).await;
    }
    let watched = match slo::watched(&over) {
        Some(question) => Some(site.recorded.range(&question, Some(&id), plan.grid).await),
        None => None,
    };
    let answers = slo::Answers { over, now: of_now, watched };
    let texts = Texts { explanation, yaml, rules: as_yaml(&plimsoll_slo::render(&model)) };
    View::new(slo, &model, &plan, &answers, &site.objects.executions(), texts, now)
}

/// What is answered over the time of a plan.
async fn over_of(site: &Site, id: &str, plan: &Plan) -> Vec<History> {
    let asked = plan.over.iter().enumerate();
    let asking = asked.map(|(place, question)| site.recorded.range(question, Some(id), plan.grid_of(place)));
    futures::future::join_all(asking).await
}

/// An object as one would apply it: without what the server and the operator add.
fn applied(kind: &str, meta: &ObjectMeta, spec: &impl Serialize) -> String {
    let mut metadata = serde_json::Map::new();
    metadata.insert("name".to_owned(), json!(meta.name));
    metadata.insert("namespace".to_owned(), json!(meta.namespace));
    let own = meta.annotations.iter().flatten().filter(|(name, _)| !name.starts_with("kubectl.kubernetes.io/"));
    let own: serde_json::Map<String, Value> = own.map(|(name, value)| (name.clone(), json!(value))).collect();
    if let Some(labels) = meta.labels.as_ref().filter(|labels| !labels.is_empty()) {
        metadata.insert("labels".to_owned(), json!(labels));
    }
    if !own.is_empty() {
        metadata.insert("annotations".to_owned(), Value::Object(own));
    }
    let object = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": kind, "metadata": metadata,
        "spec": serde_json::to_value(spec).unwrap_or_default()});
    let mut text = String::new();
    yaml::value(&mut text, &object, 0);
    text
}

fn as_yaml(rules: &RuleSet) -> String {
    let mut text = String::from("groups:\n");
    yaml::groups(&mut text, &rules.groups, 0);
    text
}

async fn alert_rules(State(site): Shared, headers: HeaderMap) -> Response {
    let frame = frame(&site);
    let (questions, past, grid) = (rules::questions(), rules::past(), rules::past_grid(frame.now.as_second()));
    let (reading, past) = tokio::join!(site.recorded.now(&questions), site.recorded.range(&past, None, grid));
    let view = Rules::new(&site.objects.alert_rules(), site.objects.complete(), &reading, &past, grid);
    page(&headers, html::rules(&frame, &view))
}

async fn alert_rule(
    State(site): Shared,
    Path((namespace, name)): Path<(String, String)>,
    Query(time): Query<Time>,
    headers: HeaderMap,
) -> Response {
    let all = site.objects.alert_rules();
    let Some(rule) = all.into_iter().find(|rule| rule.namespace == namespace && rule.name == name) else {
        return missing(&site, &format!("There is no AlertRule {name} in namespace {namespace}."));
    };
    let frame = frame(&site);
    let plan = rules::Plan::new(rules::range(&time.range), frame.now.as_second());
    let (questions, past, began, id) = (rules::questions(), rules::past(), rules::began(), rule.id());
    let over = plan.over.iter().map(|question| site.recorded.range(question, Some(&id), plan.grid));
    let (now, fired, began, over) = tokio::join!(
        site.recorded.now(&questions),
        site.recorded.range(&past, Some(&id), plan.looks),
        site.recorded.range(&began, Some(&id), plan.looks),
        futures::future::join_all(over)
    );
    let answers = rules::Answers { now, fired, began, over };
    let view = rules::View::new(&rule, &plan, &answers, texts_of(&rule));
    page(&headers, html::rule(&frame, &view))
}

/// An AlertRule as one would apply it, and its rules where it is valid.
fn texts_of(rule: &Kept<AlertRule>) -> [String; 2] {
    let Ok(object) = &rule.object else { return Default::default() };
    let rules = plimsoll_slo::alerts::validate(object).map(|valid| plimsoll_slo::alerts::render(&valid.model));
    let yaml = applied("AlertRule", &object.metadata, &object.spec);
    [yaml, rules.map(|rules| as_yaml(&rules)).unwrap_or_default()]
}

async fn runbooks(State(site): Shared, headers: HeaderMap) -> Response {
    let view = Runs::new(&site.objects.runbooks(), &site.objects.executions(), site.objects.complete());
    page(&headers, html::runs(&frame(&site), &view))
}

fn find(site: &Site, namespace: &str, name: &str) -> Option<Arc<RunbookExecution>> {
    site.objects.execution(namespace, name)?.object.ok()
}

async fn execution(
    State(site): Shared,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let Some(found) = find(&site, &namespace, &name) else {
        return missing(&site, &format!("There is no execution {name} in namespace {namespace}."));
    };
    let view = requests::shown(&namespace, &name, &found);
    page(&headers, html::run(&frame(&site), &view, site.decides.is_some(), None))
}

async fn to_execution(Path((namespace, name)): Path<(String, String)>) -> Redirect {
    Redirect::to(&html::execution_path(&namespace, &name))
}

/// What the form of a decision has.
#[derive(Deserialize)]
struct Decided {
    decision: Decision,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    spec_hash: String,
}

/// Whether a post comes from a view of this very page: what another site makes a browser send is not.
pub fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    // Set by the browser, out of any script's reach, and right behind any proxy.
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let origin = text("origin").and_then(|origin| origin.split_once("://"));
    origin.zip(text("host")).is_some_and(|((_, origin), host)| !host.is_empty() && origin.eq_ignore_ascii_case(host))
}

async fn decision(
    State(site): Shared,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    form: Result<Form<Decided>, axum::extract::rejection::FormRejection>,
) -> Response {
    let refuse = |status: StatusCode, why: &str| match find(&site, &namespace, &name) {
        Some(found) => {
            let view = requests::shown(&namespace, &name, &found);
            html_of(status, html::run(&frame(&site), &view, true, Some(why)))
        }
        None => missing(&site, &format!("There is no execution {name} in namespace {namespace}.")),
    };
    if !same_origin(&headers) {
        return refuse(StatusCode::FORBIDDEN, "the form was not sent from this page.");
    }
    let Ok(Form(Decided { decision, reason, token, spec_hash })) = form else {
        return refuse(StatusCode::BAD_REQUEST, "the form is not the one of this page; load it again.");
    };
    let (token, reason) = (token.trim(), reason.trim());
    if token.is_empty() {
        return refuse(StatusCode::UNAUTHORIZED, "a bearer token is wanted, by which the API server knows you.");
    }
    if reason.is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "a reason is wanted: somebody will ask for it one day.");
    }
    let Some(decides) = &site.decides else { return nothing(State(Arc::clone(&site))).await };
    let verdict = Verdict {
        namespace: namespace.clone(),
        name: name.clone(),
        spec_hash: Some(spec_hash),
        decision,
        reason: Some(reason.to_owned()),
        minutes: MINUTES,
    };
    match decides.decide(token, &verdict).await {
        Ok(_) => Redirect::to(&html::execution_path(&namespace, &name)).into_response(),
        Err(why) => refuse(StatusCode::FORBIDDEN, &why),
    }
}

async fn asset(State(site): Shared, Path((version, name)): Path<(String, String)>) -> Response {
    let Some(asset) = assets::ALL.into_iter().find(|asset| asset.name == name && asset.version() == version) else {
        return missing(&site, "There is no such file.");
    };
    // Another content would have another address.
    let headers = [(header::CONTENT_TYPE, asset.media), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (headers, asset.content).into_response()
}
