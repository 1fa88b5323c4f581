//! The L7 proxy: HTTP between clients and backends.

pub mod tls;
