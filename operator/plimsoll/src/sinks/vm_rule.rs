//! Rules as `VMRule` objects, which the VictoriaMetrics operator loads into vmalert.

use kube::api::ApiResource;

/// The kind. Its spec has the shape of a PrometheusRule's.
pub fn resource() -> ApiResource {
    ApiResource {
        group: "operator.victoriametrics.com".to_owned(),
        version: "v1beta1".to_owned(),
        api_version: "operator.victoriametrics.com/v1beta1".to_owned(),
        kind: "VMRule".to_owned(),
        plural: "vmrules".to_owned(),
    }
}
