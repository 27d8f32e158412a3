//! What there is instead of what a selector names: the nearest metrics, or the values that its label has.

use jiff::{SignedDuration, Timestamp};
use plimsoll_api::shape;
use plimsoll_slo::{
    model,
    promql::{self, Matcher},
};

use super::{
    facts::{Selector, Slip},
    gather::{count, having},
};
use crate::prometheus::{Prometheus, PrometheusError};

/// Names are looked for among so many metrics.
pub(super) const METRICS: usize = 20_000;
/// So many names are told, and so many values.
pub(super) const TOLD: (usize, usize) = (3, 8);
/// The one that is meant is looked for among so many values.
const VALUES: usize = 200;
/// What is gone for longer is no help.
const LATELY: SignedDuration = SignedDuration::from_hours(1);
/// Endings that people leave out, and that a histogram has.
const ENDINGS: [&str; 4] = ["_total", "_bucket", "_count", "_sum"];

/// Since when there is something that is told instead.
pub(super) fn lately() -> Timestamp {
    Timestamp::now().saturating_sub(LATELY).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Asks about a selector that matches nothing.
pub(super) async fn examine(prometheus: &Prometheus, selector: &mut Selector) -> Result<(), PrometheusError> {
    let metric = selector.text.split(['{', ' ']).next().unwrap_or_default().to_owned();
    if !promql::is_metric(&metric) {
        return Ok(());
    }
    let of_metric = count(prometheus, &format!("count({metric})")).await?;
    selector.of_metric = Some(of_metric);
    let since = lately();
    if of_metric == 0 {
        // What can only be a hint must not take the rest of the explanation with it.
        let names = prometheus.label_values("__name__", None, since, METRICS).await.unwrap_or_default();
        selector.near =
            if selector.role == "histogram" { histograms(&metric, &names) } else { metrics(&metric, &names) };
        return Ok(());
    }
    for matcher in promql::wanted(&selector.text) {
        let label = &matcher.name;
        // That none has this value may be as it should be; that none has the label is a slip.
        if count(prometheus, &format!("count({})", having(&metric, label))).await? == 0 {
            selector.no_such_label = Some(label.clone());
            break;
        }
        if selector.values.is_some() || !promql::is_label(label) {
            continue;
        }
        if count(prometheus, &format!("count({metric}{{{}}})", promql::matcher(&matcher))).await? == 0 {
            let values = prometheus.label_values(label, Some(&metric), since, VALUES).await.unwrap_or_default();
            selector.slip = slip(&matcher, &values);
            selector.values = (!values.is_empty()).then(|| (label.clone(), values));
        }
    }
    Ok(())
}

/// A matcher that no HTTP status can fit, though its label has nothing else: that there is none yet is then no excuse.
fn slip(matcher: &Matcher, values: &[String]) -> Option<Slip> {
    let label = matcher.name.to_lowercase();
    if !(label.contains("status") || label.contains("code")) {
        return None;
    }
    let first = values.first()?;
    let (of_codes, of_classes) = (
        |value: &String| value.len() == 3 && value.parse::<u16>().is_ok_and(|code| (100..600).contains(&code)),
        |value: &String| {
            value.starts_with(['1', '2', '3', '4', '5'])
                && value.get(1..).is_some_and(|rest| rest.eq_ignore_ascii_case("xx"))
        },
    );
    let (fits, instead) = if values.iter().all(of_codes) {
        (promql::fits(matcher, (100..600).map(|code| code.to_string())), "=~\"5..\"".to_owned())
    } else if values.iter().all(of_classes) {
        let ending = first.get(1..).unwrap_or_default();
        (promql::fits(matcher, (1..6).map(|class| format!("{class}{ending}"))), format!("=\"5{ending}\""))
    } else {
        return None;
    };
    let label = promql::label_name(&matcher.name);
    (!fits).then(|| Slip { matcher: promql::matcher(matcher), instead: format!("{label}{instead}") })
}

/// The histograms that one may have meant who named what is none: of those with its matchers the nearest, or all where
/// there are few.
pub(super) async fn of_histogram(prometheus: &Prometheus, wrong: &model::Selector) -> Option<String> {
    let since = lately();
    let fellows = (!wrong.matchers.is_empty()).then(|| format!("{{{}}}", wrong.matchers));
    let names = prometheus.label_values("__name__", fellows.as_deref(), since, METRICS).await.unwrap_or_default();
    let classic: Vec<String> = names.iter().filter_map(|name| Some(name.strip_suffix("_bucket")?.to_owned())).collect();
    let near = shape::nearest(&wrong.metric, classic.iter().map(String::as_str), TOLD.0);
    if !near.is_empty() {
        return meant(&near.into_iter().map(str::to_owned).collect::<Vec<_>>());
    }
    // Native ones are told by nothing in their names.
    let plain =
        names.iter().filter(|name| **name != wrong.metric && !ENDINGS.iter().any(|ending| name.ends_with(ending)));
    for name in shape::nearest(&wrong.metric, plain.map(String::as_str), TOLD.0) {
        let native = model::Selector { metric: name.to_owned(), ..wrong.clone() };
        if count(prometheus, &format!("count(histogram_count({native}))")).await.is_ok_and(|found| found > 0) {
            return meant(&[name.to_owned()]);
        }
    }
    let of = fellows.map(|fellows| format!(" of {fellows}")).unwrap_or_default();
    match classic.as_slice() {
        [one] => Some(format!("the one{of} is {one}")),
        [_, ..] if classic.len() <= TOLD.1 => Some(format!("those{of} are {}", classic.join(", "))),
        _ => None,
    }
}

/// The metrics of the nearest names.
fn metrics(wrong: &str, names: &[String]) -> Vec<String> {
    let longer = |name: &&String| name.strip_prefix(wrong).is_some_and(|ending| ENDINGS.contains(&ending));
    let mut near: Vec<String> = names.iter().filter(longer).cloned().collect();
    for name in shape::nearest(wrong, names.iter().map(String::as_str), TOLD.0) {
        if !near.iter().any(|known| known == name) {
            near.push(name.to_owned());
        }
    }
    near.truncate(TOLD.0);
    near
}

/// The same of histograms, by the names that they are written by.
fn histograms(count: &str, names: &[String]) -> Vec<String> {
    let wrong = count.strip_suffix("_count").unwrap_or(count);
    let plain = names.iter().filter(|name| !ENDINGS.iter().any(|ending| name.ends_with(ending)));
    let classic = names.iter().filter_map(|name| name.strip_suffix("_bucket"));
    let all: Vec<&str> = classic.chain(plain.map(String::as_str)).collect();
    shape::nearest(wrong, all, TOLD.0).into_iter().map(str::to_owned).collect()
}

/// `did you mean a, b or c?`
pub(super) fn meant(near: &[String]) -> Option<String> {
    let names = match near {
        [] => return None,
        [one] => one.clone(),
        [many @ .., last] => format!("{} or {last}", many.join(", ")),
    };
    Some(format!("did you mean {names}?"))
}

/// `job is one of parcels, parcels15`
pub(super) fn there_are((label, values): &(String, Vec<String>)) -> String {
    let (some, more) = values.split_at_checked(TOLD.1).unwrap_or((values, &[]));
    let more = if more.is_empty() { "" } else { " and others" };
    match some {
        [one] => format!("{label} is {one} in all of them"),
        some => format!("{label} is one of {}{more}", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_status_can_be_is_a_slip() {
        let (codes, classes, mixed) = (["200", "500"], ["2xx", "4xx"], ["200", "unknown"]);
        for (matcher, values, instead) in [
            ("status=\"5xx\"", codes, Some("status=~\"5..\"")),
            ("status=~\"5xx\"", codes, Some("status=~\"5..\"")),
            ("status=~\"500,502\"", codes, Some("status=~\"5..\"")),
            ("status=\"5*\"", codes, Some("status=~\"5..\"")),
            ("http_code=\"500 \"", codes, Some("http_code=~\"5..\"")),
            ("code=\"500\"", classes, Some("code=\"5xx\"")),
            // There may be some any time.
            ("status=\"503\"", codes, None),
            ("status=~\"5..\"", codes, None),
            ("status=~\"5..|failed\"", codes, None),
            ("code=\"5xx\"", classes, None),
            ("code=~\"5..\"", classes, None),
            // Nobody knows what it can be.
            ("status=\"failed\"", mixed, None),
            ("shard=\"a\"", codes, None),
        ] {
            let matchers = promql::wanted(&format!("a{{{matcher}}}"));
            let found: Vec<Option<Slip>> = matchers.iter().map(|one| slip(one, &values.map(str::to_owned))).collect();
            let slip = instead.map(|instead| Slip { matcher: matcher.to_owned(), instead: instead.to_owned() });
            assert_eq!(found, [slip], "{matcher}");
        }
    }

    #[test]
    fn the_nearest_names_are_found() {
        let names = [
            "go_gc_duration_seconds",
            "parcel_seconds_bucket",
            "parcel_seconds_count",
            "parcel_seconds_sum",
            "parcels_handled_total",
            "parcels_lost_total",
            "queue_length",
            "up",
        ]
        .map(str::to_owned);
        for (wrong, near) in [
            ("parcels_handled", "parcels_handled_total"),
            ("parcels_handeld_total", "parcels_handled_total"),
            ("parcel_handled_total", "parcels_handled_total"),
            ("parcels_handled_count", "parcels_handled_total"),
            ("queue", ""),
            ("u", "up"),
        ] {
            assert_eq!(metrics(wrong, &names).first().map_or("", String::as_str), near, "{wrong}");
        }
        assert_eq!(metrics("parcel_seconds", &names).first().map(String::as_str), Some("parcel_seconds_bucket"));
        assert_eq!(histograms("parcels_seconds_count", &names), ["parcel_seconds"]);
        assert_eq!(metrics("unlike_anything_total", &names), [""; 0]);
        let some = |values: &[&str]| there_are(&("job".into(), values.iter().map(|v| (*v).to_owned()).collect()));
        assert_eq!(some(&["parcels"]), "job is parcels in all of them");
        assert_eq!(some(&["parcels", "parcels15"]), "job is one of parcels, parcels15");
        assert_eq!(
            some(&["1", "2", "3", "4", "5", "6", "7", "8", "9"]),
            "job is one of 1, 2, 3, 4, 5, 6, 7, 8 and others"
        );
        assert_eq!(meant(&["a".into(), "b".into(), "c".into()]).as_deref(), Some("did you mean a, b or c?"));
    }
}
