//! Rules as `PrometheusRule` objects, which prometheus-operator loads into Prometheus.

use kube::api::ApiResource;

/// The kind.
pub fn resource() -> ApiResource {
    ApiResource {
        group: "monitoring.coreos.com".to_owned(),
        version: "v1".to_owned(),
        api_version: "monitoring.coreos.com/v1".to_owned(),
        kind: "PrometheusRule".to_owned(),
        plural: "prometheusrules".to_owned(),
    }
}
