//! The dashboard in a browser: what it shows, what it changes and for whom, and how soon.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_tests::backing::VIPS;
use lb_tests::browser::{Browser, CHROMIUM};
use lb_tests::gate::{self, Gate};
use lb_tests::segment::{Segment, v4};
use lb_tests::toml::service;
use lb_user::api::types::{AdminState, BackendStatus, Health, NodePatch, Status};
use nix::sys::signal::Signal;

const PORT: u16 = 8080;
const TOKEN: &str = "a-token-of-this-test";

/// Longest time from a probe's verdict to the page that shows it.
const SOON: Duration = Duration::from_secs(10);

/// What the page says of its connection to the node.
const LIVE: &str = "document.getElementById('connection').dataset.state === 'live'";

/// Is the row of a backend there, with this attribute?
fn row(backend: &str, attribute: &str) -> String {
    format!("document.querySelector('[data-backend=\"web/{backend}\"][{attribute}]') !== null")
}

/// As the browser has it, since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the browser's clock is this one, and two of its times are compared"
)]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn backend<'s>(status: &'s Status, name: &str) -> &'s BackendStatus {
    let mut all = status.services.iter().flat_map(|service| &service.backends);
    all.find(|backend| backend.name == name).unwrap()
}

/// Unlocks changes by a token, as somebody who types.
fn unlock(browser: &mut Browser, token: &str) {
    browser.until("document.activeElement.id === 'token'");
    browser.evaluate("document.activeElement.select()");
    browser.write(token);
    browser.click("#unlock-form [type=submit]");
}

/// Asks for a change of a backend, and says yes.
fn change(browser: &mut Browser, action: &str, backend: &str) {
    browser.click(&format!("[data-backend='web/{backend}'] [data-action={action}]"));
    browser.until("document.getElementById('change-dialog').open");
    browser.click("#change-submit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_a_node_and_changes_it_with_its_token() {
    if gate::root_with(&[CHROMIUM]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(2).await;
    let node = &segment.node;
    let at = |number: u8| SocketAddr::new(v4(number), PORT);
    let mut servers: Vec<_> = (0..2)
        .map(|index| Some(segment.serve(index, &[at(11 + index as u8).to_string()])))
        .collect();
    fs::write(node.path("token"), TOKEN).unwrap();
    let web = service("web", "nat", &[SocketAddr::new(VIPS[0], 80)])
        .table(
            "health",
            "interval = \"200ms\"\ntimeout = \"150ms\"\nrise = 1\nfall = 2",
        )
        .backend_with(at(11), "name = \"web1\"")
        .backend_with(at(12), "name = \"web2\"");
    let token = node.path("token");
    let router = format!(
        "[[vrrp]]\nname = \"VI_1\"\ninterface = \"eth0\"\nrouter-id = 1\npriority = 100\naddresses = [\"{}\"]\n",
        VIPS[0]
    );
    let protection = "[protection]\nenforcement = \"observe\"\ndeny = [\"203.0.113.0/24\"]\n";
    let announce = "[bgp]\nannounce = [\"192.0.2.10\"]\n";
    let routed = service("routed", "dsr", &["192.0.2.10:80"])
        .unprobed()
        .backend("10.8.0.11:80");
    node.configure(&format!(
        "{}listen = \"0.0.0.0:9465\"\ntoken-file = \"{}\"\n{router}{announce}{protection}{web}{routed}",
        node.head_with_seed("eth0"),
        token.display()
    ));
    let mut daemon = node.start().await;
    let up = |status: &Status| {
        ["web1", "web2"]
            .iter()
            .all(|name| backend(status, name).health == Health::Up)
    };
    node.until("both are up", up).await;

    // It loads, everything of it is the node's own, and it is for reading only.
    let mut browser = Browser::start(&node.namespace);
    browser.show_as(1280, 900, "light");
    browser.open("http://127.0.0.1:9465/");
    browser.until(LIVE);
    browser.until(&row("web1", "data-health=up"));
    browser.until("document.getElementById('node').textContent === 'lb1'");
    browser.until("/VI_1.*: no master was heard.*master/.test(document.getElementById('router-list').textContent)");
    browser.until("/observe; 1 prefix in lists.*Nothing has been refused/.test(document.getElementById('protection').textContent)");
    browser.until("/Protection only observes/.test(document.getElementById('banners').textContent)");
    browser.until("/192.0.2.10.*quorum.*● announced/.test(document.getElementById('announcement-list').textContent)");
    node.client().patch_node(NodePatch { draining: true }).await.unwrap();
    browser.until("/This node drains/.test(document.getElementById('banners').textContent)");
    node.client().patch_node(NodePatch { draining: false }).await.unwrap();
    browser.until("!/This node drains/.test(document.getElementById('banners').textContent)");
    assert_eq!(browser.evaluate("document.querySelectorAll('[data-action]').length"), 0);
    assert_eq!(browser.complaints(), []);

    // A telephone shows all of it without scrolling sideways.
    for scheme in ["light", "dark"] {
        browser.show_as(375, 800, scheme);
        browser.until("innerWidth === 375");
        let width = browser.evaluate("document.scrollingElement.scrollWidth");
        assert!(width.as_u64().unwrap() <= 375, "{scheme}: {width}");
    }
    browser.show_as(1280, 900, "dark");

    // A backend that dies is shown as such, soon after its probes say so.
    browser.evaluate(&format!(
        "window.shown = new Promise((done) => {{ \
         const look = () => {} && (observer.disconnect(), done(Date.now())); \
         const observer = new MutationObserver(look); \
         observer.observe(document, {{ subtree: true, attributes: true, childList: true }}); }}); 0",
        row("web2", "data-health=down")
    ));
    servers[1] = None;
    node.until("web2 is down", |status| backend(status, "web2").health == Health::Down)
        .await;
    let said = now();
    let shown = Duration::from_millis(browser.evaluate("window.shown").as_u64().unwrap());
    assert!(shown < said + SOON, "said at {said:?}, shown at {shown:?}");
    let word = "document.querySelector('[data-backend=\"web/web2\"] .badge').textContent.endsWith('down')";
    assert_eq!(browser.evaluate(word), true, "colour is not all that says so");
    assert_eq!(browser.complaints(), []);

    // A wrong token opens nothing, and what can be read without one goes on.
    browser.click("#lock");
    unlock(&mut browser, "not-the-token-of-this-test");
    browser.until("document.getElementById('unlock-error').textContent.includes('401')");
    browser.until(LIVE);
    assert_eq!(browser.evaluate("document.querySelectorAll('[data-action]').length"), 0);

    // With the right one the page changes the node; Escape leaves it as it is.
    unlock(&mut browser, TOKEN);
    browser.until(&row("web1", "data-state=active"));
    browser.until("document.querySelector('[data-action=drain]') !== null");
    browser.click("[data-backend='web/web1'] [data-action=drain]");
    browser.until("document.getElementById('change-warning').textContent.includes('No other backend of web')");
    browser.press("Escape", 27);
    browser.until("!document.getElementById('change-dialog').open");
    let status = node.client().status().await.unwrap();
    assert_eq!(backend(&status, "web1").state, AdminState::Active);
    change(&mut browser, "drain", "web1");
    browser.until(&row("web1", "data-state=drain"));
    let status = node.client().status().await.unwrap();
    assert_eq!(backend(&status, "web1").state, AdminState::Drain);

    // A token that is not the node's any more changes nothing.
    browser.evaluate("sessionStorage.setItem('fulcrum-token', 'not-the-token-of-this-test')");
    change(&mut browser, "enable", "web1");
    browser.until("document.getElementById('change-error').textContent.includes('401')");
    let status = node.client().status().await.unwrap();
    assert_eq!(backend(&status, "web1").state, AdminState::Drain);

    // From another machine nothing is shown without the token.
    browser.open("http://10.8.0.1:9465/");
    browser.until("document.getElementById('connection').dataset.state === 'refused'");
    assert_eq!(
        browser.evaluate("document.querySelectorAll('[data-backend]').length"),
        0
    );
    unlock(&mut browser, TOKEN);
    browser.until(LIVE);
    browser.until(&row("web1", "data-state=drain"));

    // The page outlives the daemon that it looks at.
    daemon.end(Signal::SIGTERM);
    browser.until("document.getElementById('connection').dataset.state !== 'live'");
    daemon = node.start().await;
    browser.until(LIVE);
    browser.until(&row("web2", "data-health=down"));
    change(&mut browser, "enable", "web1");
    browser.until(&row("web1", "data-state=active"));
    let others: Vec<_> = browser
        .complaints()
        .into_iter()
        .filter(|it| it.source != "network")
        .collect();
    assert_eq!(
        others,
        [],
        "refusals and a node that is away are to be seen, and nothing else"
    );
    drop(daemon);
}
