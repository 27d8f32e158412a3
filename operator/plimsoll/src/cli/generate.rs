//! `plimsoll generate`: from SLOs and AlertRules to rules.

use std::{collections::HashSet, fmt::Write as _, path::PathBuf};

use clap::{Args, ValueEnum};
use plimsoll_api::Level;
use plimsoll_slo::{AnyModel, Dialect, RuleSet, alerts::Language, model::Period};
use serde_json::{Value, json};

use super::{
    Exit, Paths, check, interrupt,
    out::{self, Directory, Stop},
    parallel,
    prune::{self, Inputs},
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
    /// The same for Loki: the AlertRules in LogQL, which all other forms leave out
    Loki,
    /// Routes and inhibition of AlertRules, a piece of Alertmanager's own configuration
    Alertmanager,
}

impl Format {
    /// True when objects of this kind and language belong into it.
    fn takes(self, model: &AnyModel) -> bool {
        match self {
            Self::Prometheus | Self::PrometheusRule | Self::Vmrule | Self::Mimir => {
                model.language() == Language::PromQl
            }
            Self::Loki => model.language() == Language::LogQl,
            Self::Alertmanager => matches!(model, AnyModel::AlertRule(rule) if rule.route.is_some()),
        }
    }
}

/// Prints the rules of SLOs and AlertRules. No server is needed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll generate slo/ > rules.yaml                 one rule file with the groups of all SLOs
  plimsoll generate slo/ --output rules/              one file for each object
  plimsoll generate slo/ --output rules/ --prune      and none for objects that are gone
  plimsoll generate --format prometheus-rule slo/ | kubectl apply -f -
  plimsoll generate --format alertmanager slo/        routes and inhibition of the AlertRules
  cat slo.yaml | plimsoll generate -

An object with an error is reported on standard error and left out; the others are generated.

Exit status: 0 all generated, 1 an object has an error, 2 wrong usage or something cannot be read or written")]
pub struct Generate {
    #[command(flatten)]
    paths: Paths,
    /// Form of the rules
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write one file for each object into this directory instead of standard output
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Remove the files of this directory that a run with the same paths and namespace has written for objects that
    /// are no longer there. Files of other runs and of others stay, and all do while an object has an error
    #[arg(long, requires = "output")]
    prune: bool,
}

/// Runs it.
///
/// # Errors
/// When the result cannot be written.
pub fn run(args: &Generate) -> Result<Exit, Stop> {
    let check = if args.prune { check::check_emptied } else { check::check };
    let mut checked = check(&args.paths.paths, args.paths.namespace());
    let colour = super::colour(&std::io::stderr());
    out::stderr(&validate::text(&checked, colour));
    if checked.models.is_empty() && checked.count(Level::Error) == 0 && !args.prune {
        return Err(super::nothing_found(&checked, "generated of"));
    }
    if checked.count(Level::Error) > 0 {
        out::stderr(&format!("{}\n", validate::summary(&checked)));
    }
    if checked.models.is_empty() && args.output.is_none() {
        // An empty rule file would take away the rules that work.
        return Ok(validate::exit(&checked, false));
    }
    // Also files of objects that this form leaves out: they are written by a run with another form.
    let produced: HashSet<String> = checked.models.iter().map(file_name).collect();
    leave_out(&mut checked, args.format);
    name_default(&checked, args);
    match &args.output {
        Some(path) => {
            interrupt::listen();
            let mut directory = Directory::open(path)?.of(checked.models.len());
            let inputs = Inputs::of(path, &args.paths);
            for models in checked.models.chunks(BATCH) {
                let texts = parallel::map(models, |model| {
                    let mut text = format!("{}{}", inputs.head(), head(args.format));
                    document(&mut text, model, args.format);
                    text
                });
                for (model, text) in models.iter().zip(texts) {
                    directory.put(&file_name(model), &text)?;
                }
            }
            directory.finish()?;
            let removed = prune::prune(path, &produced, &inputs, args.prune, doubt(&checked).as_deref())?;
            out::stderr(&format!(
                "{} in {}, {} changed{removed}\n",
                count(checked.models.len(), "file"),
                shown(path),
                directory.written()
            ));
        }
        None => out::verdict(|writer| {
            if args.format == Format::Alertmanager {
                return writer.write_all(alertmanager(&checked.models).as_bytes());
            }
            let empty = checked.models.is_empty() && args.format == Format::Prometheus;
            writer.write_all(if empty { b"groups: []\n" } else { head(args.format).as_bytes() })?;
            parallel::write(&checked.models, writer, |text, model| document(text, model, args.format))
        })?,
    }
    Ok(validate::exit(&checked, false))
}

/// Why a file that this run did not write may all the same be that of an object which is there.
fn doubt(checked: &check::Checked) -> Option<String> {
    if checked.unread || checked.count(Level::Error) > 0 {
        return Some("an object has an error".to_owned());
    }
    checked.namesake.clone()
}

/// What stands once at the top of the rules.
const fn head(format: Format) -> &'static str {
    match format {
        Format::Prometheus => "groups:\n",
        Format::PrometheusRule | Format::Vmrule | Format::Mimir | Format::Loki | Format::Alertmanager => "",
    }
}

/// Takes out what does not belong into the form, and says so where rules are missing then.
fn leave_out(checked: &mut check::Checked, format: Format) {
    let before = checked.models.len();
    checked.models.retain(|model| format.takes(model));
    let left = before - checked.models.len();
    let (what, hint) = match format {
        Format::Alertmanager => return,
        Format::Loki => ("PromQL", "the other forms print them"),
        _ => ("LogQL", "--format loki prints them"),
    };
    if left > 0 {
        out::stderr(&format!("{} in {what} left out: {hint}\n", count(left, "object")));
    }
}

/// Says where the namespace is one that nobody has named, for the forms in which it is a place.
fn name_default(checked: &check::Checked, args: &Generate) {
    let place = !matches!(args.format, Format::Prometheus | Format::Alertmanager);
    if place && checked.bare > 0 && args.paths.namespace.is_none() {
        let names = if checked.bare == 1 { "names" } else { "name" };
        let objects = count(checked.bare, "object");
        out::stderr(&format!("{objects} {names} no namespace: taken as default; give -n NAMESPACE\n"));
    }
}

/// The routes of all AlertRules together: what belongs under `route` and beside it.
fn alertmanager(models: &[AnyModel]) -> String {
    let (mut routes, mut inhibit) = (Vec::new(), Vec::new());
    for model in models {
        let AnyModel::AlertRule(rule) = model else { continue };
        let Some((route, rule)) = rule.route.as_ref().map(|route| route.fragment(&rule.id)) else { continue };
        routes.push(route);
        inhibit.extend(rule);
    }
    let mut out = String::new();
    yaml::value(
        &mut out,
        &json!({"route": {"routes": Value::Array(routes)}, "inhibit_rules": Value::Array(inhibit)}),
        0,
    );
    out.push('\n');
    out
}

/// One object's part of a file; ends with a line break.
fn document(out: &mut String, model: &AnyModel, format: Format) {
    let dialect = if format == Format::Vmrule { Dialect::VictoriaMetrics } else { Dialect::Prometheus };
    let rules = model.render_for(dialect);
    let kind = match format {
        Format::Prometheus => {
            comment(out, model, &rules);
            yaml::groups(out, &rules.groups, 0);
            out.push('\n');
            return;
        }
        Format::Alertmanager => {
            comment(out, model, &rules);
            out.push('\n');
            return out.push_str(&alertmanager(std::slice::from_ref(model)));
        }
        Format::Mimir | Format::Loki => {
            out.push_str("---\n");
            comment(out, model, &rules);
            // One namespace for each object: mimirtool refuses a namespace that is in two files.
            let _ =
                write!(out, "\nnamespace: {}\ngroups:", sinks::ruler_namespace("plimsoll", model.kind(), model.id()));
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
    yaml::string(out, &sinks::object_name(model.kind(), &model.id().name), 2);
    out.push_str("\n  namespace: ");
    yaml::string(out, &model.id().namespace, 2);
    out.push_str("\n  labels:\n    app.kubernetes.io/managed-by: plimsoll\nspec:\n  groups:");
    yaml::groups(out, &rules.groups, 2);
    out.push('\n');
}

/// `# shop/checkout-availability: 99.95 % over 30d, 23 rules`
fn comment(out: &mut String, model: &AnyModel, rules: &RuleSet) {
    let _ = write!(out, "# {}: ", model.id());
    let _ = match model {
        AnyModel::Slo(slo) => match &slo.period {
            Period::Rolling(span) => write!(out, "{} % over {span}, ", slo.objective.percent()),
            Period::Calendar { unit, .. } => {
                write!(out, "{} % over a calendar {}, ", slo.objective.percent(), format!("{unit:?}").to_lowercase())
            }
        },
        AnyModel::AlertRule(_) => write!(out, "AlertRule, "),
    };
    let _ = write!(out, "{}", count(rules.len(), "rule"));
}

/// The name that the operator's backend for rule files uses too.
fn file_name(model: &AnyModel) -> String {
    sinks::file_name(model.kind(), model.id())
}
