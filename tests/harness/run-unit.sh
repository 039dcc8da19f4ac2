#!/usr/bin/env bash
# Runs unit test binaries (cmocka): two at a time, each with a time limit; shows output only of those
# that failed. The last line is "N passed, N failed, N skipped", counted over single tests; a crash,
# a time-out or a binary without tests counts as a failure.
#
# usage: tests/harness/run-unit.sh BINARY …        (TEST_TIMEOUT=seconds, default 120; TEST_JOBS=n, default 2)
set -uo pipefail

timeout_s=${TEST_TIMEOUT:-120}
jobs=${TEST_JOBS:-2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[ $# -gt 0 ] || { echo "run-unit: no test binaries given" >&2; echo "0 passed, 1 failed, 0 skipped"; exit 1; }

# Each run leaves <n>.out and <n>.rc.
run_one() {
    local n=$1 binary=$2
    timeout --kill-after=5 "$timeout_s" "$binary" >"$work/$n.out" 2>&1 </dev/null
    echo $? >"$work/$n.rc"
}

n=0
for binary in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
    n=$((n + 1))
    run_one "$n" "$binary" &
done
wait

# The count of cmocka's summary line "[  WORD  ] N test(s)", 0 without one.
count() {
    sed -n "s/^\[  $2 *\] \([0-9][0-9]*\) test(s).*/\1/p" "$work/$1.out" | tail -n 1 | grep . || echo 0
}

passed=0 failed=0 skipped=0 n=0
for binary in "$@"; do
    n=$((n + 1))
    rc=$(cat "$work/$n.rc" 2>/dev/null || echo 127)
    ok=$(count "$n" PASSED) bad=$(count "$n" FAILED) skip=$(count "$n" SKIPPED)
    problem=
    if [ "$rc" = 124 ] || [ "$rc" = 137 ]; then
        problem="timed out after $timeout_s s"
    elif [ "$rc" != 0 ] && [ "$bad" = 0 ]; then
        problem="exit code $rc without a failed test (crash?)"
    elif [ $((ok + bad + skip)) = 0 ]; then
        problem="ran no test"
    elif [ "$rc" = 0 ] && [ "$bad" != 0 ]; then
        problem="exit code 0 with failed tests"
    fi
    [ -z "$problem" ] || [ "$bad" != 0 ] || bad=1
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
    if [ "$bad" != 0 ]; then
        echo "FAIL $binary${problem:+: $problem}"
        sed 's/^/    /' "$work/$n.out"
    elif [ "$skip" != 0 ]; then
        echo "ok   $binary ($ok, $skip skipped)"
        grep '^\[  SKIPPED' "$work/$n.out" | sed 's/^/    /'
    else
        echo "ok   $binary ($ok)"
    fi
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
