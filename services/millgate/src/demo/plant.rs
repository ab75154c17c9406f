//! The demo's plant: a historian that speaks enough of InfluxDB 1's HTTP API for the declared routes, and an MES.
//!
//! All data is made up from a seed: the same question has the same answer on every machine. Shapes follow the Catena-X
//! aspect models and historian exports; no value comes from a real plant.

mod historian;
mod mes;

use axum::Router;
use axum::routing::get;
use model::Clock;
use std::sync::Arc;

/// Both systems on one listener: their paths do not meet.
pub fn router(clock: Arc<dyn Clock>) -> Router {
    Router::new()
        .route("/query", get(historian::query))
        .route("/api/v1/serial-parts", get(mes::serial_parts))
        .route("/api/v1/batches", get(mes::batches))
        .route("/api/v1/quality-notifications", get(mes::quality_notifications))
        .route("/api/v1/process-parameters", get(mes::process_parameters))
        .with_state(clock)
}

/// A number in 0..1 that depends on nothing but its name and place (SplitMix64 over an FNV-1a hash).
fn chance(name: &str, place: i64) -> f64 {
    let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut z = fnv.wrapping_add(place.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = ((z ^ (z >> 31)) >> 11) as f64;
    fraction / 9_007_199_254_740_992.0
}

#[cfg(test)]
mod tests {
    use super::chance;

    #[test]
    fn chance_is_the_same_everywhere_and_spread_out() {
        assert_eq!(chance("a", 1).to_bits(), chance("a", 1).to_bits());
        let mean = (0..1000).map(|i| chance("force", i)).sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
