# SPDX-License-Identifier: MIT
# The table of contents: `make help` lists what can be made. Each target is a line or two; the
# work is done by tools/bootstrap.py (a fresh machine), firmware/ and port/ (the two halves of the
# image) and the command mpfw (tools/mpfw/), all of it under build/.

PYTHON ?= python3
# One more than there are processors: tests wait for half of their time.
JOBS   ?= $(shell expr $$(nproc) + 1)
BUILD  := $(CURDIR)/build
override BUILD := $(abspath $(BUILD))
export MPFW_BUILD := $(BUILD)
IMAGE  := $(BUILD)/final_vsock.bin
VENV   := $(BUILD)/venv/bin
MPFW   := $(VENV)/mpfw
PYTEST := $(VENV)/pytest
C_FILES = $(shell find ci firmware port tools -name '*.[ch]')

# The source of MicroPython: the user's own, or what deps.toml names, fetched to build/.
ifdef MICROPYTHON_DIR
export MICROPYTHON_DIR := $(abspath $(MICROPYTHON_DIR))
MICROPYTHON := $(MICROPYTHON_DIR)
else
MICROPYTHON := $(BUILD)/$(shell sed -n 's/^unpack = "\(micropython-.*\)"/\1/p' deps.toml)
endif
export VHOST_DEVICE_VSOCK

# `make test HOST=...`: only from the command line; some shells have a variable of that name.
ifeq ($(origin HOST),command line)
PYTEST_ARGS += --host=$(HOST)
endif

# The date in the banner is the source's, so that the same source gives the same image.
ifndef SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || date +%s)
endif
export SOURCE_DATE_EPOCH

SUBMAKE := $(MAKE) --no-print-directory -s -j$(JOBS)

.DEFAULT_GOAL := image
.PHONY: help image run check static unit coverage mutate fuzz differential format test test-long test-fresh test-matrix lab bench bench-exits \
        dist smoke soak boot-time upstream lock clean distclean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

image: ## Build build/final_vsock.bin, the flash image (the default)
	@$(PYTHON) tools/bootstrap.py image
	@$(SUBMAKE) -C firmware BUILD=$(BUILD)/firmware
	@$(SUBMAKE) -C port MICROPYTHON_DIR=$(MICROPYTHON) BUILD=$(BUILD)/port
	@$(SUBMAKE) $(IMAGE)
	@$(VENV)/python -m compileall -qq tools/mpfw || true  # or each start does; a tree that cannot be written to runs as well

run: image ## Boot it, hold a conversation, hand over its console (OVERLAY=DIR: with those modules)
	@$(PYTHON) tools/bootstrap.py run
	@$(MPFW) run $(if $(OVERLAY),--overlay $(OVERLAY))

check: static unit ## All that needs no QEMU: static and unit

static: ## Style of Python and C, types, spelling, house rules (`make format` mends style)
	@$(PYTHON) tools/bootstrap.py image
	@$(VENV)/ruff check --quiet .
	@$(VENV)/ruff format --check --quiet .
	@$(VENV)/clang-format --dry-run --Werror $(C_FILES)
	@$(VENV)/codespell
	@for part in tools tests/conftest.py $(filter-out %/__pycache__/,$(wildcard tests/*/)); do \
	    $(VENV)/mypy --no-error-summary $$part || exit; done
	@$(MPFW) check-house

unit: image ## The unit tests, on all processors
	@$(MPFW) upstream build >/dev/null
	@$(PYTEST) -q $(UNIT_ARGS) -n $(JOBS) --dist worksteal $(PYTEST_ARGS) tests/unit

coverage: UNIT_ARGS := --cov
coverage: unit ## The unit tests, and which lines of the protocol and its driver they reach

mutate: image ## Small faults in the protocol and its driver: do the unit tests notice? (SEED=1)
	@nice $(MPFW) mutate --jobs $(JOBS) $(addprefix --seed=,$(SEED)) $(MUTATE_ARGS)

fuzz: image ## Inputs that nobody would write (FUZZ_N=, SEED=, MINUTES=, LEVEL=real or device, CLASSES=)
	@$(MPFW) upstream build >/dev/null
	@nice $(MPFW) fuzz $(addprefix --count=,$(FUZZ_N)) $(addprefix --seed=,$(SEED)) \
	    $(addprefix --minutes=,$(MINUTES)) $(addprefix --level=,$(LEVEL)) $(CLASSES)

differential: image ## Scripts on Linux 6.1, 6.12, sid's and here: record, compare (DIFFERENTIAL_ARGS)
	@$(PYTHON) tools/bootstrap.py run
	@nice $(MPFW) differential $(DIFFERENTIAL_ARGS)

format: ## Style of Python and C, mended where a program can
	@$(PYTHON) tools/bootstrap.py image
	@$(VENV)/ruff check --fix --quiet .
	@$(VENV)/ruff format --quiet .
	@$(VENV)/clang-format -i $(C_FILES)

test: image static ## Everything that must hold (HOST=vhost-user, vhost-vsock, device or lab selects)
	@$(PYTHON) tools/bootstrap.py test
	@$(MPFW) qemu --device x-pci-proxy-dev bookworm >/dev/null # what tests/hostile needs, fetched
	@$(MPFW) qemu --device vfio-user-pci sid >/dev/null        # if this machine's own does not do
ifeq ($(TESTS)$(PYTEST_ARGS),)
	@status=0; $(MAKE) --no-print-directory unit || status=1; \
	$(PYTEST) -n $(JOBS) --dist loadgroup -m 'not long and not matrix and not alone' --ignore=tests/unit || status=1; \
	$(PYTEST) -m 'alone and not long and not matrix' --ignore=tests/unit || status=1; exit $$status
else
	@$(PYTEST) $(PYTEST_ARGS) $(TESTS)
endif

test-long: test-matrix coverage mutate ## What takes too long for `make test`: three kernels, fresh machines, more
	@$(PYTEST) -m long $(PYTEST_ARGS) tests
	@for MEMORY in 64 512; do $(MPFW) soak --memory $$MEMORY || exit; done
	@for SUITE in bookworm trixie sid; do $(MAKE) --no-print-directory test-fresh SUITE=$$SUITE || exit; done

lab: image ## A shell in the lab (LAB_SUITE=trixie or sid for newer kernels), the image at hand
	@$(PYTHON) tools/bootstrap.py run
	@$(MPFW) lab

test-matrix: image ## In labs of Linux 6.1, 6.12 and sid's newest; here with those releases' QEMUs
	@for LAB_SUITE in bookworm trixie sid; do export LAB_SUITE; \
	    $(PYTHON) tools/bootstrap.py test && \
	    $(PYTEST) --host=lab $(PYTEST_ARGS) tests/lab tests/interop && \
	    $(PYTEST) -m matrix $(PYTEST_ARGS) tests/lab || exit; done
	@for SUITE in bookworm trixie sid; do QEMU=$$($(MPFW) qemu $$SUITE) && \
	    $(PYTEST) --qemu=$$QEMU $(PYTEST_ARGS) tests/firmware tests/interop tests/seat tests/hostile || exit; done

test-fresh: export PYTEST_ARGS := $(PYTEST_ARGS)
test-fresh: ## `run` and `test` in a fresh root of SUITE=bookworm, trixie or sid (FRESH=run: one)
	@$(PYTHON) tools/bootstrap.py fresh
	@$(MPFW) fresh $(addprefix --only=,$(FRESH)) $(or $(SUITE),$(error say which: SUITE=bookworm, trixie or sid))

bench: image ## Against a Linux guest and bare metal, in C (QUICK=1: three minutes; BUSY=one, full)
	@$(PYTHON) tools/bootstrap.py bench
	@$(MPFW) bench $(if $(QUICK),--quick) $(addprefix --busy=,$(BUSY)) $(BENCH_ARGS)

bench-exits: image ## VM exits per operation and by cause, in the lab, beside a Linux guest (EXITS_ARGS)
	@$(PYTHON) tools/bootstrap.py bench
	@$(MPFW) exits $(EXITS_ARGS)

soak: image ## Half an hour of clients that talk, some of which die (MINUTES=30, SOAK_ARGS)
	@$(PYTHON) tools/bootstrap.py run
	@$(MPFW) soak $(addprefix --minutes=,$(MINUTES)) $(SOAK_ARGS)

smoke: image ## Boot the image and have one connection echoed
	@$(PYTHON) tools/bootstrap.py run
	@$(MPFW) smoke $(IMAGE)

boot-time: image ## Measure power-on to the first prompt against QEMU's own floor
	@$(PYTHON) tools/bootstrap.py run
	@$(MPFW) boot-time

upstream: image ## MicroPython's own tests on the firmware and on the unix port: the totals
	@$(PYTHON) tools/bootstrap.py test
	@$(MPFW) upstream totals

dist: image ## A wheel and a source distribution in build/dist, with the image
	@$(VENV)/python -m mpfw.build.dist

lock: ## Make requirements.lock anew from pyproject.toml
	@PYTHONPATH=tools $(PYTHON) -m mpfw.build.lock

clean: ## Remove what was built; keep what was fetched
	rm -rf $(BUILD)/dist $(BUILD)/port $(BUILD)/firmware $(BUILD)/pytest-cache $(BUILD)/ruff-cache $(BUILD)/mypy-cache $(IMAGE)

distclean: ## Remove everything that is not in the source tree
	rm -rf $(BUILD)

# Called by `image` when the parts are up to date: rebuilt only if one of them is newer.
$(IMAGE): $(wildcard $(BUILD)/firmware/*.bin $(BUILD)/firmware/*.elf) $(BUILD)/port/micropython.elf \
          firmware/layout.toml $(wildcard tools/mpfw/image/*.py)
	@$(MPFW) image build
