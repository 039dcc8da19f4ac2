#!/usr/bin/env bash
# The failpoints in the code and those listed in tests/chaos/failpoints.txt are the same.
set -uo pipefail

list=tests/chaos/failpoints.txt
# Names stand in the call as literals: failpoint("a") or failpoint(x ? "a" : "b").
calls=$(git grep -hoE '\bfailpoint\([^)]*\)' -- 'common/*.c' 'operator/*.c' 'stages/*.c' ':!common/base/failpoint.c')
used=$(grep -oE '"[^"]*"' <<<"$calls" | tr -d '"' | sort -u)
listed=$(sed -e 's/#.*//' -e 's/[[:space:]].*//' -e '/^$/d' "$list" | sort -u)

status=0
if nameless=$(grep -v '"' <<<"$calls" | grep .); then
    echo "failpoint without a literal name: $nameless"
    status=1
fi
unlisted=$(comm -23 <(echo "$used") <(echo "$listed") | grep .) && {
    echo "in the code but not in $list:"
    echo "$unlisted"
    status=1
}
unused=$(comm -13 <(echo "$used") <(echo "$listed") | grep .) && {
    echo "in $list but not in the code:"
    echo "$unused"
    status=1
}
echo "$(grep -c . <<<"$used") failpoints in the code"
exit $status
