# shellcheck shell=bash
# For the test scripts that are lists of commands. Source it, call check, end with check_sum.
passed=0 failed=0

# check NAME COMMAND…: the command's exit decides; what it printed is shown when it failed. It runs in this shell, so that it
# may set variables.
check() {
    local name=$1 said rc=0
    said=$(mktemp)
    shift
    "$@" >"$said" 2>&1 || rc=$?
    if [ $rc = 0 ]; then
        passed=$((passed + 1))
        echo "passed  $name"
    else
        failed=$((failed + 1))
        echo "FAILED  $name (exit $rc)"
        tail -n 30 "$said" | sed 's/^/    /'
    fi
    rm -f "$said"
}

check_sum() {
    echo "$passed passed, $failed failed, 0 skipped"
    [ $failed = 0 ]
}
