//! What Millgate speaks over gRPC, made from the `.proto` files beside this crate's sources.
//!
//! The generated code is committed, so that neither a build nor a user needs a compiler of such files. `tests/generated.rs`
//! makes it again and compares. What the messages mean to the broker stands in `broker/src/api/grpc.rs`.

/// `millgate.audit.v1`: the audit log.
pub mod audit {
    pub mod v1 {
        include!("generated/millgate.audit.v1.rs");
    }
}
