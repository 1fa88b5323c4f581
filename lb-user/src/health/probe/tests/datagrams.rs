//! Datagrams, questions about names, and what comes back.

use tokio::net::UdpSocket;

use super::*;
use crate::model::{DnsProbe, RecordType, UdpProbe};

/// A backend that answers each datagram with what `answers` makes of it, one datagram each.
async fn answering(answers: fn(&[u8]) -> Vec<Vec<u8>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut asked = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut asked).await {
            for answer in answers(&asked[..length]) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    address
}

async fn said(kind: HealthKind, address: SocketAddr, timeout: Duration) -> Result<Answer, String> {
    let result = probe(&kind, address, timeout).await;
    result
        .map(|success| success.answer)
        .map_err(|failure| failure.to_string())
}

fn udp(expect_answer: bool, expect: &[u8]) -> HealthKind {
    HealthKind::Udp(Arc::new(UdpProbe {
        payload: b"ping".to_vec(),
        expect_answer,
        expect: expect.to_vec(),
    }))
}

/// A port where nobody listens.
async fn nobody() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap()
}

#[tokio::test]
async fn a_datagram_wants_an_answer() {
    let echo = answering(|asked| vec![[b"<", asked, b"\xff>"].concat()]).await;
    for expect in [b"".as_slice(), b"ping", b"<", b"g\xff>"] {
        assert_eq!(said(udp(true, expect), echo, LONG).await, Ok(Answer::Answered));
    }
    for expect in [b"pong".as_slice(), &[b'x'; 100]] {
        let unexpected = Err("the answer is not as expected".to_owned());
        assert_eq!(said(udp(true, expect), echo, LONG).await, unexpected);
    }
    let empty = answering(|_| vec![Vec::new()]).await;
    assert_eq!(
        said(udp(true, b""), empty, LONG).await,
        Ok(Answer::Answered),
        "an empty one is one"
    );
    let mute = answering(|_| Vec::new()).await;
    let late = Err("timed out after 100ms while waiting for the response".to_owned());
    assert_eq!(said(udp(true, b""), mute, SHORT).await, late);
}

#[tokio::test]
async fn silence_is_good_where_the_file_says_so_and_an_icmp_error_is_not() {
    let mute = answering(|_| Vec::new()).await;
    assert_eq!(said(udp(false, b""), mute, SHORT).await, Ok(Answer::Silent));
    let echo = answering(|asked| vec![asked.to_vec()]).await;
    assert_eq!(said(udp(false, b""), echo, LONG).await, Ok(Answer::Answered));
    for wanted in [true, false] {
        let unreachable = Err("port unreachable".to_owned());
        assert_eq!(said(udp(wanted, b""), nobody().await, LONG).await, unreachable);
    }
}

fn dns(expect_record: bool) -> HealthKind {
    HealthKind::Dns(Arc::new(DnsProbe {
        name: "www.example".to_owned(),
        record: RecordType::A,
        expect_record,
    }))
}

/// An answer with this code and no records.
fn coded(asked: &[u8], code: u8) -> Vec<u8> {
    let mut answer = asked.to_vec();
    answer[2] |= 0x80;
    answer[3] = code;
    answer
}

#[tokio::test]
async fn a_name_server_is_asked() {
    let good = answering(|asked| vec![coded(asked, 0)]).await;
    assert_eq!(said(dns(false), good, LONG).await, Ok(Answer::Resolved));
    let empty = Err("no A record in the answer".to_owned());
    assert_eq!(said(dns(true), good, LONG).await, empty);
    let with_record = answering(|asked| {
        let mut answer = coded(asked, 0);
        answer[7] = 1;
        answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01");
        vec![answer]
    });
    assert_eq!(said(dns(true), with_record.await, LONG).await, Ok(Answer::Resolved));
    let failing = answering(|asked| vec![coded(asked, 2)]).await;
    assert_eq!(
        said(dns(false), failing, LONG).await,
        Err("SERVFAIL, wanted NOERROR".to_owned())
    );
    assert_eq!(
        said(dns(false), nobody().await, LONG).await,
        Err("port unreachable".to_owned())
    );
}

#[tokio::test]
async fn what_answers_no_question_is_passed_over() {
    fn strays(asked: &[u8]) -> Vec<Vec<u8>> {
        let mut other_id = coded(asked, 5);
        other_id[0] ^= 1;
        let mut other_name = coded(asked, 5);
        other_name[14] = b'x';
        vec![asked.to_vec(), other_id, other_name, b"x".to_vec(), Vec::new()]
    }
    let noisy = answering(|asked| [strays(asked), vec![coded(asked, 0)]].concat()).await;
    assert_eq!(said(dns(false), noisy, LONG).await, Ok(Answer::Resolved));
    let useless = answering(strays).await;
    assert_eq!(
        said(dns(false), useless, MEDIUM).await,
        Err("no answer to the question".to_owned())
    );
}
