#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use serde_json::json;

use super::{entry::Owner, *};
use crate::sinks::{conformance, prometheus_rule};

fn reduced(labels: serde_json::Value, owned: &[&str]) -> Reduced {
    let fields: serde_json::Map<String, serde_json::Value> =
        owned.iter().map(|key| (format!("f:{key}"), json!({}))).collect();
    serde_json::from_value(json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "plimsoll-a", "namespace": "shop", "uid": "u", "resourceVersion": "7", "labels": labels,
            "annotations": {"x": "y"},
            "managedFields": [
                {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:theirs": {}}}}},
                {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:metadata": {"f:labels": fields}}},
            ]},
        "spec": {"groups": []},
    }))
    .unwrap()
}

#[test]
fn labels_of_others_do_not_count_and_stolen_ones_do() {
    let ours = reduced(json!({"a": "1"}), &["a"]);
    assert_eq!(ours.print, reduced(json!({"a": "1", "theirs": "x"}), &["a"]).print);
    assert_ne!(ours.print, reduced(json!({"a": "1"}), &[]).print, "somebody forced the label");
    assert_ne!(ours.print, reduced(json!({"a": "2"}), &["a"]).print);
    assert_ne!(ours.print, reduced(json!({"a": "1", "b": "2"}), &["a", "b"]).print, "a label that must go");
    assert_eq!(ours.metadata.annotations, None);
    assert_eq!(ours.metadata.managed_fields, None);
}

#[test]
fn what_is_read_has_the_fingerprint_of_what_is_wanted() {
    let target = conformance::target("a");
    let rules = conformance::rules(&target, "vector(1)");
    let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    let object: Reduced = serde_json::from_value(json!({
        "metadata": {"labels": labels, "managedFields": [
            {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}}}]},
        "spec": rules,
    }))
    .unwrap();
    assert_eq!(object.print, of_object(&labels, Fingerprint::of(&rules).unwrap()));
}

#[test]
fn a_change_concerns_its_owner_and_who_would_like_its_name() {
    let entry = |owner: Option<&str>| Entry {
        uid: "u".into(),
        version: 1,
        owner: owner.map(|name| Owner { kind: Kind::Slo, name: name.into(), uid: "x".into() }),
        deleting: false,
        print: Fingerprint::default(),
    };
    let pair = |name: &str| (Kind::Slo, "shop".to_owned(), name.to_owned());
    assert_eq!(concerned(&key("shop", "plimsoll-a"), &entry(Some("a"))), [pair("a")]);
    assert_eq!(concerned(&key("shop", "plimsoll-a"), &entry(None)), [pair("a")]);
    assert_eq!(concerned(&key("shop", "plimsoll-a"), &entry(Some("b"))), [pair("a"), pair("b")]);
    assert_eq!(concerned(&key("shop", "other"), &entry(None)), []);
    let rule = (Kind::AlertRule, "shop".to_owned(), "a".to_owned());
    assert_eq!(concerned(&key("shop", "plimsoll.alertrule-a"), &entry(None)), [rule]);
}

fn print(expr: &str) -> Fingerprint {
    Fingerprint::of(&conformance::rules(&conformance::target("a"), expr)).unwrap()
}

/// The object `shop/plimsoll-a`, as it is told.
fn object(uid: &str, version: u64, print: Fingerprint) -> Reduced {
    let text = |text: &str| Some(text.to_owned());
    let metadata =
        ObjectMeta { name: text("plimsoll-a"), namespace: text("shop"), uid: text(uid), ..ObjectMeta::default() };
    Reduced::of(ObjectMeta { resource_version: Some(version.to_string()), ..metadata }, print)
}

/// All that is known of rule objects.
fn nothing_yet() -> Arc<Objects> {
    Objects::new(crate::testing::FakeApi::default().client(), prometheus_rule::resource())
}

/// A list has these.
fn list(objects: &Objects, listed: impl IntoIterator<Item = Reduced>) {
    objects.ingest(watcher::Event::Init);
    for object in listed {
        objects.ingest(watcher::Event::InitApply(object));
    }
    objects.ingest(watcher::Event::InitDone);
}

/// An apply is answered without the object, so that only the watch tells what it led to: with a group of somebody else in
/// it, the object is as it should be although it does not look like it.
#[tokio::test]
async fn what_others_have_in_an_object_is_settled_whichever_tells_first() {
    let (wanted, merged, edited) = (print("1"), print("1 + 1"), print("2"));
    let key = key("shop", "plimsoll-a");
    let answered =
        |objects: &Objects, version| objects.state().wrote(key.clone(), entry(&object("u", version, wanted)).1, 0);
    let told = |objects: &Objects, version, print| objects.ingest(watcher::Event::Apply(object("u", version, print)));
    let settled = Settled { wanted, observed: merged, looked: false };
    let known = |objects: &Objects| {
        let state = objects.state();
        (state.objects[&key].print, state.settled.get(&key).copied())
    };

    let first_answered = nothing_yet();
    answered(&first_answered, 5);
    assert_ne!(told(&first_answered, 5, merged), [], "what others have in it is to be looked at");
    assert_eq!(known(&first_answered), (merged, Some(settled)));
    assert_eq!(told(&first_answered, 5, merged), [], "once");
    assert_ne!(told(&first_answered, 6, edited), [], "an edit concerns its owner");
    assert_eq!(known(&first_answered).0, edited);
    answered(&first_answered, 7);
    assert_eq!(told(&first_answered, 6, edited), [], "what is older is no news");
    assert_eq!(told(&first_answered, 7, wanted), []);
    assert_eq!(known(&first_answered), (wanted, None));

    let first_told = nothing_yet();
    told(&first_told, 5, merged);
    answered(&first_told, 5);
    assert_eq!(known(&first_told), (merged, Some(settled)));
    told(&first_told, 8, edited);
    answered(&first_told, 7);
    assert_eq!(known(&first_told), (edited, None), "the edit came after the write, and is not settled by it");
}

/// Nobody tells of a deletion that a list has left out: an answer to what was asked before would put the object back for good,
/// and rules that are gone would be taken for written.
#[tokio::test]
async fn an_answer_that_a_list_has_overtaken_puts_nothing_back() {
    let (objects, key) = (nothing_yet(), key("shop", "plimsoll-a"));
    list(&objects, []);
    let asked = objects.state().lists;
    list(&objects, []);
    let (_, written) = entry(&object("u", 5, print("1")));
    objects.state().wrote(key.clone(), written.clone(), asked);
    assert_eq!(objects.state().objects.get(&key), None);
    let asked = objects.state().lists;
    objects.state().wrote(key.clone(), written.clone(), asked);
    assert_eq!(objects.state().objects.get(&key), Some(&written));
}

#[tokio::test]
async fn a_list_is_all_that_is_known() {
    let (objects, key) = (nothing_yet(), key("shop", "plimsoll-a"));
    list(&objects, [object("u", 900, print("1 + 1"))]);
    objects.state().wrote(key.clone(), entry(&object("u", 900, print("1"))).1, 1);
    assert!(objects.state().settled.contains_key(&key));
    list(&objects, []);
    assert!(objects.state().settled.is_empty(), "of an object that is gone nothing is kept");

    // An etcd that was restored counts on from where it was then.
    list(&objects, [object("u", 700, print("1"))]);
    let (_, written) = entry(&object("u", 701, print("2")));
    let asked = objects.state().lists;
    objects.state().wrote(key.clone(), written.clone(), asked);
    assert_eq!(objects.state().objects.get(&key), Some(&written));
}

/// What stood in the place of an object and was gone when that was made is told of late, and would be taken for a stranger's.
#[tokio::test]
async fn what_was_there_before_does_not_hide_what_is_there() {
    let (objects, key) = (nothing_yet(), key("shop", "plimsoll-a"));
    let (_, written) = entry(&object("ours", 9, print("1")));
    objects.state().wrote(key.clone(), written.clone(), 0);
    assert_eq!(objects.ingest(watcher::Event::Apply(object("theirs", 5, print("2")))), []);
    assert_eq!(objects.ingest(watcher::Event::Delete(object("theirs", 6, print("2")))), []);
    assert_eq!(objects.state().objects.get(&key), Some(&written));
}

/// A backend that knows of nothing that comes from now on.
async fn deaf(api: &crate::testing::FakeApi) -> Arc<KubeSink> {
    let objects = Objects::new(api.client(), prometheus_rule::resource());
    let watch = tokio::spawn(Arc::clone(&objects).watch(mpsc::unbounded_channel().0));
    objects.readiness().wait_for(|now| *now == Readiness::Ready).await.unwrap();
    watch.abort();
    KubeSink::new(objects, BTreeMap::new())
}

#[tokio::test]
async fn what_came_unseen_is_not_merged_into() {
    let api = crate::testing::FakeApi::default();
    let (sink, target) = (deaf(&api).await, conformance::target("a"));
    let path = "/apis/monitoring.coreos.com/v1/namespaces/default/prometheusrules/plimsoll-a";
    // Nothing in it conflicts with what would be applied.
    let theirs = json!({"metadata": {"name": "plimsoll-a", "namespace": "default"},
        "spec": conformance::rules(&target, "vector(1)")});
    api.put(path, theirs);
    let planted = api.get(path);
    let error = sink.write(&target, &conformance::rules(&target, "vector(1)")).await.unwrap_err();
    assert!(matches!(&error, SinkError::NotOurs { owner, .. } if owner == "is not owned by this SLO"), "{error}");
    assert_eq!(api.get(path), planted);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_again() {
    let api = crate::testing::FakeApi::default();
    let (first, second, target) = (deaf(&api).await, deaf(&api).await, conformance::target("a"));
    let rules = conformance::rules(&target, "vector(1)");
    assert_eq!(first.write(&target, &rules).await.unwrap(), Written::Changed);
    assert_eq!(second.write(&target, &rules).await.unwrap(), Written::Unchanged);
    let edited = conformance::rules(&target, "vector(2)");
    assert_eq!(deaf(&api).await.write(&target, &edited).await.unwrap(), Written::Changed);
}

/// Else each change of somebody else's group would begin the time anew for which Prometheus may lack the rules.
#[tokio::test]
async fn an_apply_that_changes_nothing_is_no_change() {
    let api = crate::testing::FakeApi::default();
    api.admits(json!({"name": "theirs", "rules": []}));
    let target = conformance::target("a");
    let rules = conformance::rules(&target, "vector(1)");
    assert_eq!(deaf(&api).await.write(&target, &rules).await.unwrap(), Written::Changed);
    let restarted = deaf(&api).await;
    for _ in 0..2 {
        assert_eq!(restarted.write(&target, &rules).await.unwrap(), Written::Unchanged);
        assert_eq!(api.writes().len(), 2, "it is asked once what an apply would make of it");
    }
}

/// Nobody applies them, so that an apply leaves them: rules that are evaluated an hour late would never alert anybody.
#[tokio::test]
async fn what_others_put_into_our_groups_is_taken_away_and_groups_of_theirs_stay() {
    let api = crate::testing::FakeApi::default();
    let (target, path) =
        (conformance::target("a"), "/apis/monitoring.coreos.com/v1/namespaces/default/prometheusrules/plimsoll-a");
    let rules = conformance::rules(&target, "vector(1)");
    let objects = Objects::new(api.client(), prometheus_rule::resource());
    let (touched, mut told) = mpsc::unbounded_channel();
    tokio::spawn(Arc::clone(&objects).watch(touched));
    objects.readiness().wait_for(|now| *now == Readiness::Ready).await.unwrap();
    let sink = KubeSink::new(objects, BTreeMap::new());
    assert_eq!(sink.write(&target, &rules).await.unwrap(), Written::Changed);

    let mut edited = api.get(path).unwrap();
    let groups = edited["spec"]["groups"].as_array_mut().unwrap();
    groups[0]["query_offset"] = json!("1h");
    groups.push(json!({"name": "theirs", "rules": [], "query_offset": "1h"}));
    api.put(path, edited);
    // As the controller does: whatever is told is looked at, until nothing is.
    let mut changed = 0;
    while let Ok(Some(_)) = tokio::time::timeout(std::time::Duration::from_millis(300), told.recv()).await {
        changed += usize::from(sink.write(&target, &rules).await.unwrap() == Written::Changed);
    }
    let groups = api.get(path).unwrap()["spec"]["groups"].clone();
    assert_eq!(groups[0], serde_json::to_value(&rules.groups[0]).unwrap());
    assert_eq!(groups.as_array().unwrap().last().unwrap()["name"], "theirs");
    assert_eq!(changed, 1);
    let asked = api.requests();
    assert_eq!(sink.write(&target, &rules).await.unwrap(), Written::Unchanged);
    assert_eq!(api.requests(), asked, "what others have is looked at once");
    assert_eq!(api.verbose(), [""; 0]);
}

#[tokio::test]
async fn a_kind_that_the_cluster_lacks_is_named() {
    let api = crate::testing::FakeApi::default();
    let objects = Objects::new(api.client(), prometheus_rule::resource());
    let missing = kube::core::Status::failure("the server could not find the requested resource", "NotFound");
    objects.fails(&watcher::Error::InitialListFailed(kube::Error::Api(missing.with_code(404).boxed())));
    let target = conformance::target("a");
    let sink = KubeSink::new(objects, BTreeMap::new());
    let error = sink.write(&target, &conformance::rules(&target, "x")).await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().contains("the cluster has no kind PrometheusRule (monitoring.coreos.com/v1)"), "{error}");
}

/// A rule object of a version whose names were longer is taken away once the new one is there; one of others stays.
#[tokio::test]
async fn an_object_of_a_former_name_goes() {
    let name = "a".repeat(200);
    let target = conformance::target(&name);
    let former = target.former_object_name().unwrap();
    assert!(former.len() > target.object_name().len());
    assert_eq!(conformance::target("a").former_object_name(), None);
    let rules = conformance::rules(&target, "vector(1)");
    let at = |name: &str| format!("/apis/monitoring.coreos.com/v1/namespaces/default/prometheusrules/{name}");
    let object = |owner: &OwnerReference| json!({"metadata": {"name": former, "namespace": "default", "ownerReferences": [owner]}, "spec": rules});
    let api = crate::testing::FakeApi::default();
    api.put(&at(&former), object(&owner_reference(&target)));
    let sink = deaf(&api).await;
    assert_eq!(sink.write(&target, &rules).await.unwrap(), Written::Changed);
    let name = target.object_name();
    assert_eq!(api.writes(), [format!("PATCH {}", at(&name)), format!("DELETE {}", at(&former))]);
    assert!(api.get(&at(&name)).is_some());

    // A process that ended in between leaves it to the next one.
    api.put(&at(&former), object(&owner_reference(&target)));
    assert_eq!(deaf(&api).await.write(&target, &rules).await.unwrap(), Written::Changed);
    assert_eq!(api.get(&at(&former)), None);
    assert_eq!(deaf(&api).await.write(&target, &rules).await.unwrap(), Written::Unchanged);

    let theirs = object(&OwnerReference { uid: "theirs".to_owned(), ..owner_reference(&target) });
    api.put(&at(&former), theirs);
    assert_eq!(deaf(&api).await.write(&target, &rules).await.unwrap(), Written::Unchanged);
    assert!(api.get(&at(&former)).is_some());

    api.put(&at(&former), object(&owner_reference(&target)));
    assert_eq!(deaf(&api).await.delete(&target).await.unwrap(), Written::Changed);
    assert_eq!((api.get(&at(&former)), api.get(&at(&name))), (None, None));
}
