//! Request bodies: bounded in size and time, and strict.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Request, StatusCode};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::types::{AdminState, BackendPatch, DenyPut, LogLevels, NodePatch, Problem, TraceRequest};
use crate::model::trace::Filter;

/// Most bytes of what is wanted of a backend.
pub(super) const MAX_BODY: usize = 4 * 1024;

/// A body that is not complete after this is not waited for.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What says what is wanted of a backend.
pub(super) const JSON: &str = "application/json";

/// A configuration.
pub(super) const TOML: &str = "application/toml";

/// A certificate with its chain and its key.
pub(super) const PEM: &str = "application/x-pem-file";

/// Most bytes of it.
pub(super) const MAX_PEM: usize = 256 * 1024;

/// The body of `request`, which has to be called `kind`, and has `most` bytes at most.
pub(super) async fn read<B>(request: Request<B>, kind: &str, most: usize) -> Result<Bytes, Problem>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !is(kind, request.headers()) {
        let detail = format!("the body is {kind}, and Content-Type has to say so");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let too_large = || {
        let detail = format!("the body is larger than {most} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    // Announced as too large: not a byte of it is read.
    if request.body().size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), most).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => {
            let detail = format!("the body was not complete after {} s", BODY_TIMEOUT.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

/// The text of a body.
pub(super) fn text(body: Bytes) -> Result<String, Problem> {
    String::from_utf8(body.into())
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not text: {error}")))
}

/// Without regard to case and to parameters, such as a charset (RFC 9110 §8.3.1).
fn is(wanted: &str, headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or("").trim());
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(wanted))
}

/// What is wanted of a backend. Strict: whatever is not known is refused by name.
pub(super) fn patch(body: &[u8]) -> Result<BackendPatch, Problem> {
    let not_json = |error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}"));
    let Value::Object(fields) = serde_json::from_slice(body).map_err(not_json)? else {
        let detail = r#"the body is an object, such as {"state": "drain"} or {"weight": 4}"#;
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    };
    if fields.is_empty() {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "state, weight or both are to be given",
        ));
    }
    check(&fields)?;
    // Over the text again, since a map has lost which fields were given twice.
    serde_json::from_slice(body).map_err(|error| {
        let twice = fields
            .keys()
            .find(|name| error.to_string().contains(&format!("`{name}`")));
        Problem::field(twice.map_or("", String::as_str), error.to_string())
    })
}

/// Which packets are wanted. As strict.
pub(super) fn trace(body: &[u8]) -> Result<Filter, Problem> {
    let request: TraceRequest = strict(body)?;
    request
        .filter()
        .map_err(|(field, detail)| Problem::field(field, detail))
}

/// What is wanted of the node. As strict.
pub(super) fn node(body: &[u8]) -> Result<NodePatch, Problem> {
    strict(body)
}

/// For how long a prefix is to be denied. As strict.
pub(super) fn deny(body: &[u8]) -> Result<DenyPut, Problem> {
    strict(body)
}

/// What is to be logged. As strict.
pub(super) fn log_levels(body: &[u8]) -> Result<LogLevels, Problem> {
    strict(body)
}

fn strict<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

/// Names the first field that is wrong.
fn check(fields: &Map<String, Value>) -> Result<(), Problem> {
    for (name, value) in fields {
        let wanted = match name.as_str() {
            "state" if value.is_string() && AdminState::deserialize(value).is_ok() => continue,
            "state" => "active, drain or disabled",
            "weight" if u16::deserialize(value).is_ok() => continue,
            "weight" => "a whole number from 0 to 65535",
            _ => {
                let name: String = name.chars().take(64).collect();
                let detail = format!("unknown field {name:?}; there are state and weight");
                return Err(Problem::field(&name, detail));
            }
        };
        let value: String = value.to_string().chars().take(64).collect();
        return Err(Problem::field(name, format!("{name} is {wanted}, not {value}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model;

    #[test]
    fn what_is_good() {
        let patch = |text: &str| patch(text.as_bytes()).unwrap();
        for state in model::AdminState::ALL {
            let expected = BackendPatch {
                state: Some(AdminState::from(state)),
                weight: None,
            };
            assert_eq!(patch(&format!(r#"{{"state": "{}"}}"#, state.label())), expected);
        }
        let both = patch(r#" {"weight": 65535, "state": "drain"} "#);
        assert_eq!((both.state, both.weight), (Some(AdminState::Drain), Some(65535)));
    }

    #[test]
    fn what_is_not() {
        let cases = [
            ("", 400, None, "not JSON"),
            ("{", 400, None, "not JSON"),
            ("{\"weight\": 1}x", 400, None, "not JSON"),
            ("[1]", 422, None, "is an object"),
            ("null", 422, None, "is an object"),
            ("{}", 422, None, "state, weight or both"),
            (r#"{"state": "drian"}"#, 422, Some("state"), "not \"drian\""),
            (r#"{"state": null}"#, 422, Some("state"), "not null"),
            (
                r#"{"state": {"drain": null}}"#,
                422,
                Some("state"),
                "active, drain or disabled",
            ),
            (r#"{"weight": "4"}"#, 422, Some("weight"), "from 0 to 65535, not \"4\""),
            (r#"{"weight": 65536}"#, 422, Some("weight"), "not 65536"),
            (r#"{"weight": -1}"#, 422, Some("weight"), "not -1"),
            (r#"{"weight": 1.5}"#, 422, Some("weight"), "not 1.5"),
            (
                r#"{"weight": 4, "sate": 1}"#,
                422,
                Some("sate"),
                "unknown field \"sate\"",
            ),
            (r#"{"weight": 4, "weight": 5}"#, 422, Some("weight"), "duplicate field"),
        ];
        for (text, status, field, detail) in cases {
            let problem = patch(text.as_bytes()).unwrap_err();
            assert_eq!((problem.status, problem.field.as_deref()), (status, field), "{text}");
            assert!(problem.detail.contains(detail), "{text}: {}", problem.detail);
        }
        let nested = "[".repeat(MAX_BODY);
        assert_eq!(patch(nested.as_bytes()).unwrap_err().status, 400);
        let long = format!(r#"{{"{}": 1}}"#, "x".repeat(MAX_BODY - 10));
        assert!(patch(long.as_bytes()).unwrap_err().detail.len() < 200);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(state in prop::sample::select(model::AdminState::ALL.to_vec()), weight: Option<u16>) {
            let written = BackendPatch { state: Some(state.into()), weight };
            prop_assert_eq!(patch(&serde_json::to_vec(&written).unwrap()), Ok(written));
        }

        #[test]
        fn noise_is_refused_without_a_panic(text in "[{}\\[\\]\",:a-z0-9 ]{0,200}") {
            let _ = patch(text.as_bytes());
        }
    }
}
