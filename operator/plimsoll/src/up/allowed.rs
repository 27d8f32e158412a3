//! What runbooks may do here: what whoever runs `up` has allowed by `--runbooks FILE`, and what needs no cluster.

use std::path::Path;

use plimsoll_api::runbook::Mode;
use plimsoll_runbook::{
    Act, Model,
    model::{Trigger, Type},
};

use super::servers::Servers;
use crate::{
    actions::{Endpoint, Outside},
    cli::out::Stop,
    operator::gate::GateLayer,
    runbooks::config::RunbooksConfig,
    sinks::Config,
};

/// Reads the section `runbooks` of a configuration file of the operator.
///
/// # Errors
/// All that is wrong with the file.
pub fn read(path: &Path) -> Result<RunbooksConfig, Stop> {
    let failed = |error: crate::sinks::config::ConfigError| Stop::Failed(format!("--runbooks: {error}"), String::new());
    Config::read(path).map(|config| config.runbooks).map_err(failed)
}

/// The servers that steps and guards may speak to. Silences go to the Alertmanager of `up`, unless the file names another one.
pub fn outside(http: reqwest::Client, gate: GateLayer, servers: &Servers, config: Option<&RunbooksConfig>) -> Outside {
    let at = |url: &String| Endpoint { url: url.clone(), tenant: None, bearer_token_file: None };
    let prometheus = Some(at(&servers.prometheus));
    let Some(RunbooksConfig { alertmanager, grafana, destinations, .. }) = config.cloned() else {
        return Outside { http, gate, prometheus, alertmanager: None, grafana: None, destinations: Default::default() };
    };
    let alertmanager = alertmanager.or_else(|| servers.alertmanager.as_ref().map(at));
    Outside { http, gate, prometheus, alertmanager, grafana, destinations }
}

/// How far a runbook goes here, and, where that is not as far as it says, why.
pub fn mode(model: &Model, acts: bool) -> (Mode, Option<String>) {
    let dry = |why: String| (Mode::DryRun, Some(why));
    // What nothing starts here is shown as what would be done.
    let is_started = matches!(model.trigger, Trigger::Alert(_) | Trigger::Slo { .. });
    match model.mode {
        Mode::Off => (Mode::Off, None),
        Mode::DryRun => (Mode::DryRun, None),
        _ if !is_started => (Mode::DryRun, None),
        Mode::Approve | Mode::Auto => match needs_cluster(model) {
            Some(why) => dry(why),
            None if model.mode == Mode::Approve => {
                dry("its mode is Approve, and without a cluster nobody can be told from who wrote it".to_owned())
            }
            None if !acts => dry("nothing is sent without --runbooks FILE".to_owned()),
            None => (Mode::Auto, None),
        },
    }
}

/// Why a runbook needs a cluster.
fn needs_cluster(model: &Model) -> Option<String> {
    let needs = |action| Act::of(action).is_none_or(Act::needs_cluster);
    let field = |action: &plimsoll_api::Action| action.kinds().first().map_or("", |kind| kind.field());
    for step in &model.steps {
        if needs(&step.action) {
            return Some(format!("step {} ({}) needs a cluster", step.name, field(&step.action)));
        }
        if let Some(undo) = step.compensate.as_deref().filter(|undo| needs(undo)) {
            return Some(format!("what undoes step {} ({}) needs a cluster", step.name, field(undo)));
        }
    }
    model.parameters.iter().find_map(|parameter| match &parameter.of {
        // It could not be seen whether the object is there, and which one it is.
        Type::Object(kind) => Some(format!(
            "parameter {} is a {}, which only a cluster knows; make it a string where only its name is needed",
            parameter.name,
            kind.name()
        )),
        _ => None,
    })
}
