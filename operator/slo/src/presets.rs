//! Ready-made indicators, as data. `{name}` in a template is a parameter, put in as the content of a
//! quoted label value.

use std::collections::BTreeMap;

use plimsoll_api::{
    Problem,
    shape::suggest,
    slo::{self, Events, Latency, LatencyUnit, Sli, Up},
};

/// A ready-made indicator.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name in `sli.preset.name`.
    pub name: &'static str,
    /// What it measures.
    pub summary: &'static str,
    /// Parameters: name, what it is, default (`None`: must be given).
    pub parameters: &'static [(&'static str, &'static str, Option<&'static str>)],
    /// What it becomes.
    template: Template,
}

#[derive(Clone, Copy, Debug)]
enum Template {
    Events {
        bad: &'static str,
        total: &'static str,
    },
    /// The threshold is the parameter `threshold`.
    Latency {
        histogram: &'static str,
        unit: LatencyUnit,
    },
    Up {
        series: &'static str,
    },
}

const JOB: (&str, &str, Option<&str>) = ("job", "the scrape job", None);
/// Whose targets are called differently in every installation: without it nobody is told whether they are up.
const ANY_JOB: (&str, &str, Option<&str>) = ("job", "regular expression of the scrape job", Some(".*"));
const THRESHOLD: (&str, &str, Option<&str>) = ("threshold", "slower is bad, such as 300ms", None);

/// Every preset.
pub const PRESETS: [Preset; 16] = [
    Preset {
        name: "http-availability",
        summary: "HTTP requests that did not end in a server error (metric http_requests_total)",
        parameters: &[JOB, ("code", "regular expression of bad status codes", Some("5.."))],
        template: Template::Events {
            bad: r#"http_requests_total{job="{job}",code=~"{code}"}"#,
            total: r#"http_requests_total{job="{job}"}"#,
        },
    },
    Preset {
        name: "http-latency",
        summary: "HTTP requests answered in time (http_request_duration_seconds)",
        parameters: &[JOB, THRESHOLD],
        template: Template::Latency {
            histogram: r#"http_request_duration_seconds{job="{job}"}"#,
            unit: LatencyUnit::Seconds,
        },
    },
    Preset {
        name: "grpc-availability",
        summary: "gRPC calls that did not end in a server's fault (go-grpc-prometheus)",
        parameters: &[JOB, ("code", "regular expression of bad codes", Some(GRPC_BAD))],
        template: Template::Events {
            bad: r#"grpc_server_handled_total{job="{job}",grpc_code=~"{code}"}"#,
            total: r#"grpc_server_handled_total{job="{job}"}"#,
        },
    },
    Preset {
        name: "grpc-latency",
        summary: "unary gRPC calls answered in time (go-grpc-prometheus)",
        parameters: &[JOB, THRESHOLD],
        template: Template::Latency {
            histogram: r#"grpc_server_handling_seconds{job="{job}",grpc_type="unary"}"#,
            unit: LatencyUnit::Seconds,
        },
    },
    Preset {
        name: "otel-http-availability",
        summary: "HTTP requests by OpenTelemetry's semantic conventions that did not end in a server error",
        parameters: &[JOB, ("code", "regular expression of bad status codes", Some("5.."))],
        template: Template::Events {
            bad: r#"http_server_request_duration_seconds_count{job="{job}",http_response_status_code=~"{code}"}"#,
            total: r#"http_server_request_duration_seconds_count{job="{job}"}"#,
        },
    },
    Preset {
        name: "otel-http-latency",
        summary: "HTTP requests by OpenTelemetry's semantic conventions answered in time",
        parameters: &[JOB, THRESHOLD],
        template: Template::Latency {
            histogram: r#"http_server_request_duration_seconds{job="{job}"}"#,
            unit: LatencyUnit::Seconds,
        },
    },
    Preset {
        name: "otel-rpc-latency",
        summary: "RPC calls by OpenTelemetry's semantic conventions answered in time",
        parameters: &[JOB, THRESHOLD],
        template: Template::Latency {
            histogram: r#"rpc_server_duration_milliseconds{job="{job}"}"#,
            unit: LatencyUnit::Milliseconds,
        },
    },
    Preset {
        name: "istio-availability",
        summary: "requests to a workload that the mesh saw end without a server error",
        parameters: &[
            ANY_JOB,
            ("service", "destination_service_name", None),
            ("namespace", "destination_service_namespace", None),
            ("code", "regular expression of bad response codes", Some("5..|0")),
        ],
        template: Template::Events {
            bad: r#"istio_requests_total{job=~"{job}",reporter="destination",destination_service_name="{service}",destination_service_namespace="{namespace}",response_code=~"{code}"}"#,
            total: r#"istio_requests_total{job=~"{job}",reporter="destination",destination_service_name="{service}",destination_service_namespace="{namespace}"}"#,
        },
    },
    Preset {
        name: "istio-latency",
        summary: "requests to a workload that the mesh saw answered in time",
        parameters: &[
            ANY_JOB,
            ("service", "destination_service_name", None),
            ("namespace", "destination_service_namespace", None),
            THRESHOLD,
        ],
        template: Template::Latency {
            histogram: r#"istio_request_duration_milliseconds{job=~"{job}",reporter="destination",destination_service_name="{service}",destination_service_namespace="{namespace}"}"#,
            unit: LatencyUnit::Milliseconds,
        },
    },
    Preset {
        name: "nginx-ingress-availability",
        summary: "requests through ingress-nginx that did not end in a server error",
        parameters: &[
            ANY_JOB,
            ("ingress", "name of the Ingress", None),
            ("namespace", "its namespace, label exported_namespace", None),
            ("code", "regular expression of bad status codes", Some("5..")),
        ],
        template: Template::Events {
            bad: r#"nginx_ingress_controller_requests{job=~"{job}",ingress="{ingress}",exported_namespace="{namespace}",status=~"{code}"}"#,
            total: r#"nginx_ingress_controller_requests{job=~"{job}",ingress="{ingress}",exported_namespace="{namespace}"}"#,
        },
    },
    Preset {
        name: "kubernetes-apiserver-availability",
        summary: "requests to the Kubernetes API server that did not end in a server error",
        parameters: &[
            ("job", "the scrape job", Some("apiserver")),
            ("verb", "regular expression of verbs", Some("LIST|GET|POST|PUT|PATCH|DELETE|APPLY")),
        ],
        template: Template::Events {
            bad: r#"apiserver_request_total{job="{job}",verb=~"{verb}",code=~"5.."}"#,
            total: r#"apiserver_request_total{job="{job}",verb=~"{verb}"}"#,
        },
    },
    Preset {
        name: "kubernetes-apiserver-latency",
        summary: "requests to the Kubernetes API server answered in time, long-running ones left out",
        parameters: &[
            ("job", "the scrape job", Some("apiserver")),
            ("verb", "regular expression of verbs", Some("GET|POST|PUT|PATCH|DELETE|APPLY")),
            ("threshold", "slower is bad", Some("1s")),
        ],
        template: Template::Latency {
            histogram: r#"apiserver_request_duration_seconds{job="{job}",verb=~"{verb}",subresource!~"proxy|attach|log|exec|portforward"}"#,
            unit: LatencyUnit::Seconds,
        },
    },
    Preset {
        name: "probe",
        summary: "probes of the blackbox exporter that succeeded",
        parameters: &[JOB],
        template: Template::Up { series: r#"probe_success{job="{job}"}"# },
    },
    Preset {
        name: "up",
        summary: "scrapes of the job's targets that succeeded",
        parameters: &[JOB],
        template: Template::Up { series: r#"up{job="{job}"}"# },
    },
    Preset {
        name: "queue-latency",
        summary: "items of a Kubernetes-style work queue that were taken up in time",
        parameters: &[JOB, ("name", "name of the queue, a regular expression", Some(".+")), THRESHOLD],
        template: Template::Latency {
            histogram: r#"workqueue_queue_duration_seconds{job="{job}",name=~"{name}"}"#,
            unit: LatencyUnit::Seconds,
        },
    },
    Preset {
        name: "prometheus-rules",
        summary: "rule evaluations of Prometheus that succeeded",
        parameters: &[("job", "the scrape job", Some("prometheus"))],
        template: Template::Events {
            bad: r#"prometheus_rule_evaluation_failures_total{job="{job}"}"#,
            total: r#"prometheus_rule_evaluations_total{job="{job}"}"#,
        },
    },
];

/// Codes that are the server's fault rather than the caller's.
const GRPC_BAD: &str = "Aborted|DataLoss|DeadlineExceeded|Internal|ResourceExhausted|Unavailable|Unimplemented|Unknown";

/// Replaces a preset by the indicator that it stands for.
///
/// # Errors
/// Unknown preset, unknown or missing parameters.
pub fn expand(preset: &slo::Preset, path: &str) -> Result<Sli, Vec<Problem>> {
    let Some(known) = PRESETS.iter().find(|p| p.name == preset.name) else {
        let names: Vec<&str> = PRESETS.iter().map(|p| p.name).collect();
        return Err(vec![
            Problem::error(format!("{path}.name"), format!("no preset is called {}", preset.name))
                .help(suggest(&preset.name, &names)),
        ]);
    };
    let mut problems = Vec::new();
    let names: Vec<&str> = known.parameters.iter().map(|(name, ..)| *name).collect();
    for given in preset.with.keys().filter(|k| !names.contains(&k.as_str())) {
        problems.push(
            Problem::error(format!("{path}.with.{given}"), format!("preset {} has no parameter {given}", known.name))
                .help(suggest(given, &names))
                .of_key(),
        );
    }
    let mut values = BTreeMap::new();
    for (name, what, default) in known.parameters {
        match preset.with.get(*name).map(String::as_str).or(*default) {
            Some(value) if !value.is_empty() => {
                values.insert(*name, value);
            }
            _ => problems.push(
                Problem::error(
                    format!("{path}.with.{name}"),
                    format!("preset {} needs the parameter {name}", known.name),
                )
                .help(format!("add {name}: … ({what})")),
            ),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let fill = |template: &str| {
        values.iter().fold(template.to_owned(), |text, (name, value)| {
            let quoted = crate::promql::quote(value);
            text.replace(&format!("{{{name}}}"), quoted.trim_matches('"'))
        })
    };
    Ok(match known.template {
        Template::Events { bad, total } => Sli {
            events: Some(Events { bad: Some(fill(bad)), good: None, total: Some(fill(total)) }),
            ..Sli::default()
        },
        Template::Latency { histogram, unit } => Sli {
            latency: Some(Latency {
                histogram: fill(histogram),
                threshold: values.get("threshold").map_or_else(String::new, |&t| t.to_owned()),
                unit: Some(unit),
            }),
            ..Sli::default()
        },
        Template::Up { series } => Sli { up: Some(Up { series: fill(series) }), ..Sli::default() },
    })
}
