//! A Kubernetes API for unit tests: objects in a map, creation, server-side apply, merge patches, lists and watches.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use futures::channel::mpsc::{UnboundedSender, unbounded};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower::Layer;

use crate::operator::gate::GateLayer;

type Answer = UnsyncBoxBody<hyper::body::Bytes, std::io::Error>;

/// One event of a watch.
type Line = Result<hyper::body::Frame<hyper::body::Bytes>, std::io::Error>;

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<String, Value>,
    watches: Vec<(String, UnboundedSender<Line>)>,
    requests: Vec<String>,
    verbose: Vec<String>,
    admits: Option<Value>,
    applied: BTreeMap<String, Value>,
    notes: Vec<String>,
    fails: bool,
    refused: BTreeMap<String, Value>,
    lost: Option<String>,
    strict: bool,
}

/// See the module. Clones share their objects.
#[derive(Clone, Default)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
}

impl FakeApi {
    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        self.gated(&GateLayer::open())
    }

    /// A client of it, as the operator's own, behind this gate.
    pub(crate) fn gated(&self, gate: &GateLayer) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, std::io::Error>(api.serve(request).await) }
        });
        Client::new(gate.layer(service), "default")
    }

    /// Puts an object as somebody else would, and tells those that watch.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        state.step();
        let event = if state.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", state.version));
        }
        state.objects.insert(path.to_owned(), object.clone());
        state.tell(path, event, &object);
    }

    /// Puts an execution of namespace `shop` as whoever may make some can: the API server does not look into steps, and the
    /// one of this is none.
    pub(crate) fn put_no_execution(&self, name: &str) {
        let spec = json!({"runbook": {"name": "restart", "uid": "r", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
            "trigger": {"kind": "Alert", "fingerprint": "f1", "startsAt": "2026-01-01T00:00:00Z"}, "steps": [{}],
            "deadline": "1h", "cooldown": "1h"});
        let object = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "RunbookExecution",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        self.put(&format!("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/{name}"), object);
    }

    /// Removes an object as somebody else would, and tells those that watch.
    pub(crate) fn remove(&self, path: &str) {
        let mut state = self.state.lock().unwrap();
        let object = state.objects.remove(path).unwrap();
        state.tell(path, "DELETED", &object);
    }

    /// The object at this path.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    /// How many objects have this in their path.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.state.lock().unwrap().objects.keys().filter(|path| path.contains(part)).count()
    }

    /// Writes so far: `PATCH /apis/…`.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.iter().filter(|r| !r.starts_with("GET")).cloned().collect()
    }

    /// How much was asked of it so far.
    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests.len()
    }

    /// Patches that had more read or answered than what is needed of them: fields that are not known, the whole object.
    pub(crate) fn verbose(&self) -> Vec<String> {
        self.state.lock().unwrap().verbose.clone()
    }

    /// From now on each applied object gets this group as well, as from somebody else who has one in it.
    pub(crate) fn admits(&self, group: Value) {
        self.state.lock().unwrap().admits = Some(group);
    }

    /// What events have said so far.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.state.lock().unwrap().notes.clone()
    }

    /// From now on every write fails with a 500, or works again.
    pub(crate) fn fail(&self, fails: bool) {
        self.state.lock().unwrap().fails = fails;
    }

    /// From now on whatever is asked of this path is answered by this `Status`; of `METHOD PATH`, what is asked so.
    pub(crate) fn refuse(&self, path: &str, status: Value) {
        self.state.lock().unwrap().refused.insert(path.to_owned(), status);
    }

    /// What is asked of this path is answered again.
    pub(crate) fn allow(&self, path: &str) {
        self.state.lock().unwrap().refused.remove(path);
    }

    /// From now on a merge patch of a version that is not the newest is a conflict.
    pub(crate) fn strict(&self) {
        self.state.lock().unwrap().strict = true;
    }

    /// The next answer to a write of this path is lost: what is written is.
    pub(crate) fn lose(&self, path: &str) {
        self.state.lock().unwrap().lost = Some(path.to_owned());
    }

    async fn serve(&self, request: Request<Body>) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default();
        let mut state = self.state.lock().unwrap();
        let asked = format!("{} {path}", parts.method);
        state.requests.push(asked.clone());
        if let Some(refused) = state.refused.get(&path).or_else(|| state.refused.get(&asked)) {
            let code = StatusCode::from_u16(refused["code"].as_u64().unwrap().try_into().unwrap()).unwrap();
            return Response::builder().status(code).body(whole(refused)).unwrap();
        }
        if parts.method == Method::GET {
            return state.read(&path, query);
        }
        if state.fails {
            return status(StatusCode::INTERNAL_SERVER_ERROR, "etcd is away");
        }
        if parts.method == Method::DELETE {
            return match state.objects.remove(&path) {
                Some(object) => {
                    state.tell(&path, "DELETED", &object);
                    answer(&json!({"kind": "Status", "status": "Success"}))
                }
                None => status(StatusCode::NOT_FOUND, "not found"),
            };
        }
        let body: Value = serde_json::from_slice(&body).unwrap();
        let accepts = parts.headers.get("accept").map_or("", |v| v.to_str().unwrap());
        let partial = accepts.contains("as=PartialObjectMetadata");
        if parts.method == Method::PATCH && !(partial && query.contains("fieldValidation=Ignore")) {
            state.verbose.push(asked);
        }
        if parts.method == Method::POST && !path.ends_with("/events") {
            let answer = state.create(&path, body);
            let is_lost = state.lost.take_if(|lost| *lost == path).is_some();
            return if is_lost { status(StatusCode::GATEWAY_TIMEOUT, "nobody knows") } else { answer };
        }
        // What a list of operations makes of an object is not looked at: that it was sent is.
        if parts.headers.get("content-type").is_some_and(|v| v.to_str().unwrap().contains("json-patch")) {
            let object = state.objects.get(&path);
            return object.map_or_else(|| status(StatusCode::NOT_FOUND, "not found"), answer);
        }
        let apply = parts.headers.get("content-type").is_some_and(|v| v.to_str().unwrap().contains("apply"));
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        let is_stale = |o: &Value| !version(&body).is_null() && version(o) != version(&body);
        if state.strict && !apply && state.objects.get(&path).is_some_and(is_stale) {
            return status(StatusCode::CONFLICT, "the object has been modified");
        }
        state.write(&path, query, body, (apply, parts.method == Method::PUT, partial))
    }
}

impl State {
    /// As in etcd, the first object has version 2.
    fn step(&mut self) {
        self.version = self.version.max(1) + 1;
    }

    fn read(&mut self, path: &str, query: &str) -> Response<Answer> {
        if let Some(object) = self.objects.get(path) {
            return answer(object);
        }
        let resource = path.rsplit('/').next().unwrap().to_owned();
        if query.contains("watch=true") {
            let (sender, receiver) = unbounded();
            self.watches.push((resource, sender));
            return Response::new(StreamBody::new(receiver).boxed_unsync());
        }
        // A path that ends with a known plural is a list, also when it is empty.
        let namespaced = path.contains("/namespaces/");
        if resource.ends_with('s') && (!namespaced || path.split('/').count() == 7) {
            let begin = if namespaced { format!("{path}/") } else { String::new() };
            let items: Vec<&Value> = self
                .objects
                .iter()
                .filter(|(p, _)| p.starts_with(&begin) && p.contains(&format!("/{resource}/")))
                .map(|(_, o)| o)
                .collect();
            return answer(&json!({"metadata": {"resourceVersion": self.version.to_string()}, "items": items}));
        }
        status(StatusCode::NOT_FOUND, "not found")
    }

    fn create(&mut self, collection: &str, mut object: Value) -> Response<Answer> {
        let Some(name) = object["metadata"]["name"].as_str() else {
            // Reviews of rights are answered and not stored: what was put under a user's name is the answer, or under
            // `self` for whoever asks.
            let user = object["spec"]["user"].as_str().unwrap_or("self");
            let of_user = self.objects.get(&format!("{collection}/{user}"));
            return match of_user {
                Some(verdict) => {
                    object["status"] = verdict["status"].clone();
                    answer(&object)
                }
                None => status(StatusCode::NOT_FOUND, "not found"),
            };
        };
        let path = format!("{collection}/{name}");
        if self.objects.contains_key(&path) {
            let body = json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "AlreadyExists", "message": "exists"});
            return Response::builder().status(StatusCode::CONFLICT).body(whole(&body)).unwrap();
        }
        self.step();
        if let Some((namespace, _)) = collection.split_once("/namespaces/").and_then(|(_, rest)| rest.split_once('/')) {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap();
        object["metadata"]["creationTimestamp"] = json!(now.to_string());
        self.objects.insert(path.clone(), object.clone());
        self.tell(&path, "ADDED", &object);
        answer(&object)
    }

    fn write(
        &mut self,
        path: &str,
        query: &str,
        body: Value,
        (apply, replace, partial): (bool, bool, bool),
    ) -> Response<Answer> {
        let (path, subresource) = match path.strip_suffix("/status") {
            Some(path) => (path.to_owned(), true),
            None => (path.to_owned(), false),
        };
        if path.ends_with("/events") {
            self.notes.extend(body["note"].as_str().map(str::to_owned));
            return answer(&body);
        }
        let old = self.objects.get(&path).cloned();
        if old.is_none() && !apply {
            return status(StatusCode::NOT_FOUND, "not found");
        }
        let uid = |o: &Value| o["metadata"]["uid"].clone();
        if !uid(&body).is_null() && old.as_ref().map(uid) != Some(uid(&body)) {
            return status(StatusCode::CONFLICT, "uid mismatch: the object is another one, or gone");
        }
        let version = |o: &Value| o["metadata"]["resourceVersion"].clone();
        if apply && !version(&body).is_null() && old.as_ref().is_some_and(|o| version(o) != version(&body)) {
            return status(
                StatusCode::CONFLICT,
                "the object has been modified; please apply your changes to the latest version",
            );
        }
        let forced = query.contains("force=true");
        // Fields of others conflict, as in the real one, unless forced.
        let ours = |o: &Value| o["metadata"]["managedFields"][0]["manager"] == "plimsoll-slo";
        if apply && !forced && old.as_ref().is_some_and(|o| !ours(o) && o["spec"] != body["spec"]) {
            return status(StatusCode::CONFLICT, "Apply failed with 1 conflict: conflict with \"somebody\": .spec");
        }
        let mut new =
            old.clone().unwrap_or_else(|| json!({"metadata": {"uid": format!("uid-{}", self.version.max(1) + 1)}}));
        if apply {
            let labels: serde_json::Map<String, Value> = body["metadata"]["labels"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, _)| (format!("f:{k}"), json!({})))
                .collect();
            for (key, value) in body.as_object().unwrap().iter().filter(|(key, _)| *key != "metadata") {
                new[key] = value.clone();
            }
            for (key, value) in body["metadata"].as_object().unwrap() {
                new["metadata"][key] = value.clone();
            }
            let before = self.applied.insert(path.clone(), body.clone()).unwrap_or_default();
            if let Some(groups) = new.pointer_mut("/spec/groups").and_then(Value::as_array_mut) {
                groups.extend(self.admits.clone().filter(|admitted| !groups.contains(admitted)));
                keep_theirs(groups, old.as_ref().unwrap_or(&Value::Null), &before);
            }
            new["metadata"]["managedFields"] = json!([{"manager": "plimsoll-slo", "operation": "Apply",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": labels}}}]);
        } else if subresource && replace {
            new["status"] = body["status"].clone();
        } else if subresource {
            merge(&mut new["status"], &body["status"]);
        } else {
            merge(&mut new, &body);
        }
        // What changes nothing is not stored.
        if let Some(old) = &old {
            new["metadata"]["resourceVersion"] = version(old);
        }
        if old.as_ref() != Some(&new) {
            self.step();
            new["metadata"]["resourceVersion"] = json!(self.version.to_string());
            let event = if old.is_some() { "MODIFIED" } else { "ADDED" };
            self.objects.insert(path.clone(), new.clone());
            self.tell(&path, event, &new);
        }
        if partial {
            answer(
                &json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": new["metadata"]}),
            )
        } else {
            answer(&new)
        }
    }

    fn tell(&mut self, path: &str, event: &str, object: &Value) {
        let mut line = serde_json::to_vec(&json!({"type": event, "object": object})).unwrap();
        line.push(b'\n');
        for (_, watch) in self.watches.iter().filter(|(resource, _)| path.contains(&format!("/{resource}/"))) {
            let _ = watch.unbounded_send(Ok(hyper::body::Frame::data(line.clone().into())));
        }
    }
}

/// Groups, and fields of groups, that were not applied before are somebody else's, and an apply leaves them.
fn keep_theirs(groups: &mut Vec<Value>, stored: &Value, applied: &Value) {
    let of = |object: &Value| -> Vec<Value> {
        object.pointer("/spec/groups").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let before = of(applied);
    for theirs in of(stored) {
        let named = |group: &&Value| group["name"] == theirs["name"];
        let before = before.iter().find(named);
        match groups.iter_mut().find(|group| named(&&**group)) {
            Some(group) => {
                let fields = theirs.as_object().unwrap().iter();
                for (field, value) in fields.filter(|(field, _)| before.is_some_and(|b| b[*field].is_null())) {
                    if group[field].is_null() {
                        group[field] = value.clone();
                    }
                }
            }
            None if before.is_none() => groups.push(theirs),
            None => {}
        }
    }
}

fn merge(into: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

fn answer(value: &Value) -> Response<Answer> {
    Response::new(whole(value))
}

fn status(code: StatusCode, message: &str) -> Response<Answer> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": code.canonical_reason().unwrap().replace(' ', ""), "code": code.as_u16()});
    Response::builder().status(code).body(whole(&body)).unwrap()
}

fn whole(value: &Value) -> Answer {
    Full::from(serde_json::to_vec(value).unwrap()).map_err(|never| match never {}).boxed_unsync()
}
