#!/usr/bin/env bash
# Runs commands given as "name: command", shows their output, and sums up their last lines of the form
# `N passed, N failed, N skipped` (a command without one counts as one passed or failed case).
# The last line printed is the total.
set -u
passed=0 failed=0 skipped=0
for entry; do
    name=${entry%%: *} command=${entry#*: }
    start=$SECONDS
    echo "== $name: ${command:0:100}"
    log=$(mktemp)
    bash -c "$command" 2>&1 </dev/null | tee "$log"
    rc=${PIPESTATUS[0]}
    sum=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
    rm -f "$log"
    if [ -z "$sum" ]; then
        if [ "$rc" = 0 ]; then sum="1 passed, 0 failed, 0 skipped"; else sum="0 passed, 1 failed, 0 skipped"; fi
    fi
    read -r p _ f _ s _ <<<"$sum"
    if [ "$rc" != 0 ] && [ "$f" = 0 ]; then f=1; fi
    echo "== $name: $p passed / $f failed / $s skipped$([ "$rc" = 0 ] || echo " (exit $rc)"), $((SECONDS - start)) s"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
