//! The webhook as a server: what large reviews cost it.

use anyhow::{Result, ensure};
use plimsoll_e2e::{CONTROL_PLANE, Test, Testbed, operator::Operator, test};
use plimsoll_testbed::{ControlPlane, ControlPlaneOptions, free_port, wait_until};
use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::cluster::{SOON, install, slo};

pub(crate) fn tests() -> Vec<Test> {
    vec![test(CONTROL_PLANE, many_large_reviews_at_once)]
}

fn review(object: &Value) -> String {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "operation": "CREATE", "object": object}})
    .to_string()
}

/// An SLO with as many labels as fit into so many bytes, none of which is allowed.
fn labelled(bytes: usize) -> String {
    let mut object = slo("large");
    let labels = (0..bytes / 12).map(|i| (format!("-{i:06}"), json!("")));
    object["spec"]["labels"] = Value::Object(labels.collect());
    review(&object)
}

async fn many_large_reviews_at_once(testbed: &Testbed) -> Result<()> {
    const EACH: usize = 24;
    /// The bodies' budget, one large review at work, and what the operator takes otherwise.
    const BOUND: u64 = 200 << 20;
    let plane = ControlPlane::start(testbed.bin(), ControlPlaneOptions::api_only()).await?;
    install(&plane).await?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let url = format!("https://{address}");
    let arguments = ["--webhook-listen", &address, "--webhook-url", &url, "--namespace", "default"];
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &arguments).await?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    // What is refused unread has its connection closed: none is used twice.
    let client = Client::builder().tls_danger_accept_invalid_certs(true).pool_max_idle_per_host(0).build()?;
    let send = async |body: String| -> Result<StatusCode> {
        let request = client.post(format!("{url}/validate")).header(header::CONTENT_TYPE, "application/json");
        Ok(request.body(body).send().await?.status())
    };
    let small = review(&slo("small"));
    wait_until("the webhook", SOON, async || Ok((send(small.clone()).await? == StatusCode::OK).then_some(()))).await?;

    let mut large = JoinSet::new();
    for body in [labelled(1_900_000), labelled(6_000_000), " ".repeat(7 << 20)] {
        for _ in 0..EACH {
            let request = client.post(format!("{url}/validate")).header(header::CONTENT_TYPE, "application/json");
            large.spawn(request.body(body.clone()).send());
        }
    }
    let large = async {
        let mut answered = Vec::new();
        while let Some(done) = large.join_next().await {
            answered.push(done?.map(|answer| answer.status()));
        }
        anyhow::Ok(answered)
    };
    let mut large = std::pin::pin!(large);
    let (mut answered, mut beside) = (None, 0);
    while answered.is_none() {
        // Each small one is waited for, also when the last of the large ones is done meanwhile.
        let mut review = std::pin::pin!(send(small.clone()));
        let status = loop {
            tokio::select! {
                done = &mut large, if answered.is_none() => answered = Some(done?),
                status = &mut review => break status?,
            }
        };
        ensure!(status == StatusCode::OK, "a small review beside large ones");
        beside += 1;
    }
    let answered = answered.unwrap_or_default();
    ensure!(answered.len() == 3 * EACH);
    let count = |wanted| answered.iter().filter(|answer| answer.as_ref().is_ok_and(|status| *status == wanted)).count();
    // One that is refused unread may find its connection closed instead.
    let refused =
        answered.iter().filter(|answer| !answer.as_ref().is_ok_and(|status| *status == StatusCode::OK)).count();
    ensure!(count(StatusCode::OK) > 0 && refused >= EACH, "{answered:?}");
    let peak = operator.usage()?.resident_peak;
    println!(
        "{} large reviews ({} answered, {} for want of room) and {beside} small ones: at most {} MiB resident",
        answered.len(),
        count(StatusCode::OK),
        count(StatusCode::SERVICE_UNAVAILABLE),
        peak >> 20
    );
    ensure!(peak < BOUND, "{} MiB resident", peak >> 20);
    ensure!(send(small).await? == StatusCode::OK);
    operator.stop().await
}
