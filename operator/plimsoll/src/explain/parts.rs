//! What a composite is made of: whether Prometheus knows each part. One that it does not know counts as good, or not at
//! all, so that a misspelt name makes an SLO look better than it is.

use plimsoll_api::shape;
use plimsoll_slo::{Model, model::Sli, names, promql};

use super::{
    gather::count,
    near::{METRICS, TOLD, lately, meant},
};
use crate::prometheus::{Prometheus, PrometheusError};

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
    /// Nothing at all.
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
    part.heard = Heard::Nothing;
    let since = lately();
    // What can only be a hint must not take the rest of the explanation with it.
    let ids = prometheus.label_values(names::SLO_ID, Some(names::TOTAL), since, METRICS).await.unwrap_or_default();
    part.near = near(&part.id, whole, &ids);
    Ok(())
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
    let counts = |part: &Part| match part.weight {
        _ if alone => String::new(),
        Some((weight, all)) => format!("; until one does, its weight of {weight} in {all} counts as good"),
        None => "; until one does, the worst is that of the others".to_owned(),
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
            Heard::Nothing => {
                let hint = meant(near).map(|hint| format!("; {hint}")).unwrap_or_default();
                format!("✗ part {name}: no SLO {id} records anything{}{hint}", counts(part))
            }
        }
    };
    parts.iter().map(line).collect()
}

/// What is wrong with the parts, as a headline and what to do. Before the rules are `loaded` those of the parts need
/// not be either.
pub(super) fn missing(parts: &[Part], loaded: bool) -> Option<(String, String)> {
    let of = |heard: Heard| parts.iter().filter(move |part| part.heard == heard);
    let (data, nothing): (Vec<&Part>, Vec<&Part>) = (of(Heard::Data).collect(), of(Heard::Nothing).collect());
    let Some(first) = nothing.first() else {
        let all_silent = data.is_empty() && of(Heard::Unknown).next().is_none();
        let silent = of(Heard::Silence).next().filter(|_| all_silent)?;
        let headline = "has no data: none of its parts has any now.".to_owned();
        return Some((headline, format!("see what plimsoll explain says of {}", silent.name())));
    };
    if !loaded && data.is_empty() && nothing.iter().all(|part| part.near.is_empty()) {
        return None;
    }
    let list = |what: fn(&Part) -> &str| nothing.iter().map(|part| what(part)).collect::<Vec<_>>().join(", ");
    let headline = if data.is_empty() {
        format!("has no data: no SLO {} records anything.", list(|part| &part.id))
    } else if let Some((_, all)) = first.weight {
        let weight: u64 = nothing.iter().filter_map(|part| part.weight).map(|(weight, _)| weight).sum();
        let good = format!("{weight} in {all} of its weight counts as good");
        format!("counts too little as bad: no SLO {} records anything, so {good}.", list(|part| &part.id))
    } else {
        format!("counts too little as bad: no SLO {} records anything, so it is left out.", list(|part| &part.id))
    };
    let hint = meant(&first.near).map(|hint| format!("; {hint}")).unwrap_or_default();
    let id = &first.id;
    let next = format!("check the name in spec.sli.composite, or load the rules of {id} and wait for a minute{hint}");
    Some((headline, next))
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
    }

    #[test]
    fn only_what_could_be_a_part_is_suggested() {
        let ids = ["shop/cart", "shop/cart-all", "other/cort", "shop/unlike"].map(str::to_owned);
        assert_eq!(near("shop/cort", "shop/cart-all", &ids), ["cart"]);
        assert_eq!(near("other/cart", "other/all", &ids), ["cort"]);
    }
}
