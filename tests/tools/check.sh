#!/usr/bin/env bash
# All static checks, one line each; the output of a check is shown only when it fails. The last line
# is "N passed, N failed, N skipped".
#
# usage: tests/tools/check.sh [NAME …]      (default: all; names are those printed)
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0
wanted=("$@")

mapfile -t c_files < <(git ls-files '*.c')
mapfile -t laid_out < <(git ls-files '*.c' '*.h' '*.cc' '*.cu')
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)

# check NAME TOOL FUNCTION: without the tool it counts as skipped, never as passed.
check() {
    local name=$1 tool=$2 start=$SECONDS
    if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return; fi
    if ! command -v "$tool" >/dev/null; then
        echo "skip $name: $tool is not installed (make deps)"
        skipped=$((skipped + 1))
    elif "$3" >"$work/out" 2>&1; then
        echo "ok   $name ($((SECONDS - start)) s)"
        passed=$((passed + 1))
    else
        echo "FAIL $name"
        tail -n 100 "$work/out" | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

format() { clang-format-14 --dry-run -Werror "${laid_out[@]}"; }

# A build of its own, so that every file was compiled with warnings as errors.
warnings() { make --no-print-directory -s -j"$(nproc)" BUILD=build/check WERROR=1 all unit-tests; }

layers() {
    rm -f build/lib/libpipeline.a # it may hold members whose source is gone
    make --no-print-directory -s build/lib/libpipeline.a >/dev/null && python3 tests/tools/lint-includes.py build/lib/libpipeline.a
}

headers() { tests/tools/hdr-check.sh; }

cpp_check() {
    mkdir -p build/cppcheck
    cppcheck --quiet --error-exitcode=1 --std=c11 --language=c --platform=unix64 --inline-suppr -j "$(nproc)" \
        --cppcheck-build-dir=build/cppcheck --enable=warning,portability --suppressions-list=tests/tools/cppcheck.txt \
        -D_GNU_SOURCE -DTRAINYARD_VERSION='""' -D__x86_64__ -D__BYTE_ORDER__=1234 -D__ORDER_LITTLE_ENDIAN__=1234 \
        --include=tests/tools/cppcheck.h -I. "${c_files[@]}"
}

tidy() { tests/tools/tidy.sh; }
shell() { shellcheck "${scripts[@]}"; }
failpoints() { tests/tools/lint-failpoints.sh; }
texts() { tests/tools/lint-text.sh; }
docs() { make --no-print-directory -s -j"$(nproc)" BUILD=build/check WERROR=1 docs-check; }

check format clang-format-14 format
check warnings gcc warnings
check layers nm layers
check headers g++ headers
check cppcheck cppcheck cpp_check
check clang-tidy clang-tidy-14 tidy
check shellcheck shellcheck shell
check failpoints grep failpoints
check texts grep texts
check docs python3 docs

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
