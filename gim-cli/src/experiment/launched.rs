//! How the program was started: alone, or as one of several processes.

#[cfg(not(feature = "mpi"))]
use gim_core::Error;
use gim_core::Result;

#[cfg(feature = "mpi")]
pub(crate) use crate::experiment::ranks::{Follower, Leader};

/// Rank 0's hold on the other processes. Without the feature `mpi` there are none.
#[cfg(not(feature = "mpi"))]
pub(crate) enum Leader {}

/// A process that works for rank 0. Without the feature `mpi` there are none.
#[cfg(not(feature = "mpi"))]
pub(crate) enum Follower {}

#[cfg(not(feature = "mpi"))]
impl Follower {
    pub(crate) fn serve(self) -> Result<()> {
        match self {}
    }
}

/// What this process is.
#[cfg_attr(not(feature = "mpi"), expect(dead_code, reason = "without MPI, a process is always alone"))]
pub(crate) enum Joined {
    /// The only one.
    Alone,
    /// Rank 0 of several.
    Leads(Leader),
    /// A higher rank.
    Follows(Follower),
}

/// Joins the processes that were started together, if there are several.
///
/// # Errors
/// When the MPI library cannot be used.
#[cfg(feature = "mpi")]
pub(crate) fn join() -> Result<Joined> {
    if processes() == 1 { Ok(Joined::Alone) } else { crate::experiment::ranks::join() }
}

/// Refuses to be one of several processes, which would all train the same.
///
/// # Errors
/// When there are several.
#[cfg(not(feature = "mpi"))]
pub(crate) fn join() -> Result<Joined> {
    match processes() {
        1 => Ok(Joined::Alone),
        n => {
            let what = format!("{n} processes were started together, but this program was built without MPI");
            Err(Error::config("mpirun", what, "build it with `--features mpi`"))
        }
    }
}

/// How many processes `mpirun`, `mpiexec` or `srun` has started together.
fn processes() -> usize {
    let number = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
    // Slurm starts single tasks, too; PMIx is there where they are to talk.
    let slurm = || std::env::var_os("PMIX_RANK").and_then(|_| number("SLURM_STEP_NUM_TASKS"));
    number("OMPI_COMM_WORLD_SIZE").or_else(|| number("PMI_SIZE")).or_else(slurm).unwrap_or(1)
}
