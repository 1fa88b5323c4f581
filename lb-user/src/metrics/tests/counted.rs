//! From counters to the plain numbers that families are made of.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::model::http_status::of;
use crate::model::proxy::{AccessLog, LogFormat, Proxy, Tls, TlsVersion};
use crate::model::traffic::Traffic;
use crate::model::{Config, MemberKey, Mode, Vip};

fn config() -> Config {
    let toml = "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"192.0.2.10:80\"\n\
                mode = \"dsr\"\n[[service.backend]]\nname = \"web1\"\naddress = \"10.0.0.1:80\"\n\
                [[service.backend]]\nname = \"web2\"\naddress = \"10.0.0.2:80\"\n\
                [[service]]\nname = \"api\"\naddress = \"192.0.2.11:80\"\nmode = \"dsr\"\n\
                [[service]]\nname = \"l4\"\naddress = \"192.0.2.12:80\"\nmode = \"dsr\"\n";
    let mut config = crate::config::parse("test.toml", toml).unwrap().config;
    for service in &mut config.services[..2] {
        service.mode = Mode::Proxy;
        service.proxy = Some(std::sync::Arc::default());
        service.proxy = Some(Arc::default());
    }
    config.services[1].vips = Vec::<Vip>::new();
    config
}

fn secure(config: &mut Config) {
    let tls = Tls {
        certificates: Vec::new(),
        acme: None,
        client_ca: None,
        client_optional: false,
        min_version: TlsVersion::V1_2,
        ciphers: Vec::new(),
        alpn: Vec::new(),
        hsts: None,
    };
    let mut proxy = Proxy {
        tls: Some(tls),
        ..Proxy::default()
    };
    proxy.http.access_log = Some(AccessLog {
        format: LogFormat::Common,
        path: "/var/log/web.log".into(),
        max_size: None,
        keep: 0,
    });
    config.services[0].proxy = Some(Arc::new(proxy));
}

#[test]
fn those_of_the_proxy_with_what_they_have() {
    let mut config = config();
    let traffic = Traffic::default();
    let counted = of(&traffic, &config);
    let names: Vec<&str> = counted.iter().map(|service| &*service.name).collect();
    assert_eq!(names, ["web", "api"]);
    assert!(counted[0].clients.as_ref().unwrap().tls.is_none());
    assert!(counted[1].clients.is_none(), "a pool has no clients");

    secure(&mut config);
    let web = traffic.service(&"web".into());
    web.handshakes.store(3, Relaxed);
    web.log_lost.store(4, Relaxed);
    web.requests[1].store(5, Relaxed);
    web.responses[4].store(6, Relaxed);
    web.waiting.store(7, Relaxed);
    web.set_certificates([
        ("b.example".into(), 9),
        ("a.example".into(), 8),
        ("b.example".into(), 5),
    ]);
    let second = traffic.backend(&MemberKey::of(&config.services[0], &config.services[0].backends[1]));
    second.ejected.store(1, Relaxed);
    second.latency.observe(1_000);
    let counted = of(&traffic, &config);
    let clients = counted[0].clients.as_ref().unwrap();
    assert_eq!((clients.requests, clients.responses), ([0, 5], [0, 0, 0, 0, 6]));
    assert_eq!((clients.log_lost, counted[0].waiting), (Some(4), 7));
    let tls = clients.tls.as_ref().unwrap();
    assert_eq!((tls.full, tls.resumed), (3, 0));
    // Of several for one name, the one that ends first.
    assert_eq!(tls.certificates, [("a.example".into(), 8), ("b.example".into(), 5)]);
    let [one, two] = &counted[0].backends[..] else { panic!() };
    assert_eq!((&*one.name, one.ejected, one.latency.count()), ("web1", false, 0));
    assert_eq!(
        (&*two.name, two.ejected, two.latency.count(), two.latency.sum),
        ("web2", true, 1, 1_000)
    );
}
