#![allow(clippy::unwrap_used)]
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::*;
use crate::prometheus::http_client;

const SOURCE: &str = "\
# What is scraped.
global:
  scrape_interval: 5s
scrape_configs:
- job_name: shop
  static_configs:
  - targest: [a:1]
";

fn made(text: &str) -> Made {
    Made {
        config: serde_saphyr::from_str(text).unwrap(),
        source: text.to_owned(),
        taken: "1 job scraped".to_owned(),
        ..Made::default()
    }
}

/// The line of a pretty text that has these words.
fn line_of(text: &str, words: &str) -> u32 {
    u32::try_from(text.lines().position(|line| line.contains(words)).unwrap()).unwrap() + 1
}

#[test]
fn a_line_of_ours_is_told_as_the_line_of_theirs() {
    let config: Value = serde_saphyr::from_str(SOURCE).unwrap();
    let text = format!("{config:#}");
    for (words, line) in [("scrape_interval", 3), ("job_name", 5), ("targest", 7), ("a:1", 7)] {
        assert_eq!(origin(&text, line_of(&text, words), SOURCE), Some(line), "{words}");
    }
    assert_eq!(origin(&text, 999, SOURCE), None);
    let written = Path::new("/data/prometheus.yml");
    let line = line_of(&text, "targest");
    let said = format!(
        "failed to reload config: couldn't load configuration (--config.file=\"/data/prometheus.yml\"): parsing YAML \
         file /data/prometheus.yml: yaml: unmarshal errors:\n  line {line}: field targest not found in type struct"
    );
    assert_eq!(
        told(&said, written, "dir/prometheus.yml", &text, SOURCE),
        "dir/prometheus.yml:7: field targest not found in type struct"
    );
    let said = "failed to reload config: parsing YAML file /data/prometheus.yml: found multiple scrape configs with job name \"a\"";
    assert_eq!(
        told(said, written, "dir/prometheus.yml", &text, SOURCE),
        "dir/prometheus.yml: found multiple scrape configs with job name \"a\""
    );
    let said = "failed to reload config: undefined receiver \"outline x\" used in route";
    assert_eq!(told(said, written, "f", &text, SOURCE), "f: undefined receiver \"outline x\" used in route");
}

#[test]
fn a_route_of_theirs_lies_in_one_of_ours() {
    let source = "receivers: [{name: a}]\nroute:\n  receiver: a\n  routes:\n  - reciever: b\n";
    let theirs: Value = serde_saphyr::from_str(source).unwrap();
    let text = format!(
        "{:#}",
        json!({"route": {"receiver": "plimsoll", "routes": [{"receiver": "plimsoll"}, theirs["route"]]}})
    );
    assert_eq!(origin(&text, line_of(&text, "reciever"), source), Some(5));
}

#[tokio::test]
async fn a_configuration_that_is_refused_is_taken_back() {
    let server = MockServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let data = Arc::new(Data::open(Some(&folder.path().join("data")), folder.path()).unwrap());
    let (say, heard) = Say::to_test();
    let names = ("Prometheus", "prometheus.yml", server.uri());
    let http = http_client().unwrap();
    let mut config = Config::new((names.0, names.1, &names.2), folder.path(), &http, &data, &say);
    let good = made("global: {scrape_interval: 5s}");
    let text = format!("{:#}", good.config);
    config.bring(good).await;
    config.works();
    assert!(heard.lock().unwrap().is_empty(), "the first is there before the server is");

    let refusal = ResponseTemplate::new(500).set_body_string("failed to reload config: yaml: line 3: no such field");
    Mock::given(path("/-/reload")).respond_with(refusal).up_to_n_times(1).mount(&server).await;
    config.bring(made("global:\n  scrape: 5s\n")).await;
    let said = heard.lock().unwrap().join("\n");
    assert!(
        said.contains("prometheus.yml:2: no such field\n  Prometheus does not take this, and goes on as it was before"),
        "{said}"
    );
    assert_eq!(data.read("prometheus.yml").unwrap(), Some(text));

    Mock::given(path("/-/reload")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    config.bring(made("global: {scrape_interval: 6s}")).await;
    let said = heard.lock().unwrap().join("\n");
    assert!(said.ends_with("prometheus.yml: 1 job scraped"), "{said}");
    assert!(data.read("prometheus.yml").unwrap().unwrap().contains("6s"));
}
