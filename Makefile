# Every command a person or CI runs. `make` lists them.

PYTHON ?= python3
BIN := .venv/bin
# Python keeps what it has compiled: the tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=
BUILT := .venv/.built
DENO = DENO_DIR=$(CURDIR)/.build/deno DENO_NO_UPDATE_CHECK=1 $(BIN)/deno
WEB := $(wildcard src/amanat/page/web/*.js)
RUST := $(shell find rust/src -name '*.rs' 2>/dev/null) rust/Cargo.toml rust/Cargo.lock

# Rust's tests are a program of their own, so they link libpython; its directory is Python's to say.
RUST_ENV = PYO3_PYTHON=$(CURDIR)/$(BIN)/python \
	LD_LIBRARY_PATH=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')

.PHONY: help build system demo quick test cover check fmt mutants soak screenshots bench bench-peers bench-stored bench-growth real clean
help:
	@echo "make build   set up .venv and compile the MLS binding"
	@echo "make demo    a real network of people talks through a relay on this machine"
	@echo "make quick   the tests of the inner loop: no processes, and none of more than a third of a second"
	@echo "make test    all tests"
	@echo "make cover   which branches of the rules no test takes, with every test that needs no process"
	@echo "make check   formatting, lint, types, imports: what to run before a commit"
	@echo "make fmt     format everything"
	@echo "make mutants plant bugs in a copy: each must be caught by a test"
	@echo "make soak    the campaigns of docs/reliability.md, each at its full length"
	@echo "make screenshots   every screen of the page, in both directions, themes and widths"
	@echo "make bench   the figures of docs/benchmarks.md, on this machine"
	@echo "make bench-peers   the relay beside ejabberd and Prosody, which it installs from Debian"
	@echo "make bench-stored  the relay as it fills: ten million cells, 13 GB of disk for some minutes"
	@echo "make bench-growth  how a relay's figures grow with drops, cells, readers and connections; half an hour"
	@echo "make real    the drill against a real ejabberd and Matrix Synapse, which it installs"
	@echo "make clean   remove everything that was built"

build: $(BUILT)

.venv/.installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	touch $@

$(BUILT): .venv/.installed pyproject.toml $(RUST)
	VIRTUAL_ENV=$(CURDIR)/.venv PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin develop --uv --quiet --release --locked
	touch $@

# What only tests need and Python does not bring: a libpython to link, a tool that makes networks, browsers.
system: $(BUILT)
	@$(BIN)/python -c 'import glob, sys, sysconfig; c = sysconfig.get_config_var; sys.exit(not glob.glob(c("LIBDIR") + "/**/libpython" + c("LDVERSION") + ".so", recursive=True))' \
	  || (apt-get update && apt-get install --yes --no-install-recommends libpython3-dev)
	@command -v ip >/dev/null || (apt-get update && apt-get install --yes --no-install-recommends iproute2)
	@command -v chromium >/dev/null && command -v chromium-headless-shell >/dev/null && dpkg --status fonts-noto-color-emoji >/dev/null 2>&1 \
	  || (apt-get update && apt-get install --yes --no-install-recommends chromium chromium-headless-shell fonts-noto-core fonts-noto-color-emoji)
	@command -v firefox-esr >/dev/null || (apt-get update && apt-get install --yes --no-install-recommends firefox-esr)

demo: build
	$(BIN)/amanat replay --people 60 --messages 3000
	@echo "Now try it yourself, in your browser: $(BIN)/amanat up"

# Many tests wait for other processes: a third worker keeps two cores busy, a fourth gains nothing.
# A test that failed is run once more, and reported: decision 0048.
WORKERS ?= $(shell expr $$(nproc) + $$(nproc) / 2)
test: build system
	$(RUST_ENV) cargo test --quiet --locked --manifest-path rust/Cargo.toml
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal --reruns 1 --max-suite-reruns 5 --rerun-show-tracebacks

# All tests of the drill are long, and on each core its libraries alone take two seconds to load.
quick: build
	$(BIN)/pytest --quiet --numprocesses auto --dist worksteal -m "not e2e and not long" --ignore tests/test_drill.py --ignore tests/test_drill_files.py

cover: build
	$(BIN)/pytest --quiet --numprocesses auto --dist worksteal --timeout 600 -m "not e2e" --cov --cov-report=term

check: build
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(DENO) fmt --quiet --check $(WEB)
	$(DENO) lint --quiet $(WEB)
	$(DENO) check --quiet $(WEB)
	cargo fmt --check --manifest-path rust/Cargo.toml
	cargo clippy --quiet --locked --all-targets --manifest-path rust/Cargo.toml -- -D warnings

fmt: build
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(DENO) fmt --quiet $(WEB)
	cargo fmt --manifest-path rust/Cargo.toml

mutants: build
	$(BIN)/python tests/mutants.py

SOAK ?= 10
FIGURES ?= .build/figures.jsonl
soak: build
	mkdir -p $(dir $(FIGURES)) && rm -f $(FIGURES)
	AMANAT_SOAK=$(SOAK) AMANAT_FIGURES=$(abspath $(FIGURES)) $(BIN)/pytest -v -m campaign
	$(BIN)/python tests/figures.py $(FIGURES)

screenshots: build system
	$(BIN)/python tests/screenshots.py

bench: build
	$(BIN)/python bench/relay.py
	$(BIN)/python bench/person.py
	$(BIN)/python bench/mls.py --large --repeat 3
	$(BIN)/python bench/cells.py
	$(BIN)/python bench/start.py

bench-peers: build
	$(BIN)/python bench/peers.py

bench-stored: build
	$(BIN)/python bench/stored.py

bench-growth: build
	mkdir -p .build
	$(BIN)/python bench/growth.py --json .build/growth.json

# Synapse has an environment of its own: nothing of it is ours to import.
SYNAPSE := .build/synapse
$(SYNAPSE)/.installed: requirements-real.txt
	$(PYTHON) -m venv $(SYNAPSE)
	$(SYNAPSE)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-real.txt
	touch $@

REAL ?= 1000
real: build $(SYNAPSE)/.installed
	$(BIN)/python bench/debian.py ejabberd erlang-p1-sqlite3
	rm -rf .build/real
	$(BIN)/amanat drill --people 64 --seeds 2 --designs federated --report .build/real --real $(REAL) \
	  --attacks contacts,groups,ip,identifiers,content,deletion

clean:
	rm -rf .venv .build/synapse .build/real rust/target src/amanat/*.so
