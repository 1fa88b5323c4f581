//! Tables of the proxy. Most of them may also be written inline; their names are those of the long form.

use super::super::schema::Shape;

pub(in super::super) static TLS: Shape = Shape {
    name: "[service.tls]",
    keys: &[
        "certificates",
        "acme",
        "client-ca",
        "client-auth",
        "min-version",
        "ciphers",
        "alpn",
        "hsts",
    ],
};

pub(in super::super) static ACME: Shape = Shape {
    name: "[service.tls.acme]",
    keys: &[
        "domains",
        "directory",
        "contact",
        "challenge",
        "key-type",
        "external-account",
        "ca",
        "storage",
    ],
};

pub(in super::super) static EXTERNAL_ACCOUNT: Shape = Shape {
    name: "[service.tls.acme.external-account]",
    keys: &["key-id", "key-file"],
};

pub(in super::super) static CERTIFICATE: Shape = Shape {
    name: "[[service.tls.certificates]]",
    keys: &["certificate", "key"],
};

pub(in super::super) static HSTS: Shape = Shape {
    name: "[service.tls.hsts]",
    keys: &["max-age", "include-subdomains", "preload"],
};

pub(in super::super) static HTTP: Shape = Shape {
    name: "[service.http]",
    keys: &[
        "h2c",
        "redirect-to-https",
        "preserve-host",
        "rewrite-location",
        "forwarded",
        "trusted-proxies",
        "proxy-protocol",
        "request-id",
        "hash-on",
        "sticky-cookie",
        "headers",
        "access-log",
        "timeouts",
        "limits",
        "error-pages",
        "retry-after",
        "retry",
        "eject",
        "queue",
    ],
};

pub(in super::super) static STICKY_COOKIE: Shape = Shape {
    name: "[service.http.sticky-cookie]",
    keys: &["name", "max-age"],
};

pub(in super::super) static HEADER_RULE: Shape = Shape {
    name: "[[service.http.headers]]",
    keys: &["on", "set", "add", "remove", "value"],
};

pub(in super::super) static ACCESS_LOG: Shape = Shape {
    name: "[service.http.access-log]",
    keys: &["path", "format", "max-size", "keep"],
};

pub(in super::super) static TIMEOUTS: Shape = Shape {
    name: "[service.http.timeouts]",
    keys: &[
        "client-header",
        "client-body",
        "connect",
        "response",
        "idle",
        "tunnel",
        "shutdown",
    ],
};

pub(in super::super) static LIMITS: Shape = Shape {
    name: "[service.http.limits]",
    keys: &["header", "header-count", "uri", "body", "streams", "connections"],
};

pub(in super::super) static RETRY: Shape = Shape {
    name: "[service.http.retry]",
    keys: &["attempts", "budget"],
};

pub(in super::super) static EJECT: Shape = Shape {
    name: "[service.http.eject]",
    keys: &["errors", "slower", "base", "max"],
};

pub(in super::super) static QUEUE: Shape = Shape {
    name: "[service.http.queue]",
    keys: &["length", "timeout"],
};

pub(in super::super) static UPSTREAM: Shape = Shape {
    name: "[service.upstream]",
    keys: &["http", "tls", "proxy-protocol", "max-connections"],
};

pub(in super::super) static UPSTREAM_TLS: Shape = Shape {
    name: "[service.upstream.tls]",
    keys: &["verify", "server-name", "ca"],
};

pub(in super::super) static ROUTE: Shape = Shape {
    name: "[[service.route]]",
    keys: &["host", "path-prefix", "header", "pool", "replace-prefix"],
};

pub(in super::super) static ROUTE_HEADER: Shape = Shape {
    name: "[service.route.header]",
    keys: &["name", "value"],
};

pub(in super::super) static POOL_UPSTREAM: Shape = Shape {
    name: "[pool.upstream]",
    ..UPSTREAM
};

pub(in super::super) static POOL_UPSTREAM_TLS: Shape = Shape {
    name: "[pool.upstream.tls]",
    ..UPSTREAM_TLS
};
