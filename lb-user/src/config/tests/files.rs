//! Files as they lie on disk: missing, unreadable, binary, huge.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::{MAX_BYTES, load, open_secrets, parse};

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

#[test]
fn secrets_that_everybody_may_open_are_warned_of_at_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let [seed, key, password] = ["seed", "shop.pem", "password"].map(|name| folder.path().join(name));
    let text = format!(
        "[node]\ninterfaces = [\"eth0\"]\nhash-seed-file = \"{}\"\n[[service]]\nname = \"shop\"\naddress = \"192.0.2.1:443\"\n\
         mode = \"proxy\"\n[service.tls]\ncertificates = [\"{}\"]\n[[service.backend]]\naddress = \"10.0.0.1:80\"\n\
         [[service]]\nname = \"db\"\naddress = \"192.0.2.1:3306\"\nmode = \"dsr\"\n[service.health]\nkind = \"mysql\"\n\
         user = \"fulcrum\"\npassword-file = \"{}\"\n[[service.backend]]\naddress = \"10.0.0.2:3306\"\n",
        seed.display(),
        key.display(),
        password.display()
    );
    let parsed = parse("fulcrum.toml", &text).unwrap();
    let warned = || {
        open_secrets(&parsed)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert!(warned().is_empty(), "what is not there is somebody else's to say");
    for path in [&seed, &key, &password] {
        fs::write(path, "secret").unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o604)).unwrap();
    }
    let said = warned();
    let places = ["fulcrum.toml:19:", "fulcrum.toml:3:", "fulcrum.toml:9:"];
    assert_eq!(said.len(), places.len(), "{said:#?}");
    for (said, place) in said.iter().zip(places) {
        assert!(said.contains(place) && said.contains("chmod o="), "{said}");
    }
    for path in [&seed, &key, &password] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o640)).unwrap();
    }
    assert!(warned().is_empty());
}
