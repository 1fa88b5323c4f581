//! A command whose exit code judges. It is killed with all that it has started when time is up.

use std::io;

use super::{Answer, Call, Phase};
use crate::model::ScriptProbe;

pub(super) async fn probe(check: &ScriptProbe, call: Call<'_>) -> Result<Answer, super::Failure> {
    let local = |error: io::Error| super::Failure::Local(format!("{}: {error}", check.program.display()));
    let address = call.address;
    let environment = [
        ("FULCRUM_SERVICE", call.target.member.service.to_string()),
        ("FULCRUM_BACKEND", call.target.name.to_string()),
        ("FULCRUM_ADDRESS", address.ip().to_string()),
        ("FULCRUM_PORT", address.port().to_string()),
    ];
    let mut process = call
        .means
        .programs
        .start(&check.program, check.arguments.clone(), environment)
        .map_err(local)?;
    let status = call
        .deadline
        .bound(Phase::Running, process.exit())
        .await?
        .map_err(local)?;
    match status.code() {
        Some(0) => return Ok(Answer::Exited),
        Some(code @ 2..=255) if check.dynamic_weight => return Ok(Answer::Weighs(code as u16 - 2)),
        _ => {}
    }
    let _ = call.deadline.bound(Phase::Running, process.last_words()).await;
    Err(process.failure(status).into())
}
