//! The runbooks that ship: each folder of `runbooks/` is checked, so that a new one is as well.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{PolicyRule, RoleRef, Subject},
};
use plimsoll_api::{execution::Phase, runbook::Mode};
use plimsoll_runbook::{
    guards::{Circumstances, Guard, Past, check},
    matching::{Occurrence, matches},
    parameters,
    plan::{Settings, plan},
};
use serde_json::Value;

use super::{run, write};

/// The time at which each is tried.
const AT: &str = "2026-11-26T12:01:00Z";
/// Namespace and name of the operator's ServiceAccount.
const OPERATOR: (&str, &str) = ("plimsoll-system", "plimsoll");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runbooks")
}

/// Every folder, by name.
fn folders() -> Vec<(String, PathBuf)> {
    let mut folders: Vec<_> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    folders.sort();
    assert!(folders.len() >= 12, "only {} runbooks", folders.len());
    folders
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{}/{name}: {error}", folder.display()))
}

fn spec(folder: &Path) -> Value {
    let whole: Value = serde_saphyr::from_str(&read(folder, "runbook.yaml")).unwrap();
    whole["spec"].clone()
}

/// Whether an alert starts it; the others have a schedule.
fn by_alert(spec: &Value) -> bool {
    !spec["trigger"]["alert"].is_null() || !spec["trigger"]["slo"].is_null()
}

/// What it would do about its alert, or when its time has come.
fn tried(folder: &Path) -> super::Ran {
    let mut arguments = vec!["runbook", "test", "runbook.yaml", "--at", AT];
    if by_alert(&spec(folder)) {
        arguments.extend(["--alert", "alert.json"]);
    }
    run(folder, &arguments)
}

/// Every object is valid without a warning, and the index, the page and the mode are as they should be.
#[test]
fn each_is_valid_and_has_its_page() {
    let index = fs::read_to_string(root().join("README.md")).unwrap();
    for (name, folder) in folders() {
        let alerts = folder.join("alert_rules.yaml").exists();
        for file in ["runbook.yaml", "alert_rules.yaml"].into_iter().filter(|file| alerts || *file == "runbook.yaml") {
            let ran = run(&folder, &["validate", "--strict", file]);
            assert_eq!(ran.code, 0, "{name}/{file}\n{}{}", ran.stdout, ran.stderr);
            assert!(ran.stdout.ends_with("1 object in 1 file: 0 errors, 0 warnings\n"), "{name}: {}", ran.stdout);
        }
        let spec = spec(&folder);
        assert_eq!(spec["mode"], "DryRun", "{name}");
        let page = read(&folder, "README.md");
        assert!(page.starts_with(&format!("# {name}\n")), "{name}: the page has another title");
        for title in ["When", "What it does", "Why", "Rights", "What could go wrong", "Try it"] {
            assert!(page.contains(&format!("\n## {title}\n")), "{name}: the page has no part {title:?}");
        }
        let alert = if by_alert(&spec) { format!(" --alert runbooks/{name}/alert.json") } else { String::new() };
        let command = format!("plimsoll runbook test runbooks/{name}/runbook.yaml{alert}\n");
        assert!(page.contains(&command), "{name}: the page lacks {command}");
        assert!(index.contains(&format!("| [{name}]({name}/README.md) |")), "{name} is not in the index");
        assert_eq!(folder.join("alert.json").exists(), by_alert(&spec), "{name}: an alert that starts nothing");
        // An SLO's own alert comes from the SLO.
        assert_eq!(alerts, !spec["trigger"]["alert"].is_null(), "{name}: an alert that nothing fires");
        // Run by an end-to-end test, on the engine of Prometheus.
        assert_eq!(folder.join("alert_tests.yaml").exists(), alerts, "{name}: tests of its alert");
        if alerts {
            let rules: Value = serde_saphyr::from_str(&read(&folder, "alert_rules.yaml")).unwrap();
            let message: Value = serde_json::from_str(&read(&folder, "alert.json")).unwrap();
            let fired = &message["alerts"][0]["labels"]["alertname"];
            let rule = rules["spec"]["rules"].as_array().unwrap().iter().find(|rule| rule["alert"] == *fired);
            assert_eq!(rule.unwrap()["runbooks"], serde_json::json!([name]), "{name}");
        }
    }
}

/// What is said about the example is what the golden file has, request by request.
#[test]
fn each_does_what_it_says() {
    for (name, folder) in folders() {
        let ran = tried(&folder);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{name}\n{}", ran.stdout);
        assert!(!ran.stdout.contains('✗'), "{name}\n{}", ran.stdout);
        let path = folder.join("expected.txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &ran.stdout).unwrap();
            continue;
        }
        let expected = read(&folder, "expected.txt");
        let lines = || ran.stdout.lines().zip(expected.lines());
        let differs = lines().find(|(found, expected)| found != expected);
        assert!(ran.stdout == expected, "{name}: {differs:?} (found, expected; UPDATE=1 accepts)");
    }
}

/// "Run it again", "also of another service": what a page advises, the guards let through, and not without end.
#[test]
fn a_maintenance_that_takes_longer_is_run_again() {
    let text = read(&root().join("maintenance"), "runbook.yaml").replace("mode: DryRun", "mode: Auto");
    let model = plimsoll_runbook::validate(&serde_saphyr::from_str(&text).unwrap()).unwrap().model;
    let now: jiff::Timestamp = "2026-11-29T03:50:00Z".parse().unwrap();
    let asked = Occurrence::Asked { id: "a".to_owned(), by: "ann".to_owned(), groups: Vec::new(), at: now };
    let evidence = matches(&model, &asked, now).unwrap();
    let values = parameters::resolve(&model, &evidence.labels, &BTreeMap::new()).unwrap().values;
    let settings = Settings {
        operator_namespace: OPERATOR.0.to_owned(),
        images: Vec::new(),
        destinations: vec!["tickets".to_owned()],
        volumes: Vec::new(),
    };
    let spec = plan(&model, &settings, evidence, &values, Vec::new(), None).unwrap().spec;
    let past = |n: i64| Past {
        name: format!("maintenance-{n}"),
        phase: Phase::Succeeded,
        started_at: Some(now - jiff::SignedDuration::from_mins(110 * n)),
        finished_at: Some(now - jiff::SignedDuration::from_mins(110 * n - 1)),
        real: true,
        ..Past::default()
    };
    let refused = |runs: i64| -> Vec<Guard> {
        let circumstances = Circumstances {
            paused: Some(false),
            mode: Some(Some(Mode::Auto)),
            history: Some((1..=runs).map(past).collect()),
            same_target: Some(Vec::new()),
            slos: Some(Vec::new()),
            author_may: Some(true),
            asker_may: Some(true),
            ..Circumstances::default()
        };
        let refusals = check(&spec, &model.safety, &settings, &circumstances, now);
        refusals.into_iter().map(|refusal| refusal.guard).collect()
    };
    assert_eq!(refused(1), []);
    assert_eq!(refused(3), []);
    assert_eq!(refused(4), [Guard::Budget]);
}

/// The labels by which a trigger chooses.
fn chosen(spec: &Value) -> Vec<String> {
    let matchers = spec["trigger"]["alert"].as_array();
    let label = |text: &Value| text.as_str().unwrap().split(['=', '!']).next().unwrap().to_owned();
    match matchers {
        Some(matchers) => matchers.iter().map(label).chain(["namespace".to_owned()]).collect(),
        None => ["alertname", "slo_id", "severity", "namespace"].map(str::to_owned).into(),
    }
}

#[test]
fn another_alert_starts_none() {
    for (name, folder) in folders() {
        let spec = spec(&folder);
        if !by_alert(&spec) {
            continue;
        }
        let message: Value = serde_json::from_str(&read(&folder, "alert.json")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "runbook.yaml", read(&folder, "runbook.yaml"));
        for label in chosen(&spec) {
            let mut other = message.clone();
            other["alerts"][0]["labels"][&label] = Value::from("other");
            write(directory.path(), "alert.json", other.to_string());
            let ran = run(directory.path(), &["runbook", "test", "runbook.yaml", "--alert", "alert.json"]);
            assert_eq!(ran.code, 1, "{name} is started by an alert with another {label}\n{}", ran.stdout);
            assert!(ran.stdout.contains(" is not started by alert "), "{name}, {label}: {}", ran.stdout);
        }
    }
}

/// What could come with an alert: nothing of it becomes a name, an option, a path or a script.
#[test]
fn hostile_values_start_none() {
    let long = "a".repeat(10 << 10);
    let hostile = [
        "a b",
        "a\"b",
        "a'b",
        "../secrets",
        "a/../b",
        "kube-system/etcd",
        "$(reboot)",
        "`reboot`",
        "a;reboot",
        "a\nb",
        "--all",
        "-c",
        "a\u{202e}b",
        "%2e%2e",
        &long,
    ];
    let mut tried = 0;
    for (name, folder) in folders() {
        let spec = spec(&folder);
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "runbook.yaml", read(&folder, "runbook.yaml"));
        for parameter in spec["parameters"].as_array().unwrap() {
            let named = parameter["name"].as_str().unwrap();
            let refused = |ran: &super::Ran, times: usize| {
                assert_eq!(ran.code, 1, "{name} takes something as {named}\n{}", ran.stdout);
                let reasons = ran.stdout.matches(&format!("  ✗ {named}: ")).count();
                assert_eq!(reasons, times, "{name}, {named}: {}", ran.stdout);
                assert!(!ran.stdout.contains("\nExecution "), "{name}, {named}: {}", ran.stdout);
            };
            tried += hostile.len();
            if let Some(label) = parameter["fromLabel"].as_str() {
                let mut message: Value = serde_json::from_str(&read(&folder, "alert.json")).unwrap();
                let alert = message["alerts"][0].clone();
                assert!(alert["labels"][label].is_string(), "{name}: the alert has no {label}");
                let with = |value: &str| {
                    let mut alert = alert.clone();
                    alert["labels"][label] = Value::from(value);
                    alert
                };
                message["alerts"] = hostile.iter().map(|value| with(value)).collect();
                write(directory.path(), "alert.json", message.to_string());
                let ran = run(directory.path(), &["runbook", "test", "runbook.yaml", "--alert", "alert.json"]);
                refused(&ran, hostile.len());
            } else {
                for value in hostile {
                    let given = format!("{named}={value}");
                    refused(&run(directory.path(), &["runbook", "test", "runbook.yaml", "--parameter", &given]), 1);
                }
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

/// A request as the API server's authorizer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need {
    verb: &'static str,
    group: String,
    /// With its subresource: `pods/log`.
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    /// It is done without where it is not allowed.
    optional: bool,
}

/// What requests need: those of the account that a dry run prints.
fn needs(output: &str) -> Vec<Need> {
    let mut lines = output.lines().peekable();
    let mut needs = Vec::new();
    while let Some(line) = lines.next() {
        let Some((method, rest)) = line.strip_prefix("   → ").and_then(|request| request.split_once(' ')) else {
            continue;
        };
        let path = rest.split([' ', '?']).next().unwrap();
        if path.starts_with("/api/") || path.starts_with("/apis/") {
            let optional = lines.peek().is_some_and(|what| what.ends_with(", if the account may read them"));
            needs.extend(need(method, path, optional));
        }
    }
    needs
}

fn need(method: &str, path: &str, optional: bool) -> Vec<Need> {
    let mut parts = path.trim_start_matches('/').split('/');
    let group = if parts.next() == Some("apis") { parts.next().unwrap() } else { "" };
    let _version = parts.next().unwrap();
    let mut rest: Vec<&str> = parts.collect();
    let namespace = (rest[0] == "namespaces" && rest.len() > 2).then(|| rest[1].to_owned());
    if namespace.is_some() {
        rest.drain(..2);
    }
    let (name, subresource) = (rest.get(1).copied(), rest.get(2).copied());
    let resource = subresource.map_or(rest[0].to_owned(), |subresource| format!("{}/{subresource}", rest[0]));
    let verbs: &[&'static str] = match (method, name, subresource) {
        // A WebSocket is a GET, for which newer servers ask the right to create as well.
        ("GET", _, Some("exec")) => &["get", "create"],
        ("GET", Some(_), _) => &["get"],
        ("GET", None, _) => &["list"],
        ("POST", ..) => &["create"],
        ("PATCH", ..) => &["patch"],
        ("DELETE", ..) => &["delete"],
        other => panic!("{other:?} of {path}"),
    };
    let (group, name) = (group.to_owned(), name.map(str::to_owned));
    let with = |verb: &&'static str| Need {
        verb,
        group: group.clone(),
        resource: resource.clone(),
        namespace: namespace.clone(),
        name: name.clone(),
        optional,
    };
    verbs.iter().map(with).collect()
}

/// The rules that a ServiceAccount is bound to, each with the namespace in which it holds.
fn granted(text: &str, account: &str, namespace: &str) -> Vec<(Option<String>, PolicyRule)> {
    let objects: Vec<Value> = text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect();
    let field = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let mut roles: BTreeMap<(String, Option<String>, String), Vec<PolicyRule>> = BTreeMap::new();
    let mut bound = Vec::new();
    let mut accounts = 0;
    for object in &objects {
        let kind = field(object, "/kind").unwrap();
        let (name, place) = (field(object, "/metadata/name").unwrap(), field(object, "/metadata/namespace"));
        match kind.as_str() {
            "ServiceAccount" => {
                let made: ServiceAccount = serde_json::from_value(object.clone()).unwrap();
                assert_eq!((name.as_str(), place.as_deref()), (account, Some(namespace)));
                assert_eq!(made.automount_service_account_token, Some(false), "no Pod runs as it");
                accounts += 1;
            }
            "Role" | "ClusterRole" => {
                assert_eq!(place.is_some(), kind == "Role", "{name}");
                roles.insert((kind, place, name), serde_json::from_value(object["rules"].clone()).unwrap());
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                let subjects: Vec<Subject> = serde_json::from_value(object["subjects"].clone()).unwrap();
                let role: RoleRef = serde_json::from_value(object["roleRef"].clone()).unwrap();
                let [subject] = subjects.as_slice() else { panic!("{name} binds several") };
                assert_eq!(subject.kind, "ServiceAccount");
                let who = (subject.namespace.as_deref().unwrap(), subject.name.as_str());
                assert!([OPERATOR, (namespace, account)].contains(&who), "{name} binds {who:?}");
                assert_eq!(kind, format!("{}Binding", role.kind), "{name} binds across scopes");
                bound.push((who == OPERATOR, (role.kind, place, role.name)));
            }
            other => panic!("rbac.yaml has a {other}"),
        }
    }
    assert_eq!((accounts, bound.len()), (1, roles.len()), "an account, and a binding for each role");
    // The operator may be this account, and nothing else.
    let impersonate: PolicyRule = serde_json::from_value(serde_json::json!({
        "apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": [account], "verbs": ["impersonate"],
    }))
    .unwrap();
    let mut granted = Vec::new();
    let mut of_operator = Vec::new();
    for (operator, key) in bound {
        let rules = roles.remove(&key).unwrap_or_else(|| panic!("{key:?} is bound but not there"));
        let to = if operator { &mut of_operator } else { &mut granted };
        to.extend(rules.into_iter().map(|rule| (key.1.clone(), rule)));
    }
    assert_eq!(of_operator, [(Some(namespace.to_owned()), impersonate)]);
    granted
}

/// True when a rule that holds in `scope` allows what is needed. A wildcard allows nothing here.
fn allows(scope: Option<&String>, rule: &PolicyRule, need: &Need) -> bool {
    let has = |list: Option<&Vec<String>>, wanted: &str| list.is_some_and(|list| list.iter().any(|one| one == wanted));
    let named = rule.resource_names.as_ref().filter(|names| !names.is_empty());
    scope == need.namespace.as_ref()
        && has(rule.api_groups.as_ref(), &need.group)
        && has(rule.resources.as_ref(), &need.resource)
        && rule.verbs.iter().any(|verb| verb == need.verb)
        && named.is_none_or(|names| need.name.as_ref().is_some_and(|name| names.contains(name)))
}

/// Each right of a rule as a rule of its own.
fn singles(rule: &PolicyRule) -> Vec<PolicyRule> {
    let names: Vec<Option<Vec<String>>> = match &rule.resource_names {
        Some(names) => names.iter().map(|name| Some(vec![name.clone()])).collect(),
        None => vec![None],
    };
    let mut all = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                all.extend(names.iter().map(|resource_names| PolicyRule {
                    api_groups: Some(vec![group.clone()]),
                    resources: Some(vec![resource.clone()]),
                    verbs: vec![verb.clone()],
                    resource_names: resource_names.clone(),
                    non_resource_urls: None,
                }));
            }
        }
    }
    assert!(rule.non_resource_urls.is_none());
    all
}

/// The account may do what its runbook does, and nothing else.
#[test]
fn rights_are_those_that_are_needed() {
    for (name, folder) in folders() {
        let text = read(&folder, "rbac.yaml");
        let whole: Value = serde_saphyr::from_str(&read(&folder, "runbook.yaml")).unwrap();
        let account = whole["spec"]["serviceAccountName"].as_str().unwrap();
        let granted = granted(&text, account, whole["metadata"]["namespace"].as_str().unwrap());
        let needs = needs(&tried(&folder).stdout);
        for need in needs.iter().filter(|need| !need.optional) {
            assert!(granted.iter().any(|(scope, rule)| allows(scope.as_ref(), rule, need)), "{name} may not: {need:?}");
        }
        for (scope, rule) in &granted {
            for single in singles(rule) {
                let used = needs.iter().any(|need| allows(scope.as_ref(), &single, need));
                assert!(used, "{name} never needs {single:?}");
            }
        }
        let lines: Vec<&str> = text.lines().collect();
        for (i, _) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("- apiGroups:")) {
            assert!(lines[i - 1].starts_with("# "), "{name}: line {} of rbac.yaml has no reason", i + 1);
        }
    }
}

/// The checker itself: what it would have to refuse.
#[test]
fn what_the_checker_refuses() {
    let rule = |resources: &str, verbs: &str| -> PolicyRule {
        serde_json::from_value(serde_json::json!({
            "apiGroups": [""], "resources": [resources], "verbs": [verbs], "resourceNames": ["a"],
        }))
        .unwrap()
    };
    let shop = Some("shop".to_owned());
    let log = &need("GET", "/api/v1/namespaces/shop/pods/a/log", false)[0];
    assert!(allows(shop.as_ref(), &rule("pods/log", "get"), log));
    for (scope, rule, path) in [
        (None, rule("pods/log", "get"), "/api/v1/namespaces/shop/pods/a/log"),
        (shop.as_ref(), rule("pods", "get"), "/api/v1/namespaces/shop/pods/a/log"),
        (shop.as_ref(), rule("pods/log", "list"), "/api/v1/namespaces/shop/pods/a/log"),
        (shop.as_ref(), rule("pods/log", "get"), "/api/v1/namespaces/shop/pods/b/log"),
        (shop.as_ref(), rule("pods/log", "get"), "/api/v1/namespaces/other/pods/a/log"),
        (shop.as_ref(), rule("*", "get"), "/api/v1/namespaces/shop/pods/a/log"),
        (shop.as_ref(), rule("pods/log", "get"), "/apis/apps/v1/namespaces/shop/pods/a/log"),
    ] {
        assert!(!allows(scope, &rule, &need("GET", path, false)[0]), "{rule:?} allows {path}");
    }
    let exec = need("GET", "/api/v1/namespaces/shop/pods/a/exec", false);
    assert_eq!(exec.iter().map(|need| need.verb).collect::<Vec<_>>(), ["get", "create"]);
    assert_eq!(need("GET", "/api/v1/nodes/a", false)[0].namespace, None);
    let text =
        "   → GET /api/v1/nodes/a\n     look up the Node\n   → Prometheus: GET /api/v1/query?query=up\n     ask\n";
    assert_eq!(needs(text).len(), 1);
}
