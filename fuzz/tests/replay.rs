//! The fuzz targets without libFuzzer: the corpus, and what is made of it by fixed chance, so that every run is the same.

use std::fs;
use std::path::Path;

use lb_fuzz::{TARGETS, Target};

/// Inputs that each target gets besides its corpus.
const MADE: usize = 4_000;

/// Longest input, in bytes, that is made.
const LONGEST: usize = 4_096;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Often a byte that means something.
    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 18] = *b"\0\x01\x02\x06\x11+,<\x45\x60\xfe\xff\t\n\r :;";
        match self.below(2) {
            0 => TELLING[self.below(TELLING.len())],
            _ => self.next() as u8,
        }
    }
}

/// The corpus of a target, by name.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Some bytes of `seed` replaced, taken out, doubled, put in, or the end cut off.
fn changed(seed: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=chance.below(6) {
        let at = chance.below(bytes.len() + 1);
        let to = at + chance.below((bytes.len() - at).min(32) + 1);
        match chance.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..to)),
            2 => {
                let run = bytes[at..to].to_vec();
                let place = chance.below(bytes.len() + 1);
                bytes.splice(place..place, run);
            }
            3 => bytes.insert(at, chance.byte()),
            _ => {
                let byte = chance.byte();
                if let Some(old) = bytes.get_mut(at) {
                    *old = byte;
                }
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

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
    let corpus = corpus(target);
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
fn proxy_protocol() {
    replay("proxy_protocol");
}

#[test]
fn slot() {
    replay("slot");
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
