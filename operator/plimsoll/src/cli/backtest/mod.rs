//! `plimsoll backtest`: what the alerts of an SLO would have done in the past.

mod fetch;
mod picture;
mod report;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use plimsoll_slo::{
    AnyModel, Model,
    evaluate::{Engine, Schedule, backtest},
    model::{Objective, Span},
};

use self::picture::Picture;
use super::{
    Exit, Paths, check,
    out::{self, Stop},
    plot, validate,
};
use crate::{
    demo::Past,
    prometheus::{Prometheus, http_client},
};

/// Says which alerts of SLOs would have fired in the past, and what other objectives and tiers would have done.
///
/// The raw series are read from Prometheus; its rules need not know the SLO.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll backtest slo/checkout.yaml --prometheus http://prometheus:9090
  plimsoll backtest slo/checkout.yaml --prometheus http://prometheus:9090 --from 7d --plot checkout.svg
  plimsoll backtest slo/ --prometheus http://prometheus:9090 --objective 99.5 --objective 99.9 -o json
  plimsoll backtest --demo checkout-availability     nothing else is needed

--from and --to are a time like 2026-11-01T00:00:00Z, or a duration that is counted back from now. The rules
are evaluated as Prometheus would have, but for the seconds at which it evaluates them. Before --from so much
more is read as the longest window needs, and the SLO's period for what is left of the budget at the end, where
Prometheus still has it. A composite needs the files of its parts. The budget spent is that of the time from
--from to --to, of the worst group; that of a composite is of its period.

Exit status: 0 done, 1 an object is invalid or has no data in that time, 2 Prometheus does not answer or keeps
too little, wrong usage, or something cannot be read or written")]
pub struct Backtest {
    #[command(flatten)]
    paths: Paths,
    /// The Prometheus that has the raw series
    #[arg(long, value_name = "URL", env = "PLIMSOLL_PROMETHEUS", required_unless_present = "demo")]
    prometheus: Option<String>,
    /// Instead of files and a Prometheus, this SLO of plimsoll demo and its thirty days; all of them without a name
    #[arg(long, value_name = "SLO", num_args = 0..=1, default_missing_value = "", conflicts_with = "paths")]
    demo: Option<String>,
    /// Since when. Default: 30d, or as long as Prometheus keeps samples
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Until when. Default: now
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Another objective to compare with, in percent; may be given several times. Default: one step looser and one
    /// tighter
    #[arg(long, value_name = "PERCENT", value_parser = objective)]
    objective: Vec<Objective>,
    /// What is printed
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Draw budget, burn rate and alerts into this file, FILE.svg or FILE.png; of the first SLO, where there are several
    #[arg(long, value_name = "FILE", value_parser = super::detect::drawing)]
    plot: Option<PathBuf>,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object, with a list of SLOs
    Json,
}

fn objective(text: &str) -> Result<Objective, String> {
    let percent = text.trim_end_matches('%').parse().ok();
    percent
        .and_then(Objective::from_percent)
        .ok_or_else(|| "write percent, more than 1 and less than 100: 99.9".to_owned())
}

/// Unix seconds of a time, or of a duration before `now`.
fn moment(option: &str, text: &str, now: i64) -> Result<i64, Stop> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_second());
    }
    match plimsoll_slo::duration::parse(text, option) {
        Ok(span) => Ok(now - i64::try_from(span.as_seconds()).unwrap_or(now)),
        Err(_) => Err(Stop::Failed(
            format!("{option} {text} is neither a time nor a duration"),
            "write it like 2026-11-01T00:00:00Z, or like 30d for thirty days ago".to_owned(),
        )),
    }
}

/// The time that is looked at, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Period {
    from: i64,
    to: i64,
}

impl Period {
    fn millis(self) -> (i64, i64) {
        (self.from * 1000, self.to * 1000)
    }

    fn check(self) -> Result<(), Stop> {
        if self.to - self.from < 600 {
            let help = "leave at least ten minutes between them".to_owned();
            return Err(Stop::Failed("--from is not before --to".to_owned(), help));
        }
        Ok(())
    }

    /// Not longer than there are samples, `reach` being since when: what was asked for is refused, what was not is said.
    fn within(&mut self, reach: i64, asked: Option<&str>, now: i64, source: &str) -> Result<Option<String>, Stop> {
        if reach <= self.from + 60 {
            return Ok(None);
        }
        // Of days, hours are not worth a word.
        let whole = |seconds: u64| if seconds < 2 * DAY { seconds } else { seconds / DAY * DAY };
        let span = |since: i64| Span::seconds(whole(u64::try_from(now - since).unwrap_or(0)));
        let (kept, wanted) = (span(reach), span(self.from));
        if asked.is_some() {
            return Err(Stop::Failed(
                format!("{source} keeps samples for {kept}, and --from asks for {wanted}"),
                format!("use --from {kept}, or ask one that keeps more (--storage.tsdb.retention.time)"),
            ));
        }
        self.from = reach;
        self.check()?;
        Ok(Some(format!("{source} keeps samples for {kept}: this is of that time, not of the usual {USUAL}\n")))
    }
}

/// Runs it.
///
/// # Errors
/// When Prometheus does not answer, the time is none, or the result cannot be written.
pub fn run(args: &Backtest) -> Result<Exit, Stop> {
    let now = Timestamp::now().as_second();
    let mut period = Period {
        from: moment("--from", args.from.as_deref().unwrap_or(USUAL), now)?,
        to: args.to.as_deref().map_or(Ok(now), |to| moment("--to", to, now))?.min(now),
    };
    period.check()?;
    super::interrupt::listen();
    let (models, mut exit) = match &args.demo {
        Some(_) => (Vec::new(), Exit::Fine),
        None => of_files(args)?,
    };
    if models.is_empty() && exit != Exit::Fine {
        return Ok(exit);
    }
    let runtime = super::runtime()?;
    let (source, models, wanted) = match (&args.demo, &args.prometheus) {
        (Some(name), _) => {
            let past = Past::new(now, SEED).map_err(|error| Stop::Failed(error.to_string(), String::new()))?;
            let models = past.models.clone();
            let wanted = of_demo(&models, name)?;
            (Source::Demo(past), models, wanted)
        }
        (None, url) => {
            let prometheus = http_client()
                .map_err(anyhow::Error::from)
                .and_then(|client| {
                    Prometheus::new(client, url.as_deref().unwrap_or_default()).map_err(anyhow::Error::msg)
                })
                .map_err(|error| super::failed(&error.context("--prometheus")))?;
            (Source::Prometheus(prometheus), models.clone(), models)
        }
    };
    let reach = match &source {
        Source::Demo(past) => past.since(),
        Source::Prometheus(prometheus) => runtime.block_on(fetch::reach(prometheus, now))?,
    };
    if let Some(said) = period.within(reach, args.from.as_deref(), now, &source.name())? {
        out::stderr(&said);
    }
    let bar = fetch::Bar::new(&wanted, period);
    let mut reports = Vec::new();
    for model in &wanted {
        match one(args, model, &models, period, reach, &|engine, id, lead| {
            let time = (lead.max(reach), period.to);
            match &source {
                Source::Demo(past) => Ok(past.fill(engine, id, time)),
                Source::Prometheus(prometheus) => runtime.block_on(fetch::fill(prometheus, engine, id, time, &bar)),
            }
        })? {
            Ok((report, engine)) => {
                // An engine holds all samples of an SLO: it goes before the next one is read.
                if let (Some(path), true) = (&args.plot, reports.is_empty()) {
                    plot::save(&Picture { report: &report, engine: &engine }, path)?;
                }
                reports.push(report);
            }
            Err(stop) => {
                bar.hidden(|| super::complain(&stop));
                exit = exit.max(Exit::Problems);
            }
        }
    }
    bar.finish();
    let text = match args.output {
        Format::Table => report::table(&reports),
        Format::Json => report::json(&reports, period),
    };
    out::stdout(|writer| writer.write_all(text.as_bytes()))?;
    Ok(exit)
}

const DAY: u64 = 86_400;
/// Since when it is looked where nobody says it.
const USUAL: &str = "30d";
/// The shop of `plimsoll demo` without `--seed`.
const SEED: u64 = 1;

/// Who has the raw series.
enum Source {
    Prometheus(Prometheus),
    Demo(Past),
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Prometheus(prometheus) => prometheus.url(),
            Self::Demo(_) => "the demo".to_owned(),
        }
    }
}

/// The SLOs of files, and how the files are.
fn of_files(args: &Backtest) -> Result<(Vec<Model>, Exit), Stop> {
    let checked = check::check(&args.paths.paths, args.paths.namespace());
    out::stderr(&validate::text(&checked, super::colour(&std::io::stderr())));
    let exit = validate::exit(&checked, false);
    let slo = |model: &AnyModel| match model {
        AnyModel::Slo(model) => Some(model.as_ref().clone()),
        AnyModel::AlertRule(_) => None,
    };
    let models: Vec<Model> = checked.models.iter().filter_map(slo).collect();
    if models.is_empty() && exit == Exit::Fine {
        let help = "name files with kind: SLO".to_owned();
        return Err(Stop::Failed("no SLO found".to_owned(), help));
    }
    Ok((models, exit))
}

/// The SLO of the demo that has this name; all of them without one.
fn of_demo(models: &[Model], name: &str) -> Result<Vec<Model>, Stop> {
    let is = |model: &&Model| name.is_empty() || model.id.name == name || model.id.to_string() == name;
    let found: Vec<Model> = models.iter().filter(is).cloned().collect();
    if found.is_empty() {
        let names: Vec<&str> = models.iter().map(|model| model.id.name.as_str()).collect();
        return Err(Stop::Failed(format!("the demo has no SLO {name}"), format!("it has {}", names.join(", "))));
    }
    Ok(found)
}

/// What is told of one SLO.
struct Report {
    model: Model,
    period: Period,
    /// Share of the time that has data.
    coverage: f64,
    outcomes: Vec<backtest::Outcome>,
    /// Budget left as the rules would have recorded it at the end, of the worst group; an error says why that cannot be
    /// known.
    left: Result<Option<f64>, String>,
}

/// Since when series are read: the longest window of the first time that is looked at, and the period of the last.
fn begin(model: &Model, members: &[&Model], period: Period) -> i64 {
    let longest = members.iter().flat_map(|m| &m.tiers).map(|tier| tier.long).max().unwrap_or(Span::seconds(3600));
    let lead = period.from - i64::try_from(longest.as_seconds()).unwrap_or(0);
    // The period's roll-ups are read on the half hour, and each is of the half hour before.
    let lead = lead.min(backtest::counts_since(model, period.to) - 3600);
    // On the hour, where every interval begins.
    lead.div_euclid(3600) * 3600
}

/// Why the budget that is left at the end cannot be known from samples since `reach`, where it cannot.
fn unknown(model: &Model, period: Period, reach: i64) -> Option<String> {
    let since = backtest::counts_since(model, period.to);
    let lacks = u64::try_from(reach - since).ok().filter(|lacks| *lacks > 60)?;
    let span = Span::seconds(u64::try_from(period.to - since).unwrap_or(0));
    Some(format!("it is of the {span} before --to, of which the first {} are kept no more", Span::seconds(lacks)))
}

/// Tries one SLO, with its parts where it has some, from samples since `reach`; gives the engine that has tried it too. The
/// inner error is of this SLO alone.
fn one(
    args: &Backtest,
    model: &Model,
    all: &[Model],
    period: Period,
    reach: i64,
    fill: &dyn Fn(&mut Engine, &str, i64) -> Result<bool, Stop>,
) -> Result<Result<(Report, Engine), Stop>, Stop> {
    let id = model.id.to_string();
    let mut members = Vec::new();
    if let Err(part) = gather(model, all, &mut members) {
        let help = format!("name the file of {part} too");
        return Ok(Err(Stop::Failed(format!("{id} is made of {part}, which is in none of the files"), help)));
    }
    let cases = backtest::cases(model, &args.objective);
    let start = begin(model, &members, period);
    let members = members.into_iter().map(|m| if m.id == model.id { backtest::widened(m, &cases) } else { m.clone() });
    let mut engine = Engine::new(members.collect(), start * 1000, &Schedule::default());
    let ids: Vec<String> = engine.ids().map(str::to_owned).collect();
    let mut found = false;
    for member in &ids {
        found |= fill(&mut engine, member, start)?;
    }
    if !found {
        let url = args.prometheus.as_deref().unwrap_or("URL");
        let help = format!("ask why with: plimsoll explain --prometheus {url} FILE");
        return Ok(Err(Stop::Failed(format!("{id} has no data in that time"), help)));
    }
    engine.run(period.to * 1000);
    let (from, to) = period.millis();
    let total = engine.select(plimsoll_slo::names::TOTAL, &id);
    let seen = total.iter().map(|found| found.series.samples(from, to).count()).max().unwrap_or(0);
    let interval = engine.base_turn(&id).map_or(1, |(_, interval)| interval);
    let coverage = seen as f64 * interval as f64 / (to - from) as f64;
    let left = engine.select(plimsoll_slo::names::BUDGET_REMAINING, &id);
    let left = left.iter().filter_map(|found| found.series.at(to)).reduce(f64::min);
    let left = unknown(model, period, reach).map_or(Ok(left), Err);
    let mut outcomes = backtest::outcomes(&engine, &id, &cases, (from, to));
    if left.is_err() && !model.parts().is_empty() {
        // What a composite has spent is known by what it has left alone.
        outcomes.iter_mut().for_each(|outcome| outcome.spent = None);
    }
    drop(total);
    let report = Report { model: model.clone(), period, coverage: coverage.min(1.0), outcomes, left };
    Ok(Ok((report, engine)))
}

/// An SLO and everything that it is made of, each once; an error names what is missing.
fn gather<'m>(model: &'m Model, all: &'m [Model], into: &mut Vec<&'m Model>) -> Result<(), String> {
    if into.iter().any(|known| known.id == model.id) {
        return Ok(());
    }
    into.push(model);
    for part in model.parts() {
        let found = all.iter().find(|other| other.id.namespace == model.id.namespace && other.id.name == part);
        gather(found.ok_or_else(|| format!("{}/{part}", model.id.namespace))?, all, into)?;
    }
    Ok(())
}
