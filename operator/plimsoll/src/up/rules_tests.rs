#![allow(clippy::unwrap_used)]
use std::fmt::Write as _;

use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::*;
use crate::{
    cli::check, operator::gate::GateLayer, page::Objects as _, prometheus::http_client, sinks::rule_files::RuleFiles,
};

/// A directory with so many SLOs.
fn write(folder: &std::path::Path, slos: usize) {
    let text = (0..slos).fold(String::new(), |mut text, n| {
        let _ = writeln!(
            text,
            "---\n{{apiVersion: {}, kind: SLO, metadata: {{name: slo-{n}}}, spec: {{objective: '99.9', \
             sli: {{events: {{bad: 'e{{a=\"b\"}}', total: t}}}}}}}}",
            plimsoll_api::API_VERSION
        );
        text
    });
    std::fs::write(folder.join("slos.yaml"), text).unwrap();
}

fn read(folder: &std::path::Path) -> Checked {
    check::objects(&[folder.to_owned()], "default", None)
}

#[tokio::test]
async fn many_objects_share_reloads_when_they_come_and_when_they_go() {
    const MANY: usize = 200;
    // One covers what was begun before it.
    const FEW: usize = 4;
    let server = MockServer::start().await;
    Mock::given(path("/-/reload")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let (folder, written) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = || std::fs::read_dir(written.path()).unwrap().count();
    let reloads = async || server.received_requests().await.unwrap().len();
    let http = http_client().unwrap();
    let reload = Some(format!("{}/-/reload", server.uri()));
    let sink = RuleFiles::new(written.path().to_owned(), reload, http.clone(), GateLayer::open());
    let prometheus = Prometheus::new(http, &server.uri()).unwrap();
    let (shelf, (say, _)) = (Arc::<Shelf>::default(), Say::to_test());
    let mut rules = Rules::new(Table::default(), sink, prometheus, Metrics::new(), Arc::clone(&shelf), say);

    write(folder.path(), MANY);
    let changes = rules.take(&mut read(folder.path()));
    rules.bring_about(&changes, true).await;
    assert_eq!((files(), shelf.slos().len()), (MANY, MANY));
    let first = reloads().await;
    assert!((1..=FEW).contains(&first), "{first} reloads");

    write(folder.path(), 1);
    let changes = rules.take(&mut read(folder.path()));
    rules.bring_about(&changes, false).await;
    assert_eq!((files(), shelf.slos().len()), (1, 1));
    let second = reloads().await - first;
    assert!((1..=FEW).contains(&second), "{second} reloads");
    assert!(!rules.is_behind());
}

/// While Prometheus reads the rules, the page has its rows and the terminal says what is waited for; one that gives up makes
/// nobody ask for a reload of their own.
#[tokio::test]
async fn many_objects_are_shown_before_a_slow_prometheus_has_read_their_rules() {
    const MANY: usize = 100;
    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(500).set_delay(PROGRESS + Duration::from_secs(1));
    Mock::given(path("/-/reload")).respond_with(slow).mount(&server).await;
    let (folder, written) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let http = http_client().unwrap();
    let reload = Some(format!("{}/-/reload", server.uri()));
    let sink = RuleFiles::new(written.path().to_owned(), reload, http.clone(), GateLayer::open());
    let prometheus = Prometheus::new(http, &server.uri()).unwrap();
    let (shelf, (say, heard)) = (Arc::<Shelf>::default(), Say::to_test());
    let mut rules = Rules::new(Table::default(), sink, prometheus, Metrics::new(), Arc::clone(&shelf), say);
    write(folder.path(), MANY);
    let changes = rules.take(&mut read(folder.path()));
    {
        let mut work = std::pin::pin!(rules.bring_about(&changes, true));
        assert!(futures::poll!(&mut work).is_pending());
        assert_eq!((shelf.slos().len(), shelf.complete()), (MANY, true));
        let shown = shelf.slos().remove(0).object.unwrap().status.clone().unwrap();
        assert_eq!(c::status(&shown.conditions, c::DATA_PRESENT), Some("Unknown"));
        work.await;
    }
    let asked = server.received_requests().await.unwrap().len();
    assert!((1..=4).contains(&asked), "{asked} reloads");
    let said = heard.lock().unwrap();
    let waits = said.iter().filter(|line| line.starts_with("waiting for Prometheus to read the rules")).count();
    assert_eq!(waits, 1, "{said:?}");
    drop(said);
    assert!(rules.is_behind());
}

#[test]
fn it_is_said_now_and_then_how_far_it_is() {
    let start = Instant::now();
    let mut progress = Progress(start);
    let said: Vec<u64> = (0..10).filter(|second| progress.is_due(start + Duration::from_secs(*second))).collect();
    assert_eq!(said, [3, 6, 9]);
}
