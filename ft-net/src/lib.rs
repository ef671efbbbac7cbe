//! The pair: replication protocol.
