#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::testing::FakeApi;

const REGISTRATIONS: [&str; 2] = [
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/plimsoll",
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/plimsoll",
];

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    webhook: WebhookArgs,
}

fn keeper(api: &FakeApi, arguments: &[&str]) -> Keeper {
    let args = Line::try_parse_from([&["plimsoll"], arguments].concat()).unwrap().webhook;
    let namespace = "ops".to_owned();
    let names = args.names(&namespace).unwrap();
    Keeper { args, client: api.client(), namespace, names, authors: true }
}

/// Somebody edits a registration: the fields of its webhook.
fn edit(api: &FakeApi, path: &str, change: Value) {
    let mut object = api.get(path).unwrap();
    let webhook = object["webhooks"][0].as_object_mut().unwrap();
    webhook.extend(change.as_object().unwrap().clone());
    api.put(path, object);
}

#[tokio::test]
async fn both_registrations_are_put_right_whatever_of_them_is_changed() {
    let (api, identity) = (FakeApi::default(), Identity::default());
    let keeper = keeper(&api, &[]);
    keeper.look(&identity).await.unwrap();
    let rule = |operations: Value, resources: Value| {
        json!({"rules": [{"apiGroups": ["plimsoll.dev"], "apiVersions": ["v1alpha1"], "operations": operations,
            "resources": resources, "scope": "Namespaced"}]})
    };
    for path in REGISTRATIONS {
        let right = api.get(path).unwrap()["webhooks"].clone();
        let policy = if right[0]["failurePolicy"] == "Fail" { "Ignore" } else { "Fail" };
        let all = right[0]["rules"][0]["resources"].clone();
        for change in [
            json!({"failurePolicy": policy}),
            json!({"matchPolicy": "Exact"}),
            json!({"timeoutSeconds": 30}),
            json!({"sideEffects": "Some"}),
            json!({"clientConfig": {"caBundle": "b3RoZXI=", "service": right[0]["clientConfig"]["service"]}}),
            rule(json!(["CREATE"]), all.clone()),
            // Of the version before this one.
            rule(json!(["CREATE", "UPDATE"]), json!(["others"])),
            json!({"rules": []}),
            json!({"name": "other.plimsoll.dev"}),
        ] {
            edit(&api, path, change.clone());
            keeper.look(&identity).await.unwrap();
            assert_eq!(api.get(path).unwrap()["webhooks"], right, "{path}: {change}");
        }
        // What the API server adds by itself, and what an administrator narrows it by.
        for change in [
            json!({"namespaceSelector": {}, "objectSelector": {}, "reinvocationPolicy": "Never"}),
            json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}),
            json!({"matchConditions": [{"name": "a", "expression": "true"}]}),
        ] {
            edit(&api, path, change.clone());
            let writes = api.writes().len();
            keeper.look(&identity).await.unwrap();
            assert_eq!(api.writes().len(), writes, "{path}: {change}");
        }
    }
}

#[tokio::test]
async fn a_given_certificate_is_registered_with_its_authorities() {
    let (api, identity) = (FakeApi::default(), Identity::default());
    keeper(&api, &[]).look(&identity).await.unwrap();
    let bundle = |path| api.get(path).unwrap()["webhooks"][0]["clientConfig"]["caBundle"].clone();
    let made = REGISTRATIONS.map(bundle);
    let names = vec!["plimsoll-webhook.ops.svc".to_owned()];
    let given = certificates::make(&names, None, Timestamp::now()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = (file("tls.crt", &given.certificate), file("tls.key", &given.key));
    let (authorities, none) = (file("ca.crt", &given.authorities), file("none.crt", "no certificate\n"));
    let own = ["--webhook-cert", &certificate, "--webhook-key", &key];

    keeper(&api, &[&own[..], &["--webhook-ca", &authorities]].concat()).look(&identity).await.unwrap();
    let registered = json!(k8s_openapi::ByteString(given.authorities.clone().into_bytes()));
    assert_eq!(REGISTRATIONS.map(bundle), [registered.clone(), registered.clone()]);
    assert!(!made.contains(&registered));

    // Renewed in place.
    let other = certificates::make(&names, None, Timestamp::now()).unwrap();
    file("ca.crt", &other.authorities);
    keeper(&api, &[&own[..], &["--webhook-ca", &authorities]].concat()).look(&identity).await.unwrap();
    assert_eq!(bundle(REGISTRATIONS[1]), json!(k8s_openapi::ByteString(other.authorities.into_bytes())));

    let why = keeper(&api, &[&own[..], &["--webhook-ca", &none]].concat()).look(&identity).await.unwrap_err();
    assert_eq!(format!("{why:#}"), format!("--webhook-ca: {none}: there is no certificate in it"));

    // Somebody else brings the authorities: those of ours go, theirs stay.
    let writes = api.writes().len();
    for path in REGISTRATIONS {
        let mut object = api.get(path).unwrap();
        object["metadata"]["managedFields"][0]["fieldsV1"] =
            json!({"f:webhooks": {"k:{\"name\":\"a\"}": {"f:clientConfig": {"f:caBundle": {}}}}});
        api.put(path, object);
    }
    keeper(&api, &own).look(&identity).await.unwrap();
    assert_eq!((REGISTRATIONS.map(bundle), api.writes().len()), ([Value::Null, Value::Null], writes + 2));
    for path in REGISTRATIONS {
        edit(
            &api,
            path,
            json!({"clientConfig": {"caBundle": "dGhlaXJz",
            "service": api.get(path).unwrap()["webhooks"][0]["clientConfig"]["service"]}}),
        );
    }
    keeper(&api, &own).look(&identity).await.unwrap();
    assert_eq!((REGISTRATIONS.map(bundle), api.writes().len()), ([json!("dGhlaXJz"), json!("dGhlaXJz")], writes + 2));
}

/// Somebody deletes a registration in an emergency, and the operator may change registrations only, not make any: it goes on
/// with everything else, and renews its certificate.
#[tokio::test]
async fn a_registration_that_cannot_be_made_stops_nothing() {
    const SECRET: &str = "/api/v1/namespaces/ops/secrets/plimsoll-webhook";
    let (api, identity) = (FakeApi::default(), Identity::default());
    let forbidden =
        json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no create"});
    api.refuse(&format!("PATCH {}", REGISTRATIONS[0]), forbidden.clone());
    let keeper = keeper(&api, &[]);
    let served = || api.get(SECRET).unwrap()["data"]["tls.crt"].clone();
    let is_set = |identity: &Identity| format!("{identity:?}") != format!("{:?}", Identity::default());
    keeper.begin(&identity).await.unwrap();
    assert!(is_set(&identity), "it serves");
    assert!(api.get(REGISTRATIONS[1]).is_some(), "the other one is kept");
    let why = format!("{:#}", keeper.look(&identity).await.unwrap_err());
    assert!(
        why.starts_with(
            "ValidatingWebhookConfiguration plimsoll: it is not there, and the operator has no right to make it"
        ),
        "{why}"
    );

    // The certificate is renewed meanwhile: the other registration has it.
    let old = served();
    let mut due = api.get(SECRET).unwrap();
    due["metadata"]["annotations"]["plimsoll.dev/renew-at"] = json!("2020-01-01T00:00:00Z");
    api.put(SECRET, due);
    let renewed = Identity::default();
    keeper.look(&renewed).await.unwrap_err();
    assert!(served() != old && is_set(&renewed));

    // One that is there and cannot be changed has the old authorities alone: the old certificate stays.
    api.refuse(&format!("PATCH {}", REGISTRATIONS[1]), forbidden);
    edit(&api, REGISTRATIONS[1], json!({"timeoutSeconds": 30}));
    let unchanged = Identity::default();
    let why = format!("{:#}", keeper.look(&unchanged).await.unwrap_err());
    assert!(why.starts_with("MutatingWebhookConfiguration plimsoll: ") && !is_set(&unchanged), "{why}");

    // Once it is there again, it is filled in.
    for path in REGISTRATIONS {
        api.allow(&format!("PATCH {path}"));
    }
    api.put(REGISTRATIONS[0], json!({"metadata": {"name": "plimsoll"}, "webhooks": []}));
    keeper.look(&identity).await.unwrap();
    assert_eq!(api.get(REGISTRATIONS[0]).unwrap()["webhooks"][0]["name"], "slo.plimsoll.dev");

    // What is wrong with the certificate still ends the start.
    api.put(SECRET, json!({"metadata": {"name": "plimsoll-webhook"}, "data": {}}));
    assert!(keeper.begin(&identity).await.is_err());
}

/// Outside of a Pod nothing is registered that the API server cannot reach: it would lock everybody out of Runbooks.
#[tokio::test]
async fn a_webhook_that_nobody_can_reach_is_not_started() {
    let args = |more: &[&str]| {
        let all = [&["plimsoll", "--webhook-listen", "127.0.0.1:9443"], more].concat();
        Line::try_parse_from(all).unwrap().webhook
    };
    let api = FakeApi::default();
    let client = api.client();
    let why = async |named: bool| {
        let started = args(&[]).reachable(&client, "ops", named, false).await;
        format!("{:#}", started.unwrap_err())
    };
    for (named, wanted) in [
        (false, "at Service plimsoll-webhook in namespace ops, that of the kubeconfig"),
        (true, "there is no Service ops/plimsoll-webhook"),
    ] {
        let why = why(named).await;
        assert!(why.contains(wanted) && why.contains("--webhook-url") && why.contains("--namespace"), "{why}");
    }
    api.put("/api/v1/namespaces/ops/services/plimsoll-webhook", json!({"metadata": {"name": "plimsoll-webhook"}}));
    assert!(why(true).await.contains("nothing is behind Service ops/plimsoll-webhook"), "{}", why(true).await);
    let slice = |ready: bool| json!({"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]});
    let path = "/apis/discovery.k8s.io/v1/namespaces/ops/endpointslices/a";
    api.put(path, slice(false));
    assert!(why(true).await.contains("nothing is behind"));
    api.put(path, slice(true));
    args(&[]).reachable(&client, "ops", true, false).await.unwrap();
    assert!(why(false).await.contains("that of the kubeconfig"), "a namespace that nobody has named is not taken");
    // What was not looked at is not known.
    let status = json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no"});
    api.refuse("/api/v1/namespaces/ops/services/plimsoll-webhook", status);
    assert!(why(true).await.contains("it cannot be known whether Service ops/plimsoll-webhook"));

    // By an address, in a Pod, and without a webhook nobody asks.
    let url = args(&["--webhook-url", "https://10.0.0.1:9443"]);
    url.reachable(&client, "ops", false, false).await.unwrap();
    args(&[]).reachable(&client, "ops", false, true).await.unwrap();
    let none = Line::try_parse_from(["plimsoll"]).unwrap().webhook;
    none.reachable(&client, "ops", false, false).await.unwrap();
    assert!(api.writes().is_empty());
}
