//! The integration tests of `gim-core`. One binary for all of them links once.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may its helpers")]

mod credit;
mod loss_contract;
mod loss_parity;
mod losses;
mod on_threads;
mod optim;
mod stack;
mod store;
