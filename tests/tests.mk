# Static checks, fuzzing, and what editors need. The demonstrations and end-to-end tests are in flows.mk.

C_AND_CXX := $(shell git ls-files '*.c' '*.h' '*.cc' '*.cu' 2>/dev/null)

.PHONY: check format fuzz compdb print-layers print-flags
check: ## format, warnings as errors, layers, headers, cppcheck, clang-tidy, shellcheck, texts
	@tests/tools/deps.sh build check
	@tests/tools/check.sh

format: ## lay out all sources as .clang-format says
	@clang-format-14 -i $(C_AND_CXX)

# bash has a SECONDS of its own.
fuzz: ## every fuzz target for SECONDS=n (default 10) each
	@tests/tools/deps.sh build check
	@FUZZ_SECONDS=$(or $(SECONDS),10) tests/fuzz/run.sh $(TARGETS)

compdb: ## compile_commands.json for editors and clang-tidy
	@python3 tests/tools/compdb.py

# For the tools: one line a layer, "name|folder|layers it stands on|system libraries".
print-layers:
	@$(foreach l,$(ALL_DIRS),echo '$(l)|$(DIR_$(l))|$(NEEDS_$(l))|$(call sys_of,$(l))';)

print-flags:
	@echo 'CFLAGS=$(subst ','\'',$(CFLAGS))'
	@echo 'CXXFLAGS=$(subst ','\'',$(CXXFLAGS))'
