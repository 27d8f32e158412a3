//! `plimsoll generate`: from SLOs to rules.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, ValueEnum};
use plimsoll_api::Level;
use plimsoll_slo::{Dialect, Model, RuleSet, SloId, model::Period, render_for};

use super::{
    Exit, Paths, check,
    out::{self, Directory, Stop},
    parallel,
    report::count,
    validate, yaml,
};
use crate::{sinks, source::files::shown};

/// SLOs that are rendered before their rules are written.
const BATCH: usize = 128;

/// Form of the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A rule file of Prometheus, for `rule_files`
    #[default]
    Prometheus,
    /// PrometheusRule objects for the Prometheus operator
    PrometheusRule,
    /// VMRule objects for the VictoriaMetrics operator
    Vmrule,
    /// Rule namespaces for `mimirtool rules load` and the ruler API
    Mimir,
}

/// Prints the Prometheus rules of SLOs. No server is needed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll generate slo/ > rules.yaml                 one rule file with the groups of all SLOs
  plimsoll generate slo/ --output rules/              one file for each SLO
  plimsoll generate --format prometheus-rule slo/ | kubectl apply -f -
  cat slo.yaml | plimsoll generate -

An SLO with an error is reported on standard error and left out; the others are generated.

Exit status: 0 all generated, 1 an SLO has an error, 2 wrong usage or something cannot be read or written")]
pub struct Generate {
    #[command(flatten)]
    paths: Paths,
    /// Form of the rules
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write one file for each SLO into this directory instead of standard output
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// When the result cannot be written.
pub fn run(args: &Generate) -> Result<Exit, Stop> {
    let checked = check::check(&args.paths.paths, &args.paths.namespace);
    let colour = super::colour(&std::io::stderr());
    out::stderr(&validate::text(&checked, colour));
    if checked.models.is_empty() && checked.diagnostics.is_empty() {
        let (message, help) = ("no SLO found".to_owned(), "name files with kind: SLO".to_owned());
        return Err(Stop::Failed(message, help));
    }
    if checked.count(Level::Error) > 0 {
        out::stderr(&format!("{}\n", validate::summary(&checked)));
    }
    match &args.output {
        Some(path) => {
            let mut directory = Directory::open(path)?;
            for models in checked.models.chunks(BATCH) {
                let texts = parallel::map(models, |model| {
                    let mut text = head(args.format).to_owned();
                    document(&mut text, model, args.format);
                    text
                });
                for (model, text) in models.iter().zip(texts) {
                    directory.put(&file_name(&model.id), &text)?;
                }
            }
            directory.finish()?;
            out::stderr(&format!(
                "{} in {}, {} changed\n",
                count(checked.models.len(), "file"),
                shown(path),
                directory.written()
            ));
        }
        None => out::stdout(|writer| {
            let empty = checked.models.is_empty() && args.format == Format::Prometheus;
            writer.write_all(if empty { b"groups: []\n" } else { head(args.format).as_bytes() })?;
            for models in checked.models.chunks(BATCH) {
                let texts = parallel::map(models, |model| {
                    let mut text = String::with_capacity(16 << 10);
                    document(&mut text, model, args.format);
                    text
                });
                texts.iter().try_for_each(|text| writer.write_all(text.as_bytes()))?;
            }
            Ok(())
        })?,
    }
    Ok(validate::exit(&checked, false))
}

/// What stands once at the top of a file.
const fn head(format: Format) -> &'static str {
    match format {
        Format::Prometheus => "groups:\n",
        Format::PrometheusRule | Format::Vmrule | Format::Mimir => "",
    }
}

/// One SLO's part of a file; ends with a line break.
fn document(out: &mut String, model: &Model, format: Format) {
    let dialect = if format == Format::Vmrule { Dialect::VictoriaMetrics } else { Dialect::Prometheus };
    let rules = render_for(model, dialect);
    let kind = match format {
        Format::Prometheus => {
            comment(out, model, &rules);
            yaml::groups(out, &rules.groups, 0);
            out.push('\n');
            return;
        }
        Format::Mimir => {
            out.push_str("---\n");
            comment(out, model, &rules);
            // One namespace for each SLO: mimirtool refuses a namespace that is in two files.
            let _ = write!(out, "\nnamespace: plimsoll.{}.{}\ngroups:", model.id.namespace, model.id.name);
            yaml::groups(out, &rules.groups, 0);
            out.push('\n');
            return;
        }
        Format::PrometheusRule => ("monitoring.coreos.com/v1", "PrometheusRule"),
        Format::Vmrule => ("operator.victoriametrics.com/v1beta1", "VMRule"),
    };
    out.push_str("---\n");
    comment(out, model, &rules);
    let _ = write!(out, "\napiVersion: {}\nkind: {}\nmetadata:\n  name: ", kind.0, kind.1);
    yaml::string(out, &sinks::object_name(&model.id.name), 2);
    out.push_str("\n  namespace: ");
    yaml::string(out, &model.id.namespace, 2);
    out.push_str("\n  labels:\n    app.kubernetes.io/managed-by: plimsoll\nspec:\n  groups:");
    yaml::groups(out, &rules.groups, 2);
    out.push('\n');
}

/// `# shop/checkout-availability: 99.95 % over 30d, 23 rules`
fn comment(out: &mut String, model: &Model, rules: &RuleSet) {
    let _ = write!(out, "# {}: {} % over ", model.id, model.objective.percent());
    let _ = match &model.period {
        Period::Rolling(span) => write!(out, "{span}"),
        Period::Calendar { unit, .. } => write!(out, "a calendar {}", format!("{unit:?}").to_lowercase()),
    };
    let _ = write!(out, ", {} rules", rules.len());
}

/// The name that the operator's backend for rule files uses too.
fn file_name(id: &SloId) -> String {
    format!("{}.yaml", sinks::shorten(&format!("plimsoll_{}_{}", id.namespace, id.name), 200))
}
