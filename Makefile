# The targets do their own set-up; see `make help`.
SHELL := bash
.DEFAULT_GOAL := help
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

BUILD := build/release
JOBS ?= $(shell nproc)
SOURCES = $(shell find src tests benchmarks -name '*.cc' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')
COMPILE = cmake --build $(BUILD) -j $(JOBS)

.PHONY: help setup environment data oracle configure build demo test nightly bench bench-peers format check clean

help:
	@cat <<'TEXT'
	make demo         fine-tunes eight trials of a pretrained model, each larger than its device; sets everything up first
	make test         builds everything and runs every test
	make nightly      runs the tests that draw runs by seed over thousands of seeds (tools/nightly)
	make build        builds everything; the program is $(BUILD)/hopyard
	make bench        measures Hopyard against its yardsticks, into build/bench.json
	make bench-peers  measures other systems on the same work, into build/bench-peers.json
	make format       formats the C++ sources
	make check        format, lint, include ladder and one-door checks
	make setup        Debian packages, Python environments and data, without building
	make clean        removes build/ (not data/, runs/ nor the Python environments)
	JOBS=n sets how many compilers run at a time.
	TEXT

setup:
	@tools/setup packages python oracle data

environment:
	@tools/setup packages python

data: environment
	@tools/setup data

oracle: environment
	@tools/setup oracle

configure: environment
	@if [ ! -f $(BUILD)/build.ninja ] || [ CMakePresets.json -nt $(BUILD)/build.ninja ]; then
	  cmake --preset release
	  touch $(BUILD)/build.ninja
	fi

build: configure
	@$(COMPILE)

demo: data configure
	@$(COMPILE) --target hopyard
	$(BUILD)/hopyard run examples/debian-sections.yaml --fresh
	echo
	echo "Leaderboard, loss curves and the timeline of the devices: open runs/debian-sections/report.html in a browser."

test: data oracle build
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

nightly: configure
	@tools/nightly

bench: data configure
	@$(COMPILE) --target hopyard hopyard_bench
	$(BUILD)/hopyard_bench --out=build/bench.json

bench-peers: data configure
	@$(COMPILE) --target hopyard
	tools/setup peers
	benchmarks/peers/run --out=build/bench-peers.json

format:
	@clang-format -i $(SOURCES)

check: configure
	@clang-format --dry-run -Werror $(SOURCES)
	tools/check_layers
	tools/check_doors
	tools/lint $(BUILD) $(LINT_FLAGS)

clean:
	rm -rf build
