//! Tells people, by events on the objects concerned.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::sinks::kubernetes::chain;

/// Events have room for this many bytes of text.
const NOTE_MAX: usize = 1000;

/// Publishes events.
#[derive(Clone)]
pub struct Teller {
    recorder: Recorder,
}

impl Teller {
    /// Through this client.
    pub fn new(client: Client) -> Self {
        let reporter = Reporter { controller: "plimsoll".to_owned(), instance: std::env::var("HOSTNAME").ok() };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Says something about an object. What cannot be said is logged.
    pub async fn tell(&self, about: &ObjectReference, type_: EventType, reason: &str, note: &str) {
        let cut = (0..=NOTE_MAX.min(note.len())).rev().find(|&i| note.is_char_boundary(i)).unwrap_or(0);
        let note = note.get(..cut).unwrap_or_default();
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: (!note.is_empty()).then(|| note.to_owned()),
            action: "Run".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::warn!(error = %chain(&error), reason, "event was not published");
        }
    }
}
