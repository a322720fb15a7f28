//! The JSON Schema against what the crate writes.

use std::collections::BTreeSet;

use kvdyno_reports::ResultFile;
use serde_json::{Value, json};

use crate::sample;

const SCHEMA: &str = include_str!("../../schema/result.schema.json");

fn schema() -> jsonschema::Validator {
    jsonschema::validator_for(&serde_json::from_str(SCHEMA).unwrap()).unwrap()
}

fn valid() -> Value {
    serde_json::from_str(&sample::quick().to_json()).unwrap()
}

#[test]
fn samples_fit_the_schema_and_survive_the_file() {
    for result in [sample::quick(), sample::at_rate(), sample::sweep(), sample::recoveries()] {
        let value = serde_json::from_str(&result.to_json()).unwrap();
        let errors: Vec<_> =
            schema().iter_errors(&value).map(|e| format!("{e} at {}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", result.run.id);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        result.write(&path).unwrap();
        assert!(ResultFile::read(&path).unwrap() == result, "{}", result.run.id);
    }
}

/// Every property of the schema, as `definition.property`.
fn properties(schema: &Value) -> BTreeSet<String> {
    let definitions = schema["$defs"].as_object().unwrap().iter();
    definitions
        .flat_map(|(name, definition)| {
            let properties = definition["properties"].as_object().into_iter().flatten();
            properties.map(move |(property, _)| format!("{name}.{property}"))
        })
        .collect()
}

/// Walks a value along the schema and strikes out each property that it has.
fn strike_out(schema: &Value, definition: &Value, value: &Value, left: &mut BTreeSet<String>) {
    if let Some(reference) = definition["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        let definition = &schema["$defs"][name];
        for (property, value) in value.as_object().into_iter().flatten() {
            if !value.is_null() {
                left.remove(&format!("{name}.{property}"));
            }
            strike_out(schema, &definition["properties"][property], value, left);
        }
    }
    for definition in definition["anyOf"].as_array().into_iter().flatten() {
        strike_out(schema, definition, value, left);
    }
    for item in value.as_array().into_iter().flatten() {
        strike_out(schema, &definition["items"], item, left);
    }
}

#[test]
fn samples_use_every_property_of_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut left = properties(&schema);
    assert!(left.len() > 150, "{}", left.len());
    let under_load = [sample::at_rate(), sample::sweep()];
    let recoveries = [sample::recoveries(), sample::log_sizes()];
    for result in [sample::quick()].into_iter().chain(under_load).chain(recoveries) {
        let value: Value = serde_json::from_str(&result.to_json()).unwrap();
        for (property, definition) in schema["properties"].as_object().unwrap() {
            strike_out(&schema, definition, &value[property], &mut left);
        }
    }
    // Unknown on the machine of the sample; told from a million samples on.
    left.remove("Environment.cpu_governor");
    left.remove("Latency.p9999_ns");
    assert!(left.is_empty(), "{left:#?}");
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
    check("a negative throughput", |v| {
        v["cells"][0]["measurement"]["throughput_ops_per_s"] = json!(-1.0);
    });
    check("an unknown ending", |v| {
        v["cells"][0]["scenario"] = json!({ "ending": "fire", "page_cache": "warm" });
    });
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
