//! The proxy's families: of its services, and of the backends of services and pools.

use std::fmt;

use super::{BACKEND, Family, Kind, Put, Source, Value, truth};
use crate::model::http_status::{BackendHttp, ClientsHttp, TlsHttp};
use crate::model::status::Status;

const SERVICE: &[&str] = &["service"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "fulcrum_http_connections_open",
        kind: Kind::Gauge,
        unit: None,
        labels: SERVICE,
        help: "Clients' connections to the proxy that are open",
        source: Source::Own(|status, put| clients(status, put, |clients| Value::Whole(clients.connections.into()))),
    },
    Family {
        name: "fulcrum_http_connections_accepted_total",
        kind: Kind::Counter,
        unit: None,
        labels: SERVICE,
        help: "Clients' connections that the proxy took",
        source: Source::Own(|status, put| clients(status, put, |clients| Value::Whole(clients.accepted))),
    },
    Family {
        name: "fulcrum_http_connections_refused_total",
        kind: Kind::Counter,
        unit: None,
        labels: SERVICE,
        help: "Clients' connections that the proxy closed at once, for there were as many as limits.connections lets be",
        source: Source::Own(|status, put| clients(status, put, |clients| Value::Whole(clients.refused))),
    },
    Family {
        name: "fulcrum_http_requests_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["service", "version"],
        help: "Clients' requests, by version of HTTP: 1 or 2",
        source: Source::Own(|status, put| each(status, put, ["1", "2"], |clients| clients.requests.map(Value::Whole))),
    },
    Family {
        name: "fulcrum_http_responses_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["service", "class"],
        help: "Responses to clients, by class of their status: 1xx to 5xx",
        source: Source::Own(|status, put| each(status, put, CLASSES, |clients| clients.responses.map(Value::Whole))),
    },
    Family {
        name: "fulcrum_http_request_duration_seconds",
        kind: Kind::Histogram,
        unit: Some("seconds"),
        labels: SERVICE,
        help: "From a request's head to the end of its response",
        source: Source::Own(|status, put| clients(status, put, |clients| Value::Durations(&clients.latency))),
    },
    Family {
        name: "fulcrum_http_requests_invalid_total",
        kind: Kind::Counter,
        unit: None,
        labels: SERVICE,
        help: "Requests that the proxy refused for what they were: malformed, too large, too slow",
        source: Source::Own(|status, put| clients(status, put, |clients| Value::Whole(clients.invalid))),
    },
    Family {
        name: "fulcrum_http_requests_queued_total",
        kind: Kind::Counter,
        unit: None,
        labels: SERVICE,
        help: "Requests that had to wait for a backend of the service or pool, each of which had max-connections",
        source: Source::Own(|status, put| {
            let mut services = status.http.iter();
            services.try_for_each(|service| put(&[&service.name], Value::Whole(service.queued)))
        }),
    },
    Family {
        name: "fulcrum_http_requests_waiting",
        kind: Kind::Gauge,
        unit: None,
        labels: SERVICE,
        help: "Requests that wait so at this moment",
        source: Source::Own(|status, put| {
            let mut services = status.http.iter();
            services.try_for_each(|service| put(&[&service.name], Value::Whole(service.waiting.into())))
        }),
    },
    Family {
        name: "fulcrum_http_received_bytes_total",
        kind: Kind::Counter,
        unit: Some("bytes"),
        labels: SERVICE,
        help: "Bytes that the proxy received from clients",
        source: Source::Own(|status, put| clients(status, put, |clients| Value::Whole(clients.received))),
    },
    Family {
        name: "fulcrum_http_sent_bytes_total",
        kind: Kind::Counter,
        unit: Some("bytes"),
        labels: SERVICE,
        help: "Bytes that the proxy sent to clients",
        source: Source::Own(|status, put| clients(status, put, |clients| Value::Whole(clients.sent))),
    },
    Family {
        name: "fulcrum_tls_handshakes_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["service", "kind"],
        help: "Handshakes of TLS with clients, by kind: full, resumed, or failed; missing where the service has no TLS",
        source: Source::Own(|status, put| {
            tls(status, |name, tls| {
                for (kind, count) in [("full", tls.full), ("resumed", tls.resumed), ("failed", tls.failed)] {
                    put(&[name, kind], Value::Whole(count))?;
                }
                Ok(())
            })
        }),
    },
    Family {
        name: "fulcrum_certificate_expiry_timestamp_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: &["service", "name"],
        help: "Until when the certificate is valid that clients are shown, in seconds since 1970, by the name that it is for \
               first; of several for one name, the one that ends first",
        source: Source::Own(|status, put| {
            tls(status, |service, tls| {
                let mut certificates = tls.certificates.iter();
                certificates.try_for_each(|(name, not_after)| put(&[service, name], Value::Whole(*not_after)))
            })
        }),
    },
    Family {
        name: "fulcrum_access_log_lost_lines_total",
        kind: Kind::Counter,
        unit: None,
        labels: SERVICE,
        help: "Lines of the access log that were lost, for the disk was too slow or took none; missing where there is no log",
        source: Source::Own(|status, put| {
            with_clients(status).try_for_each(|(name, clients)| match clients.log_lost {
                Some(lost) => put(&[name], Value::Whole(lost)),
                None => Ok(()),
            })
        }),
    },
    Family {
        name: "fulcrum_http_backend_active_requests",
        kind: Kind::Gauge,
        unit: None,
        labels: BACKEND,
        help: "Requests under way at the backend, upgraded connections included",
        source: Source::Own(|status, put| backends(status, put, |backend| Value::Whole(backend.active.into()))),
    },
    Family {
        name: "fulcrum_http_backend_connections",
        kind: Kind::Gauge,
        unit: None,
        labels: BACKEND,
        help: "Connections of the proxy to the backend, idle ones included",
        source: Source::Own(|status, put| backends(status, put, |backend| Value::Whole(backend.connections.into()))),
    },
    Family {
        name: "fulcrum_http_backend_connects_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["service", "backend", "outcome"],
        help: "Connections of the proxy to the backend that were begun, by outcome: success or failure",
        source: Source::Own(|status, put| {
            with_backends(status).try_for_each(|(service, backend)| {
                put(&[service, &backend.name, "success"], Value::Whole(backend.connects))?;
                put(
                    &[service, &backend.name, "failure"],
                    Value::Whole(backend.connect_errors),
                )
            })
        }),
    },
    Family {
        name: "fulcrum_http_backend_requests_total",
        kind: Kind::Counter,
        unit: None,
        labels: BACKEND,
        help: "Requests sent to the backend, repeated ones included",
        source: Source::Own(|status, put| backends(status, put, |backend| Value::Whole(backend.requests))),
    },
    Family {
        name: "fulcrum_http_backend_responses_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["service", "backend", "class"],
        help: "Responses of the backend, by class of their status: 1xx to 5xx",
        source: Source::Own(|status, put| {
            with_backends(status).try_for_each(|(service, backend)| {
                let mut classes = CLASSES.iter().zip(backend.responses);
                classes.try_for_each(|(class, count)| put(&[service, &backend.name, class], Value::Whole(count)))
            })
        }),
    },
    Family {
        name: "fulcrum_http_backend_latency_seconds",
        kind: Kind::Histogram,
        unit: Some("seconds"),
        labels: BACKEND,
        help: "From a request's start at the backend to the head of its response",
        source: Source::Own(|status, put| backends(status, put, |backend| Value::Durations(&backend.latency))),
    },
    Family {
        name: "fulcrum_http_backend_failures_total",
        kind: Kind::Counter,
        unit: None,
        labels: BACKEND,
        help: "Requests that the backend did not answer, or not to the end",
        source: Source::Own(|status, put| backends(status, put, |backend| Value::Whole(backend.failures))),
    },
    Family {
        name: "fulcrum_http_backend_retries_total",
        kind: Kind::Counter,
        unit: None,
        labels: BACKEND,
        help: "Requests that were tried again after the backend failed",
        source: Source::Own(|status, put| backends(status, put, |backend| Value::Whole(backend.retries))),
    },
    Family {
        name: "fulcrum_http_backend_ejections_total",
        kind: Kind::Counter,
        unit: None,
        labels: BACKEND,
        help: "Times that the backend was set aside for what it did to requests",
        source: Source::Own(|status, put| backends(status, put, |backend| Value::Whole(backend.ejections))),
    },
    Family {
        name: "fulcrum_http_backend_ejected",
        kind: Kind::Gauge,
        unit: None,
        labels: BACKEND,
        help: "Whether the backend is set aside at this moment (1)",
        source: Source::Own(|status, put| backends(status, put, |backend| truth(backend.ejected))),
    },
    Family {
        name: "fulcrum_http_backend_sent_bytes_total",
        kind: Kind::Counter,
        unit: Some("bytes"),
        labels: BACKEND,
        help: "Bytes that the proxy sent to the backend",
        source: Source::Own(|status, put| backends(status, put, |backend| Value::Whole(backend.sent))),
    },
    Family {
        name: "fulcrum_http_backend_received_bytes_total",
        kind: Kind::Counter,
        unit: Some("bytes"),
        labels: BACKEND,
        help: "Bytes that the proxy received from the backend",
        source: Source::Own(|status, put| backends(status, put, |backend| Value::Whole(backend.received))),
    },
];

fn with_clients(status: &Status) -> impl Iterator<Item = (&str, &ClientsHttp)> {
    let services = status.http.iter();
    services.filter_map(|service| Some((&*service.name, service.clients.as_ref()?)))
}

fn with_backends(status: &Status) -> impl Iterator<Item = (&str, &BackendHttp)> {
    let services = status.http.iter();
    services.flat_map(|service| service.backends.iter().map(|backend| (&*service.name, backend)))
}

fn tls(status: &Status, mut put: impl FnMut(&str, &TlsHttp) -> fmt::Result) -> fmt::Result {
    with_clients(status).try_for_each(|(name, clients)| match &clients.tls {
        Some(tls) => put(name, tls),
        None => Ok(()),
    })
}

fn clients(status: &Status, put: &mut Put<'_>, value: fn(&ClientsHttp) -> Value<'_>) -> fmt::Result {
    with_clients(status).try_for_each(|(name, clients)| put(&[name], value(clients)))
}

fn each<const N: usize>(
    status: &Status,
    put: &mut Put<'_>,
    labels: [&str; N],
    values: fn(&ClientsHttp) -> [Value<'_>; N],
) -> fmt::Result {
    with_clients(status).try_for_each(|(name, clients)| {
        let mut all = labels.iter().zip(values(clients));
        all.try_for_each(|(label, value)| put(&[name, label], value))
    })
}

fn backends(status: &Status, put: &mut Put<'_>, value: fn(&BackendHttp) -> Value<'_>) -> fmt::Result {
    with_backends(status).try_for_each(|(service, backend)| put(&[service, &backend.name], value(backend)))
}
