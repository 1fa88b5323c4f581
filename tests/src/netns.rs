//! Network namespaces of a test: gone when it ends, also when it panics; and when it is killed, at the next run.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

use lb_user::net::Namespace;

use crate::leftovers;

/// A fresh namespace, deleted on drop. Its name begins with `ft-` and holds the test process's id, so tests do not
/// meet, and leftovers of a killed run can be told.
#[derive(Debug)]
pub struct TestNamespace {
    name: String,
    namespace: Namespace,
}

impl TestNamespace {
    /// Makes one; `label` is a part of its name, for people.
    ///
    /// # Panics
    /// When that fails.
    pub fn new(label: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        leftovers::sweep_once();
        let name = leftovers::namespace_name(&format!("{}-{label}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let namespace = Namespace::create(&name).unwrap_or_else(|error| panic!("{error:?}"));
        Self { name, namespace }
    }

    /// Its name in /run/netns.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Deref for TestNamespace {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        if let Err(error) = Namespace::delete(&self.name) {
            eprintln!("namespace {} stays behind: {error:?}", self.name);
        }
    }
}
