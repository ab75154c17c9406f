//! Attacks and mishaps, each by name, against real issuers on 127.0.0.1.

mod attacks;
mod bindings;
mod delegation;
mod headers;
mod idp;
mod introspector;
mod issuers;
mod key_files;
mod key_places;
mod key_sets;
mod mapping;
mod opaque;
mod outages;
mod proofs;
mod properties;
mod remembered;
mod stand;
mod tls;
mod told;
