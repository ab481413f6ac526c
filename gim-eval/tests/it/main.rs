//! The integration tests of `gim-eval`. One binary for all of them links once.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may its helpers")]

mod abx;
mod examples;
mod features;
mod knn;
mod probe;
mod similarity;
mod streamed;
mod views;
