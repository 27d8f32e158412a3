//! Names as Kubernetes takes them.

use plimsoll_api::Problem;

use crate::source::layout;

/// Longest name: what is derived from it must still fit into 253 characters.
pub(super) const NAME_MAX: usize = 200;
/// Longest namespace.
pub(super) const NAMESPACE_MAX: usize = 63;

/// A namespace that a person names on the command line.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn namespace(text: &str) -> Result<String, String> {
    let mut problems = Vec::new();
    dns(text, "namespace", NAMESPACE_MAX, false, &mut problems);
    match problems.pop() {
        None => Ok(text.to_owned()),
        Some(Problem { message, label, help, .. }) => Err(format!("{message} ({label}); {help}")),
    }
}

/// Notes what is wrong with a name of Kubernetes.
pub(super) fn dns(text: &str, field: &str, max: usize, dots: bool, problems: &mut Vec<Problem>) {
    let path = format!("metadata.{field}");
    let good = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let ok = if dots { text.split('.').all(good) } else { good(text) };
    if !ok {
        let lower: String = text
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || (dots && c == '.') { c } else { '-' })
            .collect();
        let proposal = lower.trim_matches(['-', '.']);
        let help = if text.contains("{{") {
            layout::RENDER.to_owned()
        } else if proposal.len() > max || !(if dots { proposal.split('.').all(good) } else { good(proposal) }) {
            format!("use a-z, 0-9 and -, for example {}", if dots { "checkout-availability" } else { "shop" })
        } else {
            format!("write {proposal}")
        };
        let label = if text.is_empty() { "empty" } else { "only a-z, 0-9 and - between them" };
        problems.push(Problem::error(path, format!("{field} is no Kubernetes name")).label(label).help(help));
    } else if text.len() > max {
        problems.push(
            Problem::error(path, format!("{field} is too long"))
                .label(format!("{} characters", text.len()))
                .help(format!("use at most {max} characters")),
        );
    }
}
