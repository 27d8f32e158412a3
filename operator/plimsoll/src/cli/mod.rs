//! The command line. A subcommand is a variant of `Command`, an arm in `run`, and a file.

pub mod backtest;
pub mod bench;
pub mod check;
mod classify;
pub mod demo;
pub mod detect;
pub mod editors;
pub mod explain;
mod foreign;
pub mod generate;
pub mod graph;
mod help;
pub mod interrupt;
mod judge;
pub mod kinds;
mod many;
pub mod mend;
pub mod named;
pub mod out;
pub mod parallel;
pub mod plot;
pub mod presets;
pub mod prune;
pub mod report;
pub mod runbook;
pub mod runbook_cluster;
pub mod runbook_pause;
mod runbook_rehearsal;
mod runbook_told;
pub mod schemas;
pub mod series;
pub mod up;
pub mod validate;
pub mod yaml;

use std::{
    ffi::OsStr,
    io::IsTerminal,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use clap_complete::Shell;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use out::Stop;
use plimsoll_slo::validate::DEFAULT_NAMESPACE;

/// SLOs as code for Kubernetes: from a short file to Prometheus rules that page when users suffer.
#[derive(Parser, Debug)]
#[command(
    name = "plimsoll",
    version,
    arg_required_else_help = true,
    after_help = "\
Begin with:
  plimsoll generate examples/        the rules of the examples
  plimsoll validate slo/             what is wrong with your own"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Validate(validate::Validate),
    Generate(generate::Generate),
    Crds(schemas::Crds),
    Schemas(schemas::Schemas),
    Presets(presets::Presets),
    Runbook(runbook::Runbook),
    Explain(explain::Explain),
    /// Runs the operator: SLOs and AlertRules of the cluster become rules, and their conditions say how that went
    Operator(Box<crate::operator::OperatorArgs>),
    Demo(demo::Demo),
    Backtest(backtest::Backtest),
    Up(up::Up),
    Detect(detect::Detect),
    Bench(bench::Bench),
    Completions(Completions),
}

/// What is read, and where it belongs.
#[derive(Args, Debug)]
pub struct Paths {
    /// Files, directories (searched for *.yaml, *.yml and *.json), or - for standard input
    #[arg(value_name = "PATH", default_value = ".")]
    pub paths: Vec<PathBuf>,
    /// Namespace of objects that name none. Default: "default"
    #[arg(long, short, value_name = "NAMESPACE", value_parser = check::namespace)]
    pub namespace: Option<String>,
}

impl Paths {
    /// Namespace of objects that name none.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
    }
}

/// Prints a script that completes commands and options in a shell.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  plimsoll completions bash > ~/.local/share/bash-completion/completions/plimsoll
  plimsoll completions zsh > ~/.zfunc/_plimsoll
  plimsoll completions fish > ~/.config/fish/completions/plimsoll.fish

A folder that is not there is made with mkdir -p first; then every new shell completes. bash needs its package
bash-completion for it, and ~/.zshrc of zsh needs, in this order:
  fpath=(~/.zfunc $fpath)
  autoload -Uz compinit && compinit"
)]
struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// How a command ended, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Nothing to complain about.
    Fine,
    /// Problems were found in what was read.
    Problems,
    /// Wrong usage, or something could not be read or written.
    Unusable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Fine => Self::SUCCESS,
            Exit::Problems => Self::from(1),
            Exit::Unusable => Self::from(2),
        }
    }
}

/// The command line as a value: what may be written, for whoever checks that.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let mut command = command_line(std::env::args_os().next().as_deref());
    let matches = command.get_matches_mut();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.format(&mut command).exit(),
    };
    if let Some((name, _)) = matches.subcommand().filter(|(_, below)| reads_here(below) && is_piped()) {
        let program = command.get_bin_name().unwrap_or("plimsoll");
        out::stderr(&format!(
            "warning: standard input is not read, but the files of this directory: no PATH is given\n  └ help: to read standard input, give - as PATH: {program} {name} -\n"
        ));
    }
    match run(cli.command) {
        Ok(exit) => exit.into(),
        Err(Stop::Quiet) => ExitCode::SUCCESS,
        Err(stop) => {
            complain(&stop);
            Exit::Unusable.into()
        }
    }
}

/// Whether a subcommand reads the files of this directory for want of a path: see [`Paths`].
fn reads_here(below: &ArgMatches) -> bool {
    // Of the demo no files are read.
    let demo = below.try_contains_id("demo").is_ok_and(|is_given| is_given);
    !demo && below.ids().any(|id| id == "paths") && below.value_source("paths") == Some(ValueSource::DefaultValue)
}

/// Whether something comes through standard input: from a pipe or a file. A pipe that was closed with nothing in it, as
/// those that start programs give them, brings nothing.
fn is_piped() -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    // What somebody has piped may take a while to come, or never end: so it is asked what it is, and nothing is read.
    let Ok(input) = std::fs::metadata("/dev/stdin") else { return false };
    let ended = || {
        let stdin = std::io::stdin();
        let mut asked = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let told = poll(&mut asked, PollTimeout::ZERO).is_ok_and(|told| told > 0);
        told && asked.iter().any(|one| one.revents() == Some(PollFlags::POLLHUP))
    };
    if input.file_type().is_fifo() { !ended() } else { input.is_file() && input.len() > 0 }
}

/// The command line by the name of the program that was called: kubectl runs `kubectl-plimsoll` for `kubectl plimsoll`.
fn command_line(program: Option<&OsStr>) -> clap::Command {
    let plugin = program.and_then(|path| Path::new(path).file_stem()).is_some_and(|name| name == "kubectl-plimsoll");
    if plugin { of_plugin(Cli::command()).bin_name("kubectl plimsoll") } else { Cli::command() }
}

/// With examples that can be typed as they stand.
fn of_plugin(mut command: clap::Command) -> clap::Command {
    if let Some(help) = command.get_after_help().map(ToString::to_string) {
        command = command.after_help(help.replace(" plimsoll ", " kubectl plimsoll "));
    }
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, of_plugin))
}

/// Says on standard error why a command stopped, or could not do a part of its work.
fn complain(stop: &Stop) {
    let Stop::Failed(message, help) = stop else { return };
    let help = if help.is_empty() { String::new() } else { format!("  └ help: {help}\n") };
    out::stderr(&format!("error: {message}\n{help}"));
}

/// What is said where the paths hold no object from which rules come; `done` is what this command does with those:
/// `explained`.
fn nothing_found(checked: &check::Checked, done: &str) -> Stop {
    let help = if checked.objects > 0 {
        format!("nothing is {done} the other kinds; plimsoll runbook test FILE says what a Runbook would do")
    } else {
        "name files with kind: SLO or AlertRule".to_owned()
    };
    Stop::Failed(format!("no SLO or AlertRule found in {}", checked.asked), help)
}

fn run(command: Command) -> Result<Exit, Stop> {
    match command {
        Command::Validate(args) => validate::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Crds(args) => schemas::crds(&args),
        Command::Schemas(args) => schemas::schemas(&args),
        Command::Presets(args) => presets::run(&args),
        Command::Runbook(args) => runbook::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Operator(args) => block_on(crate::operator::run(*args)).map(|()| Exit::Fine),
        Command::Up(args) => up::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Backtest(args) => backtest::run(&args),
        Command::Detect(args) => detect::run(&args),
        Command::Completions(Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut self::command(), "plimsoll", &mut script);
            out::stdout(|writer| writer.write_all(&script)).map(|()| Exit::Fine)
        }
    }
}

/// Runs what waits for servers; its error becomes the command's, causes included. When it has ended, nobody waits for
/// what it began and gave up: the look-up of a name takes as long as a name server that is away lets it.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> Result<T, Stop> {
    let runtime = runtime()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result.map_err(|error| failed(&error))
}

fn runtime() -> Result<tokio::runtime::Runtime, Stop> {
    tokio::runtime::Runtime::new().map_err(|error| failed(&error.into()))
}

/// An error with its causes.
fn failed(error: &anyhow::Error) -> Stop {
    Stop::Failed(crate::refusals::told(error.chain()), String::new())
}

/// True when a person looks at this stream and likes colours.
pub fn colour(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    stream.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|t| t != "dumb")
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    #[test]
    fn nobody_waits_for_what_was_given_up() {
        let (held, holds) = mpsc::channel::<()>();
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let work = async move {
                let (begun, begins) = tokio::sync::oneshot::channel();
                // As the look-up of a name does, on a thread of its own that nothing can end.
                tokio::task::spawn_blocking(move || {
                    let _ = begun.send(());
                    let _ = holds.recv();
                });
                Ok(begins.await?)
            };
            let _ = done.send(super::block_on(work).is_ok());
        });
        assert_eq!(ended.recv_timeout(Duration::from_secs(30)), Ok(true));
        drop(held);
    }
}
