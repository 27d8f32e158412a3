//! Actions outside the cluster's API: Prometheus, Alertmanager, Grafana, messages.

use jiff::SignedDuration;
use plimsoll_api::{
    action::{Annotate, Notify, Silence},
    gate::Verify,
    runbook::Step,
};
use plimsoll_slo::{model::Span, names as series, promql::quote};
use serde_json::{Value, json};

use super::{Call, JSON, Pick, Request, Run, Server, encoded, put};
use crate::{matcher::Matcher, model::seconds};

fn request(to: Server, method: &'static str, path: String) -> Request {
    Request { to, method, path, content_type: None, body: None, streams: false }
}

/// The request by which Prometheus is asked for the present value of an expression.
pub fn query_request(expr: &str) -> Request {
    request(Server::Prometheus, "GET", format!("/api/v1/query?query={}", encoded(expr)))
}

pub(super) fn query(expr: &str, what: &str) -> Call {
    Call::new(what, query_request(expr))
}

/// The burn rates of an SLO over five minutes, one for each group.
pub fn verify_query(namespace: &str, verify: &Verify) -> String {
    let id = quote(&format!("{namespace}/{}", verify.slo));
    format!("{}{{{}={id},{}=\"5m\"}}", series::BURN_RATE, series::SLO_ID, series::WINDOW)
}

pub(super) fn verify(run: &Run<'_>, verify: &Verify) -> Call {
    query(&verify_query(run.namespace, verify), &format!("ask how fast SLO {} burns", verify.slo))
}

/// Whether an answer of Prometheus has any series.
///
/// # Errors
/// When it is no answer.
pub fn found(answer: &Value) -> Result<bool, String> {
    let result = answer.pointer("/data/result").and_then(Value::as_array);
    match (answer.get("status").and_then(Value::as_str), result) {
        (Some("success"), Some(series)) => Ok(!series.is_empty()),
        _ => Err("this is no answer of Prometheus".to_owned()),
    }
}

/// Whether all burn rates of an answer are below the bound, and what was seen in words. `None`: it is not known, since
/// there is no series, or one without a number: what no request came in for is 0 of 0.
///
/// # Errors
/// When it is no answer.
pub fn verified(answer: &Value, verify: &Verify) -> Result<(Option<bool>, String), String> {
    let slo = &verify.slo;
    if !found(answer)? {
        return Ok((None, format!("SLO {slo} has no burn rate: its rules are not loaded, or it has no data")));
    }
    let below: f64 = verify.below.as_deref().unwrap_or("1").parse().map_err(|_| "below is no decimal".to_owned())?;
    // As Prometheus writes them, however small: a decimal of fixed size would not hold 1e-30.
    let (mut worst, mut unknown): (Option<f64>, Option<&str>) = (None, None);
    for series in answer.pointer("/data/result").and_then(Value::as_array).into_iter().flatten() {
        let value = series.pointer("/value/1").and_then(Value::as_str).unwrap_or_default();
        match value.parse::<f64>().ok().filter(|rate| !rate.is_nan()) {
            Some(rate) => worst = Some(worst.map_or(rate, |worst| worst.max(rate))),
            None => unknown = Some(value),
        }
    }
    // That one burns too fast is known, whatever is not known of the others.
    match (worst, unknown) {
        (Some(worst), unknown) if worst >= below || unknown.is_none() => {
            let shown = (worst * 100.0).round() / 100.0;
            Ok((Some(worst < below), format!("SLO {slo} burns at {shown}, {below} is the bound")))
        }
        (_, unknown) => Ok((None, format!("SLO {slo} burns at {}", unknown.unwrap_or_default()))),
    }
}

/// Who a silence is by, which tells it apart from every other.
fn author(run: &Run<'_>, step: &Step) -> String {
    format!("plimsoll {}/{}/{}", run.namespace, run.name, step.name)
}

pub(super) fn silence(run: &Run<'_>, step: &Step, silence: &Silence) -> Result<Vec<Call>, String> {
    let mut matchers = Vec::new();
    for text in &silence.matchers {
        let matcher = Matcher::parse(text, "").map_err(|problem| problem.to_string())?;
        let (regex, equal) = matcher.flags();
        matchers.push(json!({"name": matcher.label(), "value": matcher.value(), "isRegex": regex, "isEqual": equal}));
    }
    let length = seconds(Some(&silence.r#for), Span::seconds(3600));
    let ends = run.begun.saturating_add(SignedDuration::from_secs(length)).map_err(|error| error.to_string())?;
    let body = json!({
        "matchers": matchers,
        "startsAt": run.begun.to_string(),
        "endsAt": ends.to_string(),
        "createdBy": author(run, step),
        "comment": silence.comment,
    });
    let post = request(Server::Alertmanager, "POST", "/api/v2/silences".to_owned()).body(JSON, body);
    Ok(vec![Call::new(format!("silence until {ends}"), post)])
}

pub(super) fn unsilence(run: &Run<'_>, step: &Step, _: &Silence) -> Result<Vec<Call>, String> {
    let mut find = Call::new("find the silence", request(Server::Alertmanager, "GET", "/api/v2/silences".to_owned()));
    // After a crash there may be a second one, and one that has ended is kept for days.
    find.pick = Some(Pick {
        list: "",
        entry: Some(("createdBy", author(run, step))),
        take: "/id",
        optional: true,
        only: Some(("/status/state", &["active", "pending"])),
        each: true,
    });
    let delete = request(Server::Alertmanager, "DELETE", "/api/v2/silence/{picked}".to_owned());
    Ok(vec![find, Call::new("end the silence", delete).fine(&[404])])
}

pub(super) fn notify(run: &Run<'_>, step: &Step, notify: &Notify) -> Call {
    let mut call = message(run, &notify.destination, &notify.message);
    if let Some(body) = &mut call.request.body {
        put(body, "step", json!(step.name));
    }
    call
}

/// A message to a destination about a run: of a step, that it did not help, that an approval is waited for.
pub fn message(run: &Run<'_>, destination: &str, message: &str) -> Call {
    let body = json!({
        "message": message,
        "runbook": run.spec.runbook.name,
        "namespace": run.namespace,
        "execution": run.name,
        "labels": run.spec.trigger.labels,
    });
    let to = Server::Destination(destination.to_owned());
    Call::new(format!("tell {destination}"), request(to, "POST", String::new()).body(JSON, body))
}

pub(super) fn annotate(run: &Run<'_>, annotate: &Annotate) -> Call {
    let tags: Vec<&str> = ["plimsoll", run.spec.runbook.name.as_str()]
        .into_iter()
        .chain(annotate.tags.iter().map(String::as_str))
        .collect();
    let mut body = json!({"text": annotate.text, "tags": tags});
    if let Some(dashboard) = &annotate.dashboard {
        put(&mut body, "dashboardUID", json!(dashboard));
    }
    Call::new("mark it in Grafana", request(Server::Grafana, "POST", "/api/annotations".to_owned()).body(JSON, body))
}
