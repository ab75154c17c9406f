//! The crate as a whole, over a small plant built by hand.

mod after;
mod alike;
mod cases;
mod country;
mod delegation;
mod demands;
mod explain;
mod fail_closed;
mod gates;
mod index;
mod load;
mod matrix;
mod memo;
mod reference;
mod replay;
mod slices;
mod world;
