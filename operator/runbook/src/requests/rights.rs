//! What an API server asks of the account that sends requests: the rights that it must have.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Server};

/// One right, as an API server's authorizer knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// None of what is in no namespace, or of all of them.
    pub namespace: Option<String>,
    /// `""` of Pods, `apps` of Deployments.
    pub group: String,
    /// `pods`, or with a part of it: `pods/log`.
    pub resource: String,
    /// `get`, `list`, `create`, `patch`, `delete`.
    pub verb: &'static str,
    /// The object; none where it is any, or where only the cluster knows which.
    pub name: Option<String>,
    /// False where only the cluster knows which object it is, so that a right to that one alone may be enough.
    pub named: bool,
}

/// What calls need. Those that are left out where they are not allowed need nothing.
pub fn rights<'c>(calls: impl IntoIterator<Item = &'c Call>) -> BTreeSet<Right> {
    let asked = calls.into_iter().filter(|call| call.request.to == Server::Kubernetes && !call.fine.contains(&403));
    asked.flat_map(|call| of(call.request.method, &call.request.path)).collect()
}

fn of(method: &str, path: &str) -> Vec<Right> {
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return Vec::new(),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        rest => (None, rest),
    };
    let (resource, name, part) = match rest {
        [resource] => (*resource, None, None),
        [resource, name] => (*resource, Some(*name), None),
        // What comes after is the part's own: `pods/checkout:6060/proxy/debug/pprof/heap`.
        [resource, name, part, ..] => (*resource, Some(*name), Some(*part)),
        [] => return Vec::new(),
    };
    let verbs: &[&'static str] = match (method, name, part) {
        // A WebSocket is a GET, for which newer servers ask the right to create as well.
        (_, _, Some("exec")) => &["get", "create"],
        ("GET", Some(_), _) => &["get"],
        ("GET", None, _) => &["list"],
        ("POST", ..) => &["create"],
        ("PATCH", ..) => &["patch"],
        ("PUT", ..) => &["update"],
        ("DELETE", ..) => &["delete"],
        _ => &[],
    };
    let known = name.filter(|name| !stands_for_another(name));
    let right = |verb: &&'static str| Right {
        namespace: namespace.map(str::to_owned),
        group: group.to_owned(),
        resource: part.map_or_else(|| resource.to_owned(), |part| format!("{resource}/{part}")),
        verb,
        name: known.map(str::to_owned),
        named: name.is_none() || known.is_some(),
    };
    verbs.iter().map(right).collect()
}

/// A name that the cluster or an earlier answer says: `DEPLOYMENT-OF-POD`, `{picked}`. With a port it is that of a Pod
/// behind a proxy, as the authorizer knows it too: `checkout:6060`.
fn stands_for_another(name: &str) -> bool {
    name.contains(|c: char| c.is_ascii_uppercase() || c == '{')
}

/// Rights as rules of roles, those of a namespace each: `{apiGroups: [apps], resources: [deployments], verbs: [get]}`. What has
/// the same group and verbs is one rule.
pub fn rules<'r>(rights: impl IntoIterator<Item = &'r Right>) -> BTreeMap<Option<String>, Vec<String>> {
    type Of<'r> = (&'r Option<String>, &'r str, &'r str);
    type With<'r> = (&'r Option<String>, &'r str, BTreeSet<&'r str>);
    let mut verbs: BTreeMap<Of<'_>, BTreeSet<&str>> = BTreeMap::new();
    for right in rights {
        verbs.entry((&right.namespace, &right.group, &right.resource)).or_default().insert(right.verb);
    }
    let mut joined: BTreeMap<With<'_>, Vec<&str>> = BTreeMap::new();
    for ((namespace, group, resource), verbs) in verbs {
        joined.entry((namespace, group, verbs)).or_default().push(resource);
    }
    let mut rules: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
    for ((namespace, group, verbs), resources) in joined {
        let group = if group.is_empty() { "\"\"" } else { group };
        let verbs = verbs.into_iter().collect::<Vec<_>>().join(", ");
        let rule = format!("{{apiGroups: [{group}], resources: [{}], verbs: [{verbs}]}}", resources.join(", "));
        rules.entry(namespace.clone()).or_default().push(rule);
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::Request;

    fn shown(method: &'static str, path: &str) -> Vec<String> {
        let call = Call::new("", Request::kubernetes(method, path.to_owned()));
        let words = |right: &Right| {
            let Right { namespace, group, resource, verb, name, named } = right;
            let name = name.as_deref().unwrap_or(if *named { "-" } else { "?" });
            format!("{verb} {group}/{resource} {} {name}", namespace.as_deref().unwrap_or("-"))
        };
        rights([&call]).iter().map(words).collect()
    }

    #[test]
    fn a_request_needs_what_the_server_asks() {
        let pods = "/api/v1/namespaces/shop/pods";
        assert_eq!(shown("GET", &format!("{pods}/a/log?container=app")), ["get /pods/log shop a"]);
        assert_eq!(shown("GET", &format!("{pods}?labelSelector=a")), ["list /pods shop -"]);
        assert_eq!(
            shown("GET", &format!("{pods}/a/exec?command=x")),
            ["create /pods/exec shop a", "get /pods/exec shop a"]
        );
        assert_eq!(shown("POST", &format!("{pods}/a/eviction")), ["create /pods/eviction shop a"]);
        assert_eq!(shown("GET", &format!("{pods}/a:6060/proxy/debug/pprof/heap")), ["get /pods/proxy shop a:6060"]);
        assert_eq!(shown("GET", &format!("{pods}/{{picked}}/log")), ["get /pods/log shop ?"]);
        assert_eq!(shown("PATCH", "/api/v1/nodes/n"), ["patch /nodes - n"]);
        let deployments = "/apis/apps/v1/namespaces/shop/deployments";
        assert_eq!(shown("PATCH", &format!("{deployments}/a/scale")), ["patch apps/deployments/scale shop a"]);
        assert_eq!(shown("GET", &format!("{deployments}/DEPLOYMENT-OF-POD")), ["get apps/deployments shop ?"]);
        assert_eq!(shown("GET", "/api/v1/namespaces/shop"), ["get /namespaces - shop"]);
    }

    #[test]
    fn rights_of_one_group_and_the_same_verbs_are_one_rule() {
        let call = |method, path: &str| Call::new("", Request::kubernetes(method, path.to_owned()));
        let calls = [
            call("GET", "/api/v1/namespaces/shop/pods/a"),
            call("GET", "/api/v1/namespaces/shop/pods/a/log"),
            call("GET", "/apis/apps/v1/namespaces/shop/deployments/a"),
            call("PATCH", "/apis/apps/v1/namespaces/shop/deployments/a"),
            call("GET", "/api/v1/nodes/n"),
            // Left out where it is not allowed.
            call("GET", "/apis/policy/v1/namespaces/shop/poddisruptionbudgets").fine(&[403]),
        ];
        let rules = rules(&rights(&calls));
        let shop = [
            "{apiGroups: [\"\"], resources: [pods, pods/log], verbs: [get]}",
            "{apiGroups: [apps], resources: [deployments], verbs: [get, patch]}",
        ];
        let nodes = ["{apiGroups: [\"\"], resources: [nodes], verbs: [get]}"];
        let wanted =
            [(None, nodes.map(str::to_owned).to_vec()), (Some("shop".to_owned()), shop.map(str::to_owned).to_vec())];
        assert_eq!(rules, BTreeMap::from(wanted));
    }
}
