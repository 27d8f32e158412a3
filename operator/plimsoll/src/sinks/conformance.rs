//! One suite over all backends. A backend brings a [`Fixture`]; the suite says what it must do.
//! Unit tests run it against servers made for the purpose, end-to-end tests against real ones.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use plimsoll_slo::{Group, Rule, RuleSet, names};

use tokio::time::Instant;

use super::{RuleSink, SinkError, Target, Written};
use crate::operator::gate::Lease;

/// A backend with the means to look behind it.
pub trait Fixture {
    /// The backend under test.
    fn sink(&self) -> Arc<dyn RuleSink>;

    /// Requests or file operations so far that changed something, or tried to.
    fn writes(&self) -> impl Future<Output = u64>;

    /// The rules that are really there for this SLO.
    fn held(&self, target: &Target) -> impl Future<Output = Option<RuleSet>>;

    /// Somebody edits the rules of this SLO by hand.
    fn tamper(&self, target: &Target) -> impl Future<Output = ()>;

    /// Somebody else's rules stand where those of this SLO belong.
    fn plant(&self, target: &Target) -> impl Future<Output = ()>;

    /// True while those are as they were planted.
    fn planted(&self, target: &Target) -> impl Future<Output = bool>;

    /// From now on the backend fails, or works again.
    fn fail(&self, fails: bool) -> impl Future<Output = ()>;

    /// The lease behind which it writes; held at the beginning.
    fn lease(&self) -> &Lease;
}

/// An SLO by name, with rules that bear its id.
pub fn target(name: &str) -> Target {
    Target {
        kind: plimsoll_api::Kind::Slo,
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: format!("00000000-0000-4000-8000-{:012}", name.bytes().map(u64::from).sum::<u64>()),
        labels: BTreeMap::from([("release".to_owned(), "main".to_owned())]),
    }
}

/// Two groups for an SLO; `expr` tells versions apart.
pub fn rules(target: &Target, expr: &str) -> RuleSet {
    let labels = BTreeMap::from([(names::SLO_ID.to_owned(), target.id())]);
    let group = |part: &str, rule: Rule| Group {
        name: format!("plimsoll.{}.{}.{part}", target.namespace, target.name),
        interval: "30s".to_owned(),
        limit: None,
        rules: vec![rule],
    };
    let record = Rule {
        record: Some(names::TOTAL.to_owned()),
        expr: expr.to_owned(),
        labels: labels.clone(),
        ..Rule::default()
    };
    let alert = Rule {
        alert: Some(names::ALERT_BURN.to_owned()),
        expr: format!("{expr} > 14.4"),
        hold: Some("1m".to_owned()),
        labels,
        annotations: BTreeMap::from([("summary".to_owned(), "{{ $value }}: \"burns\" # fast\nand faster".to_owned())]),
        ..Rule::default()
    };
    RuleSet { groups: vec![group("base", record), group("alerts", alert)] }
}

/// Runs the suite.
///
/// # Errors
/// Says what the backend did instead of what it should.
pub async fn check(fixture: &impl Fixture) -> Result<(), String> {
    let sink = fixture.sink();
    let (a, b) = (target("conformance-a"), target("conformance-b"));
    let (first, second, other) = (rules(&a, "vector(1)"), rules(&a, "vector(2)"), rules(&b, "vector(3)"));

    expect("a first write", sink.write(&a, &first).await, Written::Changed)?;
    holds("after a first write", fixture, &a, Some(&first)).await?;

    let before = fixture.writes().await;
    expect("a second write", sink.write(&a, &first).await, Written::Unchanged)?;
    same("writes when nothing differs", fixture.writes().await, before)?;

    expect("another SLO beside it", sink.write(&b, &other).await, Written::Changed)?;
    expect("a change", sink.write(&a, &second).await, Written::Changed)?;
    holds("after a change", fixture, &a, Some(&second)).await?;
    holds("beside a change", fixture, &b, Some(&other)).await?;

    fixture.tamper(&a).await;
    expect("a repair", sink.write(&a, &second).await, Written::Changed)?;
    holds("after a repair", fixture, &a, Some(&second)).await?;
    let before = fixture.writes().await;
    expect("a write after a repair", sink.write(&a, &second).await, Written::Unchanged)?;
    same("writes after a repair", fixture.writes().await, before)?;

    let mut fewer = second.clone();
    fewer.groups.truncate(1);
    expect("a group less", sink.write(&a, &fewer).await, Written::Changed)?;
    holds("after a group less", fixture, &a, Some(&fewer)).await?;

    fixture.fail(true).await;
    match sink.write(&a, &second).await {
        Err(error) if !error.is_transient() => return Err(format!("a failing backend looks final: {error}")),
        Err(error) if error.to_string().len() < 20 => return Err(format!("this error says nothing: {error}")),
        Err(_) => {}
        Ok(written) => return Err(format!("a failing backend gave {written:?}")),
    }
    fixture.fail(false).await;
    expect("a write after a failure", sink.write(&a, &second).await, Written::Changed)?;
    holds("after a failure", fixture, &a, Some(&second)).await?;

    let before = fixture.writes().await;
    fixture.lease().release();
    for (what, result) in [("a write", sink.write(&a, &first).await), ("a delete", sink.delete(&a).await)] {
        match result {
            Err(error) if error.is_transient() && error.to_string().contains("lease") => {}
            other => return Err(format!("{what} without the lease led to {other:?}")),
        }
    }
    same("writes without the lease", fixture.writes().await, before)?;
    holds("without the lease", fixture, &a, Some(&second)).await?;
    fixture.lease().hold(Duration::from_secs(3600), Instant::now());

    expect("a delete", sink.delete(&a).await, Written::Changed)?;
    holds("after a delete", fixture, &a, None).await?;
    holds("beside a delete", fixture, &b, Some(&other)).await?;
    expect("a second delete", sink.delete(&a).await, Written::Unchanged)?;

    let c = target("conformance-c");
    fixture.plant(&c).await;
    match sink.write(&c, &rules(&c, "vector(4)")).await {
        Err(SinkError::NotOurs { what, .. }) if !what.is_empty() => {}
        other => return Err(format!("somebody else's rules led to {other:?}")),
    }
    same("planted rules are left by a write", fixture.planted(&c).await, true)?;
    let _ = sink.delete(&c).await;
    same("planted rules are left by a delete", fixture.planted(&c).await, true)
}

fn expect(what: &str, result: Result<Written, SinkError>, wanted: Written) -> Result<(), String> {
    match result {
        Ok(written) => same(what, written, wanted),
        Err(error) => Err(format!("{what}: {error}")),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, wanted: T) -> Result<(), String> {
    if is == wanted { Ok(()) } else { Err(format!("{what}: {is:?} instead of {wanted:?}")) }
}

async fn holds(what: &str, fixture: &impl Fixture, target: &Target, wanted: Option<&RuleSet>) -> Result<(), String> {
    let mut held = fixture.held(target).await;
    let mut wanted = wanted.cloned();
    // A backend may keep groups in an order of its own.
    for set in [&mut held, &mut wanted].into_iter().flatten() {
        set.groups.sort_by(|a, b| a.name.cmp(&b.name));
    }
    same(what, held, wanted)
}

#[cfg(test)]
#[path = "conformance_tests.rs"]
mod tests;
