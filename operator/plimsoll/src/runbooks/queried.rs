//! What a parameter takes from a query. Whoever has posted an alert waits for it, and so do all that the same alert starts,
//! so no query may take long, whoever has written it.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use plimsoll_runbook::{
    model::{Model, Parameter},
    parameters::picked,
    requests::query_request,
};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::recent::{Answers, Recent};
use crate::{actions::Outside, alerts_webhook::server::NotStored};

/// A query that takes longer is tried again later.
const MOST: Duration = Duration::from_secs(2);
/// After one that took longer, those of its namespace are not asked for this time, or for twice that: of many alerts only
/// the first wait for it.
const REST: Duration = Duration::from_secs(5);
/// Namespaces of which that is remembered, twice.
const RESTING: usize = 1000;
/// Queries that are shared while they are asked.
const SHARED: usize = 1000;

/// An answer of Prometheus, or why there is none; nothing when it takes too long.
type Answered = Result<Arc<Value>, Option<String>>;

/// Queries of parameters.
pub struct Queried {
    asked: Answers<Answered>,
    slow: Recent,
}

impl Default for Queried {
    fn default() -> Self {
        Self { asked: Answers::new(MOST, SHARED), slow: Recent::new(REST, RESTING) }
    }
}

impl Queried {
    /// What a parameter's query picks now.
    ///
    /// # Errors
    /// When that cannot be known now.
    pub async fn pick(
        &self,
        outside: &Outside,
        model: &Model,
        (parameter, query): (&Parameter, &str),
        traceparent: Option<&str>,
    ) -> Result<Option<String>, NotStored> {
        let Model { namespace, .. } = model;
        let failed = |message: String| NotStored(format!("parameter {}: {message}", parameter.name));
        if self.slow.was(namespace, Instant::now()) {
            let why =
                format!("a query of a runbook in {namespace} took longer than 2 s a moment ago; it is tried again");
            return Err(failed(why));
        }
        let ask = || ask(outside.clone(), query.to_owned(), traceparent.map(str::to_owned)).boxed();
        // Only with whoever asks meanwhile: a moment later there may be another answer, and it may be long.
        match self.asked.ask(query, ask, |_| false).await {
            Ok(answer) => picked(parameter, &answer).map_err(failed),
            Err(Some(message)) => Err(failed(message)),
            Err(None) => {
                self.slow.remember(namespace, Instant::now());
                Err(failed("fromQuery takes longer than 2 s, so it is tried again; make it cheaper".to_owned()))
            }
        }
    }
}

async fn ask(outside: Outside, query: String, traceparent: Option<String>) -> Answered {
    let request = query_request(&query);
    let answer = timeout(MOST, outside.send(&request, &request.path, traceparent.as_deref())).await;
    let answer = answer.map_err(|_| None)?.map_err(|error| Some(error.to_string()))?;
    let read = serde_json::from_slice(&answer.body);
    read.map(Arc::new).map_err(|_| Some("no answer of Prometheus".to_owned()))
}
