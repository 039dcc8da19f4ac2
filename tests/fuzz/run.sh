#!/usr/bin/env bash
# Builds tests/fuzz/fuzz_<name>.c with libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer, and
# runs each for a while. Seeds are in tests/fuzz/corpus/<name>/; what the runs find, in build/fuzz/.
# A target links the layers whose headers it includes. The last line is "N passed, N failed, N skipped".
#
# usage: FUZZ_SECONDS=n tests/fuzz/run.sh [NAME …]
set -uo pipefail

seconds=${FUZZ_SECONDS:-10}
build=build/fuzz
sanitize=address,undefined
passed=0 failed=0
declare -A folder needs system
while IFS='|' read -r name dir on libs; do
    folder[$name]=$dir needs[$name]=$on system[$name]=$libs
done < <(make --no-print-directory -s print-layers)

make_fuzz() {
    make --no-print-directory -s -j"$(nproc)" BUILD=$build CC=clang-14 CXX=clang++-14 \
        EXTRA_CFLAGS="-w -fsanitize=fuzzer-no-link,$sanitize -fno-sanitize-recover=all" "$@"
}

# The layer with the most below it among those that the source includes.
layer_of() {
    local best='' header name
    while IFS= read -r header; do
        for name in "${!folder[@]}"; do
            [[ $header == "${folder[$name]}"/* ]] || continue
            if [ -z "$best" ] || [ "$(wc -w <<<"${needs[$name]}")" -gt "$(wc -w <<<"${needs[$best]}")" ]; then best=$name; fi
        done
    done < <(sed -n 's/^#include "\(.*\)"$/\1/p' "$1")
    echo "$best"
}

build_target() {
    local name=$1 source=tests/fuzz/fuzz_$1.c layer libs=() l
    layer=$(layer_of "$source")
    [ -n "$layer" ] || { echo "$source includes no header of a layer"; return 1; }
    for l in ${needs[$layer]}; do libs+=("$build/lib/lib$l.a"); done
    make_fuzz "$build/obj/$source.o" "${libs[@]}" || return 1
    # shellcheck disable=SC2086 # several words
    clang-14 -fsanitize=fuzzer,$sanitize -o "$build/fuzz_$name" "$build/obj/$source.o" "${libs[@]}" ${system[$layer]}
}

run_target() {
    local name=$1 seeds=tests/fuzz/corpus/$1
    mkdir -p "$build/corpus/$name" "$build/artifacts/$name"
    local folders=("$build/corpus/$name")
    [ -d "$seeds" ] && folders+=("$seeds")
    timeout $((seconds + 60)) "$build/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$build/artifacts/$name/" "${folders[@]}"
}

names=("$@")
if [ ${#names[@]} = 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do name=${source##*/fuzz_}; names+=("${name%.c}"); done
fi
mkdir -p "$build"
for name in "${names[@]}"; do
    log=$build/$name.log
    if ! build_target "$name" >"$log" 2>&1; then
        echo "FAIL $name: does not build"
        tail -n 30 "$log" | sed 's/^/    /'
        failed=$((failed + 1))
    elif ! run_target "$name" >"$log" 2>&1; then
        echo "FAIL $name: see $log and $build/artifacts/$name"
        tail -n 60 "$log" | sed 's/^/    /'
        failed=$((failed + 1))
    else
        echo "ok   $name ($(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s)"
        passed=$((passed + 1))
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
