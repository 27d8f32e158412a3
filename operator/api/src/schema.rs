//! Schemas of texts that several kinds share, so that each is said once.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// A Prometheus duration: `30d`, `1h30m`, `5m`.
pub fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^([0-9]+(ms|[smhdwy]))+$')",
            "message": "this is not a duration; write it like 30d, 1h30m or 5m",
        }],
    })
}

/// A decimal as a string, so that it stays exact: `"0.9"`.
pub fn decimal(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 16,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[0-9]{1,9}([.][0-9]{1,6})?$')",
            "message": "this is not a decimal; write it like \"0.9\"",
        }],
    })
}

/// A quantity of bytes as Kubernetes writes it: `512Mi`, `2Gi`.
pub fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 16,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[1-9][0-9]{0,11}(Ki|Mi|Gi|Ti)?$')",
            "message": "this is not a size; write it like 512Mi or 2Gi",
        }],
    })
}

/// A name as Kubernetes takes it for labels, containers and steps: `last-words`.
pub fn label(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 63,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "message": "this is no name; use a-z, 0-9 and - between them",
        }],
    })
}

/// An object of another API whose shape is not ours to know.
pub fn foreign(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// The fields of a struct whose values are words keep their own description, and it says what each word means: where a
/// field is optional, the definition would otherwise show what its type says, and no default.
pub fn words(schema: &mut Schema) {
    let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for field in fields.values_mut().filter_map(Value::as_object_mut) {
        let Some(own) = field.get("description").and_then(Value::as_str).map(str::to_owned) else { continue };
        let typed = match field.get_mut("anyOf").and_then(|any| any.get_mut(0)) {
            Some(optional) => optional.as_object_mut(),
            None => Some(field),
        };
        let Some(typed) = typed else { continue };
        let meanings = meanings(typed);
        if !meanings.is_empty() {
            typed.insert("description".to_owned(), Value::String(format!("{own}\n{}", meanings.join("\n"))));
        }
    }
}

/// What the words of an enumeration mean: `` `Page`: Somebody now. ``
fn meanings(typed: &Map<String, Value>) -> Vec<String> {
    let one = |variant: &Value| {
        let word = variant.get("const")?.as_str()?;
        Some(format!("`{word}`: {}", variant.get("description")?.as_str()?))
    };
    typed.get("oneOf").and_then(Value::as_array).into_iter().flatten().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use kube_core::CustomResourceExt as _;

    use crate::Slo;

    #[test]
    fn a_field_of_words_says_its_default_and_what_they_mean() {
        let definition = serde_json::to_value(Slo::crd()).unwrap();
        let spec = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
        let severity = "/alerting/properties/tiers/items/properties/severity/description";
        let said = spec.pointer(severity).unwrap();
        assert_eq!(said, "Whom it wakes. Default: Page.\n`Page`: Somebody now.\n`Ticket`: Somebody tomorrow.");
        // What has fields instead of words is left alone.
        assert_eq!(spec.pointer("/alerting/description").unwrap(), "When somebody is told.");
    }
}
