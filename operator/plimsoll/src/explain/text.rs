//! From facts to words. The last line is always the one thing to do next, or why it is quiet.

use std::fmt::Write;

use plimsoll_slo::names;

use super::{
    buckets::no_bucket,
    facts::{Buckets, Facts, Loaded, Misfit, NoData, Refusal, Scored, Selector, Surplus, Tier},
    near,
};
use crate::{sinks::UNREAD, targets::Away};

/// An explanation for a terminal.
pub fn text(facts: &Facts) -> String {
    let mut out = String::new();
    let finding = find(facts);
    line(&mut out, "", &format!("{} {}", facts.name, finding.headline));
    for part in details(facts) {
        line(&mut out, "  ", &part);
    }
    line(&mut out, "  → ", &finding.next);
    out
}

fn line(out: &mut String, prefix: &str, text: &str) {
    // Writing into a string does not fail.
    let _ = writeln!(out, "{prefix}{text}");
}

/// The one thing that matters now.
struct Finding {
    headline: String,
    next: String,
}

fn find(facts: &Facts) -> Finding {
    let finding = |headline: String, next: String| Finding { headline, next };
    if let Some(deletion) = &facts.deletion {
        return finding("is being deleted.".to_owned(), deletion.clone());
    }
    if let Some(first) = facts.problems.first() {
        let help = first.rsplit_once("; ").map_or(first.as_str(), |(_, help)| help);
        return finding("is not ready: it is invalid.".to_owned(), format!("{help}, then apply it again"));
    }
    if let Some(trouble) = &facts.trouble {
        return finding(
            format!(
                "is not ready: its rules {}.",
                if trouble.contains(UNREAD) { "are not read yet" } else { "could not be written" }
            ),
            format!("resolve this, the operator then goes on by itself: {trouble}"),
        );
    }
    // A mistake is cheap while the rules are not loaded; but what keeps Prometheus from loading them is as certain.
    let early = match &facts.loaded {
        Loaded::Missing { remedy, .. } => remedy.is_none(),
        Loaded::Outdated { .. } | Loaded::Idle { .. } => true,
        Loaded::Unreachable(_) | Loaded::Failing { .. } | Loaded::NotAsked | Loaded::Yes { .. } => false,
    };
    if let Some(broken) = indicator(facts).filter(|_| early) {
        return broken;
    }
    match &facts.loaded {
        Loaded::Unreachable(cause) => {
            return finding("could not be examined: Prometheus does not answer.".to_owned(), unreachable(cause));
        }
        Loaded::Missing { remedy, .. } => {
            let next = match (remedy, facts.stored) {
                (Some(remedy), _) => format!("do it with:  {remedy}"),
                (None, true) => "look at what loads the rules: the log of prometheus-operator, or rule_files in Prometheus' configuration".to_owned(),
                (None, false) => "load the rules: plimsoll generate writes them for rule_files in Prometheus' configuration".to_owned(),
            };
            return finding("is not ready: its rules are not loaded by Prometheus.".to_owned(), next);
        }
        Loaded::Outdated { .. } => {
            let next = if facts.stored {
                "wait for two minutes, then ask again; if it stays so, look in Prometheus' log for why it does not load its rules"
            } else {
                "load the rules that plimsoll generate writes now"
            };
            return finding("was edited: Prometheus still works with other rules of it.".to_owned(), next.to_owned());
        }
        Loaded::Failing { cause, .. } => {
            return finding(
                "is not ready: one of its rules fails.".to_owned(),
                format!("repair the expression that this error is about: {cause}"),
            );
        }
        Loaded::Idle { since, .. } => {
            let (headline, next) = Loaded::idle(since.as_deref());
            return finding(headline.to_owned(), next.to_owned());
        }
        Loaded::NotAsked | Loaded::Yes { .. } => {}
    }
    if let Some(broken) = indicator(facts) {
        return broken;
    }
    if facts.loaded == Loaded::NotAsked && facts.refusals.is_empty() {
        return finding(
            "is valid; nobody was asked about its data.".to_owned(),
            "give --prometheus URL to see them".to_owned(),
        );
    }
    if facts.data == Some(false) {
        return finding(
            "has no data yet: its rules were not evaluated with samples so far.".to_owned(),
            format!("wait for a minute, then ask again{}", seldom(facts)),
        );
    }
    if facts.made_up {
        return finding(
            "has no data: its series are there, what it measures of them is not; the time counts as bad.".to_owned(),
            "see that they are scraped at least twice in 5 m, and that its expressions yield something in Prometheus"
                .to_owned(),
        );
    }
    let firing: Vec<&Tier> = facts.tiers.iter().filter(|tier| tier.firing).collect();
    if let Some(tier) = firing.first() {
        let names: Vec<&str> = firing.iter().map(|tier| tier.name.as_str()).collect();
        return finding(
            format!("is burning: {} {}.", join(&names), if names.len() == 1 { "fires" } else { "fire" }),
            if tier.is_calm() {
                format!(
                    "it has been below its threshold of {} again (now {} and {}), and goes on for its keepFiringFor",
                    tier.threshold,
                    number(tier.burn_long),
                    number(tier.burn_short)
                )
            } else {
                format!(
                    "find out what fails{}; it stops when the burn over {} or {} is below {} (now {} and {})",
                    failing(&facts.selectors),
                    spaced(&tier.long),
                    spaced(&tier.short),
                    tier.threshold,
                    number(tier.burn_long),
                    number(tier.burn_short)
                )
            },
        );
    }
    if let Some(tier) = facts.tiers.iter().find(|tier| tier.is_over() && !tier.is_below_floor()) {
        let headline = if tier.is_uncounted() {
            format!("burns: over both windows of the {} tier; its bad events are not counted yet.", tier.name)
        } else {
            format!("burns: all conditions of the {} tier are met, its alert does not fire yet.", tier.name)
        };
        return finding(headline, format!("{}; find out what fails{}", awaited(tier), failing(&facts.selectors)));
    }
    // With a budget, what is recorded at all was recorded.
    let never = |tier: &&Tier| facts.busy && tier.burn_long.is_none() && tier.burn_short.is_none();
    if let Some((range, half)) = facts.range.as_ref().filter(|_| facts.budget.is_some())
        && let Some(tier) = facts.tiers.iter().find(never)
    {
        return finding(
            format!("works in part: the {} tier has no burn rate, so it cannot fire.", tier.name),
            format!(
                "scrape the targets every {} or more often, or write longer windows: a rate over {} needs two samples",
                spaced(half),
                spaced(range)
            ),
        );
    }
    if let Some(budget) = facts.budget.filter(|budget| *budget <= 0.0) {
        let spent = if budget < 0.0 { "overspent" } else { "spent" };
        return finding(
            format!("works, but its error budget is {spent}."),
            format!(
                "{:.1} % of the budget over {} is spent: change little until there is some again; {}",
                (1.0 - budget) * 100.0,
                facts.period,
                quiet(&facts.tiers)
            ),
        );
    }
    // What was refused may be the very thing that is missing.
    if let Some(unknown) = unknown(facts).filter(|_| facts.refusals.is_empty()) {
        return unknown;
    }
    if let Some(refusal) = facts.refusals.first() {
        return finding("could not be examined wholly: Prometheus refuses to answer.".to_owned(), refusal.next());
    }
    if let Some(tier) = held_back(&facts.tiers) {
        let headline = format!("works; its {} tier is held back, with too few bad events.", tier.name);
        return finding(headline, quiet(&facts.tiers));
    }
    if let Some(excess) = facts.excess.first() {
        return finding(format!("works, but {}", excess.headline), excess.remedy.clone());
    }
    if let Some(scored) = facts.scored.as_ref().filter(|scored| scored.works == Some(false)) {
        return finding("works, but not all is scored.".to_owned(), format!("see to this: {}", scored.message));
    }
    let headline =
        if facts.tiers.is_empty() { "works, but no burn-rate alert can fire." } else { "works; nothing is wrong." };
    finding(headline.to_owned(), quiet(&facts.tiers))
}

/// What is wrong with the indicator itself, whether or not the rules are loaded.
fn indicator(facts: &Facts) -> Option<Finding> {
    let finding = |headline: String, next: String| Some(Finding { headline, next });
    if let Some(away) = &facts.away {
        let headline = match away {
            Away::Down { of, count: 1, .. } => format!("has no data: the target of {of} is down."),
            Away::Down { of, .. } => format!("has no data: the targets of {of} are down."),
            Away::Nobody { of, .. } => format!("has no data: Prometheus scrapes no target of {of}."),
        };
        return finding(headline, away.remedy());
    }
    if let Some((selector, next)) = facts.selectors.iter().find_map(nothing_matched) {
        let others = |other: &Selector| other.role != "good" && other.series.is_some_and(|n| n > 0);
        let what = if selector.role == "good" && facts.selectors.iter().any(others) {
            "counts every event as bad"
        } else {
            "has no data"
        };
        return finding(format!("{what}: its selector for {} matches nothing.", selector.role), next);
    }
    if let Some(missing) = facts.buckets.as_ref().and_then(no_bucket) {
        return finding("has no data: its histogram has no bucket at the threshold.".to_owned(), missing);
    }
    if let Some((selector, label)) =
        facts.selectors.iter().find_map(|selector| selector.no_such_label.as_ref().map(|label| (selector, label)))
    {
        return finding(
            format!("counts no {} events: no series of the metric has the label {label}.", selector.role),
            format!("check the label's name in {}", selector.text),
        );
    }
    if let Some((selector, label)) =
        facts.selectors.iter().find_map(|selector| selector.lacks.first().map(|label| (selector, label)))
    {
        return finding(
            format!("cannot be grouped by {label}: the series of its {} do not have it.", selector.role),
            format!("remove {label} from groupBy, or use series that have it: {}", selector.text),
        );
    }
    if let Some(Surplus { role, part, total }) = &facts.surplus {
        return finding(
            format!("counts more {role} events than events."),
            format!(
                "write spec.sli.events.{role} and total so that total counts each of the {role} events: in 5 m {role} grew by {part:.0} and total by {total:.0}"
            ),
        );
    }
    if let Some(Misfit { headline, what: _, remedy }) = &facts.misfit {
        return finding(headline.clone(), remedy.clone());
    }
    None
}

/// What to do where Prometheus does not answer. The cause is empty where it was not asked again.
pub(super) fn unreachable(cause: &str) -> String {
    if cause.is_empty() {
        return "see above; it was not asked again".to_owned();
    }
    format!("see that it runs and can be reached from here, or give its address with --prometheus: {cause}")
}

/// Tiers of which nobody can say yet whether they burn.
fn unknown(facts: &Facts) -> Option<Finding> {
    let is_unknown = |tier: &&Tier| facts.busy && tier.is_unknown();
    let tiers: Vec<&Tier> = facts.tiers.iter().filter(is_unknown).collect();
    let first = tiers.first()?;
    let names: Vec<&str> = tiers.iter().map(|tier| tier.name.as_str()).collect();
    let so_far = if tiers.len() == facts.tiers.len() { "is not known yet" } else { "is not wholly known yet" };
    Some(Finding {
        headline: format!("{so_far}: the burn over the windows of {} is not recorded so far.", join(&names)),
        next: format!("ask again when it is: it is recorded every {}{}", spaced(&first.interval), seldom(facts)),
    })
}

/// Why there may never be a value.
fn seldom(facts: &Facts) -> String {
    facts.range.as_ref().map_or_else(String::new, |(range, half)| {
        format!(
            "; if it stays so: a rate over {} has no value unless targets are scraped every {} or more often",
            spaced(range),
            spaced(half)
        )
    })
}

/// What the alert of a tier whose conditions are met waits for.
fn awaited(tier: &Tier) -> String {
    if tier.is_uncounted() {
        return format!(
            "its alert fires with at least {} bad events, which are counted every {}",
            tier.minimum,
            spaced(&tier.counted)
        );
    }
    match &tier.hold {
        Some(hold) => format!("its alert fires when they have held for {}", spaced(hold)),
        None if tier.interval.is_empty() => "its alert awaits its next evaluation".to_owned(),
        None => format!("its alert awaits its next evaluation, every {}", spaced(&tier.interval)),
    }
}

/// Where to look first.
fn failing(selectors: &[Selector]) -> String {
    match selectors.iter().find(|selector| selector.role == "bad" && selector.series.is_some_and(|n| n > 0)) {
        Some(bad) => format!(", beginning with rate({}[5m])", bad.text),
        None => String::new(),
    }
}

fn quiet(tiers: &[Tier]) -> String {
    let Some(tier) = tiers.first() else {
        return "no burn-rate alert: alerting.tiers has none, or the period is shorter than every tier's long window; write alerting.tiers".to_owned();
    };
    if let Some(tier) = held_back(tiers) {
        return format!(
            "quiet, because the {} tier has only {} bad events over {}, and fewer than {} wake nobody",
            tier.name,
            tier.bad_events.map_or("few".to_owned(), |bad| format!("{bad:.0}")),
            spaced(&tier.long),
            tier.minimum
        );
    }
    if tier.burn_long.is_none() {
        return format!(
            "quiet, because there is no burn rate over {} yet; the {} tier fires at {}",
            spaced(&tier.long),
            tier.name,
            tier.threshold
        );
    }
    format!(
        "burn {} over {}; the {} tier fires at {}",
        number(tier.burn_long),
        spaced(&tier.long),
        tier.name,
        tier.threshold
    )
}

/// A tier that is loud enough in both windows, but of too few events.
fn held_back(tiers: &[Tier]) -> Option<&Tier> {
    tiers.iter().find(|tier| tier.is_over() && tier.is_below_floor())
}

/// `1 h`, for reading.
fn spaced(span: &str) -> String {
    let split = span.find(|c: char| !c.is_ascii_digit()).unwrap_or(span.len());
    let (number, unit) = span.split_at(split);
    if unit.chars().all(char::is_alphabetic) { format!("{number} {unit}") } else { span.to_owned() }
}

fn nothing_matched(selector: &Selector) -> Option<(&Selector, String)> {
    // A service without errors has no series for them: that is no mistake, and the rules know it.
    if selector.series != Some(0) || selector.role == "bad" {
        return None;
    }
    let next = match selector.of_metric {
        Some(0) => format!("check the metric's name and whether Prometheus scrapes it: {}", selector.text),
        Some(n) => format!("check the matchers: the metric has {n} series, but none of them fits {}", selector.text),
        None => format!("check this selector: {}", selector.text),
    };
    Some((selector, format!("{next}{}", instead(selector))))
}

/// What there is instead of what a selector names.
fn instead(selector: &Selector) -> String {
    let hint = near::meant(&selector.near).or_else(|| selector.values.as_ref().map(near::there_are));
    hint.map(|hint| format!("; {hint}")).unwrap_or_default()
}

fn details(facts: &Facts) -> Vec<String> {
    let mut all = Vec::new();
    if facts.deletion.is_some() {
        all.extend(facts.place.iter().map(|place| format!("✗ its rules may still work in {place}")));
        return all;
    }
    all.extend(facts.problems.iter().map(|problem| format!("✗ {problem}")));
    if !facts.problems.is_empty() {
        all.extend(facts.place.iter().map(|place| format!("  its last good rules go on working in {place}")));
    } else {
        let place = facts.place.as_ref().map(|place| format!(" in {place}")).unwrap_or_default();
        all.push(format!("✓ valid, rendered to {} rules{place}", facts.rules));
        all.push(format!("  measures {}; objective {} % over {}", facts.measures, facts.objective, facts.period));
    }
    all.extend(facts.warnings.iter().map(|warning| format!("! {warning}")));
    all.extend(facts.excess.iter().map(|excess| format!("! {}", excess.what)));
    if let Some(trouble) = &facts.trouble {
        all.push(format!("✗ {trouble}"));
    }
    match &facts.loaded {
        // Of a Prometheus that does not answer the last line says why.
        Loaded::NotAsked | Loaded::Unreachable(_) => {}
        Loaded::Yes { url } => all.push(format!("✓ Prometheus {url} has loaded them")),
        Loaded::Outdated { url } => {
            all.push(format!("✗ Prometheus {url} has not loaded these rules yet, but others of this SLO"))
        }
        Loaded::Failing { url, cause } => all.push(format!("✗ Prometheus {url} has them, but one fails: {cause}")),
        Loaded::Idle { url, group, since } => {
            all.push(format!("✗ {}", Loaded::idle_line(url, group, since.as_deref())));
        }
        Loaded::Missing { url, group, why, remedy: _ } => {
            if group.is_empty() {
                // From the status, whose message names everything.
                all.extend(why.iter().map(|why| format!("✗ {why}")));
            } else {
                all.push(format!("✗ Prometheus {url} has no group {group}"));
                all.extend(why.iter().map(|why| format!("  {why}")));
            }
        }
    }
    for selector in &facts.selectors {
        let Selector { role, text, series, of_metric: _, lacks, no_such_label, near: _, values: _ } = selector;
        match series {
            None => all.push(format!("  {role}: {text}")),
            Some(0) if no_such_label.is_some() => all.push(format!(
                "✗ {role}: {text} matches nothing: no series of the metric has the label {}",
                no_such_label.as_deref().unwrap_or_default()
            )),
            Some(0) if *role == "bad" => all
                .push(format!("✓ {role}: {text} matches nothing, which counts as no bad events{}", instead(selector))),
            Some(0) => all.push(format!("✗ {role}: {text} matches nothing{}", instead(selector))),
            Some(1) => all.push(format!("✓ {role}: {text} matches 1 series")),
            Some(n) => all.push(format!("✓ {role}: {text} matches {n} series")),
        }
        if !lacks.is_empty() {
            all.push(format!("✗ {role}: its series lack the label {}", lacks.join(", ")));
        }
    }
    if let Some(Buckets { threshold, unit, .. }) = facts.buckets.as_ref().filter(|buckets| no_bucket(buckets).is_some())
    {
        all.push(format!("✗ histogram: it has no bucket at {threshold} {unit}"));
    }
    all.extend(facts.away.iter().map(|away| format!("✗ {}", away.line())));
    if facts.made_up {
        all.push("✗ it has no samples now, and missing time counts as bad (noData: Bad)".to_owned());
    }
    all.extend(facts.misfit.iter().map(|misfit| format!("✗ {}", misfit.what)));
    all.extend(Refusal::lines(&facts.refusals));
    if let Some(NoData { firing, since }) = &facts.no_data {
        let since = since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
        all.push(if *firing {
            format!("✗ the alert {} fires: data are missing{since}", names::ALERT_NO_DATA)
        } else {
            let after = spaced(&plimsoll_slo::render::NO_DATA_FOR.to_string());
            format!(
                "· the alert {} is pending{since}: it fires when data are missing for {after}",
                names::ALERT_NO_DATA
            )
        });
    }
    if let Some(budget) = facts.budget {
        let mark = if budget > 0.0 { " " } else { "✗" };
        all.push(format!("{mark} budget left: {:.1} %", budget * 100.0));
    }
    for tier in &facts.tiers {
        let unknown = facts.busy && tier.is_unknown();
        if tier.burn_long.is_none() && tier.burn_short.is_none() {
            if unknown {
                all.push(format!("· tier {} is not known yet: recorded every {}", tier.name, tier.interval));
            }
            continue;
        }
        let (mark, state) = match (tier.firing, tier.is_over() && !tier.is_below_floor()) {
            (true, _) => ("✗", "fires"),
            (false, true) => ("✗", "does not fire yet"),
            (false, false) if unknown => ("·", "is not known yet"),
            (false, false) => ("✓", "is quiet"),
        };
        let mut text = format!(
            "{mark} tier {} {state}: burn {} over {} and {} over {}, threshold {}",
            tier.name,
            number(tier.burn_long),
            tier.long,
            number(tier.burn_short),
            tier.short,
            tier.threshold
        );
        if tier.minimum > 0 {
            let bad = match tier.bad_events {
                Some(bad) => format!("{bad:.0} bad events"),
                None if tier.counted.is_empty() => "bad events not counted yet".to_owned(),
                None => format!("bad events not counted yet (every {})", tier.counted),
            };
            let _ = write!(text, "; {bad}, at least {} needed", tier.minimum);
        }
        all.push(text);
    }
    all.extend(facts.scored.iter().map(Scored::line));
    all
}

fn number(value: Option<f64>) -> String {
    value.filter(|v| v.is_finite()).map_or_else(|| "unknown".to_owned(), |v| format!("{v:.1}"))
}

fn join(names: &[&str]) -> String {
    match names {
        [one] => format!("the {one} tier"),
        [many @ .., last] => format!("the tiers {} and {last}", many.join(", ")),
        [] => String::new(),
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
