//! What the proxy changes and adds: rules, routes, addresses in answers, cookies, pages, redirects.

use super::rig::{Backend, OK, Rig, soon};

const GET: &str = "GET / HTTP/1.1\r\nHost: www.example:8080\r\n\r\n";

#[tokio::test]
async fn fields_of_the_connection_go_no_further() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                  Proxy-Connection: x\r\nX-End: 2\r\nContent-Length: 2\r\n\r\nok";
    let backend = Backend::answering(answer).await;
    let rig = Rig::with("", &[&backend]).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
                   Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: x\r\nHTTP2-Settings: x\r\nX-End: 2\r\n\r\n";
    let answers = rig.ask(request).await;
    for message in [&answers[0], &backend.only()] {
        for gone in [
            "connection",
            "x-hop",
            "keep-alive",
            "proxy-connection",
            "te",
            "upgrade",
            "http2-settings",
        ] {
            assert_eq!(message.value(gone), None, "{}", message.head);
        }
        assert_eq!(message.value("x-end"), Some("2"));
    }
}

#[tokio::test]
async fn rules_change_heads() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nServer: x/1\r\nVia: y\r\nContent-Length: 2\r\n\r\nok").await;
    let rules = "[service.http]\nheaders = [\n{ on = \"request\", set = \"x-env\", value = \"lab\" },\n\
                 { on = \"request\", remove = \"x-secret\" },\n{ on = \"response\", remove = \"server\" },\n\
                 { on = \"response\", add = \"via\", value = \"z\" },\n]\n";
    let rig = Rig::with(rules, &[&backend]).await;
    let answers = rig
        .ask("GET / HTTP/1.1\r\nHost: a\r\nX-Env: mine\r\nX-SECRET: 1\r\n\r\n")
        .await;
    let seen = backend.only();
    assert_eq!((seen.value("x-env"), seen.value("x-secret")), (Some("lab"), None));
    assert_eq!(
        (answers[0].value("server"), answers[0].values("via")),
        (None, vec!["y", "z"])
    );
}

#[tokio::test]
async fn routes_lead_to_pools() {
    let (own, pool) = (Backend::answering(OK).await, Backend::answering(OK).await);
    let text = "[[service.route]]\nhost = \"*.api.example\"\npath-prefix = \"/v1\"\npool = \"api\"\nreplace-prefix = \"/\"\n\
                [[service.route]]\nheader = { name = \"x-beta\", value = \"1\" }\npool = \"api\"\n[[pool]]\nname = \"api\"\n";
    let rig = Rig::with(text, &[&own, &pool]).await;
    for (request, led, line) in [
        (
            "GET /v1/a?b HTTP/1.1\r\nHost: x.api.example:80\r\n\r\n",
            true,
            "GET /a?b HTTP/1.1",
        ),
        (
            "GET /v1 HTTP/1.1\r\nHost: X.API.example\r\n\r\n",
            true,
            "GET / HTTP/1.1",
        ),
        (
            "GET http://x.api.example/v1/a HTTP/1.1\r\nHost: x.api.example\r\n\r\n",
            true,
            "GET /a HTTP/1.1",
        ),
        (
            "GET /v10 HTTP/1.1\r\nHost: x.api.example\r\n\r\n",
            false,
            "GET /v10 HTTP/1.1",
        ),
        (
            "GET /v1/a HTTP/1.1\r\nHost: api.example\r\n\r\n",
            false,
            "GET /v1/a HTTP/1.1",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: b\r\nX-Beta: 1\r\n\r\n",
            true,
            "GET /a HTTP/1.1",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: b\r\nX-Beta: 2\r\n\r\n",
            false,
            "GET /a HTTP/1.1",
        ),
    ] {
        let before = (own.seen().len(), pool.seen().len());
        assert_eq!(rig.ask(request).await.len(), 1);
        let seen = if led { pool.seen() } else { own.seen() };
        assert_eq!(
            (own.seen().len(), pool.seen().len()),
            (before.0 + usize::from(!led), before.1 + usize::from(led))
        );
        assert_eq!(seen.last().unwrap().line(), line);
    }
}

#[tokio::test]
async fn backends_addresses_are_not_shown() {
    let backend = Backend::scripted(|_, mut peer, _| async move {
        let own = peer.stream.local_addr().unwrap();
        while peer.request().await.is_some() {
            let fields = format!(
                "Location: http://{own}/app/next?a=b\r\nContent-Location: /app/here\r\n\
                 Set-Cookie: a=b; Path=/app; HttpOnly\r\nSet-Cookie: c=d; Path=/other\r\n"
            );
            peer.send(format!("HTTP/1.1 302 Found\r\n{fields}Content-Length: 0\r\n\r\n"))
                .await;
        }
    })
    .await;
    let other = Backend::answering(
        "HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/app\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let text = "[[service.route]]\npath-prefix = \"/front\"\npool = \"app\"\nreplace-prefix = \"/app\"\n[[pool]]\nname = \"app\"\n";
    let rig = Rig::with(text, &[&other, &backend]).await;
    let answers = rig
        .ask("GET /front/x HTTP/1.1\r\nHost: www.example\r\n\r\nGET / HTTP/1.1\r\nHost: www.example\r\n\r\n")
        .await;
    assert_eq!(answers[0].value("location"), Some("http://www.example/front/next?a=b"));
    assert_eq!(answers[0].value("content-location"), Some("/front/here"));
    assert_eq!(
        answers[0].values("set-cookie"),
        ["c=d; Path=/other", "a=b; Path=/front; HttpOnly"]
    );
    assert_eq!(answers[1].value("location"), Some("https://elsewhere.example/app"));
}

#[tokio::test]
async fn a_cookie_keeps_a_client_with_its_backend() {
    let backends = [
        Backend::answering(OK).await,
        Backend::answering(OK).await,
        Backend::answering(OK).await,
    ];
    let rig = Rig::with("[service.http]\nsticky-cookie = \"stick\"\n", &backends.each_ref()).await;
    let answers = rig.ask(GET).await;
    let cookie = answers[0].value("set-cookie").unwrap();
    assert!(
        cookie.starts_with("stick=") && cookie.contains("HttpOnly") && !cookie.contains("Secure"),
        "{cookie}"
    );
    let own = cookie.split(';').next().unwrap();
    let first = backends.iter().position(|backend| !backend.seen().is_empty()).unwrap();
    for _ in 0..6 {
        let answers = rig
            .ask(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: x=y; {own}\r\n\r\n"))
            .await;
        assert_eq!(answers[0].value("set-cookie"), None);
    }
    assert_eq!(backends[first].seen().len(), 7);
    // One that nobody has signed is worth nothing.
    let answers = rig
        .ask(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {own}0\r\n\r\n"))
        .await;
    assert!(answers[0].value("set-cookie").is_some());
}

#[tokio::test]
async fn https_is_led_to() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("[service.http]\nredirect-to-https = true\n", &[&backend]).await;
    for (request, to) in [
        (
            "GET /a?b=c HTTP/1.1\r\nHost: www.example:8080\r\n\r\n",
            "https://www.example/a?b=c",
        ),
        (
            "GET http://www.example HTTP/1.1\r\nHost: www.example\r\n\r\n",
            "https://www.example/",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
            "https://[2001:db8::1]/a",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n",
            "https://[2001:db8::1]/a",
        ),
    ] {
        let answers = rig.ask(request).await;
        assert_eq!((answers[0].status(), answers[0].value("location")), (308, Some(to)));
    }
    assert_eq!(backend.seen(), []);
}

#[tokio::test]
async fn error_pages_are_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("sorry.html");
    std::fs::write(&page, "<p>sorry</p>").unwrap();
    let backend = Backend::once("nonsense\r\n\r\n").await;
    let text = format!("[service.http]\nretry = false\neject = false\nerror-pages = {{ \"502\" = {page:?} }}\n");
    let rig = Rig::with(&text, &[&backend]).await;
    let answers = rig.ask(GET).await;
    assert_eq!((answers[0].status(), &answers[0].body[..]), (502, &b"<p>sorry</p>"[..]));
}

#[tokio::test]
async fn nobody_up_is_said_and_when_to_come_again() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("[service.http]\nretry-after = \"7s\"\n", &[&backend]).await;
    assert_eq!(rig.ask(GET).await[0].status(), 200);
    rig.take_all_down();
    soon(async {
        while rig.ask(GET).await[0].status() == 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let answers = rig.ask(GET.repeat(2)).await;
    for answer in &answers {
        assert_eq!((answer.status(), answer.value("retry-after")), (503, Some("7")));
        assert!(answer.body.starts_with(b"<!DOCTYPE html>"));
    }
    assert_eq!(answers.len(), 2, "the connection is not to blame");
}

#[tokio::test]
async fn the_host_is_the_clients_or_the_backends() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("", &[&backend]).await;
    rig.ask(GET).await;
    rig.ask("GET http://www.example/ HTTP/1.1\r\nHost: WWW.example\r\n\r\n")
        .await;
    rig.ask("GET / HTTP/1.0\r\n\r\n").await;
    let address = backend.address.to_string();
    let hosts: Vec<_> = backend
        .seen()
        .iter()
        .map(|seen| seen.value("host").unwrap().to_owned())
        .collect();
    assert_eq!(hosts, ["www.example:8080", "www.example", &address]);
    let rig = Rig::with("[service.http]\npreserve-host = false\n", &[&backend]).await;
    rig.ask(GET).await;
    assert_eq!(backend.seen()[3].value("host"), Some(&*address));
}

#[tokio::test]
async fn every_request_has_a_name() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("", &[&backend]).await;
    rig.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\n\r\n".repeat(2))
        .await;
    let names: Vec<_> = backend
        .seen()
        .iter()
        .map(|seen| seen.value("x-request-id").unwrap().to_owned())
        .collect();
    assert!(
        names.len() == 2 && names[0] != names[1] && !names.contains(&"mine".to_owned()),
        "{names:?}"
    );
    let rig = Rig::with("[service.http]\ntrusted-proxies = [\"127.0.0.1\"]\n", &[&backend]).await;
    rig.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\n\r\n").await;
    assert_eq!(backend.seen()[2].value("x-request-id"), Some("mine"));
}
