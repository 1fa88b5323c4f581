//! `[[service.route]]`.

use super::{Case, check, in_proxy};

/// Line 8 is the pool, line 9 and on what follows, with a pool at the end.
fn in_route(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    let text = format!("[[service.route]]\npool = \"api\"\n{text}\n[[pool]]\nname = \"api\"\n");
    in_proxy(&text, place, message, hint)
}

#[test]
fn pools() {
    let other = "[[service]]\nname = \"api\"\naddress = \"192.0.2.11:80\"\nmode = \"dsr\"\n";
    check(vec![
        in_proxy(
            "[[service.route]]\nhost = \"a\"\n",
            (7, 1),
            "`pool` is missing in [[service.route]]",
            "pool = \"api\"",
        ),
        in_proxy(
            "[[service.route]]\npool = \"api\"\n",
            (8, 8),
            "there is no pool \"api\"",
            "name = \"api\"",
        ),
        in_proxy(
            "[[service.route]]\npool = \"api\"\n[[pool]]\nname = \"apis\"\n",
            (8, 8),
            "there is no pool \"api\"",
            "did you mean \"apis\"?",
        ),
        in_proxy(
            &format!("[[service.route]]\npool = \"api\"\n{other}"),
            (8, 8),
            "\"api\" is a service, and a route leads to a pool",
            "[[pool]]",
        ),
        in_proxy(
            "[service.route]\npool = \"api\"\n",
            (7, 1),
            "`route` must be a list of tables",
            "[[service.route]] in double",
        ),
    ]);
}

#[test]
fn hosts() {
    check(vec![
        in_route("host = \"\"", (9, 8), "\"\" is not a host", "*.example.com"),
        in_route(
            "host = \"shop.example:443\"",
            (9, 8),
            "\"shop.example:443\" is not a host",
            "without the port: write \"shop.example\"",
        ),
        in_route(
            "host = \"a.*.example\"",
            (9, 8),
            "\"a.*.example\" is not a host",
            "all below it",
        ),
        in_route("host = \"*\"", (9, 8), "\"*\" is not a host", "all below it"),
        in_route(
            "host = \"shöp.example\"",
            (9, 8),
            "\"shöp.example\" is not a host",
            "xn--",
        ),
        in_route("host = \"[::g]\"", (9, 8), "\"[::g]\" is not a host", ""),
        in_route(
            "host = \"https://shop.example\"",
            (9, 8),
            "\"https://shop.example\" is not a host",
            "a name",
        ),
    ]);
}

#[test]
fn paths_and_headers() {
    check(vec![
        in_route(
            "path-prefix = \"v1\"",
            (9, 15),
            "`path-prefix` begins with a slash",
            "write \"/v1\"",
        ),
        in_route(
            "path-prefix = \"/a?b\"",
            (9, 15),
            "`path-prefix` contains '?'",
            "without a query",
        ),
        in_route("path-prefix = \"/a b\"", (9, 15), "`path-prefix` contains ' '", "%20"),
        in_route(
            "path-prefix = \"/a/../b\"",
            (9, 15),
            "`path-prefix` is not a plain path",
            "the path that they lead to",
        ),
        in_route(
            "path-prefix = \"/a//\"",
            (9, 15),
            "`path-prefix` is not a plain path",
            "",
        ),
        in_route("path-prefix = \"//\"", (9, 15), "`path-prefix` is not a plain path", ""),
        in_route(
            "replace-prefix = \"/b\"",
            (9, 18),
            "`replace-prefix` stands in the place of `path-prefix`, which is not given",
            "path-prefix = ",
        ),
        in_route(
            "path-prefix = \"/a\"\nreplace-prefix = \"b\"",
            (10, 18),
            "`replace-prefix` begins with a slash",
            "",
        ),
        in_route(
            "header = \"x-env\"",
            (9, 10),
            "`header` must be a table, not \"x-env\"",
            "header = { name = ",
        ),
        in_route(
            "header = { name = \"x-env\" }",
            (9, 10),
            "`value` is missing in [service.route.header]",
            "beta",
        ),
        in_route(
            "header = { name = \"x env\", value = \"\" }",
            (9, 19),
            "\"x env\" is not the name of a header",
            "",
        ),
    ]);
}
