//! Why a service gives no samples, as far as its targets show it. The operator and `explain` say the same.

use plimsoll_slo::{model::Sli, promql};

use crate::{
    explain::gather,
    prometheus::{Prometheus, PrometheusError},
};

/// Labels that a target gives to all of its series, also to `up`.
const OF_TARGETS: [&str; 2] = ["job", "instance"];
/// So many jobs are named.
const NAMED: usize = 8;

/// Targets that do not answer, or are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Away {
    /// Prometheus has targets of these labels, and can scrape none of them.
    Down {
        /// What names them: `job="checkout"`.
        of: String,
        /// How many.
        count: usize,
        /// The address of one; its instance, where the address is not told.
        address: String,
        /// Why it could not be scraped; may be empty.
        cause: String,
    },
    /// It scrapes nothing with these labels.
    Nobody {
        /// What names them: `job="checkout"`.
        of: String,
        /// Some of the jobs that there are.
        jobs: Vec<String>,
    },
}

impl Away {
    /// What of it lasts while it is away.
    pub fn who(&self) -> &str {
        match self {
            Self::Down { address, .. } => address,
            Self::Nobody { of, .. } => of,
        }
    }

    /// On one line: what is away, and why.
    pub fn line(&self) -> String {
        match self {
            Self::Down { of, count, address, cause } => {
                let who = match count.saturating_sub(1) {
                    0 => format!("the target {address} of {of} is down"),
                    more => format!("the target {address} and {more} more of {of} are down"),
                };
                format!("{who}{}", after_colon(cause))
            }
            Self::Nobody { of, jobs: _ } => format!("Prometheus scrapes no target of {of}"),
        }
    }

    /// What to do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Down { of: _, count: _, address, cause } => {
                format!("see why Prometheus cannot scrape {address}{}", after_colon(cause))
            }
            Self::Nobody { of: _, jobs } => format!(
                "check the name, or let Prometheus scrape it with scrape_configs, a ServiceMonitor or a PodMonitor; the jobs that it scrapes are {}",
                jobs.join(", ")
            ),
        }
    }
}

fn after_colon(cause: &str) -> String {
    if cause.is_empty() { String::new() } else { format!(": {cause}") }
}

/// What names the targets of an indicator: `job="checkout"`. Nothing where its selectors name none.
pub fn of_indicator(sli: &Sli) -> Option<String> {
    // A service without errors has no series of them, which is as it should be.
    gather::selectors(sli).iter().filter(|selector| selector.role != "bad").find_map(|one| of(&one.text))
}

/// The matchers of a selector that a target's `up` has as well.
pub fn of(selector: &str) -> Option<String> {
    let parsed = promql::parse(selector, "").ok()?;
    let selector = parsed.selectors().into_iter().next()?;
    let matchers = selector.matchers.matchers.iter().filter(|one| OF_TARGETS.contains(&one.name.as_str()));
    let text = matchers.map(promql::matcher).collect::<Vec<_>>().join(",");
    (!text.is_empty()).then_some(text)
}

/// Asks whether all targets of these labels are down, or there are none. Nothing where some answer, or where the
/// server has no `up` at all because others write into it.
///
/// # Errors
/// When Prometheus does not answer.
pub async fn away(prometheus: &Prometheus, of: &str) -> Result<Option<Away>, PrometheusError> {
    let all = gather::count(prometheus, &format!("count(up{{{of}}})")).await?;
    if all == 0 {
        let found = prometheus.query("group by (job) (up)").await?;
        let mut jobs: Vec<String> = found.iter().map(|sample| sample.label("job").to_owned()).collect();
        jobs.sort();
        if let Some(more) = jobs.len().checked_sub(NAMED).filter(|more| *more > 0) {
            jobs.truncate(NAMED);
            jobs.push(format!("{more} more"));
        }
        return Ok((!jobs.is_empty()).then(|| Away::Nobody { of: of.to_owned(), jobs }));
    }
    let down = prometheus.query(&format!("up{{{of}}} == 0")).await?;
    let Some(first) = down.first().filter(|_| down.len() as u64 >= all) else { return Ok(None) };
    // A Prometheus with very many targets, or a compatible server, need not tell why.
    let targets = prometheus.targets().await.unwrap_or_default();
    let is_first = |labels: &std::collections::BTreeMap<String, String>| {
        OF_TARGETS.iter().all(|name| labels.get(*name).map_or("", String::as_str) == first.label(name))
    };
    let target = targets.into_iter().find(|target| target.health == "down" && is_first(&target.labels));
    let (address, cause) = target
        .map_or_else(|| (first.label("instance").to_owned(), String::new()), |one| (one.scrape_url, one.last_error));
    // Prometheus begins with the address that is told already.
    let cause = cause.strip_prefix(&format!("Get \"{address}\": ")).map_or(cause.clone(), str::to_owned);
    Ok(Some(Away::Down { of: of.to_owned(), count: down.len(), address, cause }))
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn only_labels_of_targets_name_them() {
        for (selector, wanted) in [
            ("a_total{code=~\"5..\",job=\"x\"}", Some("job=\"x\"")),
            ("a_total{instance!=\"b\",job=~\"x|y\",route=\"/\"}", Some("instance!=\"b\",job=~\"x|y\"")),
            ("a_count{job=\"x\"} or a{job=\"x\"}", Some("job=\"x\"")),
            ("a_total{namespace=\"shop\"}", None),
            ("a_total", None),
        ] {
            assert_eq!(of(selector).as_deref(), wanted, "{selector}");
        }
    }
}
