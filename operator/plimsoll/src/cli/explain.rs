//! `plimsoll explain`: objects of files or of a cluster, one after the other, in words.

use std::{
    collections::BTreeSet,
    error::Error as _,
    fmt::Debug,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use kube::{Api, Client, Resource, api::ListParams, config::KubeconfigError, core::NamespaceResourceScope};
use plimsoll_api::{Kind, Level, Slo};
use plimsoll_slo::validate::DEFAULT_NAMESPACE;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{
    Exit, check,
    out::{self, Stop},
    validate,
};
use crate::{
    controller::stored::Object,
    explain::{Explainer, Explanation},
    prometheus::{Prometheus, http_client},
    sinks::kubernetes::chain,
};

/// Says what SLOs and AlertRules watch, whether their rules work, and why they are quiet or fire.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll explain slo/checkout-availability -n shop --prometheus http://prometheus:9090
  plimsoll explain slo/ --prometheus http://prometheus:9090     every object of the files below slo/
  helm template chart/ | plimsoll explain -

What ends in .yaml, .yml or .json, and what is there, is a file or a directory; slo/NAME and
alertrule/NAME are otherwise objects of the cluster. Objects of files are checked as by validate: one with
an error is reported on standard error, and the others are explained. Other kinds are not explained; what a
Runbook would do is said by plimsoll runbook test FILE.

Exit status: 0 explained, also what burns or has no data, 1 an object is invalid, 2 Prometheus or the API
server does not answer or refuses to, there is no such object, wrong usage, or something cannot be read or
written")]
pub struct Explain {
    /// Files, directories, or - for standard input; slo/NAME or alertrule/NAME for one of the cluster
    #[arg(value_name = "PATH|slo/NAME|alertrule/NAME", required = true)]
    what: Vec<String>,
    /// Namespace of what is in the cluster, and of objects in files that name none. Default: that of the
    /// kubeconfig, and "default" for files
    #[arg(short, long, value_name = "NAMESPACE", value_parser = check::namespace)]
    namespace: Option<String>,
    /// The Prometheus to ask
    #[arg(long, value_name = "URL", env = "PLIMSOLL_PROMETHEUS")]
    prometheus: Option<String>,
}

/// Runs it: files first, since they are checked together.
///
/// # Errors
/// When the address of Prometheus is none, nothing is found, or the result cannot be written.
pub fn run(args: &Explain) -> Result<Exit, Stop> {
    if let Some(name) = args.what.iter().find(|what| is_bare(what)) {
        let help = format!("check the path; of the cluster, name slo/{name} or alertrule/{name}");
        return Err(Stop::Failed(format!("{name} does not exist"), help));
    }
    let (mut paths, mut stored) = (Vec::new(), Vec::new());
    for what in &args.what {
        match in_cluster(what) {
            Some((Some(kind), name)) => stored.push((kind, name)),
            Some((None, _)) => return Err(unexplained(what)),
            None => paths.push(PathBuf::from(what)),
        }
    }
    let prometheus = prometheus(args.prometheus.as_deref()).map_err(|error| super::failed(&error))?;
    let mut session =
        Session { explainer: Explainer::new(prometheus), exit: Exit::Fine, first: true, namespaces: BTreeSet::new() };
    let runtime = super::runtime()?;
    if !paths.is_empty() {
        let namespace = args.namespace.as_deref();
        runtime.block_on(session.files(&paths, namespace.unwrap_or(DEFAULT_NAMESPACE), stored.is_empty()))?;
    }
    if !stored.is_empty() {
        runtime.block_on(session.cluster(&stored, args.namespace.as_deref()))?;
    }
    Ok(session.exit)
}

/// The kind and name of an object of the cluster; without a kind where it is one that is not explained. A folder may be
/// called slo, and a file stays one when it is missing.
fn in_cluster(what: &str) -> Option<(Option<Kind>, &str)> {
    let (kind, name) = what.split_once('/')?;
    let path = Path::new(what);
    let file = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
    if file || name.is_empty() || path.exists() {
        return None;
    }
    match kind_of(kind) {
        Some(kind) => Some((Some(kind), name)),
        // Neither a folder nor a way through several.
        None => (!kind.is_empty() && !kind.starts_with('.') && !name.contains('/') && !Path::new(kind).exists())
            .then_some((None, name)),
    }
}

/// What is said of `runbook/restart` and `pod/checkout`.
fn unexplained(what: &str) -> Stop {
    let help = "name files or directories, slo/NAME or alertrule/NAME; of a Runbook plimsoll runbook test FILE says what it would do";
    Stop::Failed(format!("{what} is no file, and no kind that is explained"), help.to_owned())
}

/// The name of an object alone, which is no file either.
fn is_bare(what: &str) -> bool {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    what.starts_with(|c: char| c.is_ascii_alphanumeric()) && what.chars().all(is_name) && !Path::new(what).exists()
}

/// As kubectl takes the names of kinds: `slo`, `slos`, `alr`, `alertrule`, `alertrules`.
fn kind_of(text: &str) -> Option<Kind> {
    let short = |kind| if kind == Kind::AlertRule { "alr" } else { "slo" };
    Kind::ALL.into_iter().find(|kind| [kind.plural(), short(*kind), &kind.name().to_lowercase()].contains(&text))
}

/// What has been said so far.
struct Session {
    explainer: Explainer,
    exit: Exit,
    first: bool,
    /// Of what there is to explain.
    namespaces: BTreeSet<String>,
}

impl Session {
    /// Explains everything in the files; nothing at all is wrong usage when nothing else was asked for.
    async fn files(&mut self, paths: &[PathBuf], namespace: &str, alone: bool) -> Result<(), Stop> {
        // Prometheus knows parts of composites that are in no file.
        let checked = if self.explainer.asks() {
            check::check_beside_server(paths, namespace)
        } else {
            check::check(paths, namespace)
        };
        out::stderr(&validate::text(&checked, super::colour(&std::io::stderr())));
        if checked.models.is_empty() && checked.count(Level::Error) == 0 && alone {
            return Err(super::nothing_found(&checked, "explained of"));
        }
        if !checked.diagnostics.is_empty() && !checked.models.is_empty() {
            out::stderr("\n");
        }
        self.exit = self.exit.max(validate::exit(&checked, false));
        self.meets(checked.models.iter().map(|model| model.id().namespace.clone()));
        self.explainer.knows(&checked.models);
        for model in &checked.models {
            let explanation = self.explainer.model(model).await;
            self.say(&explanation)?;
        }
        Ok(())
    }

    /// Explains objects of the cluster; one that is not there does not stop the others.
    async fn cluster(&mut self, names: &[(Kind, &str)], namespace: Option<&str>) -> Result<(), Stop> {
        let client = Client::try_default().await.map_err(no_cluster)?;
        let namespace = namespace.unwrap_or(client.default_namespace()).to_owned();
        self.meets([namespace.clone()]);
        for (kind, name) in names {
            match stored(&client, *kind, name, &namespace).await {
                Ok(object) => {
                    let explanation = self.explainer.stored(&object, &client).await;
                    self.say(&explanation)?;
                }
                Err(error) => {
                    super::complain(&super::failed(&error));
                    self.exit = Exit::Unusable;
                }
            }
        }
        Ok(())
    }

    /// Objects of several namespaces may have the same name: then they are told with them.
    fn meets(&mut self, namespaces: impl IntoIterator<Item = String>) {
        self.namespaces.extend(namespaces);
        if self.namespaces.len() > 1 {
            self.explainer.name_namespaces();
        }
    }

    /// Prints at once: asking about the next one may take a while.
    fn say(&mut self, explanation: &Explanation) -> Result<(), Stop> {
        let gap = if std::mem::replace(&mut self.first, false) { "" } else { "\n" };
        let exit = match (explanation.answered, explanation.valid) {
            (false, _) => Exit::Unusable,
            (true, false) => Exit::Problems,
            (true, true) => Exit::Fine,
        };
        self.exit = self.exit.max(exit);
        out::stdout(|writer| {
            writer.write_all(gap.as_bytes()).and_then(|()| writer.write_all(explanation.text.as_bytes()))
        })
    }
}

/// The client's own words name every place where it has looked, one in the other; what helps is the file.
fn no_cluster(error: kube::Error) -> Stop {
    let help = "set KUBECONFIG to the file that names the cluster; files are explained without one: plimsoll explain slo/*.yaml --prometheus URL";
    let kubeconfig = match &error {
        kube::Error::InferConfig(inferred) => inferred.source().and_then(|source| source.downcast_ref()),
        _ => None,
    };
    let cause = match kubeconfig {
        Some(KubeconfigError::ReadConfig(cause, path)) => format!("{}: {cause}", path.display()),
        Some(other) => chain(other),
        None => chain(&error),
    };
    Stop::Failed(format!("no kubeconfig: {cause}"), help.to_owned())
}

async fn stored(client: &Client, kind: Kind, name: &str, namespace: &str) -> anyhow::Result<Object> {
    Ok(match kind {
        Kind::Slo => Object::Slo(Box::new(find::<Slo>(client, kind, name, namespace).await?)),
        Kind::AlertRule => Object::AlertRule(Box::new(find(client, kind, name, namespace).await?)),
    })
}

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What helps where it does not answer.
const UNANSWERED: &str =
    "see that the cluster runs and can be reached: kubectl get --raw /readyz; files are explained without one";

/// The stored object.
async fn find<K>(client: &Client, kind: Kind, name: &str, namespace: &str) -> anyhow::Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let found = timeout(PATIENCE, Api::<K>::namespaced(client.clone(), namespace).get_opt(name)).await;
    let found = match found {
        Err(_) => bail!("the API server does not answer within {} s; {UNANSWERED}", PATIENCE.as_secs()),
        Ok(Err(error)) if !matches!(error, kube::Error::Api(_)) => {
            bail!("the API server does not answer: {}; {UNANSWERED}", chain(&error))
        }
        Ok(found) => found,
    };
    if let Some(object) = found.with_context(|| format!("the {kind} {name} could not be read"))? {
        return Ok(object);
    }
    let short = kind.name().to_lowercase();
    let named = ListParams::default().fields(&format!("metadata.name={name}")).limit(1);
    // Who may not list all namespaces does not learn of them here either.
    let all = timeout(PATIENCE, Api::<K>::all(client.clone()).list_metadata(&named)).await.ok().and_then(Result::ok);
    let elsewhere = match all.and_then(|list| list.items.into_iter().next()?.metadata.namespace) {
        Some(namespace) => format!("it is in another one: plimsoll explain {short}/{name} -n {namespace}"),
        None => format!("kubectl get {short} -A lists all"),
    };
    bail!("there is no {kind} {name} in namespace {namespace}; {elsewhere}");
}

/// A Prometheus for `--prometheus`.
fn prometheus(url: Option<&str>) -> anyhow::Result<Option<Prometheus>> {
    url.map(|url| Prometheus::new(http_client()?, url).map_err(anyhow::Error::msg).context("--prometheus")).transpose()
}
