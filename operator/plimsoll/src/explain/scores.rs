//! Whether the scores that an alert of anomalies asks for, of an SLO or an AlertRule, are where its rule is evaluated.

use plimsoll_slo::{names, promql};

use super::{
    facts::{Refusal, Scored},
    gather::{count, note},
};
use crate::prometheus::{Prometheus, PrometheusError};

/// What every scorer shows, whatever it scores.
const SCORER: &str = "count(plimsoll_anomaly_failures_total)";

/// What Prometheus has of the scores of an SLO, by its id, over what the scorer itself has told, which may know no more of it
/// than that it scores.
///
/// # Errors
/// When Prometheus does not answer.
pub(super) async fn ask(
    prometheus: &Prometheus,
    id: &str,
    told: Option<Scored>,
    refusals: &mut Vec<Refusal>,
) -> Result<Option<Scored>, PrometheusError> {
    let scores = format!("count({}{{{}={}}})", names::ANOMALY_STATE, names::SLO_ID, promql::quote(id));
    let Some(scores) = note(count(prometheus, &scores).await, "its anomaly scores", refusals)? else { return Ok(told) };
    let Some(of_scorer) = scorer(prometheus, refusals).await? else { return Ok(told) };
    Ok(verdict([scores, of_scorer], told))
}

/// How many of the scorer's own series Prometheus has; nothing where it refuses to tell.
///
/// # Errors
/// When it does not answer.
pub(super) async fn scorer(
    prometheus: &Prometheus,
    refusals: &mut Vec<Refusal>,
) -> Result<Option<u64>, PrometheusError> {
    note(count(prometheus, SCORER).await, "whether it scrapes Plimsoll", refusals)
}

/// From the number of scores of it and of the scorer's own series.
pub(super) fn verdict([scores, of_scorer]: [u64; 2], told: Option<Scored>) -> Option<Scored> {
    if scores > 0 || told.as_ref().is_some_and(|told| told.works == Some(false)) {
        return told;
    }
    if of_scorer == 0 {
        let message = "this Prometheus has no scores, so nothing unusual can alert; let it scrape /metrics of Plimsoll, \
                       with honor_labels (docs/anomaly.md shows the job)";
        return Some(Scored { works: Some(false), message: message.to_owned() });
    }
    told.filter(|told| told.works.is_none()).or_else(|| {
        let message = "this Prometheus has no score of it yet: a series is scored from its 100th sample on, and what \
                       Plimsoll scores is what its own directory or cluster holds";
        Some(Scored { works: None, message: message.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(works: Option<bool>, message: &str) -> Option<Scored> {
        Some(Scored { works, message: message.to_owned() })
    }

    #[test]
    fn a_score_that_nobody_scrapes_alerts_nobody() {
        let works = |found, told| verdict(found, told).map(|scored| (scored.works, scored.message));
        // The scorer may well score it.
        for said in [None, told(Some(true), "3 series"), told(None, "learns")] {
            let (works, message) = works([0, 0], said).unwrap_or_default();
            assert_eq!(works, Some(false));
            assert!(message.contains("let it scrape /metrics of Plimsoll"), "{message}");
        }
        assert_eq!(works([0, 7], told(None, "learns")), Some((None, "learns".to_owned())));
        assert!(
            works([0, 7], None).is_some_and(|(works, text)| works.is_none() && text.contains("no score of it yet"))
        );
        // What is known to be wrong is nearer than what follows of it.
        assert_eq!(works([0, 0], told(Some(false), "no series")), Some((Some(false), "no series".to_owned())));
        assert_eq!(works([2, 7], told(Some(true), "2 series")), Some((Some(true), "2 series".to_owned())));
        assert_eq!(works([2, 7], None), None);
    }
}
