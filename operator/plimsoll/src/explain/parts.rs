//! What a composite is made of: whether Prometheus knows each part. One that it does not know counts as good, or not at
//! all, so that a misspelt name makes an SLO look better than it is.

use kube::{Api, Client, api::ListParams};
use plimsoll_api::{Slo, shape};
use plimsoll_slo::{Model, model::Sli, names, promql, render};

use super::{
    gather::count,
    near::{METRICS, TOLD, lately, meant},
};
use crate::prometheus::{Idle, Prometheus, PrometheusError};

/// One of the SLOs that a composite is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its identity: `shop/cart`.
    pub id: String,
    /// Its weight and that of all parts; nothing where the worst one counts.
    pub weight: Option<(u64, u64)>,
    /// What Prometheus has of it.
    pub heard: Heard,
    /// Where it has nothing: the names of SLOs that are nearest.
    pub near: Vec<String>,
}

/// What Prometheus has of an SLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heard {
    /// Nobody was asked, or it refuses to tell.
    #[default]
    Unknown,
    /// Its base series.
    Data,
    /// Its rules are evaluated, and record no events.
    Silence,
    /// Its rules, which are loaded and were never evaluated: those that were loaded just now are so.
    Waiting,
    /// Nothing, though it is there: among the same files, or in the cluster.
    Unloaded,
    /// Nothing at all, and nobody else knows it.
    Nothing,
}

impl Part {
    fn name(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or_default()
    }
}

/// The parts of a composite; none of any other SLO.
pub(super) fn of(model: &Model) -> Vec<Part> {
    let part = |name: &str, weight| Part {
        id: format!("{}/{name}", model.id.namespace),
        weight,
        heard: Heard::Unknown,
        near: Vec::new(),
    };
    match &model.sli {
        Sli::Weighted(parts) => {
            let all = parts.iter().map(|(_, weight)| weight).sum();
            parts.iter().map(|(name, weight)| part(name, Some((*weight, all)))).collect()
        }
        Sli::WorstOf(parts) => parts.iter().map(|name| part(name, None)).collect(),
        _ => Vec::new(),
    }
}

/// Asks for one part of the composite `whole`.
pub(super) async fn ask(prometheus: &Prometheus, whole: &str, part: &mut Part) -> Result<(), PrometheusError> {
    let id = format!("{}={}", names::SLO_ID, promql::quote(&part.id));
    if count(prometheus, &format!("count({}{{{id}}})", names::TOTAL)).await? > 0 {
        part.heard = Heard::Data;
        return Ok(());
    }
    if count(prometheus, &format!("count({}{{{id}}})", names::INFO)).await? > 0 {
        part.heard = Heard::Silence;
        return Ok(());
    }
    // Who does not tell what it has loaded still has told that nothing is recorded.
    part.heard = loaded(prometheus, &part.id).await.unwrap_or(Heard::Nothing);
    if part.heard != Heard::Nothing {
        return Ok(());
    }
    let since = lately();
    // What can only be a hint must not take the rest of the explanation with it.
    let ids = prometheus.label_values(names::SLO_ID, Some(names::TOTAL), since, METRICS).await.unwrap_or_default();
    part.near = near(&part.id, whole, &ids);
    Ok(())
}

/// What is to be said of an SLO that has recorded nothing, by the group that does it first.
async fn loaded(prometheus: &Prometheus, id: &str) -> Result<Heard, PrometheusError> {
    let Some((namespace, name)) = id.split_once('/') else { return Ok(Heard::Nothing) };
    let groups = prometheus.groups(&[&render::base_group(namespace, name)]).await?;
    Ok(match groups.as_slice() {
        [] => Heard::Nothing,
        some if some.iter().all(|group| group.idle == Some(Idle::Never)) => Heard::Waiting,
        _ => Heard::Silence,
    })
}

/// Notes of the parts of `whole` that Prometheus does not know which are among `known`, and which of those are meant where
/// it knows none that is near.
pub(super) fn settle(parts: &mut [Part], whole: &str, known: &[String]) {
    for part in parts.iter_mut().filter(|part| part.heard == Heard::Nothing) {
        if known.contains(&part.id) {
            (part.heard, part.near) = (Heard::Unloaded, Vec::new());
        } else if part.near.is_empty() {
            part.near = near(&part.id, whole, known);
        }
    }
}

/// SLOs of a cluster are listed up to this many.
const LISTED: u32 = 500;

/// The same by what is in a cluster. Who may not look there knows no more than Prometheus does.
pub(super) async fn stored(client: &Client, whole: &str, parts: &mut [Part]) {
    let Some((namespace, _)) = whole.split_once('/') else { return };
    let api: Api<Slo> = Api::namespaced(client.clone(), namespace);
    for part in parts.iter_mut().filter(|part| part.heard == Heard::Nothing) {
        if let Ok(Some(_)) = api.get_metadata_opt(part.name()).await {
            (part.heard, part.near) = (Heard::Unloaded, Vec::new());
        }
    }
    if parts.iter().any(|part| part.heard == Heard::Nothing && part.near.is_empty()) {
        let list = api.list_metadata(&ListParams::default().limit(LISTED)).await.map(|list| list.items);
        let names = list.unwrap_or_default().into_iter().filter_map(|one| one.metadata.name);
        let known: Vec<String> = names.map(|name| format!("{namespace}/{name}")).collect();
        settle(parts, whole, &known);
    }
}

/// The names nearest to that of `wrong`, of SLOs of its namespace but `whole`: parts are of the same one.
fn near(wrong: &str, whole: &str, ids: &[String]) -> Vec<String> {
    let Some((namespace, wrong)) = wrong.split_once('/') else { return Vec::new() };
    let others = ids.iter().filter(|id| *id != whole).filter_map(|id| id.split_once('/'));
    let names = others.filter(|(of, _)| *of == namespace).map(|(_, name)| name);
    shape::nearest(wrong, names, TOLD.0).into_iter().map(str::to_owned).collect()
}

/// A line for each part.
pub(super) fn lines(parts: &[Part]) -> Vec<String> {
    let alone = !parts.iter().any(|part| part.heard == Heard::Data);
    let counts = |part: &Part, until: &str| match part.weight {
        _ if alone => String::new(),
        Some((weight, all)) => format!("; until {until}, its weight of {weight} in {all} counts as good"),
        None => format!("; until {until}, the worst is that of the others"),
    };
    let line = |part: &Part| {
        let Part { id, weight: _, heard, near } = part;
        let name = part.name();
        match heard {
            Heard::Unknown => format!("  part {name}"),
            Heard::Data => format!("✓ part {name} has data"),
            Heard::Silence => {
                let counts = if alone { "" } else { ", which counts as good" };
                format!("· part {name} has no data now{counts}; plimsoll explain says why")
            }
            Heard::Waiting => {
                format!("· part {name}: its rules are loaded and not evaluated yet{}", counts(part, "they are"))
            }
            Heard::Unloaded => {
                let counts = counts(part, "it has");
                format!("✗ part {name}: Prometheus has not loaded its rules{counts}; plimsoll explain says why")
            }
            Heard::Nothing => {
                let hint = meant(near).map(|hint| format!("; {hint}")).unwrap_or_default();
                format!("✗ part {name}: no SLO {id} records anything{}{hint}", counts(part, "one does"))
            }
        }
    };
    parts.iter().map(line).collect()
}

/// What is wrong with the parts, as a headline and what to do. Before the rules are `loaded` those of the parts need
/// not be either.
pub(super) fn missing(parts: &[Part], loaded: bool) -> Option<(String, String)> {
    let of = |heard: Heard| parts.iter().filter(|part| part.heard == heard).collect::<Vec<&Part>>();
    let alone = of(Heard::Data).is_empty();
    let nothing = of(Heard::Nothing);
    if let Some(first) = nothing.first() {
        if !loaded && alone && nothing.iter().all(|part| part.near.is_empty()) {
            return None;
        }
        let ids = ids(&nothing);
        let headline = if alone {
            format!("has no data: no SLO {ids} records anything.")
        } else {
            format!("counts too little as bad: no SLO {ids} records anything, so {}.", lost(&nothing))
        };
        let hint = meant(&first.near).map(|hint| format!("; {hint}")).unwrap_or_default();
        let id = &first.id;
        let next =
            format!("check the name in spec.sli.composite, or load the rules of {id} and wait for a minute{hint}");
        return Some((headline, next));
    }
    let (unloaded, waiting) = (of(Heard::Unloaded), of(Heard::Waiting));
    if let Some(first) = unloaded.first().filter(|_| loaded) {
        let ids = ids(&unloaded);
        let headline = if alone {
            format!("has no data: Prometheus has not loaded the rules of {ids}.")
        } else {
            format!("counts too little as bad: Prometheus has not loaded the rules of {ids}, so {}.", lost(&unloaded))
        };
        return Some((headline, format!("see what plimsoll explain says of {}", first.name())));
    }
    if let Some(first) = waiting.first().filter(|_| loaded) {
        let ids = ids(&waiting);
        let headline = if alone {
            format!("has no data yet: Prometheus has not evaluated the rules of {ids} so far.")
        } else {
            let lost = lost(&waiting);
            format!("counts too little as bad yet: until Prometheus evaluates the rules of {ids}, {lost}.")
        };
        let name = first.name();
        let next =
            format!("wait for a minute, then ask again; if it stays so, see what plimsoll explain says of {name}");
        return Some((headline, next));
    }
    let silent = parts.first().filter(|_| parts.iter().all(|part| part.heard == Heard::Silence))?;
    let headline = "has no data: none of its parts has any now.".to_owned();
    Some((headline, format!("see what plimsoll explain says of {}", silent.name())))
}

fn ids(parts: &[&Part]) -> String {
    parts.iter().map(|part| part.id.as_str()).collect::<Vec<_>>().join(", ")
}

/// What becomes of the share of these parts, beside others that have data: `1 in 4 of its weight counts as good`.
fn lost(parts: &[&Part]) -> String {
    let Some((_, all)) = parts.first().and_then(|part| part.weight) else { return "it is left out".to_owned() };
    let weight: u64 = parts.iter().filter_map(|part| part.weight).map(|(weight, _)| weight).sum();
    format!("{weight} in {all} of its weight counts as good")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, heard: Heard) -> Part {
        Part { id: format!("shop/{name}"), heard, ..Part::default() }
    }

    #[test]
    fn a_part_that_is_not_there_is_named() {
        let weighted = |name, weight, heard| Part { weight: Some((weight, 4)), ..part(name, heard) };
        let misspelt = Part { near: vec!["cart".into()], ..weighted("cort", 1, Heard::Nothing) };
        let lone = Part { near: vec!["cart".into()], ..part("cort", Heard::Nothing) };
        let remedy = "check the name in spec.sli.composite, or load the rules of shop/cort and wait for a minute; did you mean cart?";
        for (parts, headline, next, line) in [
            (
                vec![weighted("cart", 3, Heard::Data), misspelt.clone()],
                "counts too little as bad: no SLO shop/cort records anything, so 1 in 4 of its weight counts as good.",
                remedy,
                "✗ part cort: no SLO shop/cort records anything; until one does, its weight of 1 in 4 counts as good; did you mean cart?",
            ),
            (
                vec![part("cart", Heard::Data), lone.clone()],
                "counts too little as bad: no SLO shop/cort records anything, so it is left out.",
                remedy,
                "✗ part cort: no SLO shop/cort records anything; until one does, the worst is that of the others; did you mean cart?",
            ),
            (
                vec![lone],
                "has no data: no SLO shop/cort records anything.",
                remedy,
                "✗ part cort: no SLO shop/cort records anything; did you mean cart?",
            ),
            (
                vec![part("cart", Heard::Silence), part("pay", Heard::Silence)],
                "has no data: none of its parts has any now.",
                "see what plimsoll explain says of cart",
                "· part pay has no data now; plimsoll explain says why",
            ),
            (
                vec![part("cart", Heard::Waiting), part("pay", Heard::Waiting)],
                "has no data yet: Prometheus has not evaluated the rules of shop/cart, shop/pay so far.",
                "wait for a minute, then ask again; if it stays so, see what plimsoll explain says of cart",
                "· part pay: its rules are loaded and not evaluated yet",
            ),
            (
                vec![weighted("cart", 3, Heard::Data), weighted("pay", 1, Heard::Waiting)],
                "counts too little as bad yet: until Prometheus evaluates the rules of shop/pay, 1 in 4 of its weight counts as good.",
                "wait for a minute, then ask again; if it stays so, see what plimsoll explain says of pay",
                "· part pay: its rules are loaded and not evaluated yet; until they are, its weight of 1 in 4 counts as good",
            ),
            (
                vec![part("cart", Heard::Data), part("pay", Heard::Unloaded)],
                "counts too little as bad: Prometheus has not loaded the rules of shop/pay, so it is left out.",
                "see what plimsoll explain says of pay",
                "✗ part pay: Prometheus has not loaded its rules; until it has, the worst is that of the others; plimsoll explain says why",
            ),
            (
                vec![part("cart", Heard::Waiting), part("pay", Heard::Unloaded)],
                "has no data: Prometheus has not loaded the rules of shop/pay.",
                "see what plimsoll explain says of pay",
                "✗ part pay: Prometheus has not loaded its rules; plimsoll explain says why",
            ),
        ] {
            assert_eq!(missing(&parts, true), Some((headline.to_owned(), next.to_owned())));
            assert_eq!(lines(&parts).last().map(String::as_str), Some(line));
        }
        // One that is known and has no data has an explanation of its own.
        let quiet = [part("cart", Heard::Data), part("pay", Heard::Silence)];
        assert_eq!(missing(&quiet, true), None);
        assert_eq!(
            lines(&quiet),
            ["✓ part cart has data", "· part pay has no data now, which counts as good; plimsoll explain says why"]
        );
    }

    #[test]
    fn before_the_rules_are_loaded_nobody_misses_parts_that_are_loaded_with_them() {
        let new = [part("cart", Heard::Nothing), part("pay", Heard::Nothing)];
        assert_eq!(missing(&new, false), None);
        assert!(missing(&new, true).is_some_and(|(headline, _)| headline.contains("shop/cart, shop/pay")));
        assert!(missing(&[part("cart", Heard::Data), part("pay", Heard::Nothing)], false).is_some());
        let near = Part { near: vec!["cart".into()], ..part("cort", Heard::Nothing) };
        assert!(missing(&[near], false).is_some());
        for heard in [Heard::Waiting, Heard::Unloaded] {
            assert_eq!(missing(&[part("cart", Heard::Data), part("pay", heard)], false), None);
        }
    }

    #[test]
    fn what_others_know_is_not_missing() {
        let known = ["shop/cart", "shop/whole", "shop/pays"].map(str::to_owned);
        let mut parts = [part("cart", Heard::Nothing), part("pay", Heard::Nothing), part("whole", Heard::Data)];
        settle(&mut parts, "shop/whole", &known);
        let [cart, pay, whole] = parts;
        assert_eq!((cart.heard, cart.near.as_slice()), (Heard::Unloaded, &[][..]));
        assert_eq!((pay.heard, pay.near.as_slice()), (Heard::Nothing, &["pays".to_owned()][..]));
        assert_eq!(whole.heard, Heard::Data);
    }

    #[test]
    fn only_what_could_be_a_part_is_suggested() {
        let ids = ["shop/cart", "shop/cart-all", "other/cort", "shop/unlike"].map(str::to_owned);
        assert_eq!(near("shop/cort", "shop/cart-all", &ids), ["cart"]);
        assert_eq!(near("other/cart", "other/all", &ids), ["cort"]);
    }
}
