//! Nothing that the daemon holds shows a secret when it is formatted for a log.

use std::fs;
use std::path::Path;

use crate::api::token;
use crate::config;
use crate::proxy::tls;

const TOKEN: &str = "token-that-nobody-sees";
const HEADER: &str = "Bearer header-that-nobody-sees";
const SEED: &[u8; 16] = b"seed-nobody-sees";

/// A file that names every kind of secret there is, and has one in it.
fn file(folder: &Path) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\nhash-seed-file = \"{}\"\nstate-dir = \"{}\"\n\
         [admin]\ntoken-file = \"{}\"\n\
         [[service]]\nname = \"shop\"\naddress = \"192.0.2.1:443\"\nmode = \"proxy\"\n\
         [service.tls]\ncertificates = [\"{}\"]\n\
         [service.health]\nkind = \"http\"\nheaders = {{ authorization = \"{HEADER}\" }}\n\
         [[service.backend]]\naddress = \"10.0.0.1:80\"\n",
        path("seed"),
        path("state"),
        path("token"),
        path("shop.pem"),
    )
}

#[test]
fn what_is_formatted_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let shop = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let key = shop.signing_key.serialize_pem();
    fs::write(folder.path().join("shop.pem"), shop.cert.pem() + &key).unwrap();
    fs::write(folder.path().join("token"), TOKEN).unwrap();
    fs::write(folder.path().join("seed"), SEED).unwrap();
    let parsed = config::parse("fulcrum.toml", &file(folder.path())).unwrap();
    let (token, _) = token::read(&parsed).unwrap();
    let seed = super::seed::load(&parsed.config.node).unwrap();
    let secret = tls::Secret::of(seed);
    let settings = parsed.config.services[0].proxy.as_ref().unwrap().tls.as_ref().unwrap();
    let loaded = tls::server(settings).unwrap().with_tickets(&secret, "shop");
    let open = config::open_secrets(&parsed);
    let shown = format!(
        "{parsed:?}\n{:?}\n{token:?}\n{secret:?}\n{loaded:?}\n{open:?}",
        parsed.config
    );
    assert!(
        shown.contains("shop.example") && shown.contains("(hidden)"),
        "it shows something: {shown}"
    );
    let key: Vec<&str> = key.lines().filter(|line| !line.starts_with("--")).collect();
    let hidden = [TOKEN, HEADER, "nobody"].into_iter().chain(key);
    // Bytes as a list has them, too.
    let listed = [TOKEN.as_bytes(), SEED].map(|bytes| format!("{bytes:?}").trim_matches(['[', ']']).to_owned());
    let words = seed.0.map(|word| word.to_string());
    for secret in hidden.chain(listed.iter().chain(&words).map(String::as_str)) {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}
