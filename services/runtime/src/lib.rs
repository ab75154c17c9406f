//! How a Millgate process lives: its configuration file, clock, randomness, telemetry, signals and health.
//!
//! What this crate does **not** do: it knows no request, no policy and no audit entry, opens no listener, and reads
//! nothing but `millgate.toml`. The three folders that the file names are other crates' to read.

pub mod clock;
pub mod config;
pub mod health;
pub mod metrics;
pub mod random;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
pub mod trace;

pub use clock::SystemClock;
pub use config::{Config, Problem};
pub use health::Readiness;
pub use shutdown::Shutdown;
pub use telemetry::Telemetry;
pub use trace::{RequestTrace, Tracer};
