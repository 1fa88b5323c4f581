//! What may be typed about certificates.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args as ClapArgs, Subcommand};

use crate::cli::args::Asked;
use crate::model::acme::REASONS;

#[derive(Subcommand, Debug)]
pub(in crate::cli) enum Certificate {
    /// Show them: what serves, until when, and what became of the last try
    List(Asked),
    /// Order another one now, and wait for it
    ///
    /// The last one serves until it is there, and goes on if it does not come.
    Renew(CertificateRenew),
    /// Take a certificate back at its authority, and order another one
    ///
    /// Until that is there, the one that was taken back serves: clients that look will not believe it.
    Revoke(CertificateRevoke),
    /// Serve a certificate that certbot, HAProxy or somebody else has, and renew it from then on
    Import(CertificateImport),
}

#[derive(ClapArgs, Debug)]
pub(in crate::cli) struct CertificateRenew {
    /// Whose it is
    pub(in crate::cli) service: String,
    /// Give the account with its authority another key instead, as when the old one may be known to others
    #[arg(long)]
    pub(in crate::cli) account_key: bool,
    #[command(flatten)]
    pub(in crate::cli) asked: Asked,
}

#[derive(ClapArgs, Debug)]
pub(in crate::cli) struct CertificateRevoke {
    /// Whose it is
    pub(in crate::cli) service: String,
    /// Why, for the authority (RFC 5280)
    #[arg(long, value_name = "REASON", default_value = "unspecified", value_parser = PossibleValuesParser::new(REASONS.map(|(word, _)| word)))]
    pub(in crate::cli) reason: String,
    #[command(flatten)]
    pub(in crate::cli) asked: Asked,
}

#[derive(ClapArgs, Debug)]
pub(in crate::cli) struct CertificateImport {
    /// Whose it shall be
    pub(in crate::cli) service: String,
    /// certbot's folder (/etc/letsencrypt), or one of its live folders; HAProxy's file with certificate and key, with its key
    /// in FILE.key, or its folder of such files; any PEM file
    pub(in crate::cli) from: PathBuf,
    /// The key, where it is in a file of its own
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) key: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) asked: Asked,
}
