# The commands of this repository. Each target does its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# pytest rewrites each test module: six seconds of every worker's start, unless it may keep what it wrote.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
VENV ?= .venv
PORT ?= 7007
CONFIG ?= app-config.yaml
WORKERS ?= 1
SEED ?= docs/mock.yaml
JOBS ?= 2
CONTRACT ?= openapi.yaml
AGAINST ?=
VERSION ?=
LITELLM_VERSION ?=
BACKSTAGE_RELEASE ?=
TABLES ?=
TESTS ?=
ONLY ?=

venv := $(VENV)
bin := $(venv)/bin
run_stamp := $(venv)/.installed-run
dev_stamp := $(venv)/.installed-dev
# $(call install,ENVIRONMENT,WHAT): uv is many times as fast. Where it fails, pip follows: it reads its own configuration.
install = $(bin)/uv pip install --quiet --python $(1)/bin/python $(2) \
  || $(1)/bin/python -m pip --disable-pip-version-check --quiet install $(2)
# The tests that need nothing but this checkout.
here := not live and not sdk and not image and not console and not nginx and not postgresql and not deploy and not fuzz
npm_ci := npm ci --ignore-scripts --no-audit --no-fund --silent

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(bin)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=…" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(venv)

$(bin)/uv: requirements-uv.lock | $(bin)/python
	$(bin)/python -m pip --disable-pip-version-check --quiet install --require-hashes --requirement $<
	touch $@

$(run_stamp): requirements.lock $(bin)/uv
	$(call install,$(venv),--require-hashes --requirement $<)
	touch $@

$(dev_stamp): requirements-dev.lock pyproject.toml $(run_stamp)
	$(call install,$(venv),--require-hashes --requirement $<)
	$(call install,$(venv),--no-build-isolation --no-deps --editable .)
	touch $@

# The marker that npm itself leaves when it has installed a lock file.
%/node_modules/.package-lock.json: %/package-lock.json %/package.json
	@command -v npm >/dev/null || { echo "Node.js 20.19 or later with npm is needed here" >&2; exit 1; }
	$(npm_ci) --prefix $*
	touch $@

.PHONY: run
run: $(run_stamp) ## Try it: the service on embedded stand-ins, with curl lines to paste (PORT=7007)
	exec $(bin)/python -m standalone --port $(PORT)

.PHONY: mock
mock: $(run_stamp) ## The service on stand-ins with the contents of a file, for tests of its callers (SEED=docs/mock.yaml)
	exec $(bin)/python -m standalone --port $(PORT) --seed $(SEED)

.PHONY: serve
serve: $(run_stamp) ## Serve for real (CONFIG=app-config.yaml WORKERS=1)
	exec $(bin)/python -m cli serve --config $(CONFIG) --workers $(WORKERS)

.PHONY: check
check: $(run_stamp) ## Try LiteLLM, Backstage, issuers and the database, and say what to do about each problem (CONFIG=app-config.yaml)
	$(bin)/python -m cli check --config $(CONFIG)

.PHONY: cleanup-plan
cleanup-plan: $(run_stamp) ## Print who would be removed from LiteLLM (CONFIG=app-config.yaml)
	$(bin)/python -m cli cleanup --dry-run --config $(CONFIG)

.PHONY: test
test: $(dev_stamp) ## The tests that need nothing but this checkout, but for the tables of make proof (JOBS=2)
	$(bin)/python -m pytest -m '$(here)' -n $(JOBS) --dist worksteal --durations=10 --ignore=tests/proof

.PHONY: coverage
coverage: $(dev_stamp) ## Both at once, with the coverage gate
	$(bin)/python -m pytest -m '$(here)' -n $(JOBS) --dist worksteal --cov --cov-report=term-missing:skip-covered

# The packages of the tests, and one that must stay out of every other run.
.venv-watch/bin/pytest: tests/watch/requirements.lock $(dev_stamp)
	$(PYTHON) -m venv .venv-watch
	$(call install,.venv-watch,--require-hashes --requirement $<)
	$(bin)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	  >"$$(.venv-watch/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tests.pth"
	touch $@

.PHONY: watch
watch: .venv-watch/bin/pytest ## The tests that a change touches, again at each save (TESTS=folders; the first run records all)
	.venv-watch/bin/python -m tests.watch $(TESTS)

.PHONY: lint
lint: $(dev_stamp) console/node_modules/.package-lock.json ## ruff, mypy, the import contracts; Prettier, ESLint and tsc for the console
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports
	cd console && node_modules/.bin/prettier --check . && node_modules/.bin/eslint . && node_modules/.bin/tsc --project .

.PHONY: spec-check
spec-check: $(dev_stamp) spec/node_modules/.package-lock.json ## Whether the contract is valid, follows the rules and breaks no release (CONTRACT=openapi.yaml AGAINST=0.1.0)
	$(bin)/python -m spec.check $(CONTRACT) $(if $(AGAINST),--against $(AGAINST))
	REDOCLY_SUPPRESS_UPDATE_NOTICE=true spec/node_modules/.bin/redocly lint --config spec/redocly.yaml $(CONTRACT)
	spec/node_modules/.bin/spectral lint --ruleset spec/spectral.yaml --fail-severity hint $(CONTRACT)

# Building them empties dist/, and this with it.
sdk_built := dist/.built-from-$(subst /,-,$(CONTRACT))
sdk_sources := $(shell find sdk spec -name node_modules -prune -o -name __pycache__ -prune -o -type f -print)

$(sdk_built): $(CONTRACT) $(sdk_sources) $(dev_stamp) sdk/typescript/node_modules/.package-lock.json
	$(bin)/python -m sdk.build $(CONTRACT)
	touch $@

.PHONY: sdk
sdk: $(sdk_built) ## Build the clients for Python and TypeScript into dist/

.PHONY: sdk-test
sdk-test: sdk spec/node_modules/.package-lock.json ## Use the clients for the whole story, directly and through a proxy that knows the contract
	$(bin)/python -m pytest -m sdk tests/sdk

.venv-matrix/bin/openapi-generator-cli: sdk/matrix/requirements.lock $(bin)/uv
	$(PYTHON) -m venv .venv-matrix
	$(call install,.venv-matrix,--require-hashes --requirement $<)
	touch $@

.PHONY: console-vendor
console-vendor: console/node_modules/.package-lock.json ## Bundle the console's library anew, from what its lock file names
	node console/vendor.mjs

.PHONY: console-test
console-test: sdk console/node_modules/.package-lock.json ## Use the console in a browser (SCREENSHOTS=folder)
	tests/support/need console-test chromium-headless-shell:chromium-headless-shell
	node --test console/tests/*.test.js
	$(bin)/python -m pytest -m console -n $(JOBS) tests/console

.PHONY: sdk-matrix
sdk-matrix: $(dev_stamp) .venv-matrix/bin/openapi-generator-cli sdk/matrix/node_modules/.package-lock.json ## Try the contract with twelve other generators
	PATH="$(CURDIR)/$(bin):$$PATH" sdk/matrix/run $(CONTRACT)

.PHONY: nginx-test
nginx-test: $(dev_stamp) ## Try the paths behind a real nginx, which decodes them or passes them on
	tests/support/need nginx-test nginx:nginx-light
	$(bin)/python -m pytest -m nginx tests/edge

.PHONY: postgresql-test
postgresql-test: $(dev_stamp) ## What only PostgreSQL shows, on a server of its own or on that of DATABASE_URL (JOBS=2)
	PATH="$(CURDIR)/$(bin):$$PATH" tests/state/run -n $(JOBS)

.PHONY: format
format: $(dev_stamp) console/node_modules/.package-lock.json ## Format the code
	$(bin)/ruff check --fix .
	$(bin)/ruff format .
	cd console && node_modules/.bin/prettier --write --log-level warn . && node_modules/.bin/eslint --fix .

# A worker for each role: in each, the fuzzer and the service take turns.
.PHONY: fuzz
fuzz: $(dev_stamp) ## Fuzz the running service against its contract in three roles (FUZZ_EXAMPLES=100 per operation)
	$(bin)/python -m pytest -m fuzz -n 3 tests/fuzz

.PHONY: soak
soak: $(dev_stamp) ## At length: the state machines of the off-boarding, the whole and its owners, and races on PostgreSQL (ROUNDS=200 each)
	SOAK=1 $(bin)/python -m pytest tests/proof/test_offboarding.py tests/proof/test_model.py tests/proof/test_model_of_owners.py
	PATH="$(CURDIR)/$(bin):$$PATH" ROUNDS=$(or $(ROUNDS),200) tests/state/run tests/proof/test_races.py tests/proof/test_exchange_races.py

.PHONY: proof
proof: $(dev_stamp) ## State machines; tables of authority, faults, hostile values, secrets, overload and known holes, with a line for each
	$(bin)/python -m pytest -m '$(here)' -n $(JOBS) --dist worksteal --durations=10 tests/proof

.venv-mutants/bin/mutmut: $(bin)/uv requirements.lock requirements-dev.lock tests/mutants/requirements.lock
	$(PYTHON) -m venv .venv-mutants
	$(call install,.venv-mutants,--require-hashes $(addprefix --requirement ,$(filter %.lock,$^)))
	touch $@

.PHONY: mutants
mutants: .venv-mutants/bin/mutmut ## Whether tests notice small changes of the code where a mistake costs most; takes hours (ONLY=services/access.py JOBS=2)
	.venv-mutants/bin/python tests/mutants/run.py "$(ONLY)" $(JOBS)

.PHONY: alerts-test
alerts-test: ## Check and test the alerting rules with promtool
	tests/support/need alerts-test promtool:prometheus
	promtool check rules deploy/prometheus/alerts.yaml
	promtool test rules deploy/prometheus/alerts_test.yaml

.venv-deploy/bin/hadolint: deploy/requirements.lock $(bin)/uv
	$(PYTHON) -m venv .venv-deploy
	$(call install,.venv-deploy,--require-hashes --requirement $<)
	touch $@

.PHONY: deploy-check
deploy-check: $(dev_stamp) .venv-deploy/bin/hadolint ## Lint the Dockerfile, validate the Kubernetes objects, try a release in a clone
	PATH="$(CURDIR)/.venv-deploy/bin:$$PATH" deploy/check
	PATH="$(CURDIR)/.venv-deploy/bin:$$PATH" $(bin)/python -m pytest -m deploy tests

.PHONY: audit
audit: .venv-deploy/bin/hadolint ## Ask the public advisories about every package that a lock file names
	PATH="$(CURDIR)/.venv-deploy/bin:$$PATH" deploy/audit

.PHONY: secrets-scan
secrets-scan: .venv-deploy/bin/hadolint ## Look for secrets in every line that a commit ever added
	.venv-deploy/bin/python deploy/history.py

.PHONY: image-test
image-test: $(dev_stamp) ## Build the image, and walk the story on it without a container runtime
	PATH="$(CURDIR)/$(bin):$$PATH" tests/image/run

.PHONY: live
live: sdk ## Conformance and the whole story on the real LiteLLM and Backstage (LITELLM_VERSION=, BACKSTAGE_RELEASE=)
	PATH="$(CURDIR)/$(bin):$$PATH" LITELLM_VERSION=$(LITELLM_VERSION) BACKSTAGE_RELEASE=$(BACKSTAGE_RELEASE) tests/live/run

.PHONY: matrix
matrix: sdk ## The same on three versions of LiteLLM and two of Backstage, and the tests on three of Python; writes docs/compatibility.md
	PATH="$(CURDIR)/$(bin):$$PATH" $(bin)/python -m tests.matrix $(TABLES)

.PHONY: bench
bench: sdk ## Speed of each operation beside a bare pass-through, and of the trial; writes docs/performance.md
	tests/support/need bench chromium-headless-shell:chromium-headless-shell
	PATH="$(CURDIR)/$(bin):$$PATH" bench/run bench.throughput
	$(bin)/python -m bench.trial

.PHONY: bench-check
bench-check: $(dev_stamp) ## Fail if an operation is slower than bench/budget.json allows, beyond the noise
	PATH="$(CURDIR)/$(bin):$$PATH" bench/run bench.throughput --check

.PHONY: bench-plot
bench-plot: $(dev_stamp) ## Growth with keys, users, audit events and connections; draws docs/performance/*.svg
	PATH="$(CURDIR)/$(bin):$$PATH" bench/run bench.growth

.PHONY: bench-cleanup
bench-cleanup: $(dev_stamp) ## A cleanup of 1000 and of 10 000 users on stand-ins, and a plan in which 100 000 leave
	$(bin)/python -m bench.cleanup
	$(bin)/python -m bench.leavers

.PHONY: release
release: $(dev_stamp) .venv-deploy/bin/hadolint ## Check that everything agrees on a version, write the bill of materials, tag (VERSION=)
	PATH="$(CURDIR)/$(bin):$(CURDIR)/.venv-deploy/bin:$$PATH" deploy/release $(VERSION)

.PHONY: lock
lock: pin = $(bin)/uv pip compile --quiet --upgrade --no-strip-extras --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --python-version 3.11
lock: $(bin)/uv ## Pin the newest versions that pyproject.toml allows
	echo uv | $(pin) - -o requirements-uv.lock
	$(pin) pyproject.toml -o requirements.lock
	$(pin) --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(pin) sdk/matrix/requirements.in -o sdk/matrix/requirements.lock
	$(pin) deploy/requirements.in -o deploy/requirements.lock
	$(pin) -c requirements-dev.lock tests/watch/requirements.in -o tests/watch/requirements.lock
	$(pin) -c requirements-dev.lock tests/mutants/requirements.in -o tests/mutants/requirements.lock
