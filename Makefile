# Two commands do all the set-up on a Debian-like machine with Rust: `make demo` and `make test`.
.PHONY: system demo test bench

# System libraries; quiet when they are there.
system:
	@bash scripts/system.sh

# Trains, probes and draws on the embedded corpus; goes on where it was stopped.
demo: system
	cargo build --release -p gim-cli
	./target/release/gim reproduce quick --out runs/quick

test: system
	bash scripts/test.sh

# The whole benchmark, beside PyTorch and scikit-learn where TORCH_PYTHON, TORCH_BENCH and SKLEARN_PYTHON name them.
bench: system
	cargo build --release -p gim-cli
	bash scripts/bench.sh
