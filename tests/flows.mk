# The demonstrations, the end-to-end tests and the benchmarks.

PYTHON := python3
KILLS ?= 50
SEED ?= 1
ROWS ?= 1000000
export BUILD

.PHONY: demo test accidents chaos digests test-integration bench-data bench-train bench-store bench-operator
demo: ## the main job on this machine: installs what is missing, builds, runs (ROWS=n, S3=1 for an S3 store)
	@tests/tools/deps.sh build $(if $(S3),test)
	@echo "demo: building"
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tests/demo/demo.py --rows $(ROWS) $(if $(S3),--s3)

INTEGRATION := $(sort $(wildcard tests/integration/*.sh tests/integration/*.py))
test-integration: all ## the integration tests (real S3 server, real processes)
	@tests/harness/run-scripts.sh $(INTEGRATION)

# Needs root, runc, cgroups and buildah; where one is missing it says so and counts as skipped.
.PHONY: e2e
e2e: all ## end-to-end tests on a real node: kubectl, Helm, images, S3 over TLS (SCENARIOS="container failures" for some)
	@tests/tools/deps.sh test cluster images
	@$(MAKE) --no-print-directory images
	@! images/able.sh >/dev/null || $(MAKE) --no-print-directory test-image
	@$(PYTHON) tests/e2e/run.py $(SCENARIOS) || [ $$? = 77 ]

accidents: all ## every accident of production through the pipeline
	@$(PYTHON) tests/demo/accidents.py

chaos: ## kill -9 at KILLS moments drawn with SEED, resume, compare
	@$(MAKE) --no-print-directory FAILPOINTS=1 BUILD=build/failpoints all
	@BUILD=build/failpoints $(PYTHON) tests/chaos/chaos.py --kills $(KILLS) --seed $(SEED)

.PHONY: chaos-operator
chaos-operator: all ## the operator and its cluster disturbed at KILLS moments drawn with SEED
	@tests/tools/deps.sh test cluster || echo "chaos-operator: no tools for a Kubernetes"
	@$(PYTHON) tests/chaos/on_cluster.py --kills $(KILLS) --seed $(SEED)

digests: all ## equal digests: repetitions, engine threads, S3, another folder (REPETITIONS=n)
	@$(PYTHON) tests/demo/digests.py --repetitions $(or $(REPETITIONS),3)

test: ## everything that passes without a GPU; installs what is missing
	@tests/tools/deps.sh build test
	@tests/tools/deps.sh cluster || echo "test: no tools for a Kubernetes: what needs one is skipped"
	@echo "test: building"
	@$(MAKE) --no-print-directory all unit-tests
	@tests/harness/sum.sh \
	    "unit tests: $(MAKE) --no-print-directory test-unit" \
	    "integration tests: $(MAKE) --no-print-directory test-integration" \
	    "end-to-end tests: $(MAKE) --no-print-directory e2e" \
	    "accidents: $(MAKE) --no-print-directory accidents" \
	    "digests: $(MAKE) --no-print-directory digests" \
	    "chaos: $(MAKE) --no-print-directory chaos KILLS=10" \
	    "chaos on a cluster: $(MAKE) --no-print-directory chaos-operator KILLS=6"

# A Kubernetes to try things on. Without root it is a control plane only, and says so.
.PHONY: cluster-up cluster-down
cluster-up: ## a single-node Kubernetes of your own; prints its kubeconfig (NAME=dev, GPUS=n, KWOK=n, CONTROL_PLANE=1)
	@tests/tools/deps.sh cluster
	@$(PYTHON) tests/cluster/up.py --name $(or $(NAME),dev) $(if $(GPUS),--gpus $(GPUS)) $(if $(KWOK),--kwok $(KWOK)) $(if $(CONTROL_PLANE),--control-plane)

cluster-down: ## takes that Kubernetes down (NAME=dev)
	@$(PYTHON) tests/cluster/down.py $(or $(NAME),dev)

bench-data: all ## validate + featurize beside Polars, DuckDB, pandas with scikit-learn
	@tests/tools/deps.sh bench
	@$(TRAINYARD_CACHE)/bench-venv-1/bin/python tests/bench/data/bench.py

bench-train: all ## training beside PyTorch CPU DDP
	@tests/tools/deps.sh bench
	@$(TRAINYARD_CACHE)/bench-venv-1/bin/python tests/bench/train/bench.py

bench-store: all ## artifact transfer beside boto3's transfer manager
	@tests/tools/deps.sh test bench
	@$(TRAINYARD_CACHE)/bench-venv-1/bin/python tests/bench/store/bench.py

bench-operator: all ## the operator beside a minimal one on controller-runtime, on kwok's nodes (needs Go)
	@tests/tools/deps.sh test
	@$(PYTHON) tests/bench/operator/bench.py $(if $(RUNS),--runs $(RUNS))

# Instrumented builds of our code; libraries are not ours to instrument, so what happens inside them is suppressed by name.
# Under the thread sanitizer only what has threads of ours runs: DuckDB's own threads look like races to it, and it delays
# signals, on which the runtime's and the runner's tests depend.
SUPPRESSIONS := $(CURDIR)/tests/harness
THREADED := http/ store/ model/ collective/ evaluate/ train-ddp/ featurize/test_spill runtime/test_progress
SANITIZED_TESTS = $(if $(filter thread,$(SANITIZE)),$(foreach t,$(THREADED),$(filter $(BUILD)/test/$(t)%,$(UNIT_TESTS))),$(UNIT_TESTS))
SANITIZED_FLOW = $(if $(filter thread,$(SANITIZE)),tests/harness/run-scripts.sh tests/integration/train-ddp.sh,$(PYTHON) tests/demo/once.py)
.PHONY: sanitize
sanitize: ## unit tests and the pipeline once under SANITIZE=address|undefined|thread
	@test -n "$(SANITIZE)" || { echo "sanitize: say which: SANITIZE=address, undefined or thread" >&2; exit 64; }
	@$(MAKE) --no-print-directory programs $(SANITIZED_TESTS)
	@ASAN_OPTIONS=detect_leaks=1 LSAN_OPTIONS=suppressions=$(SUPPRESSIONS)/lsan.supp:print_suppressions=0 \
	    TSAN_OPTIONS=suppressions=$(SUPPRESSIONS)/tsan.supp UBSAN_OPTIONS=print_stacktrace=1 \
	    tests/harness/sum.sh \
	    "unit tests ($(SANITIZE)): tests/harness/run-unit.sh $(SANITIZED_TESTS)" \
	    "processes ($(SANITIZE)): $(SANITIZED_FLOW)"
