//! The crate as a whole, over a small plant built by hand.

mod after;
mod cases;
mod delegation;
mod fail_closed;
mod index;
mod load;
mod memo;
mod slices;
mod world;
