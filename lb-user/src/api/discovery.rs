//! `GET /api/v1/sd`: backends as targets for Prometheus, so that what the file adds is monitored too (HTTP service
//! discovery of Prometheus).

use hyper::StatusCode;

use super::query::Discovery;
use super::types::{Problem, TargetGroup};
use crate::model::status::Status;

/// A group for each backend of the services that are wanted; those that have no address yet have none.
pub(super) fn groups(status: &Status, wanted: &Discovery) -> Result<Vec<TargetGroup>, Problem> {
    let of = |name: &str| status.services.iter().any(|service| *service.name == *name);
    if let Some(unknown) = wanted.services.iter().find(|name| !of(name)) {
        let problem = Problem::new(StatusCode::NOT_FOUND, format!("there is no service {unknown:?}"));
        return Err(Problem {
            parameter: Some("service".to_owned()),
            ..problem
        });
    }
    let is_wanted = |name: &str| wanted.services.is_empty() || wanted.services.iter().any(|one| one == name);
    let services = status.services.iter().filter(|service| is_wanted(&service.name));
    let groups = services.flat_map(|service| {
        service.backends.iter().map(move |backend| {
            let mut target = backend.address;
            target.set_port(wanted.port.unwrap_or(target.port()));
            let labels = [
                ("node", status.node.as_str()),
                ("service", &*service.name),
                ("mode", service.mode.label()),
                ("protocol", service.protocol.label()),
                ("backend", &*backend.name),
                ("state", backend.state.label()),
                ("role", backend.role.label()),
            ];
            TargetGroup {
                targets: vec![target.to_string()],
                labels: labels
                    .map(|(name, value)| (format!("__meta_fulcrum_{name}"), value.to_owned()))
                    .into(),
            }
        })
    });
    Ok(groups.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::query::discovery;
    use crate::api::tests::status;

    #[test]
    fn every_backend_is_a_target() {
        let ask = |query: &str| groups(&status(), &discovery(query).unwrap());
        let all = ask("").unwrap();
        assert_eq!(
            all.len(),
            status()
                .services
                .iter()
                .map(|service| service.backends.len())
                .sum::<usize>()
        );
        assert_eq!(all[0].targets, ["10.0.0.6:80"]);
        let label = |name: &str| all[0].labels[&format!("__meta_fulcrum_{name}")].clone();
        assert_eq!(
            ["node", "service", "backend", "mode", "protocol", "state", "role"].map(label),
            ["lb1", "web", "web1", "nat", "tcp", "active", "primary"].map(str::to_owned)
        );
        let web = ask("service=web&port=9100").unwrap();
        assert!(web.iter().all(|group| group.targets[0].ends_with(":9100")), "{web:?}");
        let unknown = ask("service=web&service=nosuch").unwrap_err();
        assert_eq!((unknown.status, unknown.parameter.as_deref()), (404, Some("service")));
    }

    #[test]
    fn what_is_asked_is_read_strictly() {
        for (query, parameter) in [
            ("port=0", "port"),
            ("port=65536", "port"),
            ("port=", "port"),
            ("port=1&port=2", "port"),
            ("service=%zz", "service"),
            ("backend=web1", "backend"),
        ] {
            assert_eq!(
                discovery(query).unwrap_err().parameter.as_deref(),
                Some(parameter),
                "{query}"
            );
        }
    }
}
