//! Services, as a configuration file has them.

use std::fmt::{self, Display, Write as _};

/// A service that is being written down. Its text is what it displays as.
#[derive(Clone, Debug)]
#[must_use]
pub struct Service {
    keys: String,
    /// `[service.nat]` and its like.
    tables: String,
    backends: String,
}

/// A file with these services, and not a line more than it needs.
#[must_use]
pub fn file(services: impl IntoIterator<Item = Service>) -> String {
    let head = "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n".to_owned();
    services
        .into_iter()
        .fold(head, |text, service| text + &service.to_string())
}

/// A service at these addresses.
pub fn service<A: Display>(name: &str, mode: &str, addresses: &[A]) -> Service {
    let addresses: Vec<_> = addresses.iter().map(A::to_string).collect();
    Service {
        keys: format!("[[service]]\nname = \"{name}\"\naddress = {addresses:?}\nmode = \"{mode}\"\n"),
        tables: String::new(),
        backends: String::new(),
    }
}

impl Service {
    /// With more keys, as the file writes them: lines, or one.
    pub fn with(mut self, keys: impl Display) -> Self {
        let _ = writeln!(self.keys, "{keys}");
        self
    }

    /// With a table, such as `nat`, and its keys.
    pub fn table(mut self, name: &str, keys: impl Display) -> Self {
        let _ = writeln!(self.tables, "[service.{name}]\n{keys}");
        self
    }

    /// With backends that nobody probes.
    pub fn unprobed(self) -> Self {
        self.table("health", "kind = \"none\"")
    }

    /// Over UDP, with backends that nobody probes.
    pub fn udp(self) -> Self {
        self.with("protocol = \"udp\"").unprobed()
    }

    /// With a backend.
    pub fn backend(self, address: impl Display) -> Self {
        self.backend_with(address, "")
    }

    /// With these backends.
    pub fn backends<A: Display>(self, addresses: impl IntoIterator<Item = A>) -> Self {
        addresses.into_iter().fold(self, Self::backend)
    }

    /// With a backend that has more keys.
    pub fn backend_with(mut self, address: impl Display, keys: impl Display) -> Self {
        let _ = writeln!(self.backends, "[[service.backend]]\naddress = \"{address}\"\n{keys}");
        self
    }
}

impl Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.keys)?;
        f.write_str(&self.tables)?;
        f.write_str(&self.backends)
    }
}
