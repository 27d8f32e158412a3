//! `docs/reference/`: what the code knows of itself, for readers. Definitions, help texts, and the tables of constants.

mod commands;
mod constants;
mod fields;
mod markdown;
mod metrics;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::root;
use fields::Fields;

/// Begins every page, where a person who edits it would see it.
const NOTICE: &str = "<!-- Made by `cargo xtask crds`; what it says is in the code. -->";

/// The kinds: name of the page, what a reader should know first, and the file of its example, of the checkout.
const KINDS: [(&str, &str, &str); 5] = [
    ("slo", "Its guide is [SLO](../slo.md).", "examples/11-alerting.yaml"),
    ("alertrule", "Its guide is [AlertRule](../alert_rules.md).", "examples/14-alert-rule.yaml"),
    ("runbook", "Its guide is [Runbook](../runbooks.md).", "runbooks/crash-loop/runbook.yaml"),
    (
        "runbookexecution",
        "Made by the operator alone; one that somebody else makes is skipped. See [Runbook](../runbooks.md#who-may-do-what).",
        "xtask/src/reference/runbookexecution.yaml",
    ),
    (
        "runbookapproval",
        "`plimsoll runbook approve` and `deny` write it. See [Runbook](../runbooks.md#who-may-do-what).",
        "xtask/src/reference/runbookapproval.yaml",
    ),
];

/// Writes every page into a folder; `crds` has the definitions, `program` is `plimsoll`.
pub(crate) fn write(folder: &Path, crds: &Path, program: &Path) -> Result<()> {
    let root = root()?;
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| path.to_owned());
    fs::create_dir_all(folder)?;
    let mut fields = Fields::default();
    for (name, first, example) in KINDS {
        let path = crds.join(format!("{name}.yaml"));
        let definition: Value = serde_saphyr::from_str(&fs::read_to_string(&path)?)?;
        let text = fields.page(&format!("{name}.md"), &definition, first, &read(example)?)?;
        fs::write(folder.join(format!("{name}.md")), text)?;
    }
    let conditions = constants::conditions(&read("operator/api/src/conditions.rs")?)?;
    let series = constants::series(&read("operator/slo/src/names.rs")?)?;
    let metrics = metrics::page(&read("operator/plimsoll/src/operator/metrics.rs")?)?;
    let pages = [
        ("cli.md", commands::page(program)?),
        ("presets.md", commands::presets(program)?),
        ("conditions.md", conditions),
        ("series.md", series),
        ("metrics.md", metrics),
    ];
    for (name, text) in pages {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}
