//! Where unsafe code may be, in what is built for the host and is no test: a file that begins to have some is to be looked at
//! for it, and one that has none any more leaves the list.
//!
//! lb-ebpf is not looked at: it is the program of the kernel, whose verifier judges every access.

use std::fs;
use std::path::Path;
use std::str::FromStr as _;

use anyhow::{Result, anyhow};
use proc_macro2::{TokenStream, TokenTree};

/// What of the workspace is looked at.
const SOURCES: [&str; 2] = ["lb-common/src", "lb-user/src"];

/// The files, and what for.
pub(super) const FILES: [(&str, &str); 27] = [
    ("lb-common/src/layout.rs", "types that may lie in maps"),
    ("lb-common/src/parse/ipv4.rs", "headers in a packet"),
    ("lb-common/src/parse/ipv6.rs", "headers in a packet"),
    ("lb-common/src/parse/l4.rs", "headers in a packet"),
    ("lb-common/src/parse/mod.rs", "headers in a packet"),
    ("lb-common/src/protect/mod.rs", "lines of a sheet as what they are"),
    ("lb-common/src/select.rs", "a slot that another one writes to"),
    ("lb-user/src/cli/doctor/facts.rs", "adjtimex(2)"),
    ("lb-user/src/daemon/handover.rs", "descriptors that are handed over"),
    ("lb-user/src/daemon/memory.rs", "the allocator's parameters"),
    ("lb-user/src/dataplane/kernel/batch.rs", "bpf(2)"),
    ("lb-user/src/dataplane/kernel/entries.rs", "values of maps as bytes"),
    ("lb-user/src/dataplane/kernel/flows.rs", "keys of maps as bytes"),
    ("lb-user/src/dataplane/kernel/object.rs", "readiness of a descriptor"),
    ("lb-user/src/dataplane/kernel/protect.rs", "bpf(2)"),
    ("lb-user/src/dataplane/kernel/ring.rs", "records of a ring buffer"),
    ("lb-user/src/dataplane/region.rs", "maps in memory"),
    ("lb-user/src/ha/socket.rs", "readiness of a descriptor"),
    ("lb-user/src/lab/host.rs", "what a child does before exec"),
    ("lb-user/src/lab/load/pace.rs", "readiness of a descriptor"),
    ("lb-user/src/lab/process.rs", "pidfds"),
    ("lb-user/src/net/namespace.rs", "what a child does before exec"),
    ("lb-user/src/net/packet/mod.rs", "packet sockets"),
    ("lb-user/src/net/wire.rs", "an ioctl"),
    ("lb-user/src/process.rs", "what a child does before exec"),
    ("lb-user/src/proxy/tests/finishing.rs", "a peek into a socket"),
    ("lb-user/src/proxy/upstream/connection.rs", "a borrowed descriptor"),
];

/// Every breach: unsafe code beyond `files`, and files without any.
pub(super) fn breaches(root: &Path, files: &[(&str, &str)]) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    let mut found = Vec::new();
    for source in SOURCES {
        super::find(root, Path::new(source), &mut found)?;
    }
    found.sort();
    let mut listed: Vec<&str> = files.iter().map(|(file, _)| *file).collect();
    for file in found {
        let text = fs::read_to_string(root.join(&file))?;
        let name = file.display().to_string();
        let tokens = TokenStream::from_str(&text).map_err(|error| anyhow!("{name}: {error}"))?;
        let Some(line) = first_unsafe(tokens) else { continue };
        match listed.iter().position(|listed| *listed == name) {
            Some(place) => drop(listed.swap_remove(place)),
            None => breaches.push(format!(
                "{name}:{line}: unsafe code in a file that has had none: do without, or join the list in \
                 xtask/src/layers/unsafety.rs, with what for"
            )),
        }
    }
    listed.sort_unstable();
    breaches.extend(listed.iter().map(|file| {
        format!("{file}:1: there is no unsafe code: take it off the list in xtask/src/layers/unsafety.rs")
    }));
    Ok(breaches)
}

/// The line of the first `unsafe`, whatever it makes unsafe.
fn first_unsafe(tokens: TokenStream) -> Option<usize> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == "unsafe" => Some(ident.span().start().line),
        TokenTree::Group(group) => first_unsafe(group.stream()),
        TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            (
                "lb-common/src/plain.rs",
                "// unsafe\nconst S: &str = \"unsafe\";\nfn f() {}",
            ),
            ("lb-common/src/listed.rs", "unsafe impl Send for S {}"),
            ("lb-user/src/a/new.rs", "fn f() {\n    g(|| unsafe { h() })\n}"),
            ("lb-user/src/gone.rs", "fn f() {}"),
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let listed = [("lb-common/src/listed.rs", ""), ("lb-user/src/gone.rs", "")];
        let found = breaches(folder.path(), &listed).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("lb-user/src/a/new.rs:2: unsafe code"), "{found:?}");
        assert!(found[1].starts_with("lb-user/src/gone.rs:1: there is no"), "{found:?}");
    }
}
