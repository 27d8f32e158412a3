//! `cargo xtask testbed`: the servers of the tests, for a person; `cargo xtask playground`: with Plimsoll over them.

use anyhow::Result;
use clap::Subcommand;
use plimsoll_testbed::{Bin, Component, Playground, SampleService, Stack, cache_folder, ensure_binaries, plimsoll};

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
            addresses(&bin, &stack, &shop)?;
            println!("Then follow the tour in README.md, with --prometheus {}", stack.prometheus.url());
            println!("{LAST}");
            tokio::signal::ctrl_c().await?;
            Ok(())
        }),
    }
}

/// What is said when everything is there.
const LAST: &str = "Ctrl-C ends all of it.";

fn addresses(bin: &Bin, stack: &Stack, shop: &SampleService) -> Result<()> {
    println!("export KUBECONFIG={}", stack.control_plane.kubeconfig().display());
    println!("Kubernetes    {}", stack.control_plane.url());
    println!("Prometheus    {}", stack.prometheus.url());
    println!("Alertmanager  {}", stack.alertmanager.url());
    println!("a service     http://{}/metrics  scraped as job checkout", shop.target());
    println!("              curl -X POST http://{}/errors/20  lets 20 % of its requests fail", shop.target());
    println!("logs          {}", stack.control_plane.folder().display());
    println!("kubectl       {}", bin.path(Component::Kubernetes, "kubectl")?.display());
    Ok(())
}

/// Plimsoll on real servers, until Ctrl-C or until the operator ends.
pub(crate) fn playground() -> Result<()> {
    let bin = ensure_binaries()?.required()?;
    let program = plimsoll(true)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        println!("starting the servers and the operator: about half a minute…");
        let mut playground = Playground::start(&bin, &program).await?;
        let (shop, prometheus) = (playground.shop.target(), playground.stack.prometheus.url().to_owned());
        addresses(&bin, &playground.stack, &playground.shop)?;
        println!("plimsoll      {}  its log: {}", program.display(), playground.operator().process().log().display());
        println!("the page      {}", playground.page());
        println!();
        println!("1. Break the service, and look at the page: within two minutes somebody is paged, and the runbook");
        println!("   rollback-on-burn says what it would do. /errors/0.01 repairs it.");
        println!("     curl -X POST http://{shop}/errors/20");
        println!("2. Ask why:");
        println!("     {} explain slo/checkout-availability -n shop --prometheus {prometheus}", program.display());
        println!("3. Promise more, and see that Ready means loaded:");
        println!("     kubectl patch slo checkout-availability -n shop --type merge -p '{{\"spec\":{{\"objective\":\"99.99\"}}}}'");
        println!("     kubectl get slo -n shop --watch");
        println!();
        println!("{LAST}");
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted?,
            broken = playground.broken() => return broken,
        }
        playground.stop().await
    })
}
