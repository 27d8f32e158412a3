//! Finds the objects of a run's parameters, as the runbook's ServiceAccount: by name, by what they own.

use std::{collections::BTreeMap, time::Duration};

use kube::Client;
use plimsoll_api::{
    execution::ObjectRef,
    runbook::{ObjectKind, Step},
};
use plimsoll_runbook::parameters::{Lookup, Which};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{
    facts::{self, Wanted},
    read::{ReadError, get, path, text},
};
use crate::refusals;

/// All of a run are looked up in this time, or later: whoever has posted its alert waits.
const MOST: Duration = Duration::from_secs(2);

/// Why an object was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// It may be found later.
    #[error("parameter {0}: {1}")]
    Failed(String, String),
    /// The account must not look at it, or the operator must not be the account: somebody may allow it later.
    #[error("parameter {0}: {1}")]
    NotAllowed(String, String),
    /// It is not there.
    #[error("parameter {0}: {1}")]
    Missing(String, String),
}

impl LookupError {
    /// In words that help, when it is that the operator must not be the account.
    pub fn explained(self, namespace: &str, account: &str) -> Self {
        match self {
            Self::NotAllowed(parameter, message) => {
                let words = refusals::impersonation(&message, namespace, account);
                Self::NotAllowed(parameter, words.unwrap_or(message))
            }
            other => other,
        }
    }
}

/// Looks all of them up, with their facts.
///
/// # Errors
/// For the first that is not found.
pub async fn all(client: &Client, lookups: &[Lookup], steps: &[Step]) -> Result<Vec<ObjectRef>, LookupError> {
    let deadline = Instant::now() + MOST;
    let mut objects: BTreeMap<&str, Value> = BTreeMap::new();
    let mut found = Vec::new();
    for lookup in lookups {
        let looked = timeout_at(deadline, one(client, lookup, steps, &objects)).await;
        let too_long = |_| {
            let why = format!("it takes longer than {} s to look it up, so it is tried again", MOST.as_secs());
            LookupError::Failed(lookup.parameter.clone(), why)
        };
        let (object, of) = looked.map_err(too_long)??;
        found.push(of);
        objects.insert(&lookup.parameter, object);
    }
    Ok(found)
}

/// Looks one up. What it belongs to is among `objects`.
async fn one(
    client: &Client,
    lookup: &Lookup,
    steps: &[Step],
    objects: &BTreeMap<&str, Value>,
) -> Result<(Value, ObjectRef), LookupError> {
    let Lookup { parameter, kind, namespace, which } = lookup;
    let failed = |error: ReadError| match error {
        ReadError::Failed(message) => LookupError::Failed(parameter.clone(), message),
        ReadError::Forbidden(message) => LookupError::NotAllowed(parameter.clone(), message),
    };
    let missing = |message: String| LookupError::Missing(parameter.clone(), message);
    let object = match which {
        Which::Named(name) => named(client, *kind, namespace.as_deref(), name).await.map_err(failed)?,
        Which::OwnerOf(owned) => {
            let owned = objects.get(owned.as_str()).ok_or_else(|| missing(format!("{owned} was not found")))?;
            owner(client, *kind, owned).await.map_err(failed)?
        }
    };
    let object = object.ok_or_else(|| {
        missing(match which {
            Which::Named(name) => format!("there is no {} {name}", kind.name()),
            Which::OwnerOf(owned) => format!("{owned} belongs to no {}", kind.name()),
        })
    })?;
    let facts = facts::gather(client, *kind, &object, Wanted::of(steps, parameter)).await.map_err(failed)?;
    let of = ObjectRef {
        parameter: parameter.clone(),
        kind: *kind,
        namespace: kind.is_namespaced().then(|| text(&object, "/metadata/namespace").to_owned()),
        name: text(&object, "/metadata/name").to_owned(),
        uid: text(&object, "/metadata/uid").to_owned(),
        facts,
    };
    Ok((object, of))
}

/// The object of a kind and name.
///
/// # Errors
/// When it cannot be read.
pub async fn named(
    client: &Client,
    kind: ObjectKind,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<Value>, ReadError> {
    let (_, version, plural) = kind.resource();
    get(client, &path(version, namespace.filter(|_| kind.is_namespaced()), plural, name)).await
}

/// The Node that a Pod runs on, or the workload that it belongs to.
async fn owner(client: &Client, kind: ObjectKind, owned: &Value) -> Result<Option<Value>, ReadError> {
    if kind == ObjectKind::Node {
        return match text(owned, "/spec/nodeName") {
            "" => Ok(None),
            node => named(client, kind, None, node).await,
        };
    }
    let workload = facts::workload_of(client, owned).await?;
    Ok(workload.filter(|(found, _)| *found == kind).map(|(_, object)| object))
}
