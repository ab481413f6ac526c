#!/usr/bin/env bash
# Trains on several machines of a Slurm cluster, a rank each, or resumes: whichever the folder asks for.
#
#   sbatch --nodes=3 scripts/slurm/train.sh CONFIG DIR [options of gim train]
#
# GIM names the program, built with `--features mpi` against the cluster's MPI.
#SBATCH --job-name=gim
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@180
#SBATCH --requeue
set -euo pipefail
config=$1; folder=$2; shift 2
gim=${GIM:-gim}
threads=${SLURM_CPUS_PER_TASK:-1}
arguments=(train "$config" --out "$folder" "$@")
if [ -e "$folder/config.toml" ]; then arguments=(train --resume "$folder"); fi
# mpirun takes the machines from Slurm. It hands SIGTERM on after the time-out, and kills after another
# one: long enough for a step and a checkpoint.
mpirun --map-by ppr:1:node --bind-to none --mca odls_base_sigkill_timeout 60 \
  "$gim" --threads "$threads" "${arguments[@]}" &
ranks=$!
# Slurm signals this shell alone, 180 s before the time is over.
trap 'kill -TERM "$ranks"' TERM
status=0; wait "$ranks" || status=$?
# A signal ends the first wait.
if kill -0 "$ranks" 2>/dev/null; then status=0; wait "$ranks" || status=$?; fi
exit "$status"
