//! The fuzz targets without libFuzzer: the corpus, and what is made of it by fixed chance, so that every run is the same.

mod chance;

use std::fs;
use std::path::Path;

use chance::{Chance, changed, corpus};
use lb_fuzz::{TARGETS, Target};

/// Inputs that each target gets besides its corpus.
const MADE: usize = 4_000;

/// Says which input it is when it fails: as text, which is what `printf '%b'` turns into a file again.
struct Telling<'a>(&'a str, &'a [u8]);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} fails with this input: '{}'", self.0, self.1.escape_ascii());
        }
    }
}

fn run(target: &Target, name: &str, input: &[u8]) {
    let _telling = Telling(name, input);
    (target.check)(input);
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(target.name);
    assert!(!corpus.is_empty());
    for (path, input) in &corpus {
        run(target, path, input);
    }
    let mut chance = Chance(7);
    for _ in 0..MADE {
        let input = if chance.below(4) == 0 {
            (0..chance.below(128)).map(|_| chance.byte()).collect()
        } else {
            changed(&corpus[chance.below(corpus.len())].1, &mut chance)
        };
        run(target, name, &input);
    }
}

#[test]
fn config() {
    replay("config");
}

#[test]
fn csum() {
    replay("csum");
}

#[test]
fn http_body() {
    replay("http_body");
}

#[test]
fn http_head() {
    replay("http_head");
}

#[test]
fn parse() {
    replay("parse");
}

#[test]
fn ports() {
    replay("ports");
}

#[test]
fn prefixes() {
    replay("prefixes");
}

#[test]
fn proxy_protocol() {
    replay("proxy_protocol");
}

#[test]
fn slot() {
    replay("slot");
}

#[test]
fn peers() {
    replay("peers");
}

#[test]
fn vrrp_packet() {
    replay("vrrp_packet");
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<_> = entries.map(|entry| stem(&entry.unwrap().path())).collect();
        names.sort();
        names
    };
    let targets = TARGETS.map(|target| target.name.to_owned());
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
}
