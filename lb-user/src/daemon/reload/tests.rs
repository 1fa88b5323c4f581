//! Certificates and files of prefixes at a reload: a bad one refuses it, and what runs stays.

use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;
use crate::daemon::hosts::Known;

/// A file of a service with TLS, and its certificate.
struct Node {
    folder: TempDir,
}

impl Node {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, rest: &str) {
        let certificate = self.path("site.pem");
        let text = format!(
            "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"site\"\naddress = \"192.0.2.10:443\"\n\
             mode = \"proxy\"\n[service.tls]\ncertificates = [\"{}\"]\n[[service.backend]]\naddress = \"10.0.0.6:80\"\n{rest}",
            certificate.display()
        );
        fs::write(self.path("fulcrum.toml"), text).unwrap();
    }

    fn certify(&self, year: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["site.example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&key).unwrap().pem();
        fs::write(self.path("site.pem"), certificate + &key.serialize_pem()).unwrap();
        fs::set_permissions(self.path("site.pem"), PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn load(&self) -> Parsed {
        config::load(&self.path("fulcrum.toml")).unwrap()
    }

    fn reload(&self) -> Reload {
        let known = Known::load(self.folder.path());
        Reload::new(&self.path("fulcrum.toml"), Net::here().unwrap(), &self.load(), known)
    }
}

fn node() -> Node {
    let node = Node {
        folder: tempfile::tempdir().unwrap(),
    };
    node.certify(2100);
    node.configure("");
    node
}

#[tokio::test]
async fn a_bad_certificate_refuses_a_reload_until_it_is_good() {
    let node = node();
    let mut reload = node.reload();
    let before = reload.config();
    node.configure("weight = 2\n");
    node.certify(2001);
    let refused = reload.read(false).await.err().unwrap().to_string();
    assert!(
        refused.contains("fulcrum.toml:9:17") && refused.contains("has expired"),
        "{refused}"
    );
    assert_eq!(reload.config(), before);
    // As it is, it is refused again, and taken as soon as the machine has what it wants.
    assert!(reload.is_pending());
    fs::write(node.path("site.pem"), "").unwrap();
    let refused = reload.read(false).await.err().unwrap().to_string();
    assert!(refused.contains("no certificate in it"), "{refused}");
    assert_eq!(reload.config(), before);
    node.certify(2100);
    let taken = reload.read(false).await.ok().flatten().unwrap();
    assert!(taken.changed && taken.config.services[0].backends[0].weight == 2);
    assert!(!reload.is_pending());
}

#[tokio::test]
async fn a_start_waits_for_no_certificate_that_has_expired() {
    let node = node();
    node.certify(2001);
    let net = Net::here().unwrap();
    let warnings = machine::confirm(&net, &node.load(), None).await.unwrap().warnings;
    let told: Vec<&str> = warnings.iter().map(config::Warning::message).collect();
    assert!(told.len() == 1 && told[0].contains("has expired"), "{told:?}");
    fs::remove_file(node.path("site.pem")).unwrap();
    let refused = machine::confirm(&net, &node.load(), None).await.unwrap_err();
    assert!(refused.to_string().contains("there is no such file"), "{refused}");
}

#[tokio::test]
async fn threads_of_the_proxy_are_fixed() {
    let node = node();
    let mut reload = node.reload();
    let text = fs::read_to_string(node.path("fulcrum.toml")).unwrap();
    fs::write(
        node.path("fulcrum.toml"),
        text.replace("[node]\n", "[node]\nproxy-threads = 2\n"),
    )
    .unwrap();
    let refused = reload.read(true).await.err().unwrap().to_string();
    assert!(refused.contains("[node] proxy-threads cannot change"), "{refused}");
}

#[tokio::test]
async fn a_file_of_prefixes_is_part_of_the_configuration() {
    let node = node();
    let list = node.path("deny.txt");
    fs::write(&list, "10.0.0.0/8\n").unwrap();
    node.configure(&format!("[protection]\ndeny = [\"file:{}\"]\n", list.display()));
    let mut reload = node.reload();
    let denied = |reload: &Reload| -> Vec<String> {
        let config = reload.config();
        let deny = &config.protection.as_ref().unwrap().lists.deny;
        deny.iter().map(ToString::to_string).collect()
    };
    assert!(reload.read(false).await.unwrap().is_none(), "nothing was touched");
    assert_eq!(reload.files().paths().collect::<Vec<_>>(), [list.as_path()]);

    fs::write(&list, "10.0.0.0/8\n192.0.2.0/24\n").unwrap();
    reload.look();
    let unread = reload.results().unread.clone().unwrap();
    assert!(unread.contains("deny.txt has changed since it was read"), "{unread}");
    assert!(reload.read(false).await.unwrap().unwrap().changed);
    assert_eq!(denied(&reload), ["10.0.0.0/8", "192.0.2.0/24"]);
    reload.look();
    assert_eq!(reload.results().unread, None);

    // A bad one is refused, once, and what runs stays; a good one is taken without a word.
    fs::write(&list, "10.0.0.0/8\nnonsense\n").unwrap();
    let refused = reload.read(false).await.err().unwrap().to_string();
    assert!(
        refused.contains("deny.txt:2: \"nonsense\" is not a prefix"),
        "{refused}"
    );
    assert!(reload.read(false).await.unwrap().is_none() && !reload.is_pending());
    assert_eq!(denied(&reload), ["10.0.0.0/8", "192.0.2.0/24"]);
    fs::remove_file(&list).unwrap();
    let refused = reload.read(false).await.err().unwrap().to_string();
    assert!(refused.contains("there is no such file"), "{refused}");
    fs::write(&list, "").unwrap();
    assert!(reload.read(false).await.unwrap().unwrap().changed);
    assert_eq!(denied(&reload), [""; 0]);
}

#[tokio::test]
async fn a_text_to_judge_does_not_show_what_is_in_files() {
    let node = node();
    fs::write(node.path("secret"), "hunter2\n").unwrap();
    let reload = node.reload();
    let text = fs::read_to_string(node.path("fulcrum.toml")).unwrap();
    let text = format!(
        "{text}[protection]\ndeny = [\"file:{}\"]\n",
        node.path("secret").display()
    );
    let refused = reload.judge("new.toml", &text).await.unwrap_err().to_string();
    assert!(refused.contains("secret:1: this line is not a prefix"), "{refused}");
    assert!(!refused.contains("hunter2"), "{refused}");
}
