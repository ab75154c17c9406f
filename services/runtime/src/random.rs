//! Random bytes of the operating system's quality, from one generator.
//!
//! A request needs some forty of them (its id, a nonce, trace ids), and a call into the generator costs as much for four
//! bytes as for hundreds. [`fill`] therefore hands out a small buffer per thread. [`secret`] goes past the buffer: what
//! opens something must never have lain in memory beside what is published.

use aws_lc_rs::rand;
use std::cell::RefCell;

/// Twenty-odd requests' worth; little enough that refilling it never shows as latency.
const BUFFER_BYTES: usize = 1024;

struct Buffer {
    bytes: [u8; BUFFER_BYTES],
    used: usize,
}

thread_local! {
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer { bytes: [0; BUFFER_BYTES], used: BUFFER_BYTES }) };
}

/// Fills `out` with random bytes for identifiers and nonces.
///
/// Ends the process if the generator fails: a broker without randomness would repeat nonces.
pub fn fill(out: &mut [u8]) {
    if out.len() > BUFFER_BYTES / 2 {
        generate(out);
        return;
    }
    BUFFER.with_borrow_mut(|buffer| buffer.take(out));
}

/// `N` random bytes, as [`fill`] gives them.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}

/// `N` random bytes for a key or a password, straight from the generator.
pub fn secret<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    generate(&mut out);
    out
}

impl Buffer {
    /// Bytes that were handed out are overwritten here, so that a later read of this memory does not reveal them.
    fn take(&mut self, out: &mut [u8]) {
        if BUFFER_BYTES - self.used < out.len() {
            generate(&mut self.bytes);
            self.used = 0;
        }
        let end = self.used + out.len();
        if let Some(fresh) = self.bytes.get_mut(self.used..end) {
            out.copy_from_slice(fresh);
            fresh.fill(0);
        }
        self.used = end;
    }
}

/// AWS-LC ends the process itself when the operating system gives no entropy; an error from it is no less grave.
fn generate(out: &mut [u8]) {
    if rand::fill(out).is_err() {
        tracing::error!("the random generator failed; ending, because nonces would repeat");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn values_do_not_repeat_across_refills_and_threads() {
        let draw = || (0..500).map(|_| bytes::<16>()).collect::<Vec<_>>();
        let other = std::thread::spawn(draw);
        let mut seen: HashSet<[u8; 16]> = draw().into_iter().collect();
        seen.extend(other.join().unwrap());
        seen.insert(secret());
        assert_eq!(seen.len(), 1001);
        assert!(!seen.contains(&[0; 16]));
    }

    #[test]
    fn every_length_is_filled_to_its_last_byte() {
        for length in [1, 7, 511, 512, 513, 1024, 5000] {
            // Each position is non-zero in one of 64 draws unless it is never written: chance 2^-512 per byte.
            let mut union = vec![0; length];
            for _ in 0..64 {
                let mut drawn = vec![0; length];
                fill(&mut drawn);
                union.iter_mut().zip(&drawn).for_each(|(u, d)| *u |= d);
            }
            assert!(union.iter().all(|b| *b != 0), "{length}");
        }
    }

    #[test]
    fn what_was_handed_out_is_wiped() {
        let mut buffer = Buffer { bytes: [0; BUFFER_BYTES], used: BUFFER_BYTES };
        let mut out = [0; 32];
        buffer.take(&mut out);
        assert_ne!(out, [0; 32]);
        assert_eq!(buffer.bytes[..32], [0; 32]);
        assert_ne!(buffer.bytes[32..64], [0; 32]);
    }
}
