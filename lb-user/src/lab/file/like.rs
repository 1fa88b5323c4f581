//! Hosts that are as others.

use super::raw::{File, Machine};
use crate::config::{Checked, fault};

/// Gives each host that is like another what it says nothing of.
pub(super) fn resolve(mut file: File) -> Checked<File> {
    for number in 0..file.host.len() {
        let (before, rest) = file.host.split_at_mut(number);
        let Some(host) = rest.first_mut() else { continue };
        let Some(like) = &host.like else { continue };
        let known = before.iter().find(|known| **known.name.get_ref() == **like.get_ref());
        let Some(known) = known else {
            let names: Vec<&str> = before.iter().map(|known| &**known.name.get_ref()).collect();
            return Err(fault(
                like.span(),
                format!("there is no host {} further up", &**like.get_ref()),
            )
            .hint(format!("there are: {}", names.join(", "))));
        };
        take(host, known);
    }
    Ok(file)
}

fn take(host: &mut Machine, known: &Machine) {
    fn or<T: Clone>(own: &mut Vec<T>, known: &[T]) {
        if own.is_empty() {
            own.extend_from_slice(known);
        }
    }
    or(&mut host.loopback, &known.loopback);
    or(&mut host.route, &known.route);
    or(&mut host.file, &known.file);
    or(&mut host.run, &known.run);
    if host.sysctl.is_empty() {
        host.sysctl.clone_from(&known.sysctl);
    }
    if host.set.is_empty() {
        host.set.clone_from(&known.set);
    }
}
