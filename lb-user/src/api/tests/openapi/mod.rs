//! `docs/openapi.json`: made of the table of [`operations`] and of the types, and checked against the router.

mod operations;

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::super::route::Endpoint;
use super::super::types::Problem;
use crate::model::golden;
use operations::{Body, OPERATIONS, Operation, PATH, Parameter};

const DESCRIPTION: &str = "What a running Fulcrum answers on its Unix socket and over TCP. Within v1 no field is renamed, \
     removed or given another meaning; fields, operations and values of open sets may be added, so ignore what you don't \
     know. docs/api.md says more of each.";

const SECURITY: &str = "The token of `[admin] token-file`. On the Unix socket nobody is asked for one; over TCP docs/api.md \
     says who needs it for what.";

/// Schemas of what is sent and of what is read: a field that may be left out is always there when we send it.
struct Schemas {
    sent: SchemaGenerator,
    read: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            sent: settings().for_serialize().into_generator(),
            read: settings().for_deserialize().into_generator(),
        }
    }

    /// All that have been referred to, by name.
    fn finish(mut self) -> Map<String, Value> {
        let mut all = self.sent.take_definitions(true);
        for (name, schema) in self.read.take_definitions(true) {
            let sent = all.insert(name.clone(), schema.clone());
            assert!(
                sent.is_none_or(|sent| sent == schema),
                "{name} is sent and read, and not alike"
            );
        }
        all.sort_keys();
        all
    }
}

fn content(bodies: &[Body], generator: &mut SchemaGenerator) -> Value {
    let content = bodies
        .iter()
        .map(|body| (body.kind.to_owned(), json!({ "schema": (body.schema)(generator) })));
    Value::Object(content.collect())
}

fn parameters(operation: &Operation, schemas: &mut Schemas) -> Vec<Value> {
    let path = PATH
        .iter()
        .filter(|(name, _)| operation.path.contains(&format!("{{{name}}}")));
    let path = path.map(|(name, description)| {
        json!({ "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string" } })
    });
    let query = |parameter: &Parameter| {
        let schema = (parameter.schema)(&mut schemas.read);
        let Parameter {
            name,
            required,
            description,
            ..
        } = parameter;
        json!({ "name": name, "in": "query", "required": required, "description": description, "schema": schema })
    };
    path.chain(operation.query.iter().map(query)).collect()
}

fn described(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut responses = Map::new();
    let answer = content(operation.answers, &mut schemas.sent);
    responses.insert(
        "200".to_owned(),
        json!({ "description": operation.summary, "content": answer }),
    );
    let problem = content(
        &[Body {
            kind: "application/problem+json",
            schema: SchemaGenerator::subschema_for::<Problem>,
        }],
        &mut schemas.sent,
    );
    for (status, description) in operation.refusals {
        // Of monitoring, what is not so is said in the same words.
        let content = if operation.path == "/readyz" { &answer } else { &problem };
        responses.insert(
            (*status).to_owned(),
            json!({ "description": description, "content": content }),
        );
    }
    responses.insert(
        "default".to_owned(),
        json!({ "$ref": "#/components/responses/Refused" }),
    );
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses,
    });
    let parameters = parameters(operation, schemas);
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = operation.request {
        described["requestBody"] = json!({ "required": true, "content": content(&[body], &mut schemas.read) });
    }
    if !operation.path.starts_with("/api/") {
        described["security"] = json!([]);
    }
    described
}

fn made() -> String {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let described = described(operation, &mut schemas);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.to_lowercase()] = described;
    }
    let problem = schemas.sent.subschema_for::<Problem>();
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fulcrum",
            "version": "v1",
            "description": DESCRIPTION,
            "license": { "name": "MIT OR Apache-2.0", "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "http://127.0.0.1:9465", "description": "where `[admin] listen` is by default" }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.finish(),
            "responses": {
                "Refused": {
                    "description": "What every operation can be refused for: a request that is malformed, too large or too slow, \
                                    somebody who may not ask it, a daemon that is busy or shutting down.",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": SECURITY },
            },
        },
    });
    let mut text = serde_json::to_string_pretty(&document).unwrap();
    text.push('\n');
    text
}

#[test]
fn the_document_is_current() {
    golden::check("../docs/openapi.json", &made());
}

/// Where a template leads in the router.
fn endpoint(template: &str) -> Endpoint {
    let path = template
        .replace("{trace}", "0123456789abcdef")
        .replace("{prefix}", "10.0.0.0%2F8")
        .replace(['{', '}'], "");
    Endpoint::of(&path).unwrap_or_else(|_| panic!("the router does not have {template}"))
}

#[test]
fn methods_are_those_of_the_router() {
    let mut table: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for operation in OPERATIONS {
        let new = table.entry(operation.path).or_default().insert(operation.method);
        assert!(new, "{} {} is there twice", operation.method, operation.path);
    }
    for (path, methods) in table {
        let endpoint = endpoint(path);
        let router: BTreeSet<_> = endpoint
            .methods()
            .split(", ")
            .filter(|method| *method != "HEAD")
            .collect();
        assert_eq!(methods, router, "{path}");
    }
    let ids: BTreeSet<_> = OPERATIONS.iter().map(|operation| operation.id).collect();
    assert_eq!(ids.len(), OPERATIONS.len(), "an operationId is there twice");
}

#[test]
fn no_path_of_the_router_is_left_out() {
    let source = include_str!("../../route.rs");
    let literals = source.split('"').skip(1).step_by(2);
    let paths: Vec<_> = literals.filter(|literal| literal.starts_with("/api/")).collect();
    assert!(paths.len() > 5, "{paths:?}");
    for path in paths {
        // One that ends with a slash is followed by a parameter.
        let known = |operation: &Operation| match path.ends_with('/') {
            true => operation.path.starts_with(&format!("{path}{{")),
            false => operation.path == path,
        };
        assert!(OPERATIONS.iter().any(known), "{path} is not in the table of operations");
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert!(OPERATIONS.iter().any(|operation| operation.path == path), "{path}");
    }
}

/// Every `$ref` leads somewhere, and every parameter of a path is described.
#[test]
fn references_lead_somewhere() {
    let document: Value = serde_json::from_str(&made()).unwrap();
    let mut left = vec![&document];
    let mut references = 0;
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let target = document.pointer(reference.strip_prefix('#').unwrap());
                    assert!(target.is_some(), "{reference}");
                    references += 1;
                }
                left.extend(fields.values());
            }
            Value::Array(values) => left.extend(values),
            _ => {}
        }
    }
    assert!(references > OPERATIONS.len());
    for operation in OPERATIONS {
        let described = PATH
            .iter()
            .filter(|(name, _)| operation.path.contains(&format!("{{{name}}}")));
        assert_eq!(
            described.count(),
            operation.path.matches('{').count(),
            "{}",
            operation.path
        );
    }
}
