//! Tracing over the API.

use lb_common::id::MemberId;
use lb_common::ring::Slot;
use lb_common::service::{Choice, Decision, Mode as Way};
use lb_common::trace::{CAPTURED, Sample};

use super::*;
use crate::api::types::TraceRequest;
use crate::control::TraceRefused;
use crate::model::trace::{Filter, Traced};

/// The trace that there is.
pub(super) const ID: u64 = 0xfeed;

pub(super) fn begin(filter: &Filter) -> Result<u64, TraceRefused> {
    match filter.service.as_deref() {
        Some("busy") => Err(TraceRefused::Busy),
        Some("nobody") => Err(TraceRefused::Unknown("nobody".to_owned())),
        _ => Ok(ID),
    }
}

pub(super) fn traced(id: u64) -> Option<Vec<Traced>> {
    let mut frame = [0; CAPTURED];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14..34].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 198, 51, 100, 7, 192, 0, 2, 10]);
    frame[34..38].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    frame[46..48].copy_from_slice(&[0x50, 0x02]);
    let packet = Traced {
        at: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_042),
        interface: Some("eth0".to_owned()),
        service: Some("web".into()),
        backend: Some("web1".into()),
        sample: Sample {
            time: 1,
            service: Decision::service(Way::Dsr, Choice::Tuple, 1, 6, 16),
            member: MemberId(17),
            slot: Slot(1),
            index: 812,
            interface: 2,
            bytes: 60,
            captured: 54,
            action: 3,
            reason: 0,
            skipped: 4,
            observed: DropReason::PacketRate as u32,
            frame,
        },
    };
    (id == ID).then(|| vec![packet])
}

#[tokio::test]
async fn a_trace_is_begun_read_and_ended() {
    let server = Server::start();
    let client = server.client();
    let wanted = TraceRequest {
        service: Some("web".to_owned()),
        source: Some("198.51.100.0/24".to_owned()),
        reasons: vec!["undeclared".to_owned(), "syn_cookie".to_owned()],
        ..TraceRequest::default()
    };
    let trace = client.trace(&wanted).await.unwrap();
    let packets = client.traced(&trace).await.unwrap().packets;
    let json = serde_json::to_string(&packets).unwrap();
    let expected = concat!(
        r#"[{"time_us":1700000000000042,"interface":"eth0","verdict":"transmitted","reason":null,"observed":"packet_rate","service":"web","#,
        r#""backend":"web1","slot":{"index":812,"state":"stable"},"protocol":"tcp","source":"198.51.100.7:40000","#,
        r#""destination":"192.0.2.10:80","tcp_flags":"S","fragment":false,"length":60,"skipped":4,"frame":""#,
        "000000000000000000000000080045000028000000004006",
        "0000c6336407c000020a9c400050000000000000000050020000000000",
        "00\"}]"
    );
    assert_eq!(json, expected);
    client.end_trace(&trace).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_traced_is_refused() {
    let server = Server::start();
    let client = server.client();
    let refused = |wanted: TraceRequest| {
        let client = client.clone();
        async move {
            let Err(ClientError::Refused(problem)) = client.trace(&wanted).await else {
                panic!("it was not refused: {wanted:?}");
            };
            (
                problem.status,
                problem.field.as_deref().map(str::to_owned),
                problem.detail,
            )
        }
    };
    let wanted = TraceRequest::default;
    let of = |service: &str| TraceRequest {
        service: Some(service.to_owned()),
        ..wanted()
    };
    assert_eq!(refused(of("busy")).await.0, 409);
    assert_eq!(refused(of("nobody")).await.1.as_deref(), Some("service"));
    let source = TraceRequest {
        source: Some("10.0.0.0/33".to_owned()),
        ..wanted()
    };
    assert_eq!(refused(source).await.1.as_deref(), Some("source"));
    for rate in [0, 20_001] {
        let rate = TraceRequest {
            rate: Some(rate),
            ..wanted()
        };
        assert_eq!(refused(rate).await.1.as_deref(), Some("rate"));
    }
    let reason = TraceRequest {
        reasons: vec!["bad_luck".to_owned()],
        ..wanted()
    };
    let (status, field, detail) = refused(reason).await;
    assert!(
        status == 422 && field.as_deref() == Some("reasons") && detail.contains("no_backend"),
        "{detail}"
    );
    let over = crate::api::types::TraceStarted { trace: "1".to_owned() };
    let Err(ClientError::Refused(problem)) = client.traced(&over).await else {
        panic!("there is no such trace");
    };
    assert_eq!(problem.status, 404);
}
