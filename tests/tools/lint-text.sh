#!/usr/bin/env bash
# What no tracked text may hold: paths of somebody's machine, marks of unfinished work, tabs (but where
# make or Go need them), space at line ends, Windows line ends; and every file ends with a newline.
set -uo pipefail

status=0
files=(':!*.png' ':!*.bin' ':!*.parquet' ':!*.safetensors' ':!tests/fuzz/corpus/' ':!tests/vectors/' ':!LICENSE')

# complain WHAT PATTERN [PATHSPEC …]
complain() {
    local what=$1 pattern=$2
    shift 2
    if git grep -nIP "$pattern" -- "${files[@]}" "$@"; then
        echo "^ $what"
        status=1
    fi
}

# The patterns are spelled so that they do not find themselves.
complain "path of one machine" '(?<![\w.$}])/(wor[k]|roo[t]|hom[e])/(?!\$)'
complain "unfinished work" '\b(TO[D]O|FIX[M]E|X[X]X)\b'
complain "tab" '\t' ':!Makefile' ':!*.mk' ':!*.go' ':!*go.mod' ':!*go.sum'
complain "space at the end of a line" '[ \t]+$'
complain "Windows line end" '\r$'

while IFS= read -r file; do
    if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then
        echo "$file: no newline at the end"
        status=1
    fi
done < <(git grep -lI '' -- "${files[@]}")
exit $status
