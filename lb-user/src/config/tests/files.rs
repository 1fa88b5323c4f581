//! Files as they lie on disk: missing, unreadable, binary, huge.

use std::fs;
use std::path::Path;

use super::super::{MAX_BYTES, load};

#[test]
fn what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let error = load(&folder.path().join("none.toml")).unwrap_err();
    assert_eq!(
        error.message(),
        "the configuration cannot be read: there is no such file"
    );
    assert_eq!(error.line(), None);
    assert!(error.to_string().contains("none.toml"), "{error}");
    let error = load(folder.path()).unwrap_err();
    assert_eq!(error.message(), "the configuration cannot be read: it is a directory");
}

#[test]
fn noise_gives_one_short_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("noise.toml");
    let mut state = 1u64;
    let mut noise = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let bytes: Vec<u8> = (0..2 << 20).map(|_| noise()).collect();
    let text: Vec<u8> = bytes
        .iter()
        .map(|b| b % 96 + 32)
        .map(|b| if b == 127 { b'\n' } else { b })
        .collect();
    for content in [
        bytes,
        text,
        vec![b'['; 2 << 20],
        vec![0; 2 << 20],
        b"a.".repeat(1 << 20),
        b"a=[".repeat(600_000),
    ] {
        fs::write(&path, &content).unwrap();
        let error = load(&path).unwrap_err();
        let shown = error.to_string();
        assert!(
            error.line().is_some() && shown.lines().count() < 12 && shown.len() < 1_500,
            "{shown}"
        );
    }
}

#[test]
fn what_is_not_utf8_has_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin1.toml");
    fs::write(&path, b"[node]\nname = \"\xc3\xb6\xf6\"\n").unwrap();
    let error = load(&path).unwrap_err();
    assert_eq!(error.message(), "the file is not UTF-8 text: byte 0xf6");
    assert_eq!((error.line(), error.column()), (Some(2), Some(10)));
}

#[test]
fn too_large() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.toml");
    fs::write(&path, vec![b'\n'; MAX_BYTES + 1]).unwrap();
    let error = load(&path).unwrap_err();
    assert_eq!(error.message(), "the file is larger than 8 MiB");
    assert_eq!((error.line(), error.column()), (Some(1), Some(1)));
    assert_eq!(load(Path::new("/dev/zero")).unwrap_err().message(), error.message());
}
