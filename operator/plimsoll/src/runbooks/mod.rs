//! Runbooks in a cluster: what starts them, what holds them back, what they do, and what is told about it. All thinking
//! is in `plimsoll-runbook`; here facts are gathered, statuses stored and requests sent.
//!
//! alert → [`dispatch`] → (nothing holds it back: [`begin`]) stored execution → [`execute`] → intent stored → [`crate::actions`] → outcome stored → [`news`]

pub mod asks;
pub mod assumed;
pub mod author;
pub mod begin;
pub mod circumstances;
pub mod config;
pub mod decide;
pub mod dispatch;
pub mod ended;
pub mod execute;
pub mod facts;
pub mod keep;
pub mod kept;
pub mod ledger;
pub mod lent;
pub mod lookup;
mod lowered;
pub mod making;
pub mod news;
pub mod over;
pub mod proof;
pub mod queried;
pub mod read;
pub mod recent;
pub mod rehearsal;
pub mod rights;
mod risk;
pub mod room;
pub mod sources;
pub mod state;
pub mod switch;
mod taken;
pub mod tasks;
pub mod triggers;
pub mod unsealed;
pub mod verdict;
pub mod watched;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::Action,
        predicates,
        reflector::{self, ObjectRef},
        watcher,
    },
};
use plimsoll_api::{RunbookApproval, RunbookExecution};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{
    asks::Asks,
    circumstances::Asker,
    config::RunbooksConfig,
    dispatch::{Dispatcher, Guarded},
    execute::{ExecuteError, Executor, Next, REFUSED_AT_ONCE, SLOTS, SLOTS_OF_ONE, Stays, Turn},
    keep::Keeper,
    kept::Kept,
    news::News,
    proof::Sealer,
    state::States,
    switch::{Obeyed, Switch},
    triggers::Triggers,
    watched::{New, Watched},
};
use crate::{
    actions::Outside,
    events::Teller,
    operator::{drain::drained, metrics::Metrics},
    prometheus::Prometheus,
    shares::Shares,
    sinks::kubernetes::chain,
};

const RETRY: Duration = Duration::from_secs(1);
/// Executions that are held back are asked about less often the more there are: so many each second.
const ASKED_PER_SECOND: u64 = 100;
/// Executions that this process has made and that wait to be begun.
const MADE: usize = 256;
/// Of the rest, how many try again in each second.
const TRIED_PER_SECOND: u64 = 2000;
/// What is under way when this process ends may take so long.
const GRACE: Duration = Duration::from_secs(8);

/// An execution that may be unreadable.
pub(crate) type Execution = DeserializeGuard<RunbookExecution>;

/// What every replica has, whoever leads.
pub struct Front {
    /// Starts runbooks.
    pub dispatcher: Arc<Dispatcher>,
    writer: reflector::store::Writer<Guarded>,
    client: Client,
    receiver: Option<String>,
}

impl Front {
    /// With a client that needs no lease: what is made through it is made once by its name.
    pub fn new(
        client: Client,
        namespace: &str,
        config: &RunbooksConfig,
        sealer: Sealer,
        metrics: Arc<Metrics>,
        outside: Outside,
    ) -> Self {
        let writer = reflector::store::Writer::<Guarded>::default();
        let teller = Teller::new(client.clone(), "Run");
        let settings = config.settings(namespace);
        let dispatcher =
            Dispatcher::new(client.clone(), writer.as_reader(), sealer, settings, teller, metrics, outside)
                .at_most(config.most_executions);
        Self { dispatcher: Arc::new(dispatcher), writer, client, receiver: config.receiver.clone() }
    }

    /// Knows all runbooks, and asks for alerts that did not come through, until `stop`.
    pub async fn run(self, outside: Outside, stop: CancellationToken) {
        let api: Api<Guarded> = Api::all(self.client.clone());
        let know = watcher(api, watcher::Config::default()).default_backoff().reflect(self.writer).for_each(|event| {
            if let Err(error) = event {
                tracing::warn!(error = %chain(&error), "the watch of runbooks failed");
            }
            std::future::ready(())
        });
        tokio::select! {
            _ = stop.run_until_cancelled(know) => {}
            () = triggers::resync(Arc::clone(&self.dispatcher), outside, self.receiver, stop.clone()) => {}
        }
    }
}

/// What the leader runs with.
pub struct Setup {
    /// A client that writes only while this process leads.
    pub client: Client,
    /// Starts runbooks.
    pub dispatcher: Arc<Dispatcher>,
    /// Servers outside.
    pub outside: Outside,
    /// What an administrator has decided.
    pub config: RunbooksConfig,
    /// The operator's namespace.
    pub namespace: String,
    /// The Prometheus to ask.
    pub prometheus: Option<Prometheus>,
    /// Whether Alertmanager's alerts come in.
    pub has_alerts: bool,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What the leader says of the kill switch.
    pub obeyed: Obeyed,
}

/// Runs while this process leads, until `stop`.
pub async fn lead(setup: Setup, stop: CancellationToken) {
    let Setup { client, dispatcher, outside, config, namespace, prometheus, has_alerts, metrics, obeyed } = setup;
    let switch = Switch::new(client.clone(), &namespace, Arc::clone(&metrics)).obeying(obeyed);
    let news = News::new(client.clone(), Teller::new(client.clone(), "Run"), metrics);
    let (all, writer) = reflector::store::<Kept>();
    let executor = Executor {
        client: client.clone(),
        all,
        watched: Watched::new(dispatcher.sealer.clone()),
        asker: Asker::new(client.clone(), Arc::clone(&dispatcher)),
        dispatcher: Arc::clone(&dispatcher),
        outside: outside.clone(),
        artifacts: config.artifacts.clone(),
        switch: switch.clone(),
        news,
        refusing: tokio::sync::Semaphore::new(REFUSED_AT_ONCE),
        slots: Shares::new(SLOTS, SLOTS_OF_ONE),
    };
    let executor = Arc::new(executor);
    let (hand, made) = mpsc::channel(MADE);
    dispatcher.hand_to(hand, &executor);
    let states = States { client: client.clone(), dispatcher: Arc::clone(&dispatcher), switch: switch.clone() };
    let triggers = Triggers::new(Arc::clone(&dispatcher), client.clone());
    let all = executor.all.clone();
    let asks = prometheus.map(|prometheus| Asks::new(dispatcher, client.clone(), prometheus, has_alerts, all));
    let keeper =
        Keeper { client, outside, artifacts: config.artifacts, days: config.keep_days, most: config.most_executions };
    let watching = stop.clone();
    tokio::join!(
        watching.run_until_cancelled(switch.watch()),
        Box::pin(executions(executor, writer, made, stop.clone())),
        Box::pin(states.run(stop.clone())),
        Box::pin(triggers.run(stop.clone())),
        async {
            if let Some(asks) = asks {
                Box::pin(asks.run(stop.clone())).await
            }
        },
        Box::pin(keeper.run(stop.clone())),
    );
}

/// Works on executions: new ones, those that were told something, those whose approval came, and all of them when
/// runbooks are not paused any more.
async fn executions(
    executor: Arc<Executor>,
    writer: reflector::store::Writer<Kept>,
    mut made: mpsc::Receiver<New>,
    stop: CancellationToken,
) {
    let api: Api<Execution> = Api::all(executor.client.clone());
    let (reader, watched) = (executor.all.clone(), executor.watched.clone());
    let told = watcher(api, watcher::Config::default().page_size(200))
        .default_backoff()
        .inspect(move |event| watched.told(event));
    // What this process has made is known before the watch tells of it; what the watch has told already is newer.
    let (before, watched) = (reader.clone(), executor.watched.clone());
    let made = stream::poll_fn(move |context| made.poll_recv(context)).filter_map(move |new| {
        let at = ObjectRef::new(&new.execution.name_any()).within(&new.execution.namespace().unwrap_or_default());
        let is_new = before.get(&at).is_none() && watched.made(&new);
        std::future::ready(is_new.then_some(Ok(watcher::Event::Apply(DeserializeGuard(Ok(new.execution))))))
    });
    let kept = reader.clone();
    let changes = stream::select(told, made)
        .map_ok(move |event| Kept::told(event, &kept))
        .reflect(writer)
        .applied_objects()
        .filter(|kept| std::future::ready(kept.as_ref().map_or(true, |kept| kept.is_news)));
    let approvals: Api<DeserializeGuard<RunbookApproval>> = Api::all(executor.client.clone());
    let decided = watcher(approvals, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .predicate_filter(predicates::generation, Default::default())
        .filter_map(|approval| async move {
            let approval = approval.ok()?.0.ok()?;
            Some(ObjectRef::new(&approval.spec.execution).within(&approval.namespace()?))
        });
    let switched = switched(executor.switch.changes());
    let turned_off = lowered::turned_off(Arc::clone(&executor));
    let (listed, stopped, until) = (reader.clone(), stop.clone(), stop.clone());
    let work = Controller::for_stream(changes, reader)
        // How many at the same time is for `Executor::slots` to say.
        .reconcile_on(decided)
        .reconcile_on(turned_off)
        .reconcile_all_on(switched)
        .graceful_shutdown_on(async move { stopped.cancelled().await })
        .run(
            move |kept, executor: Arc<Executor>| {
                let stop = stop.clone();
                async move { reconcile(&kept, &executor, &stop).await }
            },
            |execution, error, executor| {
                let at = format!("{}/{}", execution.namespace().unwrap_or_default(), execution.name_any());
                if executor.dispatcher.is_news(&format!("{at}: {error}")) {
                    tracing::warn!(execution = at, %error, "an execution is looked at again");
                }
                Action::requeue(RETRY)
            },
            executor,
        )
        .for_each(|_| std::future::ready(()));
    drained(&listed, &until, work).await;
}

async fn reconcile(kept: &Kept, executor: &Executor, stop: &CancellationToken) -> Result<Action, ExecuteError> {
    let (namespace, name) = (kept.namespace().unwrap_or_default(), kept.name_any());
    // One that has ended and is still held was not let go by whoever led before.
    if kept.is_over() && !lent::is_held(kept) {
        return Ok(Action::await_change());
    }
    let told = match kept.whole() {
        Err(error) => {
            tracing::warn!(%namespace, %name, %error, "an execution cannot be read");
            return Ok(Action::await_change());
        }
        Ok(told) => told,
    };
    let all = u64::try_from(executor.all.len()).unwrap_or(u64::MAX);
    // Before its turn to be told, which nobody holds while waiting.
    let Some(slot) = stop.run_until_cancelled(executor.slots.take(&namespace, 1)).await else {
        return Ok(Action::await_change());
    };
    let turn = match executor.stays(&told) {
        Stays::No => Turn { slot, told: None },
        Stays::Tell(permit) => Turn { slot, told: Some(permit) },
        Stays::Told(until) => return Ok(Action::requeue(until)),
        Stays::Untold => return Ok(Action::requeue(Duration::from_millis(250 + 1000 * all / TRIED_PER_SECOND))),
    };
    let ended = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let next = tokio::select! {
        next = Box::pin(executor.run(&namespace, &name, Some(turn))) => next?,
        // The next process finds the intents of what takes longer.
        () = ended => Next::Never,
    };
    Ok(match next {
        Next::Never => Action::await_change(),
        Next::Later(time) => Action::requeue(time.max(Duration::from_secs(all / ASKED_PER_SECOND))),
    })
}

/// Speaks whenever runbooks are paused, so that what only waits is held and says so, and when they are not any more.
fn switched(changes: tokio::sync::watch::Receiver<Option<bool>>) -> impl futures::Stream<Item = ()> + Send + 'static {
    futures::stream::unfold(changes, |mut changes| async move {
        loop {
            changes.changed().await.ok()?;
            if changes.borrow_and_update().is_some() {
                return Some(((), changes));
            }
        }
    })
}
