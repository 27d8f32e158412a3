//! What is said of the tiers: which fire, which are about to, and why the others are quiet.

use std::fmt::Write;

use super::{
    facts::{Facts, Selector, Tier},
    groups,
    text::Finding,
};

/// What fires, or goes on for a while although nothing burns any more.
pub(super) fn firing(facts: &Facts) -> Option<Finding> {
    let firing: Vec<&Tier> = facts.tiers.iter().filter(|tier| tier.firing).collect();
    let names: Vec<&str> = firing.iter().map(|tier| tier.name.as_str()).collect();
    let (who, fire) = (join(&names), if names.len() == 1 { "fires" } else { "fire" });
    let Some(tier) = firing.iter().find(|tier| !tier.is_calm()) else {
        let (first, last) = (firing.first()?, firing.last()?);
        return Some(match &facts.excluded {
            Some(until) => Finding {
                headline: format!("is excluded until {until}: {who} still {fire}."),
                next: format!("what is excluded counts no more, and the alerts end by themselves: {}", going_on(last)),
            },
            None => Finding {
                headline: format!("was burning: {who} still {fire}{}.", groups::of(first)),
                next: calm(first),
            },
        });
    };
    let what = match &facts.excluded {
        Some(until) => format!("what happens now does not count, it is excluded until {until}"),
        None => format!("find out what fails{}", failing(&facts.selectors)),
    };
    let next = format!(
        "{what}; it stops when the burn over {} or {} is below {} (now {} and {})",
        spaced(&tier.long),
        spaced(&tier.short),
        tier.threshold,
        number(tier.burn_long),
        number(tier.burn_short)
    );
    Some(Finding { headline: format!("is burning: {who} {fire}{}.", groups::of(tier)), next })
}

/// Why a tier ends by itself that fires and does not burn.
fn calm(tier: &Tier) -> String {
    let (long, goes_on) = (spaced(&tier.long), going_on(tier));
    if tier.burn_long.is_none() && tier.burn_short.is_none() {
        return format!(
            "it ends by itself: no events count over {long} and {} any more; {goes_on}",
            spaced(&tier.short)
        );
    }
    if let Some(bad) = tier.bad_events.filter(|_| tier.is_over()) {
        return format!(
            "it ends by itself: {bad:.0} bad events count over {long}, fewer than the {} that it needs; {goes_on}",
            tier.minimum
        );
    }
    format!(
        "it has been below its threshold of {} again (now {} and {}), and ends by itself; {goes_on}",
        tier.threshold,
        number(tier.burn_long),
        number(tier.burn_short)
    )
}

/// How long an alert goes on whose conditions are not met.
fn going_on(tier: &Tier) -> String {
    let every = if tier.interval.is_empty() {
        String::new()
    } else {
        format!("is evaluated every {}, and ", spaced(&tier.interval))
    };
    format!("the {} tier {every}goes on for its keepFiringFor", tier.name)
}

/// What meets all conditions, and does not fire yet.
pub(super) fn about_to_fire(facts: &Facts) -> Option<Finding> {
    let tier = facts.tiers.iter().find(|tier| tier.is_over() && !tier.is_below_floor())?;
    let headline = if tier.is_uncounted() {
        format!(
            "burns: over both windows of the {} tier{}; its bad events are not counted yet.",
            tier.name,
            groups::of(tier)
        )
    } else {
        format!(
            "burns: all conditions of the {} tier are met{}, its alert does not fire yet.",
            tier.name,
            groups::of(tier)
        )
    };
    let next = format!("{}; find out what fails{}", awaited(tier), failing(&facts.selectors));
    Some(Finding { headline, next })
}

/// What has no burn rate, though it has had the time.
pub(super) fn unrecorded(facts: &Facts) -> Option<Finding> {
    // With a budget, what is recorded at all was recorded.
    let (range, half) = facts.range.as_ref().filter(|_| facts.budget.is_some())?;
    let never = |tier: &&Tier| facts.busy && tier.burn_long.is_none() && tier.burn_short.is_none();
    let tier = facts.tiers.iter().find(never)?;
    Some(Finding {
        headline: format!("works in part: the {} tier has no burn rate, so it cannot fire.", tier.name),
        next: format!(
            "scrape the targets every {} or more often, or write longer windows: a rate over {} needs two samples",
            spaced(half),
            spaced(range)
        ),
    })
}

/// Tiers of which nobody can say yet whether they burn.
pub(super) fn unknown(facts: &Facts) -> Option<Finding> {
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
pub(super) fn seldom(facts: &Facts) -> String {
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

pub(super) fn quiet(tiers: &[Tier]) -> String {
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
pub(super) fn held_back(tiers: &[Tier]) -> Option<&Tier> {
    tiers.iter().find(|tier| tier.is_over() && tier.is_below_floor())
}

/// `1 h`, for reading.
pub(super) fn spaced(span: &str) -> String {
    let split = span.find(|c: char| !c.is_ascii_digit()).unwrap_or(span.len());
    let (number, unit) = span.split_at(split);
    if unit.chars().all(char::is_alphabetic) { format!("{number} {unit}") } else { span.to_owned() }
}

/// A line for each tier of which something is known.
pub(super) fn lines(facts: &Facts) -> Vec<String> {
    facts.tiers.iter().filter_map(|tier| line(tier, facts.busy && tier.is_unknown())).collect()
}

fn line(tier: &Tier, unknown: bool) -> Option<String> {
    let Tier { name, long, short, threshold, .. } = tier;
    let recorded = tier.burn_long.is_some() || tier.burn_short.is_some();
    if !recorded && !tier.firing {
        return unknown.then(|| format!("· tier {name} is not known yet: recorded every {}", tier.interval));
    }
    let (mark, state) = match (tier.firing, tier.is_calm()) {
        (true, true) => ("✗", "still fires"),
        (true, false) => ("✗", "fires"),
        (false, false) => ("✗", "does not fire yet"),
        (false, true) if unknown => ("·", "is not known yet"),
        (false, true) => ("✓", "is quiet"),
    };
    let of = groups::of(tier);
    if !recorded {
        return Some(format!("{mark} tier {name} {state}{of}: no events count over {long} and {short} any more"));
    }
    let mut text = format!(
        "{mark} tier {name} {state}{of}: burn {} over {long} and {} over {short}, threshold {threshold}",
        number(tier.burn_long),
        number(tier.burn_short),
    );
    if tier.minimum > 0 {
        let bad = match tier.bad_events {
            Some(bad) => format!("{bad:.0} bad events"),
            None if tier.counted.is_empty() => "bad events not counted yet".to_owned(),
            None => format!("bad events not counted yet (every {})", tier.counted),
        };
        // Writing into a string does not fail.
        let _ = write!(text, "; {bad}, at least {} needed", tier.minimum);
    }
    Some(text)
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
