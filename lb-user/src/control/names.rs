//! Finding a backend by what people call it.

use std::fmt;

use crate::model::{Backend, Config, MemberKey, Service};

/// Names that are listed at most.
const LISTED: usize = 8;

/// Characters of an unknown name that are repeated at most.
const REPEATED: usize = 64;

/// There is nothing of that name; `Display` names what is near, or what there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {what} {name:?}; {known}")]
pub struct Unknown {
    what: String,
    name: String,
    known: String,
}

/// The backend that `service` and `backend` name: by its name, or by its address.
///
/// # Errors
/// [`Unknown`]
pub fn find(config: &Config, service: &str, backend: &str) -> Result<MemberKey, Unknown> {
    let (service, backend) = look_up(config, service, backend)?;
    Ok(MemberKey {
        service: service.name.clone(),
        backend: backend.address,
    })
}

/// The service of this name that clients reach: pools are no such services.
///
/// # Errors
/// [`Unknown`]
pub fn clients<'a>(config: &'a Config, name: &str) -> Result<&'a Service, Unknown> {
    let mut services = config.services.iter().filter(|s| !s.is_pool());
    let names = services.clone().map(|s| &*s.name);
    services
        .find(|s| *s.name == *name)
        .ok_or_else(|| unknown("service", name, names))
}

/// For who has asked about a backend that has left the file meanwhile.
#[must_use]
pub fn gone(member: &MemberKey) -> Unknown {
    Unknown {
        what: "backend".to_owned(),
        name: format!("{}/{}", member.service, member.backend),
        known: "a reload has taken it away meanwhile".to_owned(),
    }
}

fn look_up<'a>(config: &'a Config, service: &str, backend: &str) -> Result<(&'a Service, &'a Backend), Unknown> {
    let services = || config.services.iter().map(|s| &*s.name);
    let found = config.services.iter().find(|s| *s.name == *service);
    let found = found.ok_or_else(|| unknown("service", service, services()))?;
    let names = || found.backends.iter().map(|b| &*b.name);
    let named = found.backends.iter().find(|b| *b.name == *backend);
    let addressed = || found.backends.iter().find(|b| b.address.to_string() == backend);
    let what = || format!("backend of {}:", found.name);
    let backend = named
        .or_else(addressed)
        .ok_or_else(|| unknown(&what(), backend, names()))?;
    Ok((found, backend))
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Unknown {
    let repeated: String = name.chars().take(REPEATED).collect();
    let distance = |known: &str| strsim::damerau_levenshtein(known, &repeated.to_lowercase());
    let nearest = known.clone().min_by_key(|known| distance(known));
    let near = nearest.filter(|known| distance(known) <= 1.max(known.len() / 3));
    Unknown {
        what: what.to_owned(),
        known: match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => List(known).to_string(),
        },
        name: repeated,
    }
}

/// The first few names, and how many more there are.
struct List<I>(I);

impl<'a, I: Iterator<Item = &'a str> + Clone> fmt::Display for List<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first: Vec<&str> = self.0.clone().take(LISTED).collect();
        if first.is_empty() {
            return f.write_str("there is none");
        }
        write!(f, "there is: {}", first.join(", "))?;
        match self.0.clone().count() - first.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(backends: u8) -> Config {
        let backend = |i| format!("[[service.backend]]\nname = \"node{i}\"\naddress = \"10.0.0.{i}:80\"\n");
        let toml = format!(
            "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"192.0.2.10:80\"\n\
             mode = \"dsr\"\n{}",
            (1..=backends).map(backend).collect::<String>()
        );
        crate::config::parse("test.toml", &toml).unwrap().config
    }

    fn refused(backends: u8, service: &str, backend: &str) -> String {
        find(&config(backends), service, backend).unwrap_err().to_string()
    }

    #[test]
    fn by_name_or_by_address() {
        let config = config(2);
        let second = find(&config, "web", "node2").unwrap();
        assert_eq!(second.backend, "10.0.0.2:80".parse().unwrap());
        assert_eq!(find(&config, "web", "10.0.0.2:80"), Ok(second));
    }

    #[test]
    fn what_is_unknown_is_answered_with_what_is_near() {
        assert_eq!(refused(2, "wbe", "x"), "no service \"wbe\"; did you mean `web`?");
        assert_eq!(refused(2, "database", "x"), "no service \"database\"; there is: web");
        assert_eq!(
            refused(2, "web", "nod2"),
            "no backend of web: \"nod2\"; did you mean `node2`?"
        );
        assert_eq!(
            refused(11, "web", "alpha\n"),
            "no backend of web: \"alpha\\n\"; there is: node1, node2, node3, node4, node5, node6, node7, node8 and 3 more"
        );
        assert_eq!(refused(0, "web", "x"), "no backend of web: \"x\"; there is none");
        assert!(refused(1, &"x".repeat(100_000), "x").len() < 200);
    }
}
