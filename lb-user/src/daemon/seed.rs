//! The seed of the flow hash: 16 bytes that are the same on every node of a fleet.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use lb_common::hash::Seed;

use crate::disk;
use crate::model::{Hidden, Node};

/// Bytes of a seed.
const LENGTH: usize = 16;

/// The seed of this node: from `hash-seed-file`, else a random one that is kept in `state-dir`, so that flows keep
/// their backends across a restart.
pub(super) fn load(node: &Node) -> Result<Seed> {
    if let Some(path) = &node.hash_seed_file {
        return read(path)?.with_context(|| {
            let path = path.display();
            format!("no hash-seed-file {path}; `head -c {LENGTH} /dev/urandom > {path}` makes one, then copy it to every node")
        });
    }
    let path = node.state_dir.join("seed");
    if let Some(seed) = read(&path)? {
        return Ok(seed);
    }
    let mut bytes = Hidden([0; LENGTH]);
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes.0))
        .context("cannot read /dev/urandom")?;
    disk::write(&path, &bytes.0).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Seed::from_bytes(bytes.0))
}

/// The seed in a file; `None` where there is no file.
fn read(path: &Path) -> Result<Option<Seed>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => Hidden(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    match <[u8; LENGTH]>::try_from(bytes.0.as_slice()) {
        Ok(bytes) => Ok(Some(Seed::from_bytes(bytes))),
        Err(_) => bail!(
            "{} holds {} bytes; a hash seed is {LENGTH} bytes",
            path.display(),
            bytes.0.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::XdpMode;

    fn node(folder: &Path, file: Option<&str>) -> Node {
        Node {
            flow_table_size: lb_common::limits::FLOW_TABLE,
            proxy_threads: None,
            script_user: None,
            name: "lb1".into(),
            interfaces: vec!["eth0".into()],
            xdp_mode: XdpMode::Auto,
            hash_seed_file: file.map(|name| folder.join(name)),
            state_dir: folder.join("state"),
            pin_dir: folder.into(),
        }
    }

    #[test]
    fn a_random_seed_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let first = load(&node(folder.path(), None)).unwrap();
        assert_eq!(load(&node(folder.path(), None)).unwrap(), first);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(load(&node(other.path(), None)).unwrap(), first);
    }

    #[test]
    fn a_fleet_shares_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let shared = node(folder.path(), Some("seed"));
        assert!(load(&shared).unwrap_err().to_string().contains("head -c 16"));
        fs::write(folder.path().join("seed"), [7; 15]).unwrap();
        assert!(load(&shared).unwrap_err().to_string().contains("holds 15 bytes"));
        fs::write(folder.path().join("seed"), [7; 16]).unwrap();
        assert_eq!(load(&shared).unwrap(), Seed::from_bytes([7; 16]));
    }
}
