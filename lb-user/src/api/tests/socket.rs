//! The socket as a file, and what a client says when it is not there.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect};

use super::*;

#[tokio::test]
async fn it_is_for_its_owner_in_a_folder_that_is_made() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run/fulcrum/api.sock");
    let socket = bind(&path).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let parent = fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(parent.permissions().mode() & 0o7022, 0, "nobody else writes there");
    drop(socket);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_folder_that_others_write_to_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("api.sock");
    let bound = |mode| {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        bind(&path)
    };
    let error = bound(0o757).unwrap_err();
    assert!(matches!(error, BindError::Open { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .ends_with(&format!("chmod go-w {}", folder.path().display())),
        "{error}"
    );
    // In a sticky one nobody takes another's socket away.
    assert!(bound(0o1777).is_ok() && bound(0o755).is_ok());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("api.sock");
    // The standard listener leaves its file behind, as a daemon that was killed does.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let socket = bind(&path).unwrap();

    let error = bind(&path).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!("another daemon already answers on {}", path.display())
    );
    assert!(UnixStream::connect(&path).await.is_ok(), "unharmed");
    drop(socket);
}

#[tokio::test]
async fn a_living_socket_with_a_full_backlog_is_not_stale() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("api.sock");
    let _socket = bind(&path).unwrap();
    let (address, mut waiting) = (UnixAddr::new(&path).unwrap(), Vec::new());
    loop {
        let fd =
            nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) => waiting.push(fd),
            Err(errno) => break assert_eq!(errno, nix::errno::Errno::EAGAIN),
        }
        assert!(waiting.len() < 10_000, "the backlog never fills");
    }
    let error = bind(&path).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
}

#[tokio::test]
async fn other_files_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "mine").unwrap();
    let error = bind(&path).unwrap_err();
    assert!(matches!(error, BindError::NotASocket { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");

    let error = bind(&path.join("api.sock")).unwrap_err();
    assert!(matches!(error, BindError::Io { action: "create", .. }), "{error:?}");
    let long = folder.path().join("x".repeat(120));
    let error = bind(&long).unwrap_err();
    assert!(matches!(error, BindError::Io { action: "bind", .. }), "{error:?}");
    assert!(!long.exists());
}

#[tokio::test]
async fn one_of_two_that_start_at_once_is_refused() {
    let folder = TempDir::new().unwrap();
    let other = fs::File::open(folder.path()).unwrap();
    other.lock().unwrap();
    let error = bind(&folder.path().join("api.sock")).unwrap_err();
    assert!(matches!(error, BindError::Starting { .. }), "{error:?}");
    // Not by closing it: what a neighbouring test forks just then has it open, too.
    other.unlock().unwrap();
    assert!(bind(&folder.path().join("api.sock")).is_ok());
}

#[tokio::test]
async fn the_socket_of_a_successor_survives_its_predecessor() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("api.sock");
    let first = bind(&path).unwrap();
    // Keeps the first one's inode number from being used again.
    fs::rename(&path, folder.path().join("moved.sock")).unwrap();
    let second = bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_client_says_that_nobody_answers() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("api.sock");
    let expected = format!(
        "no daemon answers on {}: is it running? start it with `fulcrum run -c FILE`",
        path.display()
    );
    let client = Client::new(&path);
    assert_eq!(client.status().await.unwrap_err().to_string(), expected, "no file");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert_eq!(client.status().await.unwrap_err().to_string(), expected, "a stale file");
}

#[tokio::test]
async fn a_client_survives_strange_servers() {
    let cases: &[(&'static [u8], &str)] = &[
        (b"", "broke"),
        (b"SSH-2.0-x\r\n", "broke"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "was not understood"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", "broke"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 2\r\n\r\nno", "was not understood"),
    ];
    for (answer, expected) in cases {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("api.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            stream.write_all(answer).await.unwrap();
        });
        let error = Client::new(&path).status().await.unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "{:?}: {error}",
            String::from_utf8_lossy(answer)
        );
        server.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_does_not_wait_for_ever() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("api.sock");
    let _listener = tokio::net::UnixListener::bind(&path).unwrap();
    let error = Client::new(&path).status().await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
}
