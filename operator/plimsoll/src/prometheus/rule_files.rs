//! Which rule files a Prometheus reads.

use std::path::{Component, Path};

use serde_json::{Map, Value};

use super::Prometheus;

impl Prometheus {
    /// Whether one of its `rule_files` is this file's, where it says so. A relative pattern is of a folder that it does not
    /// tell, so that only the name is compared.
    pub async fn reads_rules(&self, file: &Path) -> Option<bool> {
        let answer: Map<String, Value> = self.once("api/v1/status/config", &[]).await.ok()?;
        let config: Value = serde_saphyr::from_str(answer.get("yaml")?.as_str()?).ok()?;
        let patterns = config.get("rule_files").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        Some(patterns.iter().filter_map(|pattern| pattern.as_str()).any(|pattern| is_of(file, Path::new(pattern))))
    }
}

/// Whether a pattern of `rule_files` has this file, part by part. A part with a class (`[ab]`) may be anything.
fn is_of(file: &Path, pattern: &Path) -> bool {
    fn fits(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                fits(rest, name) || name.split_first().is_some_and(|(_, tail)| fits(pattern, tail))
            }
            ([b'?', rest @ ..], [_, tail @ ..]) => fits(rest, tail),
            ([p, rest @ ..], [n, tail @ ..]) => p == n && fits(rest, tail),
            _ => false,
        }
    }
    let part = |pattern: Component<'_>, name: Component<'_>| {
        let (pattern, name) = (pattern.as_os_str().as_encoded_bytes(), name.as_os_str().as_encoded_bytes());
        pattern.contains(&b'[') || fits(pattern, name)
    };
    let (patterns, names) = (pattern.components(), file.components());
    if pattern.is_relative() {
        return patterns.rev().zip(names.rev()).take(1).all(|(pattern, name)| part(pattern, name));
    }
    patterns.clone().count() == names.clone().count() && patterns.zip(names).all(|(pattern, name)| part(pattern, name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

    use super::*;
    use crate::prometheus::http_client;

    #[test]
    fn rule_files_have_a_file_or_not() {
        let file = Path::new("/etc/rules/plimsoll_a_b.yaml");
        for (pattern, has) in [
            ("/etc/rules/*.yaml", true),
            ("/etc/rules/*.yml", false),
            ("/etc/*/*", true),
            ("/etc/rules/plimsoll_?_b.yaml", true),
            ("/etc/other/*.yaml", false),
            ("/etc/rules/deeper/*.yaml", false),
            ("/etc/rules", false),
            ("/etc/[rs]ules/*.yaml", true),
            ("rules/*.yaml", true),
            ("rules/*.json", false),
        ] {
            assert_eq!(is_of(file, Path::new(pattern)), has, "{pattern}");
        }
    }

    #[tokio::test]
    async fn a_prometheus_says_whether_it_reads_a_file() {
        let server = MockServer::start().await;
        let prometheus = Prometheus::new(http_client().unwrap(), &server.uri()).unwrap();
        let file = Path::new("/etc/rules/a.yaml");
        assert_eq!(prometheus.reads_rules(file).await, None, "it does not say");
        for (config, reads) in [("rule_files: [/etc/rules/*.yaml]", true), ("global: {}", false)] {
            server.reset().await;
            let answer = json!({"status": "success", "data": {"yaml": config}});
            Mock::given(matchers::path("/api/v1/status/config"))
                .respond_with(ResponseTemplate::new(200).set_body_json(answer))
                .mount(&server)
                .await;
            assert_eq!(prometheus.reads_rules(file).await, Some(reads), "{config}");
        }
    }
}
