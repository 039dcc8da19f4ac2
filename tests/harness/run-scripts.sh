#!/usr/bin/env bash
# Runs test scripts one after the other and sums up. A script prints a line a case and ends with
# `N passed, N failed, N skipped`; exit 77 without that line counts as one skip with its last line as the reason.
#
# usage: run-scripts.sh SCRIPT…      TEST_TIMEOUT=seconds (default 900) for each
set -u
passed=0 failed=0 skipped=0
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
for script; do
    log=$logs/$(basename "$script").log
    start=$SECONDS
    timeout -k 30 "${TEST_TIMEOUT:-900}" "$script" >"$log" 2>&1 </dev/null
    rc=$?
    sum=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
    if [ $rc = 77 ] && [ -z "$sum" ]; then
        printf 'skipped  %s (%s)\n' "$script" "$(tail -n 1 "$log")"
        skipped=$((skipped + 1))
        continue
    fi
    if [ -z "$sum" ]; then
        sum="0 passed, 1 failed, 0 skipped"
        [ $rc = 0 ] && echo "the script counted no case" >>"$log"
    fi
    read -r p _ f _ s _ <<<"$sum"
    if [ $rc != 0 ] && [ "$f" = 0 ]; then f=1; fi
    printf '%s  %s (%s passed, %s failed, %s skipped; %d s)\n' "$([ "$f" = 0 ] && echo passed || echo FAILED)" "$script" "$p" "$f" "$s" $((SECONDS - start))
    [ "$s" = 0 ] || grep -E '^skipped' "$log" | sed 's/^/    /'
    if [ "$f" != 0 ]; then
        [ $rc = 124 ] && echo "    timed out after ${TEST_TIMEOUT:-900} s"
        tail -n 80 "$log" | sed 's/^/    /'
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $((passed + skipped)) -gt 0 ]
