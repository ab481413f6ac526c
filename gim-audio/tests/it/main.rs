//! The integration tests of `gim-audio`. One binary for all of them links once.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may its helpers")]

mod common;
mod corpus;
mod decode;
mod isolation;
mod loader;
mod losses;
mod mfcc;
mod parity;
mod schedules;
