//! Real servers for tests, on loopback and without a container daemon: a Kubernetes control plane, prometheus-operator,
//! Prometheus and Alertmanager, built from source once; and, where one is root, a node whose pods are real.
//!
//! [`ensure_binaries`] finds or builds the programs; [`Stack`] starts everything, and each server can be started by
//! itself. Whatever is started here ends with the value that stands for it, and with the process at the latest.

// Indexing a `serde_json::Value` gives `Null` where nothing is; nothing else is indexed here.
#![allow(clippy::indexing_slicing)]

mod alertmanager;
mod argocd;
mod binaries;
mod cargo;
mod cgroups;
mod control_plane;
mod folder;
mod helm;
mod http;
mod images;
mod network;
mod node;
mod oci;
mod operator;
mod pki;
mod playground;
mod plimsoll_image;
mod ports;
mod process;
mod prometheus;
mod prometheus_operator;
mod recipe;
mod sample;
mod server;
mod stack;
mod usage;
mod victoria_metrics;
mod wait;
mod worker;

pub use alertmanager::{Alert, AlertStatus, Alertmanager, WebhookReceiver};
pub use argocd::{Application, ArgoCd, Managed};
pub use binaries::{
    Bin, Binaries, FOLDER_VARIABLE, Missing, cache_folder, ensure_binaries, ensure_components, on_path,
};
pub use cargo::{PROGRAM_VARIABLE, cargo, plimsoll, plimsoll_and_tests, xtask};
pub use cgroups::cgroups_of_nodes;
pub use control_plane::{ControlPlane, ControlPlaneOptions, client_from};
pub use folder::{Folder, KEEP_VARIABLE};
pub use helm::Helm;
pub use images::{DEBUG_IMAGE, PAUSE_IMAGE, SAMPLE_IMAGE};
pub use network::Network;
pub use nix::sys::signal::Signal;
pub use node::Node;
pub use operator::Operator;
pub use playground::Playground;
pub use plimsoll_image::PlimsollImage;
pub use ports::free_port;
pub use process::{OWNER_VARIABLE, Output, Process, Program, running_children};
pub use prometheus::{Prometheus, PrometheusOptions, Promtool, Rule, RuleGroup, Series};
pub use prometheus_operator::{MONITORING_NAMESPACE, PrometheusOperator};
pub use recipe::{ARGO_CD_CRDS, Component, Files, PROMETHEUS_OPERATOR_CRDS, Recipe};
pub use sample::SampleService;
pub use server::Server;
pub use stack::Stack;
pub use usage::Usage;
pub use victoria_metrics::{VictoriaMetrics, Vmalert};
pub use wait::wait_until;
