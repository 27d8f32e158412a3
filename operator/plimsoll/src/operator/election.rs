//! Elections over `Lease`s: a pure plan over all leases of one office, and writes that the API server guards by the
//! object's version. The office of the leader has one lease, that of the scorer one for each of its shards.
//!
//! Where there are several, nobody counts the candidates. Who holds less takes what is free sooner, and who holds two less
//! than another asks it for one, by an annotation of that lease; so a replica that comes late gets its share.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use k8s_openapi::{
    api::coordination::v1::{Lease as LeaseObject, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gate::Lease;

/// On a lease: who asks its holder for it.
const WANTED: &str = "plimsoll.dev/wanted-by";
/// The next turn after something did not go as planned.
const SOON: Duration = Duration::from_millis(50);

/// How the election goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Who this is; different for each process that may run at the same time.
    pub identity: String,
    /// Namespace of the leases.
    pub namespace: String,
    /// Their names.
    pub names: Vec<String>,
    /// After this long without renewal others may take one.
    pub duration: Duration,
}

impl Terms {
    /// A holder stops this long after its last renewal: well before others may begin.
    fn deadline(&self) -> Duration {
        self.duration * 2 / 3
    }

    fn retry(&self) -> Duration {
        self.duration / 6
    }
}

/// A lease as last seen, with our own clock's time of when it last changed: other clocks are not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who holds it; `None` when it was given back, or is not there.
    pub holder: Option<String>,
    /// Who asks for it.
    pub wanted: Option<String>,
    /// How long its holder wants it to last.
    pub duration: Duration,
    /// When it was last renewed, taken or given back.
    pub changed: Instant,
}

impl Seen {
    /// Since when it may be taken; `None` where a process may hold it.
    fn free(&self, me: &str, now: Instant) -> Option<Instant> {
        let since = match &self.holder {
            None => self.changed,
            Some(holder) if holder == me => return None,
            Some(_) => self.changed + self.duration,
        };
        (now >= since).then_some(since)
    }
}

/// What to do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write our name into it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// It is ours, and another one is to have it.
    Give,
    /// Ask its holder for it.
    Ask,
    /// Look again after this long.
    Wait(Duration),
}

/// How long a lease is left to others who hold less: twice the time in which they look.
fn reluctance(mine: usize, retry: Duration) -> Duration {
    2 * retry * mine.min(2) as u32
}

/// What to do about each lease; one of which nothing could be seen is waited for. Pure.
pub fn plan(leases: &[Option<Seen>], me: &str, now: Instant, retry: Duration) -> Vec<Step> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seen in leases.iter().flatten() {
        if let Some(holder) = seen.holder.as_deref().filter(|_| seen.free(me, now).is_none()) {
            *counts.entry(holder).or_default() += 1;
        }
    }
    let of = |who: &str| counts.get(who).copied().unwrap_or_default();
    let mine = of(me);
    // One at a time, so that others get theirs.
    let (mut takes, mut gives) = (false, false);
    let step = |seen: &Option<Seen>| {
        let Some(seen) = seen else { return Step::Wait(retry) };
        if let Some(since) = seen.free(me, now) {
            let ready = since + reluctance(mine, retry);
            if now < ready || std::mem::replace(&mut takes, true) {
                return Step::Wait(retry.min(ready.saturating_duration_since(now).max(SOON)));
            }
            return Step::Take;
        }
        if seen.holder.as_deref() != Some(me) {
            return Step::Wait(retry.min(seen.changed + seen.duration - now));
        }
        let poorer = seen.wanted.as_deref().is_some_and(|who| who != me && of(who) + 2 <= mine);
        if poorer && !std::mem::replace(&mut gives, true) { Step::Give } else { Step::Renew }
    };
    let mut steps: Vec<Step> = leases.iter().map(step).collect();
    let all_held = leases.iter().all(|seen| seen.as_ref().is_some_and(|seen| seen.free(me, now).is_none()));
    let richest = counts.iter().max_by_key(|(_, count)| **count).filter(|(_, count)| **count >= mine + 2);
    if let Some((holder, count)) = richest.filter(|_| all_held) {
        let theirs = |seen: &Seen| seen.holder.as_deref() == Some(*holder);
        // Somebody who has enough by now does not keep others from asking.
        let asked = |seen: &Seen| seen.wanted.as_deref().is_some_and(|who| of(who) + 2 <= *count);
        if !leases.iter().flatten().any(|seen| theirs(seen) && asked(seen))
            && let Some((_, step)) = leases.iter().flatten().zip(&mut steps).find(|(seen, _)| theirs(seen))
        {
            *step = Step::Ask;
        }
    }
    steps
}

/// What follows from holding leases.
pub trait Office: Sync {
    /// Told after every turn: which of the leases are held.
    fn held(&self, held: &[bool]);
    /// Ends the work on this one before it is given to somebody else.
    fn leave(&self, lease: usize) -> impl Future<Output = ()> + Send;
    /// What the holder says on its lease: an annotation, with its value where it has something to say.
    fn says(&self) -> Option<(&'static str, Option<String>)> {
        None
    }
    /// Ends when that has changed: it is written at once.
    fn news(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// Holds on to as many of the leases as it should until `stop`, then gives them back. Each of `leases`, in the order of the
/// names, says at any time whether it is held.
pub async fn run(client: Client, terms: Terms, leases: &[Lease], office: &impl Office, stop: CancellationToken) {
    let api: Api<LeaseObject> = Api::namespaced(client, &terms.namespace);
    let one =
        |(name, lease): (&String, &Lease)| Known { name: name.clone(), lease: lease.clone(), last: None, told: None };
    let mut known: Vec<Known> = terms.names.iter().zip(leases).map(one).collect();
    let held = |known: &[Known]| known.iter().map(|known| known.lease.is_held(Instant::now())).collect::<Vec<bool>>();
    loop {
        let wait = turn(&api, &terms, &mut known, office, &stop).await;
        office.held(&held(&known));
        let next = async {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = office.news() => {}
            }
        };
        if stop.run_until_cancelled(next).await.is_none() {
            break;
        }
    }
    let ends = known.iter().enumerate().filter(|(_, known)| known.lease.is_held(Instant::now()));
    join_all(ends.map(|(i, known)| known.give_back(&api, &terms, office.leave(i)))).await;
    office.held(&held(&known));
}

/// Looks at all leases, decides, acts; gives the time until the next turn. An API server that does not answer keeps nobody
/// from ending: only what is written is waited for.
async fn turn(
    api: &Api<LeaseObject>,
    terms: &Terms,
    known: &mut [Known],
    office: &impl Office,
    stop: &CancellationToken,
) -> Duration {
    let looks = join_all(known.iter_mut().map(|known| known.look(api, terms)));
    let Some(objects) = stop.run_until_cancelled(looks).await else { return SOON };
    let now = Instant::now();
    let seen: Vec<Option<Seen>> =
        known.iter().zip(&objects).map(|(known, object)| object.as_ref().and(known.seen())).collect();
    let steps = plan(&seen, &terms.identity, now, terms.retry());
    let acts = known.iter_mut().zip(objects).zip(steps).enumerate().map(|(i, ((known, object), step))| async move {
        match (step, object) {
            (Step::Wait(time), Some(_)) => {
                known.lease.release();
                time.max(SOON)
            }
            // Not seen: until the deadline it is what it was, and what is held is not to be lost.
            (Step::Wait(_), None) if known.lease.is_held(now) => SOON.max(terms.retry() / 4),
            (Step::Wait(_), None) => terms.retry(),
            (Step::Give, Some(_)) => {
                known.give_back(api, terms, office.leave(i)).await;
                terms.retry()
            }
            (step, object) => known.write(api, terms, step, object.unwrap_or_default(), office.says()).await,
        }
    });
    join_all(acts).await.into_iter().min().unwrap_or(terms.retry())
}

/// A lease, and what is known of it.
struct Known {
    name: String,
    lease: Lease,
    /// When it was last looked at with success, what told renewals apart then, and what it was.
    last: Option<(Mark, Seen)>,
    /// The holder that was last told of in the log.
    told: Option<String>,
}

/// What a renewal changes, and a note of somebody who asks does not.
type Mark = (Option<String>, Option<MicroTime>, Option<i32>);

impl Known {
    fn seen(&self) -> Option<Seen> {
        self.last.as_ref().map(|(_, seen)| seen.clone())
    }

    /// Reads it: `None` when that fails, an object without a version when there is none.
    async fn look(&mut self, api: &Api<LeaseObject>, terms: &Terms) -> Option<Option<LeaseObject>> {
        let started = Instant::now();
        let request = tokio::time::timeout(terms.deadline() / 2, api.get_opt(&self.name));
        match request.await {
            Ok(Ok(object)) => {
                self.note(object.as_ref(), terms, started);
                Some(object)
            }
            Ok(Err(error)) => {
                warn(&self.name, &error, "lease could not be read");
                None
            }
            Err(_) => None,
        }
    }

    fn note(&mut self, object: Option<&LeaseObject>, terms: &Terms, now: Instant) {
        let spec = object.and_then(|object| object.spec.as_ref());
        let mark: Mark = (
            spec.and_then(|s| s.holder_identity.clone()).filter(|holder| !holder.is_empty()),
            spec.and_then(|s| s.renew_time.clone()),
            spec.and_then(|s| s.lease_transitions),
        );
        let changed = match &self.last {
            Some((known, seen)) if *known == mark => seen.changed,
            _ => now,
        };
        let seconds = spec.and_then(|s| s.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
        let seen = Seen {
            holder: mark.0.clone(),
            wanted: object.and_then(|o| o.metadata.annotations.as_ref()?.get(WANTED).cloned()),
            duration: seconds.map_or(terms.duration, Duration::from_secs),
            changed,
        };
        if let Some(holder) = news(&mut self.told, seen.holder.as_ref(), &terms.identity) {
            tracing::info!(lease = self.name, holder, "another replica holds the lease; this one stands by");
        }
        self.last = Some((mark, seen));
    }

    /// Takes, renews or asks; gives the time until the next look.
    async fn write(
        &mut self,
        api: &Api<LeaseObject>,
        terms: &Terms,
        step: Step,
        stored: Option<LeaseObject>,
        says: Option<(&'static str, Option<String>)>,
    ) -> Duration {
        let started = Instant::now();
        let mut object = stored.unwrap_or_else(|| self.fresh(terms));
        object.metadata.managed_fields = None;
        if step == Step::Ask {
            let annotations = object.metadata.annotations.get_or_insert_default();
            annotations.insert(WANTED.to_owned(), terms.identity.clone());
        } else {
            hold(&mut object, terms, step == Step::Take, Timestamp::now());
            if let Some((key, value)) = says {
                let annotations = object.metadata.annotations.get_or_insert_default();
                // What a holder before this one said is not said by this one.
                annotations.remove(key);
                annotations.extend(value.map(|value| (key.to_owned(), value)));
            }
        }
        let written = tokio::time::timeout(terms.deadline() / 2, async {
            if object.metadata.resource_version.is_some() {
                api.replace(&self.name, &PostParams::default(), &object).await
            } else {
                api.create(&PostParams::default(), &object).await
            }
        });
        match written.await {
            Ok(Ok(object)) => {
                if step != Step::Ask {
                    // Counted from before the request: others count from when they see its effect, which is later.
                    self.lease.hold(terms.deadline(), started);
                }
                self.note(Some(&object), terms, started);
                terms.retry()
            }
            // Somebody was faster.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => SOON,
            Ok(Err(error)) => {
                warn(&self.name, &error, "lease could not be written");
                terms.retry()
            }
            Err(_) => SOON,
        }
    }

    fn fresh(&self, terms: &Terms) -> LeaseObject {
        LeaseObject {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(terms.namespace.clone()),
                ..ObjectMeta::default()
            },
            ..LeaseObject::default()
        }
    }

    /// Gives it back once the work on it has ended, or when the lease would.
    async fn give_back(&self, api: &Api<LeaseObject>, terms: &Terms, work: impl Future<Output = ()>) {
        let _ = tokio::time::timeout(terms.deadline() / 2, work).await;
        self.lease.release();
        let given = async {
            let Some(mut object) = api.get_opt(&self.name).await? else { return Ok(()) };
            let Some(spec) = object.spec.as_mut().filter(|s| s.holder_identity.as_ref() == Some(&terms.identity))
            else {
                return Ok(());
            };
            spec.holder_identity = None;
            spec.renew_time = None;
            // The version in it makes sure that nobody took it meanwhile.
            api.replace(&self.name, &PostParams::default(), &object).await.map(|_| ())
        };
        if let Ok(Err(error)) = tokio::time::timeout(terms.deadline() / 2, given).await {
            warn(&self.name, &error, "lease could not be given back");
        }
    }
}

/// Another holder than the one that was told last. That this process holds it is told by who begins to work.
fn news(told: &mut Option<String>, holder: Option<&String>, me: &str) -> Option<String> {
    // Without a holder the lease was given back, and somebody takes it in a moment.
    let holder = holder?;
    if told.as_ref() == Some(holder) {
        return None;
    }
    *told = Some(holder.clone());
    (holder != me).then(|| holder.clone())
}

fn hold(object: &mut LeaseObject, terms: &Terms, taking: bool, now: Timestamp) {
    let spec = object.spec.get_or_insert_with(LeaseSpec::default);
    if taking {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(-1).saturating_add(1));
        // Whoever asked for it asked somebody else.
        if let Some(annotations) = &mut object.metadata.annotations {
            annotations.remove(WANTED);
        }
    }
    spec.holder_identity = Some(terms.identity.clone());
    spec.lease_duration_seconds = Some(i32::try_from(terms.duration.as_secs().max(1)).unwrap_or(i32::MAX));
    spec.renew_time = Some(MicroTime(now));
}

fn warn(name: &str, error: &kube::Error, what: &'static str) {
    tracing::warn!(lease = name, error = %crate::sinks::kubernetes::chain(error), "{what}");
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
