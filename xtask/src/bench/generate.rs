//! `plimsoll generate` with 1,000 SLOs: wall time and peak memory, beside reading and writing the same bytes, and beside
//! parsing the same YAML.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::release;
use super::table::{self, Target};

const SLOS: usize = 1000;
const TRIES: usize = 15;
const MOST_SECONDS: f64 = 0.15;
const MOST_MEGABYTES: f64 = 40.0;

pub(crate) fn run() -> Result<Vec<Target>> {
    let programs = release::build(&["plimsoll", "xtask-floor"])?;
    let (plimsoll, floor) = (programs.path("plimsoll")?, programs.path("xtask-floor")?);
    let folder = TempDir::new()?;
    let (many, one) = (folder.path().join("files"), folder.path().join("file"));
    write_slos(&many, &one)?;
    let out = folder.path().join("out");
    measure(floor, &out, plimsoll, &["generate".as_ref(), &many])?;
    let rules = fs::read_to_string(&out)?;
    ensure!(rules.matches("record: slo_info").count() == SLOS, "not all SLOs were generated");
    let written = rules.len().to_string();

    println!("\n{SLOS} SLOs to {written} bytes of rules; median of {TRIES}");
    let mut rows = vec![["", "ms", "CPU ms", "peak MB"].map(str::to_owned).to_vec()];
    let mut figures = Vec::new();
    for (what, program, arguments) in [
        ("read all, write as much", floor, vec!["copy".as_ref(), many.as_path(), written.as_ref()]),
        ("parse the YAML (1,000 files)", floor, vec!["parse".as_ref(), many.as_path()]),
        ("parse the YAML (one file)", floor, vec!["parse".as_ref(), one.as_path()]),
        ("plimsoll generate (1,000 files)", plimsoll, vec!["generate".as_ref(), many.as_path()]),
        ("plimsoll generate (one file)", plimsoll, vec!["generate".as_ref(), one.as_path()]),
    ] {
        let tries = (0..TRIES).map(|_| measure(floor, &out, program, &arguments)).collect::<Result<Vec<_>>>()?;
        let median = |pick: fn(&Figures) -> f64| table::median(tries.iter().map(pick).collect());
        let figure = Figures { seconds: median(|f| f.seconds), cpu: median(|f| f.cpu), peak: median(|f| f.peak) };
        rows.push(vec![
            what.to_owned(),
            format!("{:.1}", figure.seconds * 1e3),
            format!("{:.1}", figure.cpu * 1e3),
            format!("{:.1}", figure.peak),
        ]);
        figures.push(figure);
    }
    table::print(&rows);
    let [copy, parse, _, many, one] = figures.as_slice() else {
        return Ok(Vec::new());
    };
    println!(
        "1,000 files: {:.1} times reading and writing, {:.2} times parsing",
        many.seconds / copy.seconds,
        many.seconds / parse.seconds
    );
    Ok(vec![
        Target::at_most("generate, 1,000 files", many.seconds, MOST_SECONDS, "s"),
        Target::at_most("generate, one file", one.seconds, MOST_SECONDS, "s"),
        Target::at_most("generate, memory", many.peak.max(one.peak), MOST_MEGABYTES, "MB"),
    ])
}

/// The shortest SLOs that there are: once as a file for each, once all in one file.
fn write_slos(many: &Path, one: &Path) -> Result<()> {
    fs::create_dir(many)?;
    fs::create_dir(one)?;
    let mut all = String::new();
    for number in 0..SLOS {
        let job = format!("service-{number:04}");
        let text = format!(
            r#"apiVersion: plimsoll.dev/v1alpha1
kind: SLO
metadata: {{name: {job}-availability, namespace: shop}}
spec:
  objective: "99.95"
  sli: {{events: {{bad: 'http_requests_total{{job="{job}",code=~"5.."}}', total: 'http_requests_total{{job="{job}"}}'}}}}
"#
        );
        write!(all, "---\n{text}")?;
        fs::write(many.join(format!("{job}.yaml")), text)?;
    }
    Ok(fs::write(one.join("all.yaml"), all)?)
}

struct Figures {
    seconds: f64,
    cpu: f64,
    /// In megabytes.
    peak: f64,
}

fn measure(floor: &Path, out: &Path, program: &Path, arguments: &[&Path]) -> Result<Figures> {
    let output = Command::new(floor).arg("measure").args([out, program]).args(arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| answer.get(name).and_then(Value::as_f64).with_context(|| format!("no {name}"));
    Ok(Figures { seconds: number("seconds")?, cpu: number("cpu_microseconds")? / 1e6, peak: number("peak")? / 1e6 })
}
