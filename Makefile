# Everything that a developer or CI does, by name. `make help` lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
FUZZ_SECONDS ?= 60

.PHONY: help run build services test test-rust test-long fuzz test-doc test-reference test-svix test-openapi bench bench-parts lint fmt

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build and start the server with no configuration (data in ./data, HTTP on 127.0.0.1:8080, TCP on 127.0.0.1:9000)
	$(CARGO) run --locked --release --bin eventrelay -- serve

build: ## Build the release binary: target/release/eventrelay
	$(CARGO) build --locked --release --bin eventrelay

test: test-rust test-doc test-reference test-svix test-openapi ## All tests

services: ## Install the real components that sinks are tested against (Debian, PyPI, crates.io); what is there already is kept
	scripts/services install

test-rust: ## Unit, property and end-to-end tests, with all features. The kill -9 loops run longer with TEST_CRASH_ROUNDS=1000
	@command -v cargo-nextest >/dev/null || $(CARGO) install cargo-nextest --locked
	@scripts/services install || [ "$${TEST_SERVICES_REQUIRED:-}" != 1 ]
	@mkdir -p target && rm -f target/skipped-tests
	TEST_SKIPPED_LIST="$(CURDIR)/target/skipped-tests" $(CARGO) nextest run --locked --workspace --all-features
	@if [ -s target/skipped-tests ]; then echo "$$(wc -l <target/skipped-tests) tests skipped:"; sort target/skipped-tests; \
		else echo 'no tests skipped'; fi

test-long: ## Every bit and every crash that the short tests sample, and 1,000 rounds of each kill -9 loop (an hour or so)
	TEST_LONG=1 TEST_CRASH_ROUNDS=1000 $(CARGO) nextest run --locked --workspace --profile long \
		-E 'test(simulation) or binary(crash_loop) or binary(one_key)'

fuzz: ## Every decoder with mutated inputs, FUZZ_SECONDS=60 for each target, two at a time; failing inputs go to target/fuzz
	TEST_FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) nextest run --locked --workspace --profile long \
		-E 'test(fuzz_)' --success-output final

test-doc: ## Examples in the documentation
	$(CARGO) test --locked --workspace --all-features --doc --quiet

test-reference: ## Webhooks, CloudEvents and gRPC against the reference libraries from PyPI
	scripts/test-reference.sh

test-openapi: ## The built binary against its own OpenAPI document, by schemathesis from PyPI
	scripts/test-openapi.sh

test-svix: ## The API under /api/v1 against the SDKs of Svix from PyPI and npm
	scripts/test-svix.sh

bench: ## The figures of the README, as ratios measured in one run (several minutes; leave the machine alone)
	$(CARGO) bench --locked -p eventrelay --bench promises

bench-parts: ## Single crates on their own: publisher, dispatcher, front door, webhook sink, filters
	$(CARGO) bench --locked -p eventrelay-ingest --bench publish
	$(CARGO) bench --locked -p eventrelay-expression --bench filters
	$(CARGO) bench --locked -p eventrelay-delivery --bench dispatch
	$(CARGO) bench --locked -p eventrelay-server --bench http
	$(CARGO) bench --locked -p eventrelay-sinks --bench webhook

lint: ## Format, clippy, dependency rules, source layout
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	scripts/check-dependencies.sh
	scripts/check-sources.sh

fmt: ## Format the sources
	$(CARGO) fmt --all
