//! Questions as text, and their answers.

use std::time::Duration;

use super::packet::{Boxed, Connection, Input};
use super::{Failure, error};
use crate::model::MysqlRole;

const COM_QUERY: u8 = 3;

/// Most columns and rows that are read; a status of replication has some sixty, and a row for each source.
const MAX_COLUMNS: u64 = 512;
const MAX_ROWS: usize = 256;

/// A server's word for a syntax that it does not know.
const SYNTAX_ERROR: u16 = 1064;

/// Newer servers know the first statement only, older ones the second.
const REPLICATION: [&str; 2] = ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"];

/// What the column is called, in newer and in older servers.
const BEHIND: [&[u8]; 2] = [b"Seconds_Behind_Source", b"Seconds_Behind_Master"];

/// Whether it takes from its source, and whether it does what it has taken.
const TAKES: [&[u8]; 2] = [b"Replica_IO_Running", b"Slave_IO_Running"];
const DOES: [&[u8]; 2] = [b"Replica_SQL_Running", b"Slave_SQL_Running"];

/// An answer: names of the columns, and rows of values, which may be NULL.
#[derive(Debug, PartialEq, Eq)]
struct Rows {
    columns: Vec<Vec<u8>>,
    rows: Vec<Vec<Option<Vec<u8>>>>,
}

/// Primary or replica: does the server take writes of ordinary users?
pub(super) async fn role(server: &mut Connection<Boxed>) -> Result<MysqlRole, super::super::Failure> {
    let answer = ask(server, "SELECT @@global.read_only").await?;
    let value = answer.rows.first().and_then(|row| row.first()).cloned().flatten();
    // Newer servers have more than two values for it.
    match value.as_deref() {
        None => Err(Failure::NotMysql.into()),
        Some(b"0" | b"OFF") => Ok(MysqlRole::Primary),
        Some(_) => Ok(MysqlRole::Replica),
    }
}

/// How far the server is behind, of several sources behind the furthest; `None` where it replicates nothing. A source out
/// of reach, which may be dead, does not count `without_source`.
pub(super) async fn lag(
    server: &mut Connection<Boxed>,
    without_source: bool,
) -> Result<Option<Duration>, super::super::Failure> {
    use super::super::Failure as Probe;

    let [newer, older] = REPLICATION;
    let status = match ask(server, newer).await {
        Err(Probe::Mysql(Failure::Error { code: SYNTAX_ERROR, .. })) => ask(server, older).await?,
        answer => answer?,
    };
    Ok(furthest(&status, without_source)?)
}

fn furthest(status: &Rows, without_source: bool) -> Result<Option<Duration>, Failure> {
    let column = |names: [&[u8]; 2]| status.columns.iter().position(|name| names.contains(&name.as_slice()));
    let (behind, takes, does) = (column(BEHIND), column(TAKES), column(DOES));
    let mut furthest = None;
    for row in &status.rows {
        let value = row.get(behind.ok_or(Failure::NotMysql)?).ok_or(Failure::NotMysql)?;
        let word = |column: Option<usize>| row.get(column?)?.as_deref();
        let seconds = match value.as_deref() {
            Some(text) => str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
            // It tries to reach its source, again and again.
            None if word(does) == Some(b"Yes") && word(takes).is_some_and(|word| word != b"No") => {
                Some(without_source.then_some(0).ok_or(Failure::NoSource)?)
            }
            None => return Err(Failure::Stopped),
        };
        furthest = furthest.max(Some(Duration::from_secs(seconds.ok_or(Failure::NotMysql)?)));
    }
    Ok(furthest)
}

async fn ask(server: &mut Connection<Boxed>, statement: &str) -> Result<Rows, super::super::Failure> {
    server.command(COM_QUERY, statement.as_bytes()).await?;
    let head = server.read().await?;
    if head[0] == 0xff {
        return Err(error(&head).into());
    }
    let count = Input(&head).length().filter(|count| (1..=MAX_COLUMNS).contains(count));
    let count = count.ok_or(Failure::NotMysql)?;
    let mut columns = Vec::new();
    for _ in 0..count {
        columns.push(column(&server.read().await?).ok_or(Failure::NotMysql)?);
    }
    if !is_end(&server.read().await?) {
        return Err(Failure::NotMysql.into());
    }
    let mut rows = Vec::new();
    loop {
        let packet = server.read().await?;
        if is_end(&packet) {
            return Ok(Rows { columns, rows });
        }
        if packet[0] == 0xff {
            return Err(error(&packet).into());
        }
        if rows.len() == MAX_ROWS {
            return Err(Failure::TooLarge.into());
        }
        rows.push(row(&packet, columns.len()).ok_or(Failure::NotMysql)?);
    }
}

/// The name in a column's definition, behind those of catalog, schema and table, twice.
fn column(packet: &[u8]) -> Option<Vec<u8>> {
    let mut input = Input(packet);
    for _ in 0..4 {
        input.counted()?;
    }
    input.counted().map(<[u8]>::to_vec)
}

fn row(packet: &[u8], columns: usize) -> Option<Vec<Option<Vec<u8>>>> {
    let mut input = Input(packet);
    (0..columns)
        .map(|_| input.value().map(|value| value.map(<[u8]>::to_vec)))
        .collect()
}

/// The packet that ends a list. A row that begins with the same byte is longer.
fn is_end(packet: &[u8]) -> bool {
    packet[0] == 0xfe && packet.len() < 9
}
