//! What runs take of one workload together: each keeps its bounds alone, and all of them must.

use plimsoll_api::{execution::ObjectRef, runbook::ObjectKind};

use super::{Check, Guard, Hits, Past, after, share_of, takes_a_pod, workload};
use crate::hits;

/// What other runs take of a workload.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) hits: Hits,
    by: Vec<String>,
}

impl Taken {
    fn add(&mut self, name: &str, hits: Hits) {
        if hits != Hits::default() {
            self.hits.at_once = self.hits.at_once.saturating_add(hits.at_once);
            self.hits.in_all = self.hits.in_all.saturating_add(hits.in_all);
            self.by.push(name.to_owned());
        }
    }

    /// Who they are.
    pub(super) fn runs(&self) -> String {
        format!("execution {}", self.by.join(", "))
    }
}

impl Check<'_> {
    /// What other runs take of the same workload: each of them was let go by bounds that it kept alone.
    pub(super) fn taken(&mut self, object: &ObjectRef, own: Hits) -> Taken {
        let mut taken = Taken::default();
        if workload(object).is_none() || own == Hits::default() && !self.acts().any(takes_a_pod) {
            return taken;
        }
        let circumstances = self.circumstances;
        let Some(others) = &circumstances.same_workload else {
            self.refuse(Guard::NotKnown, "other runs that take Pods of the same workload cannot be read");
            return taken;
        };
        for other in others {
            match other.takes {
                Some(hits) => taken.add(&other.name, hits),
                None => {
                    let message =
                        format!("it cannot be known how many Pods of the same workload execution {} takes", other.name);
                    self.refuse(Guard::NotKnown, message);
                }
            }
        }
        taken
    }

    /// Of one workload, at most a share of the Pods within the cooldown, and always one.
    pub(super) fn share(&mut self, ran: &[&Past]) {
        let Some(object) = self.target_object().filter(|object| object.kind == ObjectKind::Pod) else { return };
        let Some(workload) = object.facts.workload_uid.clone() else { return };
        let percent = self.safety.max_targets_percent;
        let recent: Vec<&str> = ran
            .iter()
            .filter(|past| past.workload_uid.as_ref() == Some(&workload))
            .filter(|past| past.finished_at.is_none_or(|finished| after(finished, self.safety.cooldown) > self.now))
            .map(|past| past.name.as_str())
            .collect();
        let mut others = Taken::default();
        // Who only looks is not kept from it by what others take; what those take that are not known is told elsewhere.
        if hits::of(self.acts(), object, &object.facts).is_some_and(|own| own.in_all > 0) {
            let all = self.circumstances.same_workload.iter().flatten();
            for other in all.filter(|other| !recent.contains(&other.name.as_str())) {
                others.add(&other.name, other.takes.unwrap_or_default());
            }
        }
        let own = i64::try_from(recent.len()).unwrap_or(i64::MAX);
        match object.facts.replicas {
            Some(replicas) => {
                let most = share_of(replicas, percent);
                if own.saturating_add(others.hits.in_all) >= most {
                    let also = match others.hits.in_all {
                        0 => String::new(),
                        many => format!(" and {many} are taken by {}", others.runs()),
                    };
                    let message = format!(
                        "{own} Pods of the same workload were acted upon within the cooldown{also}, {percent} % of {replicas} is {most}"
                    );
                    self.refuse(Guard::MaxTargets, message);
                }
            }
            None => self.refuse(Guard::NotKnown, "it cannot be known how many Pods the workload has"),
        }
    }
}
