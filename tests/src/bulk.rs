//! Much data over one connection, of which every byte is compared at the other end with what was sent.
//!
//! That shows more than a digest would, and a comparison is as fast in a debug build as it is otherwise.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::LazyLock;
use std::thread;

use lb_user::net::Namespace;
use nix::libc;

const BLOCK: usize = 1 << 18;

/// No pattern: what is lost, doubled or out of order is somewhere else in it.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take((8 * BLOCK + 8) / 8).flatten().collect()
});

/// The bytes from `at` on, at most [`BLOCK`] and `rest` of them. Blocks begin at ever other places of the noise.
fn block(at: u64, rest: u64) -> &'static [u8] {
    let number = at / BLOCK as u64;
    let from = (number * 4099 % (7 * BLOCK as u64)) as usize;
    &NOISE[from..from + rest.min(BLOCK as u64) as usize]
}

const UP: u8 = b'u';
const DOWN: u8 = b'd';

/// Serves these addresses of a namespace until the test ends.
///
/// # Panics
/// When an address cannot be listened to.
pub fn serve(namespace: &Namespace, listen: &[SocketAddr]) {
    for address in listen {
        let bound = namespace
            .run_inside(|| TcpListener::bind(address))
            .expect("a namespace");
        let listener = bound.unwrap_or_else(|error| panic!("{address}: {error}"));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // Its client sees what becomes of it.
                thread::spawn(move || answer(stream));
            }
        });
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut request = [0; 9];
    stream.read_exact(&mut request)?;
    let length = u64::from_be_bytes(request[1..].try_into().map_err(io::Error::other)?);
    if request[0] == UP {
        receive(&mut stream, length)?;
        stream.write_all(&[UP])
    } else {
        send(&mut stream, length)
    }
}

fn send(stream: &mut TcpStream, length: u64) -> io::Result<()> {
    let mut at = 0;
    while at < length {
        let block = block(at, length - at);
        stream.write_all(block)?;
        at += block.len() as u64;
    }
    Ok(())
}

fn receive(stream: &mut TcpStream, length: u64) -> io::Result<()> {
    let (mut at, mut buffer) = (0, vec![0; BLOCK]);
    while at < length {
        let expected = block(at, length - at);
        let buffer = &mut buffer[..expected.len()];
        stream.read_exact(buffer)?;
        if buffer != expected {
            return Err(io::Error::other(format!("what begins at {at} is not what was sent")));
        }
        at += expected.len() as u64;
    }
    Ok(())
}

/// Uploads so many bytes, and downloads as many over another connection. Returns the path MTU that the upload has come to
/// know.
///
/// # Errors
/// When a connection fails, or something else arrives than was sent.
///
/// # Panics
/// When the namespace cannot be entered.
pub fn both_ways(client: &Namespace, server: SocketAddr, length: u64) -> io::Result<u32> {
    let ask = |what: u8| -> io::Result<TcpStream> {
        let mut stream = client.run_inside(|| TcpStream::connect(server)).expect("a namespace")?;
        stream.write_all(&[&[what][..], &length.to_be_bytes()].concat())?;
        Ok(stream)
    };
    let mut up = ask(UP)?;
    send(&mut up, length)?;
    up.read_exact(&mut [0])?;
    let mtu = path_mtu(&up, server.is_ipv4())?;
    let mut down = ask(DOWN)?;
    receive(&mut down, length)?;
    if down.read(&mut [0])? != 0 {
        return Err(io::Error::other("more has come than was sent"));
    }
    Ok(mtu)
}

/// What the kernel knows of the way to a connection's other end.
fn path_mtu(stream: &TcpStream, v4: bool) -> io::Result<u32> {
    let (level, name) = if v4 {
        (libc::IPPROTO_IP, libc::IP_MTU)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU)
    };
    let (mut value, mut size) = (0_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: both pointers are to what this call writes, and `size` says how much that is.
    let done = unsafe { libc::getsockopt(stream.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut size) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value.cast_unsigned())
}
