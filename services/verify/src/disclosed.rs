//! Values that somebody shows of an entry: [`model::disclosed`], which the check of a store shares.

pub use model::disclosed::{Disclosed, Salts, Verdict, compare};
