//! What objects say of each other: SLOs made of others, with parts that do not exist and rings, and Runbooks that are named.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use plimsoll_api::{AnyKind, Kind, Problem, shape};
use plimsoll_runbook::{Model as Runbook, model::Trigger};
use plimsoll_slo::{
    AnyModel, SloId,
    alerts::{Alert, Language, Model as AlertRule, Watch, render},
    model::Exclusion,
    promql,
};

use super::report::{Diagnostic, Place};

/// An SLO made of others.
#[derive(Debug)]
pub struct Composite {
    /// Who it is.
    pub id: SloId,
    /// What it is made of.
    pub parts: Vec<Part>,
}

/// One mention of another object.
#[derive(Debug)]
pub struct Part {
    /// Who mentions it.
    pub by: SloId,
    /// The other.
    pub id: SloId,
    /// The field that names it.
    pub path: String,
    /// Where that stands.
    pub place: Place,
    /// Its order in the report.
    pub order: (usize, u32),
}

impl Part {
    fn report(&self, problem: Problem) -> Diagnostic {
        Diagnostic::problem(problem, self.place.clone(), self.order)
    }
}

/// What is wrong between SLOs.
#[derive(Debug, Default)]
pub struct Found {
    /// The problems.
    pub diagnostics: Vec<Diagnostic>,
    /// SLOs that must not be rendered.
    pub broken: HashSet<SloId>,
}

/// Checks all composites against everything that was seen. With `elsewhere` somebody else is asked for the parts that are
/// not among it.
pub fn check(composites: &[Composite], seen: &HashMap<(AnyKind, SloId), (Arc<str>, u32)>, elsewhere: bool) -> Found {
    let mut found = Found::default();
    let is_seen = |part: &&Part| seen.contains_key(&(AnyKind::Rules(Kind::Slo), part.id.clone()));
    for composite in composites.iter().filter(|_| !elsewhere) {
        let (there, missing): (Vec<&Part>, Vec<&Part>) = composite.parts.iter().partition(is_seen);
        let label = match there.as_slice() {
            [] => "this SLO has no data until there is one",
            _ => "counts as good until there is one",
        };
        let report = |part: &Part| {
            let problem = Problem::warning(&part.path, format!("no SLO {} in these files", part.id));
            part.report(problem.label(label).help("check the name, or check these files together with its file"))
        };
        found.diagnostics.extend(missing.into_iter().map(report));
    }
    let mut open: BTreeMap<&SloId, &Composite> = composites.iter().map(|c| (&c.id, c)).collect();
    loop {
        drop_settled(&mut open);
        let Some(ring) = ring(&open) else { return found };
        let names: Vec<&str> = ring.last().into_iter().chain(&ring).map(|p| p.id.name.as_str()).collect();
        if let Some(part) = ring.first() {
            found.diagnostics.push(
                part.report(
                    Problem::error(&part.path, "an SLO is made of itself")
                        .label(names.join(" → "))
                        .help("take one of them out of the ring"),
                ),
            );
        }
        for part in ring {
            found.broken.insert(part.id.clone());
            open.remove(&part.id);
        }
    }
}

/// Exclusions that a part has and its composite has not, and that have begun before `now` (Unix seconds): a composite reads
/// what its parts had recorded by then.
pub fn exclusions(composites: &[Composite], models: &[AnyModel], now: i64) -> Vec<Diagnostic> {
    let slos = models.iter().filter_map(|model| match model {
        AnyModel::Slo(model) => Some((&model.id, &model.exclusions)),
        AnyModel::AlertRule(_) => None,
    });
    let known: HashMap<&SloId, &Vec<Exclusion>> = slos.collect();
    let past = move |exclusion: &&Exclusion| matches!(exclusion, Exclusion::Once { from, .. } if *from < now);
    let known = &known;
    let lacking = composites.iter().flat_map(|composite| {
        let own = known.get(&composite.id).copied();
        let of_part = move |part: &&Part| {
            known.get(&part.id).is_some_and(|all| {
                all.iter().filter(past).any(|exclusion| own.is_some_and(|own| !own.contains(exclusion)))
            })
        };
        composite.parts.iter().filter(of_part)
    });
    let report = |part: &Part| {
        let problem = Problem::warning(&part.path, format!("{} excludes time that this SLO does not", part.id));
        part.report(
            problem
                .label("what it had recorded before it was told so counts here")
                .help("add its exclusion to spec.exclusions here too, or leave it if it was there before that time"),
        )
    };
    lacking.map(report).collect()
}

/// What names a Runbook that is not there, where the files hold some of its namespace: elsewhere they may be anywhere.
pub fn runbooks(mentions: &[Part], seen: &HashMap<(AnyKind, SloId), (Arc<str>, u32)>) -> Vec<Diagnostic> {
    let mut known: HashMap<&str, Vec<&str>> = HashMap::new();
    for (_, id) in seen.keys().filter(|(kind, _)| *kind == AnyKind::Runbook) {
        known.entry(&id.namespace).or_default().push(&id.name);
    }
    known.values_mut().for_each(|names| names.sort_unstable());
    let missing = mentions.iter().filter(|part| !seen.contains_key(&(AnyKind::Runbook, part.id.clone())));
    missing
        .filter_map(|part| {
            let near = shape::suggest(&part.id.name, known.get(part.id.namespace.as_str())?);
            let help = if near.starts_with("did you mean") {
                near
            } else {
                "check the name, or check these files together with its file".to_owned()
            };
            let problem = Problem::warning(&part.path, format!("no Runbook {} in these files", part.id))
                .label("the alert names it all the same")
                .help(help);
            Some(part.report(problem))
        })
        .collect()
}

/// Alerts that name a Runbook which they do not start: it waits for another name, or wants a label that they cannot have.
pub fn unfit(mentions: &[Part], models: &[AnyModel], runbooks: &[Runbook]) -> Vec<Diagnostic> {
    let rules = models.iter().filter_map(|model| match model {
        AnyModel::AlertRule(model) => Some((&model.id, model.as_ref())),
        AnyModel::Slo(_) => None,
    });
    let rules: HashMap<&SloId, &AlertRule> = rules.collect();
    let runbooks: HashMap<(&str, &str), &Runbook> =
        runbooks.iter().map(|runbook| ((runbook.namespace.as_str(), runbook.name.as_str()), runbook)).collect();
    let found = mentions.iter().filter_map(|part| {
        // `spec.rules[2].runbooks[0]`
        let at: usize = part.path.strip_prefix("spec.rules[")?.split(']').next()?.parse().ok()?;
        let rule = *rules.get(&part.by)?;
        let runbook = *runbooks.get(&(part.id.namespace.as_str(), part.id.name.as_str()))?;
        let problem = misfit(part, rule, rule.alerts.get(at)?, runbook)?;
        Some(part.report(problem))
    });
    found.collect()
}

/// Why an alert does not start a Runbook that it names.
fn misfit(part: &Part, rule: &AlertRule, alert: &Alert, runbook: &Runbook) -> Option<Problem> {
    let Trigger::Alert(matchers) = &runbook.trigger else { return None };
    let name = BTreeMap::from([("alertname".to_owned(), alert.name.clone())]);
    let other = matchers.iter().find(|matcher| matcher.label() == "alertname" && !matcher.matches(&name));
    if let Some(matcher) = other {
        let problem = Problem::warning(&part.path, format!("alert {} does not start Runbook {}", alert.name, part.id));
        return Some(problem.label(format!("its trigger wants {matcher}")).help("let both have one name"));
    }
    let Watch::Expression(expr) = &alert.watch else { return None };
    let parsed = promql::parse(expr, "spec.expr").ok().filter(|_| rule.language == Language::PromQl)?;
    let labels = promql::grouped_by(&parsed.expr)?;
    // What every alert has, and what the author and the matchers add.
    let added = render(rule).groups.into_iter().flat_map(|group| group.rules);
    let added: Vec<String> = added
        .filter(|one| one.alert.as_ref() == Some(&alert.name))
        .flat_map(|one| one.labels.into_keys())
        .chain(["alertname".to_owned()])
        .collect();
    let lacks = |label: &&String| !labels.contains(label) && !added.contains(label);
    let required = runbook.parameters.iter().filter(|parameter| {
        parameter.default.is_none() && parameter.from_query.is_none() && parameter.owner_of.is_none()
    });
    let (parameter, label) =
        required.filter_map(|parameter| Some((parameter, parameter.from_label.as_ref()?))).find(|(_, l)| lacks(l))?;
    let message = format!("alert {} has no label {label}, which Runbook {} wants", alert.name, part.id);
    let problem = Problem::warning(&part.path, message);
    let by = labels.join(", ");
    Some(
        problem
            .label(format!("its expression keeps by ({by}) alone, and parameter {} is from that label", parameter.name))
            .help(format!("add {label} to by (…), or give the parameter a default")),
    )
}

/// Takes out everything that leads into no ring.
fn drop_settled(open: &mut BTreeMap<&SloId, &Composite>) {
    loop {
        let settled: Vec<&SloId> =
            open.values().filter(|c| !c.parts.iter().any(|p| open.contains_key(&p.id))).map(|c| &c.id).collect();
        if settled.is_empty() {
            return;
        }
        for id in settled {
            open.remove(id);
        }
    }
}

/// One ring among composites of which each has an open part: follow them until one comes again. The
/// first mention is made by the SLO that the last one mentions.
fn ring<'c>(open: &BTreeMap<&SloId, &'c Composite>) -> Option<Vec<&'c Part>> {
    let mut at = *open.values().next()?;
    let mut walked: Vec<&Part> = Vec::new();
    loop {
        let part = at.parts.iter().find(|p| open.contains_key(&p.id))?;
        if let Some(begin) = walked.iter().position(|p| p.id == part.id) {
            walked.push(part);
            return walked.get(begin + 1..).map(<[_]>::to_vec);
        }
        walked.push(part);
        at = open.get(&part.id)?;
    }
}
