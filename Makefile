# Trainyard: build, tests, demonstrations. `make help` lists the targets.
#
# Knobs:
#   BUILD=dir          where everything is built (default build, or build/<variant>)
#   SANITIZE=address|undefined|thread   an instrumented build in build/<sanitizer>
#   FAILPOINTS=1       a build whose named failpoints may kill the process (make chaos uses it)
#   CUDA=1             also build the CUDA back end; fails without the toolkit (make cuda-deps)
#   DUCKDB_DIR=dir     an unpacked libduckdb (duckdb.h and libduckdb.so) instead of the cached one
#   TRAINYARD_CACHE=dir  downloaded and built tools (default: the user's cache directory)
#   V=1                show the commands

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DEFAULT_GOAL := all
SHELL := /bin/bash

VERSION := 0.1.0
CC := gcc
CXX := g++
SANITIZE ?=
FAILPOINTS ?=
CUDA ?=
VARIANT := $(SANITIZE)$(if $(FAILPOINTS),failpoints)
BUILD ?= build$(if $(VARIANT),/$(VARIANT))
TRAINYARD_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/trainyard
export TRAINYARD_CACHE
DUCKDB_VERSION := 1.5.6
DUCKDB_DIR ?= $(TRAINYARD_CACHE)/duckdb-$(DUCKDB_VERSION)
Q := $(if $(V),,@)

OPT := $(if $(SANITIZE),-O1 -fno-omit-frame-pointer,-O2)
SANFLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) $(if $(filter undefined,$(SANITIZE)),-fno-sanitize-recover=all))
WARNINGS := -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wundef -Wpointer-arith -Wcast-align
CWARNINGS := $(WARNINGS) -Wstrict-prototypes -Wmissing-prototypes
DEFINES := -D_GNU_SOURCE -DTRAINYARD_VERSION='"$(VERSION)"' $(if $(FAILPOINTS),-DTRAINYARD_FAILPOINTS)
INCLUDES := -I. -I$(BUILD)/generated -isystem $(DUCKDB_DIR)
# No contraction: a multiply-add is fused only where the source says so, on every compiler alike.
COMMON := $(OPT) -g -ffp-contract=off -fPIC $(SANFLAGS) $(DEFINES) $(INCLUDES) $(EXTRA_CFLAGS)
CFLAGS = -std=gnu17 $(CWARNINGS) $(COMMON) -include common/base/banned.h
CXXFLAGS = -std=c++17 $(WARNINGS) $(COMMON)
LDFLAGS := $(SANFLAGS) -Wl,--as-needed -Wl,-z,relro,-z,now $(EXTRA_LDFLAGS)
WERROR ?=
ifneq ($(WERROR),)
CFLAGS += -Werror
CXXFLAGS += -Werror
endif

# --- layers: one static library each, lowest first (docs/architecture.md) ---------------------------

DIR_base := common/base
DIR_http := common/http
DIR_store := common/store
DIR_pipeline := operator/pipeline
DIR_runtime := stages/runtime
DIR_tensor := stages/tensor
DIR_table := stages/table
DIR_report := stages/report
DIR_model := stages/model
DIR_collective := stages/collective
DIR_kube := operator/kube
DIR_controller := operator/controller
DIR_cli := operator/cli
DIR_artifact := stages/artifact
DIR_data-validate := stages/data-validate
DIR_featurize := stages/featurize
DIR_train-ddp := stages/train-ddp
DIR_evaluate := stages/evaluate
DIR_register := stages/register

LAYERS := base http store pipeline kube controller runtime tensor table report model collective
STAGES := data-validate featurize train-ddp evaluate register
PROGRAMS := artifact $(STAGES)
ALL_DIRS := $(LAYERS) cli $(PROGRAMS)

# What each layer may stand on, itself first (link order); the include lint reads the same table.
NEEDS_base := base
NEEDS_http := http base
NEEDS_store := store http base
NEEDS_pipeline := pipeline base
NEEDS_kube := kube http base
NEEDS_controller := controller kube pipeline http base
NEEDS_runtime := runtime store http base
NEEDS_tensor := tensor base
NEEDS_table := table tensor runtime store http base
NEEDS_report := report base
NEEDS_model := model tensor base
NEEDS_collective := collective base
NEEDS_cli := cli kube pipeline store http base
NEEDS_artifact := artifact runtime store http base
NEEDS_data-validate := data-validate report table tensor runtime store http base
NEEDS_featurize := featurize table tensor runtime store http base
NEEDS_train-ddp := train-ddp model collective tensor runtime store http base
NEEDS_evaluate := evaluate report model table tensor runtime store http base
NEEDS_register := register runtime store http base

SYS_base := -lcjson -lcrypto -lm -lpthread
SYS_http := -lcurl -lmicrohttpd
SYS_kube := -lyaml
SYS_store :=
SYS_pipeline := -lyaml
SYS_runtime :=
SYS_tensor :=
SYS_table := -L$(DUCKDB_DIR) -lduckdb -Wl,-rpath,$(DUCKDB_DIR)
SYS_report :=
SYS_model :=
SYS_collective := -lgloo -lstdc++

lib = $(BUILD)/lib/lib$(1).a
libs_of = $(foreach l,$(NEEDS_$(1)),$(call lib,$(l)))
sys_of = $(foreach l,$(NEEDS_$(1)),$(SYS_$(l)))

# Sources of a layer: its folder and one level of subfolders; a program's main.c stays out of its library.
sources_of = $(filter-out $(DIR_$(1))/main.c,$(wildcard $(DIR_$(1))/*.c $(DIR_$(1))/*/*.c $(DIR_$(1))/*.cc))
obj_of = $(patsubst %,$(BUILD)/obj/%.o,$(1))

.PHONY: all
all: programs ## build the command, the stages and the examples' generators

define LAYER_RULE
$(call lib,$(1)): $(call obj_of,$(call sources_of,$(1)))
endef
$(foreach l,$(ALL_DIRS),$(eval $(call LAYER_RULE,$(l))))

$(BUILD)/lib/lib%.a:
	@mkdir -p $(@D)
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcsD $@ $^

$(BUILD)/obj/%.c.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CFLAGS) $(CFLAGS_$*) -MMD -MP -c $< -o $@

$(BUILD)/obj/%.cc.o: %.cc
	@mkdir -p $(@D)
	@echo "  CXX   $<"
	$(Q)$(CXX) $(CXXFLAGS) -MMD -MP -c $< -o $@

PROGRAM_BINS :=
define PROGRAM_RULE
ifneq ($$(wildcard $$(DIR_$(1))/main.c),)
PROGRAM_BINS += $(BUILD)/bin/$(2)
$(BUILD)/bin/$(2): $(BUILD)/obj/$$(DIR_$(1))/main.c.o $$(call libs_of,$(1))
	@mkdir -p $$(@D)
	@echo "  LINK  $$@"
	$$(Q)$$(CC) -o $$@ $$< $$(call libs_of,$(1)) $$(LDFLAGS) $$(call sys_of,$(1))
endif
endef
$(eval $(call PROGRAM_RULE,cli,trainyard))
$(eval $(call PROGRAM_RULE,controller,trainyard-operator))
$(foreach p,$(PROGRAMS),$(eval $(call PROGRAM_RULE,$(p),$(p))))

# Generators of the examples' data: examples/<name>/generate/*.c → build/bin/<name>-generate
EXAMPLES := $(patsubst examples/%/generate,%,$(wildcard examples/*/generate))
define EXAMPLE_RULE
PROGRAM_BINS += $(BUILD)/bin/$(1)-generate
$(BUILD)/bin/$(1)-generate: $(call obj_of,$(wildcard examples/$(1)/generate/*.c)) $(call libs_of,table)
	@mkdir -p $$(@D)
	@echo "  LINK  $$@"
	$$(Q)$$(CC) -o $$@ $$^ $$(LDFLAGS) $$(call sys_of,table)
endef
$(foreach e,$(EXAMPLES),$(eval $(call EXAMPLE_RULE,$(e))))

.PHONY: programs
programs: $(PROGRAM_BINS)

-include $(wildcard operator/*/module.mk common/*/module.mk stages/*/module.mk)

# --- tests -----------------------------------------------------------------------------------------

# tests/unit/<layer>/test_<topic>.c → build/test/<layer>/test_<topic>, linked with the layer and below.
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/test/%,$(wildcard tests/unit/*/test_*.c))
define UNIT_RULE
$(BUILD)/test/$(1)/test_%: $(BUILD)/obj/tests/unit/$(1)/test_%.c.o $(call libs_of,$(1))
	@mkdir -p $$(@D)
	@echo "  LINK  $$@"
	$$(Q)$$(CC) -o $$@ $$^ $$(LDFLAGS) $$(call sys_of,$(1)) -lcmocka
endef
$(foreach l,$(ALL_DIRS),$(eval $(call UNIT_RULE,$(l))))

.PHONY: unit-tests test-unit
unit-tests: $(UNIT_TESTS)
test-unit: unit-tests programs ## unit tests only (LAYER=name for one layer)
	@BUILD=$(BUILD) tests/harness/run-unit.sh $(filter $(BUILD)/test/$(LAYER)%,$(UNIT_TESTS))

-include $(wildcard tests/*.mk) images/module.mk

# --- housekeeping ------------------------------------------------------------------------------------

PREFIX ?= /usr/local
.PHONY: install
install: programs ## the command, as plugin of kubectl too, and the stages, into PREFIX (default /usr/local; DESTDIR is respected)
	install -d $(DESTDIR)$(PREFIX)/bin
	install $(addprefix $(BUILD)/bin/,trainyard $(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin
	ln -sf trainyard $(DESTDIR)$(PREFIX)/bin/kubectl-trainyard

.PHONY: deps clean help
deps: ## install what is missing from the package registries (works as root or with sudo)
	@tests/tools/deps.sh

clean: ## remove everything built here (the cache outside the checkout stays)
	rm -rf build

help: ## this list
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
.PRECIOUS: $(BUILD)/obj/%.o
.SECONDARY:
