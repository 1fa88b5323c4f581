//! Certificates where certbot and HAProxy have them, read with the rights of who gives the command.
//!
//! ```text
//! certbot    FOLDER/live/NAME/fullchain.pem and privkey.pem; or FOLDER/fullchain.pem and privkey.pem
//! HAProxy    FILE with certificate, chain and key; or FILE with its key in FILE.key; or FOLDER/NAME.pem
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::config::Secret;
use crate::model::Hidden;

/// Largest file that is read, in bytes: the daemon takes no more.
const MOST: usize = 128 * 1024;

/// Certificate, chain and key, as PEM. `key`: where the key is, if it is said; `domains`: of the service, by which folders name
/// what is in them.
///
/// # Errors
/// Nothing is where it should be, or cannot be read.
pub(super) fn read(from: &Path, key: Option<&Path>, domains: &[String]) -> Result<Hidden<Vec<u8>>> {
    let (certificate, key) = find(from, key, domains)?;
    let mut all = Hidden(Vec::with_capacity(2 * MOST + 1));
    for file in [Some(certificate), key].into_iter().flatten() {
        let secret = Secret::read(&file, MOST).with_context(|| format!("cannot read {}", file.display()))?;
        all.0.extend_from_slice(&secret.bytes.0);
        all.0.push(b'\n');
    }
    Ok(all)
}

/// The file with the certificate, and that with its key, where it is another one.
fn find(from: &Path, key: Option<&Path>, domains: &[String]) -> Result<(PathBuf, Option<PathBuf>)> {
    if !fs::metadata(from)
        .with_context(|| format!("cannot read {}", from.display()))?
        .is_dir()
    {
        let beside = beside(from);
        let key = key.map(Path::to_owned).or_else(|| beside.is_file().then_some(beside));
        return Ok((from.to_owned(), key));
    }
    if key.is_some() {
        bail!(
            "{} is a folder: name the file of the certificate beside --key",
            from.display()
        );
    }
    let live = from.join("live");
    let folders = [from.to_owned()]
        .into_iter()
        .chain(domains.iter().map(|domain| live.join(domain)));
    for folder in folders {
        let (chain, key) = (folder.join("fullchain.pem"), folder.join("privkey.pem"));
        if chain.is_file() {
            return Ok((chain, Some(key)));
        }
    }
    for domain in domains {
        let file = from.join(format!("{domain}.pem"));
        if file.is_file() {
            let beside = beside(&file);
            return Ok((file, beside.is_file().then_some(beside)));
        }
    }
    let folder = if live.is_dir() { &live } else { from };
    let names = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = names
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    bail!(
        "{} has no certificate of {}: name the file or folder itself; there is: {}",
        folder.display(),
        if domains.is_empty() {
            "this service".to_owned()
        } else {
            domains.join(" or ")
        },
        if names.is_empty() {
            "nothing".to_owned()
        } else {
            names.join(", ")
        }
    );
}

/// Where HAProxy looks for a key that is not in the file itself.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".key");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    fn found(folder: &tempfile::TempDir, from: &str, key: Option<&str>) -> Result<String> {
        let domains = ["shop.example".to_owned(), "www.shop.example".to_owned()];
        let key = key.map(|key| folder.path().join(key));
        let pem = read(&folder.path().join(from), key.as_deref(), &domains)?;
        Ok(String::from_utf8(pem.0.clone()).unwrap())
    }

    #[test]
    fn certbot_has_them_by_name() {
        let folder = place(&[
            "live/www.shop.example/fullchain.pem",
            "live/www.shop.example/privkey.pem",
            "live/README",
        ]);
        let both = "live/www.shop.example/fullchain.pem\nlive/www.shop.example/privkey.pem\n";
        assert_eq!(found(&folder, "", None).unwrap(), both);
        assert_eq!(found(&folder, "live/www.shop.example", None).unwrap(), both);
        let other = place(&["live/blog.example/fullchain.pem", "live/README"]);
        let error = found(&other, "", None).unwrap_err().to_string();
        assert!(
            error.contains("no certificate of shop.example or www.shop.example"),
            "{error}"
        );
        assert!(error.ends_with("there is: README, blog.example"), "{error}");
    }

    #[test]
    fn haproxy_has_them_in_a_file_or_with_the_key_beside() {
        let folder = place(&["shop.example.pem", "a.crt", "a.crt.key", "b.crt", "b.key"]);
        assert_eq!(found(&folder, "", None).unwrap(), "shop.example.pem\n");
        assert_eq!(found(&folder, "shop.example.pem", None).unwrap(), "shop.example.pem\n");
        assert_eq!(found(&folder, "a.crt", None).unwrap(), "a.crt\na.crt.key\n");
        assert_eq!(found(&folder, "b.crt", Some("b.key")).unwrap(), "b.crt\nb.key\n");
        assert!(
            found(&folder, "", Some("b.key"))
                .unwrap_err()
                .to_string()
                .contains("is a folder")
        );
        assert!(found(&folder, "c.crt", None).unwrap_err().to_string().contains("c.crt"));
    }
}
