//! The greeting, and the login.

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::packet::{Boxed, Connection, Input};
use super::{Failure, error};
use crate::model::quoted;
use crate::model::{Hidden, MysqlLogin};

/// Flags of a client, and of what a server can.
const LONG_PASSWORD: u32 = 1;
const PROTOCOL_41: u32 = 1 << 9;
const TLS: u32 = 1 << 11;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;

/// Longest packet that this client wants, in bytes.
const MAX_PACKET: u32 = 1 << 24;

/// utf8, which every server has.
const CHARSET: u8 = 33;

/// Rounds of a login; real ones need three.
const MAX_ROUNDS: u32 = 8;

const NATIVE: &[u8] = b"mysql_native_password";
const CACHING_SHA2: &[u8] = b"caching_sha2_password";

/// Bytes of a salt.
const SALT: usize = 20;

/// What a server says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    salt: Vec<u8>,
    flags: u32,
    plugin: Vec<u8>,
}

impl Greeting {
    /// `None`: this is no greeting of a server that has 4.1's logins.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let mut input = Input(packet);
        if input.u8()? != 10 {
            return None;
        }
        let _version = input.text()?;
        let _thread = input.take(4)?;
        let mut salt = input.take(8)?.to_vec();
        let _filler = input.u8()?;
        let low = input.u16()?;
        let _charset_and_status = input.take(3)?;
        let flags = u32::from(input.u16()?) << 16 | u32::from(low);
        let length = usize::from(input.u8()?);
        let _reserved = input.take(10)?;
        let rest = input.take(length.saturating_sub(8).max(13))?;
        salt.extend_from_slice(rest.get(..SALT - 8)?);
        if flags & PROTOCOL_41 == 0 {
            return None;
        }
        let plugin = if flags & PLUGIN_AUTH == 0 {
            NATIVE
        } else {
            // Some servers forget the zero byte.
            input.text().unwrap_or(input.0)
        };
        let plugin = plugin.to_vec();
        Some(Self { salt, flags, plugin })
    }

    pub(super) fn offers_tls(&self) -> bool {
        self.flags & TLS != 0
    }

    /// How what this client sends begins.
    fn head(&self, more: u32) -> Vec<u8> {
        let flags = LONG_PASSWORD | PROTOCOL_41 | SECURE_CONNECTION | self.flags & PLUGIN_AUTH | more;
        let mut head = Vec::new();
        head.extend(flags.to_le_bytes());
        head.extend(MAX_PACKET.to_le_bytes());
        head.push(CHARSET);
        head.extend([0; 23]);
        head
    }
}

/// Asks to go on over TLS.
pub(super) fn tls_request(greeting: &Greeting) -> Vec<u8> {
    greeting.head(TLS)
}

/// Logs in by the way that the server names, or that it asks for after that.
pub(super) async fn log_in(
    server: &mut Connection<Boxed>,
    greeting: &Greeting,
    login: &MysqlLogin,
    password: &[u8],
) -> Result<(), super::super::Failure> {
    let encrypted = login.tls.is_some();
    // With a plugin that is not known here, the server may still ask for another one.
    let plugin = if proof(&greeting.plugin, &greeting.salt, password).is_some() {
        &greeting.plugin
    } else {
        NATIVE
    };
    let proved = proof(plugin, &greeting.salt, password).unwrap_or_default();
    let mut packet = greeting.head(if encrypted { TLS } else { 0 });
    packet.extend([login.user.as_bytes(), &[0, proved.len() as u8], &proved].concat());
    if greeting.flags & PLUGIN_AUTH != 0 {
        packet.extend([plugin, &[0]].concat());
    }
    server.write(&packet).await?;
    for _ in 0..MAX_ROUNDS {
        let packet = server.read().await?;
        match packet.as_slice() {
            [0x00, ..] => return Ok(()),
            [0xff, ..] => return Err(error(&packet).into()),
            [0xfe] => return Err(Failure::Plugin("mysql_old_password".to_owned()).into()),
            [0xfe, wanted @ ..] => {
                let mut input = Input(wanted);
                let plugin = input.text().ok_or(Failure::NotMysql)?;
                let salt = input.0.strip_suffix(&[0]).unwrap_or(input.0);
                let proved = proof(plugin, salt, password);
                let proved = proved.ok_or_else(|| Failure::Plugin(quoted(plugin, 64)))?;
                server.write(&proved).await?;
            }
            // The server knew the password from before; what it makes of it follows.
            [0x01, 0x03] => {}
            [0x01, 0x04] if encrypted => server.write(&Hidden([password, &[0]].concat()).0).await?,
            [0x01, 0x04] => return Err(Failure::NeedsTls.into()),
            _ => return Err(Failure::NotMysql.into()),
        }
    }
    Err(Failure::NotMysql.into())
}

/// What shows that the client knows the password, without saying it. `None`: not by this plugin.
fn proof(plugin: &[u8], salt: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    let proof: fn(&[u8], &[u8]) -> Vec<u8> = match plugin {
        NATIVE => native,
        CACHING_SHA2 => caching_sha2,
        _ => return None,
    };
    Some(if password.is_empty() {
        Vec::new()
    } else {
        proof(salt, password)
    })
}

/// SHA1(password) XOR SHA1(salt + SHA1(SHA1(password)))
fn native(salt: &[u8], password: &[u8]) -> Vec<u8> {
    let once = Sha1::digest(password);
    let twice = Sha1::digest(once);
    xor(&once, &Sha1::new().chain_update(salt).chain_update(twice).finalize())
}

/// SHA256(password) XOR SHA256(SHA256(SHA256(password)) + salt)
fn caching_sha2(salt: &[u8], password: &[u8]) -> Vec<u8> {
    let once = Sha256::digest(password);
    let twice = Sha256::digest(once);
    xor(&once, &Sha256::new().chain_update(twice).chain_update(salt).finalize())
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}
