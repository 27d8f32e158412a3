//! A small client for the HTTP API of Prometheus and its compatibles: instant queries and rules,
//! with bounds on time, size and repetition. Every error names the address and the cause.

mod ranges;
mod rule_files;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use plimsoll_slo::{model::Span, names};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

pub use self::ranges::Range;
use crate::sinks::kubernetes::chain;

/// The largest answer that is read.
const MAX_BYTES: usize = 16 << 20;
/// The largest answer that the anomaly scorer reads: 500 series of an hour every 30 s take half of it.
const SCORING_BYTES: usize = 4 << 20;
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A query string that every server and proxy takes.
const MAX_URL: usize = 6000;

/// Why Prometheus could not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PrometheusError {
    /// No answer, or one of its side's failures, also after some repetition.
    #[error("{url} does not answer: {cause}")]
    Unreachable {
        /// The server's address.
        url: String,
        /// Why.
        cause: String,
    },
    /// It, or what stands before it, wants to be asked less.
    #[error("{url} wants to be asked less: {cause}")]
    Throttled {
        /// The server's address.
        url: String,
        /// In its words.
        cause: String,
        /// For how long nothing should be asked, if it says so.
        retry_after: Option<Duration>,
    },
    /// It does not accept the request, or its answer is too large to be read.
    #[error("{url} refuses: {cause}")]
    Refused {
        /// The server's address.
        url: String,
        /// In its words.
        cause: String,
    },
}

/// One sample of an instant query.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Sample {
    /// Its labels.
    #[serde(default)]
    pub metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Sample {
    /// The value; Prometheus writes it as a string.
    pub fn value(&self) -> f64 {
        self.value.1.parse().unwrap_or(f64::NAN)
    }

    /// A label, `""` when it is missing.
    pub fn label(&self, name: &str) -> &str {
        self.metric.get(name).map_or("", String::as_str)
    }
}

/// A rule group as Prometheus has it loaded.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadedGroup {
    /// Its name.
    pub name: String,
    /// Its rules.
    #[serde(default)]
    pub rules: Vec<LoadedRule>,
    /// Seconds between its evaluations; 0 where the server does not say so.
    #[serde(default)]
    pub interval: f64,
    /// When it was evaluated last, as the server writes it; empty where it does not say so.
    #[serde(default)]
    pub last_evaluation: String,
    /// Whether it is left unevaluated, by the server's own clock.
    #[serde(skip)]
    pub idle: Option<Idle>,
}

/// What a server says of a group that it has loaded and does not evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It was never evaluated; it may just have been loaded.
    Never,
    /// The last time is longer ago than a busy server explains.
    Since(jiff::Timestamp),
}

/// A group is evaluated at least this often in a server that works, however busy; and of the slow ones, one time of three.
const BUSY: Duration = Duration::from_secs(300);

impl LoadedGroup {
    /// Whether it is evaluated at this time of the server. Nothing where the server does not say when it was.
    fn idle(&self, now: jiff::Timestamp) -> Option<Idle> {
        let last: jiff::Timestamp = self.last_evaluation.parse().ok()?;
        if last <= jiff::Timestamp::UNIX_EPOCH {
            return Some(Idle::Never);
        }
        let patience = BUSY.max(Duration::try_from_secs_f64(self.interval * 3.0).unwrap_or_default());
        let passed = Duration::try_from(now.duration_since(last)).unwrap_or_default();
        (passed > patience).then_some(Idle::Since(last))
    }

    /// Which rules of an object these are, if this is the group that says so.
    pub fn revision(&self) -> Option<&str> {
        let is_info = |rule: &&LoadedRule| [names::INFO, names::ALERT_RULE_INFO].contains(&rule.name.as_str());
        plimsoll_slo::revision::read(&self.rules.iter().find(is_info)?.query)
    }
}

/// A rule as Prometheus has it loaded; only what is used is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadedRule {
    /// Of the series or the alert.
    #[serde(default)]
    pub name: String,
    /// The expression, in the server's hand.
    #[serde(default)]
    pub query: String,
    /// `ok`, `err` or `unknown`.
    #[serde(default)]
    pub health: String,
    /// Why its evaluation failed.
    #[serde(default)]
    pub last_error: String,
}

/// A Prometheus.
#[derive(Clone, Debug)]
pub struct Prometheus {
    client: reqwest::Client,
    base: Url,
    tenant: Option<String>,
    token: Option<PathBuf>,
    retries: usize,
    whole: bool,
    max_bytes: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<T> {
    status: String,
    data: Option<T>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    /// VictoriaMetrics: a part of its storage did not answer.
    #[serde(default)]
    is_partial: bool,
}

impl<T> Answer<T> {
    /// What is missing of the answer, if something is. What the engine has to say of a query is told as a warning, too.
    fn lack(&self) -> Option<&str> {
        let of_storage = |warning: &&String| !warning.starts_with("PromQL ");
        let warning = self.warnings.iter().find(of_storage).map(String::as_str);
        warning.or(self.is_partial.then_some("a part of its storage does not answer"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeInfo {
    #[serde(default)]
    storage_retention: String,
    #[serde(default)]
    start_time: String,
}

#[derive(Deserialize)]
struct Vector {
    #[serde(default)]
    result: serde_json::Value,
}

/// What a metric is, as its targets tell.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Metadata {
    #[serde(default, rename = "type")]
    kind: String,
}

/// A target that is scraped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScrapeTarget {
    /// Labels of its series.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What is asked for them.
    #[serde(default)]
    pub scrape_url: String,
    /// Why the last time failed.
    #[serde(default)]
    pub last_error: String,
    /// `up`, `down` or `unknown`.
    #[serde(default)]
    pub health: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Targets {
    #[serde(default)]
    active_targets: Vec<ScrapeTarget>,
}

#[derive(Deserialize)]
struct Groups {
    #[serde(default)]
    groups: Vec<LoadedGroup>,
}

impl Prometheus {
    /// At this address, for example `http://prometheus:9090` or one with a path.
    ///
    /// # Errors
    /// When it is not an http or https address.
    pub fn new(client: reqwest::Client, url: &str) -> Result<Self, String> {
        crate::sinks::config::check_url(url)?;
        let base = Url::parse(&format!("{}/", url.trim_end_matches('/'))).map_err(|e| e.to_string())?;
        Ok(Self { client, base, tenant: None, token: None, retries: 2, whole: false, max_bytes: MAX_BYTES })
    }

    /// With the header `X-Scope-OrgID` and a file that has a bearer token.
    #[must_use]
    pub fn with_access(mut self, tenant: Option<String>, token: Option<PathBuf>) -> Self {
        self.tenant = tenant;
        self.token = token;
        self
    }

    /// How often a request that failed on the server's side is repeated.
    #[must_use]
    pub fn with_retries(mut self, retries: usize) -> Self {
        self.retries = retries;
        self
    }

    /// As the anomaly scorer asks, whose questions are many and small. An answer of which a part is missing, since a part of
    /// the storage is away, is a failure, and so is one of more than 4 MiB or 5000 series. What fails is not repeated.
    #[must_use]
    pub fn for_scoring(self) -> Self {
        Self { whole: true, retries: 0, max_bytes: SCORING_BYTES, ..self }
    }

    /// Its address, without credentials.
    pub fn url(&self) -> String {
        let mut url = self.base.clone();
        // Only fails for addresses that cannot have credentials.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// An instant query that yields a vector or a scalar.
    ///
    /// # Errors
    /// Names the address and the cause.
    pub async fn query(&self, promql: &str) -> Result<Vec<Sample>, PrometheusError> {
        let vector: Vector = self.get("api/v1/query", &[("query", promql)]).await?;
        if let Ok(scalar) = serde_json::from_value::<(f64, String)>(vector.result.clone()) {
            return Ok(vec![Sample { metric: BTreeMap::new(), value: scalar }]);
        }
        serde_json::from_value(vector.result)
            .map_err(|error| self.unreachable(format!("its answer is not understood: {error}")))
    }

    /// The loaded groups of these names, asked for in as many requests as the length of an address wants.
    ///
    /// # Errors
    /// Names the address and the cause.
    pub async fn groups(&self, names: &[&str]) -> Result<Vec<LoadedGroup>, PrometheusError> {
        let mut found = Vec::new();
        let mut rest = names;
        while !rest.is_empty() {
            let mut length = 0;
            // An escaped name is at most three times as long.
            let fits = rest
                .iter()
                .take_while(|name| {
                    length += name.len() + 14;
                    length <= MAX_URL
                })
                .count()
                .max(1);
            let (now, later) = rest.split_at(fits.min(rest.len()));
            let mut query: Vec<(&str, &str)> = now.iter().map(|name| ("rule_group[]", *name)).collect();
            query.push(("exclude_alerts", "true"));
            let (groups, at): (Groups, _) = self.get_dated("api/v1/rules", &query).await?;
            // A server that does not know the filter sends everything.
            let ours = groups.groups.into_iter().filter(|group| now.contains(&group.name.as_str()));
            found.extend(ours.map(|group| LoadedGroup { idle: group.idle(at), ..group }));
            rest = later;
        }
        Ok(found)
    }

    /// The type of a metric in the words of its targets, `counter` or `gauge`; `None` where they do not tell, or differ.
    ///
    /// # Errors
    /// Names the address and the cause.
    pub async fn metric_type(&self, metric: &str) -> Result<Option<String>, PrometheusError> {
        let query = [("metric", metric), ("limit", "1"), ("limit_per_metric", "10")];
        let mut found: BTreeMap<String, Vec<Metadata>> = self.once("api/v1/metadata", &query).await?;
        let mut kinds = found.remove(metric).into_iter().flatten().map(|one| one.kind);
        let Some(first) = kinds.next() else { return Ok(None) };
        Ok(kinds.all(|other| other == first).then_some(first))
    }

    /// The values that a label has had since this time, in series of this selector or in all: at most so many.
    ///
    /// # Errors
    /// Names the address and the cause; also where there are too many to be read.
    pub async fn label_values(
        &self,
        label: &str,
        selector: Option<&str>,
        since: jiff::Timestamp,
        most: usize,
    ) -> Result<Vec<String>, PrometheusError> {
        let (start, limit) = (since.as_second().to_string(), most.to_string());
        let mut query = vec![("start", start.as_str()), ("limit", &limit)];
        query.extend(selector.map(|selector| ("match[]", selector)));
        let mut values: Vec<String> = self.once(&format!("api/v1/label/{label}/values"), &query).await?;
        // A compatible server may know no limit.
        values.truncate(most);
        Ok(values)
    }

    /// The targets that are scraped, with the reason of those that fail.
    ///
    /// # Errors
    /// Names the address and the cause; also where there are too many to be read.
    pub async fn targets(&self) -> Result<Vec<ScrapeTarget>, PrometheusError> {
        let targets: Targets = self.once("api/v1/targets", &[("state", "active")]).await?;
        Ok(targets.active_targets)
    }

    /// How long samples are kept; `None` where the server does not say so, or keeps them by size alone.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn retention(&self) -> Result<Option<Span>, PrometheusError> {
        let Some(info) = self.runtime().await? else { return Ok(None) };
        // `15d or 512GiB`, whichever is less.
        let time = info.storage_retention.split(" or ").next().unwrap_or_default();
        Ok(plimsoll_slo::duration::parse(time, "storageRetention").ok())
    }

    /// When it was started; `None` where the server does not say so.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn started(&self) -> Result<Option<jiff::Timestamp>, PrometheusError> {
        Ok(self.runtime().await?.and_then(|info| info.start_time.parse().ok()))
    }

    /// Whether it reads its rule files again when that is posted to `/-/reload`. One that does not say so may.
    pub async fn takes_reloads(&self) -> bool {
        let flags: Result<serde_json::Map<String, serde_json::Value>, _> = self.once("api/v1/status/flags", &[]).await;
        flags.ok().and_then(|flags| Some(flags.get("web.enable-lifecycle")?.as_str()? == "true")).unwrap_or(true)
    }

    async fn runtime(&self) -> Result<Option<RuntimeInfo>, PrometheusError> {
        match self.once("api/v1/status/runtimeinfo", &[]).await {
            Ok(info) => Ok(Some(info)),
            // Compatible servers have no such endpoint.
            Err(PrometheusError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The label by which these series differ most, and its number of values.
    ///
    /// # Errors
    /// Names the address and the cause.
    pub async fn widest<'a>(
        &self,
        selector: &str,
        labels: &'a [String],
    ) -> Result<Option<(&'a str, u64)>, PrometheusError> {
        let mut widest = None;
        for label in labels {
            let found = self.query(&format!("count(count by ({label}) ({selector}))")).await?;
            // A count is a whole number, far below where that could fail.
            let values = found.first().map_or(0, |sample| sample.value().max(0.0) as u64);
            if widest.is_none_or(|(_, most)| values > most) {
                widest = Some((label.as_str(), values));
            }
        }
        Ok(widest)
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, PrometheusError> {
        self.get_dated(path, query).await.map(|(data, _)| data)
    }

    async fn get_dated<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<(T, jiff::Timestamp), PrometheusError> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(2))
            .with_max_times(self.retries)
            .with_jitter();
        (|| self.dated(path, query))
            .retry(backoff)
            .when(|error| matches!(error, PrometheusError::Unreachable { .. }))
            .await
    }

    async fn once<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, PrometheusError> {
        self.dated(path, query).await.map(|(data, _)| data)
    }

    /// The answer, and what time it was for who gave it: two clocks may differ.
    async fn dated<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<(T, jiff::Timestamp), PrometheusError> {
        let url = self.base.join(path).map_err(|e| self.unreachable(e.to_string()))?;
        let mut request = self.client.get(url).query(query).timeout(TIMEOUT);
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        if let Some(file) = &self.token {
            let token = tokio::fs::read_to_string(file)
                .await
                .map_err(|error| self.unreachable(format!("{}: {error}", file.display())))?;
            request = request.bearer_auth(token.trim());
        }
        let answer = request.send().await.map_err(|error| self.unreachable(chain(&error.without_url())))?;
        let status = answer.status();
        let date = answer.headers().get(reqwest::header::DATE).and_then(|value| value.to_str().ok());
        let date = date.and_then(|text| jiff::fmt::rfc2822::parse(text).ok()).map(|date| date.timestamp());
        let retry_after = answer.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| wait(text, jiff::Timestamp::now()));
        let body = match bounded_bytes(answer, self.max_bytes).await {
            Ok(body) => body,
            // Asked again it would be as large.
            Err(Body::TooLarge(cause)) => return Err(PrometheusError::Refused { url: self.url(), cause }),
            Err(Body::Broken(cause)) => return Err(self.unreachable(cause)),
        };
        let cause = || format!("{status} {}", excerpt(&body)).trim_end().to_owned();
        let is_busy = status == StatusCode::SERVICE_UNAVAILABLE && retry_after.is_some();
        if status == StatusCode::TOO_MANY_REQUESTS || is_busy {
            return Err(PrometheusError::Throttled { url: self.url(), cause: cause(), retry_after });
        }
        if status.is_server_error() {
            return Err(self.unreachable(cause()));
        }
        match serde_json::from_slice::<Answer<T>>(&body) {
            Ok(answer) if self.whole && answer.status == "success" && answer.lack().is_some() => {
                Err(self.unreachable(format!("its answer is not whole: {}", answer.lack().unwrap_or_default())))
            }
            Ok(Answer { data: Some(data), status, .. }) if status == "success" => {
                Ok((data, date.unwrap_or_else(jiff::Timestamp::now)))
            }
            Ok(Answer { error, .. }) => Err(PrometheusError::Refused { url: self.url(), cause: error }),
            Err(_) if !status.is_success() => {
                let cause = format!("{status} {}", excerpt(&body));
                Err(PrometheusError::Refused { url: self.url(), cause })
            }
            Err(error) => {
                let cause = format!("this is not the API of a Prometheus: {error}");
                Err(PrometheusError::Refused { url: self.url(), cause })
            }
        }
    }

    fn unreachable(&self, cause: String) -> PrometheusError {
        PrometheusError::Unreachable { url: self.url(), cause }
    }
}

/// How long an answer wants nothing to be asked: seconds, or until a date.
fn wait(retry_after: &str, now: jiff::Timestamp) -> Option<Duration> {
    if let Ok(seconds) = retry_after.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(retry_after.trim()).ok()?;
    Some(Duration::try_from(date.timestamp().duration_since(now)).unwrap_or_default())
}

fn excerpt(body: &[u8]) -> String {
    if body.trim_ascii_start().starts_with(b"<") {
        // Nobody reads one in a message.
        return "(with a web page: this is not the API of a Prometheus)".to_owned();
    }
    String::from_utf8_lossy(body).trim().chars().take(300).collect()
}

/// Why a body could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Body {
    /// It is larger than it may be.
    #[error("{0}")]
    TooLarge(String),
    /// It breaks off.
    #[error("{0}")]
    Broken(String),
}

/// The body, refused whole when it is larger than `max` bytes or breaks off.
pub(crate) async fn bounded_bytes(mut answer: reqwest::Response, max: usize) -> Result<Vec<u8>, Body> {
    // Grown by doubling it would take twice its size.
    let told = usize::try_from(answer.content_length().unwrap_or_default()).unwrap_or(max);
    let mut body = Vec::with_capacity(told.min(max));
    while let Some(chunk) = answer.chunk().await.map_err(|error| Body::Broken(chain(&error.without_url())))? {
        if body.len() + chunk.len() > max {
            return Err(Body::TooLarge(format!("its answer is larger than {} MiB", max >> 20)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The body as text, cut at `max` bytes; what could be read when the connection breaks.
pub(crate) async fn bounded_text(mut answer: reqwest::Response, max: usize) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        let room = max.saturating_sub(body.len());
        body.extend(chunk.iter().take(room));
        if room <= chunk.len() {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// The client for everything outside the cluster: no redirects to elsewhere, bounded waiting.
///
/// # Errors
/// When the system offers no TLS roots or the like.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    // Installed once for the process; a second time is no error that matters.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(4)
        .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")))
        .build()
}

#[cfg(test)]
#[path = "prometheus_tests.rs"]
mod tests;
