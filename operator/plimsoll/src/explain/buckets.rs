//! A threshold that is no bucket of its histogram: which one was meant, or can be written instead.

use plimsoll_slo::model::Span;

use super::histogram::Buckets;

/// What to do where the histogram has no bucket at the threshold.
pub(super) fn no_bucket(buckets: &Buckets) -> Option<String> {
    let Buckets { threshold, unit, bounds, native, .. } = buckets;
    let at = |value: f64| bounds.iter().copied().find(|bound| near(*bound, value));
    if *native || bounds.is_empty() || at(*threshold).is_some() {
        return None;
    }
    let seconds = *unit == "s";
    let written = |bound: f64| written(bound, seconds);
    // The same time in the other unit, and the same number in it, which is a slip of the pen.
    let (other, switched, slip) = if seconds {
        ("Milliseconds", at(threshold * 1000.0), at(threshold / 1000.0).and_then(written))
    } else {
        ("Seconds", at(threshold / 1000.0), at(threshold * 1000.0).and_then(written))
    };
    Some(match (switched, slip) {
        (Some(bound), _) => {
            // Who writes this unit knows why, and may have the threshold wrong.
            let or = written(bound).filter(|_| !seconds).map(|or| format!(", and else threshold: {or}"));
            let histogram = format!("the histogram is in {}, where {bound} is a bucket", other.to_lowercase());
            format!("write unit: {other} if {histogram}{}", or.unwrap_or_default())
        }
        (None, Some(slip)) => format!("write threshold: {slip} if that is meant: it is a bucket"),
        (None, None) => nearest(buckets, written),
    })
}

/// The buckets below and above that a threshold can name.
fn nearest(buckets: &Buckets, written: impl Fn(f64) -> Option<String>) -> String {
    let Buckets { threshold, unit, bounds, .. } = buckets;
    let below = bounds.iter().rev().filter(|bound| *bound < threshold).find_map(|bound| written(*bound));
    let above = bounds.iter().filter(|bound| *bound > threshold).find_map(|bound| written(*bound));
    let neighbours: Vec<String> = below.into_iter().chain(above).collect();
    let verb = match neighbours.len() {
        0 => return NONE.to_owned(),
        1 => "is",
        _ => "are",
    };
    let neighbours = neighbours.join(" and ");
    format!("set the threshold to a bucket's bound: the nearest to {threshold} {unit} {verb} {neighbours}")
}

/// Where no threshold can be written.
const NONE: &str = "count them with sli.events, good: NAME_bucket{le=\"…\"} and total: NAME_count: no bucket is a whole number of milliseconds, as a threshold is";

/// A bound as a threshold is written; nothing of one that is no whole number of milliseconds.
fn written(bound: f64, seconds: bool) -> Option<String> {
    /// What a float holds exactly.
    const MOST: f64 = 9e15;
    let millis = if seconds { bound * 1000.0 } else { bound };
    let whole = millis.round();
    // Whole, above zero and far below the greatest number.
    let fits = near(millis, whole) && (1.0..MOST).contains(&whole);
    fits.then(|| Span { millis: whole as u64 }.to_string())
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proposed_can_be_written() {
        let small = [0.0025, 0.005, 0.5, 2.5];
        let large = [1.0, 5.0, 100.0, 500.0];
        let set = "set the threshold to a bucket's bound: the nearest to ";
        for (threshold, unit, bounds, want) in [
            (0.3, "s", &small[..], format!("{set}0.3 s are 5ms and 500ms")),
            (0.003, "s", &small, format!("{set}0.003 s is 5ms")),
            (9.0, "s", &small, format!("{set}9 s is 2s500ms")),
            (500.0, "s", &small, "write threshold: 500ms if that is meant: it is a bucket".to_owned()),
            (
                500.0,
                "ms",
                &small,
                "write unit: Seconds if the histogram is in seconds, where 0.5 is a bucket".to_owned(),
            ),
            (
                0.5,
                "s",
                &large,
                "write unit: Milliseconds if the histogram is in milliseconds, where 500 is a bucket".to_owned(),
            ),
            (
                5000.0,
                "ms",
                &large,
                "write unit: Seconds if the histogram is in seconds, where 5 is a bucket, and else threshold: 5ms"
                    .to_owned(),
            ),
            (250.0, "ms", &large, format!("{set}250 ms are 100ms and 500ms")),
            (0.3, "s", &[0.0001, 0.0025], NONE.to_owned()),
        ] {
            let buckets = Buckets { threshold, unit, bounds: bounds.to_vec(), classic: true, native: false };
            let said = no_bucket(&buckets).unwrap_or_default();
            assert_eq!(said, want, "{threshold} {unit}");
            // Whatever is a duration in it is one that validate takes and a bucket.
            for word in said.rsplit(' ').filter(|word| word.ends_with("ms") && word.len() > 2) {
                let span = plimsoll_slo::duration::parse(word, "threshold").expect(word);
                let of = if unit == "s" { 1000.0 } else { 1.0 };
                assert!(bounds.iter().any(|bound| near(bound * of, span.millis as f64)), "{word}");
            }
        }
    }
}
