//! `[service.http]`.

use super::{Case, check, in_proxy};

/// Line 8 and on.
fn in_http(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    in_proxy(&format!("[service.http]\n{text}\n"), place, message, hint)
}

#[test]
fn first_level() {
    check(vec![
        in_http(
            "redirect-to-https = 0",
            (8, 21),
            "`redirect-to-https` must be a whole number from 1 to 65535, not 0",
            "write true for port 443",
        ),
        in_http(
            "h2c = \"true\"",
            (8, 7),
            "`h2c` must be true or false, not \"true\"",
            "h2c = true",
        ),
        in_http(
            "preserve-host = 1",
            (8, 17),
            "`preserve-host` must be true or false, not 1",
            "",
        ),
        in_http(
            "forwarded = [\"x-forwarded\"]",
            (8, 14),
            "\"x-forwarded\" is not a value of `forwarded`",
            "\"x-forwarded-for\"",
        ),
        in_http(
            "forwarded = [\"forwarded\", \"forwarded\"]",
            (8, 27),
            "forwarded stands here twice",
            "",
        ),
        in_http(
            "request-id = \"request id\"",
            (8, 14),
            "\"request id\" is not the name of a header",
            "x-env",
        ),
        in_http(
            "hash-on = \"header\"",
            (8, 11),
            "\"header\" is not a value of `hash-on`",
            "\"header:NAME\" or \"cookie:NAME\"",
        ),
        in_http(
            "hash-on = \"uri\"",
            (8, 11),
            "\"uri\" is not a value of `hash-on`",
            "\"path\"",
        ),
        in_http(
            "hash-on = \"header:\"",
            (8, 11),
            "\"\" is not the name of a header",
            "letters",
        ),
        in_http(
            "hash-on = \"cookie:a b\"",
            (8, 11),
            "\"a b\" is not the name of a cookie",
            "letters",
        ),
        in_http(
            "sticky-cookie = \"\"",
            (8, 17),
            "\"\" is not the name of a cookie",
            "letters",
        ),
        in_http(
            "sticky-cookie = true",
            (8, 17),
            "`sticky-cookie` must be a string, not true",
            "",
        ),
        in_http(
            "sticky-cookie = { max-age = \"1h\" }",
            (8, 17),
            "`name` is missing in [service.http.sticky-cookie]",
            "fulcrum",
        ),
        in_http(
            "sticky-cookie = { name = \"a\", max-age = \"401d\" }",
            (8, 41),
            "`max-age` must be from 1s to 9600h",
            "",
        ),
        in_http(
            "retry-after = \"100ms\"",
            (8, 15),
            "`retry-after` must be from 1s to 24h",
            "",
        ),
        in_http(
            "retry-after = \"1s1ms\"",
            (8, 15),
            "`retry-after` is in whole seconds",
            "",
        ),
        in_http(
            "error-pages = { \"200\" = \"/x\" }",
            (8, 17),
            "\"200\" is not the status of an error",
            "400 to 599",
        ),
        in_http(
            "error-pages = { 5xx = \"/x\" }",
            (8, 17),
            "\"5xx\" is not the status of an error",
            "\"503\"",
        ),
        in_http(
            "error-pages = { 503 = \"x\" }",
            (8, 23),
            "`error-pages` must be an absolute path",
            "slash",
        ),
        in_http(
            "error-pages = \"/x\"",
            (8, 15),
            "`error-pages` must be a table, not \"/x\"",
            "sorry.html",
        ),
    ]);
}

#[test]
fn prefixes() {
    check(vec![
        in_http(
            "trusted-proxies = [\"10.0.0.1/8\"]",
            (8, 20),
            "10.0.0.1/8 has bits behind its prefix",
            "\"10.0.0.0/8\", or \"10.0.0.1/32\" for this address alone",
        ),
        in_http(
            "trusted-proxies = [\"10.0.0.0/33\"]",
            (8, 20),
            "\"10.0.0.0/33\" is not a prefix",
            "32 at most",
        ),
        in_http(
            "proxy-protocol = true",
            (8, 18),
            "`proxy-protocol` must be a string or a list of strings, not true",
            "",
        ),
        in_http(
            "proxy-protocol = [\"::ffff:10.0.0.1\"]",
            (8, 19),
            "::ffff:10.0.0.1 is an IPv4 address in IPv6 clothes",
            "\"10.0.0.1\"",
        ),
        in_http(
            "proxy-protocol = [\"10.0.0.1\", \"10.0.0.1/32\"]",
            (8, 31),
            "10.0.0.1/32 stands here twice",
            "",
        ),
    ]);
}

#[test]
fn rules_for_headers() {
    let rule =
        |text: &str, column, message, hint| in_http(&format!("headers = [{{ {text} }}]"), (8, column), message, hint);
    check(vec![
        in_http(
            "headers = { x-env = \"lab\" }",
            (8, 11),
            "`headers` must be a list of tables",
            "such as headers = [{ on = ",
        ),
        rule(
            "set = \"x\", value = \"\"",
            12,
            "`on` is missing in [[service.http.headers]]",
            "request",
        ),
        rule(
            "on = \"both\", set = \"x\", value = \"\"",
            19,
            "\"both\" is not a value of `on`",
            "\"request\" or \"response\"",
        ),
        rule(
            "on = \"request\", value = \"\"",
            12,
            "nothing is done in [[service.http.headers]]",
            "`set`, `add` and `remove`",
        ),
        rule(
            "on = \"request\", set = \"a\", remove = \"b\"",
            50,
            "`set` and `remove` are both given",
            "a rule of its own",
        ),
        rule(
            "on = \"request\", add = \"a\"",
            12,
            "`value` is missing in [[service.http.headers]]",
            "value = \"lab\"",
        ),
        rule(
            "on = \"request\", remove = \"a\", value = \"b\"",
            52,
            "what is removed has no value",
            "remove `value`",
        ),
        rule(
            "on = \"request\", set = \"a b\", value = \"\"",
            36,
            "\"a b\" is not the name of a header",
            "x-env",
        ),
        rule(
            "on = \"response\", remove = \"Transfer-Encoding\"",
            40,
            "the header transfer-encoding is the proxy's own",
            "where a message ends",
        ),
        rule(
            "on = \"request\", set = \"connection\", value = \"close\"",
            36,
            "the header connection is the proxy's own",
            "",
        ),
        rule(
            "on = \"request\", remove = \"host\"",
            39,
            "a request has one host, neither more nor none",
            "set = \"host\"",
        ),
        rule(
            "on = \"request\", set = \"host\", value = \"a b\"",
            52,
            "this is not a host",
            "shop.example",
        ),
        rule(
            "on = \"request\", set = \"x\", value = \"a\\r\\nb\"",
            49,
            "the value of a header contains '\\r'",
            "one line",
        ),
        rule(
            "on = \"request\", set = \"x\", value = \" a\"",
            49,
            "the value of a header begins or ends with blanks",
            "remove",
        ),
    ]);
}

#[test]
fn logs() {
    check(vec![
        in_http(
            "access-log = \"web.log\"",
            (8, 14),
            "`access-log` must be an absolute path",
            "",
        ),
        in_http(
            "access-log = true",
            (8, 14),
            "`access-log` must be a string, not true",
            "",
        ),
        in_http(
            "access-log = { format = \"json\" }",
            (8, 14),
            "`path` is missing in [service.http.access-log]",
            "/var/log",
        ),
        in_http(
            "access-log = { path = \"/l\", format = \"xml\" }",
            (8, 38),
            "\"xml\" is not a value of `format`",
            "\"json\"",
        ),
        in_http(
            "access-log = { path = \"/l\", keep = 3 }",
            (8, 36),
            "`keep` is about older files, and no file ever becomes one",
            "max-size",
        ),
        in_http(
            "access-log = { path = \"/l\", max-size = \"1MB\" }",
            (8, 40),
            "\"1MB\" is not a size",
            "\"100MiB\"",
        ),
        in_http(
            "access-log = { path = \"/l\", max-size = 100 }",
            (8, 40),
            "`max-size` must be from 4KiB to 1TiB",
            "",
        ),
    ]);
}

#[test]
fn timeouts_and_limits() {
    check(vec![
        in_http(
            "timeouts = { connect = 2 }",
            (8, 24),
            "`connect` must be a duration in quotes, not 2",
            "connect = \"2s\"",
        ),
        in_http(
            "timeouts = { client = \"2s\" }",
            (8, 14),
            "unknown key `client` in [service.http.timeouts]",
            "client-header",
        ),
        in_http(
            "timeouts = { idle = \"25h\" }",
            (8, 21),
            "`idle` must be from 1ms to 24h",
            "",
        ),
        in_http(
            "limits = { header = \"2MiB\" }",
            (8, 21),
            "`header` must be from 1KiB to 1MiB",
            "",
        ),
        in_http(
            "limits = { header = \"4KiB\", uri = \"8KiB\" }",
            (8, 35),
            "`uri` is longer than the head that it stands in, of 4096 bytes",
            "raise `header`",
        ),
        in_http(
            "limits = { uri = \"64KiB\" }",
            (8, 18),
            "`uri` is longer than the head that it stands in, of 32768 bytes",
            "lower `uri`",
        ),
        in_http(
            "limits = { body = true }",
            (8, 19),
            "`body` must be a size, not true",
            "\"32KiB\"",
        ),
        in_http(
            "limits = { streams = 0 }",
            (8, 22),
            "`streams` must be a whole number from 1 to 10000, not 0",
            "",
        ),
    ]);
}

#[test]
fn what_is_done_about_backends() {
    check(vec![
        in_http(
            "retry = 3",
            (8, 9),
            "`retry` must be a table, not 3",
            "write retry = false, or retry = { attempts = 2, budget = 20 }",
        ),
        in_http(
            "retry = { attempts = 11 }",
            (8, 22),
            "`attempts` must be a whole number from 0 to 10, not 11",
            "",
        ),
        in_http(
            "retry = { budget = 101 }",
            (8, 20),
            "`budget` must be a whole number from 0 to 100, not 101",
            "",
        ),
        in_http(
            "eject = \"no\"",
            (8, 9),
            "`eject` must be a table, not \"no\"",
            "write eject = false",
        ),
        in_http(
            "eject = { slower = 1.0 }",
            (8, 20),
            "`slower` must be a number from 1.1 to 1000, not 1.0",
            "slower = 3.0",
        ),
        in_http(
            "eject = { slower = nan }",
            (8, 20),
            "`slower` must be a number from 1.1 to 1000, not nan",
            "",
        ),
        in_http(
            "eject = { base = \"1m\", max = \"30s\" }",
            (8, 30),
            "`max` is shorter than `base`",
            "the first time",
        ),
        in_http(
            "eject = { errors = 0 }",
            (8, 20),
            "`errors` must be a whole number from 1 to 1000, not 0",
            "",
        ),
        in_http(
            "queue = 5",
            (8, 9),
            "`queue` must be a table, not 5",
            "[service.http.queue]",
        ),
        in_http(
            "queue = { timeout = \"2h\" }",
            (8, 21),
            "`timeout` must be from 1ms to 1h",
            "",
        ),
    ]);
}
