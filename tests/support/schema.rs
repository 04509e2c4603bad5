//! Validates a value against a schema of the OpenAPI document: the part of JSON Schema that the document uses. An
//! unknown keyword is an error, so that nothing stays unchecked.

use serde_json::Value;

/// Checks `value`, which is at `path`.
///
/// # Errors
/// The first mismatch, and its place.
pub fn check(value: &Value, schema: &Value, document: &Value, path: &str) -> Result<(), String> {
    let wrong = |what: String| Err(format!("{path}: {what}"));
    for (keyword, said) in schema.as_object().ok_or_else(|| format!("{path}: no schema"))? {
        match keyword.as_str() {
            "description" | "format" | "default" => {}
            "$ref" => {
                let to = said.as_str().unwrap().trim_start_matches('#');
                let to = document.pointer(to).ok_or_else(|| format!("{to} is not there"))?;
                check(value, to, document, path)?;
            }
            "type" if !types(said).any(|kind| is(value, kind)) => return wrong(format!("{value} is no {said}")),
            "enum" if !said.as_array().unwrap().contains(value) => return wrong(format!("{value} is none of {said}")),
            "type" | "enum" => {}
            "required" => {
                for field in said.as_array().unwrap() {
                    if value.get(field.as_str().unwrap()).is_none() {
                        return wrong(format!("{field} is missing"));
                    }
                }
            }
            "items" => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(item, said, document, &format!("{path}[{at}]"))?;
                }
            }
            "properties" => {
                for (field, schema) in said.as_object().unwrap() {
                    if let Some(value) = value.get(field) {
                        check(value, schema, document, &format!("{path}.{field}"))?;
                    }
                }
            }
            "additionalProperties" => {
                for (field, value) in value.as_object().into_iter().flatten() {
                    let is_known = schema.get("properties").is_some_and(|known| known.get(field).is_some());
                    match said {
                        Value::Bool(true) => {}
                        Value::Bool(false) if !is_known => return wrong(format!("{field} is not described")),
                        Value::Object(_) if !is_known => check(value, said, document, &format!("{path}.{field}"))?,
                        _ => {}
                    }
                }
            }
            other => return wrong(format!("the keyword {other} is not known")),
        }
    }
    Ok(())
}

fn types(said: &Value) -> impl Iterator<Item = &str> {
    let several = said.as_array().map_or(&[][..], Vec::as_slice);
    several.iter().chain(said.is_string().then_some(said)).filter_map(Value::as_str)
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
