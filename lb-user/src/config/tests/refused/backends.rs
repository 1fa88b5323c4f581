//! What is refused about backends, and about how they are probed.

use super::{backend, check, in_backend, in_health, in_service};

#[test]
fn backends() {
    check(vec![
        in_service(
            "[[service.backend]]\n",
            (7, 1),
            "`address` is missing in [[service.backend]]",
            "10.0.0.6:80",
        ),
        backend(
            "\"10.0.0.6\"",
            (8, 11),
            "the port of 10.0.0.6 is missing",
            "\"10.0.0.6:80\"",
        ),
        backend("\"web1.example:0\"", (8, 11), "\"0\" is not a port", "1 to 65535"),
        backend("\"web1.example:http\"", (8, 11), "\"http\" is not a port", "1 to 65535"),
        backend(
            "\"web1..example:80\"",
            (8, 11),
            "\"web1..example\" is not a host name",
            "web1.example:80",
        ),
        backend("\"web.1:80\"", (8, 11), "\"web.1\" is not a host name", ""),
        backend(
            "\"web1.example:81\"",
            (8, 11),
            "the backend's port 81 is not the VIP's port 80",
            "write \"web1.example:80\"",
        ),
        in_backend(
            "[[service.backend]]\naddress = \"web1.lan:80\"\n[[service.backend]]\naddress = \"WEB1.lan:80\"\n",
            (12, 11),
            "backend WEB1.lan:80 stands twice in this service",
            "raise its weight",
        ),
        backend(
            "\"127.0.0.1:80\"",
            (8, 11),
            "127.0.0.1 is a loopback address",
            "another machine",
        ),
        backend(
            "\"10.0.0.6:81\"",
            (8, 11),
            "the backend's port 81 is not the VIP's port 80",
            "\"10.0.0.6:80\"",
        ),
        backend(
            "\"[2001:db8::6]:80\"",
            (8, 11),
            "an IPv6 backend behind IPv4 VIPs only",
            "IPv4 address",
        ),
        backend(
            "\"192.0.2.10:80\"",
            (8, 11),
            "backend 192.0.2.10:80 has the address of a VIP",
            "own address",
        ),
        in_backend(
            "weight = 65536\n",
            (9, 10),
            "`weight` must be a whole number from 0 to 65535, not 65536",
            "",
        ),
        in_backend(
            "weight = -1\n",
            (9, 10),
            "`weight` must be a whole number from 0 to 65535, not -1",
            "",
        ),
        in_backend(
            "weight = 1.5\n",
            (9, 10),
            "`weight` must be a whole number from 0 to 65535, not 1.5",
            "",
        ),
        in_backend(
            "weight = 99999999999999999999\n",
            (9, 10),
            "`weight` must be a whole number from 0 to 65535, not 99999999999999999999",
            "",
        ),
        in_backend("name = \"web 1\"\n", (9, 8), "the name contains ' '", "letters"),
        in_backend(
            "[[service.backend]]\naddress = \"10.0.0.6:80\"\n",
            (10, 11),
            "backend 10.0.0.6:80 stands twice in this service",
            "raise its weight",
        ),
        in_backend(
            "name = \"a\"\n[[service.backend]]\naddress = \"10.0.0.7:80\"\nname = \"a\"\n",
            (12, 8),
            "two backends of this service are called \"a\"",
            "SERVICE/BACKEND",
        ),
    ]);
}

#[test]
fn health() {
    check(vec![
        in_health(
            "kind = \"htpp\"\n",
            (8, 8),
            "\"htpp\" is not a value of `kind`",
            "did you mean \"http\"?",
        ),
        in_health(
            "path = \"/\"\n",
            (8, 8),
            "`path` is for kind = \"http\" or \"https\"",
            "set kind = \"http\"",
        ),
        in_health(
            "kind = \"tcp\"\npath = \"/\"\n",
            (9, 8),
            "`path` is for kind = \"http\" or \"https\"",
            "or remove `path`",
        ),
        in_health(
            "kind = \"http\"\npath = \"x\"\n",
            (9, 8),
            "the path of a probe begins with a slash",
            "\"/x\"",
        ),
        in_health(
            "kind = \"http\"\npath = \"/a b\"\n",
            (9, 8),
            "the path of a probe contains ' '",
            "%20",
        ),
        in_health(
            "kind = \"http\"\npath = \"/a\\nb\"\n",
            (9, 8),
            "the path of a probe contains '\\n'",
            "percent",
        ),
        in_health("interval = \"2\"\n", (8, 12), "\"2\" is not a duration", "\"1m30s\""),
        in_health(
            "interval = \"2 s\"\n",
            (8, 12),
            "\"2 s\" is not a duration",
            "\"1m30s\"",
        ),
        in_health(
            "interval = \"0s\"\n",
            (8, 12),
            "`interval` must be from 10ms to 24h",
            "",
        ),
        in_health("timeout = \"0ms\"\n", (8, 11), "`timeout` must be from 1ms to 24h", ""),
        in_health(
            "timeout = \"3s\"\n",
            (8, 11),
            "`timeout` is longer than `interval`",
            "next one",
        ),
        in_health(
            "interval = \"1s\"\ntimeout = \"1s1ms\"\n",
            (9, 11),
            "`timeout` is longer than `interval`",
            "next one",
        ),
        in_health(
            "rise = 0\n",
            (8, 8),
            "`rise` must be a whole number from 1 to 1000, not 0",
            "",
        ),
        in_health(
            "fall = 1001\n",
            (8, 8),
            "`fall` must be a whole number from 1 to 1000, not 1001",
            "",
        ),
    ]);
}
