//! What is read of a rule object, and what is kept of it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::{Resource, api::ApiResource, core::DynamicResourceScope};
use plimsoll_api::Kind;
use serde::Deserialize;

use super::{FIELD_MANAGER, Fingerprint, of_object};

/// A rule object, reduced while it is read: its spec is hashed and never kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Raw")]
pub(super) struct Reduced {
    pub(super) metadata: ObjectMeta,
    pub(super) print: Fingerprint,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Fingerprint,
}

impl From<Raw> for Reduced {
    fn from(raw: Raw) -> Self {
        let Raw { metadata, spec } = raw;
        let ours = owned_labels(metadata.managed_fields.as_deref().unwrap_or_default());
        let labels: BTreeMap<String, String> =
            metadata.labels.unwrap_or_default().into_iter().filter(|(key, _)| ours.contains(key.as_str())).collect();
        Self::of(
            ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                deletion_timestamp: metadata.deletion_timestamp,
                owner_references: metadata.owner_references,
                ..ObjectMeta::default()
            },
            of_object(&labels, spec),
        )
    }
}

impl Reduced {
    /// An object with this fingerprint.
    pub(super) fn of(mut metadata: ObjectMeta, print: Fingerprint) -> Self {
        if let Some(owners) = &mut metadata.owner_references {
            owners.retain(|owner| owner.controller == Some(true));
        }
        Self { metadata, print }
    }
}

/// Labels that we applied: others add their own, and those are none of our business.
fn owned_labels(managers: &[ManagedFieldsEntry]) -> BTreeSet<&str> {
    managers
        .iter()
        .filter(|m| m.manager.as_deref() == Some(FIELD_MANAGER) && m.operation.as_deref() == Some("Apply"))
        .filter_map(|m| m.fields_v1.as_ref()?.0.get("f:metadata")?.get("f:labels")?.as_object())
        .flat_map(|labels| labels.keys().filter_map(|key| key.strip_prefix("f:")))
        .collect()
}

impl Resource for Reduced {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(dt: &ApiResource) -> Cow<'_, str> {
        dt.kind.as_str().into()
    }

    fn group(dt: &ApiResource) -> Cow<'_, str> {
        dt.group.as_str().into()
    }

    fn version(dt: &ApiResource) -> Cow<'_, str> {
        dt.version.as_str().into()
    }

    fn plural(dt: &ApiResource) -> Cow<'_, str> {
        dt.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What is kept of a rule object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) uid: Box<str>,
    pub(super) version: u64,
    pub(super) owner: Option<Owner>,
    pub(super) deleting: bool,
    pub(super) print: Fingerprint,
}

/// The object that controls a rule object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) kind: Kind,
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
}

/// Namespace and name.
pub(super) type Key = (Box<str>, Box<str>);

pub(super) fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

/// The version of an object as the number that it is; zero for what has none.
pub(crate) fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// What is kept of an object, and under which key.
pub(super) fn entry(object: &Reduced) -> (Key, Entry) {
    let meta = &object.metadata;
    let text = |value: &Option<String>| value.as_deref().unwrap_or_default().into();
    let owner = meta
        .owner_references
        .iter()
        .flatten()
        .filter(|o| o.api_version.split('/').next() == Some(plimsoll_api::GROUP))
        .find_map(|o| Some((Kind::parse(&o.kind)?, o)))
        .map(|(kind, o)| Owner { kind, name: o.name.as_str().into(), uid: o.uid.as_str().into() });
    let entry = Entry {
        uid: text(&meta.uid),
        version: version(meta),
        owner,
        deleting: meta.deletion_timestamp.is_some(),
        print: object.print,
    };
    ((text(&meta.namespace), text(&meta.name)), entry)
}
