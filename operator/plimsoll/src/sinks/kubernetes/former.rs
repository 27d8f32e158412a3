//! One object has one rule object, also where an earlier version gave it another name: Prometheus would evaluate both.

use std::collections::BTreeMap;

use plimsoll_slo::RuleSet;

use super::{Objects, SinkError, Target, Written};

impl Objects {
    /// Makes the target's object say this, and then removes the one of its former name: rules are at work at any time.
    pub(super) async fn apply(
        &self,
        target: &Target,
        labels: BTreeMap<String, String>,
        rules: &RuleSet,
    ) -> Result<Written, SinkError> {
        let written = self.put(target, labels, rules).await?;
        let removed = self.remove_former(target).await?;
        Ok(either(written, removed))
    }

    /// Removes the target's object, under each of its names.
    pub(super) async fn remove(&self, target: &Target) -> Result<Written, SinkError> {
        let removed = self.remove_named(target, &target.object_name()).await?;
        let former = self.remove_former(target).await?;
        Ok(either(removed, former))
    }

    async fn remove_former(&self, target: &Target) -> Result<Written, SinkError> {
        match target.former_object_name() {
            Some(name) => self.remove_named(target, &name).await,
            None => Ok(Written::Unchanged),
        }
    }
}

pub(super) fn either(one: Written, other: Written) -> Written {
    if one == Written::Changed { one } else { other }
}
