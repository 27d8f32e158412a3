//! `plimsoll demo`: a simulated shop, with nothing else installed.

use std::{fmt::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use clap::Args;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Exit,
    out::{self, Stop},
};
use crate::{
    demo::{self, Shown, World, text},
    page::{self, Site},
    serving,
};

/// How often the shop goes on.
const TICK: Duration = Duration::from_secs(5);
/// How long the fault of --fault has lasted already, in seconds.
const FAULTY: i64 = 600;

/// Shows SLOs at work on a simulated shop: budgets, burn rates, alerts, anomalies and a runbook's dry run, as a web page.
///
/// Nothing else is needed: no cluster, no Prometheus. A button of the page breaks the checkout, and repairs it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll demo                  the page, until Ctrl-C
  plimsoll demo --fault          the checkout is broken since ten minutes
  plimsoll demo --once           the state in text
  plimsoll backtest --demo       what its alerts did in thirty days, and what other objectives would have done

The page listens on 127.0.0.1 alone. Every number is made by the rules of the SLOs that it shows, evaluated
in memory over thirty days of simulated traffic; the same seed at the same time is the same shop.

Exit status: 0 ended by Ctrl-C, or the text is written, 2 the port is taken, or wrong usage")]
pub struct Demo {
    /// Port of the page; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8700)]
    port: u16,
    /// Begin with the fault: most payments at the checkout fail
    #[arg(long)]
    fault: bool,
    /// Print the state in text and end
    #[arg(long)]
    once: bool,
    /// Another shop
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Runs it.
///
/// # Errors
/// When the port is taken, or the result cannot be written.
pub fn run(args: &Demo) -> Result<Exit, Stop> {
    if args.once {
        let text = text::state(&world(args)?);
        return out::stdout(|writer| writer.write_all(text.as_bytes())).map(|()| Exit::Fine);
    }
    super::runtime()?.block_on(serve(args)).map(|()| Exit::Fine)
}

fn world(args: &Demo) -> Result<World, Stop> {
    let now = Timestamp::now().as_second();
    let begin = if args.fault { now - FAULTY } else { now };
    let mut world = World::new(begin, args.seed).map_err(|error| Stop::Failed(error.to_string(), String::new()))?;
    if args.fault {
        world.set_fault(true, begin);
        world.tick(now);
    }
    Ok(world)
}

/// Who has it may break the shop: it is in the page's button and printed here.
fn token() -> Result<String, Stop> {
    let mut bytes = [0; 16];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| Stop::Failed("the system has no random numbers".to_owned(), String::new()))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

async fn serve(args: &Demo) -> Result<(), Stop> {
    let address = SocketAddr::from(([127, 0, 0, 1], args.port));
    let listening = async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, bound))
    };
    let (listener, bound) = listening.await.map_err(|error| {
        let help = "name another port with --port, or 0 for any that is free".to_owned();
        Stop::Failed(format!("cannot listen on {address}: {error}"), help)
    })?;
    out::stderr("making thirty days of a shop…\n");
    let shown = Shown::new(world(args)?);
    let token = token()?;
    let state = text::state(&shown.world());
    out::stdout(|writer| {
        writeln!(writer, "{state}\nThe page: http://{bound}/   until Ctrl-C")?;
        writeln!(
            writer,
            "Its button, as a command: curl -X POST -H 'Origin: http://{bound}' 'http://{bound}/demo/fault?on=true&token={token}'"
        )
    })?;
    let stop = CancellationToken::new();
    let mut site = Site::new(Arc::new(shown.clone()), Arc::new(shown.clone()), stop.clone());
    let (of_notice, secret) = (shown.clone(), token.clone());
    site.notice = Some(Arc::new(move || of_notice.notice(&secret)));
    let routes = page::app(Arc::new(site)).merge(demo::switch(shown.clone(), token));
    let routes = page::host::guarded(routes, bound);
    let clock = async {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            shown.world().tick(Timestamp::now().as_second());
        }
    };
    let ended = stop.clone();
    tokio::spawn(async move {
        crate::operator::signal().await;
        ended.cancel();
    });
    tokio::select! {
        () = serving::serve(listener, None, routes, page::LIMITS, stop) => {}
        () = clock => {}
    }
    Ok(())
}
