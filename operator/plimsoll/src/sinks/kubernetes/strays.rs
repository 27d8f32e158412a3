//! Fields that others have put into our groups: an apply leaves them, since they are not its own, and Prometheus obeys them.
//! An evaluation that is an hour late, or a limit of one series, would be a Ready object whose alerts never fire.

use kube::{
    Api,
    api::{DynamicObject, Patch},
};
use plimsoll_slo::RuleSet;
use serde_json::{Value, json};

use super::{Objects, SinkError, Target, Written, key, merges};

impl Objects {
    /// Looks, where nobody has yet, at what others have in an object that says what is wanted, and takes away what is in
    /// our groups; groups of their own stay.
    pub(super) async fn clear(&self, target: &Target, rules: &RuleSet) -> Result<Written, SinkError> {
        let name = target.object_name();
        let key = key(&target.namespace, &name);
        let (seen, uid) = {
            let state = self.state();
            let unlooked = state.settled.get(&key).filter(|settled| !settled.looked).copied();
            (unlooked, state.objects.get(&key).map(|known| known.uid.clone()))
        };
        let (Some(seen), Some(uid)) = (seen, uid) else { return Ok(Written::Unchanged) };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &target.namespace, &self.resource);
        let found = api.get_opt(&name).await.map_err(|error| self.failed(target, error))?;
        // Of one that is gone, or another one by now, the watch tells.
        let Some(object) = found.filter(|object| object.metadata.uid.as_deref() == Some(uid.as_ref())) else {
            return Ok(Written::Unchanged);
        };
        let wanted = serde_json::to_value(&rules.groups)
            .map_err(|error| SinkError::Refused { what: self.what(target), cause: error.to_string() })?;
        let stored = object.data.pointer("/spec/groups").unwrap_or(&Value::Null);
        if let Some(groups) = without_strays(stored, &wanted) {
            // An edit in between is not written over: it is a conflict, and looked at again.
            let metadata = json!({"uid": uid, "resourceVersion": object.metadata.resource_version});
            let body = json!({"metadata": metadata, "spec": {"groups": groups}});
            let answer = self.api(target).patch_metadata(&name, &merges(), &Patch::Merge(&body)).await;
            let answer = answer.map_err(|error| self.failed(target, error))?;
            // Else the API server makes of it what it was.
            if answer.metadata.resource_version != object.metadata.resource_version {
                tracing::info!(object = %self.what(target), "fields of others in its groups were removed");
                self.state().settled.remove(&key);
                return Ok(Written::Changed);
            }
        }
        if let Some(settled) = self.state().settled.get_mut(&key).filter(|settled| **settled == seen) {
            settled.looked = true;
        }
        Ok(Written::Unchanged)
    }
}

/// The stored groups with ours as they are wanted, where one of them says something else.
fn without_strays(stored: &Value, wanted: &Value) -> Option<Vec<Value>> {
    let (stored, wanted) = (stored.as_array()?, wanted.as_array()?);
    let ours = |group: &Value| wanted.iter().find(|wanted| wanted.get("name") == group.get("name"));
    let has_strays = stored.iter().any(|group| ours(group).is_some_and(|wanted| wanted != group));
    has_strays.then(|| stored.iter().map(|group| ours(group).unwrap_or(group).clone()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn groups_of_others_stay_and_ours_say_what_is_wanted() {
        let wanted = json!([{"name": "a", "interval": "1m", "rules": []}, {"name": "b", "rules": []}]);
        let theirs = json!({"name": "theirs", "query_offset": "1h", "rules": []});
        let stored = json!([theirs, {"name": "a", "interval": "1m", "rules": []}, {"name": "b", "rules": []}]);
        assert_eq!(without_strays(&stored, &wanted), None);
        let stored = json!([theirs, {"name": "a", "interval": "1m", "rules": [], "query_offset": "1h"}, {"name": "b",
            "rules": [], "labels": {"severity": "none"}}]);
        let cleared = json!([theirs, wanted[0], wanted[1]]);
        assert_eq!(without_strays(&stored, &wanted).map(Value::from), Some(cleared));
        assert_eq!(without_strays(&Value::Null, &wanted), None);
    }
}
