//! `cargo xtask testbed`: the servers of the tests, for a person.

use anyhow::Result;
use clap::Subcommand;
use plimsoll_testbed::{Component, SampleService, Stack, cache_folder, ensure_binaries};

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Builds the servers that are not in the cache yet, and prints the folder of each.
    Build,
    /// Starts a control plane, prometheus-operator, Prometheus and Alertmanager, until Ctrl-C.
    Up,
}

pub(crate) fn run(task: &Task) -> Result<()> {
    let bin = ensure_binaries()?.required()?;
    match task {
        Task::Build => {
            for component in Component::ALL {
                println!("{}", bin.folder(*component)?.display());
            }
            println!("cache: {}", cache_folder()?.display());
            Ok(())
        }
        Task::Up => tokio::runtime::Runtime::new()?.block_on(async {
            let shop = SampleService::shop().await?;
            let stack = Stack::with_jobs(&bin, &[("checkout", shop.target())]).await?;
            println!("export KUBECONFIG={}", stack.control_plane.kubeconfig().display());
            println!("Kubernetes    {}", stack.control_plane.url());
            println!("Prometheus    {}", stack.prometheus.url());
            println!("Alertmanager  {}", stack.alertmanager.url());
            println!("a service     http://{}/metrics  scraped as job checkout", shop.target());
            println!("              curl -X POST http://{}/errors/20  lets 20 % of its requests fail", shop.target());
            println!("logs          {}", stack.control_plane.folder().display());
            println!("kubectl       {}", bin.path(Component::Kubernetes, "kubectl")?.display());
            println!("Then follow the tour in README.md, with --prometheus {}", stack.prometheus.url());
            println!("Ctrl-C ends all of it.");
            tokio::signal::ctrl_c().await?;
            Ok(())
        }),
    }
}
