//! The token of `[admin] token-file`: who sends it over TCP may do what the socket's owner may (RFC 6750).

use hyper::Request;
use hyper::header::AUTHORIZATION;
use subtle::ConstantTimeEq as _;

use crate::config::{ConfigError, Parsed, Secret, Subject, Warning};
use crate::model::Hidden;

/// Fewest characters of a token.
const SHORTEST: usize = 16;

/// Most bytes of its file.
const LARGEST: usize = 4096;

/// What stands before it in a request.
const SCHEME: &[u8] = b"Bearer ";

/// A secret. Neither shown nor logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(Hidden<Vec<u8>>);

/// What a request says of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing.
    Nothing,
    /// It has another one, or something else than a token.
    Wrong,
    /// It has it.
    Right,
}

impl Token {
    /// What `text` holds: 16 characters at least of ASCII without blanks; those around it do not count.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn new(text: &[u8]) -> Result<Self, String> {
        let token = text.trim_ascii();
        if let Some(byte) = token.iter().find(|byte| !byte.is_ascii_graphic()) {
            return Err(format!(
                "a token is of ASCII without blanks, and this holds the byte 0x{byte:02x}"
            ));
        }
        if token.len() < SHORTEST {
            return Err(format!(
                "a token has {SHORTEST} characters at least, and this has {}",
                token.len()
            ));
        }
        Ok(Self(Hidden(token.to_owned())))
    }

    /// Does the request have it? How long the answer takes says nothing of the token but its length.
    pub(super) fn shown<B>(&self, request: &Request<B>) -> Shown {
        let Some(value) = request.headers().get(AUTHORIZATION) else {
            return Shown::Nothing;
        };
        // The scheme's name may be written in any case (RFC 9110 §11.1).
        match value.as_bytes().split_at_checked(SCHEME.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) && bool::from(self.0.0.ct_eq(token)) => {
                Shown::Right
            }
            _ => Shown::Wrong,
        }
    }
}

/// Reads the token that a configuration names; `None` where it names none.
///
/// # Errors
/// When there is none to be read, at its place in the configuration.
pub fn read(parsed: &Parsed) -> Result<(Option<Token>, Option<Warning>), ConfigError> {
    let Some(path) = &parsed.config.admin.token_file else {
        return Ok((None, None));
    };
    let shown = path.display();
    let hint = format!("`head -c 32 /dev/urandom | base64 | (umask 077; cat > {shown})` makes one");
    let wrong = |what: String| parsed.error_at(&Subject::TokenFile, what, hint.clone());
    let secret = Secret::read(path, LARGEST).map_err(|error| wrong(format!("cannot read {shown}: {error}")))?;
    let token = Token::new(&secret.bytes.0).map_err(|why| wrong(format!("{shown}: {why}")))?;
    let warning = secret.warning(parsed, &Subject::TokenFile, path, "do what the token lets them");
    Ok((Some(token), warning))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn a_token_is_long_and_printable() {
        assert!(Token::new(format!(" {TOKEN}\n").as_bytes()) == Token::new(TOKEN.as_bytes()));
        for (wrong, why) in [
            ("", "has 0"),
            ("0123456789abcde", "has 15"),
            ("0123456789 abcdef", "0x20"),
            ("0123456789abcdéf", "0xc3"),
        ] {
            let said = Token::new(wrong.as_bytes()).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(
            format!("{:?}", Token::new(TOKEN.as_bytes()).unwrap()),
            "Token((hidden))"
        );
    }

    #[test]
    fn requests_have_it_or_have_not() {
        let token = Token::new(TOKEN.as_bytes()).unwrap();
        for (header, shown) in [
            (None, Shown::Nothing),
            (Some("Bearer 0123456789abcdef"), Shown::Right),
            (Some("bearer 0123456789abcdef"), Shown::Right),
            (Some("Bearer 0123456789abcdeF"), Shown::Wrong),
            (Some("Bearer 0123456789abcde"), Shown::Wrong),
            (Some("Bearer 0123456789abcdef0"), Shown::Wrong),
            (Some("Bearer"), Shown::Wrong),
            (Some("Basic 0123456789abcdef"), Shown::Wrong),
            (Some(""), Shown::Wrong),
        ] {
            let mut request = Request::get("/");
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            assert_eq!(token.shown(&request.body(()).unwrap()), shown, "{header:?}");
        }
    }

    #[test]
    fn the_file_is_judged_at_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let text = format!(
            "[node]\ninterfaces = [\"eth0\"]\n[admin]\ntoken-file = \"{}\"\n[[service]]\nname = \"web\"\n\
             address = [\"192.0.2.1:80\"]\nmode = \"dsr\"\n[[service.backend]]\naddress = \"10.0.0.1:80\"\n",
            path.display()
        );
        let parsed = crate::config::parse("fulcrum.toml", &text).unwrap();
        let refused = || read(&parsed).unwrap_err().to_string();
        assert!(
            refused().contains("fulcrum.toml:4:14") && refused().contains("urandom"),
            "{}",
            refused()
        );
        fs::create_dir(&path).unwrap();
        assert!(refused().contains("not a file"), "{}", refused());
        fs::remove_dir(&path).unwrap();
        fs::write(&path, [b'a'; 4097]).unwrap();
        assert!(refused().contains("more than 4096"), "{}", refused());
        fs::write(&path, "short").unwrap();
        assert!(refused().contains("16 characters"), "{}", refused());
        assert!(!refused().contains("short"), "what is in the file is not shown");
        fs::write(&path, TOKEN).unwrap();
        for (mode, warned) in [(0o644, true), (0o640, false), (0o600, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let (token, warning) = read(&parsed).unwrap();
            assert_eq!(
                (token, warning.is_some()),
                (Token::new(TOKEN.as_bytes()).ok(), warned),
                "{mode:o}"
            );
        }
    }
}
