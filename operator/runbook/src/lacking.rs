//! What a runbook names and the operator's configuration does not have: it cannot be run until one of both changes.

use plimsoll_api::shape::nearest;

use crate::{Act, Model, plan::Settings};

/// Everything of it, each a sentence without a full stop that names the field and those that there are.
pub fn lacking(model: &Model, settings: &Settings) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, name) in model.destinations().into_iter().filter(|(_, name)| !has(&settings.destinations, name)) {
        wrong.push(destination(&place, name, settings));
    }
    for (i, step) in model.steps.iter().enumerate() {
        let own = Some((format!("spec.steps[{i}]"), &step.action));
        let undo = step.compensate.as_deref().map(|undo| (format!("spec.steps[{i}].compensate"), undo));
        for (place, action) in own.into_iter().chain(undo) {
            let image = match Act::of(action) {
                Some(Act::DebugContainer(debug)) => Some(&debug.image),
                Some(Act::HeapDump(dump)) => dump.core.as_ref().map(|core| &core.image),
                Some(Act::Job(job)) => Some(&job.image),
                _ => None,
            };
            wrong.extend(
                image.filter(|image| !is_allowed(image, settings)).map(|name| image_of(&place, name, settings)),
            );
        }
    }
    wrong.extend(volume(model, settings));
    wrong
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|known| known == name)
}

/// Whether an image may be started.
pub(crate) fn is_allowed(image: &str, settings: &Settings) -> bool {
    settings.images.iter().any(|prefix| image.starts_with(prefix.as_str()))
}

/// A destination that there is not.
pub(crate) fn destination(place: &str, name: &str, settings: &Settings) -> String {
    format!("{place}: the operator's configuration has no destination {name}; {}", near(name, &settings.destinations))
}

/// An image that is not allowed.
pub(crate) fn image_of(place: &str, image: &str, settings: &Settings) -> String {
    let allowed = match settings.images.as_slice() {
        [] => "none is".to_owned(),
        images => format!("allowed are {}", images.join(", ")),
    };
    format!("{place}: the operator's configuration does not allow image {image}; {allowed}")
}

/// A volume for evidence that there is not.
pub(crate) fn volume(model: &Model, settings: &Settings) -> Option<String> {
    let name = model.artifacts.as_ref()?.volume.as_deref().filter(|name| !has(&settings.volumes, name))?;
    let near = near(name, &settings.volumes);
    Some(format!("spec.artifacts.volume: the operator's configuration has no volume {name}; {near}"))
}

/// What else it could be.
fn near(wrong: &str, names: &[String]) -> String {
    match (nearest(wrong, names.iter().map(String::as_str), 1).first(), names) {
        (Some(name), _) => format!("did you mean {name}?"),
        (None, []) => "it has none".to_owned(),
        (None, names) => format!("it has: {}", names.join(", ")),
    }
}
