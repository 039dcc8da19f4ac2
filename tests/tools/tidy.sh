#!/usr/bin/env bash
# clang-tidy over all sources but the tests'. A file is looked at again only after it, a header it
# includes, its flags or the settings changed: stamps in build/tidy remember what was clean.
set -uo pipefail

stamps=build/tidy
mkdir -p "$stamps"
export stamps
make --no-print-directory -s compdb >/dev/null || exit 1

one() {
    local source=$1 key
    # What the preprocessor makes of it, as a digest, is all that clang-tidy sees, but for its NOLINT comments.
    key=$(python3 - "$source" <<'PY'
import hashlib, json, shlex, subprocess, sys
entry = next((e for e in json.load(open("compile_commands.json")) if e["file"] == sys.argv[1]), None)
if entry is None:
    sys.exit(f"{sys.argv[1]}: not in compile_commands.json: is it part of the build?")
words = shlex.split(entry["command"])
words = words[: words.index("-c")]
text = subprocess.run(words + ["-D__clang_analyzer__", "-E", sys.argv[1]], check=True, capture_output=True).stdout
for path in (sys.argv[1], ".clang-tidy"):
    text += open(path, "rb").read()
print(hashlib.sha256(text).hexdigest())
PY
    ) || return 1
    local stamp=$stamps/${source//\//_}
    [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && return 0
    clang-tidy-14 --quiet --warnings-as-errors='*' -p . "$source" 2>/dev/null && echo "$key" >"$stamp"
}
export -f one

git ls-files 'common/*.c' 'operator/*.c' 'stages/*.c' 'examples/*.c' | xargs -P "$(nproc)" -I{} bash -c 'one {}'
