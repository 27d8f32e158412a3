//! How many Pods of its target a run takes away or hits, at most: what the guards of `minHealthy` and `maxTargetsPercent`
//! reckon with.

use plimsoll_api::{
    RunbookExecutionSpec,
    chaos::{Chaos, PodChaos, PodChaosAction},
    execution::{Facts, ObjectRef},
    runbook::ObjectKind,
};

use crate::Act;

/// Numbers of Pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// At the same time. One that is killed counts until the run ends: nobody knows when another one is ready.
    pub at_once: i64,
    /// From the first step to the last.
    pub in_all: i64,
}

/// The UID of the workload that an object is, or belongs to.
pub fn workload(object: &ObjectRef) -> Option<&str> {
    match object.kind {
        ObjectKind::Pod => object.facts.workload_uid.as_deref(),
        ObjectKind::Deployment | ObjectKind::StatefulSet | ObjectKind::DaemonSet => Some(&object.uid),
        _ => None,
    }
}

/// How many Pods of its target's [`workload`] a run takes, by what the target was when the run was planned; `None`: it was
/// not known how many there are.
pub fn takes(spec: &RunbookExecutionSpec) -> Option<Hits> {
    let target = spec.target.as_ref().and_then(|name| spec.objects.iter().find(|object| object.parameter == *name));
    let Some(target) = target else { return Some(Hits::default()) };
    of(spec.steps.iter().filter_map(|step| Act::of(&step.action)), target, &target.facts)
}

/// Of these actions; all faults of a run are on its target. `None` when it is not known how many Pods the target has.
pub(crate) fn of<'a>(acts: impl Iterator<Item = Act<'a>>, target: &ObjectRef, now: &Facts) -> Option<Hits> {
    let of_pod = target.kind == ObjectKind::Pod;
    let (mut gone, mut lasting, mut in_all) = (0_i64, 0_i64, 0_i64);
    for act in acts {
        match act {
            // It is one, however many were asked for.
            Act::Chaos(_) if of_pod => (gone, in_all) = (1, 1),
            Act::Chaos(chaos) => {
                let fault = fault(chaos, now.replicas?);
                gone = gone.saturating_add(fault.gone);
                lasting = lasting.max(fault.lasting);
                in_all = in_all.saturating_add(fault.in_all);
            }
            Act::EvictPod(_) => (gone, in_all) = (gone.max(1), in_all.max(1)),
            Act::Scale(scale) if scale.workload == target.parameter => {
                let fewer = now.replicas?.saturating_sub(scale.replicas?).max(0);
                gone = gone.saturating_add(fewer);
            }
            _ => {}
        }
    }
    Some(Hits { at_once: gone.saturating_add(lasting), in_all })
}

/// What one fault does.
#[derive(Clone, Copy, Default)]
struct Fault {
    gone: i64,
    lasting: i64,
    in_all: i64,
}

fn fault(chaos: &Chaos, replicas: i64) -> Fault {
    let pods = chaos.pods.unwrap_or_default();
    let each = match (pods.count, pods.percent) {
        (Some(count), _) => count,
        // Of a part of a Pod, the whole one.
        (_, Some(percent)) => (replicas.saturating_mul(percent).saturating_add(99) / 100).max(1),
        _ => 1,
    };
    let one = |pod: Option<&PodChaos>| match pod.map(|pod| pod.action) {
        Some(PodChaosAction::PodKill | PodChaosAction::ContainerKill) => Fault { gone: each, lasting: 0, in_all: each },
        _ => Fault { gone: 0, lasting: each, in_all: each },
    };
    let Some(workflow) = &chaos.workflow else { return one(chaos.pod_chaos.as_ref()) };
    // Each experiment picks its Pods anew.
    workflow.experiments.iter().map(|experiment| one(experiment.pod_chaos.as_ref())).fold(
        Fault::default(),
        |sum, fault| Fault {
            gone: sum.gone.saturating_add(fault.gone),
            lasting: match workflow.parallel {
                Some(true) => sum.lasting.saturating_add(fault.lasting),
                _ => sum.lasting.max(fault.lasting),
            },
            in_all: sum.in_all.saturating_add(fault.in_all),
        },
    )
}
