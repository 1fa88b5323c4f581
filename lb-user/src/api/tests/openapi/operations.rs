//! Every operation of the API.

use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema, json_schema};

use super::super::super::types::{
    Backend, BackendPatch, Certificates, Denied, Denies, DenyPut, Explanation, LogLevels, Node, NodePatch,
    OrderedCertificate, Overridden, Plan, Protocol, Reloaded, Status, TargetGroup, TraceEnded, TraceRequest,
    TraceStarted, TracedPackets, Undenied,
};

/// Makes the schema of a type, which the generator keeps.
pub(super) type Make = fn(&mut SchemaGenerator) -> Schema;

/// What may be asked.
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// As a template: `{name}` is a parameter.
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// Of the query.
    pub(super) query: &'static [Parameter],
    pub(super) request: Option<Body>,
    /// What is answered with 200, one for each format.
    pub(super) answers: &'static [Body],
    /// What else is to be expected, beside what every operation can be refused for.
    pub(super) refusals: &'static [(&'static str, &'static str)],
}

/// A parameter.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) description: &'static str,
    pub(super) schema: Make,
}

/// A body of a request or of an answer.
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub(super) kind: &'static str,
    pub(super) schema: Make,
}

/// Parameters of paths: what they are.
pub(super) const PATH: [(&str, &str); 4] = [
    ("service", "Name of the service, percent-encoded."),
    ("backend", "Name of the backend, or its address, percent-encoded."),
    ("trace", "What the trace is called: 16 hexadecimal digits."),
    (
        "prefix",
        "A prefix or an address, such as `198.51.100.0%2F24`. Bits behind its length do not count.",
    ),
];

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

const STALE_TRACE: (&str, &str) = ("404", "There is no such trace, or it is over.");
const NO_BACKEND: (&str, &str) = ("404", "There is no such backend.");
const MALFORMED: (&str, &str) = ("400", "The body is not what Content-Type says.");
const WRONG: (&str, &str) = ("422", "A field is wrong; `field` names it.");
const NOT_TAKEN: (&str, &str) = ("422", "The file is wrong: where and why.");
const FIXED: (&str, &str) = ("409", "It changes what is fixed while the daemon runs.");

const NO_CERTIFICATE: (&str, &str) = ("404", "No certificate is ordered for a service of this name.");
const ELSEWHERE: (&str, &str) = (
    "409",
    "Another node orders it, or the authority is being asked about it already.",
);
const AUTHORITY: (&str, &str) = ("502", "The authority refuses it, or cannot be asked.");
const NO_PREFIX: (&str, &str) = ("400", "The prefix, a parameter or the body is malformed.");
const BY_SERVICE: &[Parameter] = &[Parameter {
    name: "service",
    required: false,
    description: "Name of the service that denies it, and it alone; not given: all do.",
    schema: SchemaGenerator::subschema_for::<String>,
}];

const fn json<T: JsonSchema>() -> Body {
    Body {
        kind: JSON,
        schema: SchemaGenerator::subschema_for::<T>,
    }
}

const fn text(kind: &'static str) -> Body {
    Body {
        kind,
        schema: SchemaGenerator::subschema_for::<String>,
    }
}

fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

/// `GET` of something without parameters.
const fn get(path: &'static str, id: &'static str, summary: &'static str, answers: &'static [Body]) -> Operation {
    Operation {
        method: "GET",
        path,
        id,
        summary,
        query: &[],
        request: None,
        answers,
        refusals: &[],
    }
}

/// A change.
const fn change(
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    answers: &'static [Body],
) -> Operation {
    Operation {
        method,
        ..get(path, id, summary, answers)
    }
}

const fn address(name: &'static str, description: &'static str) -> Parameter {
    Parameter {
        name,
        required: true,
        description,
        schema: SchemaGenerator::subschema_for::<String>,
    }
}

/// All of them, in the order of the document.
pub(super) const OPERATIONS: &[Operation] = &[
    get(
        "/metrics",
        "metrics",
        "Metrics, as Prometheus reads them. `Accept` chooses between the formats.",
        &[
            text("text/plain; version=0.0.4; charset=utf-8"),
            text("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ],
    ),
    get(
        "/healthz",
        "healthz",
        "Whether the daemon's process answers.",
        &[text(TEXT)],
    ),
    Operation {
        refusals: &[("503", "It is not: why, one reason a line.")],
        ..get(
            "/readyz",
            "readyz",
            "Whether the node is ready for traffic.",
            &[text(TEXT)],
        )
    },
    get(
        "/api/v1/status",
        "status",
        "The node at one moment.",
        &[json::<Status>()],
    ),
    Operation {
        refusals: &[("503", "As many streams as there can be are open.")],
        ..get(
            "/api/v1/events",
            "events",
            "The node as it changes: server-sent events `hello`, `history`, then `status` again and again.",
            &[text("text/event-stream")],
        )
    },
    Operation {
        query: &[
            Parameter {
                name: "service",
                required: false,
                description: "Backends of this service alone; may be given several times.",
                schema: SchemaGenerator::subschema_for::<String>,
            },
            Parameter {
                name: "port",
                required: false,
                description: "Port of the targets, in the place of that of each backend.",
                schema: SchemaGenerator::subschema_for::<u16>,
            },
        ],
        refusals: &[
            ("400", "A parameter is wrong or unknown; `parameter` names it."),
            ("404", "There is no such service."),
        ],
        ..get(
            "/api/v1/sd",
            "discovery",
            "Backends, as targets for the HTTP service discovery of Prometheus.",
            &[json::<Vec<TargetGroup>>()],
        )
    },
    Operation {
        query: &[
            Parameter {
                name: "protocol",
                required: true,
                description: "Protocol of the flow.",
                schema: SchemaGenerator::subschema_for::<Protocol>,
            },
            address(
                "source",
                "The client: an address with a port, as in `198.51.100.7:40000` or `[2001:db8::7]:40000`.",
            ),
            address("destination", "The address that it talks to, of the same family."),
        ],
        refusals: &[("400", "A parameter is missing, wrong or unknown; `parameter` names it.")],
        ..get(
            "/api/v1/explain",
            "explain",
            "What the program would do with a packet of a flow, and why.",
            &[json::<Explanation>()],
        )
    },
    get(
        "/api/v1/node",
        "node",
        "The addresses by which clients reach the node, and whether it drains. Cheap enough to be asked often.",
        &[json::<Node>()],
    ),
    Operation {
        request: Some(json::<NodePatch>()),
        refusals: &[MALFORMED, WRONG],
        ..change(
            "PATCH",
            "/api/v1/node",
            "patch_node",
            "Have clients go to other nodes, or come back. Answered when it is kept; addresses go a moment later.",
            &[json::<Node>()],
        )
    },
    Operation {
        refusals: &[NO_BACKEND],
        ..get(
            "/api/v1/services/{service}/backends/{backend}",
            "backend",
            "A backend at one moment.",
            &[json::<Backend>()],
        )
    },
    Operation {
        request: Some(json::<BackendPatch>()),
        refusals: &[
            MALFORMED,
            NO_BACKEND,
            ("409", "The ring has no slot for it with this weight, or it is leaving."),
            WRONG,
        ],
        ..change(
            "PATCH",
            "/api/v1/services/{service}/backends/{backend}",
            "patch_backend",
            "Say what is wanted of a backend, above the file. What is not named stays as it is.",
            &[json::<Overridden>()],
        )
    },
    get(
        "/api/v1/denies",
        "denies",
        "What commands deny, above the file.",
        &[json::<Denies>()],
    ),
    Operation {
        query: BY_SERVICE,
        request: Some(json::<DenyPut>()),
        refusals: &[
            NO_PREFIX,
            ("404", "There is no such service."),
            ("409", "As many as there can be are denied."),
            WRONG,
        ],
        ..change(
            "PUT",
            "/api/v1/denies/{prefix}",
            "deny",
            "Deny a prefix, whatever the file allows, for ever or for a time, in the place of what is there.",
            &[json::<Denied>()],
        )
    },
    Operation {
        query: BY_SERVICE,
        refusals: &[
            NO_PREFIX,
            (
                "404",
                "It is not denied by the service, or not by all; or there is no such service.",
            ),
        ],
        ..change(
            "DELETE",
            "/api/v1/denies/{prefix}",
            "undeny",
            "Deny a prefix no more.",
            &[json::<Undenied>()],
        )
    },
    get(
        "/api/v1/certificates",
        "certificates",
        "Certificates that the node orders, which the status has too.",
        &[json::<Certificates>()],
    ),
    Operation {
        request: Some(text("application/x-pem-file")),
        refusals: &[
            NO_CERTIFICATE,
            (
                "422",
                "It cannot be used, is not for every name, or is older than what serves.",
            ),
        ],
        ..change(
            "PUT",
            "/api/v1/certificates/{service}",
            "importCertificate",
            "Serve a certificate that another client has ordered, with its chain and key, and renew it from then on.",
            &[json::<OrderedCertificate>()],
        )
    },
    Operation {
        refusals: &[
            NO_CERTIFICATE,
            ELSEWHERE,
            ("429", "The authority does not want to hear of it yet."),
        ],
        ..change(
            "POST",
            "/api/v1/certificates/{service}/renewal",
            "renewCertificate",
            "Order another certificate now. What becomes of it is in the list: `attempts` rises when it is over.",
            &[json::<OrderedCertificate>()],
        )
    },
    Operation {
        refusals: &[NO_CERTIFICATE, ELSEWHERE, AUTHORITY],
        ..change(
            "POST",
            "/api/v1/certificates/{service}/account-key",
            "rollAccountKey",
            "Give the account with the authority another key.",
            &[json::<OrderedCertificate>()],
        )
    },
    Operation {
        query: &[Parameter {
            name: "reason",
            required: false,
            description: "Why: unspecified, key-compromise, affiliation-changed, superseded, or cessation-of-operation.",
            schema: SchemaGenerator::subschema_for::<String>,
        }],
        refusals: &[NO_CERTIFICATE, ELSEWHERE, AUTHORITY],
        ..change(
            "POST",
            "/api/v1/certificates/{service}/revocation",
            "revokeCertificate",
            "Take the certificate back at its authority, and order another one.",
            &[json::<OrderedCertificate>()],
        )
    },
    Operation {
        refusals: &[FIXED, NOT_TAKEN],
        ..change(
            "POST",
            "/api/v1/reload",
            "reload",
            "Make the daemon read its file now.",
            &[json::<Reloaded>()],
        )
    },
    Operation {
        query: &[Parameter {
            name: "file",
            required: false,
            description: "What errors call the configuration.",
            schema: SchemaGenerator::subschema_for::<String>,
        }],
        request: Some(text("application/toml")),
        refusals: &[FIXED, NOT_TAKEN],
        ..change(
            "POST",
            "/api/v1/plan",
            "plan",
            "What a reload of this configuration would change; changes nothing.",
            &[json::<Plan>()],
        )
    },
    Operation {
        request: Some(json::<TraceRequest>()),
        refusals: &[("409", "Another trace is under way."), WRONG],
        ..change(
            "POST",
            "/api/v1/trace",
            "begin_trace",
            "Begin a trace of packets. It ends when nobody has asked for them for five seconds.",
            &[json::<TraceStarted>()],
        )
    },
    Operation {
        refusals: &[STALE_TRACE],
        ..get(
            "/api/v1/trace/{trace}",
            "traced",
            "What a trace has shown since the last time.",
            &[json::<TracedPackets>()],
        )
    },
    Operation {
        refusals: &[STALE_TRACE],
        ..change(
            "DELETE",
            "/api/v1/trace/{trace}",
            "end_trace",
            "End a trace.",
            &[json::<TraceEnded>()],
        )
    },
    get(
        "/api/v1/log-level",
        "log_level",
        "What the daemon logs.",
        &[json::<LogLevels>()],
    ),
    Operation {
        request: Some(json::<LogLevels>()),
        refusals: &[WRONG],
        ..change(
            "POST",
            "/api/v1/log-level",
            "set_log_level",
            "Change what the daemon logs, until it ends.",
            &[json::<LogLevels>()],
        )
    },
    get(
        "/api/v1/openapi.json",
        "openapi",
        "This document.",
        &[Body {
            kind: JSON,
            schema: object,
        }],
    ),
];
