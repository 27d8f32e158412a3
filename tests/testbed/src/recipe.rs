//! How each server is built, as data: what to build, from which module, with which flags.

/// One server (or family of servers) with a Go module of its own under `modules/`.
///
/// One module each, because a shared one would let their dependencies raise each other's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Prometheus and promtool.
    Prometheus,
    /// etcd, the store of the control plane.
    Etcd,
    /// kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kubectl.
    Kubernetes,
    /// Alertmanager and amtool.
    Alertmanager,
    /// prometheus-operator and its CRDs.
    PrometheusOperator,
    /// VictoriaMetrics and vmalert.
    VictoriaMetrics,
    /// What runs in the pods of a [`crate::Node`].
    Workloads,
    /// The package manager that installs our chart.
    Helm,
    /// Argo CD, all its servers in one program, and a Redis for it.
    ArgoCd,
}

impl Component {
    /// Every component, cheapest-to-need first.
    pub const ALL: &'static [Self] = &[
        Self::Prometheus,
        Self::Etcd,
        Self::Kubernetes,
        Self::Alertmanager,
        Self::PrometheusOperator,
        Self::VictoriaMetrics,
        Self::Workloads,
        Self::Helm,
        Self::ArgoCd,
    ];

    /// How it is built.
    #[must_use]
    pub const fn recipe(self) -> &'static Recipe {
        match self {
            Self::Prometheus => &PROMETHEUS,
            Self::Etcd => &ETCD,
            Self::Kubernetes => &KUBERNETES,
            Self::Alertmanager => &ALERTMANAGER,
            Self::PrometheusOperator => &PROMETHEUS_OPERATOR,
            Self::VictoriaMetrics => &VICTORIA_METRICS,
            Self::Workloads => &WORKLOADS,
            Self::Helm => &HELM,
            Self::ArgoCd => &ARGO_CD,
        }
    }
}

/// What is built for one component.
#[derive(Debug)]
pub struct Recipe {
    /// The folder under `modules/`, and the start of the cache folder's name.
    pub name: &'static str,
    /// The programs, in the order in which they are built.
    pub programs: &'static [Program],
    /// Build tags, separated by commas.
    pub tags: &'static str,
    /// Linker flags besides `-s -w`.
    pub ldflags: &'static str,
    /// Files copied out of a module's source.
    pub files: Option<Files>,
}

/// One `go build`.
#[derive(Debug)]
pub struct Program {
    /// The Go package.
    pub package: &'static str,
    /// The name of the result.
    pub output: &'static str,
    /// Other names of the same file, for a program that looks at what it was called.
    pub links: &'static [&'static str],
}

/// Files that a component ships as source.
#[derive(Debug)]
pub struct Files {
    /// The Go module that has them.
    pub module: &'static str,
    /// The folder inside the module.
    pub from: &'static str,
    /// Where they go in the cache folder.
    pub to: &'static str,
}

/// The folder of prometheus-operator's CRDs, beside its program.
pub const PROMETHEUS_OPERATOR_CRDS: &str = "prometheus-operator-crd";

/// The folder of Argo CD's CRDs, beside its program.
pub const ARGO_CD_CRDS: &str = "argocd-crds";

const PROMETHEUS: Recipe = Recipe {
    name: "prometheus",
    programs: &[
        Program { package: "github.com/prometheus/prometheus/cmd/prometheus", output: "prometheus", links: &[] },
        Program { package: "github.com/prometheus/prometheus/cmd/promtool", output: "promtool", links: &[] },
    ],
    // Every cloud's service discovery would treble the build.
    tags: "remove_all_sd",
    ldflags: "",
    files: None,
};

const ETCD: Recipe = Recipe {
    name: "etcd",
    programs: &[Program { package: "go.etcd.io/etcd/server/v3", output: "etcd", links: &[] }],
    tags: "",
    ldflags: "",
    files: None,
};

const KUBERNETES: Recipe = Recipe {
    name: "k8s",
    programs: &[Program {
        package: ".",
        output: "hyperkube",
        links: &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"],
    }],
    tags: "selinux,notest,grpcnotrace",
    // Without the stamps the servers call themselves v0.0.0, which clients that look at versions reject.
    ldflags: "-X k8s.io/component-base/version.gitVersion=v1.36.4 -X k8s.io/client-go/pkg/version.gitVersion=v1.36.4",
    files: None,
};

const ALERTMANAGER: Recipe = Recipe {
    name: "alertmanager",
    programs: &[
        Program { package: "github.com/prometheus/alertmanager/cmd/alertmanager", output: "alertmanager", links: &[] },
        Program { package: "github.com/prometheus/alertmanager/cmd/amtool", output: "amtool", links: &[] },
    ],
    tags: "",
    ldflags: "",
    files: None,
};

const PROMETHEUS_OPERATOR: Recipe = Recipe {
    name: "prometheus-operator",
    programs: &[Program {
        package: "github.com/prometheus-operator/prometheus-operator/cmd/operator",
        output: "prometheus-operator",
        links: &[],
    }],
    tags: "",
    ldflags: "",
    files: Some(Files {
        module: "github.com/prometheus-operator/prometheus-operator",
        from: "example/prometheus-operator-crd",
        to: PROMETHEUS_OPERATOR_CRDS,
    }),
};

const VICTORIA_METRICS: Recipe = Recipe {
    name: "victoriametrics",
    programs: &[
        Program {
            package: "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics",
            output: "victoria-metrics",
            links: &[],
        },
        Program { package: "github.com/VictoriaMetrics/VictoriaMetrics/app/vmalert", output: "vmalert", links: &[] },
    ],
    tags: "",
    ldflags: "",
    files: None,
};

const WORKLOADS: Recipe = Recipe {
    name: "workloads",
    programs: &[
        Program { package: "./pause", output: "pause", links: &[] },
        Program { package: "./sample", output: "sample", links: &[] },
        Program { package: "./debug", output: "debug", links: &[] },
    ],
    tags: "",
    ldflags: "",
    files: None,
};

const HELM: Recipe = Recipe {
    name: "helm",
    programs: &[Program { package: "helm.sh/helm/v4/cmd/helm", output: "helm", links: &[] }],
    tags: "",
    ldflags: "",
    files: None,
};

const ARGO_CD: Recipe = Recipe {
    name: "argocd",
    programs: &[
        // It looks at what it was called, or at ARGOCD_BINARY_NAME.
        Program { package: "github.com/argoproj/argo-cd/v3/cmd", output: "argocd", links: &[] },
        Program { package: "./redis", output: "argocd-redis", links: &[] },
    ],
    tags: "",
    ldflags: "",
    files: Some(Files { module: "github.com/argoproj/argo-cd/v3", from: "manifests/crds", to: ARGO_CD_CRDS }),
};
