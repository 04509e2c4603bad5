//! The OpenAPI document: the part that is written by hand, completed with the numbers of the table.

use serde_json::{Map, Value, json};

use super::numbers::scale;
use crate::metrics::Metric;

/// The document without the numbers.
const WRITTEN: &str = include_str!("openapi.json");

/// Returns the document, pretty-printed.
pub fn document() -> String {
    // It is part of the binary, and a test reads it.
    let mut document: Value = serde_json::from_str(WRITTEN).unwrap_or_default();
    if let Some(Value::Object(properties)) = document.pointer_mut("/components/schemas/Report/properties") {
        add_numbers(properties);
    }
    let metric = |parameter: &&mut Value| parameter["name"] == "metric";
    let history = document.pointer_mut("/paths/~1api~1v1~1history~1{name}/get/parameters");
    if let Some(metric) = history.and_then(|all| all.as_array_mut()?.iter_mut().find(metric)) {
        metric["schema"]["items"]["enum"] = Metric::fields().map(|(_, field)| field).collect();
    }
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

fn add_numbers(properties: &mut Map<String, Value>) {
    for (metric, field) in Metric::fields() {
        let spec = metric.spec();
        let kind = if scale(metric) == 1.0 { "integer" } else { "number" };
        let number = json!({
            "type": [kind, "null"],
            "description": format!("{} Unit: {}.", spec.help, spec.unit.as_str()),
        });
        match field.split_once('.') {
            None => _ = properties.insert(field.to_owned(), number),
            Some((group, field)) => {
                let group = properties
                    .entry(group)
                    .or_insert_with(|| json!({ "type": "object", "properties": {}, "additionalProperties": false }));
                group["properties"][field] = number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_report_is_described() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let report = &document["components"]["schemas"]["Report"]["properties"];
        for (_, field) in Metric::fields() {
            let path = field.replace('.', "/properties/");
            assert!(report.pointer(&format!("/{path}/description")).is_some(), "{field}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, document: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(to)) = fields.get("$ref") {
                        assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to}");
                    }
                    fields.values().for_each(|value| check(value, document));
                }
                Value::Array(items) => items.iter().for_each(|value| check(value, document)),
                _ => {}
            }
        }
        let document: Value = serde_json::from_str(&document()).unwrap();
        check(&document, &document);
    }
}
