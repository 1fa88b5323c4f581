//! Services of the proxy, and pools: what the maps hold of them, what the proxy is told, and what becomes of requests.
//!
//! Past 500 lines: one cast for all of them.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lb_common::stats::Counters;

use super::*;
use crate::control::drains::HEARD;
use crate::control::merge;
use crate::model::preview::{Change, Flows};
use crate::model::proxy::{HashOn, HeaderAction, HeaderName, Proxy, Route};
use crate::model::status::Pool;
use crate::model::tally::ServiceTally;
use crate::model::trace::Filter;
use crate::model::traffic::{PoolMember, Traffic};
use crate::model::{AdminState, Mode, Role, Service};

/// [`ONE`], with a second service for others to route to.
fn two() -> String {
    let api = "[[service]]\nname = \"api\"\naddress = \"192.0.2.30:80\"\nmode = \"dsr\"\n[[service.backend]]\nname = \
               \"api1\"\naddress = \"10.0.0.4:8080\"\n";
    format!("{ONE}{}", api.replace("8080", "80"))
}

/// What `toml` says, with "web" served by the proxy, and "api" as a pool.
fn proxied_with(toml: &str, change: impl FnOnce(&mut Service)) -> Arc<Config> {
    let mut config = Config::clone(&config(toml));
    for service in &mut config.services {
        service.mode = Mode::Proxy;
        service.proxy = Some(Arc::default());
        if *service.name == *"api" {
            service.vips.clear();
        }
    }
    let web = &mut config.services[0];
    let route = Route {
        host: Some("api.example".into()),
        path_prefix: None,
        header: None,
        pool: "api".into(),
        replace_prefix: None,
    };
    web.proxy = Some(Arc::new(Proxy {
        routes: vec![route.clone(), route],
        ..Proxy::default()
    }));
    change(web);
    Arc::new(config)
}

fn proxied(toml: &str) -> Arc<Config> {
    proxied_with(toml, |_| {})
}

fn judged(facts: &mut Facts, health: Health) {
    for last in 1..=3 {
        facts.judge(verdict(last, health));
    }
    facts.judge(Verdict {
        member: MemberKey {
            service: "api".into(),
            backend: "10.0.0.4:80".parse().unwrap(),
        },
        ..verdict(4, health)
    });
}

fn key(last: u8) -> MemberKey {
    verdict(last, Health::Up).member
}

/// A node whose backends are all up, of which no next hop is known.
async fn running(config: Arc<Config>) -> Reconciler<Fake, Node> {
    let mut facts = Facts::new(config);
    judged(&mut facts, Health::Up);
    let mut reconciler = attached(Fake::default(), Node::default(), facts, SEED);
    assert!(reconciler.converge().await);
    reconciler
}

fn entry(reconciler: &Reconciler<Fake, Node>, vip: &str) -> Option<Decision> {
    let key = ServiceKey::service(vip.parse().unwrap(), Protocol::Tcp);
    reconciler.dataplane.installed().unwrap().entries.get(&key).copied()
}

fn pool(reconciler: &Reconciler<Fake, Node>, name: &str) -> Vec<PoolMember> {
    reconciler.facts.upstreams().pools[name].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_needs_entries_and_probes_and_nothing_else() {
    let node = Node::default();
    let facts = Facts::new(proxied(&two()));
    assert!(merge::hosts(&facts.config).is_empty(), "the kernel finds the way");
    let through = Facts::new(proxied_with(&two(), |web| web.health.via = crate::model::Via::Service));
    assert!(through.paths().is_empty(), "and so it does for probes");
    let mut reconciler = attached(Fake::default(), node.clone(), facts, SEED);
    assert!(reconciler.converge().await);
    assert!(node.has("192.0.2.10") && node.has("192.0.2.20") && !node.has("192.0.2.30"));
    let installed = reconciler.dataplane.installed().unwrap();
    assert_eq!(installed.entries.len(), 4, "two VIPs, and the port on each");
    assert!(installed.rings.is_empty() && installed.members.is_empty());
    assert_eq!(entry(&reconciler, "192.0.2.10:80"), Some(Decision::proxy(0)));
    let vip = installed.entries[&ServiceKey::address([192, 0, 2, 10].into())];
    assert!(vip.has(Decision::OWNED | Decision::DROP_UNDECLARED | Decision::ECHO));
    // Nobody waits for anybody.
    assert!(reconciler.facts.waiting.is_empty() && reconciler.begins.next().is_none());
    assert!(!reconciler.settled && !reconciler.facts.knows(&reconciler.facts.config.services[0]));
    judged(&mut reconciler.facts, Health::Up);
    assert!(reconciler.converge().await);
    assert!(reconciler.settled && reconciler.facts.knows(&reconciler.facts.config.services[0]));
    let status = reconciler.status();
    let [web, api] = &status.services[..] else { panic!() };
    assert_eq!((web.ready, api.ready, web.slots.stable), (3, 1, 0));
    assert!(web.is_healthy() && api.is_healthy() && api.vips.is_empty());
    for backend in web.backends.iter().chain(&api.backends) {
        assert!(backend.next_hop.is_none() && backend.nat.is_none() && backend.slots == 0);
        let proxied = backend.proxied.unwrap();
        assert!(proxied.serves && !backend.drained && proxied.requests == 0);
    }
    assert_eq!(reconciler.pulse().down, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_goes_over_to_the_proxy_and_back() {
    let source = IpAddr::from([10, 0, 0, 254]);
    let nat = ONE.replace("\"dsr\"", "\"nat\"");
    let mut reconciler = attached(Fake::default(), Node::default(), well(&nat), SEED);
    assert!(reconciler.converge().await);
    let by_nat = reconciler.dataplane.installed().unwrap();
    assert!(entry(&reconciler, "192.0.2.10:80").unwrap().is_balanced());

    // There are flows: answers to them are known until they have ended.
    reconciler.dataplane.usage.sources.insert(source);
    reconciler.facts.reconfigure(proxied(&nat));
    assert!(reconciler.converge().await);
    assert_eq!(entry(&reconciler, "192.0.2.10:80"), Some(Decision::proxy(0)));
    let installed = reconciler.dataplane.installed().unwrap();
    assert_eq!(installed.sources().collect::<Vec<_>>(), [source]);
    assert!(installed.members.is_empty() && installed.rings.is_empty());
    assert_eq!(
        reconciler.status().services[0].ready,
        3,
        "its backends were probed before"
    );
    reconciler.dataplane.usage.sources.clear();
    reconciler.installed = None;
    assert!(reconciler.converge().await);
    assert_eq!(reconciler.dataplane.installed().unwrap().sources().count(), 0);
    reconciler.sweep();

    reconciler.facts.reconfigure(config(&nat));
    for last in 1..=3 {
        reconciler.facts.route([10, 0, 0, last].into(), hop(last, 3));
    }
    assert!(reconciler.converge().await);
    assert_eq!(reconciler.dataplane.installed().unwrap(), by_nat);
    assert!(reconciler.facts.waiting.is_empty(), "all is known of them");

    // A daemon that starts with the other file adopts nobody who served by the old one.
    let Reconciler {
        dataplane, addresses, ..
    } = reconciler;
    let mut less = Config::clone(&proxied(&nat));
    less.services[0].backends.pop();
    let mut facts = Facts::new(Arc::new(less));
    judged(&mut facts, Health::Up);
    let mut second = attached(dataplane, addresses, facts, SEED);
    assert!(second.converge().await);
    assert_eq!(second.status().services[0].backends.len(), 2);
    assert_eq!(entry(&second, "192.0.2.10:80"), Some(Decision::proxy(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_is_told_who_may_serve() {
    let slow = ONE.replacen(
        "[[service.backend]]",
        "[service.health]\nslow-start = \"90s\"\n[[service.backend]]",
        1,
    );
    let file = |toml: &str| {
        proxied_with(toml, |web| {
            web.backends[1].weight = 4;
            web.backends[2].role = Role::Backup;
            web.backends[2].host = Some("web3.lan".into());
        })
    };
    let mut reconciler = running(file(&slow)).await;
    let told = |reconciler: &Reconciler<Fake, Node>| -> Vec<(u16, Health, bool)> {
        let pool = pool(reconciler, "web");
        pool.iter().map(|m| (m.weight, m.health, m.cut)).collect()
    };
    use Health::{Down, Unknown, Up};
    assert_eq!(told(&reconciler), [(1, Up, false), (4, Up, false), (1, Up, false)]);
    let third = &pool(&reconciler, "web")[2];
    assert_eq!(
        (&*third.name, third.role, third.host.as_deref()),
        ("web3", Role::Backup, Some("web3.lan"))
    );
    assert_eq!(
        (third.key.clone(), third.address),
        (key(3), "10.0.0.3:80".parse().unwrap())
    );

    // What a probe asks for, and a command above it.
    reconciler.facts.judge(Verdict {
        weight: Some(7),
        ..verdict(2, Up)
    });
    assert_eq!(told(&reconciler)[1], (7, Up, false));
    let say = |state, weight| Override { state, weight };
    reconciler.facts.command(&key(2), say(None, Some(9))).unwrap();
    assert_eq!(told(&reconciler)[1], (9, Up, false));
    reconciler
        .facts
        .command(&key(2), say(Some(AdminState::Drain), None))
        .unwrap();
    reconciler
        .facts
        .command(&key(3), say(Some(AdminState::Disabled), None))
        .unwrap();
    assert!(reconciler.converge().await);
    assert_eq!(told(&reconciler), [(1, Up, false), (0, Up, false), (1, Unknown, true)]);

    // Who comes back starts slowly; the others are scaled with it.
    reconciler
        .facts
        .command(&key(2), say(Some(AdminState::Active), Some(4)))
        .unwrap();
    reconciler.facts.judge(verdict(1, Down));
    reconciler.facts.judge(verdict(2, Up));
    assert!(reconciler.converge().await);
    assert_eq!(told(&reconciler)[..2], [(1, Down, false), (4, Up, false)]);
    reconciler.facts.judge(verdict(1, Up));
    assert!(reconciler.converge().await);
    assert_eq!(told(&reconciler)[..2], [(1, Up, false), (40, Up, false)]);
    reconciler.ahead += Duration::from_secs(90);
    assert!(reconciler.converge().await);
    assert_eq!(told(&reconciler)[..2], [(1, Up, false), (4, Up, false)]);
    assert!(
        reconciler.facts.upstreams().pools.len() == 1,
        "nobody else is the proxy's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_requests_and_is_cut_at_last() {
    let timed = two().replace("table-size = 256", "table-size = 256\ndrain-timeout = \"60s\"");
    let traffic = Arc::new(Traffic::default());
    let mut reconciler = running(proxied(&timed)).await;
    reconciler.set_traffic(Arc::clone(&traffic));
    let first = traffic.backend(&key(1));
    first.active.store(5, Relaxed);
    first.requests.store(100, Relaxed);
    first.received.store(4_000, Relaxed);
    first.sent.store(300, Relaxed);
    let drain = Override {
        state: Some(AdminState::Drain),
        weight: None,
    };
    reconciler.facts.command(&key(1), drain).unwrap();
    reconciler.facts.command(&key(2), drain).unwrap();
    assert!(reconciler.converge().await);
    let seen = |reconciler: &Reconciler<Fake, Node>, i: usize| {
        let backend = reconciler.status().services[0].backends[i].clone();
        (backend.drained, backend.cut_flows, backend.proxied.unwrap())
    };
    let (drained, cut, counted) = seen(&reconciler, 0);
    assert!(!drained && cut == 0 && !counted.serves);
    assert_eq!(
        (counted.active, counted.requests, counted.received, counted.sent),
        (5, 100, 4_000, 300)
    );
    assert!(
        !seen(&reconciler, 1).0,
        "a thread of the proxy may not have heard of it"
    );
    reconciler.ahead += HEARD;
    assert!(seen(&reconciler, 1).0 && !seen(&reconciler, 0).0);
    assert!(!pool(&reconciler, "web")[0].cut);
    assert!(
        reconciler.due().unwrap() > reconciler.now()
            && reconciler.due().unwrap() <= reconciler.now() + Duration::from_secs(60)
    );

    reconciler.ahead += Duration::from_secs(60);
    first.active.store(3, Relaxed);
    assert!(reconciler.converge().await);
    assert!(pool(&reconciler, "web")[0].cut && pool(&reconciler, "web")[1].cut && !pool(&reconciler, "web")[2].cut);
    let (drained, cut, counted) = seen(&reconciler, 0);
    assert!(
        !drained && cut == 3 && counted.active == 3,
        "they end as soon as the proxy ends them"
    );
    first.active.store(0, Relaxed);
    assert_eq!(
        seen(&reconciler, 0),
        (true, 3, crate::model::status::ProxiedStatus { active: 0, ..counted })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tally_is_what_the_state_adds_up_to() {
    let web = config(ONE);
    let mut reconciler = running(Arc::clone(&web)).await;
    let ids = reconciler.carried.ids(&web.services[0].name).unwrap().clone();
    for (number, id) in ids.values().enumerate() {
        let packets = number as u64 + 1;
        reconciler.dataplane.count(
            *id,
            Counters {
                packets,
                bytes: packets * 100,
                ..Counters::default()
            },
        );
    }
    let tally = reconciler.view().tally().unwrap();
    let mut sum = Counters::default();
    for backend in &reconciler.status().services[0].backends {
        sum += backend.counters;
    }
    assert!(sum.packets == 6 && sum.bytes == 600, "{sum:?}");
    assert_eq!(
        tally.services,
        [(Arc::clone(&web.services[0].name), ServiceTally::Balanced(sum))].into()
    );
    assert_eq!(tally.drops, reconciler.status().drops);

    let mut reconciler = running(proxied(&two())).await;
    let traffic = Arc::new(Traffic::default());
    reconciler.set_traffic(Arc::clone(&traffic));
    let counted = traffic.service(&"web".into());
    counted.requests[0].store(3, Relaxed);
    counted.requests[1].store(4, Relaxed);
    counted.received.store(10, Relaxed);
    counted.sent.store(90, Relaxed);
    let tally = reconciler.view().tally().unwrap();
    let web = ServiceTally::Proxied {
        requests: 7,
        bytes: 100,
    };
    assert_eq!(tally.services, [("web".into(), web)].into(), "a pool has no clients");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_goes_when_nothing_is_under_way_any_more() {
    let mut reconciler = running(proxied(&two())).await;
    let traffic = Arc::clone(&reconciler.traffic);
    let third = traffic.backend(&key(3));
    third.active.store(1, Relaxed);
    let mut less = Config::clone(&proxied(&two()));
    less.services[0].backends.truncate(1);
    reconciler.facts.reconfigure(Arc::new(less));
    assert!(reconciler.converge().await);
    let names = |reconciler: &Reconciler<Fake, Node>| -> Vec<String> {
        let pool = pool(reconciler, "web");
        pool.iter()
            .map(|m| format!("{} {} {}", m.name, m.weight, m.cut))
            .collect()
    };
    assert_eq!(names(&reconciler), ["web1 1 false", "web2 0 false", "web3 0 false"]);
    assert!(!reconciler.sweep(), "not before the proxy has heard of it");
    reconciler.ahead += HEARD;
    assert!(reconciler.sweep());
    assert_eq!(names(&reconciler), ["web1 1 false", "web3 0 false"]);
    assert!(reconciler.converge().await);
    assert!(!reconciler.sweep(), "a request is under way");
    // Cut by a command, before its time.
    assert!(reconciler.facts.cut_leaving(&key(3)));
    assert_eq!(names(&reconciler), ["web1 1 false", "web3 0 true"]);
    third.active.store(0, Relaxed);
    assert!(reconciler.converge().await);
    reconciler.sweep();
    assert!(reconciler.converge().await);
    assert_eq!(names(&reconciler), ["web1 1 false"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_is_told_once() {
    let mut facts = Facts::new(proxied(&two()));
    judged(&mut facts, Health::Up);
    let mut reconciler = attached(Fake::default(), Node::default(), facts, SEED);
    assert!(reconciler.converge().await);
    let (upstreams, mut told) = tokio::sync::watch::channel(Arc::new(reconciler.facts.upstreams()));
    let outputs = Outputs {
        paths: tokio::sync::watch::Sender::new(Paths::new()),
        upstreams,
        in_force: tokio::sync::watch::Sender::new(Arc::clone(&reconciler.facts.config)),
        commanded: tokio::sync::watch::Sender::new(Revision::default()),
        steered: tokio::sync::watch::Sender::new(0),
    };
    assert_eq!(told.borrow().pools.len(), 2, "before the first round");
    reconciler.publish(&outputs);
    assert!(!told.has_changed().unwrap(), "nothing is new");
    reconciler.facts.judge(verdict(1, Health::Down));
    reconciler.publish(&outputs);
    assert_eq!(told.borrow_and_update().pools["web"][0].health, Health::Down);
    let gone = reconciler.traffic.backend(&MemberKey {
        service: "old".into(),
        ..key(9)
    });
    gone.requests.store(1, Relaxed);
    reconciler.facts.reconfigure(proxied_with(&two(), |web| {
        let proxy = web.proxy.as_mut().map(Arc::make_mut).unwrap();
        proxy.http.hash_on = HashOn::Path;
    }));
    reconciler.publish(&outputs);
    assert!(told.has_changed().unwrap(), "the proxy reads the file here");
    let config = Arc::clone(&told.borrow_and_update().config);
    assert!(Arc::ptr_eq(&config, &reconciler.facts.config));
    let key = MemberKey {
        service: "old".into(),
        ..key(9)
    };
    assert!(
        reconciler.traffic.known(&key).is_none(),
        "nobody wants to know any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_explained_and_traced_by_name() {
    let mut reconciler = running(proxied(&two())).await;
    reconciler.facts.judge(verdict(2, Health::Down));
    let query = FlowQuery {
        protocol: Protocol::Tcp,
        source: "198.51.100.7:1234".parse().unwrap(),
        destination: "192.0.2.20:80".parse().unwrap(),
    };
    let pool = |name: &str, ready: &[&str], backends| Pool {
        name: name.into(),
        balance: crate::model::Balance::Maglev,
        hash_on: Some(HashOn::Source),
        ready: ready.iter().map(|&name| name.into()).collect(),
        backends,
    };
    assert_eq!(
        reconciler.explain(&query),
        Explanation::Proxied {
            service: "web".into(),
            pools: vec![pool("web", &["web1", "web3"], 3), pool("api", &["api1"], 1)],
        }
    );
    let undeclared = FlowQuery {
        destination: "192.0.2.20:81".parse().unwrap(),
        ..query
    };
    assert_eq!(
        reconciler.explain(&undeclared),
        Explanation::Undeclared { dropped: true }
    );

    let of = |service: &str| Filter {
        service: Some(service.to_owned()),
        ..Filter::default()
    };
    let id = reconciler.begin_trace(of("web")).unwrap();
    let wanted = reconciler.dataplane.wanted.unwrap();
    assert_eq!(
        (wanted.member_base, wanted.members),
        (Decision::proxy(0).member_base(), 1)
    );
    assert!(reconciler.end_trace(id));
    assert!(reconciler.begin_trace(of("api")).is_err(), "no packet is a pool's");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_change_is_said() {
    let nat = ONE.replace("\"dsr\"", "\"nat\"");
    let mut reconciler = attached(Fake::default(), Node::default(), well(&nat), SEED);
    assert!(reconciler.converge().await);
    let preview = reconciler.preview(proxied(&nat)).await.unwrap();
    let [web] = &preview.services[..] else {
        panic!("{preview:?}")
    };
    let keys = |keys: &[crate::model::preview::KeyChange]| -> Vec<String> {
        keys.iter()
            .map(|k| format!("{}: {} -> {}", k.key, k.from, k.to))
            .collect()
    };
    assert_eq!(
        keys(&web.keys),
        [
            "mode: nat -> proxy",
            "route: not set -> api.example to api; api.example to api"
        ]
    );
    assert_eq!((web.change, web.slots, web.moved), (Change::Changed, 0, 0));
    assert!(web.closed.is_empty() && preview.addresses.is_empty());
    let flows: Vec<Flows> = web.backends.iter().map(|b| b.flows).collect();
    assert_eq!(flows, [Flows::Cut; 3], "nobody translates any more");

    // Of a service of the proxy.
    reconciler.facts.reconfigure(proxied(&two()));
    judged(&mut reconciler.facts, Health::Up);
    assert!(reconciler.converge().await);
    assert!(reconciler.preview(proxied(&two())).await.unwrap().is_empty());
    let traffic = Arc::clone(&reconciler.traffic);
    traffic.backend(&key(1)).active.store(4, Relaxed);
    let mut other = Config::clone(&proxied_with(&two(), |web| {
        let proxy = web.proxy.as_mut().map(Arc::make_mut).unwrap();
        proxy.http.timeouts.idle = Duration::from_secs(5);
        proxy.upstream.max_connections = std::num::NonZeroU32::new(9);
        let env = HeaderName::new("x-env").unwrap();
        proxy.http.headers = vec![crate::model::proxy::HeaderRule {
            on: crate::model::proxy::Direction::Request,
            action: HeaderAction::Set(env, "secret".into()),
        }];
        proxy.routes.clear();
        web.backends.remove(0);
    }));
    other.services[1].backends[0].weight = 5;
    let preview = reconciler.preview(Arc::new(other)).await.unwrap();
    let [web, api] = &preview.services[..] else {
        panic!("{preview:?}")
    };
    assert_eq!(
        keys(&web.keys),
        [
            "http.headers: not set -> set x-env of the request",
            "http.timeouts.idle: 1m -> 5s",
            "upstream.max-connections: not set -> 9",
            "route: api.example to api; api.example to api -> not set"
        ]
    );
    let [gone] = &web.backends[..] else { panic!("{web:?}") };
    assert_eq!(
        (gone.change, gone.flows, gone.known_flows),
        (Change::Removed, Flows::Draining, 4)
    );
    assert_eq!(keys(&api.backends[0].keys), ["weight: 1 -> 5"]);
    assert_eq!(api.backends[0].flows, Flows::Kept);

    // And back: what the kernel has, it keeps.
    let preview = reconciler.preview(config(&nat)).await.unwrap();
    let web = &preview.services[0];
    assert!(web.backends.iter().all(|b| b.flows == Flows::Kept), "{web:?}");
    let dsr = reconciler.preview(config(ONE)).await.unwrap();
    let first = &dsr.services[0].backends[0];
    assert_eq!((first.flows, first.known_flows), (Flows::Cut, 4));
}
