//! Runs tables of tests, ends the servers after them.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};
use plimsoll_testbed::{Binaries, Component, Missing, Node, ensure_components, on_path};
use tokio::runtime::Runtime;

use crate::context::{Shared, Testbed};

/// What [`Testbed::shared`] needs.
pub const STACK: &[Component] = &[
    Component::Prometheus,
    Component::Etcd,
    Component::Kubernetes,
    Component::Alertmanager,
    Component::PrometheusOperator,
];
/// What a control plane of one's own needs.
pub const CONTROL_PLANE: &[Component] = &[Component::Etcd, Component::Kubernetes];
/// What a Prometheus of one's own, or promtool, needs.
pub const PROMETHEUS: &[Component] = &[Component::Prometheus];
/// What a VictoriaMetrics of one's own needs.
pub const VICTORIA_METRICS: &[Component] = &[Component::VictoriaMetrics];

/// What [`Testbed::node`] needs, and a machine where a node can be started.
pub const NODE: Needs = Needs {
    components: &[Component::Etcd, Component::Kubernetes, Component::Prometheus, Component::Workloads],
    node: true,
    programs: &[],
};

/// What a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    /// The servers' programs.
    pub components: &'static [Component],
    /// Whether it needs what [`Node::missing`] looks for.
    pub node: bool,
    /// Programs of the machine.
    pub programs: &'static [&'static str],
}

impl From<&'static [Component]> for Needs {
    fn from(components: &'static [Component]) -> Self {
        Self { components, node: false, programs: &[] }
    }
}

impl Needs {
    fn look(self) -> Result<Binaries> {
        if let Some(missing) = self.node.then(Node::missing).flatten() {
            return Ok(Binaries::Missing(missing));
        }
        if let Some(program) = self.programs.iter().find(|program| !on_path(program)) {
            let how = "install it, and put it on the path".to_owned();
            return Ok(Binaries::Missing(Missing { what: (*program).to_owned(), how }));
        }
        ensure_components(self.components)
    }
}

/// A test that hangs must not take the others with it. Longer than any wait inside one.
const DEADLINE: Duration = Duration::from_secs(600);

type Body = Box<dyn FnOnce(&Runtime, &Testbed) -> Result<()> + Send>;

/// One line of a table of tests.
pub struct Test {
    name: String,
    needs: Needs,
    body: Body,
}

/// A test by what it needs (components, or [`NODE`]) and its function, whose path is its name.
pub fn test<F>(needs: impl Into<Needs>, body: F) -> Test
where
    F: AsyncFn(&Testbed) -> Result<()> + Send + 'static,
{
    let path = std::any::type_name::<F>();
    let name = path.split_once("::").map_or(path, |(_, name)| name).to_owned();
    let body: Body = Box::new(move |runtime, testbed| {
        runtime.block_on(async {
            let outcome = tokio::time::timeout(DEADLINE, body(testbed)).await;
            outcome.unwrap_or_else(|_| Err(anyhow!("still running after {DEADLINE:?}")))
        })
    });
    Test { name, needs: needs.into(), body }
}

/// Runs the tests that the command line chooses (it is that of the standard harness).
pub fn run(tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The servers and the tests share two cores.
    arguments.test_threads.get_or_insert(2);
    match run_chosen(&arguments, tests) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_chosen(arguments: &Arguments, tests: Vec<Test>) -> Result<ExitCode> {
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?);
    let shared = Arc::new(Shared::default());
    let mut looked_for = BTreeMap::new();
    let mut trials = Vec::new();
    for test in tests {
        // Listing, or a filter that leaves it out, must not build servers.
        let chosen = !arguments.list && arguments.filter.as_ref().is_none_or(|filter| test.name.contains(filter));
        let binaries = if chosen {
            match looked_for.get(&test.needs) {
                Some(binaries) => Clone::clone(binaries),
                None => {
                    let binaries = test.needs.look()?;
                    looked_for.insert(test.needs, binaries.clone());
                    binaries
                }
            }
        } else {
            Binaries::Ready(plimsoll_testbed::Bin::default())
        };
        trials.push(trial(test, binaries, &runtime, &shared));
    }
    let conclusion = libtest_mimic::run(arguments, trials);
    // The tests' closures are gone, so this is the last of the servers. In the runtime, since some of what is
    // dropped expects one.
    let guard = runtime.enter();
    drop(shared);
    drop(guard);
    Ok(conclusion.exit_code())
}

fn trial(test: Test, binaries: Binaries, runtime: &Arc<Runtime>, shared: &Arc<Shared>) -> Trial {
    let bin = match binaries {
        Binaries::Ready(bin) => bin,
        Binaries::Missing(missing) => {
            let failure = missing.to_string();
            let (name, ignored) = match std::env::var("CI").as_deref() {
                // There, a test that is skipped in silence would be worse than a failure.
                Ok("true") => (test.name, false),
                _ => (format!("{} [skipped: {missing}]", test.name), true),
            };
            return Trial::test(name, move || Err(Failed::from(failure))).with_ignored_flag(ignored);
        }
    };
    let (runtime, shared) = (Arc::clone(runtime), Arc::clone(shared));
    Trial::test(test.name, move || {
        let testbed = Testbed::new(bin, shared);
        let outcome = (test.body)(&runtime, &testbed);
        let cleaned = runtime.block_on(testbed.clean_up());
        outcome.and(cleaned).map_err(|error| Failed::from(format!("{error:#}")))
    })
}
