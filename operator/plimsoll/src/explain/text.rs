//! From facts to words. The last line is always the one thing to do next, or why it is quiet.

use std::fmt::Write;

use plimsoll_slo::names;

use super::{
    blind,
    buckets::no_bucket,
    facts::{Facts, Loaded, Misfit, NoData, Refusal, Scored, Selector, Slip, Surplus},
    histogram::Buckets,
    near, parts,
    tiers::{self, held_back, quiet, seldom, spaced, unknown},
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
pub(super) struct Finding {
    /// After the name.
    pub(super) headline: String,
    /// What to do.
    pub(super) next: String,
}

fn find(facts: &Facts) -> Finding {
    let finding = |headline: String, next: String| Finding { headline, next };
    if let Some(deletion) = &facts.deletion {
        return finding("is being deleted.".to_owned(), deletion.clone());
    }
    if let Some(first) = facts.problems.first() {
        let help = first.rsplit_once("; ").map_or(first.as_str(), |(_, help)| help);
        let still = fires(facts, ", and by its last good rules");
        return finding(format!("is not ready: it is invalid{still}."), format!("{help}, then apply it again"));
    }
    if let Some(trouble) = &facts.trouble {
        return finding(
            format!(
                "is not ready: its rules {}{}.",
                if trouble.contains(UNREAD) { "are not read yet" } else { "could not be written" },
                fires(facts, ", and by those before")
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
    let tiers = [tiers::firing, tiers::about_to_fire, tiers::unrecorded];
    if let Some(burning) = tiers.into_iter().find_map(|look| look(facts)) {
        return burning;
    }
    if let Some(budget) = facts.budget.filter(|budget| *budget <= 0.0) {
        let spent = if budget < 0.0 { "overspent" } else { "spent" };
        return finding(
            format!("works, but its error budget is {spent}."),
            format!(
                "{:.1} % of the budget {} is spent{}: change little until there is some again; {}",
                (1.0 - budget) * 100.0,
                match &facts.known {
                    Some(known) => format!("of the time known so far, about {known} of {},", facts.period),
                    None => format!("over {}", facts.period),
                },
                of_group(&facts.budget_of),
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
    if let Some(doubt) = blind::possible(facts) {
        return doubt;
    }
    if let Some(excess) = facts.excess.first() {
        return finding(format!("works, but {}", excess.headline), excess.remedy.clone());
    }
    if let Some(scored) = facts.scored.as_ref().filter(|scored| scored.works == Some(false)) {
        return finding("works, but not all is scored.".to_owned(), scored.next());
    }
    let headline =
        if facts.tiers.is_empty() { "works, but no burn-rate alert can fire." } else { "works; nothing is wrong." };
    finding(headline.to_owned(), quiet(&facts.tiers))
}

/// What fires all the same where its rules of now are not at work: an edit that went wrong ends no outage.
fn fires(facts: &Facts, rules: &str) -> String {
    facts.fires.as_ref().map(|alert| format!("{rules} it burns ({alert})")).unwrap_or_default()
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
    let loaded = !matches!(facts.loaded, Loaded::Missing { .. } | Loaded::Outdated { .. } | Loaded::Idle { .. });
    if let Some((headline, next)) = parts::missing(&facts.parts, loaded) {
        // What burns although a part is missing, burns.
        if !facts.tiers.iter().any(|tier| tier.firing) {
            return finding(headline, next);
        }
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
    if let Some(blind) = blind::certain(&facts.selectors) {
        return Some(blind);
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
    let slips = facts.selectors.iter().filter(|selector| selector.role == "bad");
    if let Some((selector, Slip { matcher, instead })) = slips.filter_map(|one| Some((one, one.slip.as_ref()?))).next()
    {
        let there = selector.values.as_ref().map(|values| format!(": {}", near::there_are(values))).unwrap_or_default();
        return finding(
            format!("counts no bad events: no status can be what {matcher} wants."),
            format!("write what its label has, such as {instead}{there}"),
        );
    }
    if let Some((selector, label)) =
        facts.selectors.iter().find_map(|selector| selector.lacks.first().map(|label| (selector, label)))
    {
        return finding(
            format!("cannot be grouped by {label}: the series of its {} do not have it.", selector.role),
            format!(
                "remove {label} from groupBy, or use series that have it: {}{}",
                selector.text,
                selector.meant.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default()
            ),
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
    if let Some(Misfit { headline, remedy, .. }) = facts.misfits.first() {
        return finding(headline.clone(), remedy.clone());
    }
    None
}

/// What to do where Prometheus does not answer. The cause is empty where it was not asked again.
pub(super) fn unreachable(cause: &str) -> String {
    if cause.is_empty() {
        return "see above; it was not asked again".to_owned();
    }
    format!("see that it runs and can be reached from here, or give another address with --prometheus URL: {cause}")
}

/// Whose the worst budget is.
fn of_group(group: &str) -> String {
    if group.is_empty() { String::new() } else { format!(" for {group}") }
}

fn nothing_matched(selector: &Selector) -> Option<(&Selector, String)> {
    // A service without errors has no series for them: that is no mistake, and the rules know it. What is one is a doubt.
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
        let excluded = |until| {
            format!("· excluded until {until}, with the five minutes after it: what happens now does not count")
        };
        all.extend(facts.excluded.as_ref().map(excluded));
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
            let (mark, text) = Loaded::idle_line(url, group, since.as_deref());
            all.push(format!("{mark} {text}"));
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
    all.extend(parts::lines(&facts.parts));
    for selector in &facts.selectors {
        all.extend(selector_lines(selector, &facts.misfits));
    }
    if let Some(Buckets { threshold, unit, .. }) = facts.buckets.as_ref().filter(|one| no_bucket(one).is_some()) {
        all.push(format!("✗ histogram: it has no bucket at {threshold} {unit}"));
    }
    all.extend(facts.away.iter().map(|away| format!("✗ {}", away.line())));
    if facts.made_up {
        all.push("✗ it has no samples now, and missing time counts as bad (noData: Bad)".to_owned());
    }
    let told = |misfit: &&Misfit| facts.selectors.iter().any(|selector| misfit.is_of(selector));
    all.extend(facts.misfits.iter().filter(|misfit| !told(misfit)).map(|misfit| format!("✗ {}", misfit.what)));
    all.extend(Refusal::lines(&facts.refusals));
    if let Some(NoData { firing, since, parts }) = &facts.no_data {
        let since = since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
        let missing = match parts.as_slice() {
            [] => "data are missing".to_owned(),
            [part] => format!("its part {part} is missing"),
            parts => format!("its parts {} are missing", parts.join(", ")),
        };
        all.push(if *firing {
            format!("✗ the alert {} fires: {missing}{since}", names::ALERT_NO_DATA)
        } else {
            let after = spaced(&plimsoll_slo::render::NO_DATA_FOR.to_string());
            format!("· the alert {} is pending{since}: it fires when {missing} for {after}", names::ALERT_NO_DATA)
        });
    }
    if let Some(budget) = facts.budget {
        let mark = if budget > 0.0 { " " } else { "✗" };
        let known = facts.known.as_ref().map(|known| format!(", of the time known so far, about {known}"));
        let of = of_group(&facts.budget_of);
        all.push(format!("{mark} budget left{of}: {:.1} %{}", budget * 100.0, known.unwrap_or_default()));
    }
    all.extend(tiers::lines(facts));
    all.extend(facts.scored.iter().map(Scored::line));
    all
}

fn selector_lines(selector: &Selector, misfits: &[Misfit]) -> Vec<String> {
    let Selector { role, text, series, lacks, no_such_label, slip, doubt, .. } = selector;
    let misfits: Vec<&Misfit> = misfits.iter().filter(|misfit| misfit.is_of(selector)).collect();
    let mut all = vec![match series {
        None => format!("  {role}: {text}"),
        Some(0) if no_such_label.is_some() => format!(
            "✗ {role}: {text} matches nothing: no series of the metric has the label {}",
            no_such_label.as_deref().unwrap_or_default()
        ),
        Some(0) if slip.is_none() && doubt.is_some() => {
            doubt.as_ref().map(|doubt| doubt.line(selector)).unwrap_or_default()
        }
        Some(0) if *role == "bad" && slip.is_none() => {
            format!("✓ {role}: {text} matches nothing, which counts as no bad events{}", instead(selector))
        }
        Some(0) => format!("✗ {role}: {text} matches nothing{}", instead(selector)),
        Some(n) => {
            let mark = if misfits.is_empty() { "✓" } else { " " };
            format!("{mark} {role}: {text} matches {n} series")
        }
    }];
    all.extend(misfits.iter().map(|misfit| format!("✗ {}", misfit.what)));
    if !lacks.is_empty() {
        all.push(format!("✗ {role}: its series lack the label {}", lacks.join(", ")));
    }
    all
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
