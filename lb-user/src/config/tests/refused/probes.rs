//! Keys of the kinds of health check.

use super::{Case, check, in_health};

/// Line 8 is the kind, line 9 and on what follows.
fn of_kind(kind: &str, text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    in_health(&format!("kind = \"{kind}\"\n{text}"), place, message, hint)
}

#[test]
fn keys_of_other_kinds() {
    check(vec![
        of_kind(
            "tcp",
            "verify = false\n",
            (9, 10),
            "`verify` is for kind = \"https\" or \"tls\" or \"mysql\"",
            "remove `verify`",
        ),
        of_kind(
            "http",
            "path = \"/\"\nca = \"/ca.pem\"\nuser = \"x\"\n",
            (10, 6),
            "`ca` is for kind = \"https\" or \"tls\" or \"mysql\"",
            "set kind = \"https\" or",
        ),
        of_kind(
            "none",
            "payload = \"x\"\n",
            (9, 11),
            "`payload` is for kind = \"udp\"",
            "set kind",
        ),
        of_kind(
            "udp",
            "name = \"x\"\n",
            (9, 8),
            "`name` is for kind = \"dns\"",
            "set kind = \"dns\"",
        ),
        of_kind(
            "dns",
            "command = [\"/x\"]\n",
            (9, 11),
            "`command` is for kind = \"script\"",
            "",
        ),
        of_kind(
            "script",
            "role = \"any\"\n",
            (9, 8),
            "`role` is for kind = \"mysql\"",
            "",
        ),
        of_kind(
            "mysql",
            "host = \"x\"\n",
            (9, 8),
            "`host` is for kind = \"http\" or \"https\"",
            "",
        ),
    ]);
}

#[test]
fn http() {
    check(vec![
        of_kind(
            "http",
            "method = \"get\"\n",
            (9, 10),
            "\"get\" is not a method of HTTP for a probe",
            "\"GET\"",
        ),
        of_kind(
            "http",
            "method = \"CONNECT\"\n",
            (9, 10),
            "\"CONNECT\" is not a method of HTTP for a probe",
            "HEAD",
        ),
        of_kind(
            "http",
            "method = \"G T\"\n",
            (9, 10),
            "\"G T\" is not a method of HTTP for a probe",
            "HEAD",
        ),
        of_kind(
            "http",
            "host = \"a b\"\n",
            (9, 8),
            "\"a b\" is not a host",
            "shop.example:8080",
        ),
        of_kind("http", "host = \"me@shop\"\n", (9, 8), "\"me@shop\" is not a host", ""),
        of_kind("http", "host = \"\"\n", (9, 8), "\"\" is not a host", ""),
        of_kind(
            "http",
            "headers = [\"a\"]\n",
            (9, 11),
            "`headers` must be a table, not a list",
            "headers = {",
        ),
        of_kind(
            "http",
            "headers = { a = 1 }\n",
            (9, 17),
            "`headers` must be a string, not 1",
            "in quotes",
        ),
        of_kind(
            "http",
            "headers = { x = \"\", \"a b\" = \"\" }\n",
            (9, 21),
            "\"a b\" is not the name of a header",
            "letters",
        ),
        of_kind(
            "http",
            "headers = { Host = \"x\" }\n",
            (9, 13),
            "the header host has a key of its own",
            "host = ",
        ),
        of_kind(
            "http",
            "headers = { transfer-encoding = \"chunked\" }\n",
            (9, 13),
            "the header transfer-encoding is the probe's own",
            "remove",
        ),
        of_kind(
            "http",
            "headers = { x-a = \"a\\nb\" }\n",
            (9, 13),
            "the header x-a has a value that cannot be sent",
            "control",
        ),
        of_kind(
            "http",
            "headers = { X-a = \"\", x-A = \"\" }\n",
            (9, 23),
            "the header x-a stands here twice",
            "",
        ),
        of_kind(
            "http",
            "expect-status = []\n",
            (9, 17),
            "no status would be good",
            "[200",
        ),
        of_kind(
            "http",
            "expect-status = [200, 99]\n",
            (9, 23),
            "`expect-status` must be a whole number from 100 to 599, not 99",
            "",
        ),
        of_kind(
            "http",
            "expect-status = \"2xx\"\n",
            (9, 17),
            "\"2xx\" is not a range of statuses",
            "300-399",
        ),
        of_kind(
            "http",
            "expect-status = [\"399-300\"]\n",
            (9, 18),
            "\"399-300\" is not a range of statuses",
            "",
        ),
        of_kind(
            "http",
            "expect-status = [\"200-\"]\n",
            (9, 18),
            "\"200-\" is not a range of statuses",
            "",
        ),
        of_kind(
            "http",
            "expect-body = \"\"\n",
            (9, 15),
            "what a body must say has 1 to 1024 bytes",
            "",
        ),
        of_kind(
            "http",
            "expect-body-regex = \"a(\"\n",
            (9, 21),
            "not a regular expression: unclosed group",
            "'single quotes'",
        ),
        of_kind(
            "http",
            "expect-body-regex = '\\w{1000}{1000}'\n",
            (9, 21),
            "not a regular expression: Compiled regex exceeds size limit of 1048576 bytes",
            "",
        ),
        of_kind(
            "http",
            "expect-body = \"a\"\nexpect-body-regex = \"a\"\n",
            (10, 21),
            "`expect-body` and `expect-body-regex` are both given",
            "keep one",
        ),
        of_kind(
            "http",
            "method = \"HEAD\"\nexpect-body = \"a\"\n",
            (10, 15),
            "the answer to HEAD has no body",
            "GET",
        ),
    ]);
}

#[test]
fn tls() {
    check(vec![
        of_kind(
            "tls",
            "server-name = \"a:443\"\n",
            (9, 15),
            "\"a:443\" is not the name of a server",
            "without a port",
        ),
        of_kind(
            "tls",
            "verify = \"no\"\n",
            (9, 10),
            "`verify` must be true or false, not \"no\"",
            "",
        ),
        of_kind(
            "https",
            "ca = \"ca.pem\"\n",
            (9, 6),
            "`ca` must be an absolute path",
            "slash",
        ),
        of_kind(
            "https",
            "verify = false\nca = \"/ca.pem\"\n",
            (10, 6),
            "`ca` says whom to believe, but nothing is verified",
            "remove `ca`",
        ),
    ]);
}

#[test]
fn datagrams() {
    let long: &'static str = format!("payload = \"{}\"\n", "x".repeat(1201)).leak();
    check(vec![
        of_kind(
            "udp",
            "",
            (7, 1),
            "`payload` is missing in [service.health]",
            "expect-answer = false",
        ),
        of_kind(
            "udp",
            "payload = \"\"\n",
            (9, 11),
            "a datagram of a probe has 1 to 1200 bytes",
            "",
        ),
        of_kind("udp", long, (9, 11), "a datagram of a probe has 1 to 1200 bytes", ""),
        of_kind(
            "udp",
            "payload-hex = \"0\"\n",
            (9, 15),
            "`payload-hex` is not hexadecimal",
            "two digits",
        ),
        of_kind(
            "udp",
            "payload = \"a\"\npayload-hex = \"00\"\n",
            (10, 15),
            "`payload` and `payload-hex` are both given",
            "keep one",
        ),
        of_kind(
            "udp",
            "payload = \"a\"\nexpect = \"b\"\nexpect-answer = false\n",
            (10, 10),
            "no answer needs to come, so nothing can be in it",
            "remove",
        ),
        of_kind(
            "dns",
            "",
            (7, 1),
            "`name` is missing in [service.health]",
            "www.example.com",
        ),
        of_kind(
            "dns",
            "name = \"a..b\"\n",
            (9, 8),
            "\"a..b\" is not a name that can be asked for",
            "xn--",
        ),
        of_kind(
            "dns",
            "name = \"shöp.example\"\n",
            (9, 8),
            "\"shöp.example\" is not a name that can be asked for",
            "xn--",
        ),
        of_kind(
            "dns",
            "name = \"\"\n",
            (9, 8),
            "\"\" is not a name that can be asked for",
            "",
        ),
        of_kind(
            "dns",
            "name = \"a\"\nrecord = \"AAA\"\n",
            (10, 10),
            "\"AAA\" is not a value of `record`",
            "\"AAAA\"",
        ),
    ]);
}

#[test]
fn databases_and_commands() {
    check(vec![
        of_kind(
            "mysql",
            "max-lag = \"5s\"\nrole = \"replica\"\n",
            (9, 11),
            "`max-lag` is for a probe that logs in, and no `user` is given",
            "user = ",
        ),
        of_kind(
            "mysql",
            "verify = false\n",
            (9, 10),
            "`verify` is for a probe that logs in, and no `user` is given",
            "user = ",
        ),
        of_kind(
            "mysql",
            "user = \"u\"\nverify = false\n",
            (10, 10),
            "`verify` is for a connection over TLS, and this one is not",
            "tls = true",
        ),
        of_kind(
            "mysql",
            "user = \"\"\n",
            (9, 8),
            "the name of an account has 1 to 255 bytes, without control characters",
            "",
        ),
        of_kind(
            "mysql",
            "user = \"u\"\nrole = \"master\"\n",
            (10, 8),
            "\"master\" is not a value of `role`",
            "primary",
        ),
        of_kind(
            "mysql",
            "user = \"u\"\nrole = \"primary\"\nmax-lag = \"5s\"\n",
            (11, 11),
            "a primary is behind nobody",
            "role = \"replica\"",
        ),
        of_kind(
            "mysql",
            "user = \"u\"\nwithout-source = true\n",
            (10, 18),
            "`without-source` is for a probe that asks how far a replica is behind",
            "max-lag",
        ),
        of_kind(
            "mysql",
            "user = \"u\"\nmax-lag = \"5ms\"\n",
            (10, 11),
            "`max-lag` must be from 1s to 720h",
            "",
        ),
        of_kind(
            "script",
            "command = [\"/bin/true\"]\nvia = \"service\"\n",
            (10, 7),
            "`via` is for probes that send packets, and a script goes its own way",
            "remove `via`",
        ),
        of_kind(
            "none",
            "via = \"address\"\n",
            (9, 7),
            "`via` is for probes that send packets, and here none is sent",
            "set another kind",
        ),
        of_kind(
            "tcp",
            "via = \"vip\"\n",
            (9, 7),
            "\"vip\" is not a value of `via`",
            "\"address\" or \"service\"",
        ),
        of_kind(
            "script",
            "",
            (7, 1),
            "`command` is missing in [service.health]",
            "command = ",
        ),
        of_kind("script", "command = []\n", (9, 11), "no command is named", "such as"),
        of_kind(
            "script",
            "command = \"/bin/true\"\n",
            (9, 11),
            "`command` must be a list of strings, not \"/bin/true\"",
            "[\"/bin/true\"]",
        ),
        of_kind(
            "script",
            "command = [\"pidof\", \"x\"]\n",
            (9, 12),
            "the program of a command must be an absolute path",
            "\"/bin/sh\", \"-c\"",
        ),
        of_kind(
            "script",
            "command = [\"/x\", \"a\\u0000b\"]\n",
            (9, 18),
            "a word of a command contains a zero byte",
            "",
        ),
    ]);
}
