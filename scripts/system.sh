#!/usr/bin/env bash
# Installs libhdf5-dev (for gim-eval), libopenblas-dev (for gim-vision) and pkg-config (for both) where they are missing on
# Debian and Ubuntu. On other systems, says what to install.
#
#   scripts/system.sh [--mpi]     with --mpi also what the feature `mpi` of gim-cli needs
set -euo pipefail
mpi=false; [ "${1:-}" != --mpi ] || mpi=true
command -v cargo >/dev/null || { echo "Rust is missing: install the stable toolchain (rustup) and run this again." >&2; exit 2; }
complete() {
  command -v pkg-config >/dev/null && pkg-config --exists hdf5 openblas || return 1
  "$mpi" || return 0
  command -v mpirun >/dev/null && command -v mpicc >/dev/null && compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null
}
if complete; then exit 0; fi
packages=(libhdf5-dev libopenblas-dev pkg-config)
if "$mpi"; then packages+=(libopenmpi-dev openmpi-bin libclang-dev); fi
if ! command -v apt-get >/dev/null; then
  what="HDF5 and OpenBLAS with their headers, and pkg-config"
  if "$mpi"; then what="$what, Open MPI with its headers, and libclang"; fi
  echo "Please install $what (on Debian: ${packages[*]})." >&2; exit 2
fi
as_root=(); [ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >/dev/null
