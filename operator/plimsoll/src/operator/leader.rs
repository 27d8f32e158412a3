//! Leader election over a `Lease`: a pure decision, and writes that the API server guards by the
//! object's version.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease as LeaseObject, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{gate::Lease, metrics::Metrics};

/// How the election goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Who this is; different for each process that may run at the same time.
    pub identity: String,
    /// Namespace of the lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// After this long without renewal others may take it.
    pub duration: Duration,
}

impl Terms {
    /// A leader stops writing this long after its last renewal: well before others may begin.
    fn deadline(&self) -> Duration {
        self.duration * 2 / 3
    }

    fn retry(&self) -> Duration {
        self.duration / 6
    }
}

/// The lease as last seen, with our own clock's time of when it last changed: other clocks are not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who holds it; `None` when it was given back.
    pub holder: Option<String>,
    /// How long its holder wants it to last.
    pub duration: Duration,
    /// When it last changed.
    pub changed: Instant,
}

/// What to do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Write our name into it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Somebody else holds it; look again after this long.
    Wait(Duration),
}

/// Decides. Pure.
pub fn decide(seen: Option<&Seen>, me: &str, now: Instant, retry: Duration) -> Decision {
    let Some(seen) = seen else { return Decision::Take };
    match &seen.holder {
        None => Decision::Take,
        Some(holder) if holder == me => Decision::Renew,
        Some(_) => {
            let expires = seen.changed + seen.duration;
            if now >= expires { Decision::Take } else { Decision::Wait(retry.min(expires - now)) }
        }
    }
}

/// Holds on to the lease until `stop`, then gives it back. `lease` says at any time whether it is held.
pub async fn run(client: Client, terms: Terms, lease: Lease, metrics: &Metrics, stop: CancellationToken) {
    let api: Api<LeaseObject> = Api::namespaced(client, &terms.namespace);
    let mut last: Option<(Option<String>, Seen)> = None;
    let mut told = None;
    loop {
        let attempted = attempt(&api, &terms, &lease, &mut last).await;
        if let Some(leader) = news(&mut told, last.as_ref().map(|(_, seen)| seen), &terms.identity) {
            tracing::info!(leader, "another replica leads; this one stands by");
        }
        let wait = match attempted {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(error = %crate::sinks::kubernetes::chain(&error), "lease could not be renewed");
                terms.retry()
            }
        };
        metrics.leads(lease.is_held(Instant::now()));
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            break;
        }
    }
    if lease.is_held(Instant::now()) {
        lease.release();
        metrics.leads(false);
        if let Err(error) = give_back(&api, &terms).await {
            tracing::warn!(error = %crate::sinks::kubernetes::chain(&error), "lease could not be given back");
        }
    }
}

/// Another leader than the one that was told last. That this process leads is told by who begins to.
fn news(told: &mut Option<String>, seen: Option<&Seen>, me: &str) -> Option<String> {
    // Without a holder the lease was given back, and somebody takes it in a moment.
    let holder = seen?.holder.as_ref()?;
    if told.as_ref() == Some(holder) {
        return None;
    }
    *told = Some(holder.clone());
    (holder != me).then(|| holder.clone())
}

async fn attempt(
    api: &Api<LeaseObject>,
    terms: &Terms,
    lease: &Lease,
    last: &mut Option<(Option<String>, Seen)>,
) -> Result<Duration, kube::Error> {
    let started = Instant::now();
    let request = tokio::time::timeout(terms.deadline() / 2, api.get_opt(&terms.name));
    let Ok(stored) = request.await else { return Ok(Duration::ZERO) };
    let stored = stored?;
    match &stored {
        None => *last = None,
        Some(object) => {
            let version = object.metadata.resource_version.clone();
            if last.as_ref().is_none_or(|(known, _)| *known != version) {
                *last = Some((version, seen(object, terms, started)));
            }
        }
    }
    let decision = decide(last.as_ref().map(|(_, seen)| seen), &terms.identity, started, terms.retry());
    let taking = match decision {
        Decision::Wait(time) => {
            lease.release();
            return Ok(time.max(Duration::from_millis(50)));
        }
        Decision::Take => true,
        Decision::Renew => false,
    };
    let object = held(stored, terms, taking, Timestamp::now());
    let written = tokio::time::timeout(terms.deadline() / 2, async {
        if object.metadata.resource_version.is_some() {
            api.replace(&terms.name, &PostParams::default(), &object).await
        } else {
            api.create(&PostParams::default(), &object).await
        }
    });
    match written.await {
        Ok(Ok(object)) => {
            // Counted from before the request: others count from when they see its effect, which is later.
            lease.hold(terms.deadline(), started);
            *last = Some((object.metadata.resource_version.clone(), seen(&object, terms, started)));
            Ok(terms.retry())
        }
        // Somebody was faster.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(Duration::from_millis(50)),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(Duration::ZERO),
    }
}

fn seen(object: &LeaseObject, terms: &Terms, now: Instant) -> Seen {
    let spec = object.spec.as_ref();
    let seconds = spec.and_then(|s| s.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
    Seen {
        holder: spec.and_then(|s| s.holder_identity.clone()).filter(|holder| !holder.is_empty()),
        duration: seconds.map_or(terms.duration, Duration::from_secs),
        changed: now,
    }
}

fn held(stored: Option<LeaseObject>, terms: &Terms, taking: bool, now: Timestamp) -> LeaseObject {
    let mut object = stored.unwrap_or_else(|| LeaseObject {
        metadata: ObjectMeta {
            name: Some(terms.name.clone()),
            namespace: Some(terms.namespace.clone()),
            ..ObjectMeta::default()
        },
        ..LeaseObject::default()
    });
    object.metadata.managed_fields = None;
    let spec = object.spec.get_or_insert_with(LeaseSpec::default);
    if taking {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(-1).saturating_add(1));
    }
    spec.holder_identity = Some(terms.identity.clone());
    spec.lease_duration_seconds = Some(i32::try_from(terms.duration.as_secs().max(1)).unwrap_or(i32::MAX));
    spec.renew_time = Some(MicroTime(now));
    object
}

async fn give_back(api: &Api<LeaseObject>, terms: &Terms) -> Result<(), kube::Error> {
    let Some(mut object) = api.get_opt(&terms.name).await? else { return Ok(()) };
    let Some(spec) = object.spec.as_mut().filter(|s| s.holder_identity.as_ref() == Some(&terms.identity)) else {
        return Ok(());
    };
    spec.holder_identity = None;
    spec.renew_time = None;
    // The version in it makes sure that nobody took it meanwhile.
    api.replace(&terms.name, &PostParams::default(), &object).await.map(|_| ())
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;
