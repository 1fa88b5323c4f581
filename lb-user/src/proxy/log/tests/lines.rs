use super::*;
use crate::model::proxy::LogFormat;
use crate::proxy::log::{format, stamp::Stamp};

fn line(format: LogFormat, entry: &Entry<'_>) -> String {
    let mut line = Vec::new();
    format::write(format, entry, &mut Stamp::default(), &mut line);
    String::from_utf8(line).unwrap()
}

#[test]
fn common() {
    assert_eq!(
        line(LogFormat::Common, &full()),
        "192.0.2.7 - - [28/Nov/2026:14:48:40 +0000] \"GET /shop?q=a%20b HTTP/1.1\" 200 2326\n"
    );
    assert_eq!(
        line(LogFormat::Common, &empty()),
        "2001:db8::7 - - [01/Jan/1970:00:00:00 +0000] \"-\" - -\n"
    );
}

#[test]
fn combined() {
    assert_eq!(
        line(LogFormat::Combined, &full()),
        "192.0.2.7 - - [28/Nov/2026:14:48:40 +0000] \"GET /shop?q=a%20b HTTP/1.1\" 200 2326 \
         \"https://example.com/start\" \"curl/8.14.1\"\n"
    );
    assert_eq!(
        line(LogFormat::Combined, &empty()),
        "2001:db8::7 - - [01/Jan/1970:00:00:00 +0000] \"-\" - - \"-\" \"-\"\n"
    );
}

#[test]
fn json() {
    assert_eq!(
        line(LogFormat::Json, &full()),
        concat!(
            r#"{"time":"2026-11-28T14:48:40.250Z","client":"192.0.2.7","client_port":50000,"method":"GET","#,
            r#""target":"/shop?q=a%20b","version":"HTTP/1.1","host":"shop.example.com","status":200,"body_bytes":2326,"#,
            r#""received_bytes":180,"sent_bytes":2600,"referer":"https://example.com/start","user_agent":"curl/8.14.1","#,
            r#""request_id":"5f1c","service":"web","backend":"web1","backend_address":"10.0.0.6:80","retries":1,"fault":"no \"connection\"","#,
            r#""total_us":12345,"wait_us":40,"connect_us":300,"first_byte_us":9000,"tls_version":"TLSv1.3","#,
            r#""tls_cipher":"TLS_AES_128_GCM_SHA256","tls_server_name":"shop.example.com"}"#,
            "\n"
        )
    );
    assert_eq!(
        line(LogFormat::Json, &empty()),
        concat!(
            r#"{"time":"1970-01-01T00:00:00.000Z","client":"2001:db8::7","client_port":443,"method":null,"#,
            r#""target":null,"version":null,"host":null,"status":null,"body_bytes":0,"received_bytes":0,"sent_bytes":0,"#,
            r#""referer":null,"user_agent":null,"request_id":null,"service":"web","backend":null,"backend_address":null,"#,
            r#""retries":0,"fault":null,"total_us":0,"wait_us":null,"connect_us":null,"first_byte_us":null,"tls_version":null,"#,
            r#""tls_cipher":null,"tls_server_name":null}"#,
            "\n"
        )
    );
}

#[test]
fn nobody_forges_a_line() {
    let evil = b"a\"\n10.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 1\xff\\";
    let entry = Entry {
        request: Some(Request {
            method: b"GET",
            target: evil,
            version: Version::H2,
        }),
        referer: Some(evil),
        user_agent: Some(evil),
        host: Some(evil),
        request_id: Some(evil),
        client: "[::ffff:192.0.2.7]:1".parse().unwrap(),
        ..full()
    };
    let escaped = r#"a\"\n10.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 1\xff\\"#;
    assert_eq!(
        line(LogFormat::Combined, &entry),
        format!(
            "192.0.2.7 - - [28/Nov/2026:14:48:40 +0000] \"GET {escaped} HTTP/2.0\" 200 2326 \"{escaped}\" \"{escaped}\"\n"
        )
    );
    let json = line(LogFormat::Json, &entry);
    assert_eq!(json.matches('\n').count(), 1);
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    for name in ["target", "referer", "user_agent", "host", "request_id"] {
        assert_eq!(read[name], String::from_utf8_lossy(evil).as_ref());
    }
}
