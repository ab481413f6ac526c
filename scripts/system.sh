#!/usr/bin/env bash
# Installs libhdf5-dev (for gim-eval), libopenblas-dev (for gim-vision) and pkg-config (for both) where they are missing on
# Debian and Ubuntu. On other systems, says what to install.
set -euo pipefail
command -v cargo >/dev/null || { echo "Rust is missing: install the stable toolchain (rustup) and run this again." >&2; exit 2; }
if command -v pkg-config >/dev/null && pkg-config --exists hdf5 openblas; then exit 0; fi
packages=(libhdf5-dev libopenblas-dev pkg-config)
if ! command -v apt-get >/dev/null; then
  echo "Please install HDF5 and OpenBLAS with their headers, and pkg-config (on Debian: ${packages[*]})." >&2; exit 2
fi
as_root=(); [ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >/dev/null
