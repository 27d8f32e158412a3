//! Looks after a fault while it lasts: it is ended when it endangers an SLO, and when nobody could tell for a while whether
//! it does.

use std::time::Duration;

use kube::ResourceExt;
use plimsoll_api::{RunbookExecution, runbook::Step};
use plimsoll_runbook::{guards, machine::What};
use tokio::time::{Instant, sleep, timeout};

use super::{circumstances, execute::Executor};

/// It is looked after this often, and a look takes no longer.
const LOOK: Duration = Duration::from_secs(5);
/// A fault that nobody sees does not last longer than this: three looks without an answer.
const BLIND: Duration = Duration::from_secs(15);

impl Executor {
    /// Ends when a fault is to be ended, and says why; never for anything else.
    pub(super) async fn risk(&self, execution: &RunbookExecution, step: Option<&Step>, what: &What) -> String {
        let Some(chaos) = step.and_then(|step| step.action.chaos.as_ref()).filter(|_| matches!(what, What::Step(_)))
        else {
            return std::future::pending().await;
        };
        let namespace = execution.namespace().unwrap_or_default();
        let mut watch = Watch { known: Instant::now() };
        loop {
            sleep(LOOK).await;
            let look = circumstances::slos(&self.client, &self.outside, &execution.spec, &namespace);
            let slos = timeout(LOOK, look).await.ok().flatten();
            if let Some(why) = watch.saw(&guards::at_risk(chaos, slos.as_deref()), Instant::now()) {
                return format!("the fault was ended: {why}");
            }
        }
    }
}

/// What the looks at a fault have shown.
struct Watch {
    /// When it was last known that no SLO is in danger; at first, when the guards had asked.
    known: Instant,
}

impl Watch {
    /// Why the fault is to be ended, by what one look has shown. That for once nothing can be known is no reason.
    fn saw(&mut self, at_risk: &[(Option<String>, String)], now: Instant) -> Option<String> {
        if let Some((_, danger)) = at_risk.iter().find(|(slo, _)| slo.is_some()) {
            return Some(danger.clone());
        }
        let Some((_, unknown)) = at_risk.first() else {
            self.known = now;
            return None;
        };
        let blind = now.duration_since(self.known);
        (blind >= BLIND).then(|| format!("for {} s nobody knew whether it does harm: {unknown}", blind.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_nobody_sees_is_ended() {
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let unknown = [(None, "the SLOs of the namespace cannot be read".to_owned())];
        let mut watch = Watch { known: begun };
        // Three looks without an answer; one that knows begins the count anew.
        for second in [5, 10] {
            assert_eq!(watch.saw(&unknown, at(second)), None, "{second}");
        }
        assert_eq!(watch.saw(&[], at(15)), None);
        for second in [20, 25] {
            assert_eq!(watch.saw(&unknown, at(second)), None, "{second}");
        }
        let why = "for 15 s nobody knew whether it does harm: the SLOs of the namespace cannot be read";
        assert_eq!(watch.saw(&unknown, at(30)).as_deref(), Some(why));
        // What is known is no matter of time.
        let burns = [unknown[0].clone(), (Some("checkout".to_owned()), "SLO checkout burns".to_owned())];
        assert_eq!(Watch { known: begun }.saw(&burns, at(5)).as_deref(), Some("SLO checkout burns"));
    }
}
