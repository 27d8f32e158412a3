//! Events on objects, for those who ask `kubectl describe`.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event as Published},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::PostParams,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::sinks::{kubernetes::chain, shorten};

/// An event has room for this many bytes of text.
const NOTE_MAX: usize = 1000;
/// The longest name that leaves room for the time by which the recorder tells events apart.
const NAME_MAX: usize = 253 - 17;

/// Publishes events.
#[derive(Clone)]
pub struct Teller {
    /// What is done when it is told.
    action: &'static str,
    client: Client,
    recorder: Recorder,
    reporter: Reporter,
}

impl Teller {
    /// Through this client, of this action: `Reconcile`, `Run`.
    pub fn new(client: Client, action: &'static str) -> Self {
        let reporter = Reporter { controller: "plimsoll".to_owned(), instance: std::env::var("HOSTNAME").ok() };
        Self { action, recorder: Recorder::new(client.clone(), reporter.clone()), client, reporter }
    }

    /// Says something about an object. What cannot be said is logged.
    pub async fn tell(&self, about: &ObjectReference, type_: EventType, reason: &str, note: &str) {
        let cut = (0..=NOTE_MAX.min(note.len())).rev().find(|&i| note.is_char_boundary(i)).unwrap_or(0);
        let note = note.get(..cut).filter(|note| !note.is_empty()).map(str::to_owned);
        let (reason, action) = (reason.to_owned(), self.action.to_owned());
        let event = Event { type_, reason, note, action, secondary: None };
        let fits = about.name.as_ref().is_none_or(|name| name.len() <= NAME_MAX);
        let published =
            if fits { self.recorder.publish(&event, about).await } else { self.create(&event, about).await };
        if let Err(error) = published {
            tracing::warn!(error = %chain(&error), reason = event.reason, "event was not published");
        }
    }

    /// An event of an object whose name is too long to be the beginning of the event's.
    async fn create(&self, event: &Event, about: &ObjectReference) -> Result<(), kube::Error> {
        let api: Api<Published> = Api::namespaced(self.client.clone(), about.namespace.as_deref().unwrap_or("default"));
        match api.create(&PostParams::default(), &long(event, about, &self.reporter, Timestamp::now())).await {
            // It was told already.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            created => created.map(drop),
        }
    }
}

/// Its name is of the object and of what is said, so that what is told again is one event and not many.
fn long(event: &Event, about: &ObjectReference, reporter: &Reporter, now: Timestamp) -> Published {
    let Event { type_, reason, note, action, secondary } = event;
    let name = about.name.as_deref().unwrap_or_default();
    let whole = [name, ".", reason, ".", note.as_deref().unwrap_or_default()].concat();
    // What follows the object's name may hold what no name can, and goes into the hash.
    let hash = shorten(&whole, 17);
    let kept: String = name.chars().take(NAME_MAX - 17).collect();
    let name = format!("{}.{}", kept.trim_end_matches(['-', '.']), hash.trim_start_matches('-'));
    let instance = reporter.instance.clone().unwrap_or_else(|| reporter.controller.clone());
    Published {
        metadata: ObjectMeta { name: Some(name), namespace: about.namespace.clone(), ..ObjectMeta::default() },
        action: Some(action.clone()),
        reason: Some(reason.clone()),
        note: note.clone(),
        regarding: Some(about.clone()),
        related: secondary.clone(),
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(reporter.controller.clone()),
        reporting_instance: Some(instance),
        type_: Some(format!("{type_:?}")),
        ..Published::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(name: &str, reason: &str, note: &str) -> String {
        let about = ObjectReference { name: Some(name.to_owned()), ..ObjectReference::default() };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let published = long(&event, &about, &"plimsoll".into(), Timestamp::UNIX_EPOCH);
        assert_eq!((published.type_.as_deref(), published.regarding), (Some("Warning"), Some(about)));
        published.metadata.name.unwrap()
    }

    #[test]
    fn the_longest_name_has_events_and_what_is_said_again_is_one() {
        let (name, other) = ("a.b-".repeat(63) + "c", "a.b-".repeat(63) + "d");
        assert_eq!(name.len(), 253);
        let said = named(&name, "Invalid", "spec.objective: 100 is too much");
        assert!(said.len() <= 253, "{said}");
        assert!(said.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.'), "{said}");
        let labels = said.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
        assert!(labels, "{said}");
        assert_eq!(named(&name, "Invalid", "spec.objective: 100 is too much"), said);
        for (name, reason, note) in [
            (&name, "Invalid", "something else"),
            (&name, "NotLoaded", "spec.objective: 100 is too much"),
            (&other, "Invalid", "spec.objective: 100 is too much"),
        ] {
            assert_ne!(named(name, reason, note), said);
        }
    }
}
