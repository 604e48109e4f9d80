# The developer's front door. `make` lists the commands; each rung of the test ladder is one word.
# Rungs take K=expression to choose tests (make functional K=etcd) and ARGS=... for pytest.

BIN := $(CURDIR)/.venv/bin
PYTEST := $(BIN)/pytest -q $(if $(K),-k "$(K)") $(ARGS)
SOURCES := src tests benchmarks

# Rungs with real processes: what failed is run once more, alone, and both runs are shown. A shared, noisy machine can
# starve a process for seconds; a fault fails twice. The first run may take pytest's options for running side by side.
define twice
@$(PYTEST) $(2) -o cache_dir=build/$(1) tests/$(1); status=$$?; [ $$status -ne 1 ] && exit $$status; \
    echo "== $(1): once more, only what failed"; \
    $(PYTEST) -o cache_dir=build/$(1) --last-failed --last-failed-no-failures=none tests/$(1)
endef

.DEFAULT_GOAL := list
.PHONY: list setup check tidy lint types contracts unit laws functional cloud chaos scale bench lock

list: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: ## install what is missing (packages, virtual environment)
	@bash -c 'source packaging/bootstrap.sh && bootstrap'

check: lint types contracts unit laws ## before every commit: format, lint, types, contracts, unit tests, laws in small; under a minute

tidy: ## format and fix what ruff can fix
	@$(BIN)/ruff format $(SOURCES) && $(BIN)/ruff check --fix $(SOURCES)

lint: ## formatting and lint
	@$(BIN)/ruff format --check --quiet $(SOURCES) && $(BIN)/ruff check --quiet $(SOURCES)

types: ## mypy, strict
	@$(BIN)/mypy

contracts: ## which room may import which
	@$(BIN)/lint-imports --no-logo

unit: ## seconds, no root
	@$(PYTEST) -n 2 tests/unit

laws: ## property tests over generated clouds; N=3000 for more examples, drawn anew (DRAW=same: those of ./test)
	@LAWS_EXAMPLES=$(or $(N),25) LAWS_DRAW=$(or $(DRAW),$(if $(N),anew,same)) $(PYTEST) $(if $(N),--timeout=0) -n 2 tests/laws

functional: ## one seam at a time with the real tool, in network namespaces (root)
	$(call twice,functional,$(if $(K),,-n 3 --dist loadfile))

cloud: ## the whole chain in the sandbox, real packets (root)
	$(call twice,cloud)

chaos: ## Felix killed after every operation on the kernel: real process, etcd, kernel, packets (root)
	$(call twice,chaos)

scale: ## the benchmarks in small, and that work is proportional to the change: counts, never times (root)
	$(call twice,scale)

bench: ## ratios, side by side in one run; K=name for one of them, with its ARGS (--small)
	@for b in $(if $(K),benchmarks/$(K).py,benchmarks/*.py); do echo "== $$b"; $(BIN)/python $$b $(ARGS) || exit 1; done

lock: ## write requirements/lock.txt anew from pyproject.toml
	$(BIN)/uv pip compile --quiet pyproject.toml --extra sandbox --group dev --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --output-file requirements/lock.txt $(ARGS)
