//! The backend VMRule: what vmalert makes of its rules.

use anyhow::{Context, Result, ensure};
use plimsoll_e2e::{Test, Testbed, VICTORIA_METRICS, test};
use plimsoll_testbed::{Folder, Program, SampleService, VictoriaMetrics, wait_until};
use serde_json::{Value, json};

use crate::{cluster::SOON, traffic::slo};

pub(crate) fn tests() -> Vec<Test> {
    vec![test(VICTORIA_METRICS, vmalert_records_the_truth_and_alerts)]
}

/// A tier that need not be waited for for hours, and longer than the seconds after which VictoriaMetrics shows what
/// it was sent.
fn objects() -> Value {
    let alerting = json!({"noData": "Ignore", "tiers": [
        {"name": "fast", "burnRate": "5", "longWindow": "1m", "shortWindow": "30s"}
    ]});
    let requests = json!({
        "objective": "99", "period": {"rolling": "10m"}, "alerting": alerting,
        "sli": {"events": {"bad": "vm_requests_total{code=~\"5..\"}", "total": "vm_requests_total"}},
    });
    let latency = json!({
        "objective": "99", "period": {"rolling": "10m"}, "alerting": alerting,
        "sli": {"latency": {"histogram": "vm_latency_seconds", "threshold": "300ms"}},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [slo("requests", &requests), slo("latency", &latency)]})
}

async fn vmalert_records_the_truth_and_alerts(testbed: &Testbed) -> Result<()> {
    let sample = SampleService::start().await?;
    sample.rate("vm_requests_total", "code=\"200\"", 90.0);
    sample.rate("vm_requests_total", "code=\"500\"", 10.0);
    sample.observe_rate("vm_latency_seconds", "", &[0.1, 0.3, 1.0], 0.2, 80.0);
    sample.observe_rate("vm_latency_seconds", "", &[0.1, 0.3, 1.0], 0.7, 20.0);
    let victoria = VictoriaMetrics::start(testbed.bin(), "sample", &sample.target()).await?;

    let folder = Folder::new("vmrule")?;
    let input = folder.join("slos.json");
    std::fs::write(&input, objects().to_string())?;
    let generate = Program::new(testbed.plimsoll()?).args(["generate", "--format", "vmrule"]).arg(&input);
    let objects = generate.run("", SOON).await?.success()?;
    let mut groups = Vec::new();
    for object in objects.split("---\n").filter(|object| !object.trim().is_empty()) {
        // As the VictoriaMetrics operator does: the spec of a VMRule is a rule file.
        let mut object: Value = serde_saphyr::from_str(object)?;
        ensure!(object["kind"] == "VMRule", "{object}");
        groups.append(object["spec"]["groups"].as_array_mut().context("groups")?);
    }
    let vmalert = victoria.evaluate(&json!({"groups": groups}).to_string()).await?;

    for (name, truth) in [("requests", 0.1), ("latency", 0.2)] {
        let ratio = format!("slo:error_ratio:window{{slo_id=\"shop/{name}\",window=\"1m\"}}");
        wait_until(&format!("{ratio} to be {truth}"), SOON * 2, async || {
            let found = victoria.query(&ratio).await?.first().and_then(plimsoll_testbed::Series::value);
            Ok(found.filter(|found| (found / truth - 1.0).abs() < 0.01))
        })
        .await?;
    }
    wait_until("both objectives to page", SOON * 2, async || {
        let alerts = vmalert.alerts().await?;
        let fires = |name: &str| {
            alerts.iter().any(|alert| {
                alert["labels"]["slo_id"] == format!("shop/{name}")
                    && alert["labels"]["severity"] == "page"
                    && alert["state"] == "firing"
            })
        };
        Ok((fires("requests") && fires("latency")).then_some(()))
    })
    .await?;
    let failing = vmalert.failing().await?;
    ensure!(failing.is_empty(), "{failing:?}");
    Ok(())
}
