//! Certificates at a reload: a bad one refuses it, and what runs stays.

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
