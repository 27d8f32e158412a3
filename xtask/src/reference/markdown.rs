//! Pieces of Markdown.

/// A table: its head, then its rows.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: [String; N]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head.map(str::to_owned));
    text += &line([const { String::new() }; N].map(|_| "---".to_owned()));
    text.extend(rows.into_iter().map(|cells| line(cells.map(|cell| self::cell(&cell)))));
    text
}

/// A text as a cell: its lines stay lines, and nothing in it ends the cell or is taken for a tag.
fn cell(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| untagged(line.trim())).collect();
    let mut out = String::new();
    for line in lines {
        // A list of meanings stays a list; what was merely wrapped is one text again.
        if !out.is_empty() {
            out += if line.starts_with('`') && line.contains("`: ") { "<br>" } else { " " };
        }
        out += &line;
    }
    out.replace('|', "\\|")
}

/// `<` outside of code.
fn untagged(line: &str) -> String {
    let mut code = false;
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        code ^= c == '`';
        match c {
            '<' if !code => out += "&lt;",
            c => out.push(c),
        }
    }
    out
}

/// The name by which a heading is linked to.
pub(super) fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_cell_breaks_the_table() {
        assert_eq!(cell("a\n  b < c, `<d>`|e"), "a b &lt; c, `<d>`\\|e");
        assert_eq!(cell("Whom.\n`Page`: now.\n`Ticket`: later."), "Whom.<br>`Page`: now.<br>`Ticket`: later.");
        assert_eq!(table(["a", "b"], [["1".to_owned(), "2".to_owned()]]), "| a | b |\n| --- | --- |\n| 1 | 2 |\n");
    }

    #[test]
    fn headings_have_the_anchors_that_renderers_give_them() {
        assert_eq!(anchor("spec.alerting.tiers[]"), "specalertingtiers");
        assert_eq!(anchor("plimsoll runbook test"), "plimsoll-runbook-test");
    }
}
