//! The recorded series of a Prometheus, for any number of readers: each question is asked once in a while, and when it is
//! not answered the last known values are shown, with their age.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use plimsoll_page::ask::{Grid, History, Line, Question, Reading, Sample};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::sources::Recorded;
use crate::prometheus::Prometheus;

/// Values of now are asked for so often, whoever reads.
const FRESH: Duration = Duration::from_secs(5);
/// A reader waits so long, then sees what is known.
const PATIENCE: Duration = Duration::from_secs(4);
/// Questions about a time that are asked at once.
const AT_ONCE: usize = 4;
/// Answers about a time that are kept.
const KEPT: usize = 512;

/// See the module.
#[derive(Debug)]
pub struct Answers {
    prometheus: Option<Prometheus>,
    now: tokio::sync::Mutex<HashMap<Question, Known>>,
    ranges: Mutex<HashMap<Key, Past>>,
    room: Semaphore,
}

/// Values of now.
#[derive(Clone, Debug)]
struct Known {
    asked: Instant,
    at: Option<Timestamp>,
    samples: Vec<Sample>,
    trouble: Option<String>,
}

/// A question, whom it is about, and the step and length of the time.
type Key = (Question, Option<String>, i64, usize);

#[derive(Clone, Debug)]
struct Past {
    asked: Instant,
    grid: Grid,
    history: History,
}

impl Answers {
    /// Of this Prometheus, or of nobody.
    pub fn new(prometheus: Option<Prometheus>) -> Self {
        // A reader waits; the next question is the repetition.
        let prometheus = prometheus.map(|prometheus| prometheus.with_retries(0));
        Self { prometheus, now: tokio::sync::Mutex::default(), ranges: Mutex::default(), room: Semaphore::new(AT_ONCE) }
    }

    fn server(&self) -> Result<&Prometheus, String> {
        self.prometheus.as_ref().ok_or_else(|| "no Prometheus is configured; name one with --prometheus".to_owned())
    }

    async fn ask(&self, question: &Question) -> Result<Vec<Sample>, String> {
        let prometheus = self.server()?;
        let promql = question.promql(None);
        let found = timeout(PATIENCE, prometheus.query(&promql)).await.map_err(|_| slow(prometheus))?;
        let found = found.map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|sample| Sample { value: sample.value(), labels: sample.metric }).collect())
    }

    async fn ask_range(&self, question: &Question, slo_id: Option<&str>, grid: Grid) -> Result<Vec<Line>, String> {
        let prometheus = self.server()?;
        let promql = question.promql_over(slo_id, grid.step);
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let asking = async {
            // It is never closed.
            let _room = self.room.acquire().await;
            prometheus.query_range(&promql, seconds(grid.from), seconds(grid.to()), seconds(grid.step)).await
        };
        let found =
            timeout(PATIENCE, asking).await.map_err(|_| slow(prometheus))?.map_err(|error| error.to_string())?;
        let line = |range: crate::prometheus::Range| {
            let samples: Vec<(f64, f64)> = range.samples().collect();
            Line::on(&grid, range.metric, samples)
        };
        Ok(found.into_iter().map(line).collect())
    }

    fn known_range(&self, key: &Key) -> Option<Past> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn keep_range(&self, key: Key, past: Past) {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        if ranges.len() >= KEPT && !ranges.contains_key(&key) {
            let oldest = ranges.iter().min_by_key(|(_, past)| past.asked).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| ranges.remove(&oldest));
        }
        ranges.insert(key, past);
    }
}

fn slow(prometheus: &Prometheus) -> String {
    format!("{} does not answer within {} s", prometheus.url(), PATIENCE.as_secs())
}

/// How long an answer about a time is as good as a new one.
fn fresh(grid: &Grid) -> Duration {
    Duration::from_secs(u64::try_from(grid.step / 4).unwrap_or(0).clamp(10, 60))
}

/// A history on a later grid of the same step. One moment is no time but the newest value, which stays that.
fn moved(history: &History, from: &Grid, to: &Grid) -> History {
    if to.count == 1 {
        return history.clone();
    }
    let places = (to.from - from.from) / to.step.max(1);
    let line = |line: &Line| {
        let at = |place: usize| {
            let old = usize::try_from(i64::try_from(place).ok()? + places).ok()?;
            line.values.get(old).copied().flatten()
        };
        Line { labels: line.labels.clone(), values: (0..to.count).map(at).collect() }
    };
    History { lines: history.lines.iter().map(line).collect(), trouble: history.trouble.clone() }
}

impl Recorded for Answers {
    fn now<'a>(&'a self, questions: &'a [Question]) -> BoxFuture<'a, Reading> {
        async move {
            // Whoever comes meanwhile gets the same answer.
            let mut known = self.now.lock().await;
            let stale: Vec<&Question> = questions
                .iter()
                .filter(|question| known.get(question).is_none_or(|known| known.asked.elapsed() >= FRESH))
                .collect();
            let answers = futures::future::join_all(stale.iter().map(|question| self.ask(question))).await;
            for (question, answer) in stale.into_iter().zip(answers) {
                let asked = Instant::now();
                let row = known.entry(question.clone()).or_insert_with(|| Known {
                    asked,
                    at: None,
                    samples: Vec::new(),
                    trouble: None,
                });
                row.asked = asked;
                match answer {
                    Ok(samples) => (row.at, row.samples, row.trouble) = (Some(Timestamp::now()), samples, None),
                    Err(cause) => row.trouble = Some(cause),
                }
            }
            let rows: Vec<&Known> = questions.iter().filter_map(|question| known.get(question)).collect();
            Reading {
                // All or nothing: what is shown together is of one time.
                at: rows.iter().map(|row| row.at).min().flatten(),
                samples: rows.iter().map(|row| row.samples.clone()).collect(),
                trouble: rows.iter().find_map(|row| row.trouble.clone()),
            }
        }
        .boxed()
    }

    fn range<'a>(&'a self, question: &'a Question, slo_id: Option<&'a str>, grid: Grid) -> BoxFuture<'a, History> {
        async move {
            let key = (question.clone(), slo_id.map(str::to_owned), grid.step, grid.count);
            let known = self.known_range(&key);
            if let Some(past) = known.as_ref().filter(|past| past.asked.elapsed() < fresh(&grid)) {
                return moved(&past.history, &past.grid, &grid);
            }
            let asked = Instant::now();
            match self.ask_range(question, slo_id, grid).await {
                Ok(lines) => {
                    let history = History { lines, trouble: None };
                    self.keep_range(key, Past { asked, grid, history: history.clone() });
                    history
                }
                Err(cause) => {
                    let (old, lines) = known.map_or((grid, Vec::new()), |past| (past.grid, past.history.lines));
                    let history = History { lines, trouble: Some(cause) };
                    self.keep_range(key, Past { asked, grid: old, history: history.clone() });
                    moved(&history, &old, &grid)
                }
            }
        }
        .boxed()
    }
}

/// The series of nobody: for whoever has the objects alone.
impl Default for Answers {
    fn default() -> Self {
        Self::new(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use plimsoll_page::{overview, slo::Plan};
    use serde_json::json;
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{path, query_param},
    };

    use super::*;
    use crate::prometheus::http_client;

    fn vector(value: &str) -> ResponseTemplate {
        let sample = json!({"metric": {"slo_id": "shop/a"}, "value": [0, value]});
        ResponseTemplate::new(200)
            .set_body_json(json!({"status": "success", "data": {"resultType": "vector", "result": [sample]}}))
    }

    /// As if so much time had gone by.
    async fn age(answers: &Answers, by: Duration) {
        let back = |asked: &mut Instant| *asked = asked.checked_sub(by).unwrap();
        answers.now.lock().await.values_mut().for_each(|known| back(&mut known.asked));
        answers.ranges.lock().unwrap().values_mut().for_each(|past| back(&mut past.asked));
    }

    #[tokio::test]
    async fn many_readers_ask_once_and_the_last_known_values_stay() {
        let server = MockServer::start().await;
        let works =
            Mock::given(path("/api/v1/query")).respond_with(vector("0.5")).expect(3).mount_as_scoped(&server).await;
        let answers = Answers::new(Some(Prometheus::new(http_client().unwrap(), &server.uri()).unwrap()));
        let questions = overview::questions();
        let (first, second) = tokio::join!(answers.now(&questions), answers.now(&questions));
        assert_eq!(first, second);
        assert_eq!((first.of(0)[0].value, first.trouble), (0.5, None));
        drop(works);

        // It goes away: the same values, of then, and why.
        let _fails =
            Mock::given(path("/api/v1/query")).respond_with(ResponseTemplate::new(503)).mount_as_scoped(&server).await;
        age(&answers, FRESH).await;
        let last = answers.now(&questions).await;
        assert_eq!((last.at, last.of(0)), (first.at, second.of(0)));
        assert!(last.trouble.unwrap().contains("does not answer"));
    }

    #[tokio::test]
    async fn nobody_to_ask_is_said() {
        let answers = Answers::default();
        let reading = answers.now(&overview::questions()).await;
        assert_eq!(reading.at, None);
        assert!(reading.trouble.unwrap().contains("--prometheus"));
        let grid = overview::sparks_grid(1_000_000_000);
        let history = answers.range(&overview::sparks(), None, grid).await;
        assert!(history.lines.is_empty() && history.trouble.is_some());
    }

    #[tokio::test]
    async fn a_time_is_asked_once_and_what_is_known_of_it_moves_on() {
        let server = MockServer::start().await;
        let grid = Grid { from: 1000, step: 100, count: 4 };
        let series = json!({"metric": {"slo_id": "shop/a"}, "values": [[1000, "1"], [1100, "2"], [1300, "4"]]});
        let answer = json!({"status": "success", "data": {"resultType": "matrix", "result": [series]}});
        let works = Mock::given(path("/api/v1/query_range"))
            .and(query_param("query", "min by (slo_id) (slo:error_budget:remaining_ratio{slo_id=\"shop/a\"})"))
            .respond_with(ResponseTemplate::new(200).set_body_json(answer))
            .expect(1)
            .mount_as_scoped(&server)
            .await;
        let answers = Answers::new(Some(Prometheus::new(http_client().unwrap(), &server.uri()).unwrap()));
        let first = answers.range(&overview::sparks(), Some("shop/a"), grid).await;
        assert_eq!(first.lines[0].values, [Some(1.0), Some(2.0), None, Some(4.0)]);
        assert_eq!(answers.range(&overview::sparks(), Some("shop/a"), grid).await, first);
        drop(works);

        age(&answers, Duration::from_secs(60)).await;
        let later = Grid { from: 1200, ..grid };
        let last = answers.range(&overview::sparks(), Some("shop/a"), later).await;
        assert_eq!(last.lines[0].values, [None, Some(4.0), None, None]);
        assert!(last.trouble.is_some());
    }
    /// The grid of now moves every 15 s, whenever that was asked: the newest value is not lost by it.
    #[tokio::test]
    async fn what_is_known_of_now_is_known_a_moment_later_too() {
        let server = MockServer::start().await;
        let moment = Plan::moment(1_000_000_004);
        let series = json!({"metric": {"slo_id": "shop/a"}, "values": [[moment.from, "0.5"]]});
        let answer = json!({"status": "success", "data": {"resultType": "matrix", "result": [series]}});
        let works = Mock::given(path("/api/v1/query_range"))
            .respond_with(ResponseTemplate::new(200).set_body_json(answer))
            .expect(1)
            .mount_as_scoped(&server)
            .await;
        let answers = Answers::new(Some(Prometheus::new(http_client().unwrap(), &server.uri()).unwrap()));
        let first = answers.range(&overview::sparks(), Some("shop/a"), moment).await;
        assert_eq!(first.lines[0].values, [Some(0.5)]);
        let next = Plan::moment(1_000_000_004 + 15);
        assert_ne!(next.from, moment.from);
        assert_eq!(answers.range(&overview::sparks(), Some("shop/a"), next).await, first);
        drop(works);

        // And when nobody answers, it is the last known one.
        age(&answers, Duration::from_secs(60)).await;
        let last = answers.range(&overview::sparks(), Some("shop/a"), Plan::moment(1_000_000_094)).await;
        assert_eq!(last.lines, first.lines);
        assert!(last.trouble.is_some());
    }
}
