//! Small trees, each with one breach, and what must not be taken for one.

use std::fs;

use super::breaches;

/// The breaches in a tree of files.
#[track_caller]
fn check(files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    breaches(folder.path()).unwrap()
}

/// The breaches in one file.
#[track_caller]
fn one(name: &str, text: &str) -> Vec<String> {
    check(&[(name, text)])
}

const NONE: [&str; 0] = [];

#[test]
fn below_is_fine() {
    let found = check(&[
        ("main.rs", "fn main() { lb_user::cli::main() }"),
        ("lib.rs", "pub mod cli; pub mod control;"),
        (
            "cli/mod.rs",
            "use crate::{api::client, lab, model::*};\nuse anyhow::Result;",
        ),
        (
            "control/mod.rs",
            "use crate::dataplane::Dataplane;\nfn f() { crate::plan::plan(); }",
        ),
        (
            "dataplane/kernel/load.rs",
            "use aya::Ebpf;\nuse crate::plan::MapOp;\nuse super::super::MapOp as Op;",
        ),
        ("model/mod.rs", "use std::net::IpAddr;\nuse self::service::Service;"),
    ]);
    assert_eq!(found, NONE);
}

#[test]
fn above_is_not() {
    assert_eq!(
        one(
            "plan/diff.rs",
            "//! Plans.\n\nuse std::fmt;\nuse crate::control::Status;\n"
        ),
        ["plan/diff.rs:4: plan uses crate::control::Status: control stands above plan"]
    );
}

#[test]
fn siblings_are_not() {
    assert_eq!(
        one("health/mod.rs", "use crate::proxy::Pool;"),
        ["health/mod.rs:1: health uses crate::proxy::Pool: siblings on a row never use each other"]
    );
    assert_eq!(one("plan/mod.rs", "use crate::config;").len(), 1);
}

#[test]
fn every_way_to_name_a_module_counts() {
    for text in [
        "use crate::{model::Service, lab::{self, run}};",
        "fn f() -> crate::lab::Lab { todo!() }",
        "fn f() { crate::lab::run() }",
        "fn f() { println!(\"{}\", crate::lab::NAME) }",
        "use crate :: lab;",
        "use super::lab::run;",
        "mod tests { use super::super::lab::run; }",
        "mod tests { use super::super::{model, lab}; }",
        "pub(crate) use crate::lab::*;",
        "impl From<crate::lab::Error> for u8 {}",
        "fn f() { g::<crate::lab::Lab>() }",
    ] {
        let found = one("api/mod.rs", text);
        assert!(
            !found.is_empty() && found.iter().all(|breach| breach.contains("lab stands above api")),
            "{text}: {found:?}"
        );
    }
    assert_eq!(
        one("api/server.rs", "use super::super::lab::run;").len(),
        1,
        "from a file below"
    );
}

#[test]
fn what_only_looks_like_it_does_not_count() {
    for text in [
        "//! See [`crate::lab`].\n/// As crate::lab::run does.\nfn f() {}",
        "// use crate::lab::run;\n/* crate::lab */",
        "const S: &str = \"crate::lab::run\";\nconst R: &str = r#\"use crate::lab;\"#;",
        "use super::lab_names;\nuse self::lab::x;\nmod lab {}",
        "use crate::model::lab::Lab;",
        "pub(crate) fn lab() {}\nfn g() { self::lab(); lab(); other::aya::x(); }",
        "mod inner { use super::lab::x; }",
        "struct L<'a>(&'a str);\nfn c() -> char { '\"' }",
    ] {
        assert_eq!(one("api/server.rs", text), NONE, "{text}");
    }
}

#[test]
fn a_module_needs_a_row() {
    assert_eq!(
        one("util.rs", "fn f() {}"),
        ["util.rs:1: util is in no row: give it a place in xtask/src/layers"]
    );
    assert_eq!(
        one("api/mod.rs", "use crate::util::f;"),
        ["api/mod.rs:1: api uses crate::util::f: util is in no row"]
    );
}

#[test]
fn the_kernel_is_reached_from_one_place() {
    for text in [
        "use aya::maps::Array;",
        "use aya;",
        "use aya as kernel;",
        "use ::aya::Ebpf;",
        "fn f(b: &mut ::aya::Ebpf) {}",
        "use {aya::Ebpf, std::fmt};",
    ] {
        assert_eq!(one("control/mod.rs", text).len(), 1, "{text}");
        assert_eq!(one("dataplane/mod.rs", text).len(), 1, "{text}");
        assert_eq!(one("dataplane/kernel/mod.rs", text), NONE, "{text}");
    }
}

#[test]
fn model_is_plain() {
    for text in [
        "use tokio::time;",
        "use serde::Serialize;",
        "#[derive(serde::Deserialize)] struct S;",
        "use aya::Pod;",
    ] {
        assert_eq!(one("model/service.rs", text).len(), 1, "{text}");
    }
    assert_eq!(one("config/raw.rs", "use serde::Deserialize;"), NONE);
}

#[test]
fn anyhow_is_for_the_edges() {
    let text = "fn f() -> anyhow::Result<()> { Ok(()) }";
    assert_eq!(
        one("api/client.rs", text),
        ["api/client.rs:1: api uses anyhow::Result: anyhow is for cli, daemon, lab and main.rs"]
    );
    for edge in ["cli/run.rs", "daemon/mod.rs", "lab/mod.rs", "main.rs"] {
        assert_eq!(one(edge, text), NONE, "{edge}");
    }
}

#[test]
fn main_only_calls_cli() {
    assert_eq!(
        one("main.rs", "use lb_user::{cli, daemon};\nfn main() { cli::main() }"),
        ["main.rs:1: main uses lb_user::daemon: main.rs calls cli::main and nothing else"]
    );
}
