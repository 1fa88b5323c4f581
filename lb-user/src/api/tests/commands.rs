//! What changes something: reload and patches of backends, well and badly asked for.

use super::*;
use crate::api::body::{BODY_TIMEOUT, MAX_BODY};
use crate::api::types::BackendPatch;
use crate::control::overrides::Crowded;
use crate::control::{FileRequest, Override, OverrideRefused, ReloadRefused, names};

const PATH: &str = "/api/v1/services/web/backends/web1";

/// A request with a body.
fn patch(path: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("PATCH {path} HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {length}\r\n\r\n{body}")
}

const JSON: &str = "Content-Type: application/json\r\n";

/// Takes a change of `web1`, finds no room for `web2`, and knows nobody else.
pub(super) fn answer(service: &str, backend: &str, change: Override) -> Result<model::Overridden, OverrideRefused> {
    let toml = "[node]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\nmode = \"dsr\"\n\
        address = [\"192.0.2.10:80\", \"[2001:db8::10]:80\"]\n\
        [[service.backend]]\nname = \"web1\"\naddress = \"[2001:db8::7]:80\"\n\
        [[service.backend]]\nname = \"web2\"\naddress = \"10.0.0.7:80\"\n";
    let config = crate::config::parse("test.toml", toml).unwrap().config;
    let member = names::find(&config, service, backend)?;
    if member.backend.is_ipv4() {
        let (backends, slots) = (65, 64);
        return Err(Crowded { backends, slots }.into());
    }
    Ok(overridden("web1", change))
}

/// The state of `web1`.
pub(super) fn one(service: &str, backend: &str) -> Result<model::OneBackend, OverrideRefused> {
    let done = answer(service, backend, Override::default())?;
    Ok(model::OneBackend {
        service: done.service,
        backend: done.backend,
    })
}

/// A node that drains or does not.
pub(super) fn node(draining: bool) -> model::NodeState {
    model::NodeState {
        node: node_name(),
        draining,
        ha: HaStatus::example(),
        overrides_fault: None,
    }
}

/// A backend that is active with weight 5 in the file, after a command.
fn overridden(name: &str, change: Override) -> model::Overridden {
    let mut services = status().services;
    let backend = services
        .remove(0)
        .backends
        .into_iter()
        .find(|b| *b.name == *name)
        .unwrap();
    model::Overridden {
        service: "web".into(),
        backend: model::BackendStatus {
            weight: change.weight.unwrap_or(5),
            weight_in_file: change.weight.map(|_| 5),
            state: change.state.unwrap_or_default(),
            state_in_file: change.state.map(|_| AdminState::Active),
            ..backend
        },
        fault: None,
        overrides_fault: None,
    }
}

#[tokio::test]
async fn a_patch_reaches_the_backend_and_is_answered_with_it() {
    let server = Server::start();
    let drain = BackendPatch {
        state: Some(types::AdminState::Drain),
        weight: None,
    };
    let done = server.client().patch("web", "web1", drain).await.unwrap();
    assert_eq!(done, overridden("web1", drain.into()).into());
    assert_eq!(done.backend.state, types::AdminState::Drain);
    // By address, whose brackets the path does not take as they are.
    let weight = BackendPatch {
        state: None,
        weight: Some(65535),
    };
    let done = server.client().patch("web", "[2001:db8::7]:80", weight).await.unwrap();
    assert_eq!(done.backend.weight, 65535);
    // Other ways to say the same.
    for kind in ["content-type: Application/JSON ; charset=utf-8\r\n", JSON] {
        let (head, _) = server.raw(&patch(PATH, kind, "{\"weight\": 0}")).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    }
    let chunked = format!(
        "PATCH {PATH} HTTP/1.1\r\nHost: x\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n\
        8\r\n{{\"weight\r\n5\r\n\": 3}}\r\n0\r\n\r\n"
    );
    let (head, _) = server.raw(&chunked).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
}

#[tokio::test]
async fn a_node_drains_and_says_what_it_holds() {
    let server = Server::start();
    assert_eq!(server.client().node().await.unwrap(), node(false).into());
    let wanted = types::NodePatch { draining: true };
    let done = server.client().patch_node(wanted).await.unwrap();
    // It is backup in its virtual router, and announces one of two.
    let announced: std::net::IpAddr = "198.51.100.10".parse().unwrap();
    assert_eq!((done.draining, &*done.addresses), (true, &[announced][..]));
    for (body, detail) in [
        ("{}", "missing field `draining`"),
        ("{\"draining\": 1}", "expected a boolean"),
        ("{\"draining\": true, \"wait\": true}", "unknown field `wait`"),
    ] {
        let (head, said) = server.raw(&patch("/api/v1/node", JSON, body)).await;
        assert!(
            head.starts_with("HTTP/1.1 422 ") && said.contains(detail),
            "{body}: {head}{said}"
        );
    }
}

#[tokio::test]
async fn one_backend_may_be_asked_for() {
    let server = Server::start();
    let one = server.client().backend("web", "[2001:db8::7]:80").await.unwrap();
    assert_eq!((one.service.as_str(), one.backend.name.as_str()), ("web", "web1"));
    assert_eq!((one.backend.moving_slots, one.backend.drained), (12, false));
    let Err(ClientError::Refused(problem)) = server.client().backend("web", "wbe1").await else {
        panic!("a refusal");
    };
    assert_eq!(problem.status, 404);
}

#[tokio::test]
async fn bad_patches_say_what_is_wrong() {
    let body = |body: &str| patch(PATH, JSON, body);
    let to = |path: &str| patch(path, JSON, "{\"weight\": 1}");
    let large = "x".repeat(MAX_BODY + 1);
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let cases: Vec<(String, u16, Option<&str>, &str)> = vec![
        (
            to("/api/v1/services/wbe/backends/web1"),
            404,
            None,
            "did you mean `web`?",
        ),
        (
            to("/api/v1/services/web/backends/wbe1"),
            404,
            None,
            "did you mean `web1`?",
        ),
        (
            to("/api/v1/services/web/backends/web2"),
            409,
            None,
            "cannot share 64 slots",
        ),
        (
            to("/api/v1/services/web"),
            404,
            None,
            "there is no /api/v1/services/web",
        ),
        (to("/api/v1/services/web/backend/web1"), 404, None, "there is no"),
        (to(&format!("{PATH}/weight")), 404, None, "there is no"),
        (to("/api/v1/services/web/backends/%ff"), 400, None, "badly encoded"),
        (to(&format!("{PATH}?dry=1")), 400, None, "unknown parameter \"dry\""),
        (body(""), 400, None, "the body is not JSON"),
        (body("weight=4"), 400, None, "the body is not JSON"),
        (body("{}"), 422, None, "state, weight or both"),
        (body("{\"weight\": 65536}"), 422, Some("weight"), "from 0 to 65535"),
        (
            body("{\"state\": \"off\"}"),
            422,
            Some("state"),
            "active, drain or disabled",
        ),
        (body("{\"drain\": true}"), 422, Some("drain"), "unknown field \"drain\""),
        (patch(PATH, "", "{\"weight\": 1}"), 415, None, "application/json"),
        (
            patch(PATH, "Content-Type: text/plain\r\n", "{}"),
            415,
            None,
            "application/json",
        ),
        (body(&large), 413, None, "larger than 4096 bytes"),
        (
            format!("PATCH {PATH} HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 1000000000\r\n\r\n{{"),
            413,
            None,
            "larger than 4096 bytes",
        ),
        (
            format!("PATCH {PATH} HTTP/1.1\r\nHost: x\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{chunk}"),
            413,
            None,
            "larger than 4096 bytes",
        ),
        (
            "POST /api/v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}".into(),
            413,
            None,
            "takes no request body",
        ),
        (
            "POST /api/v1/reload?now HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
            None,
            "unknown parameter",
        ),
    ];
    let server = Server::start();
    for (request, status, field, detail) in cases {
        let shown = &request[..request.len().min(200)];
        let (head, body) = server.raw(&request).await;
        let problem: types::Problem = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{shown}: {e}: {body}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {head}");
        assert!(
            head.contains("content-type: application/problem+json"),
            "{shown}: {head}"
        );
        assert_eq!((problem.status, problem.field.as_deref()), (status, field), "{shown}");
        assert!(problem.detail.contains(detail), "{shown}: {}", problem.detail);
    }
    assert!(server.client().status().await.is_ok());
}

#[tokio::test]
async fn each_path_names_its_method() {
    let server = Server::start();
    for (request, allowed) in [
        (format!("DELETE {PATH}"), "GET, HEAD, PATCH"),
        ("GET /api/v1/reload".to_owned(), "POST"),
        ("POST /api/v1/node".to_owned(), "GET, HEAD, PATCH"),
    ] {
        let (head, body) = server.raw(&format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
        assert!(head.contains(&format!("allow: {allowed}\r\n")), "{head}");
        assert!(body.contains(&format!("answers {allowed} only")), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = Server::start();
    let began = Instant::now();
    let request = format!("PATCH {PATH} HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 20\r\n\r\n{{");
    let (head, body) = server.raw(&request).await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert!(body.contains("not complete after 5 s"), "{body}");
    assert!(began.elapsed() < BODY_TIMEOUT * 2, "{:?}", began.elapsed());
    // One that is cut is not taken for a whole.
    let mut stream = server.connect().await;
    let cut = request.replace("Length: 20", "Length: 14") + "\"weight\":4}";
    stream.write_all(cut.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(
        response.is_empty() || response.starts_with("HTTP/1.1 400 "),
        "{response}"
    );
}

#[tokio::test]
async fn a_reload_is_taken_or_refused_with_its_reason() {
    let bad = "error: unknown key `nmae` in [[service]]\n --> /etc/fulcrum/fulcrum.toml:4:1";
    let fixed = "/etc/fulcrum/fulcrum.toml: [node] interfaces cannot change while the daemon runs";
    let (node, mut questions, mut reloads) = Handle::new(1);
    tokio::spawn(async move {
        let answers = [
            Ok(true),
            Ok(false),
            Err(ReloadRefused::File(bad.to_owned())),
            Err(ReloadRefused::Fixed(fixed.to_owned())),
        ];
        for answer in answers {
            let taken = answer.is_ok();
            let Some(FileRequest::Reload(reply)) = reloads.recv().await else {
                panic!("whoever has the file is asked");
            };
            let _ = reply.send(answer);
            if taken {
                let Some(Request::Settle(reply)) = questions.recv().await else {
                    panic!("the reconciler is asked whether it is done");
                };
                let _ = reply.send(None);
            }
        }
    });
    let server = Server::with(node);
    let client = server.client();
    for changed in [true, false] {
        let expected = types::Reloaded { changed, fault: None };
        assert_eq!(client.reload().await.unwrap(), expected);
    }
    for (status, detail) in [(422, bad), (409, fixed)] {
        let Err(ClientError::Refused(problem)) = client.reload().await else {
            panic!("a refusal");
        };
        assert_eq!((problem.status, problem.detail.as_str()), (status, detail));
    }
}
