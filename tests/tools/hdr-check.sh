#!/usr/bin/env bash
# Compiles each header alone, twice included: as C, and as C++ unless it (or one it includes) needs
# what only C has: scope-bound cleanup or array parameters with "static". A *_template.h is a body that
# its includer completes, not a header.
set -uo pipefail

cflags=$(make --no-print-directory -s print-flags WERROR=1 | sed -n 's/^CFLAGS=//p')
cxxflags=$(make --no-print-directory -s print-flags WERROR=1 | sed -n 's/^CXXFLAGS=//p')
export cflags cxxflags
make --no-print-directory -s generated >/dev/null 2>&1 || true # where a layer generates headers

one() {
    local header=$1 text
    text=$(printf '#include "%s"\n#include "%s"\nextern int hdr_check;\n' "$header" "$header")
    # shellcheck disable=SC2294 # the flags are shell text with quotes in it
    if ! eval "gcc $cflags -fsyntax-only -x c -" <<<"$text"; then
        echo "FAIL-C $header"
        return
    fi
    local used
    used=$(eval "gcc $cflags -MM -x c -" <<<"$text" | grep -oE '[^ ]+\.h( |$)')
    # shellcheck disable=SC2086 # one word a header
    if grep -qE '\[static |common/base/cleanup\.h' $used; then
        echo "C $header"
    elif eval "g++ $cxxflags -fsyntax-only -x c++ -" <<<"$text"; then
        echo "CXX $header"
    else
        echo "FAIL-CXX $header"
    fi
}
export -f one

result=$(git ls-files 'common/*.h' 'operator/*.h' 'stages/*.h' | grep -vE '^common/base/banned\.h$|_template\.h$' |
    xargs -P "$(nproc)" -I{} bash -c 'one {}')
grep '^FAIL' <<<"$result"
printf '%s headers alone as C, %s of them also as C++, %s failed\n' "$(grep -cE '^(C|CXX|FAIL-CXX) ' <<<"$result")" \
    "$(grep -c '^CXX ' <<<"$result")" "$(grep -c '^FAIL' <<<"$result")"
[ -n "$result" ] && ! grep -q '^FAIL' <<<"$result"
