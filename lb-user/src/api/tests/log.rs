//! What is logged, asked and set.

use std::sync::{Arc, Mutex};

use super::super::types::LogLevels;
use super::*;
use crate::control::Levels;

#[derive(Debug)]
struct Switch(Mutex<String>);

impl Levels for Switch {
    fn get(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    fn set(&self, levels: &str) -> Result<(), String> {
        if levels == "loud" {
            return Err("there is no level `loud`".to_owned());
        }
        levels.clone_into(&mut self.0.lock().unwrap());
        Ok(())
    }
}

fn start() -> Server {
    let (node, _, _) = Handle::new(1);
    Server::with(node.with_levels(Arc::new(Switch(Mutex::new("info".to_owned())))))
}

fn levels(levels: &str) -> LogLevels {
    LogLevels {
        levels: levels.to_owned(),
    }
}

#[tokio::test]
async fn levels_are_shown_and_set() {
    let server = start();
    let client = server.client();
    assert_eq!(client.log_levels().await.unwrap(), levels("info"));
    let wanted = levels(" warn,lb_user::health=debug ");
    let set = levels("warn,lb_user::health=debug");
    assert_eq!(client.set_log_levels(&wanted).await.unwrap(), set);
    assert_eq!(client.log_levels().await.unwrap(), set);
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let server = start();
    let client = server.client();
    let Err(ClientError::Refused(problem)) = client.set_log_levels(&levels("loud")).await else {
        panic!("loud is no level");
    };
    assert_eq!((problem.status, problem.field.as_deref()), (422, Some("levels")));
    for body in [r#"{"levels": 1}"#, r#"{"level": "info"}"#, "{}", "info", ""] {
        let length = body.len();
        let request = format!(
            "POST /api/v1/log-level HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let (head, answer) = server.raw(&request).await;
        assert!(head.starts_with("HTTP/1.1 422"), "{body}: {head}\n{answer}");
    }
    assert_eq!(client.log_levels().await.unwrap(), levels("info"));
}

#[tokio::test]
async fn a_process_without_a_log_says_so() {
    let server = Server::start();
    let client = server.client();
    assert_eq!(client.log_levels().await.unwrap(), levels("off"));
    let refused = client.set_log_levels(&levels("info")).await.unwrap_err();
    assert_eq!(refused.to_string(), "this process writes no log");
}
