//! Admission of runbooks and decisions: whoever writes one is noted under the name by which the API server knows them,
//! and a runbook is refused whose author may not use its ServiceAccount.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::Client;
use plimsoll_api::{RunbookApprovalSpec, RunbookSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    circumstances::may_impersonate,
    proof::{AUTHOR, Author, RUN, RunRequest, SEAL, Sealer},
    read::{entries, text},
};
use crate::refusals;

/// Where the API server posts reviews.
pub const PATH: &str = "/author";
/// A request for a run is small.
const RUN_MAX: usize = 16 << 10;
/// So is its id.
const ID_MAX: usize = 100;

/// Answers reviews.
#[derive(Clone)]
pub struct Authority {
    /// Asks for rights.
    pub client: Client,
    /// Seals.
    pub sealer: Sealer,
}

#[derive(Deserialize)]
struct Review {
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    user_info: User,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

#[derive(Default, Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    groups: Vec<String>,
}

/// Why something is refused: code and message.
type Refused = (u16, String);

/// An annotation: its name and value.
type Note = (&'static str, String);

/// What a review asks for, and what is answered if it may be. However large the object was, this holds some of its words
/// alone.
#[derive(Debug)]
pub struct Asked {
    uid: String,
    namespace: String,
    /// Whether the object has annotations already.
    annotated: bool,
    steps: Result<Vec<Step>, Refused>,
}

/// What is noted, once the right to it is known.
#[derive(Debug)]
struct Step {
    right: Option<Right>,
    note: Result<Note, Refused>,
}

/// Somebody who must be allowed to use a ServiceAccount.
#[derive(Debug)]
struct Right {
    who: Author,
    account: String,
    role: &'static str,
}

impl Authority {
    /// Reads a review. What depends on the size of an object is done here, and nobody is waited for.
    ///
    /// # Errors
    /// When this is no review at all.
    pub fn read(&self, body: &[u8]) -> Result<Asked, String> {
        let review: Review =
            serde_json::from_slice(body).map_err(|error| format!("this is no AdmissionReview: {error}"))?;
        let request = review.request.ok_or("this AdmissionReview has no request")?;
        let steps = match request.kind.kind.as_str() {
            _ if goes(&request) || request.object.is_null() => Ok(Vec::new()),
            "Runbook" => self.runbook(&request),
            "RunbookApproval" => self.approval(&request),
            _ => Ok(Vec::new()),
        };
        let annotated = request.object.pointer("/metadata/annotations").is_some_and(|all| !all.is_null());
        Ok(Asked { uid: request.uid, namespace: request.namespace, annotated, steps })
    }

    /// Answers a review: asks for the rights that it takes.
    pub async fn answer(&self, asked: Asked) -> Value {
        let Asked { uid, namespace, annotated, steps } = asked;
        let response = match self.notes(&namespace, steps).await {
            Ok(notes) if notes.is_empty() => json!({"uid": uid, "allowed": true}),
            Ok(notes) => {
                let patch = serde_json::to_vec(&annotate(annotated, notes)).unwrap_or_default();
                // In an answer bytes are base64, as in a Secret.
                json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": ByteString(patch)})
            }
            Err((code, message)) => {
                json!({"uid": uid, "allowed": false, "status": {"code": code, "message": message}})
            }
        };
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    async fn notes(&self, namespace: &str, steps: Result<Vec<Step>, Refused>) -> Result<Vec<Note>, Refused> {
        let mut notes = Vec::new();
        for Step { right, note } in steps? {
            if let Some(Right { who, account, role }) = right {
                self.may_use(&who, namespace, &account, role).await?;
            }
            notes.push(note?);
        }
        Ok(notes)
    }

    fn runbook(&self, request: &Request) -> Result<Vec<Step>, Refused> {
        let Request { namespace, user_info, object, old_object, .. } = request;
        let name = named(object, "Runbook")?;
        let asks =
            || Author { username: user_info.username.clone(), groups: user_info.groups.clone(), seal: String::new() };
        let mut steps = Vec::new();
        // What cannot be read is refused by its definition, with better words.
        if let Ok(spec) = serde_json::from_value::<RunbookSpec>(object["spec"].clone())
            && !self.is_noted(namespace, name, &spec, object, old_object)
        {
            let note = self.authored(namespace, name, &spec, asks()).map(|note| (AUTHOR, note));
            let right = Right { who: asks(), account: spec.service_account_name, role: "its author" };
            steps.push(Step { right: Some(right), note });
        }
        let run = annotation(object, RUN);
        if let Some(run) = run.filter(|run| Some(*run) != annotation(old_object, RUN)) {
            let account = object.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or_default();
            let note = self.run(namespace, name, run, &asks(), old_object).map(|note| (RUN, note));
            let right = Right { who: asks(), account: account.to_owned(), role: "whoever asks for it" };
            steps.push(Step { right: Some(right), note });
        }
        Ok(steps)
    }

    /// The note of whose content this is.
    fn authored(&self, namespace: &str, name: &str, spec: &RunbookSpec, mut author: Author) -> Result<String, Refused> {
        author.seal = self.sealer.of_author(namespace, name, spec, &author).map_err(|e| (500, e.to_string()))?;
        serde_json::to_string(&author).map_err(|error| (500, error.to_string()))
    }

    /// What a runbook does, whoever makes it do that must be allowed to do.
    async fn may_use(&self, who: &Author, namespace: &str, account: &str, role: &str) -> Result<(), Refused> {
        match may_impersonate(&self.client, who, namespace, account).await {
            Some(true) => Ok(()),
            Some(false) => {
                let who = &who.username;
                let words = refusals::grant(who, namespace, account);
                let message = format!(
                    "spec.serviceAccountName: {who} may not use ServiceAccount {namespace}/{account}; what a runbook does, {role} must be allowed to do: {words}"
                );
                Err((403, message))
            }
            None => Err((503, "it cannot be asked whether you may use the ServiceAccount; try again".to_owned())),
        }
    }

    /// Whether the author of just this content is noted already: that of before, whose note nobody has touched.
    fn is_noted(&self, namespace: &str, name: &str, spec: &RunbookSpec, object: &Value, old: &Value) -> bool {
        let noted = annotation(object, AUTHOR);
        let same = noted == annotation(old, AUTHOR) && object["spec"] == old["spec"];
        let author = noted.and_then(|noted| serde_json::from_str::<Author>(noted).ok());
        author.filter(|_| same).is_some_and(|author| {
            self.sealer.of_author(namespace, name, spec, &author).is_ok_and(|right| Sealer::is(&author.seal, &right))
        })
    }

    fn run(&self, namespace: &str, name: &str, text: &str, asks: &Author, old: &Value) -> Result<String, Refused> {
        let wrong = |message: String| (422, format!("annotation {RUN}: {message}"));
        if text.len() > RUN_MAX {
            return Err(wrong(format!("it is longer than {RUN_MAX} bytes")));
        }
        let mut run: RunRequest = serde_json::from_str(text)
            .map_err(|error| wrong(format!("{error}; use: plimsoll runbook run {name} -n {namespace}")))?;
        // An answer is found by it, and what was answered is not looked at again.
        if run.id.is_empty() || run.id.len() > ID_MAX {
            return Err(wrong(format!("id: write 1 to {ID_MAX} bytes")));
        }
        if ids(old).any(|id| id == run.id) {
            return Err(wrong(format!("id: {} was that of an earlier request; each needs its own", run.id)));
        }
        (run.by, run.groups) = (asks.username.clone(), asks.groups.clone());
        run.at = Timestamp::now().to_string();
        run.seal = self.sealer.of_run(namespace, name, &run);
        serde_json::to_string(&run).map_err(|error| (500, error.to_string()))
    }

    fn approval(&self, request: &Request) -> Result<Vec<Step>, Refused> {
        let Request { namespace, user_info, object, old_object, .. } = request;
        let name = named(object, "RunbookApproval")?;
        if !old_object.is_null() {
            return Ok(Vec::new());
        }
        let Ok(spec) = serde_json::from_value::<RunbookApprovalSpec>(object["spec"].clone()) else {
            return Ok(Vec::new());
        };
        if spec.decider != user_info.username {
            let message = format!(
                "spec.decider: it must be {}, the name by which the API server knows you; nobody decides for somebody else",
                user_info.username
            );
            return Err((403, message));
        }
        let seal =
            self.sealer.of_object("approval", namespace, name, &spec).map_err(|error| (500, error.to_string()))?;
        Ok(vec![Step { right: None, note: Ok((SEAL, seal)) }])
    }
}

/// Whether an object that is being deleted only loses what keeps it: nobody needs a right to let it go. Whoever keeps it
/// from going may not change what it does either.
fn goes(request: &Request) -> bool {
    let Request { object, old_object, .. } = request;
    let is_same = |name: &str| annotation(object, name) == annotation(old_object, name);
    object.pointer("/metadata/deletionTimestamp").is_some()
        && object.get("spec") == old_object.get("spec")
        && [AUTHOR, RUN, SEAL].into_iter().all(is_same)
}

fn named<'o>(object: &'o Value, kind: &str) -> Result<&'o str, Refused> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).filter(|name| !name.is_empty());
    name.ok_or_else(|| (422, format!("metadata.name: a {kind} must be named; generateName is not sealed")))
}

fn annotation<'o>(object: &'o Value, name: &str) -> Option<&'o str> {
    object.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

/// The requests for a run that a runbook knows of.
fn ids(runbook: &Value) -> impl Iterator<Item = String> {
    let asked = annotation(runbook, RUN).and_then(|run| serde_json::from_str::<RunRequest>(run).ok()).map(|run| run.id);
    let answered = entries(runbook, "/status/requests").map(|answered| text(answered, "/id").to_owned());
    asked.into_iter().chain(answered)
}

/// A patch that sets annotations.
fn annotate(annotated: bool, notes: Vec<Note>) -> Value {
    let mut patch = Vec::new();
    if !annotated {
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    for (name, value) in notes {
        let path = format!("/metadata/annotations/{}", name.replace('~', "~0").replace('/', "~1"));
        patch.push(json!({"op": "add", "path": path, "value": value}));
    }
    Value::Array(patch)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::testing::FakeApi;

    fn authority() -> Authority {
        Authority { client: FakeApi::default().client(), sealer: Sealer::new([3; 32]) }
    }

    /// Where these may act as any account, and nobody else.
    fn authority_where(may: &[&str]) -> Authority {
        let api = FakeApi::default();
        for name in ["ann", "bob", "eve"] {
            let verdict = json!({"metadata": {"name": name}, "status": {"allowed": may.contains(&name)}});
            api.put(&format!("/apis/authorization.k8s.io/v1/subjectaccessreviews/{name}"), verdict);
        }
        Authority { client: api.client(), ..authority() }
    }

    async fn review(authority: &Authority, kind: &str, object: Value, old: Value) -> Value {
        let body = json!({"request": {"uid": "u", "kind": {"kind": kind}, "namespace": "shop",
            "userInfo": {"username": "ann", "groups": ["sre"]}, "object": object, "oldObject": old}});
        let asked = authority.read(body.to_string().as_bytes()).unwrap();
        authority.answer(asked).await["response"].clone()
    }

    /// A runbook of which a run is asked for.
    fn new_of(old: &Value, id: &str) -> Value {
        let mut new = old.clone();
        new["metadata"]["annotations"][RUN] = json!(json!({"id": id}).to_string());
        new
    }

    fn patched(response: &Value) -> Value {
        let bytes: ByteString = serde_json::from_value(response["patch"].clone()).unwrap();
        serde_json::from_slice(&bytes.0).unwrap()
    }

    #[tokio::test]
    async fn a_decision_is_of_whoever_makes_it() {
        let authority = authority();
        let approval = |decider: &str| {
            json!({"metadata": {"name": "ok", "namespace": "shop"}, "spec": {"execution": "x", "specHash": "h".repeat(64),
                "decision": "Approve", "decider": decider, "expires": "2026-01-01T00:00:00Z"}})
        };
        let own = review(&authority, "RunbookApproval", approval("ann"), Value::Null).await;
        assert_eq!(own["allowed"], true);
        let patch = patched(&own);
        assert_eq!(patch[1]["path"], "/metadata/annotations/plimsoll.dev~1seal");
        let spec: RunbookApprovalSpec = serde_json::from_value(approval("ann")["spec"].clone()).unwrap();
        let right = authority.sealer.of_object("approval", "shop", "ok", &spec).unwrap();
        assert_eq!(patch[1]["value"], right);
        let forged = review(&authority, "RunbookApproval", approval("bob"), Value::Null).await;
        assert_eq!(forged["allowed"], false);
        assert!(forged["status"]["message"].as_str().unwrap().starts_with("spec.decider: it must be ann"));
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_refused() {
        // The server does not know reviews of rights.
        let object = json!({"metadata": {"name": "a", "namespace": "shop"},
            "spec": {"serviceAccountName": "evidence", "trigger": {"manual": {}}, "steps": [{"name": "a", "wait": "1s"}]}});
        let refused = review(&authority(), "Runbook", object, Value::Null).await;
        assert_eq!((refused["allowed"].clone(), refused["status"]["code"].clone()), (json!(false), json!(503)));
    }

    /// Who keeps a runbook from going, and puts back what its author once wrote with the note of that time, writes it.
    #[tokio::test]
    async fn what_is_being_deleted_may_go_and_not_change() {
        let authority = authority_where(&["bob"]);
        let spec = |mode: &str| json!({"serviceAccountName": "evidence", "mode": mode, "trigger": {"manual": {}}, "steps": [{"name": "a", "wait": "1s"}]});
        let noted = |mode: &str| {
            let typed: RunbookSpec = serde_json::from_value(spec(mode)).unwrap();
            let mut author = Author { username: "bob".to_owned(), ..Author::default() };
            author.seal = authority.sealer.of_author("shop", "a", &typed, &author).unwrap();
            serde_json::to_string(&author).unwrap()
        };
        let runbook = |mode: &str, note: &str| {
            json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["theirs"],
                "annotations": {AUTHOR: note}}, "spec": spec(mode)})
        };
        let now = runbook("DryRun", &noted("DryRun"));
        let answer = review(&authority, "Runbook", runbook("Auto", &noted("Auto")), now.clone()).await;
        assert_eq!(answer["status"]["code"], 403, "{answer}");
        assert_eq!(review(&authority, "Runbook", new_of(&now, "1"), now.clone()).await["status"]["code"], 403);
        // Whatever it is by now, nobody needs a right to let it go.
        for stays in [now, runbook("Auto", "of before there were notes")] {
            let mut gone = stays.clone();
            gone["metadata"]["finalizers"] = json!([]);
            assert_eq!(review(&authority, "Runbook", gone, stays).await, json!({"uid": "u", "allowed": true}));
        }
    }

    #[tokio::test]
    async fn who_asks_for_a_run_is_noted_and_cannot_be_made_up() {
        let authority = authority_where(&["ann"]);
        let spec = json!({"serviceAccountName": "evidence", "trigger": {"manual": {}}, "steps": [{"name": "a", "wait": "1s"}]});
        let typed: RunbookSpec = serde_json::from_value(spec.clone()).unwrap();
        let mut author = Author { username: "bob".to_owned(), ..Author::default() };
        author.seal = authority.sealer.of_author("shop", "a", &typed, &author).unwrap();
        let noted = serde_json::to_string(&author).unwrap();
        let old = json!({"metadata": {"name": "a", "annotations": {AUTHOR: noted}}, "spec": spec});
        let mut new = old.clone();
        new["metadata"]["annotations"][RUN] = json!(r#"{"id": "1", "by": "root", "parameters": {"pod": "x"}}"#);
        let answer = review(&authority, "Runbook", new.clone(), old.clone()).await;
        // The content is bob's still, so it is only asked whether ann may do what it does.
        assert_eq!(answer["allowed"], true, "{answer}");
        let patch = patched(&answer);
        assert_eq!(patch.as_array().unwrap().len(), 1);
        let run: RunRequest = serde_json::from_str(patch[0]["value"].as_str().unwrap()).unwrap();
        assert_eq!((run.by.as_str(), run.id.as_str(), &run.groups[..]), ("ann", "1", &["sre".to_owned()][..]));
        assert_eq!(run.seal, authority.sealer.of_run("shop", "a", &run));
        // To patch an annotation is not to act as the account.
        let without = Authority { sealer: authority.sealer.clone(), ..authority_where(&["bob"]) };
        let refused = review(&without, "Runbook", new, old.clone()).await;
        let message = refused["status"]["message"].as_str().unwrap();
        assert_eq!(refused["status"]["code"], 403);
        assert!(message.contains("ann may not use ServiceAccount shop/evidence"), "{message}");
        assert!(message.contains("whoever asks for it must be allowed to do"), "{message}");
        assert!(message.ends_with(
            "grant ann the verb impersonate on serviceaccounts with the resource name evidence in namespace shop"
        ));
        // What was asked for once is not asked for again in its name.
        let asked = new_of(&old, "1");
        let mut answered = asked.clone();
        answered["metadata"]["annotations"][RUN] = json!(r#"{"id": "2"}"#);
        answered["status"] = json!({"requests": [{"id": "1", "at": "2026-01-01T00:00:00Z"}]});
        for old in [asked, answered] {
            let mut again = old.clone();
            again["metadata"]["annotations"][RUN] = json!(r#"{"id": "1", "parameters": {"pod": "y"}}"#);
            let refused = review(&authority, "Runbook", again.clone(), old.clone()).await;
            let message = refused["status"]["message"].as_str().unwrap();
            assert!(message.contains("1 was that of an earlier request"), "{message}");
            again["metadata"]["annotations"][RUN] = json!(r#"{"id": "3", "parameters": {"pod": "y"}}"#);
            assert_eq!(review(&authority, "Runbook", again, old).await["allowed"], true);
        }
        let mut nonsense = old.clone();
        nonsense["metadata"]["annotations"][RUN] = json!("now");
        assert_eq!(review(&authority, "Runbook", nonsense, old).await["allowed"], false);
    }
}
