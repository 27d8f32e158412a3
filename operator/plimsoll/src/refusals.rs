//! Errors in words, those of the API server above all: who may not do what, and what to ask for. Logs, conditions and the
//! command line say the same.

mod unreached;

use std::{error::Error, fmt, iter};

use kube::core::Status;

/// An error with its causes, on one line, each told once.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    told(iter::successors(Some(error), |error| (*error).source()))
}

/// An error and its causes, from the outermost. What the API server has answered is told in words, and not as its client's
/// dump of it, which those above it repeat; why a server cannot be reached likewise.
pub(crate) fn told<'e>(causes: impl Iterator<Item = &'e (dyn Error + 'static)>) -> String {
    let mut causes: Vec<_> = causes.collect();
    let away = unreached::find(&causes);
    if let Some((place, _)) = &away {
        causes.truncate(*place);
    }
    let answer = causes.iter().enumerate().find_map(|(place, cause)| Some((place, status(*cause)?)));
    let (last, dump) = match answer {
        Some((place, _)) => (place, causes.get(place).map(ToString::to_string)),
        None => (causes.len(), None),
    };
    let mut text = String::new();
    let mut add = |told: &str| {
        if !told.is_empty() && !text.contains(told) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(told);
        }
    };
    for cause in causes.iter().take(last) {
        let whole = cause.to_string();
        let own = dump.as_deref().and_then(|dump| whole.split_once(dump)).map_or(&*whole, |(own, _)| own);
        add(own.trim_end().trim_end_matches(':'));
    }
    if let Some((_, status)) = answer {
        add(&answered(status));
    }
    if let Some((_, words)) = away {
        add(&words);
    }
    text
}

fn status<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Status> {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => Some(status),
        Some(_) => None,
        None => error.downcast_ref::<Status>().or_else(|| error.downcast_ref::<Box<Status>>().map(AsRef::as_ref)),
    }
}

/// What the API server has answered, and what to do.
fn answered(status: &Status) -> String {
    let Status { code, message, reason, details, .. } = status;
    let names = details.as_ref().is_some_and(|details| !details.name.is_empty());
    match code {
        401 => {
            "the API server does not know who asks (Unauthorized); log in again, or renew the token of the kubeconfig"
                .to_owned()
        }
        403 => Denied::read(message).map_or_else(|| message.clone(), |denied| denied.to_string()),
        404 if !names && !message.contains('"') => {
            "the API server knows no such kind; install Plimsoll's definitions, or those of the kind that is meant, \
             in the version that is asked for"
                .to_owned()
        }
        _ if message.is_empty() => format!("the API server answers {code} {reason}").trim_end().to_owned(),
        _ => message.clone(),
    }
}

/// What to grant, so that somebody may act as a ServiceAccount.
pub(crate) fn grant(whom: &str, namespace: &str, account: &str) -> String {
    format!(
        "grant {whom} the verb impersonate on serviceaccounts with the resource name {account} in namespace {namespace}"
    )
}

/// What an API server's refusal to let somebody act as a ServiceAccount means; `None` when it refuses something else. It
/// names the last of the verbs that it has tried, such as `impersonate-on:serviceaccount:get`, and the object that was to be
/// read; what is missing is the right to be the account.
pub(crate) fn impersonation(message: &str, namespace: &str, account: &str) -> Option<String> {
    let denied = Denied::read(message).filter(|denied| {
        let mut of_account = denied.verb.split(':').skip(1);
        denied.verb == "impersonate"
            || denied.verb.starts_with("impersonate") && of_account.any(|part| part == "serviceaccount")
    })?;
    let whom = match denied.account() {
        Some((namespace, name)) => format!("the operator's ServiceAccount {namespace}/{name}"),
        None => format!("the operator's user {}", denied.user),
    };
    let words = grant(&whom, namespace, account);
    Some(format!("the operator may not act as ServiceAccount {namespace}/{account}: {words}"))
}

/// Whether an API server's refusal is that this user lacks a right.
pub(crate) fn is_of(message: &str, user: &str) -> bool {
    Denied::read(message).is_some_and(|denied| denied.user == user && !denied.verb.starts_with("impersonate"))
}

/// A right that somebody lacks.
#[derive(Debug, PartialEq, Eq)]
struct Denied<'m> {
    user: &'m str,
    verb: &'m str,
    resource: &'m str,
    group: &'m str,
    /// None where it is of the whole cluster.
    namespace: Option<&'m str>,
}

impl<'m> Denied<'m> {
    /// From the words of the API server: `User "U" cannot VERB resource "R" in API group "G" in the namespace "N"`.
    fn read(message: &'m str) -> Option<Self> {
        let quoted = |text: &'m str| text.split_once('"');
        let (user, rest) = quoted(message.split_once("User \"")?.1)?;
        let (verb, rest) = rest.strip_prefix(" cannot ")?.split_once(" resource \"")?;
        let (resource, rest) = quoted(rest)?;
        let (group, rest) = quoted(rest.strip_prefix(" in API group \"")?)?;
        let namespace = rest.strip_prefix(" in the namespace \"").and_then(quoted).map(|(namespace, _)| namespace);
        Some(Self { user, verb, resource, group, namespace })
    }

    /// Namespace and name, where the user is a ServiceAccount.
    fn account(&self) -> Option<(&'m str, &'m str)> {
        self.user.strip_prefix("system:serviceaccount:")?.split_once(':')
    }
}

impl fmt::Display for Denied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, verb, resource, group, namespace } = self;
        let account = self.account();
        match account {
            Some((namespace, name)) => write!(f, "ServiceAccount {namespace}/{name}")?,
            None => write!(f, "user {user}")?,
        }
        // `slos/status` of a group is `slos.group/status`.
        let (kind, part) = resource.split_at(resource.find('/').unwrap_or(resource.len()));
        let whole = if group.is_empty() { (*resource).to_owned() } else { format!("{kind}.{group}{part}") };
        let (place, role) = match namespace {
            Some(namespace) => (format!("in namespace {namespace}"), "a Role there"),
            // Of all namespaces, or of what is in none: the words of the API server do not tell which.
            None => ("in the whole cluster".to_owned(), "a ClusterRole"),
        };
        write!(
            f,
            " may not {verb} {whole} {place}; ask for {role} with apiGroups: [\"{group}\"], resources: [{resource}], verbs: [{verb}]"
        )?;
        // The one that most often asks, and whose rights are a file.
        if account.is_some() {
            f.write_str("; what the operator needs is in manifests/rbac.yaml")?;
        }
        Ok(())
    }
}

/// The namespace is gone, and the runbook with it. Where the definition of executions is not there, only that is not
/// found, and it comes back.
pub(crate) fn is_gone(status: &Status) -> bool {
    status.code == 404 && status.details.as_ref().is_some_and(|details| details.kind == "namespaces")
}

/// An execution that no API server ever takes: too large for it or for its etcd, or not valid.
pub(crate) fn is_never_taken(status: &Status) -> bool {
    matches!(status.code, 413 | 422) || status.message.contains("request is too large")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use anyhow::Context as _;
    use kube::{core::response::StatusDetails, runtime::watcher};

    use super::*;

    fn api(code: u16, message: &str, reason: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    #[test]
    fn who_may_not_do_what_and_what_to_ask_for() {
        let list = r#"slos.plimsoll.dev is forbidden: User "alice" cannot list resource "slos" in API group "plimsoll.dev" in the namespace "shop""#;
        let role = "in namespace shop; ask for a Role there with apiGroups: [\"plimsoll.dev\"], resources: [slos], verbs: [list]";
        assert_eq!(chain(&api(403, list, "Forbidden")), format!("user alice may not list slos.plimsoll.dev {role}"));

        let account = r#"pods is forbidden: User "system:serviceaccount:plimsoll-system:plimsoll" cannot watch resource "pods" in API group "" at the cluster scope: RBAC: role not found"#;
        let wanted = "ServiceAccount plimsoll-system/plimsoll may not watch pods in the whole cluster; ask for a ClusterRole with \
                      apiGroups: [\"\"], resources: [pods], verbs: [watch]; what the operator needs is in manifests/rbac.yaml";
        assert_eq!(chain(&api(403, account, "Forbidden")), wanted);
        // A kind without namespaces, and a part of an object.
        for (asked, wanted) in [
            (
                r#"cannot patch resource "validatingwebhookconfigurations" in API group "admissionregistration.k8s.io" at the cluster scope"#,
                "may not patch validatingwebhookconfigurations.admissionregistration.k8s.io in the whole cluster; ask for a ClusterRole with",
            ),
            (
                r#"cannot patch resource "slos/status" in API group "plimsoll.dev" in the namespace "shop""#,
                "may not patch slos.plimsoll.dev/status in namespace shop; ask for a Role there with apiGroups: [\"plimsoll.dev\"], resources: [slos/status], verbs",
            ),
            (
                r#"cannot create resource "pods/eviction" in API group "" in the namespace "shop""#,
                "may not create pods/eviction in namespace shop; ask for a Role there with",
            ),
        ] {
            let told = chain(&api(403, &format!("x is forbidden: User \"bob\" {asked}"), "Forbidden"));
            assert!(told.starts_with(&format!("user bob {wanted}")), "{told}");
        }
        // The words of an admission webhook are its own.
        assert_eq!(chain(&api(403, "admission webhook denied it", "Forbidden")), "admission webhook denied it");
    }

    /// Whichever verb an API server names, that of before 1.36 or one of those since.
    #[test]
    fn who_may_not_act_as_an_account_is_told_what_to_grant() {
        let words = |user: &str, asked: &str| {
            impersonation(&format!("x is forbidden: User \"{user}\" cannot {asked}"), "shop", "bouncer")
        };
        let operator = "system:serviceaccount:plimsoll-system:plimsoll";
        let wanted = "the operator may not act as ServiceAccount shop/bouncer: grant the operator's ServiceAccount \
                      plimsoll-system/plimsoll the verb impersonate on serviceaccounts with the resource name bouncer in namespace shop";
        for asked in [
            r#"impersonate resource "serviceaccounts" in API group "" in the namespace "shop""#,
            r#"impersonate:serviceaccount resource "serviceaccounts" in API group "authentication.k8s.io" in the namespace "shop""#,
            r#"impersonate-on:serviceaccount:get resource "deployments" in API group "apps" in the namespace "shop""#,
        ] {
            assert_eq!(words(operator, asked).as_deref(), Some(wanted), "{asked}");
        }
        let admin = words("admin", r#"impersonate resource "serviceaccounts" in API group "" in the namespace "shop""#);
        assert!(admin.unwrap().contains("grant the operator's user admin the verb impersonate"));
        // A right that the account itself lacks is another matter.
        let account = "system:serviceaccount:shop:bouncer";
        assert_eq!(words(account, r#"get resource "deployments" in API group "apps" in the namespace "shop""#), None);
        assert_eq!(impersonation("the webhook says no", "shop", "bouncer"), None);
    }

    /// Neither what wraps an answer repeats its dump, nor does the command line.
    #[test]
    fn no_answer_is_dumped() {
        let denied =
            || api(403, r#"User "a" cannot get resource "slos" in API group "g" in the namespace "n""#, "Forbidden");
        let words = chain(&denied());
        assert_eq!(
            chain(&watcher::Error::InitialListFailed(denied())),
            format!("failed to perform initial object list: {words}")
        );
        let status = || Status::failure("too old resource version", "Expired").with_code(410).boxed();
        assert_eq!(
            chain(&watcher::Error::WatchError(status())),
            "error returned by apiserver during watch: too old resource version"
        );
        let error = Err::<(), _>(denied()).context("the SLO k2 could not be read").unwrap_err();
        assert_eq!(told(error.chain()), format!("the SLO k2 could not be read: {words}"));
    }

    #[test]
    fn what_is_not_there_is_an_object_or_a_kind() {
        let object = r#"runbooks.plimsoll.dev "nope" not found"#;
        assert_eq!(chain(&api(404, object, "NotFound")), object);
        let details: StatusDetails =
            serde_json::from_value(serde_json::json!({"name": "nope", "kind": "runbooks"})).unwrap();
        let named = Status::failure("not found", "NotFound").with_code(404).with_details(details);
        assert_eq!(chain(&kube::Error::Api(named.boxed())), "not found");
        for unknown in ["404 page not found", "the server could not find the requested resource"] {
            assert!(chain(&api(404, unknown, "NotFound")).starts_with("the API server knows no such kind; install"));
        }
        assert!(chain(&api(401, "Unauthorized", "Unauthorized")).contains("log in again"));
        assert_eq!(chain(&api(503, "", "ServiceUnavailable")), "the API server answers 503 ServiceUnavailable");
    }

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("b").context("a: b").context("c");
        assert_eq!(told(error.chain()), "c: a: b");
    }
}
