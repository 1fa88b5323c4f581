//! What a file is told of what it names, at its place.

use super::*;
use crate::config::{Parsed, parse};

/// A service of the proxy, with TLS in line 8.
fn parsed(rest: &str) -> Parsed {
    let text = format!(
        "[node]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"192.0.2.10:443\"\nmode = \"proxy\"\n\
         [service.tls]\n{rest}\n"
    );
    parse("test.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn refused(rest: &str, place: (usize, usize), message: &str, hint: &str) {
    let error = judge(&parsed(rest), IN_2030, Dates::Refused).unwrap_err();
    assert_eq!(
        (error.line(), error.column()),
        (Some(place.0), Some(place.1)),
        "{error}"
    );
    assert!(error.message().contains(message), "{error}");
    assert!(error.hint().unwrap().contains(hint), "{error}");
}

/// Messages with their lines.
fn warnings(parsed: &Parsed, now: u64, dates: Dates) -> Vec<(usize, String)> {
    let warnings = judge(parsed, now, dates).unwrap_or_else(|error| panic!("{error}"));
    let told = |warning: &crate::config::Warning| (warning.line().unwrap(), warning.message().to_owned());
    warnings.iter().map(told).collect()
}

#[test]
fn each_file_at_its_place() {
    let place = Place::new();
    let good = place.pair("good.pem", &["a.example"]).display().to_string();
    let none = place.path("none.pem").display().to_string();
    let key = place.write("other.key", KeyPair::generate().unwrap().serialize_pem());
    let (key, ca) = (key.display(), place.ca());
    let ca = ca.display();
    assert_eq!(
        warnings(
            &parsed(&format!("certificates = [\"{good}\"]")),
            IN_2030,
            Dates::Refused
        ),
        []
    );
    let column = good.len() + 20;
    refused(
        &format!("certificates = [\"{good}\", \"{none}\"]"),
        (8, column + 1),
        "there is no such file",
        "name another file",
    );
    let start = "certificates = [{ certificate = \"";
    refused(
        &format!("{start}{good}\", key = \"{key}\" }}]"),
        (8, start.len() + good.len() + 10),
        "other.key: the private key is not that of the certificate",
        "comes first",
    );
    let certificates = format!("certificates = [\"{good}\"]");
    refused(
        &format!("{certificates}\nclient-ca = \"{none}\""),
        (9, 13),
        "there is no such file",
        "put it there",
    );
    refused(
        &format!("{certificates}\n[service.upstream]\ntls = {{ ca = \"{key}\" }}"),
        (10, 14),
        "other.key: no certificate in it",
        "authorities",
    );
    refused(
        &format!(
            "{certificates}\n[[service.route]]\npool = \"api\"\n[[pool]]\nname = \"api\"\n[pool.upstream]\n\
             tls = {{ ca = \"{none}\" }}"
        ),
        (14, 14),
        "there is no such file",
        "put it there",
    );
    let all = format!("{certificates}\nclient-ca = \"{ca}\"\n[service.upstream]\ntls = {{ ca = \"{ca}\" }}");
    assert_eq!(warnings(&parsed(&all), IN_2030, Dates::Refused), []);
}

#[test]
fn what_has_ended_or_soon_will() {
    let place = Place::new();
    let key = KeyPair::generate().unwrap();
    let text = place.sign(&["a.example"], &key, |params| {
        params.not_after = date_time_ymd(2030, 1, 11);
    });
    let short = place.write("short.pem", text + &key.serialize_pem());
    let long = place.pair("long.pem", &["b.example"]);
    let parsed = parsed(&format!(
        "certificates = [\"{}\",\n\"{}\"]",
        long.display(),
        short.display()
    ));
    let day = 86_400;
    let soon = |days: &str| vec![(9, format!("{}: the certificate ends {days}", short.display()))];
    assert_eq!(warnings(&parsed, IN_2030 - 4 * day, Dates::Refused), []);
    assert_eq!(
        warnings(&parsed, IN_2030 - 4 * day + 1, Dates::Refused),
        soon("in 13 days")
    );
    assert_eq!(warnings(&parsed, IN_2030, Dates::Refused), soon("in 10 days"));
    let ended = IN_2030 + 12 * day;
    let error = judge(&parsed, ended, Dates::Refused).unwrap_err();
    assert_eq!((error.line(), error.hint()), (Some(9), Some("renew it")));
    assert!(
        error
            .message()
            .ends_with("short.pem: the certificate has expired, 1 day ago"),
        "{error}"
    );
    let told = warnings(&parsed, ended, Dates::Warned);
    assert!(told.len() == 1 && told[0].1.contains("has expired"), "{told:?}");
    let early = judge(&parsed, 0, Dates::Refused).unwrap_err();
    assert!(
        early.message().contains("is not valid yet") && early.hint().unwrap().contains("clock"),
        "{early}"
    );
}
