//! `[service.tls]` and `[service.upstream]`.

use super::{Case, check, in_proxy};

/// Line 7 is the table, line 8 its certificates, line 9 and on what follows.
fn in_tls(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    in_proxy(
        &format!("[service.tls]\ncertificates = [\"/shop.pem\"]\n{text}"),
        place,
        message,
        hint,
    )
}

/// Certificates, in line 8.
fn certificates(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    in_proxy(&format!("[service.tls]\ncertificates = {text}\n"), place, message, hint)
}

#[test]
fn certificates_and_keys() {
    check(vec![
        in_proxy(
            "[service.tls]\n",
            (7, 1),
            "`certificates` is missing in [service.tls]",
            "certificates = [\"/etc/fulcrum/shop.pem\"]",
        ),
        certificates("[]", (8, 16), "no certificate is named", "PEM"),
        certificates(
            "[\"shop.pem\"]",
            (8, 17),
            "`certificates` must be an absolute path",
            "slash",
        ),
        certificates(
            "[7]",
            (8, 17),
            "`certificates` must be a table, not 7",
            "write \"FILE\", or { certificate = \"FILE\", key = \"FILE\" }",
        ),
        certificates(
            "[{ certificate = \"/a.crt\" }]",
            (8, 17),
            "`key` is missing in [[service.tls.certificates]]",
            "shop.key",
        ),
        certificates(
            "[{ cert = \"/a.crt\", key = \"/a.key\" }]",
            (8, 19),
            "unknown key `cert` in [[service.tls.certificates]]",
            "certificate, key",
        ),
        certificates(
            "[{ certificate = \"/a.crt\", key = \"a.key\" }]",
            (8, 49),
            "`key` must be an absolute path",
            "slash",
        ),
        certificates(
            "[\"/a.pem\", { certificate = \"/a.pem\", key = \"/a.key\" }]",
            (8, 43),
            "the certificate /a.pem stands here twice",
            "",
        ),
    ]);
}

#[test]
fn clients_and_versions() {
    check(vec![
        in_tls(
            "client-auth = \"optional\"\n",
            (9, 15),
            "`client-auth` is about clients' certificates, and nobody is believed about them",
            "client-ca = ",
        ),
        in_tls(
            "client-ca = \"/ca.pem\"\nclient-auth = \"maybe\"\n",
            (10, 15),
            "\"maybe\" is not a value of `client-auth`",
            "\"required\" or \"optional\"",
        ),
        in_tls(
            "client-ca = \"ca.pem\"\n",
            (9, 13),
            "`client-ca` must be an absolute path",
            "",
        ),
        in_tls(
            "min-version = \"1.1\"\n",
            (9, 15),
            "\"1.1\" is not a value of `min-version`",
            "\"1.2\"",
        ),
        in_tls(
            "min-version = 1.3\n",
            (9, 15),
            "`min-version` must be a string, not 1.3",
            "in quotes",
        ),
        in_tls("alpn = []\n", (9, 8), "no protocol is offered", "http/1.1"),
        in_tls("alpn = [\"h3\"]\n", (9, 9), "\"h3\" is not a value of `alpn`", "\"h2\""),
        in_tls(
            "alpn = [\"h2\", \"h2\"]\n",
            (9, 15),
            "this protocol stands here twice",
            "",
        ),
    ]);
}

#[test]
fn suites() {
    check(vec![
        in_tls(
            "ciphers = [\"TLS_RSA_WITH_AES_128_CBC_SHA\"]\n",
            (9, 12),
            "\"TLS_RSA_WITH_AES_128_CBC_SHA\" is not a cipher suite that there is",
            "TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256",
        ),
        in_tls(
            "ciphers = [\"TLS13_ECDHE_RSA_WITH_AES_256_GCM_SHA384\"]\n",
            (9, 12),
            "\"TLS13_ECDHE_RSA_WITH_AES_256_GCM_SHA384\" is not a cipher suite that there is",
            "",
        ),
        in_tls(
            "ciphers = [\"TLS13_AES_128_GCM_SHA256\", \"TLS_AES_128_GCM_SHA256\"]\n",
            (9, 40),
            "TLS_AES_128_GCM_SHA256 stands here twice",
            "",
        ),
        in_tls("ciphers = []\n", (9, 11), "no cipher suite is left", "leave"),
        in_tls(
            "min-version = \"1.3\"\nciphers = [\"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\"]\n",
            (10, 12),
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 is of TLS 1.2, which is not spoken",
            "set min-version = \"1.2\"",
        ),
    ]);
}

#[test]
fn strict_transport_security() {
    check(vec![
        in_tls(
            "hsts = true\n",
            (9, 8),
            "`hsts` must be a duration, not true",
            "or a table, { max-age = \"365d\" }",
        ),
        in_tls(
            "hsts = \"180\"\n",
            (9, 8),
            "\"180\" is not a duration",
            "units d, h, m, s and ms",
        ),
        in_tls(
            "hsts = \"1s500ms\"\n",
            (9, 8),
            "`hsts` is in whole seconds",
            "milliseconds",
        ),
        in_tls("hsts = \"3651d\"\n", (9, 8), "`hsts` must be from 0s to 87600h", ""),
        in_tls(
            "hsts = { preload = true }\n",
            (9, 8),
            "`max-age` is missing in [service.tls.hsts]",
            "365d",
        ),
        in_tls(
            "[service.http]\nh2c = true\n",
            (10, 7),
            "`h2c` is HTTP/2 without TLS, and this service has TLS",
            "`alpn`",
        ),
        in_tls(
            "[service.http]\nredirect-to-https = 8443\n",
            (10, 21),
            "this service is https already: it would lead its clients to itself",
            "two services",
        ),
    ]);
}

#[test]
fn towards_backends() {
    let upstream =
        |text: &str, place, message, hint| in_proxy(&format!("[service.upstream]\n{text}\n"), place, message, hint);
    check(vec![
        upstream("http = 2", (8, 8), "`http` must be a string, not 2", "http = \"2\""),
        upstream(
            "http = \"3\"",
            (8, 8),
            "\"3\" is not a value of `http`",
            "\"1.1\" or \"2\"",
        ),
        upstream("tls = \"yes\"", (8, 7), "`tls` must be true or false, not \"yes\"", ""),
        upstream(
            "tls = 1",
            (8, 7),
            "`tls` must be true or false, not 1",
            "or write [service.upstream.tls]",
        ),
        upstream(
            "tls = { verify = false, ca = \"/ca.pem\" }",
            (8, 30),
            "`ca` says whom to believe, but nothing is verified",
            "remove `ca`",
        ),
        upstream(
            "tls = { server-name = \"a:443\" }",
            (8, 23),
            "\"a:443\" is not the name of a server",
            "without a port",
        ),
        upstream(
            "proxy-protocol = \"v3\"",
            (8, 18),
            "\"v3\" is not a value of `proxy-protocol`",
            "\"v2\"",
        ),
        upstream(
            "proxy-protocol = true",
            (8, 18),
            "`proxy-protocol` must be a string, not true",
            "",
        ),
        upstream(
            "max-connections = 0",
            (8, 19),
            "`max-connections` must be a whole number from 1 to 1000000, not 0",
            "",
        ),
    ]);
}

/// Line 8 is `acme`, which takes a certificate for granted that is right but for this.
fn acme(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    in_proxy(&format!("[service.tls]\nacme = {text}\n"), place, message, hint)
}

/// The same, with names and directory.
fn in_acme(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    let text = format!("{{ domains = [\"a.example\"], directory = \"https://ca.example/dir\",\n{text} }}");
    acme(&text, place, message, hint)
}

/// One domain, in line 8.
fn domain(name: &str, message: &'static str, hint: &'static str) -> Case {
    let text = format!("{{ domains = [\"{name}\"], directory = \"https://ca.example/dir\" }}");
    acme(&text, (8, 21), message, hint)
}

#[test]
fn certificates_that_are_ordered() {
    check(vec![
        acme(
            "true",
            (8, 8),
            "`acme` must be a table, not true",
            "write acme = { domains = ",
        ),
        acme(
            "{ directory = \"https://ca.example/dir\" }",
            (8, 8),
            "`domains` is missing in [service.tls.acme]",
            "domains = [\"shop.example\"]",
        ),
        acme(
            "{ domains = [\"a.example\"] }",
            (8, 8),
            "`directory` is missing in [service.tls.acme]",
            "directory = \"https://",
        ),
        acme(
            "{ domains = [], directory = \"https://ca.example/dir\" }",
            (8, 20),
            "no domain is named",
            "domains = [\"shop.example\"]",
        ),
        acme(
            "{ domains = \"a.example\", directory = \"https://ca.example/dir\" }",
            (8, 20),
            "`domains` must be a list of strings, not \"a.example\"",
            "domains = [\"a.example\"]",
        ),
        acme(
            "{ domains = [\"a.example\", \"A.example\"], directory = \"https://ca.example/dir\" }",
            (8, 34),
            "the domain a.example stands here twice",
            "remove it",
        ),
        acme(
            "{ domains = [\"a.example\"], directory = \"https://ca.example/dir\", email = \"a@b\" }",
            (8, 73),
            "unknown key `email` in [service.tls.acme]",
            "takes: domains, directory, contact",
        ),
        domain("*.a.example", "\"*.a.example\" is a wildcard", "dns-01"),
        domain("192.0.2.1", "\"192.0.2.1\" is an address, and not a name", "host name"),
        domain(
            "müller.example",
            "\"müller.example\" has letters that names in certificates do not have",
            "xn--",
        ),
        domain(
            "https://a.example",
            "\"https://a.example\" is more than a name",
            "without scheme",
        ),
        domain("a.example:443", "\"a.example:443\" is more than a name", "port"),
        domain("a_b.example", "\"a_b.example\" is not the name of a host", "host name"),
        domain("a..example", "\"a..example\" is not the name of a host", "host name"),
        domain("", "\"\" is not the name of a host", "host name"),
    ]);
}

#[test]
fn authorities() {
    let directory = |text: &str, message: &'static str, hint: &'static str| {
        let text = format!("{{ domains = [\"a.example\"], directory = \"{text}\" }}");
        acme(&text, (8, 47), message, hint)
    };
    check(vec![
        directory(
            "http://ca.example/dir",
            "the directory is spoken to without TLS",
            "https only",
        ),
        directory("ca.example", "\"ca.example\" is not the URL of a directory", "https://"),
        directory(
            "https://u:p@ca.example/",
            "\"https://u:p@ca.example/\" is not the URL of a directory",
            "https://",
        ),
        directory(
            "ftp://ca.example/",
            "\"ftp://ca.example/\" is not the URL of a directory",
            "https://",
        ),
        in_acme(
            "contact = \"ops@a.example\"",
            (9, 11),
            "the contact \"ops@a.example\" is not a URL",
            "write \"mailto:ops@a.example\"",
        ),
        in_acme("contact = [\"tel:1\"]", (9, 12), "\"tel:1\" is no contact", "mailto:"),
        in_acme(
            "contact = [\"mailto:a@b\", \"mailto:a@b\"]",
            (9, 26),
            "this contact stands here twice",
            "remove it",
        ),
        in_acme(
            "challenge = \"dns-01\"",
            (9, 13),
            "\"dns-01\" is not a value of `challenge`",
            "another client",
        ),
        in_acme(
            "challenge = \"http-1\"",
            (9, 13),
            "\"http-1\" is not a value of `challenge`",
            "did you mean \"http-01\"?",
        ),
        in_acme(
            "key-type = \"dsa\"",
            (9, 12),
            "\"dsa\" is not a value of `key-type`",
            "\"ecdsa\" or \"rsa\"",
        ),
        in_acme("ca = \"ca.pem\"", (9, 6), "`ca` must be an absolute path", "slash"),
        in_acme(
            "storage = \"acme\"",
            (9, 11),
            "`storage` must be an absolute path",
            "slash",
        ),
        in_acme(
            "external-account = { key-id = \"k\" }",
            (9, 20),
            "`key-file` is missing in [service.tls.acme.external-account]",
            "eab.key",
        ),
        in_acme(
            "external-account = { key-id = \"\", key-file = \"/k\" }",
            (9, 31),
            "this is no name of a key",
            "as the authority",
        ),
    ]);
}

#[test]
fn one_authority_in_two_ways() {
    let other =
        "acme = { domains = [\"a.example\"], directory = \"https://ca.example/dir\", contact = \"mailto:a@b\" }";
    let first = "acme = { domains = [\"a.example\"], directory = \"https://ca.example/dir\" }";
    let second = "[[service]]\nname = \"other\"\naddress = \"192.0.2.11:80\"\nmode = \"proxy\"\n[service.tls]\n";
    check(vec![in_proxy(
        &format!("[service.tls]\n{first}\n{second}{other}\n"),
        (14, 47),
        "two services speak to https://ca.example/dir in different ways",
        "another `storage`",
    )]);
}
