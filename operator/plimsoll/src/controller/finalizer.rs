//! Rules outside the cluster outlive the SLO unless somebody removes them. The finalizers say where
//! they may be: one for each backend, set before the first write there, removed after the last delete.

use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::PartialObjectMeta,
    runtime::events::EventType,
};
use plimsoll_api::conditions as c;
use serde_json::json;

use super::{Context, stored::Stored, validate::Validated};
use crate::sinks::{SinkError, Target, kubernetes::FIELD_MANAGER};

/// The backend's name follows.
const PREFIX: &str = "plimsoll.dev/backend-";

/// Why the finalizers are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum FinalizerError {
    /// The SLO could not be changed.
    #[error("finalizers could not be written: {}", crate::sinks::kubernetes::chain(.0))]
    Write(#[source] kube::Error),
    /// The rules could not be removed from where the SLO was before.
    #[error("rules could not be removed from backend {backend}: {source}; {}", remedy(backend))]
    Remove {
        /// The backend.
        backend: String,
        /// Why.
        source: SinkError,
    },
}

impl FinalizerError {
    /// The conditions' reason.
    pub fn reason(&self) -> &'static str {
        match self {
            FinalizerError::Write(_) => c::REASON_FINALIZER_FAILED,
            FinalizerError::Remove { .. } => c::REASON_CLEANUP_FAILED,
        }
    }
}

/// What a person can do about a backend that does not answer.
fn remedy(backend: &str) -> String {
    format!(
        "this is tried again until the backend answers; where it never will, remove the finalizer {PREFIX}{backend} from the object, and the rules stay there"
    )
}

/// Names of the backends outside that may hold rules of this SLO.
fn backends(stored: &Stored) -> Vec<String> {
    stored.finalizers().iter().filter_map(|f| f.strip_prefix(PREFIX)).map(str::to_owned).collect()
}

/// Whether an object is still what it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is there.
    There,
    /// It is gone, or another one has its name.
    Gone,
}

/// Sets the finalizer, before anything is written outside. For an object that is gone nothing may be written.
///
/// # Errors
/// When it could not be set: then nothing may be written either.
pub(super) async fn before_write(
    stored: &Stored,
    valid: &Validated,
    ctx: &Context,
) -> Result<Presence, FinalizerError> {
    if !valid.backend.is_outside() {
        return Ok(Presence::There);
    }
    let mut wanted = backends(stored);
    if wanted.iter().any(|name| name == valid.model.backend()) {
        return Ok(Presence::There);
    }
    wanted.push(valid.model.backend().to_owned());
    set(stored, &wanted, ctx).await
}

/// Removes the rules from the backends that this SLO has left, once the new one holds them.
///
/// # Errors
/// When they could not be removed.
pub(super) async fn after_write(stored: &Stored, ctx: &Context) -> Result<(), FinalizerError> {
    let current = stored.backend().unwrap_or(super::dereference::DEFAULT_BACKEND);
    let target = Target::of(stored.kind_of(), stored.meta());
    let Some(sink) = ctx.sinks.get(current) else { return Ok(()) };
    let place = sink.place();
    // Objects in the cluster are known without asking, so looking at each other kind costs nothing.
    for (name, sink) in ctx.sinks.iter().filter(|(_, sink)| !sink.is_outside() && sink.place() != place) {
        match sink.delete(&target).await {
            // A kind that cannot be read is one to which this SLO cannot have written in this life.
            Ok(_) | Err(SinkError::NotReady { .. }) => {}
            Err(source) => return Err(FinalizerError::Remove { backend: name.to_owned(), source }),
        }
    }
    let old: Vec<String> = backends(stored).into_iter().filter(|name| name != current).collect();
    if old.is_empty() {
        return Ok(());
    }
    remove_from(&old, Some(&place), stored, ctx).await?;
    // By the spec, not by what was stored before this write: the new backend's own may have come since.
    let kept: Vec<String> = if sink.is_outside() { vec![current.to_owned()] } else { Vec::new() };
    set(stored, &kept, ctx).await.map(drop)
}

/// Says where rules remain because the backend itself was given another place under the same name, `old` being what the
/// status told before. Only its configuration of before could remove them there.
pub(super) async fn tell_left(stored: &Stored, old: Option<&str>, new: Option<&str>, ctx: &Context) {
    let current = stored.backend().unwrap_or(super::dereference::DEFAULT_BACKEND);
    // Whoever has come from another backend was removed there.
    let stayed = backends(stored) == [current];
    if let (Some(old), Some(new)) = (old, new)
        && old != new
        && stayed
    {
        let note = format!(
            "rules remain in {old}: backend {current} has another place since its configuration was changed; remove them there"
        );
        tracing::warn!(place = new, "{note}");
        ctx.status.event(stored, "RulesRemain", EventType::Warning, note).await;
    }
}

/// Cleans up after a deleted SLO.
///
/// # Errors
/// When something could not be removed; the SLO stays until it can.
pub(super) async fn clean(stored: &Stored, ctx: &Context) -> Result<(), FinalizerError> {
    let all = backends(stored);
    if all.is_empty() {
        return Ok(());
    }
    remove_from(&all, None, stored, ctx).await?;
    set(stored, &[], ctx).await.map(drop)
}

async fn remove_from(
    names: &[String],
    except_place: Option<&str>,
    stored: &Stored,
    ctx: &Context,
) -> Result<(), FinalizerError> {
    let target = Target::of(stored.kind_of(), stored.meta());
    for name in names {
        let Some(sink) = ctx.sinks.get(name) else {
            // Nobody can remove them any more; holding the SLO hostage would not help.
            let note = format!("backend {name} is not configured any more; rules may remain there");
            ctx.status.event(stored, "BackendGone", EventType::Warning, note).await;
            continue;
        };
        if Some(sink.place().as_str()) == except_place {
            continue;
        }
        sink.delete(&target).await.map_err(|source| FinalizerError::Remove { backend: name.clone(), source })?;
    }
    Ok(())
}

/// Server-side apply of the list: finalizers of others are not touched.
async fn set(stored: &Stored, backends: &[String], ctx: &Context) -> Result<Presence, FinalizerError> {
    let (kind, meta) = (stored.kind_of(), stored.meta());
    let finalizers: Vec<String> = backends.iter().map(|name| format!("{PREFIX}{name}")).collect();
    let body = json!({
        "apiVersion": Stored::api_version(&kind),
        "kind": Stored::kind(&kind),
        "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid, "finalizers": finalizers},
    });
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let api: Api<PartialObjectMeta<Stored>> = Api::namespaced_with(ctx.client.clone(), namespace, &kind);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch(&stored.name_any(), &params, &Patch::Apply(&body)).await {
        Ok(_) => Ok(Presence::There),
        Err(kube::Error::Api(error)) if is_gone(error.code, &error.message) => Ok(Presence::Gone),
        Err(error) => Err(FinalizerError::Write(error)),
    }
}

/// The request names the uid, so that none but this object takes it. An API server tells by words alone whether it
/// was the uid that did not fit.
fn is_gone(code: u16, message: &str) -> bool {
    code == 404 || code == 409 && message.to_lowercase().contains("uid")
}

#[cfg(test)]
mod tests {
    use super::{PREFIX, is_gone};
    use crate::sinks::config::NAME_MAX;

    /// The API server takes 63 characters after the domain.
    #[test]
    fn the_longest_name_of_a_backend_fits_into_a_finalizer() {
        assert_eq!(PREFIX.strip_prefix("plimsoll.dev/").map(|name| name.len() + NAME_MAX), Some(63));
    }

    #[test]
    fn gone_is_what_has_no_name_or_another_uid() {
        for (code, message, gone) in [
            (404, "slos.plimsoll.dev \"checkout\" not found", true),
            (409, "uid mismatch: the provided object specified uid u1, and no existing object was found", true),
            (409, "Precondition failed: UID in precondition: u1, UID in object meta: u2", true),
            (409, "the object has been modified; please apply your changes to the latest version", false),
            (403, "slos.plimsoll.dev is forbidden", false),
        ] {
            assert_eq!(is_gone(code, message), gone, "{message}");
        }
    }
}
