//! The Prometheus and the Alertmanager: given, or started with a configuration made for them ([`super::configs`]).

use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    child::{self, Program},
    data::Data,
};
use crate::{
    cli::{out::Stop, up::Up},
    sinks::config::check_url,
    source::files::shown,
};

/// The file of the directory that says what is scraped.
pub const SCRAPES: &str = "prometheus.yml";
/// The file of the directory that says who is told of alerts.
pub const ROUTES: &str = "alertmanager.yml";
/// What is recommended to everybody; its inhibition holds here too.
const RECOMMENDED: &str = include_str!("../../../../docs/alertmanager.yml");
/// How long samples are kept: longer than a quarter.
const RETENTION: &str = "100d";

/// Where the servers are, and what is to be started for that.
#[derive(Debug)]
pub struct Servers {
    /// Address of the Prometheus.
    pub prometheus: String,
    /// Address of the Alertmanager, if there is one.
    pub alertmanager: Option<String>,
    /// Ours to start.
    pub programs: Vec<Program>,
    /// Whether the Prometheus is ours, with the configuration that [`configuration`] makes.
    pub own_prometheus: bool,
    /// Whether the Alertmanager is ours, and posts to us.
    pub own_alertmanager: bool,
}

/// Where others on this machine reach what listens here.
pub fn reached(listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() { SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port()) } else { listen }
}

/// A port that is free now.
fn free() -> Result<SocketAddr, Stop> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    bound.map_err(|error| Stop::Failed(format!("no port is free: {error}"), String::new()))
}

impl Servers {
    /// Finds out what is to be started.
    ///
    /// # Errors
    /// When an address is none, or a program is not there.
    pub fn new(args: &Up, data: &Data) -> Result<Self, Stop> {
        let given = |option: &str, url: &Option<String>| match url.as_deref().map(check_url) {
            Some(Err(why)) => Err(Stop::Failed(format!("{option}: {why}"), String::new())),
            _ => Ok(()),
        };
        given("--prometheus", &args.prometheus)?;
        given("--alertmanager", &args.alertmanager)?;
        given("--ruler", &args.ruler)?;
        let mut programs = Vec::new();
        let own_prometheus = args.prometheus.is_none();
        let own_alertmanager = own_prometheus && args.alertmanager.is_none();
        // Both are looked for before one is started.
        let paths = (
            own_prometheus.then(|| child::find("prometheus")).transpose()?,
            own_alertmanager.then(|| child::find("alertmanager")).transpose()?,
        );
        let mut alertmanager = args.alertmanager.clone();
        if let Some(path) = paths.1 {
            let address = free()?;
            let program = program("alertmanager", path, data, address, &["--cluster.listen-address="]);
            programs.push(program);
            alertmanager = Some(format!("http://{address}"));
        }
        let mut prometheus = args.prometheus.clone().unwrap_or_default();
        if let Some(path) = paths.0 {
            let address = free()?;
            let retention = format!("--storage.tsdb.retention.time={RETENTION}");
            programs.push(program("prometheus", path, data, address, &["--web.enable-lifecycle", &retention]));
            prometheus = format!("http://{address}");
        }
        Ok(Self { prometheus, alertmanager, programs, own_prometheus, own_alertmanager })
    }
}

fn program(name: &'static str, path: PathBuf, data: &Data, address: SocketAddr, more: &[&str]) -> Program {
    let storage = if name == "prometheus" { "--storage.tsdb.path" } else { "--storage.path" };
    let mut arguments: Vec<OsString> = vec![
        format!("--config.file={}", data.join(format!("{name}.yml")).display()).into(),
        format!("{storage}={}", data.join(name).display()).into(),
        format!("--web.listen-address={address}").into(),
        "--log.level=warn".into(),
    ];
    arguments.extend(more.iter().map(Into::into));
    let file = |ending: &str| data.join(format!("{name}.{ending}"));
    Program { name, path, arguments, log: file("log"), pid: file("pid") }
}

/// A file of the directory as a map, and its text; nothing where there is no such file.
fn map(path: &Path) -> Result<(Map<String, Value>, String), String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(crate::source::files::unreadable(path, &error).message),
    };
    match serde_saphyr::from_str(&text) {
        Ok(Value::Object(map)) => Ok((map, text)),
        Ok(Value::Null) => Ok((Map::new(), text)),
        Ok(_) => Err(format!("{}: this is no map; write it as for the server itself", shown(path))),
        Err(error) => Err(format!("{}: {error}", shown(path))),
    }
}

/// Takes a list from a map.
fn list(map: &mut Map<String, Value>, name: &str) -> Result<Vec<Value>, String> {
    match map.remove(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(format!("{name}: this is no list; write it as in the documentation of the server")),
    }
}

/// What the directory says about who is told of alerts: a configuration of Alertmanager.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    route: Option<Map<String, Value>>,
    receivers: Vec<Value>,
    inhibit_rules: Vec<Value>,
    /// `global`, `templates` and whatever else there is.
    others: Map<String, Value>,
}

impl Routes {
    /// Reads `DIR/alertmanager.yml`, with its text. Nothing where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, or would tell nobody, with its name.
    pub fn read(directory: &Path) -> Result<(Self, String), String> {
        let path = directory.join(ROUTES);
        let wrong = |why: String| format!("{}: {why}", shown(&path));
        let (mut others, text) = map(&path)?;
        // The configuration that is made of it lies elsewhere.
        let base = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        others.iter_mut().for_each(|(key, value)| anchor_of(key, value, &base));
        let receivers = list(&mut others, "receivers").map_err(wrong)?;
        let inhibit_rules = list(&mut others, "inhibit_rules").map_err(wrong)?;
        let route = match others.remove("route") {
            None | Some(Value::Null) if receivers.is_empty() => None,
            Some(Value::Object(route)) if route.get("receiver").is_some_and(Value::is_string) => Some(route),
            _ => {
                let why =
                    "route: no receiver is named; write route: {receiver: NAME}, with the name of one of receivers";
                return Err(wrong(why.to_owned()));
            }
        };
        Ok((Self { route, receivers, inhibit_rules, others }, text))
    }

    /// Whether nobody is told.
    pub fn is_empty(&self) -> bool {
        self.route.is_none()
    }

    /// The configuration of an Alertmanager of our own. Every alert that nothing inhibits is posted to us, by itself and at
    /// once, since what it leads to is for the runbooks to say; then it goes where the directory's route leads.
    ///
    /// # Errors
    /// When the inhibition that is recommended cannot be read, which is a fault of ours.
    pub fn configuration(&self, listen: SocketAddr, token: &Path) -> Result<Value, Stop> {
        let fault = |why: String| Stop::Failed(format!("the recommended inhibition: {why}"), String::new());
        let recommended: Value = serde_saphyr::from_str(RECOMMENDED).map_err(|error| fault(error.to_string()))?;
        let recommended = recommended.get("inhibit_rules").and_then(Value::as_array);
        let recommended = recommended.ok_or_else(|| fault("there is none".to_owned()))?;
        let webhook = json!({
            "url": format!("http://{}{}", reached(listen), crate::alerts_webhook::server::PATH),
            "send_resolved": true,
            "http_config": {"authorization": {"credentials_file": token}},
        });
        let taken = |name: &str| self.receivers.iter().any(|one| one.get("name").and_then(Value::as_str) == Some(name));
        let name = if taken("plimsoll") { "plimsoll-up" } else { "plimsoll" };
        let ours = json!({
            "receiver": name, "group_by": ["..."], "group_wait": "1s", "group_interval": "5s", "repeat_interval": "5m",
            "continue": true,
        });
        // Their own times are those of Alertmanager, so the root has none. Where a line of theirs went is known to
        // `configs`: their items come first, and their route is the second one.
        let routes: Vec<Value> = [ours].into_iter().chain(self.route.clone().map(Value::Object)).collect();
        let more = recommended.iter().filter(|rule| !self.inhibit_rules.contains(rule));
        let mut config = self.others.clone();
        config.insert("route".to_owned(), json!({"receiver": name, "routes": routes}));
        let receivers = self.receivers.iter().cloned().chain([json!({"name": name, "webhook_configs": [webhook]})]);
        config.insert("receivers".to_owned(), receivers.collect());
        config.insert("inhibit_rules".to_owned(), self.inhibit_rules.iter().chain(more).cloned().collect());
        Ok(Value::Object(config))
    }
}

/// What the directory says about scraping.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrapes {
    global: Map<String, Value>,
    jobs: Vec<Value>,
}

impl Scrapes {
    /// Reads `DIR/prometheus.yml`, with its text: `global` and `scrape_configs`. Nothing where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, with its name.
    pub fn read(directory: &Path) -> Result<(Self, String), String> {
        let path = directory.join(SCRAPES);
        let wrong = |why: String| format!("{}: {why}", shown(&path));
        let (mut all, text) = map(&path)?;
        let global = match all.remove("global") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(global)) => global,
            Some(_) => return Err(wrong("global: this is no map; write it as in Prometheus".to_owned())),
        };
        let mut jobs = list(&mut all, "scrape_configs").map_err(wrong)?;
        // The configuration that is made of it lies elsewhere.
        let base = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        jobs.iter_mut().for_each(|job| anchor(job, &base));
        Ok((Self { global, jobs }, text))
    }

    /// Whether nothing is scraped.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }
}

/// Names of files are relative to the directory, as the server would take them there.
fn anchor(value: &mut Value, base: &Path) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| anchor_of(key, value, base)),
        Value::Array(items) => items.iter_mut().for_each(|item| anchor(item, base)),
        _ => {}
    }
}

/// See [`anchor`]: of the value of this key.
fn anchor_of(key: &str, value: &mut Value, base: &Path) {
    let whole = |value: &mut Value| {
        if let Value::String(name) = value
            && !name.is_empty()
            && Path::new(name.as_str()).is_relative()
        {
            *name = base.join(name.as_str()).display().to_string();
        }
    };
    match value {
        Value::String(_) if key.ends_with("_file") => whole(value),
        Value::Array(files) if key == "files" || key == "templates" => files.iter_mut().for_each(whole),
        other => anchor(other, base),
    }
}

/// The configuration of a Prometheus of our own.
pub fn configuration(scrapes: &Scrapes, data: &Data, listen: SocketAddr, alertmanager: Option<&str>) -> Value {
    let Scrapes { global, jobs } = scrapes;
    let mut all = json!({"scrape_interval": "15s", "evaluation_interval": "15s"});
    if let Some(map) = all.as_object_mut() {
        map.extend(global.clone());
    }
    let taken = |name: &str| jobs.iter().any(|job| job.get("job_name").and_then(Value::as_str) == Some(name));
    let name = if taken("plimsoll") { "plimsoll-up" } else { "plimsoll" };
    // The scores keep the labels of the series that they are of.
    let ours = json!({
        "job_name": name,
        "honor_labels": true,
        "scrape_interval": "15s",
        "static_configs": [{"targets": [reached(listen).to_string()]}],
    });
    let mut config = json!({
        "global": all,
        "rule_files": [data.join("rules").join("*.yaml")],
        "scrape_configs": jobs.iter().cloned().chain([ours]).collect::<Vec<_>>(),
    });
    if let (Some(url), Some(map)) = (alertmanager.and_then(|url| reqwest::Url::parse(url).ok()), config.as_object_mut())
    {
        let host = url.host_str().unwrap_or_default();
        let target = url.port_or_known_default().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let sent =
            json!({"scheme": url.scheme(), "path_prefix": url.path(), "static_configs": [{"targets": [target]}]});
        map.insert("alerting".to_owned(), json!({"alertmanagers": [sent]}));
    }
    config
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn what_is_scraped_is_taken_over_with_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(folder.path()).unwrap();
        assert_eq!(Scrapes::read(folder.path()), Ok((Scrapes::default(), String::new())));
        let text = "
global: {scrape_interval: 5s, external_labels: {site: home}}
rule_files: [other.yml]
scrape_configs:
  - job_name: plimsoll
    basic_auth: {username: a, password_file: secrets/password}
    file_sd_configs: [{files: [targets.json, /etc/targets.json]}]
";
        fs::write(folder.path().join(SCRAPES), text).unwrap();
        let (scrapes, source) = Scrapes::read(folder.path()).unwrap();
        assert_eq!(source, text);
        let data = Data::open(Some(&folder.path().join("data")), folder.path()).unwrap();
        let listen = "0.0.0.0:9110".parse().unwrap();
        let config = configuration(&scrapes, &data, listen, Some("https://alerts.example/am/"));
        assert_eq!(
            config["global"],
            json!({"scrape_interval": "5s", "evaluation_interval": "15s", "external_labels": {"site": "home"}})
        );
        let job = &config["scrape_configs"][0];
        assert_eq!(job["basic_auth"]["password_file"], json!(base.join("secrets/password")));
        assert_eq!(job["file_sd_configs"][0]["files"], json!([base.join("targets.json"), "/etc/targets.json"]));
        let ours = &config["scrape_configs"][1];
        assert_eq!(
            (&ours["job_name"], &ours["static_configs"][0]["targets"][0]),
            (&json!("plimsoll-up"), &json!("127.0.0.1:9110"))
        );
        let alerting = &config["alerting"]["alertmanagers"][0];
        assert_eq!((&alerting["scheme"], &alerting["path_prefix"]), (&json!("https"), &json!("/am/")));
        assert_eq!(alerting["static_configs"][0]["targets"], json!(["alerts.example:443"]));
        assert_eq!(config["rule_files"], json!([data.join("rules/*.yaml")]));
    }

    #[test]
    fn mistakes_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        for (text, wanted) in [
            ("scrape_configs: {a: b}", "scrape_configs: this is no list"),
            ("global: 5", "global: this is no map"),
            ("a: [", ""),
        ] {
            fs::write(folder.path().join(SCRAPES), text).unwrap();
            let why = Scrapes::read(folder.path()).unwrap_err();
            assert!(why.contains("prometheus.yml: ") && why.contains(wanted), "{why}");
        }
    }

    /// What is inhibited here is what is recommended, and what the pages say.
    #[test]
    fn alerts_are_inhibited_as_recommended() {
        let (routes, _) = Routes::read(tempfile::tempdir().unwrap().path()).unwrap();
        let config = routes.configuration("0.0.0.0:9110".parse().unwrap(), Path::new("/token")).unwrap();
        let page = include_str!("../../../../docs/alerting.md");
        let (_, block) = page.split_once("```yaml\ninhibit_rules:").unwrap();
        let told: Value =
            serde_saphyr::from_str(&format!("inhibit_rules:{}", block.split_once("```").unwrap().0)).unwrap();
        assert_eq!(config["inhibit_rules"], told["inhibit_rules"]);
        assert_eq!(config["inhibit_rules"].as_array().unwrap().len(), 3);
        assert_eq!(config["route"]["routes"].as_array().unwrap().len(), 1, "and nobody else is told");
        assert_eq!(config["receivers"][0]["webhook_configs"][0]["url"], "http://127.0.0.1:9110/alerts");
        assert!(routes.is_empty());
    }

    #[test]
    fn receivers_of_the_directory_are_told_too() {
        let folder = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(folder.path()).unwrap();
        let text = "
global: {smtp_smarthost: 'mail.example:25', smtp_auth_password_file: secrets/mail}
templates: [mail.tmpl]
route: {receiver: plimsoll, group_wait: 30s, routes: [{matchers: ['severity=\"page\"'], receiver: pager}]}
inhibit_rules:
- {source_matchers: ['a=\"b\"'], target_matchers: ['c=\"d\"']}
- source_matchers: ['burnrate_tier=\"fast\"']
  target_matchers: ['burnrate_tier=\"medium\"']
  equal: [slo_id]
receivers:
- name: plimsoll
- {name: pager, pagerduty_configs: [{routing_key_file: secrets/key}]}
";
        fs::write(folder.path().join(ROUTES), text).unwrap();
        let (routes, source) = Routes::read(folder.path()).unwrap();
        assert!(!routes.is_empty() && source == text);
        let config = routes.configuration("127.0.0.1:1".parse().unwrap(), Path::new("/token")).unwrap();
        assert_eq!(config["route"]["receiver"], "plimsoll-up");
        assert_eq!(config["route"].as_object().unwrap().len(), 2, "no time of ours is handed down to theirs");
        let [ours, theirs] = config["route"]["routes"].as_array().unwrap().as_slice() else { unreachable!("two") };
        assert_eq!((&ours["receiver"], &ours["continue"]), (&json!("plimsoll-up"), &json!(true)));
        assert_eq!((&theirs["receiver"], &theirs["group_wait"]), (&json!("plimsoll"), &json!("30s")));
        let names: Vec<_> = config["receivers"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["plimsoll", "pager", "plimsoll-up"]);
        assert_eq!(config["inhibit_rules"].as_array().unwrap().len(), 4, "what both have is there once");
        assert_eq!(config["templates"], json!([base.join("mail.tmpl")]));
        assert_eq!(config["global"]["smtp_auth_password_file"], json!(base.join("secrets/mail")));
        assert_eq!(config["receivers"][1]["pagerduty_configs"][0]["routing_key_file"], json!(base.join("secrets/key")));
        for (text, wanted) in [
            ("receivers: [{name: a}]", "route: no receiver is named"),
            ("{receivers: [{name: a}], route: {group_by: [a]}}", "route: no receiver is named"),
            ("receivers: {name: a}", "receivers: this is no list"),
            ("[a]", "this is no map"),
        ] {
            fs::write(folder.path().join(ROUTES), text).unwrap();
            let why = Routes::read(folder.path()).unwrap_err();
            assert!(why.contains("alertmanager.yml: ") && why.contains(wanted), "{why}");
        }
    }
}
