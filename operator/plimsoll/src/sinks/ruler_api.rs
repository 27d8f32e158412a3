//! Rules in a ruler with an API, such as Mimir's, Cortex' and Loki's: one ruler namespace for each
//! SLO, one request for each group that differs.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::BoxFuture;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use plimsoll_slo::{Group, RuleSet, alerts::Language};
use reqwest::{Method, RequestBuilder, StatusCode};

use super::{Fingerprint, RuleSink, SinkError, Target, Written, kubernetes::chain, ruler_namespace};
use crate::operator::gate::{GateLayer, RULER};

/// The largest answer that is read.
const MAX_BYTES: usize = 4 << 20;

/// How to prove who we are. The file is read for each request, so that it can be renewed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// A bearer token in a file.
    Bearer(PathBuf),
    /// A user and a password in a file.
    Basic(String, PathBuf),
}

/// A ruler.
#[derive(Debug)]
pub struct RulerApi {
    client: reqwest::Client,
    /// Up to and with `…/rules`.
    base: String,
    tenant: Option<String>,
    credentials: Credentials,
    prefix: String,
    gate: GateLayer,
    /// Desired and observed fingerprint by SLO and group: a ruler may give back a group in other words than it was sent.
    settled: Mutex<HashMap<(String, String), (Fingerprint, Fingerprint)>>,
}

impl RulerApi {
    /// A backend at `base` (`http://mimir/prometheus/config/v1/rules`); `prefix` begins the name of
    /// each ruler namespace and keeps clusters apart that share a tenant.
    pub fn new(
        client: reqwest::Client,
        base: &str,
        tenant: Option<String>,
        credentials: Credentials,
        prefix: String,
        gate: GateLayer,
    ) -> Arc<Self> {
        let base = base.trim_end_matches('/').to_owned();
        Arc::new(Self { client, base, tenant, credentials, prefix, gate, settled: Mutex::default() })
    }

    fn namespace(&self, target: &Target) -> String {
        ruler_namespace(&self.prefix, target.kind, &target.slo_id())
    }

    fn url(&self, target: &Target, group: Option<&str>) -> String {
        let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut url = format!("{}/{}", self.base, escape(&self.namespace(target)));
        if let Some(group) = group {
            url.push('/');
            url.push_str(&escape(group));
        }
        url
    }

    async fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, SinkError> {
        let mut request = self.client.request(method, url);
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        Ok(match &self.credentials {
            Credentials::None => request,
            Credentials::Bearer(file) => request.bearer_auth(self.secret(file).await?),
            Credentials::Basic(user, file) => request.basic_auth(user, Some(self.secret(file).await?)),
        })
    }

    async fn secret(&self, file: &PathBuf) -> Result<String, SinkError> {
        let text = tokio::fs::read_to_string(file).await.map_err(|error| SinkError::NotReady {
            what: format!("ruler {}", self.base),
            cause: format!("{}: {error}", file.display()),
        })?;
        Ok(text.trim().to_owned())
    }

    /// Sends; `None` when there is no such thing.
    async fn send(&self, request: RequestBuilder, url: &str) -> Result<Option<String>, SinkError> {
        let unavailable = |cause: String| SinkError::Unavailable { what: format!("ruler {url}"), cause };
        let answer = request.send().await.map_err(|e| unavailable(chain(&e.without_url())))?;
        let status = answer.status();
        // An answer that breaks off must not be taken for all there is.
        let body = crate::prometheus::bounded_bytes(answer, MAX_BYTES).await;
        let body = body.map_err(|cause| unavailable(cause.to_string()))?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if status.is_success() {
            return Ok(Some(body));
        }
        let cause = format!("{status} {}", body.trim().chars().take(500).collect::<String>());
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            Err(unavailable(cause))
        } else {
            Err(SinkError::Refused { what: format!("ruler {url}"), cause })
        }
    }

    /// The groups that the ruler has for this SLO.
    async fn read(&self, target: &Target) -> Result<Vec<Group>, SinkError> {
        let url = self.url(target, None);
        let request = self.request(Method::GET, &url).await?;
        let Some(body) = self.send(request, &url).await? else { return Ok(Vec::new()) };
        if body.trim().is_empty() {
            return Ok(Vec::new());
        }
        let mut namespaces: BTreeMap<String, Vec<Group>> =
            serde_saphyr::from_str(&body).map_err(|error| SinkError::Unavailable {
                what: format!("ruler {url}"),
                cause: format!("its answer is not understood: {error}"),
            })?;
        Ok(namespaces.remove(&self.namespace(target)).unwrap_or_default())
    }

    fn settled(&self, id: &(String, String)) -> Option<(Fingerprint, Fingerprint)> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }

    fn settle(&self, id: (String, String), pair: (Fingerprint, Fingerprint)) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).insert(id, pair);
    }

    async fn apply(&self, target: &Target, rules: &RuleSet) -> Result<Written, SinkError> {
        let present = self.read(target).await?;
        let mut written = Written::Unchanged;
        let print = |group: &Group| {
            Fingerprint::of(group).map_err(|e| SinkError::Refused { what: self.describe(target), cause: e.to_string() })
        };
        let mut changed = Vec::new();
        // In order: the last one bears the revision, by which the rules count as loaded.
        for group in &rules.groups {
            let id = (target.id(), group.name.clone());
            let wanted = print(group)?;
            if let Some(old) = present.iter().find(|old| old.name == group.name) {
                let observed = print(old)?;
                if observed == wanted || self.settled(&id) == Some((wanted, observed)) {
                    continue;
                }
                self.check_owner(target, old)?;
            }
            let url = self.url(target, None);
            let body = serde_saphyr::to_string(group)
                .map_err(|e| SinkError::Refused { what: self.describe(target), cause: e.to_string() })?;
            let request = self.request(Method::POST, &url).await?.header("Content-Type", "application/yaml").body(body);
            if self.gate.outside(RULER, self.send(request, &url)).await?.is_none() {
                let cause = "404: there is no ruler API at this address".to_owned();
                return Err(SinkError::Refused { what: format!("ruler {url}"), cause });
            }
            written = Written::Changed;
            changed.push((id, wanted));
        }
        for stale in present.iter().filter(|old| !rules.groups.iter().any(|g| g.name == old.name)) {
            if self.check_owner(target, stale).is_ok() {
                self.delete_group(target, &stale.name).await?;
                written = Written::Changed;
            }
        }
        if !changed.is_empty() {
            let present = self.read(target).await?;
            for (id, wanted) in changed {
                if let Some(group) = present.iter().find(|group| group.name == id.1) {
                    self.settle(id, (wanted, print(group)?));
                }
            }
        }
        Ok(written)
    }

    /// A ruler knows no owners; but every rule of ours bears the SLO's id.
    fn check_owner(&self, target: &Target, group: &Group) -> Result<(), SinkError> {
        let id = target.id();
        let ours = group.rules.iter().all(|rule| rule.labels.get(target.id_label()).is_some_and(|owner| *owner == id));
        if ours {
            return Ok(());
        }
        Err(SinkError::NotOurs {
            what: format!("{}, group {}", self.describe(target), group.name),
            owner: format!("has rules without the label {}=\"{id}\"", target.id_label()),
        })
    }

    async fn delete_group(&self, target: &Target, group: &str) -> Result<(), SinkError> {
        let url = self.url(target, Some(group));
        let request = self.request(Method::DELETE, &url).await?;
        self.gate.outside(RULER, self.send(request, &url)).await?;
        Ok(())
    }

    async fn remove(&self, target: &Target) -> Result<Written, SinkError> {
        let mut written = Written::Unchanged;
        for group in self.read(target).await? {
            if self.check_owner(target, &group).is_ok() {
                self.delete_group(target, &group.name).await?;
                written = Written::Changed;
            }
        }
        let id = target.id();
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).retain(|(slo, _), _| *slo != id);
        Ok(written)
    }
}

impl RuleSink for RulerApi {
    fn describe(&self, target: &Target) -> String {
        format!("ruler {}, namespace {}", self.base, self.namespace(target))
    }

    fn place(&self) -> String {
        format!("{} {} {}", self.base, self.tenant.as_deref().unwrap_or_default(), self.prefix)
    }

    fn language(&self) -> Language {
        // No other ruler has this in the path of its API.
        if self.base.contains("/loki/") { Language::LogQl } else { Language::PromQl }
    }

    fn is_outside(&self) -> bool {
        true
    }

    fn write<'a>(&'a self, target: &'a Target, rules: &'a RuleSet) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(self.apply(target, rules))
    }

    fn delete<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(self.remove(target))
    }
}
