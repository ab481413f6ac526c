# Two commands do all the set-up on a Debian-like machine with Rust: `make demo` and `make test`.
SHELL := /bin/bash
.PHONY: system demo test bench

# System libraries; quiet when they are there.
system:
	@bash scripts/system.sh

test: system
	bash scripts/test.sh

