//! A shop whose SLOs and runbooks the page shows: objects and series, made up and always the same.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::{FutureExt as _, future::BoxFuture};
use plimsoll::{
    page::{Decides, Explains, Objects, Recorded},
    runbooks::verdict::Verdict,
};
use plimsoll_api::{AlertRule, Runbook, RunbookExecution, Slo};
use plimsoll_page::{
    Kept,
    ask::{ALERTS, Grid, History, Line, Question, Reading, Sample},
};
use plimsoll_slo::names;
use serde_json::{Value, json};

const DAY: i64 = 86_400;
const HOUR: i64 = 3600;

/// How one SLO goes: as numbers from which every series follows.
#[derive(Clone, Debug)]
struct Course {
    id: String,
    /// The error budget as a ratio.
    budget: f64,
    /// Share of the budget that is left now.
    left: f64,
    /// Burn rate of every day.
    usual: f64,
    /// Burn rate of each trouble, and how many seconds ago it began and ended.
    troubles: Vec<(f64, i64, i64)>,
    /// What fires now: tier and severity.
    fires: Vec<(&'static str, &'static str)>,
    /// Whether the scorer watches it.
    watched: bool,
    /// Labels of its groups.
    groups: Vec<&'static str>,
}

/// The windows that the default tiers read.
const WINDOWS: [(&str, i64); 7] =
    [("5m", 300), ("30m", 1800), ("1h", HOUR), ("2h", 2 * HOUR), ("6h", 6 * HOUR), ("1d", DAY), ("3d", 3 * DAY)];

impl Course {
    fn quiet(id: &str, objective: f64, left: f64) -> Self {
        Self {
            id: id.to_owned(),
            budget: 1.0 - objective / 100.0,
            left,
            usual: 0.4,
            troubles: Vec::new(),
            fires: Vec::new(),
            watched: false,
            groups: Vec::new(),
        }
    }

    /// Burn rate over a window that ends so many seconds ago.
    fn burn(&self, ago: i64, window: i64) -> f64 {
        let overlap = |began: i64, ended: i64| ((ago + window).min(began) - ago.max(ended)).max(0) as f64;
        let all = self.troubles.iter().map(|(rate, began, ended)| rate * overlap(*began, *ended) / window as f64);
        // A little life, the same at every run.
        let wave = ((ago + window / 2) as f64 / 9000.0).sin() * 0.25 + ((ago as f64) / 1700.0).sin() * 0.12;
        (self.usual * (1.0 + wave) + all.sum::<f64>()).max(0.0)
    }

    /// Share of the budget left so many seconds ago: what is left now, and what was spent since.
    fn left(&self, ago: i64) -> f64 {
        let spent = self.troubles.iter().map(|(rate, began, ended)| rate * (ago.min(*began) - ended).max(0) as f64);
        let usual = self.usual * ago as f64;
        (self.left + (spent.sum::<f64>() + usual) / (30.0 * DAY as f64)).min(1.0)
    }

    /// Whether it fires, so many seconds ago.
    fn fires(&self, ago: i64, after: i64) -> bool {
        self.troubles.iter().any(|(_, began, ended)| ago <= began - after && ago >= *ended)
    }
}

/// A question about an SLO, or all, at these times.
type Asked = (Question, Option<String>, Grid);

/// Everything that the page shows, in memory.
#[derive(Debug)]
pub(crate) struct Shop {
    now: i64,
    courses: Mutex<Vec<Course>>,
    slos: Vec<Kept<Slo>>,
    alert_rules: Vec<Kept<AlertRule>>,
    runbooks: Vec<Kept<Runbook>>,
    executions: Mutex<Vec<Kept<RunbookExecution>>>,
    changes: AtomicU64,
    /// What was computed once: readers come again and again.
    known: Mutex<HashMap<Asked, History>>,
    /// Nobody answers any more.
    pub(crate) away: AtomicBool,
}

fn slo(namespace: &str, name: &str, spec: Value, status: Value) -> Kept<Slo> {
    let object = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO", "status": status, "spec": spec,
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": "2026-01-10T09:00:00Z"}});
    match serde_json::from_value(object) {
        Ok(object) => Kept::new(namespace, name, object),
        Err(error) => Kept { namespace: namespace.to_owned(), name: name.to_owned(), object: Err(error.to_string()) },
    }
}

fn ready(message: &str) -> Value {
    let (status, reason) = if message.is_empty() { ("True", "AsDeclared") } else { ("False", "Invalid") };
    json!({"conditions": [
        {"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-11-01T08:00:00Z"},
        {"type": "RulesLoaded", "status": "True", "reason": "Loaded", "message": "Prometheus http://prometheus:9090 has all 19 rules", "lastTransitionTime": "2026-11-01T08:00:30Z"}
    ], "rules": "PrometheusRule shop/plimsoll-checkout"})
}

fn spec(name: &str, objective: &str, owner: &str) -> Value {
    json!({"objective": objective, "owner": owner, "service": name.split('-').next(), "labels": {"tier": "one"},
        "sli": {"events": {"bad": format!("http_requests_total{{job=\"{name}\",code=~\"5..\"}}"), "total": format!("http_requests_total{{job=\"{name}\"}}")}}})
}

impl Shop {
    /// Nothing at all.
    pub(crate) fn empty(now: i64) -> Self {
        Self {
            now,
            courses: Mutex::default(),
            slos: Vec::new(),
            alert_rules: Vec::new(),
            runbooks: Vec::new(),
            executions: Mutex::default(),
            changes: AtomicU64::new(0),
            known: Mutex::default(),
            away: AtomicBool::new(false),
        }
    }

    /// Many quiet SLOs.
    pub(crate) fn many(now: i64, count: usize) -> Self {
        let mut shop = Self::empty(now);
        let teams = ["payments", "search", "logistics", "identity"];
        let mut courses = Vec::new();
        for n in 0..count {
            let (namespace, name) = (format!("team-{}", n % 40), format!("service-{n}-availability"));
            let team = teams.get(n % teams.len()).copied().unwrap_or_default();
            shop.slos.push(slo(&namespace, &name, spec(&name, "99.9", team), ready("")));
            let mut course = Course::quiet(&format!("{namespace}/{name}"), 99.9, 0.15 + (n * 37 % 83) as f64 / 100.0);
            course.usual = (n * 13 % 9) as f64 / 10.0;
            let began = (2 + (n as i64 * 7) % 27) * DAY;
            course.troubles = vec![(12.0, began, began - 9 * HOUR)];
            courses.push(course);
        }
        shop.courses = Mutex::new(courses);
        shop
    }

    /// Fourteen SLOs of every kind, two of which burn.
    pub(crate) fn open(now: i64) -> Self {
        let mut shop = Self::empty(now);
        let long = "an-objective-whose-name-takes-all-of-sixty-characters-so-far";
        let mut checkout = spec("checkout-availability", "99.95", "payments");
        checkout["description"] = json!("Customers can pay.");
        checkout["groupBy"] = json!(["route"]);
        checkout["anomaly"] = json!({});
        checkout["runbooks"] = json!(["checkout-rollback"]);
        let at =
            |seconds: i64| jiff::Timestamp::from_second(now - seconds).map(|time| time.to_string()).unwrap_or_default();
        checkout["exclusions"] = json!([
            {"name": "datacentre-move", "from": at(19 * DAY), "to": at(18 * DAY), "reason": "CHG-4711"},
            {"name": "patch-night", "every": "Sun 03:00", "for": "2h", "timeZone": "Europe/Berlin"}]);
        let mut latency = spec("search-latency", "99", "search");
        latency["sli"] =
            json!({"latency": {"histogram": "http_request_duration_seconds{job=\"search\"}", "threshold": "300ms"}});
        let mut broken = spec("broken-by-a-typo", "99.9", "logistics");
        broken["sli"]["events"]["total"] = json!("sum(http_requests_total");
        let hostile = slo(
            "shop",
            "hostile",
            json!({"objective": "99.9", "owner": "<script>alert(1)</script>",
            "labels": {"note": "\"><img src=x onerror=alert(1)>"}, "sli": {"up": {"series": "up{job=\"a\"}"}}}),
            ready(""),
        );
        let why = "spec.sli.events.total: it is not PromQL: unclosed left parenthesis; close it with )";
        shop.slos = vec![
            slo("shop", "checkout-availability", checkout, ready("")),
            slo("shop", "search-latency", latency, ready("")),
            slo("shop", "broken-by-a-typo", broken, ready(why)),
            slo("shop", "unreadable", json!({"objective": 5}), json!({})),
            hostile,
            slo("platform", long, spec(long, "99.5", "a-team-with-quite-a-long-name-too"), ready("")),
        ];
        for (name, objective, owner) in [
            ("cart-availability", "99.9", "payments"),
            ("payment-provider", "99.5", "payments"),
            ("login-availability", "99.99", "identity"),
            ("catalogue-freshness", "99", "search"),
            ("stock-accuracy", "99.9", "logistics"),
            ("mail-delivery", "99", "logistics"),
            ("images-latency", "95", "storefront"),
            ("new-service", "99.9", "storefront"),
        ] {
            shop.slos.push(slo("shop", name, spec(name, objective, owner), ready("")));
        }
        shop.courses = Mutex::new(courses(long));
        shop.alert_rules = alert_rules();
        if let Some(Kept { object: Ok(object), .. }) = shop.slos.first_mut() {
            let meta = &mut Arc::make_mut(object).metadata;
            meta.generation = Some(3);
            let entry = json!([{"manager": "argocd", "operation": "Apply", "time": at(4 * DAY)}]);
            meta.managed_fields = serde_json::from_value(entry).ok();
        }
        shop.runbooks = vec![runbook("checkout-rollback", "Approve"), runbook("evidence", "Auto")];
        shop.executions = Mutex::new(vec![execution("rollback-1", now, false), execution("evidence-1", now, true)]);
        shop
    }

    /// The cart begins to burn.
    pub(crate) fn burn(&self) {
        // Before what follows from it is locked: who computes that locks them the other way round.
        {
            let mut courses = self.courses.lock().unwrap_or_else(PoisonError::into_inner);
            for course in courses.iter_mut().filter(|course| course.id == "shop/cart-availability") {
                course.troubles.push((22.0, 1200, 0));
                course.fires = vec![("fast", "page")];
            }
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    fn history(&self, question: &Question, slo_id: Option<&str>, grid: Grid) -> History {
        let key = (question.clone(), slo_id.map(str::to_owned), grid);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(key).or_insert_with(|| self.computed(question, slo_id, grid)).clone()
    }

    fn computed(&self, question: &Question, slo_id: Option<&str>, grid: Grid) -> History {
        let mut lines: BTreeMap<BTreeMap<String, String>, Vec<Option<f64>>> = BTreeMap::new();
        for place in 0..grid.count {
            let at = grid.from + grid.step * place as i64;
            for sample in self.series(question, slo_id, at) {
                let values = lines.entry(sample.labels).or_insert_with(|| vec![None; grid.count]);
                if let Some(slot) = values.get_mut(place) {
                    *slot = Some(sample.value);
                }
            }
        }
        let lines = lines.into_iter().map(|(labels, values)| Line { labels, values }).collect();
        History { lines, at: jiff::Timestamp::from_second(self.now).ok(), trouble: None }
    }

    fn series(&self, question: &Question, slo_id: Option<&str>, at: i64) -> Vec<Sample> {
        if question.object == names::ALERT_RULE {
            let all = rule_values(question.name, self.now - at).into_iter();
            let of = |sample: &Sample| slo_id.is_none_or(|id| sample.label(names::ALERT_RULE) == id);
            return question.folded(all.filter(|sample| of(sample) && question.takes(&sample.labels)));
        }
        let courses = self.courses.lock().unwrap_or_else(PoisonError::into_inner);
        let of = courses.iter().filter(|course| slo_id.is_none_or(|id| course.id == id));
        let all = of.flat_map(|course| values(course, question.name, self.now - at));
        question.folded(all.filter(|sample| question.takes(&sample.labels)))
    }
}

fn courses(long: &str) -> Vec<Course> {
    let quiet = |name: &str, objective, left| Course::quiet(&format!("shop/{name}"), objective, left);
    vec![
        Course {
            troubles: vec![
                (9.0, 23 * DAY, 23 * DAY - 14 * HOUR),
                (7.2, 12 * DAY, 12 * DAY - 11 * HOUR),
                (21.6, 3000, 0),
            ],
            fires: vec![("fast", "page"), ("medium", "page")],
            watched: true,
            groups: vec!["/pay", "/basket", "/address"],
            ..quiet("checkout-availability", 99.95, 0.184)
        },
        Course {
            troubles: vec![(2.4, 2 * DAY, 0)],
            fires: vec![("slow", "ticket")],
            ..quiet("search-latency", 99.0, 0.362)
        },
        Course { usual: 0.2, ..quiet("hostile", 99.9, 0.81) },
        Course { troubles: vec![(9.0, 11 * DAY, 10 * DAY)], ..Course::quiet(&format!("platform/{long}"), 99.5, 0.57) },
        Course { troubles: vec![(6.0, 6 * DAY, 5 * DAY)], ..quiet("cart-availability", 99.9, 0.613) },
        quiet("payment-provider", 99.5, 0.74),
        Course {
            usual: 0.1,
            troubles: vec![(90.0, 9 * DAY, 9 * DAY - 8 * HOUR)],
            ..quiet("login-availability", 99.99, -0.08)
        },
        Course { usual: 0.8, ..quiet("catalogue-freshness", 99.0, 0.22) },
        quiet("stock-accuracy", 99.9, 0.93),
        Course { usual: 0.0, ..quiet("mail-delivery", 99.0, 1.0) },
        Course { troubles: vec![(5.0, 20 * DAY, 18 * DAY)], ..quiet("images-latency", 95.0, 0.488) },
    ]
}

/// The series of one name of one SLO, so many seconds ago.
fn values(course: &Course, name: &str, ago: i64) -> Vec<Sample> {
    let sample = |labels: &[(&str, &str)], value: f64| {
        let own = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let labels: BTreeMap<String, String> = own.chain([(names::SLO_ID.to_owned(), course.id.clone())]).collect();
        Sample { labels, value }
    };
    let groups: Vec<Vec<(&str, &str)>> = if course.groups.is_empty() {
        vec![Vec::new()]
    } else {
        course.groups.iter().map(|group| vec![("route", *group)]).collect()
    };
    // The first group is the one in trouble.
    let share = |place: usize| if place == 0 { 1.0 } else { 0.15 / place as f64 };
    match name {
        names::BUDGET_REMAINING => groups
            .iter()
            .enumerate()
            .map(|(place, group)| sample(group, 1.0 - (1.0 - course.left(ago)) * share(place)))
            .collect(),
        names::ERROR_RATIO => {
            let one = |(place, group): (usize, &Vec<(&str, &str)>)| {
                WINDOWS.map(|(window, seconds)| {
                    let labels: Vec<_> = group.iter().copied().chain([(names::WINDOW, window)]).collect();
                    sample(&labels, course.burn(ago, seconds) * course.budget * share(place))
                })
            };
            groups.iter().enumerate().flat_map(one).collect()
        }
        ALERTS => {
            let fires = course.fires.iter().filter(|_| course.fires(ago, 300));
            let labels = |(tier, severity): &(&'static str, &'static str)| {
                [
                    ("alertname", names::ALERT_BURN),
                    (names::TIER, *tier),
                    (names::SEVERITY, *severity),
                    ("alertstate", "firing"),
                ]
            };
            fires.map(|fires| sample(&labels(fires), 1.0)).collect()
        }
        names::ANOMALY_SCORE if course.watched => {
            let score = if course.fires(ago, 0) { 0.93 } else { 0.12 + 0.08 * (ago as f64 / 7000.0).sin() };
            vec![sample(&[("signal", "bad"), ("route", "/pay")], score)]
        }
        names::ANOMALY_EXPECTED | names::ANOMALY_LOWER | names::ANOMALY_UPPER if course.watched => {
            let day = (ago as f64 / DAY as f64 * std::f64::consts::TAU).cos();
            let wide = match name {
                names::ANOMALY_LOWER => 0.6,
                names::ANOMALY_UPPER => 1.5,
                _ => 1.0,
            };
            vec![sample(&[("signal", "bad"), ("route", "/pay")], (0.9 + 0.4 * day) * wide)]
        }
        names::BAD if course.watched => {
            let day = (ago as f64 / DAY as f64 * std::f64::consts::TAU).cos();
            vec![sample(&[("route", "/pay")], (0.9 + 0.4 * day) * (0.9 + course.burn(ago, 300) / 4.0))]
        }
        names::COVERAGE => vec![sample(&[], 1.0)],
        names::TOTAL_CLOSED => vec![sample(&[], 4_320_000.0)],
        names::TOTAL_OPEN => vec![sample(&[], 1_200.0)],
        _ => Vec::new(),
    }
}

/// AlertRules: one that pages and watches, one that is broken.
fn alert_rules() -> Vec<Kept<AlertRule>> {
    let rule = |name: &str, spec: Value, mut status: Value| {
        // Of an AlertRule their number, of an SLO their place.
        status["rules"] = json!(3);
        let object = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "AlertRule", "status": status, "spec": spec,
            "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-10T09:00:00Z"}});
        match serde_json::from_value(object) {
            Ok(object) => Kept::new("shop", name, object),
            Err(error) => Kept { namespace: "shop".to_owned(), name: name.to_owned(), object: Err(error.to_string()) },
        }
    };
    let latency =
        "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{job=\"checkout\"}[5m])))";
    vec![
        rule(
            "pods",
            json!({"owner": "payments", "matchers": {"cluster": "prod-eu"}, "route": {"receiver": "payments-pager"}, "rules": [
                {"alert": "PodRestarting", "expr": "increase(kube_pod_container_status_restarts_total[10m]) > 5", "for": "1m", "severity": "Page"},
                {"alert": "CheckoutLatencyUnusual", "anomaly": {"query": latency, "direction": "Up"}},
                {"alert": "PodPending", "expr": "kube_pod_status_phase{phase=\"Pending\"} == 1", "for": "15m"}]}),
            ready(""),
        ),
        rule(
            "typo",
            json!({"rules": [{"alert": "Odd", "expr": "up =="}]}),
            ready("spec.rules[0].expr: it is not PromQL"),
        ),
    ]
}

/// The series of one name of the AlertRule `pods`, so many seconds ago.
fn rule_values(name: &str, ago: i64) -> Vec<Sample> {
    let sample = |alert: &str, more: &[(&str, &str)], value: f64| {
        let own = [(names::ALERT_RULE, "shop/pods"), ("alertname", alert), (names::ALERT, alert)];
        let labels = own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Sample { labels: labels.collect(), value }
    };
    let wave = (ago as f64 / DAY as f64 * std::f64::consts::TAU).cos();
    let (restarts, slow) =
        (ago < 1500 || (2 * DAY..2 * DAY + 2 * HOUR).contains(&ago), (5 * DAY..5 * DAY + HOUR).contains(&ago));
    let firing = [("alertstate", "firing")];
    match name {
        ALERTS => {
            let mut all = vec![sample("PodPending", &[("alertstate", "pending")], 1.0)];
            all.extend(restarts.then(|| sample("PodRestarting", &firing, 1.0)));
            all.extend(slow.then(|| sample("CheckoutLatencyUnusual", &firing, 1.0)));
            all
        }
        names::ANOMALY_SCORE => vec![sample("CheckoutLatencyUnusual", &[], if slow { 0.9 } else { 0.1 })],
        names::ANOMALY_VALUE => {
            vec![sample("CheckoutLatencyUnusual", &[], if slow { 0.9 } else { 0.25 + 0.07 * wave })]
        }
        names::ANOMALY_LOWER => vec![sample("CheckoutLatencyUnusual", &[], 0.2 + 0.05 * wave)],
        names::ANOMALY_EXPECTED => vec![sample("CheckoutLatencyUnusual", &[], 0.25 + 0.08 * wave)],
        names::ANOMALY_UPPER => vec![sample("CheckoutLatencyUnusual", &[], 0.32 + 0.1 * wave)],
        _ => Vec::new(),
    }
}

fn runbook(name: &str, mode: &str) -> Kept<Runbook> {
    let object = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "Runbook",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"description": "Brings checkout back to the revision before the one that burns.", "mode": mode,
            "serviceAccountName": "rollback", "trigger": {"slo": {"burning": "Page"}},
            "steps": [{"name": "note", "notify": {"destination": "chat", "message": "it burns"}}]}});
    match serde_json::from_value(object) {
        Ok(object) => Kept::new("shop", name, object),
        Err(error) => Kept { namespace: "shop".to_owned(), name: name.to_owned(), object: Err(error.to_string()) },
    }
}

fn execution(name: &str, now: i64, done: bool) -> Kept<RunbookExecution> {
    let at =
        |seconds: i64| jiff::Timestamp::from_second(now - seconds).map(|time| time.to_string()).unwrap_or_default();
    let step = |name: &str, begun: i64, message: &str| json!({"name": name, "intentTime": at(begun), "finishedAt": at(begun - 7), "attempts": 1, "outcome": "Succeeded", "message": message});
    let mut first = step("last-words", 1200, "kept 48210 bytes of the log of checkout-7f9c");
    first["artifacts"] = json!([{"name": "checkout.log", "location": "volume://evidence/shop/evidence-1/checkout.log",
        "bytes": 48_210, "sha256": "9f".repeat(32), "expires": at(-7 * DAY)}]);
    let status = if done {
        json!({"phase": "Succeeded", "reason": "Done", "message": "all steps are done, and it helped", "startedAt": at(1210), "finishedAt": at(1100),
            "steps": [first, step("back", 1190, "revision 41 is rolled out"), step("look", 1180, "burn fell to 0.8")]})
    } else {
        json!({"phase": "AwaitingApproval", "reason": "Asked", "message": "somebody must approve it before 15:00", "specHash": "ab".repeat(32), "askedAt": at(300)})
    };
    let object = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": at(if done { 1215 } else { 305 })},
        "spec": {"runbook": {"name": if done { "evidence" } else { "checkout-rollback" }, "uid": "u", "generation": 3},
            "trigger": {"kind": "Alert", "fingerprint": "f", "startsAt": at(1300), "value": "21.6",
                "labels": {"alertname": "SLOErrorBudgetBurn", "slo_id": "shop/checkout-availability", "severity": "page"}},
            "parameters": {"deployment": "checkout"},
            "objects": [{"parameter": "deployment", "kind": "Deployment", "namespace": "shop", "name": "checkout", "uid": "d"}],
            "mode": if done { "Auto" } else { "Approve" }, "serviceAccountName": "rollback",
            "steps": [{"name": "last-words", "logs": {"pod": "pod", "container": "app", "previous": true}},
                {"name": "back", "rollback": {"workload": "deployment"}}, {"name": "look", "wait": "10m"}],
            "deadline": "1h", "cooldown": "30m"},
        "status": status});
    match serde_json::from_value(object) {
        Ok(object) => Kept::new("shop", name, object),
        Err(error) => Kept { namespace: "shop".to_owned(), name: name.to_owned(), object: Err(error.to_string()) },
    }
}

impl Recorded for Shop {
    fn now<'a>(&'a self, questions: &'a [Question]) -> BoxFuture<'a, Reading> {
        let away = self.away.load(Ordering::Relaxed);
        let trouble = away.then(|| "http://prometheus:9090 does not answer: connection refused".to_owned());
        let ago = if away { 240 } else { 0 };
        let at = jiff::Timestamp::from_second(self.now - ago).ok();
        let moment = Grid { from: self.now, step: 1, count: 1 };
        let newest = |line: Line| Some(Sample { value: line.values.first().copied().flatten()?, labels: line.labels });
        let samples = questions
            .iter()
            .map(|question| self.history(question, None, moment).lines.into_iter().filter_map(newest).collect())
            .collect();
        async move { Reading { at, samples, trouble } }.boxed()
    }

    fn range<'a>(&'a self, question: &'a Question, slo_id: Option<&'a str>, grid: Grid) -> BoxFuture<'a, History> {
        let history = self.history(question, slo_id, grid);
        async move { history }.boxed()
    }
}

impl Objects for Shop {
    fn slos(&self) -> Vec<Kept<Slo>> {
        self.slos.clone()
    }

    fn alert_rules(&self) -> Vec<Kept<AlertRule>> {
        self.alert_rules.clone()
    }

    fn runbooks(&self) -> Vec<Kept<Runbook>> {
        self.runbooks.clone()
    }

    fn executions(&self) -> Vec<Kept<RunbookExecution>> {
        self.executions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn revision(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
}

/// Says something, as `plimsoll explain` would.
impl Explains for Shop {
    fn explain<'a>(&'a self, slo: &'a Slo) -> BoxFuture<'a, String> {
        let name = slo.metadata.name.clone().unwrap_or_default();
        let text = format!(
            "{name} burns its budget: the fast tier fires.\n  ✓ valid, rendered to 19 rules in PrometheusRule shop/plimsoll-{name}\n  ✓ Prometheus http://prometheus:9090 has loaded them\n  ✗ tier fast fires: burn 18.4 over 1h and 21.9 over 5m, threshold 14.4\n  → look at route=/pay first: it spends the budget\n"
        );
        async move { text }.boxed()
    }
}

/// Knows one user, as an API server would.
impl Decides for Shop {
    fn decide<'a>(&'a self, token: &'a str, verdict: &'a Verdict) -> BoxFuture<'a, Result<String, String>> {
        async move {
            if token != "of-eve" {
                return Err("who you are: Unauthorized".to_owned());
            }
            if verdict.spec_hash.as_deref() != Some("ab".repeat(32).as_str()) {
                return Err("its specHash is not that of the execution's status".to_owned());
            }
            let mut executions = self.executions.lock().unwrap_or_else(PoisonError::into_inner);
            for kept in executions.iter_mut().filter(|kept| kept.name == verdict.name) {
                let Ok(object) = &kept.object else { continue };
                let mut value = serde_json::to_value(object.as_ref()).map_err(|error| error.to_string())?;
                value["status"]["phase"] = json!("Running");
                value["status"]["message"] = json!("its steps are under way");
                value["status"]["approval"] = json!({"approval": "a", "decision": verdict.decision, "decider": "eve",
                    "reason": verdict.reason, "at": "2026-11-12T14:05:00Z"});
                let object = serde_json::from_value(value).map_err(|error| error.to_string())?;
                *kept = Kept::new("shop", verdict.name.as_str(), object);
            }
            self.changes.fetch_add(1, Ordering::Relaxed);
            Ok("eve".to_owned())
        }
        .boxed()
    }
}
