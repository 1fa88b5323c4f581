//! Against a server of our own that says what a test wants; a real one is in the package `lb-tests`.
//!
//! Past 500 lines: a server that speaks as it is told, and every way in which one may answer.

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::Failure as ProbeFailure;
use super::super::tests::{LONG, MEDIUM, SHORT, probe};
use super::*;
use crate::model::HealthKind;

const SALT: &[u8; 20] = b"12345678abcdefghijkl";
const PASSWORD: &str = "secret";

/// The greeting of a server with this way to log in.
fn hello(plugin: &str) -> Vec<u8> {
    let flags: u32 = 1 << 9 | 1 << 15 | 1 << 19;
    let mut packet = b"\x0a8.0.40\0\x07\0\0\0".to_vec();
    packet.extend(&SALT[..8]);
    packet.push(0);
    packet.extend((flags as u16).to_le_bytes());
    packet.extend([33, 2, 0]);
    packet.extend(((flags >> 16) as u16).to_le_bytes());
    packet.push(21);
    packet.extend([0; 10]);
    packet.extend(&SALT[8..]);
    packet.push(0);
    packet.extend(plugin.as_bytes());
    packet.push(0);
    packet
}

fn framed(sequence: u8, packet: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = (packet.len() as u32).to_le_bytes();
    [&[a, b, c, sequence], packet].concat()
}

/// The next packet that a client sends; empty when it leaves.
async fn heard(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 4];
    if stream.read_exact(&mut header).await.is_err() {
        return Vec::new();
    }
    let mut packet = vec![0; u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize];
    stream.read_exact(&mut packet).await.unwrap();
    packet
}

/// What a server says, step by step: each step after it has heard a packet, the first one at once. Numbers go on within
/// a step, and begin anew at 1 where a step answers a command.
struct Talk {
    steps: Vec<(u8, Vec<Vec<u8>>)>,
}

/// A server for one connection. Its task returns what the client has sent.
async fn server(talk: Talk) -> (SocketAddr, tokio::task::JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sent = Vec::new();
        for (sequence, packets) in talk.steps {
            for (sequence, packet) in (sequence..).zip(packets) {
                stream.write_all(&framed(sequence, &packet)).await.unwrap();
            }
            match heard(&mut stream).await {
                packet if packet.is_empty() => break,
                packet => sent.push(packet),
            }
            if sent.last().is_some_and(|packet| packet == &[COM_QUIT]) {
                break;
            }
        }
        sent
    });
    (address, task)
}

fn login(role: MysqlRole, max_lag: Option<Duration>, file: Option<&Path>) -> MysqlProbe {
    MysqlProbe {
        login: Some(MysqlLogin {
            user: "fulcrum".to_owned(),
            password_file: file.map(Path::to_owned),
            tls: None,
        }),
        role,
        max_lag,
        without_source: false,
    }
}

async fn said(check: &MysqlProbe, address: SocketAddr, timeout: Duration) -> Result<Answer, String> {
    let result = probe(&HealthKind::Mysql(Arc::new(check.clone())), address, timeout).await;
    result
        .map(|success| success.answer)
        .map_err(|failure| failure.to_string())
}

fn password_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
    file
}

const OK: &[u8] = b"\0\0\0\x02\0\0\0";
const END: &[u8] = b"\xfe\0\0\x02\0";

fn denied(code: u16, text: &str) -> Vec<u8> {
    [b"\xff", code.to_le_bytes().as_slice(), b"#28000", text.as_bytes()].concat()
}

/// The packets of an answer with these columns and rows.
fn table(columns: &[&str], rows: &[&[Option<&str>]]) -> Vec<Vec<u8>> {
    let counted = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let mut packets = vec![vec![columns.len() as u8]];
    for name in columns {
        let mut packet = [counted("def"), counted(""), counted(""), counted("")].concat();
        packet.extend(counted(name));
        packet.extend(counted(name));
        packet.extend([0x0c, 33, 0, 1, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
        packets.push(packet);
    }
    packets.push(END.to_vec());
    for row in rows {
        packets.push(row.iter().flat_map(|value| value.map_or(vec![0xfb], counted)).collect());
    }
    packets.push(END.to_vec());
    packets
}

#[tokio::test]
async fn a_greeting_is_enough_where_nobody_logs_in() {
    let check = MysqlProbe::default();
    for (packet, expected) in [
        (hello("mysql_native_password"), Ok(Answer::Greeted)),
        // Before a login there is no state in an error.
        (
            b"\xff\x10\x04Too many connections".to_vec(),
            Err("error 1040: Too many connections"),
        ),
        (
            b"\xff\x69\x04Host '10.0.0.1' is\nblocked".to_vec(),
            Err("error 1129: Host '10.0.0.1' is blocked"),
        ),
        (b"\xff".to_vec(), Err("not MySQL")),
        (b"\x09old".to_vec(), Err("not MySQL")),
        (b"\x0a8.0\0".to_vec(), Err("not MySQL")),
    ] {
        let (address, _server) = server(Talk {
            steps: vec![(0, vec![packet])],
        })
        .await;
        assert_eq!(said(&check, address, LONG).await, expected.map_err(str::to_owned));
    }
}

#[tokio::test]
async fn what_is_not_mysql_is_told_apart() {
    for (bytes, expected) in [
        (b"SSH-2.0-OpenSSH_9.6\r\n".as_slice(), "not MySQL"),
        (b"\0\0\0\0", "not MySQL"),
        (b"\xff\xff\xff\0", "the server's answer is too large"),
        (b"\x10\0\0\0\x0a", "connection closed in the middle"),
        (b"", "connection closed in the middle"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read(&mut [0]).await;
        });
        assert_eq!(
            said(&MysqlProbe::default(), address, LONG).await,
            Err(expected.to_owned())
        );
    }
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let late = Err("timed out after 100ms while waiting for the response".to_owned());
    assert_eq!(
        said(&MysqlProbe::default(), mute.local_addr().unwrap(), SHORT).await,
        late
    );
}

/// The reverse of a proof: SHA(SHA(password)), if it proves that. As a server checks it, knowing that alone.
fn proves<D: Digest>(proof: &[u8], salted: impl Fn(&[u8]) -> Vec<u8>) -> bool {
    let twice = D::digest(D::digest(PASSWORD));
    let once: Vec<u8> = proof.iter().zip(salted(&twice)).map(|(a, b)| a ^ b).collect();
    D::digest(once) == twice
}

fn is_native(proof: &[u8], salt: &[u8]) -> bool {
    proves::<Sha1>(proof, |twice| Sha1::digest([salt, twice].concat()).to_vec())
}

fn is_sha2(proof: &[u8], salt: &[u8]) -> bool {
    proves::<Sha256>(proof, |twice| Sha256::digest([twice, salt].concat()).to_vec())
}

/// The proof in a client's login.
fn proof_in(login: &[u8]) -> Vec<u8> {
    let mut input = Input(&login[32..]);
    assert_eq!(input.text(), Some(b"fulcrum".as_slice()));
    input.counted().unwrap().to_vec()
}

#[tokio::test]
async fn a_password_is_proved_and_never_said() {
    let file = password_file();
    let check = login(MysqlRole::Any, None, Some(file.path()));
    for (plugin, answers) in [
        ("mysql_native_password", vec![OK.to_vec()]),
        ("caching_sha2_password", vec![vec![1, 3], OK.to_vec()]),
    ] {
        let steps = vec![(0, vec![hello(plugin)]), (2, answers), (0, vec![])];
        let (address, server) = server(Talk { steps }).await;
        assert_eq!(said(&check, address, LONG).await, Ok(Answer::Serves(MysqlRole::Any)));
        let sent = server.await.unwrap();
        let proof = proof_in(&sent[0]);
        let proved = if plugin.starts_with("mysql") {
            is_native(&proof, SALT)
        } else {
            is_sha2(&proof, SALT)
        };
        assert!(proved, "{plugin}");
        assert!(sent[0].ends_with(&[plugin.as_bytes(), b"\0"].concat()));
        assert_eq!(sent[1], [COM_QUIT], "it takes leave");
        assert!(!sent.concat().windows(6).any(|part| part == PASSWORD.as_bytes()));
    }
}

#[tokio::test]
async fn the_server_may_want_another_way() {
    let file = password_file();
    let check = login(MysqlRole::Any, None, Some(file.path()));
    let salt = b"ABCDEFGHIJKLMNOPQRST";
    let switch = [b"\xfemysql_native_password\0".as_slice(), salt, b"\0"].concat();
    let steps = vec![
        (0, vec![hello("sha256_password")]),
        (2, vec![switch]),
        (4, vec![OK.to_vec()]),
    ];
    let (address, server_task) = server(Talk { steps }).await;
    assert_eq!(said(&check, address, LONG).await, Ok(Answer::Serves(MysqlRole::Any)));
    assert!(is_native(&server_task.await.unwrap()[1], salt));

    for (answer, expected) in [
        (
            b"\xfeclient_ed25519\0x".to_vec(),
            "the account logs in by \"client_ed25519\", which a probe cannot; mysql_native_password and \
             caching_sha2_password work",
        ),
        (
            vec![0xfe],
            "the account logs in by \"mysql_old_password\", which a probe cannot; mysql_native_password and \
             caching_sha2_password work",
        ),
        (
            vec![1, 4],
            "the server wants the password itself, and the connection is not encrypted: set tls = true, or use an \
             account with mysql_native_password",
        ),
        (
            denied(1045, "Access denied for user 'fulcrum'"),
            "error 1045: Access denied for user 'fulcrum'",
        ),
        (vec![7], "not MySQL"),
    ] {
        let steps = vec![(0, vec![hello("caching_sha2_password")]), (2, vec![answer])];
        let (address, server_task) = server(Talk { steps }).await;
        assert_eq!(said(&check, address, LONG).await, Err(expected.to_owned()));
        let sent = server_task.await.unwrap().concat();
        assert!(!sent.windows(6).any(|part| part == PASSWORD.as_bytes()));
    }
}

#[tokio::test]
async fn without_a_password_nothing_is_proved() {
    let steps = vec![(0, vec![hello("caching_sha2_password")]), (2, vec![OK.to_vec()])];
    let (address, server) = server(Talk { steps }).await;
    let check = login(MysqlRole::Any, None, None);
    assert_eq!(said(&check, address, LONG).await, Ok(Answer::Serves(MysqlRole::Any)));
    assert_eq!(proof_in(&server.await.unwrap()[0]), b"");
}

#[tokio::test]
async fn a_missing_password_is_this_nodes_fault() {
    let missing = login(MysqlRole::Any, None, Some(Path::new("/nowhere/password")));
    let failure = said(&missing, "127.0.0.1:9".parse().unwrap(), LONG).await.unwrap_err();
    assert!(
        failure.starts_with("this node could not probe: /nowhere/password: "),
        "{failure}"
    );
    let encrypted = MysqlProbe {
        login: Some(MysqlLogin {
            user: "fulcrum".to_owned(),
            password_file: None,
            tls: Some(crate::model::TlsCheck::default()),
        }),
        ..MysqlProbe::default()
    };
    let (address, _server) = server(Talk {
        steps: vec![(0, vec![hello("mysql_native_password")])],
    })
    .await;
    assert_eq!(
        said(&encrypted, address, LONG).await,
        Err("the server does not offer TLS".to_owned())
    );
}

/// A login, and then an answer to each question.
async fn asked(check: &MysqlProbe, answers: Vec<Vec<Vec<u8>>>) -> (Result<Answer, String>, Vec<String>) {
    let mut steps = vec![(0, vec![hello("mysql_native_password")]), (2, vec![OK.to_vec()])];
    steps.extend(answers.into_iter().map(|packets| (1, packets)));
    let (address, server) = server(Talk { steps }).await;
    let result = said(check, address, LONG).await;
    let text = |packet: &Vec<u8>| String::from_utf8_lossy(&packet[1..]).into_owned();
    (result, server.await.unwrap()[1..].iter().map(text).collect())
}

#[tokio::test]
async fn read_only_tells_the_role() {
    use MysqlRole::{Any, Primary, Replica};

    let read_only = |value| table(&["@@global.read_only"], &[&[value]]);
    for (wanted, value, expected) in [
        (Primary, Some("0"), Ok(Answer::Serves(Primary))),
        (Primary, Some("OFF"), Ok(Answer::Serves(Primary))),
        (Replica, Some("1"), Ok(Answer::Serves(Replica))),
        (Replica, Some("NO_LOCK"), Ok(Answer::Serves(Replica))),
        (Primary, Some("1"), Err("a replica (read_only is on), wanted a primary")),
        (
            Replica,
            Some("0"),
            Err("a primary (read_only is off), wanted a replica"),
        ),
        (Replica, None, Err("not MySQL")),
    ] {
        let (result, questions) = asked(&login(wanted, None, None), vec![read_only(value), vec![]]).await;
        assert_eq!(result, expected.map_err(str::to_owned));
        assert_eq!(questions[0], "SELECT @@global.read_only");
    }
    let (result, _) = asked(&login(Any, None, None), vec![vec![]]).await;
    assert_eq!(result, Ok(Answer::Serves(Any)), "nothing is asked");
    let refused = vec![denied(1227, "Access denied; you need")];
    let (result, _) = asked(&login(Primary, None, None), vec![refused]).await;
    assert_eq!(result, Err("error 1227: Access denied; you need".to_owned()));
}

#[tokio::test]
async fn a_replica_may_be_so_far_behind() {
    use MysqlRole::{Any, Replica};

    let most = Some(Duration::from_secs(5));
    let read_only = || table(&["@@global.read_only"], &[&[Some("1")]]);
    let behind = |rows: &[&[Option<&str>]]| table(&["Source_Host", "Seconds_Behind_Source"], rows);
    let row = |value| [Some("10.0.0.1"), value];
    for (status, expected) in [
        (behind(&[&row(Some("0"))]), Ok(Answer::Serves(Replica))),
        (behind(&[&row(Some("5"))]), Ok(Answer::Serves(Replica))),
        (
            behind(&[&row(Some("6"))]),
            Err("replication is 6s behind, 5s are allowed"),
        ),
        (
            behind(&[&row(Some("0")), &row(Some("90"))]),
            Err("replication is 90s behind, 5s are allowed"),
        ),
        (behind(&[&row(None)]), Err("replication is stopped")),
        (behind(&[&row(Some("0")), &row(None)]), Err("replication is stopped")),
        (behind(&[]), Err("not set up as a replica")),
        (behind(&[&row(Some("soon"))]), Err("not MySQL")),
        (table(&["x"], &[&[Some("1")]]), Err("not MySQL")),
    ] {
        let (result, questions) = asked(&login(Replica, most, None), vec![read_only(), status, vec![]]).await;
        assert_eq!(result, expected.map_err(str::to_owned));
        assert_eq!(questions[1], "SHOW REPLICA STATUS");
    }
    // An older server.
    let old = vec![denied(1064, "You have an error in your SQL syntax")];
    let status = table(&["Seconds_Behind_Master"], &[&[Some("7")]]);
    let (result, questions) = asked(&login(Any, most, None), vec![old, status]).await;
    assert_eq!(result, Err("replication is 7s behind, 5s are allowed".to_owned()));
    assert_eq!(questions, ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"]);
    // A primary is behind nobody; what was one, and takes no writes any more, is behind whoever does.
    for (value, expected) in [
        ("0", Ok(Answer::Serves(Any))),
        ("1", Err("not set up as a replica".to_owned())),
    ] {
        let read_only = table(&["@@global.read_only"], &[&[Some(value)]]);
        let (result, questions) = asked(&login(Any, most, None), vec![behind(&[]), read_only, vec![]]).await;
        assert_eq!(result, expected);
        assert_eq!(questions[..2], ["SHOW REPLICA STATUS", "SELECT @@global.read_only"]);
    }
    let refused = vec![denied(1227, "Access denied")];
    let (result, _) = asked(&login(Any, most, None), vec![refused]).await;
    assert_eq!(result, Err("error 1227: Access denied".to_owned()));
}

#[tokio::test]
async fn a_source_out_of_reach_takes_the_replica_along_unless_told_otherwise() {
    use MysqlRole::Any;

    let columns = ["Slave_IO_Running", "Slave_SQL_Running", "Seconds_Behind_Master"];
    let lost = Err("its source is out of reach");
    let stopped = Err("replication is stopped");
    let late = Err("replication is 9s behind, 5s are allowed");
    let good = Ok(Answer::Serves(Any));
    for (takes, does, behind, without, expected) in [
        ("Connecting", "Yes", None, false, lost),
        ("Connecting", "Yes", None, true, good),
        ("Preparing", "Yes", None, true, good),
        ("No", "Yes", None, true, stopped),
        ("Connecting", "No", None, true, stopped),
        ("Yes", "No", None, true, stopped),
        ("Yes", "Yes", Some("9"), true, late),
    ] {
        let check = MysqlProbe {
            without_source: without,
            ..login(Any, Some(Duration::from_secs(5)), None)
        };
        let status = table(&columns, &[&[Some(takes), Some(does), behind]]);
        let (result, _) = asked(&check, vec![status, vec![]]).await;
        assert_eq!(
            result,
            expected.map_err(str::to_owned),
            "{takes} {does} {behind:?} {without}"
        );
    }
}

/// A conversation up to the end of an answer, as a server sends it.
fn conversation(packets: &[(u8, Vec<u8>)]) -> Vec<u8> {
    packets
        .iter()
        .flat_map(|(sequence, packet)| framed(*sequence, packet))
        .collect()
}

/// Everything that a server says, at once and whatever it hears, and then nothing more.
fn spoken(bytes: &[u8]) -> Result<(), ProbeFailure> {
    let (client, mut server) = tokio::io::duplex(1 << 20);
    let check = login(MysqlRole::Replica, Some(Duration::from_secs(5)), None);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async move {
        server.write_all(bytes).await.unwrap();
        server.shutdown().await.unwrap();
        let mut connection = Connection::new(client);
        let greeting = greeting(&connection.read().await?)?;
        converse(
            &mut connection.boxed(),
            &greeting,
            check.login.as_ref().unwrap(),
            b"x",
            &check,
        )
        .await
    })
}

fn good() -> Vec<(u8, Vec<u8>)> {
    let numbered = |packets: Vec<Vec<u8>>| (1..).zip(packets);
    let mut packets = vec![(0, hello("mysql_native_password")), (2, OK.to_vec())];
    packets.extend(numbered(table(&["@@global.read_only"], &[&[Some("1")]])));
    packets.extend(numbered(table(&["Seconds_Behind_Master"], &[&[Some("0")]])));
    packets
}

#[test]
fn the_whole_conversation_at_once() {
    assert_eq!(spoken(&conversation(&good())), Ok(()));
}

proptest! {
    #[test]
    fn no_nonsense_breaks_a_conversation(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(spoken(&bytes).is_err());
        let mut input = Input(&bytes);
        while input.value().is_some() {}
        let _ = Greeting::parse(&bytes);
    }

    #[test]
    fn no_change_in_a_good_conversation_breaks_it(at: prop::sample::Index, byte: u8, cut: bool, packet: prop::sample::Index) {
        let mut packets = good();
        let changed = packet.index(packets.len());
        let place = at.index(packets[changed].1.len());
        packets[changed].1[place] = byte;
        let mut bytes = conversation(&packets);
        if cut {
            bytes.truncate(at.index(bytes.len()));
        }
        // It ends, one way or the other.
        let _ = spoken(&bytes);
    }
}

#[tokio::test]
async fn a_server_that_does_not_let_go_is_up_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(&framed(0, &hello("mysql_native_password")))
            .await
            .unwrap();
        heard(&mut stream).await;
        stream.write_all(&framed(2, OK)).await.unwrap();
        (heard(&mut stream).await, stream)
    });
    let check = login(MysqlRole::Any, None, None);
    assert_eq!(said(&check, address, MEDIUM).await, Ok(Answer::Serves(MysqlRole::Any)));
    let (farewell, _kept) = server.await.unwrap();
    assert_eq!(farewell, [COM_QUIT]);
}
