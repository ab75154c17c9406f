//! The log as a whole: what its users do, what its disk does to it, and what must be true afterwards.

mod appending;
mod checking;
mod crashing;
mod failing;
mod harness;
mod incarnating;
mod publishing;
mod querying;
mod vanishing;
