//! The configuration: any text is accepted or refused with its place, and what is accepted reads back the same.
//!
//! An input is a file. One that is not UTF-8 is read with what replaces the bytes that are not.

#[path = "../../lb-user/src/config/tests/written.rs"]
mod written;

use lb_user::config::parse_with;

/// Panics when a text is not dealt with as it should.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = |text: &str| parse_with("fuzz.toml", text, || "host".to_owned());
    match read(&text) {
        Ok(parsed) => {
            for warning in &parsed.warnings {
                assert!(
                    !warning.to_string().is_empty() && !warning.message().contains('\n'),
                    "{warning}"
                );
            }
            assert!(read(&text).is_ok_and(|again| again.config == parsed.config));
            let text = written::config(&parsed.config);
            match read(&text) {
                Ok(again) => assert_eq!(again.config, parsed.config, "{text}"),
                Err(error) => panic!("what was accepted is refused: {error}"),
            }
        }
        Err(error) => {
            let (Some(line), Some(column)) = (error.line(), error.column()) else {
                panic!("no place: {error}");
            };
            assert!(line >= 1 && column >= 1 && line <= text.split('\n').count(), "{error}");
            assert!(!error.message().contains('\n'), "{error}");
            assert!(error.to_string().len() < 4_000, "{error}");
            assert!(!error.render(true).is_empty() && error.origin() == "fuzz.toml");
        }
    }
}
