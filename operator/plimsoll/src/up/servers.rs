//! The Prometheus and the Alertmanager: given, or started with a configuration made for them.

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
    /// Finds out what is to be started, and writes its configuration.
    ///
    /// # Errors
    /// When an address is none, a program is not there, or a file cannot be written.
    pub fn new(args: &Up, data: &Data, listen: SocketAddr) -> Result<Self, Stop> {
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
            data.write("alertmanager.yml", &routes(listen, &data.token()?).to_string())?;
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

/// Every alert is posted to us, by itself and at once: what it leads to is for the runbooks to say.
fn routes(listen: SocketAddr, token: &Path) -> Value {
    let webhook = json!({
        "url": format!("http://{}{}", reached(listen), crate::alerts_webhook::server::PATH),
        "send_resolved": true,
        "http_config": {"authorization": {"credentials_file": token}},
    });
    json!({
        "route": {"receiver": "plimsoll", "group_by": ["..."], "group_wait": "1s", "group_interval": "5s", "repeat_interval": "1h"},
        "receivers": [{"name": "plimsoll", "webhook_configs": [webhook]}],
    })
}

/// What the directory says about scraping.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrapes {
    global: Map<String, Value>,
    jobs: Vec<Value>,
}

impl Scrapes {
    /// Reads `DIR/prometheus.yml`: `global` and `scrape_configs`. Nothing where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, with its name.
    pub fn read(directory: &Path) -> Result<Self, String> {
        let path = directory.join(SCRAPES);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(crate::source::files::unreadable(&path, &error).message),
        };
        let wrong = |why: String| format!("{}: {why}", shown(&path));
        let mut value: Value = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let global = match value.get_mut("global").map(Value::take) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(global)) => global,
            Some(_) => return Err(wrong("global: this is no map; write it as in Prometheus".to_owned())),
        };
        let mut jobs = match value.get_mut("scrape_configs").map(Value::take) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(jobs)) => jobs,
            Some(_) => {
                return Err(wrong("scrape_configs: this is no list; write it as in Prometheus".to_owned()));
            }
        };
        // The configuration that is made of it lies elsewhere.
        let base = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        jobs.iter_mut().for_each(|job| anchor(job, &base));
        Ok(Self { global, jobs })
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

/// Names of files are relative to the directory, as Prometheus would take them there.
fn anchor(value: &mut Value, base: &Path) {
    let whole = |value: &mut Value| {
        if let Value::String(name) = value
            && !name.is_empty()
            && Path::new(name.as_str()).is_relative()
        {
            *name = base.join(name.as_str()).display().to_string();
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(_) if key.ends_with("_file") => whole(value),
                    Value::Array(files) if key == "files" => files.iter_mut().for_each(whole),
                    other => anchor(other, base),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| anchor(item, base)),
        _ => {}
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
        assert_eq!(Scrapes::read(folder.path()), Ok(Scrapes::default()));
        let text = "
global: {scrape_interval: 5s, external_labels: {site: home}}
rule_files: [other.yml]
scrape_configs:
  - job_name: plimsoll
    basic_auth: {username: a, password_file: secrets/password}
    file_sd_configs: [{files: [targets.json, /etc/targets.json]}]
";
        fs::write(folder.path().join(SCRAPES), text).unwrap();
        let scrapes = Scrapes::read(folder.path()).unwrap();
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
}
