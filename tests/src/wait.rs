//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// Generous, because machines of tests are slow; a condition that holds is seen at once.
const LIMIT: Duration = Duration::from_secs(30);

/// Polls `condition` until it gives a value.
///
/// # Errors
/// When it has not after half a minute.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        if let Some(value) = condition().await {
            return Ok(value);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("{what}: not within {LIMIT:?}")
}
