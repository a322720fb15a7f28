//! The JSON Schema against what the crate writes.

use serde_json::{Value, json};

use crate::sample;

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../schema/result.schema.json");
    jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
}

fn valid() -> Value {
    serde_json::from_str(&sample::quick().to_json()).unwrap()
}

#[test]
fn sample_fits_the_schema() {
    let value = valid();
    let errors: Vec<_> =
        schema().iter_errors(&value).map(|e| format!("{e} at {}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn schema_refuses_what_is_missing_misspelt_or_of_another_type() {
    let schema = schema();
    let check = |what: &str, change: fn(&mut Value)| {
        let mut value = valid();
        change(&mut value);
        assert!(!schema.is_valid(&value), "accepted: {what}");
    };
    check("another version", |v| v["schema"] = json!("kvdyno.result/2"));
    check("no cells", |v| {
        v.as_object_mut().unwrap().remove("cells");
    });
    check("a misspelt field", |v| v["run"]["trails"] = json!(3));
    check("a missing field", |v| {
        v["cells"][0]["measurement"].as_object_mut().unwrap().remove("duration_s");
    });
    check("text for a number", |v| v["run"]["seed"] = json!("7"));
    check("a negative count", |v| v["cells"][0]["records"] = json!(-1));
    check("an unknown status", |v| v["cells"][0]["status"] = json!("fine"));
    check("an unknown phase", |v| v["cells"][0]["phase"] = json!("warm_up"));
    check("no row for all operations", |v| {
        v["cells"][0]["measurement"]["operations"].as_array_mut().unwrap().pop();
    });
    check("a histogram that is not base64", |v| {
        v["cells"][0]["measurement"]["operations"][0]["service"]["histogram"] = json!("¿?");
    });
}

#[test]
fn absent_figures_may_be_left_out() {
    let mut value = valid();
    value["cells"][0].as_object_mut().unwrap().remove("recovery");
    value["environment"].as_object_mut().unwrap().remove("hypervisor");
    assert!(schema().is_valid(&value));
}
