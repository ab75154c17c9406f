//! Attacks and mishaps with certificates, each by name.

mod attacks;
mod names;
mod pki;
mod reload;
