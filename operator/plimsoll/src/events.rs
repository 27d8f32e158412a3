//! Events on objects, for those who ask `kubectl describe`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

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
use sha2::{Digest as _, Sha256};

use crate::sinks::{kubernetes::chain, shorten};

/// An event has room for this many bytes of text.
const NOTE_MAX: usize = 1000;
/// The longest name that leaves room for the time by which the recorder tells events apart.
const NAME_MAX: usize = 253 - 17;

/// So long the same is told as one event that is counted: as long as a recorder remembers one.
const SAME: Duration = Duration::from_secs(360);
/// Of so many it is remembered; what is told again after that is another event.
const MOST: usize = 10_000;

/// One recorder for each thing that is told, and when it was told last.
type Recorders = HashMap<[u8; 32], (Recorder, Instant)>;

/// Publishes events.
#[derive(Clone)]
pub struct Teller {
    /// What is done when it is told.
    action: &'static str,
    client: Client,
    /// A recorder joins what has the same object, reason and action, and keeps the first note.
    recorders: Arc<Mutex<Recorders>>,
    reporter: Reporter,
}

impl Teller {
    /// Through this client, of this action: `Reconcile`, `Run`.
    pub fn new(client: Client, action: &'static str) -> Self {
        let reporter = Reporter { controller: "plimsoll".to_owned(), instance: std::env::var("HOSTNAME").ok() };
        Self { action, client, recorders: Arc::default(), reporter }
    }

    /// Says something about an object. What cannot be said is logged.
    pub async fn tell(&self, about: &ObjectReference, type_: EventType, reason: &str, note: &str) {
        let note = Some(cut(note)).filter(|note| !note.is_empty()).map(str::to_owned);
        let (reason, action) = (reason.to_owned(), self.action.to_owned());
        let event = Event { type_, reason, note, action, secondary: None };
        let fits = about.name.as_ref().is_none_or(|name| name.len() <= NAME_MAX);
        let published = if fits {
            self.recorder(&event, about, Instant::now()).publish(&event, about).await
        } else {
            self.create(&event, about).await
        };
        if let Err(error) = published {
            tracing::warn!(error = %chain(&error), reason = event.reason, "event was not published");
        }
    }

    /// Whoever has told just this of just this object, so that it is counted and not told again.
    fn recorder(&self, event: &Event, about: &ObjectReference, now: Instant) -> Recorder {
        let [uid, namespace, name] =
            [&about.uid, &about.namespace, &about.name].map(|part| part.as_deref().unwrap_or(""));
        let type_ = format!("{:?}", event.type_);
        let parts = [uid, namespace, name, &type_, &event.reason, event.note.as_deref().unwrap_or_default()];
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let mut recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
        if recorders.len() >= MOST {
            recorders.retain(|_, (_, told)| now.duration_since(*told) < SAME);
        }
        if recorders.len() >= MOST {
            recorders.clear();
        }
        let new = || (Recorder::new(self.client.clone(), self.reporter.clone()), now);
        let (recorder, told) = recorders.entry(hash.finalize().into()).or_insert_with(new);
        *told = now;
        recorder.clone()
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

/// As much of a text as an event has room for.
pub fn cut(note: &str) -> &str {
    let cut = (0..=NOTE_MAX.min(note.len())).rev().find(|&i| note.is_char_boundary(i)).unwrap_or(0);
    note.get(..cut).unwrap_or_default()
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

    /// What a step did is not hidden by what the step before it did.
    #[tokio::test]
    async fn each_note_is_an_event_and_the_same_again_is_counted() {
        let api = crate::testing::FakeApi::default();
        let teller = Teller::new(api.client(), "Run");
        let about = |uid: &str| ObjectReference {
            name: Some("checkout".to_owned()),
            namespace: Some("shop".to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        for note in ["young: there is a result", "back: rolled back", "tell: sent", "back: rolled back"] {
            teller.clone().tell(&about("u"), EventType::Normal, "StepSucceeded", note).await;
        }
        assert_eq!(api.notes(), ["young: there is a result", "back: rolled back", "tell: sent"]);
        let counted = |api: &crate::testing::FakeApi| {
            let writes = api.writes();
            writes.iter().filter(|write| write.starts_with("PATCH ") && write.contains("/events/checkout.")).count()
        };
        assert_eq!(counted(&api), 1, "{:?}", api.writes());
        // Of another object it is something else.
        teller.tell(&about("v"), EventType::Normal, "StepSucceeded", "tell: sent").await;
        assert_eq!((api.notes().len(), counted(&api)), (4, 1));
    }

    /// What is remembered has a bound.
    #[test]
    fn what_was_told_long_ago_is_forgotten() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let teller = Teller::new(crate::testing::FakeApi::default().client(), "Run");
        let now = Instant::now();
        let told = |note: usize, now: Instant| {
            let event = Event {
                type_: EventType::Normal,
                reason: "Done".to_owned(),
                note: Some(note.to_string()),
                action: "Run".to_owned(),
                secondary: None,
            };
            teller.recorder(&event, &ObjectReference::default(), now);
            teller.recorders.lock().unwrap().len()
        };
        assert_eq!((0..MOST).fold(0, |_, note| told(note, now)), MOST);
        assert_eq!(told(0, now + SAME), 1, "all the others were told too long ago");
        assert_eq!((1..MOST).fold(0, |_, note| told(note, now + SAME)), MOST);
        assert_eq!(told(MOST, now + SAME), 1);
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
