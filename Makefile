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

# A training step of the paper's size, beside PyTorch when TORCH_PYTHON names a Python that has it.
bench: system
	cargo build --release -p gim-cli
	bash scripts/bench.sh
