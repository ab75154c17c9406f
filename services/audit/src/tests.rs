//! The log as a whole: what its users do, what its disk does to it, and what must be true afterwards.

mod appending;
mod checking;
mod crashing;
mod erasing;
mod failing;
mod harness;
mod publishing;
mod querying;
mod vanishing;
