//! The integration tests of `gim-vision`. One binary for all of them links once.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may its helpers")]

mod common;
mod corpus;
mod credit;
mod encoders;
mod gradients;
mod isolation;
mod loader;
mod losses;
mod parity;
mod schedules;
