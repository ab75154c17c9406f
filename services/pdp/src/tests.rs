//! The crate as a whole, over a small plant built by hand.

mod cases;
mod delegation;
mod fail_closed;
mod load;
mod memo;
mod replay;
mod slices;
mod world;
