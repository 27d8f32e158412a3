//! The recorded series of a Prometheus, for any number of readers: each question is asked once in a while, and when it is
//! not answered the last known values are shown, with their age.

use std::{
    collections::HashMap,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use plimsoll_page::ask::{Grid, History, Line, Question, Reading, Sample};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

use super::{once::Once, sources::Recorded};
use crate::prometheus::Prometheus;

/// Values of now are asked for so often, whoever reads.
const FRESH: Duration = Duration::from_secs(5);
/// So long a question may take; then a reader sees what is known.
const PATIENCE: Duration = Duration::from_secs(4);
/// Questions about a time that are asked at once, whoever reads: the Prometheus that is asked evaluates rules as well.
const AT_ONCE: usize = 4;
/// So long a question waits until it is asked, while others are answered.
const QUEUE: Duration = Duration::from_secs(8);
/// Answers about a time that are kept.
const KEPT: usize = 512;

/// See the module.
#[derive(Debug)]
pub struct Answers {
    prometheus: Option<Prometheus>,
    now: tokio::sync::Mutex<HashMap<Question, Known>>,
    ranges: Once<Key, Past>,
    room: Semaphore,
    /// How many questions about a time were answered.
    answered: AtomicU64,
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

/// A history on its grid.
#[derive(Clone, Debug)]
struct Past {
    asked: Instant,
    grid: Grid,
    history: History,
}

impl Past {
    /// Whether it is as good as a new one. That nobody answered is asked again sooner than what was answered.
    fn is_fresh(&self) -> bool {
        let step = Duration::from_secs(u64::try_from(self.grid.step / 4).unwrap_or(0));
        let good = if self.history.trouble.is_some() {
            FRESH
        } else {
            step.clamp(Duration::from_secs(10), Duration::from_secs(60))
        };
        self.asked.elapsed() < good
    }
}

impl Answers {
    /// Of this Prometheus, or of nobody.
    pub fn new(prometheus: Option<Prometheus>) -> Self {
        // A reader waits; the next question is the repetition.
        let prometheus = prometheus.map(|prometheus| prometheus.with_retries(0));
        Self {
            prometheus,
            now: tokio::sync::Mutex::default(),
            ranges: Once::new(KEPT),
            room: Semaphore::new(AT_ONCE),
            answered: AtomicU64::new(0),
        }
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
        let _room = self.room(prometheus).await?;
        let asking = prometheus.query_range(&promql, seconds(grid.from), seconds(grid.to()), seconds(grid.step));
        let found =
            timeout(PATIENCE, asking).await.map_err(|_| slow(prometheus))?.map_err(|error| error.to_string())?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        let line = |range: crate::prometheus::Range| {
            let samples: Vec<(f64, f64)> = range.samples().collect();
            Line::on(&grid, range.metric, samples)
        };
        Ok(found.into_iter().map(line).collect())
    }

    /// A place among the questions that are asked. Its patience begins when it has one: many questions are no silence. But where
    /// nobody is answered while it waits, it would not be either.
    async fn room(&self, prometheus: &Prometheus) -> Result<SemaphorePermit<'_>, String> {
        let answered = || self.answered.load(Ordering::Relaxed);
        let (begun, before) = (Instant::now(), answered());
        let mut room = pin!(self.room.acquire());
        let mut seen = before;
        loop {
            match timeout(PATIENCE, room.as_mut()).await {
                // Free by a failure, and not at once.
                Ok(_) if answered() == before && begun.elapsed() >= PATIENCE / 2 => return Err(slow(prometheus)),
                // It is never closed.
                Ok(room) => return room.map_err(|error| error.to_string()),
                Err(_) if answered() == seen => return Err(slow(prometheus)),
                Err(_) if begun.elapsed() >= QUEUE => {
                    return Err(format!("{} is asked too much at once", prometheus.url()));
                }
                Err(_) => seen = answered(),
            }
        }
    }
}

fn slow(prometheus: &Prometheus) -> String {
    format!("{} does not answer within {} s", prometheus.url(), PATIENCE.as_secs())
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
    History { lines: history.lines.iter().map(line).collect(), ..history.clone() }
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
            let place = self.ranges.of(key);
            // Whoever comes meanwhile gets the same answer.
            let mut known = place.lock().await;
            if let Some(past) = known.as_ref().filter(|past| past.is_fresh()) {
                return moved(&past.history, &past.grid, &grid);
            }
            let answer = self.ask_range(question, slo_id, grid).await;
            let (of, history) = match answer {
                Ok(lines) => (grid, History { lines, at: Some(Timestamp::now()), trouble: None }),
                Err(cause) => {
                    let (of, known) = known.take().map_or((grid, History::default()), |past| (past.grid, past.history));
                    (of, History { trouble: Some(cause), ..known })
                }
            };
            let shown = moved(&history, &of, &grid);
            *known = Some(Past { asked: Instant::now(), grid: of, history });
            shown
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
        for place in answers.ranges.all() {
            place.lock().await.iter_mut().for_each(|past| back(&mut past.asked));
        }
    }

    #[tokio::test]
    async fn many_readers_ask_once_and_the_last_known_values_stay() {
        let server = MockServer::start().await;
        let questions = overview::questions();
        let once = u64::try_from(questions.len()).unwrap();
        let works =
            Mock::given(path("/api/v1/query")).respond_with(vector("0.5")).expect(once).mount_as_scoped(&server).await;
        let answers = Answers::new(Some(Prometheus::new(http_client().unwrap(), &server.uri()).unwrap()));
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
        assert_eq!((&last.lines, last.at), (&first.lines, first.at));
        assert!(last.trouble.is_some());
    }
    fn matrix() -> ResponseTemplate {
        let series = json!({"metric": {"slo_id": "shop/a"}, "values": [[1000, "1"]]});
        ResponseTemplate::new(200)
            .set_body_json(json!({"status": "success", "data": {"resultType": "matrix", "result": [series]}}))
    }

    /// Questions of one view, which differ by a label.
    fn questions(count: usize) -> Vec<Question> {
        (0..count).map(|n| overview::sparks().with("n", n.to_string())).collect()
    }

    /// More questions than places, each so slow that the last would never be asked within the patience of one.
    #[tokio::test]
    async fn many_questions_and_many_readers_are_no_silence() {
        let server = MockServer::start().await;
        let slow = matrix().set_delay(Duration::from_millis(1600));
        let _works =
            Mock::given(path("/api/v1/query_range")).respond_with(slow).expect(14).mount_as_scoped(&server).await;
        let answers = Answers::new(Some(Prometheus::new(http_client().unwrap(), &server.uri()).unwrap()));
        let (questions, grid) = (questions(14), Grid { from: 1000, step: 100, count: 4 });
        let readers = (0..20).flat_map(|_| questions.iter().map(|q| answers.range(q, Some("shop/a"), grid)));
        let all = futures::future::join_all(readers).await;
        let troubles: Vec<&String> = all.iter().filter_map(|history| history.trouble.as_ref()).collect();
        assert!(troubles.is_empty() && all.iter().all(|history| history.lines.len() == 1), "{troubles:?}");
    }

    /// Where nobody is answered, a view with many questions waits no longer than one of them.
    #[tokio::test]
    async fn silence_is_waited_for_once_and_asked_about_again() {
        let server = MockServer::start().await;
        let never = matrix().set_delay(Duration::from_secs(60));
        let silent = Mock::given(path("/api/v1/query_range"))
            .respond_with(never)
            .expect(u64::try_from(AT_ONCE).unwrap())
            .mount_as_scoped(&server)
            .await;
        let answers = Answers::new(Some(Prometheus::new(http_client().unwrap(), &server.uri()).unwrap()));
        let (questions, grid) = (questions(14), Grid { from: 1000, step: 100, count: 4 });
        let ask = || futures::future::join_all(questions.iter().map(|q| answers.range(q, Some("shop/a"), grid)));
        let all = ask().await;
        assert!(all.iter().all(|history| history.trouble.as_ref().unwrap().contains("does not answer within 4 s")));
        drop(silent);

        // A failure is no answer that would be good for a while.
        let _works = Mock::given(path("/api/v1/query_range")).respond_with(matrix()).mount_as_scoped(&server).await;
        age(&answers, FRESH).await;
        assert!(ask().await.iter().all(|history| history.trouble.is_none()));
    }
}
