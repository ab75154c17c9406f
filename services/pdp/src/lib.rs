//! pdp
