# Two commands do all the set-up on a Debian-like machine with Rust: `make demo` and `make test`.
.PHONY: system demo test bench

# Installs missing system libraries.
system:
	@bash scripts/system.sh

# Trains, probes and draws on the embedded recordings. Resumes where it was stopped. GIM names a program that is
# built already.
demo: system
	$(if $(GIM),,cargo build --release -p gim-cli)
	$(or $(GIM),./target/release/gim) demo --out runs/demo

test: system
	bash scripts/test.sh

# The whole benchmark. Includes PyTorch and scikit-learn if TORCH_PYTHON, TORCH_BENCH and
# SKLEARN_PYTHON name them.
bench: system
	cargo build --release -p gim-cli
	bash scripts/bench.sh
