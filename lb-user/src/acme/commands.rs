//! What commands ask for: another certificate, another key of the account, one that is taken back, one that comes from another
//! client.

use std::sync::Arc;

use super::entry::Entry;
use super::leaf::Leaf;
use super::order::reason;
use super::{Done, Engine, now, usable};
use crate::control::CertificateRequest;
use crate::control::certificates::{CertificateRefused, Reply};
use crate::model::acme::{Failure, Issued};
use crate::model::{Hidden, date};

impl Engine {
    /// Does what a command wants, or says why not.
    pub(super) fn command(&mut self, request: CertificateRequest) {
        let service: Arc<str> = match &request {
            CertificateRequest::Renew { service, .. }
            | CertificateRequest::Revoke { service, .. }
            | CertificateRequest::Import { service, .. } => service.as_str().into(),
        };
        if !self.entries.contains_key(&service) {
            let known = self.entries.keys().cloned().collect();
            return refuse(
                request.into_reply(),
                CertificateRefused::Unknown {
                    name: service.to_string(),
                    known,
                },
            );
        }
        match request {
            CertificateRequest::Import { pem, reply, .. } => self.import(&service, pem, reply),
            CertificateRequest::Renew { account_key, reply, .. } => {
                if let Some(reply) = self.here(&service, reply) {
                    self.renew(&service, account_key, reply);
                }
            }
            CertificateRequest::Revoke { reason, reply, .. } => {
                if let Some(reply) = self.here(&service, reply) {
                    self.revoke(&service, reason, reply);
                }
            }
        }
    }

    /// Refuses what another node has to do.
    fn here(&self, service: &Arc<str>, reply: Reply) -> Option<Reply> {
        let elsewhere = self.entries.get(service).is_some_and(Entry::is_elsewhere);
        if elsewhere || !self.leads(service) {
            refuse(reply, CertificateRefused::Elsewhere(service.to_string()));
            return None;
        }
        Some(reply)
    }

    fn renew(&mut self, service: &Arc<str>, account_key: bool, reply: Reply) {
        let now = now();
        let task = self.task(service);
        let (Some(entry), Some(task)) = (self.entries.get_mut(service), task) else {
            return;
        };
        if let Some(until) = entry.waits_until(now) {
            let until = date::rfc3339(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(until));
            return refuse(reply, CertificateRefused::Early(until));
        }
        if !account_key {
            entry.force();
            // What becomes of it is in the status: that may take minutes.
            let _ = reply.send(Ok(entry.status(service)));
            return;
        }
        if entry.is_taken() {
            return refuse(reply, CertificateRefused::Busy(service.to_string()));
        }
        let service = Arc::clone(service);
        entry.obeys();
        self.tasks.spawn(async move {
            let rolled = task.roll_over().await;
            Done::RolledOver(service, rolled, reply)
        });
    }

    fn revoke(&mut self, service: &Arc<str>, code: u8, reply: Reply) {
        let task = self.task(service);
        let (Some(entry), Some(task)) = (self.entries.get_mut(service), task) else {
            return;
        };
        let Some(leaf) = entry.leaf().cloned() else {
            return refuse(reply, CertificateRefused::None(service.to_string()));
        };
        if entry.is_taken() {
            return refuse(reply, CertificateRefused::Busy(service.to_string()));
        }
        let service = Arc::clone(service);
        entry.obeys();
        self.tasks.spawn(async move {
            let revoked = task.revoke(&leaf, reason(code)).await;
            Done::Revoked(service, leaf, revoked, reply)
        });
    }

    /// It was taken back, or could not be.
    pub(super) fn revoked(&mut self, service: &Arc<str>, leaf: &Leaf, revoked: Result<(), Failure>, reply: Reply) {
        self.answered(service);
        let Some(entry) = self.entries.get_mut(service) else {
            return;
        };
        match revoked {
            Ok(()) => {
                tracing::warn!(%service, "a certificate was taken back; another one is ordered");
                entry.revoked(leaf);
                let status = entry.status(service);
                self.keep_attempts(service);
                // Whoever has gone away sees it in the status.
                let _ = reply.send(Ok(status));
            }
            Err(failure) => refuse(reply, CertificateRefused::Failed(failure)),
        }
    }

    /// The account has another key, or not.
    pub(super) fn rolled_over(&mut self, service: &Arc<str>, rolled: Result<(), Failure>, reply: Reply) {
        self.answered(service);
        let Some(entry) = self.entries.get(service) else { return };
        match rolled {
            Ok(()) => {
                tracing::info!(%service, "the account has another key");
                // Whoever has gone away sees it in the log.
                let _ = reply.send(Ok(entry.status(service)));
            }
            Err(failure) => refuse(reply, CertificateRefused::Failed(failure)),
        }
    }

    fn answered(&mut self, service: &Arc<str>) {
        if let Some(entry) = self.entries.get_mut(service) {
            entry.answered();
        }
    }

    fn import(&mut self, service: &Arc<str>, pem: Hidden<Vec<u8>>, reply: Reply) {
        let Some(entry) = self.entries.get_mut(service) else {
            return;
        };
        let issued = Issued {
            pem: Arc::new(pem),
            file: entry.store.certificate_file(service).into(),
        };
        let leaf = match usable(&issued) {
            Ok(leaf) => leaf,
            Err(reason) => return refuse(reply, CertificateRefused::Unfit(reason)),
        };
        if let Some(reason) = entry.refuses(&leaf, now()) {
            return refuse(reply, CertificateRefused::Unfit(reason));
        }
        entry.put(issued, leaf);
        tracing::info!(%service, "a certificate was imported");
        // Whoever has gone away sees it in the status.
        let _ = reply.send(Ok(entry.status(service)));
        self.keep_attempts(service);
        self.publish();
        self.look();
    }
}

fn refuse(reply: Reply, refused: CertificateRefused) {
    // Whoever has gone away does not need to know.
    let _ = reply.send(Err(refused));
}
