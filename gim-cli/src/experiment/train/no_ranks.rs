//! Without the feature `mpi` there are no other processes.

use gim_core::Result;

use super::{Record, Training};
use crate::experiment::launched::Leader;
use crate::experiment::progress::Progress;

impl Training<'_> {
    pub(super) fn check_ranks(&self, leader: &Leader) -> Result<()> {
        match *leader {}
    }

    pub(super) fn steps_on_ranks(
        &mut self,
        leader: &Leader,
        _: Record,
        _: Progress,
        _: &dyn Fn() -> f64,
    ) -> Result<Progress> {
        match *leader {}
    }
}
