//! Reads single objects of any kind, as data, and lists of which not every object can be read.

use std::fmt::Debug;

use kube::{Api, Client, api::ListParams, core::DeserializeGuard};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::sinks::kubernetes::chain;

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It may be possible later.
    #[error("{0}")]
    Failed(String),
    /// It is not allowed.
    #[error("{0}")]
    Forbidden(String),
}

/// The object or list at a path; `None` when there is none.
///
/// # Errors
/// When the API server does not let it be read, or does not answer.
pub async fn get(client: &Client, path: &str) -> Result<Option<Value>, ReadError> {
    let request = http::Request::get(path).body(Vec::new()).map_err(|error| ReadError::Failed(error.to_string()))?;
    match client.request::<Value>(request).await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 403 => Err(ReadError::Forbidden(status.message.clone())),
        Err(error) => Err(ReadError::Failed(chain(&error))),
    }
}

/// The items of a list; none when the kind is not known to the server.
///
/// # Errors
/// As for [`get`].
pub async fn list(client: &Client, path: &str) -> Result<Vec<Value>, ReadError> {
    let list = get(client, path).await?;
    let items = list.and_then(|mut list| list.get_mut("items").map(Value::take));
    Ok(match items {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    })
}

/// Those of a list that can be read. The API server does not look into steps and the like, so whoever may make such an object
/// can make one that is none: it hides no other.
///
/// # Errors
/// When the list cannot be had.
pub async fn readable<K>(api: &Api<DeserializeGuard<K>>, params: &ListParams) -> Result<Vec<K>, kube::Error>
where
    K: kube::Resource + Clone + Debug + DeserializeOwned,
{
    let all = api.list(params).await?.items;
    Ok(all.into_iter().filter_map(|guarded| guarded.0.ok()).collect())
}

/// The path of an object, or of all of a kind for an empty name: `/apis/apps/v1/namespaces/shop/deployments/checkout`.
pub fn path(api_version: &str, namespace: Option<&str>, plural: &str, name: &str) -> String {
    let root = if api_version.contains('/') { "/apis" } else { "/api" };
    let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let name = if name.is_empty() { String::new() } else { format!("/{name}") };
    format!("{root}/{api_version}{namespace}/{plural}{name}")
}

/// A text in an object, `""` where there is none.
pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The entries of a list in an object.
pub fn entries<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}
