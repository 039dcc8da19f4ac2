#!/usr/bin/env bash
# featurize by hand on local files: equal digests at 1, 2 and 5 threads and from run to run, --transform against the shards, a
# permuted vocabulary that still loads, and the accidents that are featurize's to catch. Ends with `N passed, N failed, N skipped`.
set -u
cd "$(dirname "$0")/../.." || exit 1
bin=${BUILD:-build}/bin tool=${BUILD:-build}/test/permute-vocabulary
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/harness/check.sh
. tests/harness/check.sh

# run CONFIG SNAPSHOT OUTPUT THREADS: prints the digest of `features`.
run() {
    "$bin/featurize" --config "$1" --input "snapshot=$2" --output "$3" --threads "$4" 2>"$work/stderr" | sed -n 's/.*"features":"\([0-9a-f]*\)".*/\1/p'
}

# refused CODE TEXT CONFIG SNAPSHOT: exit code and a part of the message.
refused() {
    local rc
    "$bin/featurize" --config "$3" --input "snapshot=$4" --output "$work/refused" >"$work/said" 2>&1
    rc=$?
    cat "$work/said"
    [ "$rc" = "$1" ] || { echo "exit $rc, expected $1"; return 1; }
    grep -qF "$2" "$work/said" || { echo "expected a message with: $2"; return 1; }
}

"$bin/click-ranker-generate" --out "$work/logs" --rows 60000 --days 10 >/dev/null 2>&1 || { echo "no data was generated"; exit 1; }
mkdir -p "$work/snap/data"
for part in "$work"/logs/day=*; do cp "$part/clicks.parquet" "$work/snap/data/$(basename "$part").parquet"; done

cat >"$work/config.json" <<'JSON'
{"seed": 17, "rowKey": ["session_id", "item_id"], "dedupe": {"keep": "first", "orderBy": ["time"]}, "where": "position between 1 and 10",
 "label": {"column": "clicked", "type": "binary"}, "group": "session_id", "time": "time", "carry": ["country", "device"],
 "split": {"by": "time", "validation": "2d", "test": "2d", "boundary": "day", "timeZone": "UTC"},
 "features": [
  {"name": "price", "sql": "ln(1 + price)", "numeric": {"impute": "median", "missingFlag": true, "clip": [0.001, 0.999], "scale": "standard"}},
  {"name": "hour", "sql": "extract(hour from time)", "categorical": {"values": {"from": 0, "to": 23}}},
  {"name": "item", "column": "item_id", "categorical": {"vocabulary": {"minCount": 5, "maxSize": 200000, "oovBuckets": 8}}},
  {"name": "segment", "column": "user_segment", "categorical": {"vocabulary": {"maxSize": 64}}},
  {"name": "category", "column": "category", "categorical": {"vocabulary": {"minCount": 5}}},
  {"name": "user", "column": "user_id", "categorical": {"hash": {"function": "xxh64", "seed": 1, "buckets": 65536}}},
  {"name": "seg-x-cat", "cross": ["segment", "category"], "categorical": {"hash": {"seed": 2, "buckets": 4096}}},
  {"name": "position", "column": "position", "categorical": {"values": {"from": 1, "to": 10}}, "servingValue": 1}],
 "shards": {"rows": 16384, "order": "hashed"}}
JSON

first=$(run "$work/config.json" "$work/snap" "$work/out" 2)
check "a digest comes out" test -n "$first"
for threads in 1 2 5; do
    check "equal digest at $threads threads" test "$first" = "$(run "$work/config.json" "$work/snap" "$work/t$threads" $threads)"
done
cp -r "$work/snap" "$work/elsewhere"
check "equal digest from another folder" test "$first" = "$(run "$work/config.json" "$work/elsewhere" "$work/t6" 2)"

cat >"$work/compare.py" <<'PY'
"""Compares dense and cat of two directories of shards, and lines of JSON with shards, value for value."""
import json, struct, sys
from pathlib import Path

def tensors(directory):
    out = {"dense": b"", "cat": b""}
    for path in sorted(Path(directory).glob("*.safetensors")):
        data = path.read_bytes()
        (n,) = struct.unpack("<Q", data[:8])
        assert (8 + n) % 64 == 0, "header is not padded"
        header = json.loads(data[8:8 + n])
        for name in out:
            begin, end = header[name]["data_offsets"]
            out[name] += data[8 + n + begin:8 + n + end]
    return out

shards, again, lines = sys.argv[1:]
a, b = tensors(shards), tensors(again)
assert a == b, "shards differ"
rows = [json.loads(line) for line in Path(lines).read_text().splitlines()]
dense = struct.pack(f"<{sum(len(r['dense']) for r in rows)}f", *(x for r in rows for x in r["dense"]))
cat = struct.pack(f"<{sum(len(r['cat']) for r in rows)}i", *(x for r in rows for x in r["cat"]))
assert rows and dense == a["dense"] and cat == a["cat"], "lines differ from shards"
print(len(rows), "rows")
PY
# The raw values as text in golden.json are source columns: new rows in a form that no shard has seen.
cat >"$work/golden.py" <<'PY'
"""golden.json's source columns as CSV; what --transform makes of them must be its dense and cat."""
import csv, json, subprocess, sys
from pathlib import Path
bin_, out, work = sys.argv[1:]
rows = json.loads(Path(out, "golden.json").read_text())["rows"]
with open(f"{work}/golden.csv", "w", newline="") as f:
    w = csv.DictWriter(f, rows[0]["source"])
    w.writeheader()
    w.writerows(r["source"] for r in rows)
text = subprocess.run([f"{bin_}/featurize", "--transform", "--spec", out, "--in", f"{work}/golden.csv", "--out", "-"], check=True, capture_output=True, text=True).stdout
again = [json.loads(line) for line in text.splitlines()]
assert len(again) == 32 and all(a["dense"] == r["dense"] and a["cat"] == r["cat"] for a, r in zip(again, rows)), "golden rows differ"
PY
check "--transform of golden rows as CSV" python3 "$work/golden.py" "$bin" "$work/out/features" "$work"
"$bin/featurize" --transform --spec "$work/out/features" --in "$work/out/features/heldout/00000.parquet" --out "$work/all.jsonl" 2>/dev/null
"$bin/featurize" --transform --spec "$work/out/features" --in "$work/out/features/heldout/00000.parquet" --out "$work/all" 2>/dev/null
check "--transform to shards and to lines agree" python3 "$work/compare.py" "$work/all" "$work/all" "$work/all.jsonl"
check "--transform names what is missing" bash -c "! '$bin/featurize' --transform --spec '$work/out/features' 2>'$work/e' && grep -q -- '--in FILE' '$work/e'"

# A model of the right shapes: rows numbered, so that a wrong move shows.
cat >"$work/permuted.py" <<'PY'
import json, struct, sys
from pathlib import Path
mode, directory, other = sys.argv[1:]
def read(path):
    data = Path(path).read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    return {k: (v, data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]) for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}
def ids(d):
    body = read(f"{d}/vocabularies.safetensors")["vocabulary.item.ids"][1]
    return struct.unpack(f"<{len(body) // 4}i", body)
rows = 9 + len(ids(directory))
if mode == "make":
    body = struct.pack(f"<{2 * rows}f", *(float(i // 2) for i in range(2 * rows)))
    header = json.dumps({"embedding.item.weight": {"dtype": "F32", "shape": [rows, 2], "data_offsets": [0, len(body)]}}).encode()
    Path(directory, "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + body)
else:
    weights = struct.unpack(f"<{2 * rows}f", read(f"{other}/model.safetensors")["embedding.item.weight"][1])[::2]
    old, new = ids(directory), ids(other)
    assert sorted(old) == sorted(new) and old != new, "ids are no permutation"
    assert all(weights[n] == o for o, n in zip(old, new)), "a row went astray"
    assert weights[:9] == tuple(float(i) for i in range(9)), "rows of unknown values moved"
PY
mkdir "$work/model" && cp "$work"/out/features/{feature-spec.json,vocabularies.safetensors,golden.json} "$work/model/"
python3 "$work/permuted.py" make "$work/model" -
check "the permuting tool runs" bash -c "[ \"\$($tool '$work/model' '$work/permuted' 3)\" = 3 ]"
check "ids and rows moved together" python3 "$work/permuted.py" check "$work/model" "$work/permuted"
check "the permuted vocabulary loads and gives its golden rows" python3 "$work/golden.py" "$bin" "$work/permuted" "$work"

cp -r "$work/snap" "$work/doubled" && cp "$work/doubled/data/day=2026-10-31.parquet" "$work/doubled/data/day=2026-11-01.parquet"
sed 's/"dedupe": {[^}]*},//' "$work/config.json" >"$work/strict.json"
check "duplicates without dedupe" refused 65 "rowKey" "$work/strict.json" "$work/doubled"
check "duplicates with dedupe give the same rows" test "$(run "$work/config.json" "$work/doubled" "$work/t7" 2 >/dev/null; sha256sum <"$work/t7/features/train/00000.safetensors")" = "$(sha256sum <"$work/out/features/train/00000.safetensors")"
sed 's/"column": "clicked"/"column": "klicked"/' "$work/config.json" >"$work/bad.json"
check "a misspelt label" refused 78 "did you mean 'clicked'" "$work/bad.json" "$work/snap"
sed 's/ln(1 + price)/(select count(*) from read_csv_auto(\x27\/etc\/passwd\x27))/' "$work/config.json" >"$work/bad.json"
check "SQL that reaches outside" refused 78 "feature 'price'" "$work/bad.json" "$work/snap"
check "no snapshot" refused 66 "data" "$work/config.json" "$work/logs"

check_sum
