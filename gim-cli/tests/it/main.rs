//! The integration tests of `gim-cli`. One binary for all of them links once.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may its helpers")]

mod absurd;
mod at_the_prompt;
mod bench;
mod by_module;
mod carry;
mod common;
mod comparison;
mod credit;
mod encoders;
mod end_to_end;
mod feature_files;
mod fetch;
mod images;
mod input_files;
mod inputs;
mod label_columns;
mod losses;
mod plan;
mod published;
#[cfg(feature = "mpi")]
mod ranks;
mod readme;
mod recorded;
mod report;
mod schedules;
#[allow(dead_code, reason = "unit tests of downloads use the rest")]
mod server;
mod signals;
mod state;
mod streamed_probes;
mod tensorboard;
mod two_views;
mod validation;
mod watch;
mod weights;
